//! Java: which release, where it lives, and whether it compiles.
use super::lab::{Failure, Lab};
use super::probe::{Input, Probed};
use crate::{JavaFacts, ToolchainError};
use futures::future::try_join;

const HELLO: &str = "public class Hello {\n  public static void main(String[] args) {\n    \
    System.out.println(\"java \" + (40 + args.length));\n  }\n}\n";
const SAYS: &str = "java 42\n";

/// Asks a toolchain that has `java` what it is like; nothing where it has none.
pub(super) async fn introspect(lab: &Lab<'_>) -> Result<Option<JavaFacts>, ToolchainError> {
    let Some(java) = find(lab).await? else { return Ok(None) };
    let version = [java.as_str(), "-XshowSettings:properties", "-version"];
    let said = lab.run(&version, Vec::new(), &[]);
    let (properties, class) = match lab.tool("javac") {
        // Both take a second, so that they are asked at the same time.
        Some(javac) => {
            let (said, class) = try_join(said, compile(lab, javac)).await?;
            (properties(lab, &java, &said).await?, Some((javac.to_owned(), class)))
        }
        None => {
            let said = said.await?;
            let properties = properties(lab, &java, &said).await?;
            let javac = format!("{}/bin/javac", properties.home);
            let class = if lab.is_program(&javac).await? { Some(compile(lab, &javac).await?) } else { None };
            (properties, class.map(|class| (javac, class)))
        }
    };
    let compiles = class.is_some();
    if let Some((javac, compiled)) = class {
        let doing = "compile a small class";
        let Some(class) = compiled.outputs.get("Hello.class").filter(|_| compiled.ok()) else {
            return Err(lab.refused(Failure::of(&javac, doing, &compiled)).await);
        };
        let inputs = vec![Input { name: "Hello.class".to_owned(), content: class.clone(), executable: false }];
        let ran = lab.run(&[java.as_str(), "-cp", ".", "Hello", "a", "b"], inputs, &[]).await?;
        if !ran.ok() || ran.stdout() != SAYS {
            return Err(lab.refused(Failure::of(&java, "run a small class", &ran)).await);
        }
    }
    Ok(Some(JavaFacts { compiles, ..properties }))
}

/// `java`, or that beside `javac`.
async fn find(lab: &Lab<'_>) -> Result<Option<String>, ToolchainError> {
    if let Some(java) = lab.tool("java") {
        return Ok(Some(java.to_owned()));
    }
    let Some((directory, _)) = lab.tool("javac").and_then(|javac| javac.rsplit_once('/')) else { return Ok(None) };
    let beside = format!("{directory}/java");
    Ok(lab.is_program(&beside).await?.then_some(beside))
}

async fn compile(lab: &Lab<'_>, javac: &str) -> Result<Probed, ToolchainError> {
    lab.run(&[javac, "-d", ".", "Hello.java"], vec![Input::text("Hello.java", HELLO)], &["Hello.class"]).await
}

async fn properties(lab: &Lab<'_>, java: &str, said: &Probed) -> Result<JavaFacts, ToolchainError> {
    match said.ok().then(|| facts(&said.text())).flatten() {
        Some(facts) => Ok(facts),
        None => Err(lab.refused(Failure::of(java, "say its properties", said)).await),
    }
}

/// From lines such as `    java.home = /usr/lib/jvm/java-17-openjdk-amd64`. The home is that of the library
/// that runs, found through all symlinks.
fn facts(said: &str) -> Option<JavaFacts> {
    let value = |name: &str| {
        let mut values = said.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(" = "));
        values.next().map(|value| value.trim().to_owned())
    };
    let specification = value("java.specification.version")?;
    // Up to 8 it was 1.8.
    let feature = specification.strip_prefix("1.").unwrap_or(&specification).parse().ok()?;
    Some(JavaFacts {
        feature,
        version: value("java.version")?,
        vendor: value("java.vendor")?,
        home: value("java.home").filter(|home| home.starts_with('/'))?,
        compiles: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read() {
        let said = "Property settings:\n    java.home = /usr/lib/jvm/java-17\n    java.specification.version = 17\n    \
            java.vendor = Debian\n    java.vendor.url = x\n    java.version = 17.0.11\n    java.version.date = 2024\n";
        let facts17 = facts(said).unwrap();
        assert_eq!((facts17.feature, facts17.version.as_str(), facts17.vendor.as_str()), (17, "17.0.11", "Debian"));
        assert_eq!((facts17.home.as_str(), facts17.compiles), ("/usr/lib/jvm/java-17", false));
        let old = said.replace("= 17\n", "= 1.8\n");
        assert_eq!(facts(&old).unwrap().feature, 8);
        for broken in ["", &said.replace("/usr", "usr"), &said.replace("java.vendor = ", "")] {
            assert_eq!(facts(broken), None);
        }
    }
}

//! Rust: which release, for which targets, and what it links with.
use super::lab::{Failure, Lab};
use super::look::Seen;
use super::probe::{Input, Probed};
use crate::{CcFacts, RustFacts, ToolchainError};
use futures::future::{try_join_all, try_join3};

const HELLO: &str = "fn main() {\n    println!(\"rust {}\", (1..=2).map(|n| n * 14).sum::<i32>());\n}\n";
const SAYS: &str = "rust 42\n";
const LIBRARY: &str = "pub fn answer() -> Vec<u8> {\n    vec![42]\n}\n";

/// What a Rust compiler says of itself.
pub(super) struct Asked<'a> {
    rustc: &'a str,
    version: String,
    host: String,
    sysroot: String,
    targets: Vec<String>,
    /// The newest first; not all of them need be stable.
    editions: Vec<String>,
}

impl<'a> Asked<'a> {
    /// Nothing where the toolchain has no `rustc`.
    pub(super) async fn of(lab: &Lab<'a>) -> Result<Option<Self>, ToolchainError> {
        let Some(rustc) = lab.tool("rustc") else { return Ok(None) };
        let (version, sysroot, editions) = try_join3(
            lab.run(&[rustc, "-vV"], Vec::new(), &[]),
            lab.run(&[rustc, "--print", "sysroot"], Vec::new(), &[]),
            // Refused with the list of those that it knows.
            lab.run(&[rustc, "--edition=?", "hello.rs"], vec![Input::text("hello.rs", HELLO)], &[]),
        )
        .await?;
        let said = version.stdout();
        let value = |name: &str| {
            said.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).map(|v| v.trim().to_owned())
        };
        let (Some(release), Some(host)) = (value("release"), value("host")) else {
            return Err(lab.refused(Failure::of(rustc, "say its version", &version)).await);
        };
        let path = sysroot.stdout().trim().to_owned();
        if !sysroot.ok() || !path.starts_with('/') {
            return Err(lab.refused(Failure::of(rustc, "say where its libraries are", &sysroot)).await);
        }
        let targets = targets(lab, &path).await?;
        if targets.is_empty() {
            let wants = format!("{path}/lib/rustlib/{host}/lib");
            let problem = format!("`{rustc}` has no standard library: nothing is at `{wants}`");
            return Err(lab.unfit(problem, Some(wants), None));
        }
        let editions = known_editions(&editions.text());
        Ok(Some(Self { rustc, version: release, host, sysroot: path, targets, editions }))
    }

    /// Compiles, and where this toolchain brings a linker, links and runs.
    pub(super) async fn probed(self, lab: &Lab<'_>, cc: Option<&CcFacts>) -> Result<RustFacts, ToolchainError> {
        let linker = lab.tool("cc").filter(|_| cc.is_some());
        let mut refused = None;
        for edition in &self.editions {
            let compiled = self.compile(lab, edition).await?;
            if compiled.ok() {
                if let (Some(linker), Some(cc)) = (linker, cc) {
                    self.link_and_run(lab, edition, linker, cc).await?;
                }
                return Ok(RustFacts {
                    edition: edition.clone(),
                    version: self.version,
                    host: self.host,
                    targets: self.targets,
                    sysroot: self.sysroot,
                    linker: linker.map(str::to_owned),
                });
            }
            refused = Some(compiled);
        }
        let refused = refused.unwrap_or_default();
        Err(lab.refused(Failure::of(self.rustc, "compile a small library", &refused)).await)
    }

    async fn compile(&self, lab: &Lab<'_>, edition: &str) -> Result<Probed, ToolchainError> {
        let edition = format!("--edition={edition}");
        let arguments = [self.rustc, &edition, "--crate-type=rlib", "--emit=link,metadata", "answer.rs"];
        lab.run(&arguments, vec![Input::text("answer.rs", LIBRARY)], &[]).await
    }

    async fn link_and_run(
        &self,
        lab: &Lab<'_>,
        edition: &str,
        linker: &str,
        cc: &CcFacts,
    ) -> Result<(), ToolchainError> {
        let edition = format!("--edition={edition}");
        let mut arguments = vec![self.rustc.to_owned(), edition, "hello.rs".to_owned(), format!("-Clinker={linker}")];
        // What the C driver needs to link anything at all, it needs here too.
        let needed = cc.link_flags.iter().filter(|f| f.starts_with("-fuse-ld="));
        arguments.extend(needed.map(|f| format!("-Clink-arg={f}")));
        if cc.static_only {
            arguments.push("-Ctarget-feature=+crt-static".to_owned());
        }
        let linked = lab.run(&arguments, vec![Input::text("hello.rs", HELLO)], &["hello"]).await?;
        let Some(program) = linked.outputs.get("hello").filter(|_| linked.ok()) else {
            return Err(lab.refused(Failure::of(self.rustc, "link a small program", &linked)).await);
        };
        let inputs = vec![Input { name: "hello".to_owned(), content: program.clone(), executable: true }];
        let ran = lab.run(&["./hello"], inputs, &[]).await?;
        if ran.ok() && ran.stdout() == SAYS {
            return Ok(());
        }
        let doing = format!("do what it should, though `{}` linked it", self.rustc);
        Err(lab.refused(Failure::of("./hello", &doing, &ran)).await)
    }
}

/// The triples below `lib/rustlib` that have a standard library.
async fn targets(lab: &Lab<'_>, sysroot: &str) -> Result<Vec<String>, ToolchainError> {
    let rustlib = format!("{sysroot}/lib/rustlib");
    let Seen::Directory(names) = lab.look(&rustlib).await? else { return Ok(Vec::new()) };
    let candidates = names.into_iter().map(|name| async {
        let there = match lab.look(&format!("{rustlib}/{name}/lib")).await? {
            Seen::Directory(files) => files.iter().any(|f| f.starts_with("libcore-") && f.ends_with(".rlib")),
            _ => false,
        };
        Ok::<_, ToolchainError>(there.then_some(name))
    });
    Ok(try_join_all(candidates).await?.into_iter().flatten().collect())
}

/// From `argument for --edition must be one of: 2015|2018|2021. (instead was ...)`: the newest first.
fn known_editions(said: &str) -> Vec<String> {
    let listed = said.split_once("must be one of: ").map_or("", |(_, listed)| listed);
    let listed = listed.split(['.', ' ', '\n']).next().unwrap_or_default();
    let mut editions: Vec<_> = listed.split('|').filter(|e| e.parse::<u32>().is_ok()).map(str::to_owned).collect();
    if editions.is_empty() {
        editions = ["2015", "2018", "2021"].map(str::to_owned).into();
    }
    editions.sort_by(|a, b| b.cmp(a));
    editions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editions_are_read_newest_first() {
        let said = "error: argument for `--edition` must be one of: 2015|2018|2021|2024. (instead was `?`)\n";
        assert_eq!(known_editions(said), ["2024", "2021", "2018", "2015"]);
        let future = "error: argument for `--edition` must be one of: 2015|2024|future. (instead was `?`)\n";
        assert_eq!(known_editions(future), ["2024", "2015"]);
        assert_eq!(known_editions("panic"), ["2021", "2018", "2015"]);
    }
}

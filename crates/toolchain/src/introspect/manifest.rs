//! A toolchain of another kind, described by its author: a code generator, an interpreter. In JSON5:
//!
//! ```json5
//! {
//!   tools: { protoc: "bin/protoc" },     // name: path from the top of the tree
//!   version: ["protoc", "--version"],    // a command of one of the tools, or the text itself
//!   environment: { PROTO_PATH: "{tree}/include" },
//!   kind: "tree",
//! }
//! ```
use super::lab::{Failure, Lab};
use super::look::Seen;
use super::probe::Prober;
use crate::{CustomFacts, Kind, Toolchain, ToolchainError};
use lre_model::{RelPath, nearest};
use serde::Deserialize;
use std::collections::BTreeMap;

/// In values of `environment`: where the tree is in the sandbox, which only its digest tells.
const TREE: &str = "{tree}";

/// What the author of a toolchain says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Name to path from the top of the tree, never empty.
    pub tools: BTreeMap<String, RelPath>,
    /// What to call its version.
    pub version: Version,
    /// Variables that its tools want to have. `{tree}` stands for where the tree is.
    pub environment: BTreeMap<String, String>,
    /// How it is to be mounted, where the author knows.
    pub kind: Option<Kind>,
}

/// Where a version comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// The author says it.
    Text(String),
    /// A tool says it, in the first line.
    Command {
        /// The name of the tool.
        tool: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// The file, word for word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tools: BTreeMap<String, String>,
    version: WrittenVersion,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    kind: Option<Kind>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`version` is text, or a command as a list: [\"tool\", \"--version\"]")]
enum WrittenVersion {
    Text(String),
    Command(Vec<String>),
}

impl Manifest {
    /// Reads the text of a manifest; `file` is what errors call it.
    ///
    /// # Errors
    /// [`ToolchainError::Manifest`]: not JSON5, unknown or missing keys, values that make no sense.
    pub fn parse(text: &str, file: &str) -> Result<Self, ToolchainError> {
        let written: Written = json5::from_str(text).map_err(|e| misread(file, &e))?;
        let refused = |problem| ToolchainError::Manifest { place: file.to_owned(), problem };
        written.meant().map_err(refused)
    }

    /// Makes sure that the tools are in the tree and can be executed, and asks for the version.
    ///
    /// # Errors
    /// [`ToolchainError::Unfit`]: they are not, it is of another kind, or its version cannot be had.
    pub async fn describe(&self, prober: &dyn Prober, toolchain: &Toolchain) -> Result<CustomFacts, ToolchainError> {
        let lab = Lab { prober, toolchain };
        if let Some(kind) = self.kind.filter(|kind| *kind != toolchain.kind) {
            let problem = format!("`{}` is of kind {}, and its manifest says {kind}", toolchain.name, toolchain.kind);
            let Toolchain { name, source, .. } = toolchain;
            return Err(lab.unfit_until(problem, format!("lre toolchain add {name} --from {source} --kind {kind}")));
        }
        let mount = toolchain.mount();
        let mount = mount.trim_end_matches('/');
        let mut tools = BTreeMap::new();
        for (name, path) in &self.tools {
            let path = format!("{mount}/{path}");
            self.check(&lab, name, &path).await?;
            tools.insert(name.clone(), path);
        }
        let environment: BTreeMap<_, _> =
            self.environment.iter().map(|(name, value)| (name.clone(), value.replace(TREE, mount))).collect();
        let version = match &self.version {
            Version::Text(text) => text.clone(),
            Version::Command { tool, arguments } => {
                let mut command = vec![tools[tool].clone()];
                command.extend(arguments.iter().cloned());
                say_version(&lab, &command, &environment).await?
            }
        };
        Ok(CustomFacts { version, tools, environment })
    }

    async fn check(&self, lab: &Lab<'_>, name: &str, path: &str) -> Result<(), ToolchainError> {
        let what = format!("the tool `{name}` of the manifest, `{path}`,");
        let (problem, hint) = match lab.look(path).await? {
            Seen::File { executable: true, .. } => return Ok(()),
            Seen::File { path, .. } => ("is not executable", format!("chmod +x {path} in the tree, and add it again")),
            Seen::Directory(_) => ("is a directory", "name the program in it".to_owned()),
            Seen::Nothing(end) if end == path => {
                return Err(lab.unfit(format!("{what} is not in the toolchain"), Some(end), None));
            }
            Seen::Nothing(end) => {
                let problem = format!("{what} leads to `{end}`, which is not in the toolchain");
                return Err(lab.unfit(problem, Some(end), None));
            }
        };
        Err(lab.unfit_until(format!("{what} {problem}"), hint))
    }
}

async fn say_version(
    lab: &Lab<'_>,
    command: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<String, ToolchainError> {
    let said = lab.run_with(command, Vec::new(), &[], environment).await?;
    let text = said.text();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    match line {
        Some(line) if said.ok() => Ok(line.to_owned()),
        _ => Err(lab.refused(Failure::of(&command[0], "say its version", &said)).await),
    }
}

impl Written {
    fn meant(self) -> Result<Manifest, String> {
        if self.tools.is_empty() {
            return Err("`tools` names none: what would anybody call?".to_owned());
        }
        let mut tools = BTreeMap::new();
        for (name, path) in self.tools {
            // A label of Bazel is made of it.
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c)) {
                return Err(format!("`{name}` cannot name a tool: letters, digits, and _ . + -"));
            }
            let inside = RelPath::parse(&path)
                .map_err(|_| format!("tool `{name}`: `{path}` must be a path from the top of the tree: bin/{name}"))?;
            tools.insert(name, inside);
        }
        if let Some(name) = self.environment.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(format!("`{name}` cannot name a variable"));
        }
        let version = match self.version {
            WrittenVersion::Text(text) if !text.trim().is_empty() => Version::Text(text),
            WrittenVersion::Text(_) => return Err("`version` is empty".to_owned()),
            WrittenVersion::Command(command) => {
                let mut words = command.into_iter();
                let tool = words.next().ok_or("`version` is an empty command")?;
                if !tools.contains_key(&tool) {
                    let near = nearest(&tool, tools.keys().cloned());
                    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    return Err(format!("`version` calls `{tool}`, which is none of its tools{near}"));
                }
                Version::Command { tool, arguments: words.collect() }
            }
        };
        Ok(Manifest { tools, version, environment: self.environment, kind: self.kind })
    }
}

/// With the line, and for an unknown key the nearest known one.
fn misread(file: &str, error: &json5::Error) -> ToolchainError {
    let place = match error.position() {
        Some(at) => format!("{file}:{}:{}", at.line + 1, at.column + 1),
        None => file.to_owned(),
    };
    let said = error.to_string();
    let mut quoted = said.split('`').skip(1).step_by(2);
    let problem = match quoted.next() {
        Some(unknown) if said.starts_with("unknown field") || said.starts_with("unknown variant") => {
            let what = if said.starts_with("unknown field") { "key" } else { "value" };
            let known: Vec<_> = quoted.map(str::to_owned).collect();
            match nearest(unknown, known.clone()) {
                Some(near) => format!("unknown {what} `{unknown}`; did you mean `{near}`?"),
                None => format!("unknown {what} `{unknown}`; there are {}", known.join(", ")),
            }
        }
        _ => said.split(" at line ").next().unwrap_or(&said).to_owned(),
    };
    ToolchainError::Manifest { place, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "// A generator.\n{\n  tools: { gen: 'bin/gen', 'gen-more': 'lib/./more', },\n  \
        version: ['gen', '--version'],\n  environment: { DATA: '{tree}/share' },\n  kind: 'tree',\n}\n";

    #[test]
    fn a_manifest_is_read() {
        let manifest = Manifest::parse(TEXT, "m.json5").unwrap();
        assert_eq!(manifest.tools["gen-more"].to_string(), "lib/more");
        let arguments = vec!["--version".to_owned()];
        assert_eq!(manifest.version, Version::Command { tool: "gen".to_owned(), arguments });
        assert_eq!((manifest.kind, manifest.environment["DATA"].as_str()), (Some(Kind::Tree), "{tree}/share"));
        let small = Manifest::parse("{ tools: { a: 'a' }, version: '1.0' }", "m").unwrap();
        assert_eq!((small.kind, small.version), (None, Version::Text("1.0".to_owned())));
    }

    #[test]
    fn what_is_wrong_is_said_with_place_and_hint() {
        for (from, to, says) in [
            ("version:", "versoin:", "m.json5:4:3: unknown key `versoin`; did you mean `version`?"),
            ("kind:", "x:", "unknown key `x`; there are"),
            ("'tree'", "'treee'", "unknown value `treee`; did you mean `tree`?"),
            ("'bin/gen'", "'/bin/gen'", "must be a path from the top of the tree: bin/gen"),
            ("'bin/gen'", "'../gen'", "must be a path from the top"),
            ("['gen'", "['genn'", "calls `genn`, which is none of its tools; did you mean `gen`?"),
            ("'gen-more'", "'gen more'", "cannot name a tool"),
            ("['gen', '--version']", "7", "`version` is text, or a command as a list"),
            ("['gen', '--version']", "[]", "empty command"),
            ("DATA:", "'A=B':", "cannot name a variable"),
            ("{ gen: 'bin/gen', 'gen-more': 'lib/./more', }", "{}", "names none"),
            ("  version: ['gen', '--version'],\n", "", "missing field `version`"),
            ("kind: 'tree',\n}", "", "m.json5"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let refused = Manifest::parse(&TEXT.replacen(from, to, 1), "m.json5").unwrap_err().to_string();
            assert!(refused.starts_with("m.json5") && refused.contains(says), "{says}: {refused}");
        }
    }
}

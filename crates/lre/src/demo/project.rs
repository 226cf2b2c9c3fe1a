//! The example project: what is compiled, archived, linked and tested, read from its `project.json`.
use crate::exit::{OrProblem, Problem};
use include_dir::{Dir, include_dir};
use lre_toolchain::Toolchain;
use serde::Deserialize;
use std::path::Path;

/// The project, carried in the binary: the demo needs nothing from where it was built.
static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../examples/inkwell");

/// `project.json`; its README explains each field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    #[serde(rename = "about")]
    _about: String,
    #[serde(rename = "schema_version")]
    _schema_version: u32,
    #[serde(rename = "name")]
    _name: String,
    compile: Compile,
    units: Vec<Unit>,
    archives: Vec<Archive>,
    programs: Vec<Program>,
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compile {
    #[serde(rename = "language")]
    _language: String,
    flags: Vec<String>,
    include_directories: Vec<String>,
    quote_directories: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unit {
    source: String,
    headers: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive {
    output: String,
    sources: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    output: String,
    sources: Vec<String>,
    archives: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    program: String,
    arguments: Vec<String>,
    data: Vec<String>,
}

/// One action of the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// For people, and the same everywhere.
    pub name: String,
    /// The command.
    pub arguments: Vec<String>,
    /// Files and directories of the project.
    pub sources: Vec<String>,
    /// Outputs of earlier stages.
    pub made: Vec<String>,
    /// The one output; a test has none.
    pub output: Option<String>,
}

impl Project {
    /// Reads the project that is carried in the binary.
    ///
    /// # Errors
    /// It does not say what this version understands.
    pub fn embedded() -> Result<Self, Problem> {
        let text = FILES.get_file("project.json").map(include_dir::File::contents).unwrap_or_default();
        serde_json::from_slice(text).or_problem("the example's project.json cannot be read")
    }

    /// Writes the project's files below `directory`.
    ///
    /// # Errors
    /// The disk.
    pub fn unpack(directory: &Path) -> Result<(), Problem> {
        std::fs::create_dir_all(directory)
            .and_then(|()| FILES.extract(directory))
            .or_problem(format!("the example cannot be written to {}", directory.display()))
    }

    /// How many translation units it has.
    pub fn units(&self) -> usize {
        self.units.len()
    }

    /// The build as stages: all steps of a stage can run side by side, and need only what earlier
    /// stages made.
    pub fn stages(&self, toolchain: &Toolchain) -> Result<[Vec<Step>; 4], Problem> {
        let (cxx, ar) = (tool(toolchain, "c++")?, tool(toolchain, "ar")?);
        let compiles = self.units.iter().map(|unit| self.compile(unit, &cxx)).collect();
        let archives = self.archives.iter().map(|archive| archive.step(&ar)).collect();
        let links = self.programs.iter().map(|program| program.step(&cxx)).collect();
        let tests = self.tests.iter().map(Test::step).collect();
        Ok([compiles, archives, links, tests])
    }

    fn compile(&self, unit: &Unit, cxx: &str) -> Step {
        let mut arguments = vec![cxx.to_owned()];
        arguments.extend(self.compile.flags.iter().cloned());
        arguments.extend(self.compile.include_directories.iter().map(|directory| format!("-I{directory}")));
        for directory in &self.compile.quote_directories {
            arguments.extend(["-iquote".to_owned(), directory.clone()]);
        }
        let output = object(&unit.source);
        arguments.extend(["-c".to_owned(), unit.source.clone(), "-o".to_owned(), output.clone()]);
        let mut sources = unit.headers.clone();
        sources.push(unit.source.clone());
        Step { name: format!("compile {}", unit.source), arguments, sources, made: vec![], output: Some(output) }
    }
}

impl Archive {
    fn step(&self, ar: &str) -> Step {
        let made: Vec<_> = self.sources.iter().map(|source| object(source)).collect();
        let mut arguments = vec![ar.to_owned(), "rcsD".to_owned(), self.output.clone()];
        arguments.extend(made.iter().cloned());
        let name = format!("archive {}", self.output);
        Step { name, arguments, sources: vec![], made, output: Some(self.output.clone()) }
    }
}

impl Program {
    fn step(&self, cxx: &str) -> Step {
        let mut made: Vec<_> = self.sources.iter().map(|source| object(source)).collect();
        made.extend(self.archives.iter().cloned());
        let mut arguments = vec![cxx.to_owned(), "-o".to_owned(), self.output.clone()];
        arguments.extend(made.iter().cloned());
        let name = format!("link {}", self.output);
        Step { name, arguments, sources: vec![], made, output: Some(self.output.clone()) }
    }
}

impl Test {
    fn step(&self) -> Step {
        let mut arguments = vec![format!("./{}", self.program)];
        arguments.extend(self.arguments.iter().cloned());
        Step {
            name: format!("test {}", self.program),
            arguments,
            sources: self.data.clone(),
            made: vec![self.program.clone()],
            output: None,
        }
    }
}

fn object(source: &str) -> String {
    format!("obj/{source}.o")
}

fn tool(toolchain: &Toolchain, role: &str) -> Result<String, Problem> {
    let path = toolchain.tools.get(role);
    path.cloned().ok_or_else(|| Problem::error(format!("the toolchain {} has no {role}", toolchain.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_step_finds_what_it_needs() {
        let project = Project::embedded().unwrap();
        let digest = lre_model::Digest::empty(lre_model::DigestFunction::Sha256);
        let tools = BTreeMap::from([("c++".into(), "/usr/bin/c++".into()), ("ar".into(), "/usr/bin/ar".into())]);
        let toolchain = Toolchain {
            name: "cc".into(),
            kind: lre_toolchain::Kind::Rootfs,
            digest,
            environment: BTreeMap::new(),
            tools,
            source: String::new(),
            recipe: Vec::new(),
        };
        let mut made = Vec::new();
        let stages = project.stages(&toolchain).unwrap();
        for stage in &stages {
            for step in stage {
                assert!(step.made.iter().all(|path| made.contains(path)), "{}", step.name);
                for source in &step.sources {
                    assert!(FILES.get_entry(source).is_some(), "{}: {source}", step.name);
                }
            }
            made.extend(stage.iter().filter_map(|step| step.output.clone()));
        }
        assert!(project.units() >= 20);
        assert!(project.stages(&Toolchain { tools: BTreeMap::new(), ..toolchain }).is_err());
    }
}

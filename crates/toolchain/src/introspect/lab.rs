//! A toolchain in the sandbox: asking it, and saying why it does not answer.
use super::look::Seen;
use super::probe::{Input, Probe, Probed, Prober};
use super::program::{Program, program};
use super::said::{Absent, absent, short};
use super::unfit::Unfit;
use crate::{Kind, Toolchain, ToolchainError};
use std::collections::BTreeMap;

/// Directories that are named at most where something was searched for in vain.
const DIRECTORIES_NAMED_MAX: usize = 4;

/// A toolchain that can be asked.
pub(super) struct Lab<'a> {
    pub(super) prober: &'a dyn Prober,
    pub(super) toolchain: &'a Toolchain,
}

/// A thing that did not work.
pub(super) struct Failure<'a> {
    /// The tool, by its path.
    pub tool: &'a str,
    /// What it should have done: "compile a small C program".
    pub doing: &'a str,
    /// What it did.
    pub probed: &'a Probed,
    /// Where it searched though nothing is there.
    pub searched: &'a [String],
}

impl<'a> Failure<'a> {
    /// A thing that did not work, where no directories were searched.
    pub(super) fn of(tool: &'a str, doing: &'a str, probed: &'a Probed) -> Self {
        Self { tool, doing, probed, searched: &[] }
    }
}

impl<'a> Lab<'a> {
    /// The path of the tool with this role.
    pub(super) fn tool(&self, role: &str) -> Option<&'a str> {
        self.toolchain.tools.get(role).map(String::as_str)
    }

    /// Runs a tool with the environment that actions get with this toolchain.
    pub(super) async fn run<S: AsRef<str>>(
        &self,
        arguments: &[S],
        inputs: Vec<Input>,
        outputs: &[&str],
    ) -> Result<Probed, ToolchainError> {
        self.run_with(arguments, inputs, outputs, &BTreeMap::new()).await
    }

    /// As [`Lab::run`], with more variables.
    pub(super) async fn run_with<S: AsRef<str>>(
        &self,
        arguments: &[S],
        inputs: Vec<Input>,
        outputs: &[&str],
        variables: &BTreeMap<String, String>,
    ) -> Result<Probed, ToolchainError> {
        let mut environment = self.toolchain.environment.clone();
        environment.extend(variables.iter().map(|(name, value)| (name.clone(), value.clone())));
        let probe = Probe {
            arguments: arguments.iter().map(|a| a.as_ref().to_owned()).collect(),
            environment,
            inputs,
            outputs: outputs.iter().map(|o| (*o).to_owned()).collect(),
        };
        self.prober.probe(&probe).await.map_err(|e| self.broken(&e))
    }

    /// What the tree has at a path of the sandbox.
    pub(super) async fn look(&self, path: &str) -> Result<Seen, ToolchainError> {
        self.prober.look(path).await.map_err(|e| self.broken(&e))
    }

    fn broken(&self, error: &std::io::Error) -> ToolchainError {
        let problem = format!("the sandbox in which it should be asked failed: {error}");
        ToolchainError::Compiler { compiler: format!("the toolchain `{}`", self.toolchain.name), problem }
    }

    /// Why something did not work, as far as that can be found out.
    pub(super) async fn refused(&self, failure: Failure<'_>) -> ToolchainError {
        let Failure { tool, doing, probed, searched } = failure;
        let said = probed.stderr() + &probed.stdout();
        if probed.exit_code == 126
            && let Ok(Seen::File { path, executable: false, .. }) = self.look(tool).await
        {
            let problem = format!("`{tool}` cannot be started: `{path}` is not executable");
            return self.unfit_until(problem, format!("chmod +x {path} in the tree, and add it again"));
        }
        if [126, 127].contains(&probed.exit_code)
            && let Ok(Some((wants, why))) = self.not_started(tool).await
        {
            let problem = format!("`{tool}` cannot be started: {why}");
            return self.unfit(problem, Some(wants), None);
        }
        let Some(absent) = absent(&said) else {
            let problem = format!("`{tool}` cannot {doing}: it ended with {}", probed.exit_code);
            let hint = format!("see for yourself: lre run --toolchain {} -- {tool}", self.toolchain.name);
            return ToolchainError::Unfit(Box::new(Unfit { problem, wants: None, said: short(&said), hint }));
        };
        let mut name = absent.name().to_owned();
        // A name that is there but leads nowhere: what is missing is where it leads.
        let mut leads = String::new();
        if name.starts_with('/')
            && let Ok(Seen::Nothing(end)) = self.look(&name).await
            && end != name
        {
            leads = format!(", by way of `{name}`");
            name = end;
        }
        let what = match absent {
            Absent::Header(_) => "the header",
            Absent::Linked(ref n) if n.starts_with("-l") => "the library",
            Absent::Linked(_) => "the file",
            Absent::Program(_) => "the program",
            Absent::Loaded(_) => "the shared library",
        };
        let mut problem =
            format!("`{tool}` cannot {doing}: it wants {what} `{name}`{leads}, which is not in the toolchain");
        let named: Vec<_> = searched
            .iter()
            .filter(|d| self.is_telling(d))
            .take(DIRECTORIES_NAMED_MAX)
            .map(|d| format!("`{d}`"))
            .collect();
        if !name.starts_with('/') && !named.is_empty() {
            problem += &format!("; it searches {} too, of which nothing is there", named.join(", "));
        }
        self.unfit(problem, Some(name), short(&said))
    }

    /// Whether it says something that this directory is not there. As the root, a tree lacks most of the usual
    /// directories that compilers search; below its mount it lacks those that the compiler was built for.
    fn is_telling(&self, directory: &str) -> bool {
        let usual = ["/usr/", "/lib/", "/lib64/"].iter().any(|usual| directory.starts_with(usual));
        !usual || self.toolchain.kind != Kind::Rootfs
    }

    /// What a tool that does not start lacks, and the sentence about it.
    async fn not_started(&self, tool: &str) -> Result<Option<(String, String)>, ToolchainError> {
        let head = match self.look(tool).await? {
            Seen::Nothing(end) if end == tool => return Ok(Some((end, "it is not in the toolchain".to_owned()))),
            Seen::Nothing(end) => {
                let why = format!("it leads to `{end}`, which is not in the toolchain");
                return Ok(Some((end, why)));
            }
            Seen::Directory(_) => return Ok(Some((tool.to_owned(), "it is a directory".to_owned()))),
            Seen::File { head, .. } => head,
        };
        match program(&head) {
            Some(Program::Script(interpreter)) if self.is_absent(&interpreter).await? => {
                let why = format!("it is a script for `{interpreter}`, which is not in the toolchain");
                Ok(Some((interpreter, why)))
            }
            Some(Program::Elf { loader: Some(loader), .. }) if self.is_absent(&loader).await? => {
                let why = format!("it is a dynamic program whose loader `{loader}` is not in the toolchain");
                Ok(Some((loader, why)))
            }
            _ => Ok(None),
        }
    }

    /// Whether the tree has nothing at this path.
    pub(super) async fn is_absent(&self, path: &str) -> Result<bool, ToolchainError> {
        Ok(matches!(self.look(path).await?, Seen::Nothing(_)))
    }

    /// Whether there is a file at this path that may be executed.
    pub(super) async fn is_program(&self, path: &str) -> Result<bool, ToolchainError> {
        Ok(matches!(self.look(path).await?, Seen::File { executable: true, .. }))
    }

    pub(super) fn unfit(&self, problem: String, wants: Option<String>, said: Option<String>) -> ToolchainError {
        let hint = self.hint(wants.as_deref());
        ToolchainError::Unfit(Box::new(Unfit { problem, wants, said, hint }))
    }

    /// As [`Lab::unfit`], for what is not about something that is missing.
    pub(super) fn unfit_until(&self, problem: String, hint: String) -> ToolchainError {
        ToolchainError::Unfit(Box::new(Unfit { problem, wants: None, said: None, hint }))
    }

    /// What to do about something that is not in the tree.
    fn hint(&self, wants: Option<&str>) -> String {
        let Toolchain { name, source, kind, .. } = self.toolchain;
        let path = wants.filter(|w| w.starts_with('/'));
        let scheme = source.split(':').next().unwrap_or_default();
        match (scheme, path) {
            ("capture", Some(path)) => format!("lre toolchain add {name} --from {source} --also {path}"),
            ("capture", None) => format!("lre toolchain add {name} --from {source} --also PATH-OF-WHAT-IS-MISSING"),
            ("deb", _) => {
                format!("take the package that has it, too: lre toolchain add {name} --from deb:PACKAGE,PACKAGE,...")
            }
            (_, Some(path)) if *kind == Kind::Tree && !path.starts_with(&self.toolchain.mount()) => format!(
                "a toolchain of kind tree has nothing outside of {}: put it into the tree and make the compiler look there, \
                 or mount the tree as `/`, where it is complete: lre toolchain add {name} --from {source} --kind rootfs",
                self.toolchain.mount()
            ),
            _ => format!("put it into the tree and add it again: lre toolchain add {name} --from {source}"),
        }
    }
}

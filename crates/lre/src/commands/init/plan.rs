//! What `lre init` would write, compared with what is there.
use crate::exit::{OrProblem, Problem};
use crate::ui::Paint;
use similar::{ChangeTag, TextDiff};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest new file that is shown whole, in lines.
const SHOWN_LINES_MAX: usize = 20;

/// One file as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// From the workspace.
    pub path: String,
    /// All of it.
    pub text: String,
    /// What is there now.
    pub present: Option<String>,
    /// Only the user may read it.
    pub private: bool,
}

/// All files as they should be.
#[derive(Debug)]
pub struct Plan {
    workspace: PathBuf,
    files: Vec<Planned>,
}

impl Plan {
    /// Nothing yet.
    #[must_use]
    pub fn new(workspace: &Path) -> Self {
        Self { workspace: workspace.to_owned(), files: Vec::new() }
    }

    /// Where the files are.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Adds a file that is ours as a whole.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub fn file(&mut self, path: &str, text: String, private: bool) -> Result<(), Problem> {
        let present = self.present(path)?;
        self.files.push(Planned { path: path.to_owned(), text, present, private });
        Ok(())
    }

    /// Adds files that are ours as a whole.
    ///
    /// # Errors
    /// As [`Plan::file`].
    pub fn files(&mut self, files: BTreeMap<String, String>) -> Result<(), Problem> {
        files.into_iter().try_for_each(|(path, text)| self.file(&path, text, false))
    }

    /// Adds a line at the end of a file that is the user's, unless `is_there` finds it in one.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub fn line(&mut self, path: &str, line: &str, is_there: impl Fn(&str) -> bool) -> Result<(), Problem> {
        let present = self.present(path)?;
        let mut text = present.clone().unwrap_or_default();
        if text.lines().any(is_there) {
            return Ok(());
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let _ = writeln!(text, "{line}");
        self.files.push(Planned { path: path.to_owned(), text, present, private: false });
        Ok(())
    }

    /// What is at `path` of the workspace.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn present(&self, path: &str) -> Result<Option<String>, Problem> {
        let path = self.workspace.join(path);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Problem::error(format!("cannot read {}", path.display())).why(e)),
        }
    }

    /// The files that are not as they should be.
    #[must_use]
    pub fn changed(&self) -> Vec<&Planned> {
        self.files.iter().filter(|file| file.present.as_ref() != Some(&file.text)).collect()
    }

    /// What would change, for people.
    #[must_use]
    pub fn diff(&self, paint: Paint) -> String {
        self.changed().into_iter().map(|file| file.diff(paint)).collect()
    }

    /// Writes what is not as it should be; each file appears whole.
    ///
    /// # Errors
    /// The first file that cannot be written.
    pub fn write(&self) -> Result<(), Problem> {
        for file in self.changed() {
            let path = self.workspace.join(&file.path);
            file.write(&path).or_problem(format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

impl Planned {
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)?;
        // A file that was there keeps its mode, unless it is to be private.
        let mode = match std::fs::metadata(path) {
            _ if self.private => 0o600,
            Ok(metadata) => metadata.permissions().mode() & 0o777,
            Err(_) => 0o644,
        };
        let mut file = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o600)).tempfile_in(directory)?;
        file.write_all(self.text.as_bytes())?;
        file.as_file().set_permissions(PermissionsExt::from_mode(mode))?;
        file.persist(path).map(drop).map_err(|e| e.error)
    }

    fn diff(&self, paint: Paint) -> String {
        let lines = self.text.lines().count();
        let mut shown = paint.bold(&format!("{}\n", self.path));
        if self.private {
            let _ = writeln!(shown, "  (holds the token: not shown, not to be committed)");
            return shown;
        }
        if self.present.is_none() && lines > SHOWN_LINES_MAX {
            let _ = writeln!(shown, "  new, {lines} lines");
            return shown;
        }
        let present = self.present.clone().unwrap_or_default();
        let diff = TextDiff::from_lines(present.as_str(), self.text.as_str());
        for group in diff.grouped_ops(2) {
            for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                let line = change.value().trim_end_matches('\n');
                let line = match change.tag() {
                    ChangeTag::Delete => paint.bad(&format!("- {line}")),
                    ChangeTag::Insert => paint.good(&format!("+ {line}")),
                    ChangeTag::Equal => format!("  {line}"),
                };
                let _ = writeln!(shown, "{line}");
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn paint() -> Paint {
        Paint::decide(Some("1"), None, false)
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let plan = || {
            let mut plan = Plan::new(dir.path());
            plan.file("a/b", "one\ntwo\n".into(), false).unwrap();
            plan.file("secret", "s3cr3t\n".into(), true).unwrap();
            plan.line(".bazelrc", "try-import x", |line| line.contains("x")).unwrap();
            plan
        };
        fs::write(dir.path().join(".bazelrc"), "build --jobs=2").unwrap();
        assert_eq!(plan().changed().len(), 3);
        let diff = plan().diff(paint());
        assert!(diff.contains("a/b\n+ one\n+ two\n") && diff.contains("+ try-import x\n"), "{diff}");
        assert!(!diff.contains("s3cr3t"), "{diff}");
        plan().write().unwrap();
        assert_eq!(plan().changed(), Vec::<&Planned>::new());
        assert_eq!(fs::read_to_string(dir.path().join(".bazelrc")).unwrap(), "build --jobs=2\ntry-import x\n");
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("secret"), mode("a/b")), (0o600, 0o644));
    }

    #[test]
    fn drift_is_shown_with_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "1\n2\n3\n4\nX\n6\n").unwrap();
        let mut plan = Plan::new(dir.path());
        plan.file("f", "1\n2\n3\n4\n5\n6\n".into(), false).unwrap();
        assert_eq!(plan.diff(paint()), "f\n  3\n  4\n- X\n+ 5\n  6\n");
    }
}

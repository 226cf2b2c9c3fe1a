//! From a result to the files and messages that the compiler would have left, with the paths of this machine.
use super::depfile;
use super::roots::{EXEC, Roots, lexical};
use super::words::{Part, Word};
use crate::client::{Client, ClientError};
use lre_model::{ActionResult, Digest};
use lre_store::BlobStore;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Largest output that is held in memory, in bytes.
const OUTPUT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Something that a command writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// As the action names it: from its working directory.
    pub requested: String,
    /// Where it goes.
    pub host: PathBuf,
    /// It lists dependencies.
    pub dependencies: bool,
}

/// A command, as the sandbox sees it.
pub struct Seen<'a> {
    /// Where everything is.
    pub roots: &'a Roots,
    /// What it writes.
    pub outputs: Vec<Output>,
}

impl<'a> Seen<'a> {
    /// Nothing is written yet.
    #[must_use]
    pub fn new(roots: &'a Roots) -> Self {
        Self { roots, outputs: Vec::new() }
    }

    /// Adds what is written at `path` of the command line. Devices are written by the command itself.
    pub fn writes(&mut self, path: &str, dependencies: bool) {
        let host = lexical(&self.roots.directory().join(path));
        if host.starts_with("/dev") || path.is_empty() {
            return;
        }
        let (Some(inside), Ok(here)) = (self.roots.inside(&host), self.roots.working_directory()) else { return };
        let requested = match inside.strip_prefix(&format!("{here}/")) {
            Some(below) => below.to_owned(),
            None => format!("{}{inside}", "../".repeat(here.split('/').count())),
        };
        if !self.outputs.iter().any(|output| output.requested == requested) {
            self.outputs.push(Output { requested, host, dependencies });
        }
    }

    /// The words as the command gets them.
    #[must_use]
    pub fn words(&self, words: &[Word]) -> Vec<String> {
        words.iter().flat_map(|word| self.word(word)).collect()
    }

    fn word(&self, word: &Word) -> Vec<String> {
        let value = match word.part {
            Part::Verbatim | Part::Library => word.value.clone(),
            Part::Text | Part::DepTarget => self.roots.map_text(&word.value),
            Part::Linker => return self.linker(&word.value),
            _ => self.roots.argument(&word.value),
        };
        vec![format!("{}{value}", word.option)]
    }

    /// `-Wl,`: what the program is to have in it when it runs stays; so that the linker finds other libraries there all the
    /// same, it is told in another way.
    fn linker(&self, words: &str) -> Vec<String> {
        let mut all = Vec::new();
        let mut links = Vec::new();
        let mut rpath = false;
        for word in words.split(',') {
            let value = word.strip_prefix("-rpath=").or_else(|| word.strip_prefix("--rpath="));
            let runs = if std::mem::take(&mut rpath) { Some(word) } else { value };
            rpath = matches!(word, "-rpath" | "--rpath" | "-R");
            match runs {
                Some(paths) => {
                    let inside = paths.split(':').filter(|path| self.roots.inside(Path::new(path)).is_some());
                    links.extend(inside.map(|path| format!("-Wl,-rpath-link,{}", self.roots.argument(path))));
                    all.push(word.to_owned());
                }
                None => all.push(self.roots.map_text(word)),
            }
        }
        let mut out = vec![format!("-Wl,{}", all.join(","))];
        out.extend(links);
        out
    }

    /// Writes all outputs of `result`; each appears whole or not at all, the one that make waits for last.
    ///
    /// # Errors
    /// An output that is gone or cannot be written.
    pub async fn deliver(
        &self,
        client: &Client,
        result: &ActionResult,
        lock: Option<&Path>,
    ) -> Result<(), ClientError> {
        for output in self.outputs.iter().rev() {
            let Some(file) = result.wire().output_files.iter().find(|file| file.path == output.requested) else {
                continue;
            };
            let promise = |e: &dyn std::fmt::Display| ClientError::Protocol(e.to_string());
            let digest = Digest::from_wire(result.function(), file.digest.as_ref()).map_err(|e| promise(&e))?;
            let content = if file.contents.is_empty() {
                client.store().read(digest).await?.into_bytes(OUTPUT_BYTES_MAX).await?
            } else {
                file.contents.clone().into()
            };
            if Digest::of(result.function(), &content) != digest {
                return Err(ClientError::Protocol(format!("{} is not what its digest says", output.requested)));
            }
            let listed = output.dependencies.then(|| self.dependencies(&content, lock));
            let bytes = listed.as_deref().unwrap_or(&content);
            write(&output.host, bytes, file.is_executable)
                .map_err(|source| ClientError::Local { path: output.host.clone(), source })?;
        }
        Ok(())
    }

    /// The list with this machine's paths. Headers of the toolchain are no files of this machine: the lock file, which pins
    /// them all, stands for them.
    fn dependencies(&self, content: &[u8], lock: Option<&Path>) -> Vec<u8> {
        let text = String::from_utf8_lossy(content);
        let mut rules = depfile::parse(&text);
        let host = |name: &String| match name.strip_prefix(EXEC) {
            Some(inside) => self.roots.outside(inside.trim_start_matches('/')).map(|path| path.display().to_string()),
            None if name.starts_with('/') => None,
            None => Some(name.clone()),
        };
        for rule in &mut rules {
            rule.targets = rule.targets.iter().filter_map(|name| host(name).or_else(|| keep_target(name))).collect();
            rule.prerequisites = rule.prerequisites.iter().filter_map(host).collect();
        }
        // `-MP`: a rule for each header, which has none of its own for those of the toolchain.
        rules.retain(|rule| !rule.targets.is_empty() && !is_foreign(rule));
        if let (Some(first), Some(lock)) = (rules.first_mut(), lock) {
            first.prerequisites.push(lock.display().to_string());
        }
        depfile::format(&rules).into_bytes()
    }

    /// Removes what a compiler that fails removes: an object of before would pass for one of now.
    pub fn withdraw(&self) {
        if let Some(object) = self.outputs.first().filter(|output| !output.dependencies) {
            let _ = std::fs::remove_file(&object.host);
        }
    }
}

/// The target of a rule may be anything, also a path of nowhere; only rules without prerequisites are about files.
fn keep_target(name: &str) -> Option<String> {
    Some(name.to_owned())
}

fn is_foreign(rule: &depfile::Rule) -> bool {
    rule.prerequisites.is_empty() && rule.targets.iter().all(|name| name.starts_with('/') && !Path::new(name).exists())
}

/// The mode is the umask's business, as for a compiler.
fn write(path: &Path, content: &[u8], executable: bool) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What is no file, a pipe for example, cannot be replaced.
    if std::fs::symlink_metadata(path).is_ok_and(|m| !m.is_file() && !m.is_symlink()) {
        return std::fs::OpenOptions::new().write(true).open(path)?.write_all(content);
    }
    let mode = if executable { 0o777 } else { 0o666 };
    let mut file = tempfile::Builder::new()
        .prefix(".lre-")
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(parent)?;
    file.write_all(content)?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cc::words::Line;

    fn roots() -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let at = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir_all(at.join("w/sub")).unwrap();
        std::fs::write(at.join("w/lre.lock"), "").unwrap();
        let roots = Roots::find(&at.join("w/sub"), &[], None);
        (dir, roots)
    }

    #[test]
    fn words_are_mapped_by_what_they_are() {
        let (_dir, roots) = roots();
        let w = roots.outside("src").unwrap().display().to_string();
        let line = format!("-DROOT=\"{w}\" -I{w}/include -I../x -c {w}/a.c -o a.o -Wl,-rpath,{w}/lib -Wl,-Map={w}/m");
        let words = Line::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).words;
        assert_eq!(
            Seen::new(&roots).words(&words).join(" "),
            format!(
                "-DROOT=\"{w}\" -I/lre/exec/src/include -I../x -c /lre/exec/src/a.c -o a.o -Wl,-rpath,{w}/lib \
                 -Wl,-rpath-link,/lre/exec/src/lib -Wl,-Map=/lre/exec/src/m"
            )
        );
    }

    #[test]
    fn outputs_are_named_from_the_working_directory() {
        let (_dir, roots) = roots();
        let mut seen = Seen::new(&roots);
        for path in ["a.o", "d/../b.o", "../lib/c.o", "/dev/null"] {
            seen.writes(path, false);
        }
        let requested: Vec<_> = seen.outputs.iter().map(|o| o.requested.as_str()).collect();
        assert_eq!(requested, ["a.o", "b.o", "../../src/lib/c.o"]);
    }

    #[test]
    fn a_list_of_dependencies_names_files_of_this_machine() {
        let (_dir, roots) = roots();
        let w = roots.outside("src").unwrap().display().to_string();
        let text = b"a.o: a.c /lre/exec/src/x.h \\\n /usr/include/lre-none.h\nx.h:\n/usr/include/lre-none.h:\n";
        let listed = Seen::new(&roots).dependencies(text, Some(Path::new("/l/lre.lock")));
        let expected = format!("a.o: \\\n a.c \\\n {w}/x.h \\\n /l/lre.lock\nx.h:\n");
        assert_eq!(String::from_utf8(listed).unwrap(), expected);
    }
}

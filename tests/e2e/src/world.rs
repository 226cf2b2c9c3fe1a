//! A machine with a server and one project on it, and the people who build that with Bazel.
use crate::bazel::{Bazel, Build, Version, write_stubs};
use crate::jail::{Root, is_root};
use crate::packages::Packages;
use crate::projects;
use crate::serve::{Home, Serve, said};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// An ordinary user other than root.
const SOMEBODY_ELSE: u32 = 65534;

/// What `lre init` writes for everybody. The addresses, in lre.local.bazelrc, are for one machine.
pub const COMMITTED: &[&str] = &["lre.lock", "lre.bazelrc", "local-remote-execution"];

/// A machine with a server, and one project on it.
pub struct World {
    /// With which it is built.
    pub version: Version,
    root: Root,
    // Ends before its home goes.
    server: Serve,
    home: Home,
    /// Where the project is.
    pub workspace: PathBuf,
}

/// How somebody's surroundings differ.
const THEIRS: [(&str, &str); 6] = [
    ("LANG", "de_DE.UTF-8"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("TZ", "Asia/Tokyo"),
    ("EDITOR", "ed"),
    ("CC", "/opt/bin/cc"),
    ("UMASK", "077"),
];

/// The toolchain that speaks all languages of `examples/trilogue`, as a source.
pub const EVERYTHING: &str = "deb:g++,openjdk-17-jdk-headless,rustc";

/// Brings [`EVERYTHING`] under the name `all`, resolved against this machine's mirrors as for any user; packages that
/// the cache of the tests has are not fetched again.
pub fn install_everything(home: &Home) -> Result<()> {
    let downloads = home.store().join("toolchains/incoming/packages");
    fs::create_dir_all(&downloads)?;
    for (sha256, file) in Packages::of_this_checkout("toolchains-all").files()? {
        fs::copy(&file, downloads.join(format!("{sha256}.deb")))?;
    }
    home.must(&["toolchain", "add", "all", "--from", EVERYTHING]).map(drop)
}

impl World {
    /// With the C++ compiler of this machine, captured.
    pub fn new(version: Version, project: impl Fn(&Path) -> Result<()>) -> Result<Self> {
        Self::with(version, project, |home| {
            home.must(&["toolchain", "add", "cc", "--from", "capture:/usr/bin/c++"]).map(drop)
        })
    }

    /// With the toolchains that `install` brings.
    pub fn with(
        version: Version,
        project: impl Fn(&Path) -> Result<()>,
        install: impl Fn(&Home) -> Result<()>,
    ) -> Result<Self> {
        let world = Self::bare(version, install)?;
        project(&world.workspace)?;
        world.lre(&["init", "--client", "bazel", "--yes"])?;
        world.lre(&["init", "--check"])?;
        if version == Version::V7 {
            projects::use_module(&world.workspace)?;
        }
        Ok(world)
    }

    /// With toolchains, and no project yet.
    pub fn bare(version: Version, install: impl Fn(&Home) -> Result<()>) -> Result<Self> {
        let root = version.packages().ready()?;
        let home = Home::new()?;
        let server = home.serve()?;
        install(&home)?;
        let workspace = home.work().join("project");
        Ok(Self { version, root, server, home, workspace })
    }

    /// `lre` in the workspace; it must succeed.
    pub fn lre(&self, arguments: &[&str]) -> Result<String> {
        let output = self.home.lre(arguments).current_dir(&self.workspace).output()?;
        ensure!(output.status.success(), "lre {}: {}", arguments.join(" "), said(&output));
        Ok(said(&output))
    }

    /// The server.
    pub fn server(&self) -> &Serve {
        &self.server
    }

    /// Whose machine it is.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Where the server listens and how somebody else gets in, as flags for Bazel.
    pub fn address(&self) -> Result<Vec<String>> {
        let endpoint = self.server.tcp();
        let token = format!("--remote_header=authorization=Bearer {}", self.token()?);
        Ok(vec![format!("--remote_executor=grpc://{endpoint}"), format!("--remote_cache=grpc://{endpoint}"), token])
    }

    fn token(&self) -> Result<String> {
        let file = self.home.path().join("home/.local/state/lre/token");
        let token = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(token.trim().to_owned())
    }

    /// Whoever set it up.
    pub fn first_person(&self) -> Result<Bazel> {
        let home = tempfile::Builder::new().prefix("bazel-home-").tempdir_in(self.home.path())?.keep();
        write_stubs(&home)?;
        let environment = vec![("LANG".to_owned(), "C.UTF-8".to_owned())];
        Ok(self.person(None, home, self.workspace.clone(), environment))
    }

    /// Somebody who has checked out the project, in `place`, with what was committed. Where the test may do that (as
    /// root), it is another user.
    pub fn second_person(&self, place: &Path) -> Result<Bazel> {
        let (home, workspace) = (place.join("their/home"), place.join("another/place/for/it"));
        fs::create_dir_all(&home)?;
        fs::create_dir_all(&workspace)?;
        write_stubs(&home)?;
        projects::copy_checkout(&self.workspace, &workspace, COMMITTED)?;
        let user = is_root().then_some(SOMEBODY_ELSE);
        if let Some(user) = user {
            projects::give_to(user, place)?;
        }
        let environment = THEIRS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Ok(self.person(user, home, workspace, environment))
    }

    /// Whoever set it up, on a machine that has in `root` what the toolchain has, at the same paths, and Bazel.
    pub fn at_home_in(&self, root: Root) -> Result<Bazel> {
        Ok(Bazel { root, ..self.first_person()? })
    }

    fn person(
        &self,
        user: Option<u32>,
        home: PathBuf,
        workspace: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Bazel {
        let (version, root) = (self.version, self.root.clone());
        Bazel { version, root, user, home, workspace, environment, resident: false, startup: Vec::new() }
    }
}

/// Everything that `cold` executed was found, and nothing else was asked for.
///
/// # Panics
/// It was not.
pub fn all_hits(what: &str, build: &Build, cold: &Build) {
    let others = build.other_than("remote cache hit");
    assert!(others.is_empty(), "{what}: all are hits: {:?}\n{}", build.processes, build.output);
    assert_eq!(build.count("remote cache hit"), cold.count("remote"), "{what}: the same number of actions");
    assert_eq!(build.digests(), cold.digests(), "{what}: the same actions");
}

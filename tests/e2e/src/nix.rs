//! Debian's Nix, several versions of it, each in its jail with a store of its own; and this repository's flake beside stand-ins
//! for what it takes from the network.
use crate::jail::{Root, is_root};
use crate::packages::Packages;
use crate::serve::{Home, said};
use crate::{binary, projects};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Sets of packages that have a Nix, and its version.
pub const VERSIONS: [(&str, &str); 3] = [("nix-2.8", "2.8"), ("nix-2.26", "2.26"), ("bazel-7", "2.34")];

/// Puts a store in the place of `/nix`, which only the jail's root can have. `$0` the store's folder; then the command.
const WITH_STORE: &str = r#"mkdir -p /nix && busybox mount -o bind "$0" /nix && exec "$@""#;

/// A Nix with a store, in a folder that goes away.
pub struct Nix {
    root: Root,
    version: &'static str,
    directory: tempfile::TempDir,
}

impl Nix {
    /// The Nix of one of the [`VERSIONS`], and the flakes.
    pub fn of(set: &str) -> Result<Self> {
        let (_, version) = VERSIONS.iter().find(|(name, _)| *name == set).context("no set with a Nix")?;
        let root = Packages::of_this_checkout(set).ready()?;
        // Short, since there will be sockets in it.
        let directory = tempfile::Builder::new().prefix("lre-nix-").tempdir_in("/tmp")?;
        let nix = Self { root, version, directory };
        for folder in ["nix", "home", "flakes/lre/crates/lre", "flakes/lre/examples/inkwell"] {
            fs::create_dir_all(nix.path().join(folder))?;
        }
        nix.lay_out_flakes()?;
        Ok(nix)
    }

    /// `2.26`.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// What everything is in; the jail has it at the same path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where `path` of `/nix/store` is outside of the jail.
    pub fn outside(&self, path: &str) -> PathBuf {
        self.path().join(path.trim_start_matches('/'))
    }

    /// The flake `lre`, `nixpkgs` or `flake-parts`.
    pub fn flake(&self, name: &str) -> PathBuf {
        self.path().join("flakes").join(name)
    }

    /// `lre` where Nix is, for somebody's home.
    pub fn lre(&self, home: &Home, cwd: &Path, arguments: &[&str]) -> Command {
        let binary = binary::lre();
        let mut command = self.command_seeing(home.path(), cwd, &binary.to_string_lossy(), arguments);
        command.env("LRE_STORE", home.store()).env("LRE_SOCKET", home.socket());
        command
    }

    /// The command line of `program`, run in `cwd`, which is below [`Nix::path`].
    pub fn command(&self, cwd: &Path, program: &str, arguments: &[&str]) -> Command {
        self.command_seeing(self.path(), cwd, program, arguments)
    }

    fn command_seeing(&self, other: &Path, cwd: &Path, program: &str, arguments: &[&str]) -> Command {
        let binary = binary::lre();
        let programs = binary.parent().expect("a program is in a folder");
        let mut visible = vec![self.path(), programs];
        visible.extend((other != self.path()).then_some(other));
        let mut command = self.root.command("/bin/sh", None, cwd, &visible);
        command.env("HOME", self.path().join("home")).env("NIX_CONFIG", self.configuration());
        command.env("LRE_TEST_BINARY", &binary);
        command.arg("-c").arg(WITH_STORE).arg(self.path().join("nix")).arg(program).args(arguments);
        command
    }

    /// `nix ARGUMENTS` in `cwd`, which must succeed: what it printed.
    pub fn must(&self, cwd: &Path, arguments: &[&str]) -> Result<String> {
        let output = self.run(cwd, arguments)?;
        if !output.status.success() {
            let shown = arguments.join(" ");
            bail!("nix {} {shown} ended with {}:\n{}", self.version, output.status, said(&output));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// `nix ARGUMENTS` in `cwd`.
    pub fn run(&self, cwd: &Path, arguments: &[&str]) -> Result<Output> {
        self.command(cwd, "nix", arguments).output().context("unshare is needed")
    }

    /// Gives the stand-in for nixpkgs a gcc, made of Debian's. Without it there is one that does nothing.
    pub fn with_compiler(self) -> Result<Self> {
        let tree = self.path().join("gcc-unpacked");
        compiler(Packages::of_this_checkout("toolchains-all").ready()?.path(), &tree)?;
        let patchelf = Packages::of_this_checkout("nix-2.8").ready()?.path().join("usr/bin/patchelf");
        fs::copy(patchelf, tree.join("usr/bin/patchelf"))?;
        let path = self.must(self.path(), &["store", "add-path", "gcc-unpacked"])?;
        let hash = self.command(self.path(), "nix-store", &["--query", "--hash", &path]).output()?;
        fs::write(self.flake("nixpkgs/programs/cc.hash"), hash.stdout)?;
        fs::remove_dir_all(tree)?;
        Ok(self)
    }

    /// Pins the inputs of our flake to the stand-ins. Afterwards it is used as one that was locked by its authors.
    pub fn lock(&self) -> Result<()> {
        let url = |name: &str| format!("path:{}", self.flake(name).display());
        let lre = self.flake("lre");
        let (nixpkgs, flake_parts) = (url("nixpkgs"), url("flake-parts"));
        let inputs = ["--override-input", "nixpkgs", &nixpkgs, "--override-input", "flake-parts", &flake_parts];
        let mut arguments = vec!["flake", "lock", "."];
        arguments.extend(inputs);
        self.must(&lre, &arguments).map(drop)
    }

    fn configuration(&self) -> String {
        let mut lines = vec![
            "experimental-features = nix-command flakes",
            // Nothing is asked of the network, and nobody else of this machine.
            "substituters =",
            "flake-registry =",
            "build-users-group =",
            "warn-dirty = false",
        ];
        // An ordinary user cannot, and 2.8 does not know the setting.
        if !is_root() && self.version != "2.8" {
            lines.push("require-drop-supplementary-groups = false");
        }
        lines.join("\n")
    }

    fn lay_out_flakes(&self) -> Result<()> {
        let workspace = binary::workspace();
        let lre = self.flake("lre");
        for file in ["flake.nix", "Cargo.toml", "Cargo.lock", "crates/lre/Cargo.toml", "examples/inkwell/BUILD"] {
            fs::copy(workspace.join(file), lre.join(file)).with_context(|| file.to_owned())?;
        }
        projects::copy(&workspace.join("nix"), &lre.join("nix"))?;
        for name in ["nixpkgs", "flake-parts"] {
            fs::rename(lre.join("nix/tests").join(name), self.flake(name))?;
        }
        self.lay_out_programs()
    }

    /// A shell and the usual tools, each in one file that needs no other.
    fn lay_out_programs(&self) -> Result<()> {
        let bin = self.flake("nixpkgs/programs/usual/bin");
        fs::create_dir_all(&bin)?;
        let from = self.root.path();
        let found = |name: &str| ["bin", "usr/bin"].map(|folder| from.join(folder).join(name));
        let find = |name: &str| found(name).into_iter().find(|path| path.is_file()).context(name.to_owned());
        fs::copy(find("bash-static")?, bin.join("bash"))?;
        fs::copy(find("busybox")?, bin.join("busybox"))?;
        symlink("bash", bin.join("sh"))?;
        // Not the copy: a thread that starts a program just now may still have it open for writing.
        let listed = Command::new(find("busybox")?).arg("--list").output()?;
        for name in String::from_utf8(listed.stdout)?.lines().filter(|name| !bin.join(name).exists()) {
            symlink("busybox", bin.join(name))?;
        }
        Ok(())
    }
}

impl Drop for Nix {
    /// A store is read-only, so that it could not be removed by an ordinary user.
    fn drop(&mut self) {
        let _ = Command::new("chmod").arg("-R").arg("u+w").arg(self.path().join("nix")).output();
    }
}

/// Programs of a C and C++ compiler, in `usr/bin`; each is also there with the machine's triple before its name.
const PROGRAMS: &[&str] = &[
    "ar", "as", "cpp-12", "g++-12", "gcc-12", "gcov-12", "ld", "ld.bfd", "nm", "objcopy", "objdump", "ranlib", "strip",
];

/// Beginnings of the names of libraries that these load, or that they link with.
const LIBRARIES: &[&str] = &[
    "crt",
    "Scrt1",
    "ld-linux",
    "libbfd",
    "libc.so",
    "libc_nonshared",
    "libctf",
    "libdl.",
    "libgcc_s",
    "libgmp.",
    "libisl.",
    "libjansson.",
    "libm.so",
    "libmpc.",
    "libmpfr.",
    "libmvec.so.",
    "libopcodes",
    "libpthread.",
    "librt.",
    "libsframe.",
    "libstdc++.",
    "libz.",
    "libzstd.",
];

/// Copies Debian's gcc out of a root, as little of it as compiles C and C++.
fn compiler(root: &Path, to: &Path) -> Result<()> {
    const TRIPLE: &str = "x86_64-linux-gnu";
    for name in PROGRAMS {
        for name in [(*name).to_owned(), format!("{TRIPLE}-{name}")] {
            keep(&root.join("usr/bin").join(&name), &to.join("usr/bin").join(&name))?;
        }
    }
    let gcc = format!("usr/lib/gcc/{TRIPLE}/12");
    for name in names(&root.join(&gcc))? {
        // The other compilers, and what watches memory or threads.
        if !["lto1", "g++-mapper", "plugin"].iter().any(|no| name.starts_with(no)) && !name.contains("san") {
            keep(&root.join(&gcc).join(&name), &to.join(&gcc).join(&name))?;
        }
    }
    // In a merged root both are one folder; the compiler gets its libraries twice, which does no harm.
    for folder in [format!("usr/lib/{TRIPLE}"), format!("lib/{TRIPLE}")] {
        for name in names(&root.join(&folder))? {
            if LIBRARIES.iter().any(|beginning| name.starts_with(beginning)) {
                keep(&root.join(&folder).join(&name), &to.join(&folder).join(&name))?;
            }
        }
    }
    projects::copy(&root.join("usr/include"), &to.join("usr/include"))
}

/// Copies a file, a folder or a link; a link that points out of the tree by an absolute path is left out.
fn keep(from: &Path, to: &Path) -> Result<()> {
    let kind = from.symlink_metadata().with_context(|| from.display().to_string())?.file_type();
    if kind.is_dir() {
        return projects::copy(from, to);
    }
    fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
    if kind.is_file() {
        // A second name costs nothing; across file systems it takes a copy.
        let linked = fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop));
        return linked.with_context(|| from.display().to_string());
    }
    let target = fs::read_link(from)?;
    if target.is_relative() { symlink(target, to).map_err(Into::into) } else { Ok(()) }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

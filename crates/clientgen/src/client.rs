//! The clients for which files are generated: a closed set, each with what is committed, what is of one user, and the
//! line that a file of the project's own needs.
use crate::choice::Choice;
use crate::{Options, Unsuitable, bazel, buck2, buildstream, cmake, make, pants, recc, siso};
use lre_toolchain::LockFile;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A client of `lre init --client`. A further one is a variant; the compiler then names every place that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// Bazel, 4.2 to 9.
    Bazel,
    /// Buck2.
    Buck2,
    /// BuildStream 2.
    Buildstream,
    /// CMake, by way of `lre cc`.
    Cmake,
    /// make and `configure`, by way of `lre cc`.
    Make,
    /// Pants 2.
    Pants,
    /// recc, the compiler launcher of BuildBox.
    Recc,
    /// siso, in trees that are laid out as Chromium is.
    Siso,
}

/// Where the server is for one user on one machine, as far as it listens there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// `127.0.0.1:50051`.
    pub tcp: Option<String>,
    /// The path of the socket.
    pub unix: Option<String>,
    /// For peers that are not of the server's user.
    pub token: Option<String>,
    /// Where the files are, for clients that want absolute paths.
    pub workspace: String,
}

/// A line that a file of the project's own needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Import {
    /// The project's file, in the workspace.
    pub file: &'static str,
    /// What is added at its end.
    pub line: &'static str,
    /// A line that has this, and is no comment, does it already.
    pub known_by: &'static str,
}

impl Client {
    /// In order of their names.
    pub const ALL: [Self; 8] =
        [Self::Bazel, Self::Buck2, Self::Buildstream, Self::Cmake, Self::Make, Self::Pants, Self::Recc, Self::Siso];

    /// As `--client` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bazel => "bazel",
            Self::Buck2 => "buck2",
            Self::Buildstream => "buildstream",
            Self::Cmake => "cmake",
            Self::Make => "make",
            Self::Pants => "pants",
            Self::Recc => "recc",
            Self::Siso => "siso",
        }
    }

    /// The file by which one sees that a workspace has been made ready for this client: the first of those that are
    /// committed, or the user's own where nothing is.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Bazel => bazel::RC,
            Self::Buck2 => buck2::CONFIG,
            Self::Buildstream => buildstream::LOCAL,
            Self::Cmake => cmake::FILE,
            Self::Make => make::FILE,
            Self::Pants => pants::CONFIG,
            Self::Recc => recc::CONFIG,
            Self::Siso => siso::BACKEND,
        }
    }

    /// The file of one user, in the workspace; never committed. None for those that are started by `lre`, which knows
    /// where the server is.
    #[must_use]
    pub const fn local_file(self) -> Option<&'static str> {
        match self {
            Self::Bazel => Some(bazel::LOCAL_RC),
            Self::Buck2 => Some(buck2::LOCAL),
            Self::Buildstream => Some(buildstream::LOCAL),
            Self::Cmake | Self::Make => None,
            Self::Pants => Some(pants::LOCAL),
            Self::Recc => Some(recc::LOCAL),
            Self::Siso => Some(siso::LOCAL),
        }
    }

    /// All files that belong into the workspace, by path, to be committed. They come from the lock file alone.
    ///
    /// # Errors
    /// See [`Unsuitable`].
    pub fn files(self, lock: &LockFile, options: &Options) -> Result<BTreeMap<String, String>, Unsuitable> {
        let choice = Choice::new(lock, options)?;
        match self {
            Self::Bazel => bazel::files(lock, options),
            Self::Buck2 => buck2::files(&choice),
            // Its sandboxes are whole root file systems that it stages itself.
            Self::Buildstream => Ok(BTreeMap::new()),
            Self::Cmake => cmake::files(&choice),
            Self::Make => make::files(&choice),
            Self::Pants => Ok(pants::files(&choice)),
            Self::Recc => Ok(recc::files(&choice)),
            Self::Siso => Ok(siso::files(&choice)),
        }
    }

    /// The text of [`Client::local_file`], empty where there is none: nothing in it may influence an action digest. With a token in it, it must be
    /// readable for its owner only.
    ///
    /// # Errors
    /// The server listens at nothing that this client can speak to.
    pub fn local(self, at: &Addresses, options: &Options) -> Result<String, Unsuitable> {
        match self {
            Self::Bazel => {
                // TCP first: not every Bazel has a Unix transport.
                let endpoint = at.tcp.clone().or_else(|| at.unix_url()).ok_or(Unsuitable::Nowhere)?;
                let address = bazel::Address { endpoint, token: at.token.clone() };
                Ok(bazel::local_rc(&address, options.prefix.as_deref()))
            }
            Self::Buildstream => Ok(buildstream::local(&at.tcp_for(self)?)),
            Self::Buck2 => Ok(buck2::local(&at.tcp_for(self)?, at.token.as_deref())),
            Self::Cmake | Self::Make => Ok(String::new()),
            Self::Pants => Ok(pants::local(&at.tcp_for(self)?, at.token.as_deref())),
            Self::Recc => recc::local(at),
            Self::Siso => Ok(siso::local(&at.tcp_for(self)?)),
        }
    }

    /// The line that makes a file of the project's own read ours.
    #[must_use]
    pub const fn import(self) -> Option<Import> {
        match self {
            Self::Bazel => Some(Import { file: ".bazelrc", line: bazel::IMPORT_LINE, known_by: bazel::RC }),
            Self::Buck2 => Some(Import { file: ".buckconfig", line: buck2::IMPORT_LINE, known_by: buck2::CONFIG }),
            // They are told on the command line or by the environment, or look there by themselves.
            Self::Buildstream | Self::Cmake | Self::Make | Self::Pants | Self::Recc | Self::Siso => None,
        }
    }

    /// The command that uses the files, for people.
    #[must_use]
    pub fn usage(self, options: &Options) -> String {
        match self {
            Self::Bazel => {
                let flag = options.prefix.as_ref().map(|prefix| format!("--config={prefix} ")).unwrap_or_default();
                format!("bazel build {flag}//...")
            }
            Self::Buck2 => "buck2 build //...".to_owned(),
            Self::Buildstream => format!("bst --config {} build ELEMENT", buildstream::LOCAL),
            Self::Cmake => format!("cmake -S . -B build --toolchain {} && cmake --build build", cmake::FILE),
            Self::Make => format!(". ./{} && make", make::FILE),
            Self::Pants => format!("PANTS_CONFIG_FILES=\"+['{}', '{}']\" pants ...", pants::CONFIG, pants::LOCAL),
            Self::Recc => format!(". ./{}; recc /PATH/TO/COMPILER -c FILE", recc::LOCAL),
            Self::Siso => format!(". ./{}; siso ninja -C OUT", siso::LOCAL),
        }
    }
}

impl Addresses {
    /// As most clients name a Unix socket.
    pub(crate) fn unix_url(&self) -> Option<String> {
        self.unix.as_ref().map(|path| format!("unix:{path}"))
    }

    fn tcp_for(&self, client: Client) -> Result<String, Unsuitable> {
        self.tcp.clone().ok_or(Unsuitable::NoTcp(client.name()))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Client {
    type Err = Unsuitable;

    fn from_str(name: &str) -> Result<Self, Unsuitable> {
        Self::ALL.into_iter().find(|client| client.name() == name).ok_or_else(|| Unsuitable::NoClient(name.to_owned()))
    }
}

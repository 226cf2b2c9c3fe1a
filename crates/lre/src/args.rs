//! The command line, as data.
use crate::commands::cache::CacheArgs;
use crate::config::{Size, Written};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use lre_clientgen::Client;
use lre_model::{Network, Policy};

/// Hermetic, content-addressed builds on your own machine.
#[derive(Parser, Debug)]
#[command(name = "lre", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_long_help = "Without a command: the state of the server, and the one next step.

Examples:
  lre demo                               the whole of it, with nothing installed
  lre up                                 a server in the background
  lre toolchain add cc --from capture:/usr/bin/cc
  lre run --out hello -- cc hello.c -o hello
  lre cc gcc -c hello.c -o hello.o
  lre init --client bazel                then: bazel build --config=lre //...")]
pub struct Cli {
    /// Where the server is: unix:/path or grpc://host:port.
    #[arg(long, global = true, value_name = "WHERE")]
    pub server: Option<String>,
    /// Directory of blobs, action results and toolchains.
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// All commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the server in the foreground.
    #[command(
        after_long_help = "One line for each listener is printed, then `ready`. SIGTERM or Ctrl-C cancels what runs and ends; a
second signal ends at once.

Examples:
  lre serve
  lre serve --listen 127.0.0.1:0 --socket none --store /tmp/s --slots 2"
    )]
    Serve(ServeArgs),
    /// Run the server in the background.
    #[command(after_long_help = "Examples:\n  lre up\n  lre up --default-toolchain cc --json")]
    Up(UpArgs),
    /// Stop the server.
    #[command(after_long_help = "Example:\n  lre down")]
    Down(DownArgs),
    /// Show the state of the server, and the next step.
    #[command(after_long_help = "Examples:\n  lre status\n  lre status --json")]
    Status(JsonArgs),
    /// Show the log of the server in the background.
    #[command(after_long_help = "Examples:\n  lre logs\n  lre logs -f -n 100")]
    Logs(LogsArgs),
    /// Check this machine: what works, what does not, and the fix.
    #[command(after_long_help = "Exits 30 where sandboxes cannot be made, 10 where something else is wrong.

Examples:
  lre doctor
  lre doctor --json")]
    Doctor(JsonArgs),
    /// Run a command as a cached, hermetic action.
    #[command(after_long_help = RUN_HELP)]
    Run(RunArgs),
    /// Compile with the pinned compiler, each compile a cached, hermetic action: for make, CMake and ninja.
    #[command(after_long_help = CC_HELP)]
    Cc(CcArgs),
    /// Do the main job with nothing installed: a C++ project, built hermetically on a private server.
    #[command(
        after_long_help = "Captures this machine's C++ compiler, builds the example cold, warm and from a second home, tries to get
out of the sandbox, executes one action twice. Takes a minute; nothing is left behind.

Example:
  lre demo"
    )]
    Demo(DemoArgs),
    /// Add, list, check and remove toolchains.
    Toolchain(ToolchainArgs),
    /// See, bound and check what the store keeps on the disk.
    Cache(CacheArgs),
    /// Set up a workspace: lre.lock, and the files of its build client.
    #[command(
        after_long_help = "Writes lre.lock, lre.bazelrc and the module local-remote-execution, which belong into version control,
and lre.local.bazelrc with the addresses of this machine, which does not. Shows what would change and asks.

Examples:
  lre init --client bazel
  lre init --client bazel --toolchain capture:/usr/bin/g++ --yes
  lre init --client recc,pants           docs/guide/clients.md has a section for each
  lre init --policy standard-1           a writable HOME for every action
  lre init --check                       exits 10 where a file has drifted from lre.lock"
    )]
    Init(InitArgs),
    /// Ask any REAPI server whether it keeps the contract of the Remote Execution API.
    #[command(after_long_help = CONFORM_HELP)]
    Conform(ConformArgs),
    /// Show the configuration and where it comes from.
    Config(ConfigArgs),
    /// Body of the sandbox launcher; started by the server.
    #[command(hide = true)]
    Launcher,
}

const CC_HELP: &str = "\
COMPILER is a name, or a path that counts by its last part: cc, c++, gcc, g++, clang, clang++, or ar, ranlib, strip
and the like. It is the program of the toolchain in lre.lock; this machine's own is never run. A compile of one
source reads only its headers, and is a hit in any checkout and build directory. Everything else (a link, -E, a
probe of configure) runs whole in the same toolchain. The exit code is the compiler's; 125 is ours.

Environment: LRE_CC_ROOT, LRE_CC_LOCK and LRE_CC_TOOLCHAIN are --root, --lock and --toolchain (LRE_CC_ROOT takes
several, with colons between); LRE_CC_LOG names the log, and is `-` for a line on stderr.

Examples:
  make CC='lre cc gcc' CXX='lre cc g++' AR='lre cc ar'
  cmake -DCMAKE_C_COMPILER_LAUNCHER='lre;cc' -DCMAKE_CXX_COMPILER_LAUNCHER='lre;cc' ...
  lre cc g++ -O2 -c a.cc -o a.o
  lre cc --stats";

const RUN_HELP: &str = "\
The command sees its inputs, its toolchain and nothing else of this machine. Without --in it sees the
current directory, without version control folders and without the outputs. Its stdout and stderr come
out as they are; one line on stderr says whether it ran or was known. The exit code is the command's;
125 is ours, 126 not executable, 127 not found, 128+n signal n.

Examples:
  lre run -- cc --version
  lre run --in hello.c --out hello -- cc hello.c -o hello
  lre run --env LANG=C --timeout 60 --out report -- ./check.sh report
  lre run --property lre-memory-bytes-max=1073741824 --out big -- ./generate big
  lre run --policy standard-1 --network host --no-cache -- ./check-links";

const CONFORM_HELP: &str = "\
One line for each check: pass, fail, note (a difference that the API allows) or skipped, the clause of
docs/reference/protocol.md, and M (the API demands it), S (it asks for it) or O (it allows it). What is
executed are small static programs for x86-64 Linux that it makes itself, so no toolchain is needed there.
Exits 10 where something fails that the API demands, 20 where no server answers.

Examples:
  lre conform
  lre conform grpc://localhost:8980 --instance main --platform OSFamily=linux
  lre conform unix:/run/casd.sock --only E --only 43 --json";

/// `lre conform`.
#[derive(Args, Debug)]
pub struct ConformArgs {
    /// unix:/path, grpc://host:port or grpcs://host:port [default: the server of this user].
    pub address: Option<String>,
    /// The instance name of every request.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub instance: String,
    /// A platform property of every action; may be repeated.
    #[arg(long = "platform", value_name = "NAME=VALUE")]
    pub platform: Vec<String>,
    /// A header of every call, such as a token; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    /// The server's HTTP cache, which is asked as well: http://host:port[/prefix].
    #[arg(long, value_name = "URL")]
    pub http: Option<String>,
    /// Only the checks of this section (a letter) or clause (a number); may be repeated.
    #[arg(long, value_name = "WHICH")]
    pub only: Vec<String>,
    /// How long one check may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
    /// List the checks, and ask nobody.
    #[arg(long)]
    pub list: bool,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lre demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Be the second person, who builds what stdin says; started by the demo itself.
    #[arg(long, hide = true)]
    pub as_second_person: bool,
}

/// `lre serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// What it does.
    #[command(flatten)]
    pub server: ServerFlags,
}

/// `lre up`.
#[derive(Args, Debug)]
pub struct UpArgs {
    /// What the server does.
    #[command(flatten)]
    pub server: ServerFlags,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lre down`.
#[derive(Args, Debug)]
pub struct DownArgs {
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Commands that only report.
#[derive(Args, Debug)]
pub struct JsonArgs {
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lre logs`.
#[derive(Args, Debug)]
pub struct LogsArgs {
    /// Go on as the log grows.
    #[arg(short, long)]
    pub follow: bool,
    /// Start with the last N lines.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub lines: usize,
}

/// `lre run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// A file or directory that the command sees, below the current directory; may be repeated.
    #[arg(long = "in", value_name = "PATH")]
    pub inputs: Vec<String>,
    /// The command sees no files at all.
    #[arg(long, conflicts_with = "inputs")]
    pub no_in: bool,
    /// A file or directory that the command leaves; may be repeated.
    #[arg(long = "out", value_name = "PATH")]
    pub outputs: Vec<String>,
    /// A variable of the command's environment; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub environment: Vec<String>,
    /// The toolchain [default: that of lre.lock, else the only one installed].
    #[arg(long, value_name = "NAME")]
    pub toolchain: Option<String>,
    /// The determinism policy [default: that of lre.lock, else strict-1].
    #[arg(long, value_name = "POLICY", value_parser = policies())]
    pub policy: Option<Policy>,
    /// What it can reach: its own loopback, or with another policy than strict-1 what this machine reaches
    /// [default: loopback].
    #[arg(long, value_name = "NETWORK", value_parser = Network::ALL.map(Network::name))]
    pub network: Option<String>,
    /// A further platform property, such as a limit; may be repeated.
    #[arg(long = "property", value_name = "NAME=VALUE")]
    pub properties: Vec<String>,
    /// Kill it after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Run it even where the result is known.
    #[arg(long)]
    pub no_cache: bool,
    /// Run it, and tell which files of this machine and which addresses it wanted and did not get.
    #[arg(long)]
    pub explain: bool,
    /// Report as JSON on stdout; the command's output goes to stderr.
    #[arg(long)]
    pub json: bool,
    /// Run an action that the server has, whoever sent it: the message of a failure names it. Its outputs are not
    /// written here.
    #[arg(long, value_name = "HASH/SIZE", conflicts_with_all = [
        "command", "inputs", "no_in", "outputs", "environment", "toolchain", "policy", "network", "properties", "timeout",
    ])]
    pub action: Option<String>,
    /// The command and its arguments.
    #[arg(last = true, required_unless_present = "action", value_name = "CMD")]
    pub command: Vec<String>,
}

/// `lre cc`.
#[derive(Args, Debug)]
pub struct CcArgs {
    /// The workspace [default: CMake's source directory or the current one, up to the nearest lre.lock or .git]. May be
    /// repeated: what lies in the others may be an input, too.
    #[arg(long, value_name = "DIR")]
    pub root: Vec<std::path::PathBuf>,
    /// The lock file [default: the lre.lock of the workspace].
    #[arg(long, value_name = "FILE")]
    pub lock: Option<std::path::PathBuf>,
    /// The toolchain, where lre.lock pins several for C.
    #[arg(long, value_name = "NAME")]
    pub toolchain: Option<String>,
    /// Say on stderr what was done: hit, ran, or why not as a compile.
    #[arg(long)]
    pub verbose: bool,
    /// Show what was done until now.
    #[arg(long, conflicts_with = "command")]
    pub stats: bool,
    /// Forget that.
    #[arg(long, conflicts_with_all = ["command", "stats"])]
    pub zero_stats: bool,
    /// With --stats: as JSON.
    #[arg(long, requires = "stats")]
    pub json: bool,
    /// The compiler and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMPILER ARGS")]
    pub command: Vec<std::ffi::OsString>,
}

/// `lre toolchain`.
#[derive(Args, Debug)]
pub struct ToolchainArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: ToolchainCommand,
}

/// What to do with toolchains.
#[derive(Subcommand, Debug)]
pub enum ToolchainCommand {
    /// Put a toolchain into the store, under a name.
    #[command(after_long_help = "Sources:
  capture:/usr/bin/cc         this machine's compiler with everything it needs, the shell and the tools that builds call
  deb:cc-debian12             Debian's gcc, from a recipe in this program; also java-, rust- and polyglot-debian12
  deb:gcc,g++,make            Debian's packages and all that they need, as this machine's apt resolves them now
  nix:/nix/store/HASH-NAME    store paths with their closure, of this machine's Nix or of a binary cache
  nix:.#lre-cc                the same, built by Nix first
  oci:PATH                    an image: OCI layout, or what `docker save` or `podman save` wrote
  oci:HOST/NAME@sha256:...    the same, from a registry
  archive:FILE-or-URL#SHA256  tar, zip, wheel
  zig:WHEEL                   clang, lld, musl and libc++ out of a zig release
  dir:/path                   a directory as it is
  cas:ADDRESS#HASH/SIZE       a tree that some REAPI service has
  file:PATH                   what `lre toolchain export` wrote
In a workspace with lre.lock the digest is pinned there.

Examples:
  lre toolchain add cc --from deb:cc-debian12 --lock
  lre toolchain add cc --from capture:/usr/bin/clang --also /usr/bin/python3
  lre toolchain add jdk --from archive:jdk-21.tar.gz
  lre toolchain add protoc --from archive:protoc.zip --manifest protoc.json5")]
    Add(ToolchainAddArgs),
    /// Bring what lre.lock pins into this machine's store: from a peer by digest, else from its sources.
    #[command(
        after_long_help = "Every source is tried in order; what it gives is compared with the digest in lre.lock.

Examples:
  lre toolchain fetch
  lre toolchain fetch cc --from grpc://colleague:50051"
    )]
    Fetch(ToolchainFetchArgs),
    /// Write a toolchain into one file, for a machine without a network.
    #[command(
        after_long_help = "The same toolchain gives the same file.\n\nExample:\n  lre toolchain export cc cc.tar.zst"
    )]
    Export(ToolchainExportArgs),
    /// Read a toolchain from a file that `export` wrote.
    #[command(after_long_help = "Example:\n  lre toolchain import cc.tar.zst --lock")]
    Import(ToolchainImportArgs),
    /// Write the files of the build clients from lre.lock anew, without asking.
    #[command(
        after_long_help = "What `lre init` writes for everybody; nothing of this user and machine. Needs no server and no
toolchain: everything is in lre.lock.

Example:
  lre toolchain generate"
    )]
    Generate(ToolchainGenerateArgs),
    /// List installed toolchains.
    List(JsonArgs),
    /// Show one toolchain.
    Show {
        /// Its name.
        name: String,
        /// Report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check that every blob of the toolchains is there and right.
    #[command(
        after_long_help = "Exits 10 where a toolchain is not whole.\n\nExamples:\n  lre toolchain verify\n  lre toolchain verify cc --json"
    )]
    Verify {
        /// Only this one.
        name: Option<String>,
        /// Report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a toolchain; its blobs go when the store wants the room.
    Remove {
        /// Its name.
        name: String,
    },
}

/// `lre toolchain add`.
#[derive(Args, Debug)]
pub struct ToolchainAddArgs {
    /// What to call it.
    pub name: String,
    /// Where it comes from: capture:COMPILER, deb:PACKAGES, nix:STORE-PATH, oci:IMAGE, archive:FILE-or-URL, zig:WHEEL or
    /// dir:DIRECTORY.
    #[arg(long, value_name = "SOURCE")]
    pub from: String,
    /// How it is mounted: rootfs as /, tree below /lre/toolchains, nix below /nix/store [default: what the source gives].
    #[arg(long, value_name = "KIND", value_parser = ["rootfs", "tree", "nix"])]
    pub kind: Option<String>,
    /// A further program or file to capture; may be repeated.
    #[arg(long, value_name = "PATH")]
    pub also: Vec<String>,
    /// What describes tools other than compilers and JDKs (JSON5); what it says is pinned in lre.lock.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<std::path::PathBuf>,
    /// Pin it in lre.lock, which is made where there is none.
    #[arg(long)]
    pub lock: bool,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lre toolchain fetch`.
#[derive(Args, Debug)]
pub struct ToolchainFetchArgs {
    /// Only this one [default: all of lre.lock].
    pub name: Option<String>,
    /// Ask this REAPI service first; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Vec<String>,
    /// Use no network.
    #[arg(long)]
    pub offline: bool,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lre toolchain export`.
#[derive(Args, Debug)]
pub struct ToolchainExportArgs {
    /// Its name.
    pub name: String,
    /// The file to write, as a rule NAME.tar.zst.
    pub file: std::path::PathBuf,
}

/// `lre toolchain import`.
#[derive(Args, Debug)]
pub struct ToolchainImportArgs {
    /// The file.
    pub file: std::path::PathBuf,
    /// What to call it [default: as the file says].
    #[arg(long)]
    pub name: Option<String>,
    /// Pin it in lre.lock, which is made where there is none.
    #[arg(long)]
    pub lock: bool,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lre toolchain generate`.
#[derive(Args, Debug)]
pub struct ToolchainGenerateArgs {
    /// Name of the Bazel configuration, `lre` for --config=lre; none for every build.
    #[arg(long, value_name = "NAME")]
    pub prefix: Option<String>,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lre init`.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The build clients to write files for [default: those whose files are there, else bazel].
    #[arg(long, value_name = "CLIENT", value_delimiter = ',', value_parser = clients())]
    pub client: Vec<Client>,
    /// A toolchain to pin: a source, or the name of an installed one; NAME=SOURCE gives it a name. May be repeated
    /// [default: those of lre.lock, else the only one installed, else capture:/usr/bin/cc or what is chosen].
    #[arg(long, value_name = "[NAME=]SOURCE")]
    pub toolchain: Vec<String>,
    /// Write nothing; exit 10 where a file, or the running server, has drifted from lre.lock.
    #[arg(long, conflicts_with_all = ["yes", "toolchain"])]
    pub check: bool,
    /// The determinism policy of all actions, kept in lre.lock [default: that of lre.lock, else strict-1].
    #[arg(long, value_name = "POLICY", value_parser = policies(), conflicts_with = "check")]
    pub policy: Option<Policy>,
    /// Write without asking.
    #[arg(long, short)]
    pub yes: bool,
    /// Name of the Bazel configuration, `lre` for --config=lre; none for every build.
    #[arg(long, value_name = "NAME")]
    pub prefix: Option<String>,
    /// Write the token into the user-local file, for a server of another user or of root.
    #[arg(long)]
    pub token: bool,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lre config`.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// What to show.
    #[command(subcommand)]
    pub what: ConfigCommand,
}

/// What of the configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Each value and where it came from.
    #[command(after_long_help = "Examples:\n  lre config show\n  LRE_SLOTS=2 lre config show --json")]
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// All keys of lre.json5, with defaults and examples, as Markdown.
    #[command(after_long_help = "Example:\n  lre config reference | less")]
    Reference,
    /// The JSON schema of lre.json5, for editors.
    #[command(after_long_help = "Example:\n  lre config schema > lre.schema.json")]
    Schema,
}

/// Flags of the server, the same for `serve` and `up`.
#[derive(Args, Debug, Default, Clone)]
pub struct ServerFlags {
    /// Loopback address and port for TCP; port 0 takes a free one; none for no TCP.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Path of the Unix socket; none for no Unix socket.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,
    /// What the store may take of the disk: 50GiB, bytes, or auto.
    #[arg(long, value_name = "SIZE")]
    pub store_bytes_max: Option<String>,
    /// Actions at the same time [default: the number of cores].
    #[arg(long, value_name = "N")]
    pub slots: Option<u64>,
    /// Installed toolchain for actions that name none.
    #[arg(long, value_name = "NAME")]
    pub default_toolchain: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or filters.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

impl ServerFlags {
    /// These flags together with those that every command has.
    #[must_use]
    pub fn over(self, global: Written) -> Written {
        let Self { listen, socket, store_bytes_max, slots, default_toolchain, log } = self;
        let store_bytes_max = store_bytes_max.map(Size);
        Written { listen, socket, store_bytes_max, slots, default_toolchain, log, ..global }
    }
}

/// Names of policies, in the help and in what shells complete.
fn clients() -> impl TypedValueParser<Value = Client> {
    PossibleValuesParser::new(Client::ALL.map(Client::name)).try_map(|name| name.parse::<Client>())
}

fn policies() -> impl TypedValueParser<Value = Policy> {
    PossibleValuesParser::new(Policy::ALL.map(Policy::name)).try_map(|name| name.parse::<Policy>())
}

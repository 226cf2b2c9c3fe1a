//! `--from nix:`: the same closure from a Nix store and from binary caches, and all the ways in which a cache can lie.
//!
//! The closures, the signatures and the caches are made by Debian's Nix, several versions of it. It runs in a jail; a
//! script in its place is what `lre` finds in PATH, and the store is where `NIX_REMOTE` says.
use lre_e2e::nix::Nix;
use lre_e2e::serve::{Home, said};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A Nix, a store with two paths of which one needs the other, and `lre`.
struct World {
    nix: Nix,
    home: Home,
    /// A shell and the usual tools.
    usual: String,
    /// A program that needs them.
    hello: String,
    public_key: String,
}

/// Names of the two paths.
const USUAL: &str = "usual";
const HELLO: &str = "hello";

impl World {
    fn new(set: &str) -> Self {
        let nix = Nix::of(set).unwrap();
        let usual =
            must(&nix, "nix", &["store", "add-path", "--name", USUAL, &text(&nix.flake("nixpkgs/programs/usual"))]);
        fs::create_dir(nix.path().join("flake")).unwrap();
        let flake = nix.path().join("flake/flake.nix");
        fs::write(&flake, FLAKE.replace("USUAL", &usual)).unwrap();
        let built = must(&nix, "nix", &["build", "--no-link", "--json", "--impure", "path:flake#hello"]);
        let built: serde_json::Value = serde_json::from_str(&built).unwrap();
        let hello = built[0]["outputs"]["out"].as_str().unwrap().to_owned();
        let secret = must(&nix, "nix", &["key", "generate-secret", "--key-name", "test-1"]);
        fs::write(nix.path().join("key"), secret).unwrap();
        let public_key = must(&nix, "sh", &["-c", "nix key convert-secret-to-public <key"]);
        let world = Self { nix, home: Home::new().unwrap(), usual, hello, public_key };
        world.lay_out_script();
        world
    }

    /// Nix as `lre` finds it: in its jail.
    fn lay_out_script(&self) {
        let words = |command: Command| {
            let shown = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"));
            let variables = command.get_envs().map(|(name, value)| shown(&[name, value.unwrap()].join("=".as_ref())));
            let words = [command.get_program()].into_iter().chain(command.get_args()).map(shown);
            variables.chain(words).collect::<Vec<_>>().join(" ")
        };
        for program in ["nix", "nix-store"] {
            let script = self.nix.path().join("script").join(program);
            fs::create_dir_all(script.parent().unwrap()).unwrap();
            let command = words(command(&self.nix, program, &[]));
            fs::write(&script, format!("#!/bin/sh\nexec env -i {command} \"$@\"\n")).unwrap();
            fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// A signed binary cache of the closure, compressed like this.
    fn cache(&self, compression: &str) -> PathBuf {
        let cache = self.nix.path().join(format!("cache-{compression}"));
        let key = self.nix.path().join("key");
        let to = format!("file://{}?secret-key={}&compression={compression}", cache.display(), key.display());
        must(&self.nix, "nix", &["copy", "--to", &to, &self.hello]);
        cache
    }

    /// `lre toolchain add`, with Nix, and a store of its own so that nothing is known from before.
    fn add_from_store(&self, store: &str, source: &str) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.nix.path().join("script").display());
        let mut lre = self.add(store, source);
        lre.env("PATH", path).env("NIX_REMOTE", format!("local?root={}", self.nix.path().display()));
        lre.output().unwrap()
    }

    /// The same without Nix.
    fn add_from_cache(&self, store: &str, address: &str, key: &str) -> Output {
        let mut lre = self.add(store, &format!("nix:{}", self.hello));
        lre.env("LRE_NIX_CACHES", address);
        if !key.is_empty() {
            lre.env("LRE_NIX_KEYS", key);
        }
        lre.output().unwrap()
    }

    fn add(&self, store: &str, source: &str) -> Command {
        let mut lre = self.home.lre(&["toolchain", "add", HELLO, "--json", "--from", source]);
        lre.env("LRE_STORE", self.home.path().join(store));
        lre
    }

    /// What must not come from a changed cache.
    fn refused(&self, cache: &Path, key: &str, says: &[&str]) {
        let output = self.add_from_cache("store", &format!("file://{}", cache.display()), key);
        let said = said(&output);
        assert!(!output.status.success(), "{said}");
        for text in says {
            assert!(said.contains(text), "`{text}` is not in: {said}");
        }
        assert!(!said.contains("panicked") && !said.contains("INTERNAL"), "{said}");
        let listed = self.home.must(&["toolchain", "list", "--json"]).unwrap();
        assert!(!listed.contains(HELLO), "nothing is half there: {listed}");
    }
}

/// The flake of the second path. It cannot be built anew without the first, which is not its input: it is in the store.
const FLAKE: &str = r##"{
  outputs = _: {
    hello = derivation {
      name = "hello";
      system = "x86_64-linux";
      builder = "${builtins.storePath USUAL}/bin/sh";
      PATH = "${builtins.storePath USUAL}/bin";
      args = [ "-c" ''
        mkdir -p $out/bin $out/share
        printf '#!%s/bin/sh\necho hello from $0\n' ${builtins.storePath USUAL} >$out/bin/hello
        chmod +x $out/bin/hello
        ln -s ../bin/hello $out/share/link
        mkdir $out/share/empty
      '' ];
    };
    plain = derivation {
      name = "plain";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" "echo plain >$out" ];
    };
  };
}
"##;

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// In the jail; a sandbox inside of it is more than the kernel gives.
fn command(nix: &Nix, program: &str, arguments: &[&str]) -> Command {
    let mut command = nix.command(nix.path(), program, arguments);
    let configuration = command.get_envs().find(|(name, _)| *name == "NIX_CONFIG").unwrap().1.unwrap();
    let configuration = format!("{}\nsandbox = false", configuration.to_str().unwrap());
    command.env("NIX_CONFIG", configuration);
    command
}

fn must(nix: &Nix, program: &str, arguments: &[&str]) -> String {
    let output = command(nix, program, arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What was added.
#[track_caller]
fn added(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["toolchain"].clone()
}

/// The same closure with Nix, from caches in each compression, over HTTP, and from a flake: one tree, and it runs.
fn one_digest_from_everywhere(set: &str, compressions: &[&str]) {
    let world = World::new(set);
    let source = format!("nix:{}", world.hello);
    let first = added(&world.add_from_store("store", &source));
    assert_eq!(first["kind"], "nix");
    assert_eq!(first["source"], source);
    assert_eq!(first["environment"]["PATH"], format!("{}/bin", world.hello));
    for compression in compressions {
        let cache = world.cache(compression);
        let address = format!("file://{}", cache.display());
        let again = added(&world.add_from_cache(&format!("store-{compression}"), &address, &world.public_key));
        assert_eq!(again, first, "{compression}");
    }
    let web = serve(world.cache(compressions[0]));
    let again = added(&world.add_from_cache("store-http", &web, &world.public_key));
    assert_eq!(again, first);
    // Built by Nix when it is added, and then pinned by its path.
    let flake = format!("nix:path:{}#plain", world.nix.path().join("flake").display());
    let plain = added(&world.add_from_store("store-plain", &flake));
    let source = plain["source"].as_str().unwrap();
    assert!(source.starts_with("nix:/nix/store/") && source.ends_with("-plain"), "{source}");
    assert_eq!(plain["environment"], serde_json::json!({}), "it has no programs");

    let server = world.home.serve().unwrap();
    let program = format!("{}/bin/hello", world.hello);
    let ran = world.home.must(&["run", "--toolchain", HELLO, "--no-in", "--", &program]).unwrap();
    assert_eq!(ran, format!("hello from {program}\n"));
    let listed = format!("ls /nix/store && cat {}/share/link && ls -A {}/share/empty", world.hello, world.hello);
    let ran = world
        .home
        .must(&[
            "run",
            "--toolchain",
            HELLO,
            "--no-in",
            "--",
            &format!("{}/bin/sh", world.usual),
            "-c",
            &format!("PATH={}/bin; {listed}", world.usual),
        ])
        .unwrap();
    let mut names = [&world.hello, &world.usual].map(|path| path["/nix/store/".len()..].to_owned());
    names.sort();
    assert!(ran.starts_with(&format!("{}\n{}\n#!{}/bin/sh\n", names[0], names[1], world.usual)), "{ran}");
    drop(server);
}

#[test]
fn one_digest_from_everywhere_with_2_8() {
    one_digest_from_everywhere("nix-2.8", &["xz"]);
}

#[test]
fn one_digest_from_everywhere_with_2_26() {
    one_digest_from_everywhere("nix-2.26", &["zstd", "xz", "gzip"]);
}

#[test]
fn one_digest_from_everywhere_with_2_34() {
    one_digest_from_everywhere("bazel-7", &["zstd"]);
}

/// A copy of a cache, for lies.
struct Copied(PathBuf);

impl Copied {
    fn of(cache: &Path, name: &str) -> Self {
        let to = cache.with_file_name(name);
        lre_e2e::projects::copy(cache, &to).unwrap();
        Self(to)
    }

    /// The file that speaks of a store path.
    fn narinfo(&self, path: &str) -> PathBuf {
        self.0.join(format!("{}.narinfo", &path["/nix/store/".len()..][..32]))
    }

    fn nar(&self, path: &str) -> PathBuf {
        let narinfo = fs::read_to_string(self.narinfo(path)).unwrap();
        self.0.join(narinfo.lines().find_map(|line| line.strip_prefix("URL: ")).unwrap())
    }

    /// Says something else of a store path.
    fn say(self, path: &str, change: impl FnOnce(String) -> String) -> Self {
        let file = self.narinfo(path);
        let before = fs::read_to_string(&file).unwrap();
        let after = change(before.clone());
        assert_ne!(after, before, "nothing has changed");
        fs::write(file, after).unwrap();
        self
    }

    /// Has something else in a store path.
    fn have(self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let file = self.nar(path);
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes);
        fs::write(file, bytes).unwrap();
        self
    }
}

/// The value of a line of a `.narinfo`.
fn line<'a>(narinfo: &'a str, name: &str) -> &'a str {
    narinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

#[test]
fn a_cache_that_lies_or_lacks_is_refused_by_name() {
    let world = World::new("nix-2.26");
    let (plain, packed, key) = (world.cache("none"), world.cache("zstd"), world.public_key.as_str());
    let (hello, usual) = (world.hello.as_str(), world.usual.as_str());

    // Who may sign.
    world.refused(&plain, "", &[hello, "signed by `test-1`, whose key is not known", "`nix_keys`"]);
    let secret = must(&world.nix, "nix", &["key", "generate-secret", "--key-name", "test-1"]);
    fs::write(world.nix.path().join("key-2"), secret).unwrap();
    let other = must(&world.nix, "sh", &["-c", "nix key convert-secret-to-public <key-2"]);
    world.refused(&plain, &other, &[hello, "its signature by `test-1` is not valid"]);
    world.refused(&plain, "test-1", &["`test-1`", "`name:base64`"]);

    // What is signed.
    for (name, from, to) in [("references", "References: ", "References: \nX: "), ("size", "NarSize: ", "NarSize: 1")] {
        let lies = Copied::of(&plain, name).say(hello, |text| text.replace(from, to));
        world.refused(&lies.0, key, &[hello, "its signature by `test-1` is not valid"]);
    }
    let unsigned =
        |text: String| text.lines().filter(|line| !line.starts_with("Sig")).map(|line| format!("{line}\n")).collect();
    let lies = Copied::of(&plain, "unsigned").say(hello, unsigned);
    world.refused(&lies.0, key, &[hello, "nobody has signed it"]);
    let said = fs::read_to_string(Copied(plain.clone()).narinfo(hello)).unwrap();
    let lies = Copied::of(&plain, "another").say(usual, |_| said.clone());
    world.refused(&lies.0, key, &[usual, "it is about", hello]);
    // A name that follows from the content needs no signature, but it must follow.
    let proven = Copied::of(&plain, "proven").say(usual, unsigned);
    let address = format!("file://{}", proven.0.display());
    added(&world.add_from_cache("store-proven", &address, key));
    let hash = line(&said, "NarHash").to_owned();
    let lies = Copied::of(&proven.0, "content").say(usual, |text| {
        let ours = line(&text, "NarHash").to_owned();
        text.replace(&ours, &hash)
    });
    world.refused(&lies.0, key, &[usual, "nobody has signed it"]);

    // What is there.
    let lacks = Copied::of(&plain, "lacks");
    fs::remove_file(lacks.narinfo(usual)).unwrap();
    world.refused(&lacks.0, key, &[usual, hello, "none of these binary caches", "lacks", "no Nix on this machine"]);
    let lacks = Copied::of(&plain, "lacks-nar");
    fs::remove_file(lacks.nar(usual)).unwrap();
    world.refused(&lacks.0, key, &[usual, "cannot be read"]);
    let lies = Copied::of(&packed, "cut").have(usual, |bytes| bytes.truncate(bytes.len() / 2));
    world.refused(&lies.0, key, &[usual, "ends too early"]);
    let lies = Copied::of(&plain, "cut-plain").have(usual, |bytes| bytes.truncate(bytes.len() - 8));
    world.refused(&lies.0, key, &[usual, "ends too early"]);
    let lies = Copied::of(&plain, "longer").have(usual, |bytes| bytes.extend([0; 8]));
    world.refused(&lies.0, key, &[usual, "goes on after its end"]);
    let lies = Copied::of(&plain, "changed").have(usual, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    world.refused(&lies.0, key, &[usual, "narHash", "are signed"]);
    let lies = Copied::of(&plain, "other-nar").have(usual, |bytes| *bytes = b"<html>not found</html>".to_vec());
    world.refused(&lies.0, key, &[usual, "too long"]);

    // What nobody signs.
    let out = format!("URL: ../{}/key\nX: ", world.nix.path().file_name().unwrap().to_str().unwrap());
    let lies = Copied::of(&plain, "out").say(usual, |text| text.replace("URL: ", &out));
    world.refused(&lies.0, key, &[usual, "not a file of the cache"]);
    let lies = Copied::of(&plain, "packed").say(usual, |text| text.replace("Compression: none", "Compression: br"));
    world.refused(&lies.0, key, &[usual, "compressed with br"]);
    world.refused(&plain.join("nowhere"), key, &[hello, "none of these binary caches"]);
}

/// What Nix has on disk is not believed either: its database says what it was.
#[test]
fn a_store_that_was_changed_is_refused_by_name() {
    let world = World::new("nix-2.26");
    let source = format!("nix:{}", world.hello);
    let nowhere = world.add("store", &source).output().unwrap();
    let said = said(&nowhere);
    assert!(
        !nowhere.status.success() && said.contains("no Nix on this machine") && said.contains("`nix_caches`"),
        "{said}"
    );
    let unknown = "nix:/nix/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-gone";
    let unknown = world.add_from_store("store", unknown);
    let said = lre_e2e::serve::said(&unknown);
    assert!(!unknown.status.success() && said.contains("-gone") && said.contains("is not valid"), "{said}");

    let program = world.nix.outside(&world.hello).join("bin/hello");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&program, "#!/bin/sh\necho changed\n").unwrap();
    let changed = world.add_from_store("store", &source);
    let said = lre_e2e::serve::said(&changed);
    assert!(!changed.status.success(), "{said}");
    for text in [&*world.hello, "narHash", "database"] {
        assert!(said.contains(text), "`{text}` is not in: {said}");
    }
    let listed = world.home.must(&["toolchain", "list", "--json"]).unwrap();
    assert!(!listed.contains(HELLO), "nothing is half there: {listed}");
}

/// Serves a folder on a free port for as long as the test runs; its address.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that goes away is its own business.
            let _gone = answer(&folder, stream);
        }
    });
    address
}

fn answer(folder: &Path, stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let name = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
    let (status, body) = match fs::read(folder.join(name)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    (&stream).write_all(&body)
}

//! `lre cache` on stores damaged by hand, beside a server that runs and without one: what is damaged is found, and
//! what a build gets afterwards is right.
use crate::home::Home;
use lre::client::{ActionSpec, Client, Limits, Options, Prepared};
use lre_model::{Digest, DigestFunction};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

/// What `lre cache verify` says, and its exit code.
fn verify(home: &Home) -> (i32, Value) {
    let output = home.run(&["cache", "verify", "--json"]);
    (output.status.code().unwrap(), json(&output))
}

fn json(output: &Output) -> Value {
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    });
    assert_eq!(value["schema_version"], 1);
    value
}

/// The kinds of all problems, sorted.
fn kinds(report: &Value) -> Vec<&str> {
    let problems = report["problems"].as_array().unwrap();
    let mut kinds: Vec<_> = problems.iter().map(|problem| problem["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds
}

fn of(bytes: &[u8]) -> Digest {
    Digest::of(DigestFunction::Sha256, bytes)
}

fn file_of(home: &Home, below: &str, digest: Digest) -> PathBuf {
    let hash = digest.hash_text();
    home.store().join(below).join(&hash[..2]).join(&hash)
}

/// Changes a byte of a file whatever its mode; its length, mode and inode stay.
fn flip(path: &Path, at: usize) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

/// Changes a byte in the log, in every record that has these bytes.
fn flip_in_log(home: &Home, bytes: &[u8]) {
    let mut found = 0;
    for entry in fs::read_dir(home.store().join("log")).unwrap() {
        let path = entry.unwrap().path();
        let all = fs::read(&path).unwrap();
        for at in all.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes).map(|(at, _)| at) {
            flip(&path, at);
            found += 1;
        }
    }
    assert!(found > 0, "the bytes are in the log");
}

/// A build of two outputs, one a file in the store and one a record of the log, from an input of each sort.
struct Build {
    prepared: Prepared,
    to: PathBuf,
}

const LARGE: usize = 30_000;

impl Build {
    async fn new(home: &Home, client: &Client) -> Self {
        let inputs = home.path().join("in");
        fs::create_dir_all(&inputs).unwrap();
        fs::write(inputs.join("large"), vec![b'i'; LARGE]).unwrap();
        fs::write(inputs.join("small"), "a small input").unwrap();
        let script = "cat in/large in/small >large; echo $((6 * 7)) is the answer >small";
        let mut spec: ActionSpec = home.script(script, &["large", "small"]);
        spec.inputs.add_tree("in", &inputs, Limits::NONE, &|_| false).unwrap();
        Self { prepared: client.prepare(spec).await.unwrap(), to: home.path().join("to") }
    }

    fn large() -> Digest {
        of(&[vec![b'i'; LARGE], b"a small input".to_vec()].concat())
    }

    /// Runs it, whatever has to be uploaded for that, and looks at every byte. Whether the result was known.
    async fn run(&self, client: &Client) -> bool {
        let executed = client.run(&self.prepared, &Options::default()).await.unwrap();
        assert!(executed.failure.is_none());
        let _ = fs::remove_dir_all(&self.to);
        client.download(&executed.result, &self.to).await.unwrap();
        assert_eq!(of(&fs::read(self.to.join("large")).unwrap()), Self::large());
        assert_eq!(fs::read_to_string(self.to.join("small")).unwrap(), "42 is the answer\n");
        executed.cached
    }
}

/// The server goes on answering; damage is found, and the next build is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_server_damage_is_found_and_built_again() {
    let home = Home::new();
    let server = home.serve(&[]);
    let client = server.client().await;
    let build = Build::new(&home, &client).await;
    assert!(!build.run(&client).await && build.run(&client).await);
    let (code, sound) = verify(&home);
    assert_eq!((code, kinds(&sound)), (0, Vec::new()), "{sound}");
    assert!(sound["checked"]["packed-blob"]["count"].as_u64() > Some(3), "{sound}");

    // Its outputs: a file, and a record.
    flip(&file_of(&home, "blobs/sha256", Build::large()), 12_345);
    flip_in_log(&home, b"42 is the answer\n");
    let (code, report) = verify(&home);
    assert_eq!((code, kinds(&report)), (10, vec!["file-blob", "packed-blob", "result"]), "{report}");
    assert_eq!(verify(&home).0, 0, "nothing is left to be found");
    assert!(!build.run(&client).await, "a result without its outputs is none");
    assert!(build.run(&client).await);

    // Its inputs: the client is told that they are missing, and sends them again. The tree of the slot linked to one.
    flip(&file_of(&home, "blobs/sha256", of(&[b'i'; LARGE])), 1);
    let (code, report) = verify(&home);
    assert_eq!(code, 10);
    assert_eq!(kinds(&report), ["file-blob", "tree"], "{report}");
    let anew = Options { skip_cache_lookup: true, ..Options::default() };
    assert_eq!(client.upload(&build.prepared).await.unwrap().blobs, 1);
    assert!(!client.run(&build.prepared, &anew).await.unwrap().cached);
    assert!(build.run(&client).await);

    // Foreign files, and a file that is gone.
    fs::write(home.store().join("blobs/sha256/mine.txt"), "x").unwrap();
    fs::remove_file(file_of(&home, "blobs/sha256", Build::large())).unwrap();
    let (_, report) = verify(&home);
    assert_eq!(kinds(&report), ["file-blob", "foreign", "result"], "{report}");
    assert!(!build.run(&client).await);
    assert_eq!(verify(&home).0, 0);
}

/// The same of a store that nobody has open, and of a result itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_damage_is_found_and_built_again() {
    let home = Home::new();
    let build = {
        let server = home.serve(&[]);
        let client = server.client().await;
        let build = Build::new(&home, &client).await;
        build.run(&client).await;
        server.stop();
        build
    };
    assert_eq!(verify(&home).0, 0);
    flip(&file_of(&home, "blobs/sha256", Build::large()), LARGE);
    flip_in_log(&home, b"42 is the answer\n");
    let (code, report) = verify(&home);
    assert_eq!((code, kinds(&report)), (10, vec!["file-blob", "packed-blob", "result"]), "{report}");
    assert_eq!(verify(&home).0, 0);
    {
        let server = home.serve(&[]);
        let client = server.client().await;
        assert!(!build.run(&client).await && build.run(&client).await);
        server.stop();
    }
    // The result alone. Its record has the digest of each output, as the message has it.
    let named = Build::large().hash_text();
    flip_in_log(&home, named.as_bytes());
    let (code, report) = verify(&home);
    assert_eq!(code, 10, "{report}");
    assert!(kinds(&report).iter().all(|kind| ["result", "log"].contains(kind)), "{report}");
    let server = home.serve(&[]);
    let client = server.client().await;
    assert!(!build.run(&client).await && build.run(&client).await);
}

/// A copy of a tool that actions are shown: what is laid out with it goes, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_of_a_tool_is_replaced() {
    let home = Home::new();
    let server = home.serve(&[]);
    let client = server.client().await;
    let build = Build::new(&home, &client).await;
    build.run(&client).await;
    let tool = of(&fs::read(home.path().join("tree/bin/cat")).unwrap());
    let copy = file_of(&home, "inodes/sha256/executable", tool);
    flip(&copy, 5_000);
    let (code, report) = verify(&home);
    assert_eq!((code, kinds(&report)), (10, vec!["copy", "tree"]), "{report}");
    assert_eq!(report["restart_server"], true);
    server.stop();
    let server = home.serve(&[]);
    let client = server.client().await;
    let anew = Options { skip_cache_lookup: true, ..Options::default() };
    assert!(client.run(&build.prepared, &anew).await.unwrap().failure.is_none());
    assert!(build.run(&client).await);
    assert_eq!(of(&fs::read(&copy).unwrap()), tool);
    assert_eq!(verify(&home).0, 0);
}

/// Whoever has the store open is asked, or nobody has: the same answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn du_and_gc_are_answered_with_and_without_a_server() {
    let home = Home::new();
    let mut shown = Vec::new();
    for with_server in [true, false] {
        let server = with_server.then(|| home.serve(&[]));
        if let Some(server) = &server {
            let client = server.client().await;
            Build::new(&home, &client).await.run(&client).await;
        }
        let du = json(&home.run(&["cache", "du", "--json"]));
        let parts = du["kinds"].as_object().unwrap().values();
        assert_eq!(parts.map(|part| part["bytes"].as_u64().unwrap()).sum::<u64>(), du["total_bytes"].as_u64().unwrap());
        assert_eq!((&du["toolchains"][0]["name"], &du["toolchains"][0]["missing"]), (&"sh".into(), &0.into()));
        assert!(du["budget_bytes"].as_u64() > Some(0), "{du}");
        assert!(du["kinds"]["file-blobs"]["count"].as_u64() > Some(5), "{du}");
        let text = home.must(&["cache", "du", "--by", "invocation"]);
        assert!(text.contains("\nlre 0."), "{text}");

        // All of it was used just now.
        let gc = home.run(&["cache", "gc", "--to", "0", "--json"]);
        assert_eq!(gc.status.code(), Some(10));
        let gc = json(&gc);
        assert_eq!((&gc["freed_bytes"], &gc["enough"]), (&0.into(), &false.into()), "{gc}");
        assert!(gc["held_bytes"].as_u64() > Some(30_000), "{gc}");
        let enough = json(&home.run(&["cache", "gc", "--dry-run", "--json"]));
        assert_eq!(enough["enough"], true, "{enough}");
        shown.push(du["kinds"]["file-blobs"]["count"].clone());
        if let Some(server) = server {
            server.stop();
        }
    }
    assert_eq!(shown[0], shown[1]);
    let refused = home.run(&["cache", "gc", "--to", "20 apples"]);
    assert_eq!(refused.status.code(), Some(2));
}

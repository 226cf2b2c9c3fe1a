//! The client against the real program: what it brings home, and what it does when the server or the
//! connection goes away in the middle.

use crate::home::Home;
use lre::client::{ActionSpec, Client, ClientError, Entry, Inputs, Limits, Options, Stage};
use lre::config::Endpoint;
use lre::exit::Problem;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Everything that a command can leave comes home as it was, and the second time without running.
#[tokio::test]
async fn what_a_command_leaves_comes_home() {
    let home = Home::new();
    let server = home.serve(&[]);
    let client = server.client().await;
    let script = "cat in/a.txt; echo warned >&2; mkdir -p out/deep out/empty; cat in/a.txt >out/deep/f; \
                  ln -s deep/f out/link; echo '#!/bin/sh' >tool; chmod 755 tool";
    let mut spec = home.script(script, &["out", "tool", "never"]);
    fs::create_dir(home.path().join("in")).unwrap();
    fs::write(home.path().join("in/a.txt"), "content\n").unwrap();
    spec.inputs.add_tree("in", &home.path().join("in"), Limits::NONE, &|_| false).unwrap();
    let prepared = client.prepare(spec).await.unwrap();
    assert_eq!(client.cached(prepared.action).await.unwrap(), None);

    let uploaded = client.upload(&prepared).await.unwrap();
    assert_eq!((uploaded.blobs, uploaded.present), (5, 0), "action, command, two directories, one file");
    assert_eq!(client.upload(&prepared).await.unwrap().present, 5, "what is there is not sent again");
    let executed = client.execute(&prepared, &Options::default(), &|_| {}).await.unwrap();
    assert!(!executed.cached && executed.failure.is_none());
    assert_eq!(client.streams(&executed.result).await.unwrap(), (b"content\n".to_vec(), b"warned\n".to_vec()));

    let to = home.path().join("to");
    for _ in 0..2 {
        // The second time everything is there already.
        client.download(&executed.result, &to).await.unwrap();
    }
    assert_eq!(fs::read_to_string(to.join("out/deep/f")).unwrap(), "content\n");
    assert_eq!(fs::read_link(to.join("out/link")).unwrap(), Path::new("deep/f"));
    assert!(to.join("out/empty").is_dir() && !to.join("never").exists());
    assert_eq!(fs::metadata(to.join("tool")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(to.join("out/deep/f")).unwrap().permissions().mode() & 0o777, 0o644);

    let again = client.run(&prepared, &Options::default()).await.unwrap();
    assert!(again.cached);
    assert_eq!(
        client.cached(prepared.action).await.unwrap().unwrap().wire().output_files,
        again.result.wire().output_files
    );
    let anew = Options { skip_cache_lookup: true, ..Options::default() };
    assert!(!client.run(&prepared, &anew).await.unwrap().cached);
}

/// A proxy that can drop all its connections.
struct Proxy {
    address: std::net::SocketAddr,
    cut: mpsc::Sender<()>,
}

impl Proxy {
    async fn to(server: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, mut cuts) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (mut near, _) = accepted.unwrap();
                        connections.spawn(async move {
                            let mut far = TcpStream::connect(server).await.unwrap();
                            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                        });
                    }
                    Some(()) = cuts.recv() => connections.shutdown().await,
                }
            }
        });
        Self { address, cut }
    }
}

/// PROTOCOL, 54: a stream that breaks is taken up with WaitExecution. Had the client asked for the
/// execution again instead, this action, which is neither cached nor shared, would have run twice, one after
/// the other's half.
#[tokio::test]
async fn a_broken_connection_is_taken_up_again() {
    let home = Home::new();
    let server = home.serve(&[]);
    let proxy = Proxy::to(server.tcp).await;
    let client = Client::connect(&Endpoint::Tcp(proxy.address.to_string()), None).await.unwrap();
    let spec = ActionSpec { do_not_cache: true, ..home.script("sleep 1; echo done", &[]) };
    let prepared = client.prepare(spec).await.unwrap();
    client.upload(&prepared).await.unwrap();
    let stages = Arc::new(Mutex::new(Vec::new()));
    let watch = |stage: Stage| {
        stages.lock().unwrap().push(stage);
        if stage == Stage::Executing {
            // Full means that it is being cut already.
            let _ = proxy.cut.try_send(());
        }
    };
    let executed = client.execute(&prepared, &Options::default(), &watch).await.unwrap();
    assert_eq!(client.streams(&executed.result).await.unwrap().0, b"done\n");
    let executing = stages.lock().unwrap().iter().filter(|stage| **stage == Stage::Executing).count();
    assert!(executing >= 2, "seen before and after the cut: {stages:?}");
}

/// PROTOCOL, 51: what the server lost between upload and execution is sent again.
#[tokio::test]
async fn blobs_that_went_missing_are_sent_again() {
    let home = Home::new();
    let server = home.serve(&[]);
    let client = server.client().await;
    let mut spec = home.script("cat f", &[]);
    // So much that it is a file.
    let content = bytes::Bytes::from(b"soon gone\n".repeat(2_000));
    spec.inputs.add("f", Entry::Bytes { content: content.clone(), executable: false }).unwrap();
    let prepared = client.prepare(spec).await.unwrap();
    client.upload(&prepared).await.unwrap();
    let digest = lre_model::Digest::of(lre_model::DigestFunction::Sha256, &content);
    let mut lost = Vec::new();
    find(&home.store().join("blobs"), &digest.hash_text(), &mut lost);
    assert!(!lost.is_empty());
    lost.iter().for_each(|path| fs::remove_file(path).unwrap());
    let executed = client.execute(&prepared, &Options::default(), &|_| {}).await.unwrap();
    assert_eq!(client.streams(&executed.result).await.unwrap().0, content);
}

fn find(directory: &Path, name: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => find(&path, name, found),
            false if path.file_name().is_some_and(|n| n == name) => found.push(path),
            false => {}
        }
    }
}

/// A server that is killed and started again in the middle of an execution knows nothing of it
/// (NOT_FOUND); the client asks again, and the blobs are still there.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_started_again_gets_the_work_again() {
    let home = Home::new();
    let socket = home.path().join("re.sock");
    let server = home.serve(&[]);
    let client = Client::connect(&Endpoint::Unix(socket), None).await.unwrap();
    let prepared = client.prepare(home.script("sleep 0.5; echo alive", &[])).await.unwrap();
    client.upload(&prepared).await.unwrap();
    let (running, mut is_running) = mpsc::channel(8);
    let watch = move |stage: Stage| {
        let _ = running.try_send(stage);
    };
    let execution = tokio::spawn(async move {
        let executed = client.execute(&prepared, &Options::default(), &watch).await.unwrap();
        client.streams(&executed.result).await.unwrap().0
    });
    while is_running.recv().await != Some(Stage::Executing) {}
    tokio::task::block_in_place(|| server.kill());
    let _again = tokio::task::block_in_place(|| home.serve(&[]));
    let ended = tokio::time::timeout(Duration::from_secs(30), execution).await;
    assert_eq!(ended.unwrap().unwrap(), b"alive\n");
}

/// Errors of the client are for people: what happened, and the next command.
#[tokio::test]
async fn errors_name_the_next_command() {
    let home = Home::new();
    let nowhere = Endpoint::Unix(home.path().join("nobody.sock"));
    let problem = match Client::connect(&nowhere, None).await {
        Ok(_) => panic!("somebody answers"),
        Err(e) => Problem::from(e),
    };
    assert_eq!(problem.exit().code(), 20);
    assert!(problem.to_string().ends_with("(hint: lre up)"), "{problem}");

    let server = home.serve(&[]);
    let client = server.client().await;
    let mut spec = home.script("true", &[]);
    spec.platform = lre_model::Platform::new([("lre-rootfs", format!("{}/1", "ab".repeat(32)))]);
    let prepared = client.prepare(spec).await.unwrap();
    let problem = Problem::from(client.run(&prepared, &Options::default()).await.unwrap_err());
    assert_eq!(problem.exit().code(), 31);
    let text = problem.to_string();
    assert!(text.contains("lre-rootfs") && text.contains("lre toolchain"), "{text}");

    let mut spec = home.script("true", &[]);
    spec.inputs = Inputs::default();
    spec.inputs.add("f", Entry::File(home.path().join("not-there"))).unwrap();
    assert!(matches!(client.prepare(spec).await, Err(ClientError::Local { .. })));
}

/// A command that is too slow still brings what it said.
#[tokio::test]
async fn a_timeout_keeps_the_output_so_far() {
    let home = Home::new();
    let server = home.serve(&[]);
    let client = server.client().await;
    let mut spec = home.script("echo so far; sleep 600", &[]);
    spec.timeout = Some(Duration::from_millis(300));
    let prepared = client.prepare(spec).await.unwrap();
    let executed = client.run(&prepared, &Options::default()).await.unwrap();
    assert_eq!(executed.failure.unwrap().code(), tonic::Code::DeadlineExceeded);
    assert_eq!(client.streams(&executed.result).await.unwrap().0, b"so far\n");
}

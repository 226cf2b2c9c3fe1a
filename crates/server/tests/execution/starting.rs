//! What keeps a server from starting: each a clear error with its hint (issue, item 2).
use lre_server::compose::{Options, Server, StartError};
use lre_server::listen::ListenError;
use lre_store::OpenError;
use lre_worker::LauncherProgram;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

fn options(directory: &Path) -> Options {
    Options {
        store: directory.join("store"),
        store_bytes_max: None,
        slots: 2,
        tcp: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        socket: Some(directory.join("s")),
        token: None,
        default_toolchain: None,
        accepted_properties: vec![],
        toolchain_peers: Vec::new(),
        peer_token: None,
        // It only has to live; nothing is executed here.
        launcher: LauncherProgram { program: "/bin/cat".into(), arguments: vec![] },
        action_timeout_default: Duration::from_secs(1),
        action_timeout_max: Duration::from_secs(2),
        action_limits: lre_worker::ExecutionLimits::of_this_machine().unwrap(),
        cgroup: None,
    }
}

/// One at a time: starting a launcher forks, and until its `exec` the child has the lock files of
/// every other server of this process, which there is only one of outside of tests.
async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ALONE.lock().await
}

async fn refused(options: Options) -> StartError {
    let error = Server::start(options).await.err().expect("it started");
    assert!(!error.hint().is_empty());
    error
}

#[tokio::test]
async fn two_servers_on_one_store() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let first = Server::start(options(dir.path())).await.unwrap();
    assert!(first.tcp_address().is_some_and(|address| address.port() != 0));
    let other = Options { socket: Some(dir.path().join("other")), ..options(dir.path()) };
    let error = refused(other.clone()).await;
    assert!(matches!(&error, StartError::Store(OpenError::InUse { pid }) if *pid == std::process::id()), "{error:?}");
    assert!(error.hint().contains("lre down"));
    first.shutdown().await;
    Server::start(other).await.expect("the store is free after a shutdown").shutdown().await;
}

#[tokio::test]
async fn a_port_in_use() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let error = refused(Options { tcp: taken.local_addr().ok(), ..options(dir.path()) }).await;
    assert!(matches!(error, StartError::Listen(ListenError::PortInUse(_))), "{error:?}");
    // Nothing is left of the attempt.
    Server::start(options(dir.path())).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_socket_that_answers_and_one_that_does_not() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let first = Server::start(options(dir.path())).await.unwrap();
    let error = refused(Options { store: dir.path().join("other"), ..options(dir.path()) }).await;
    assert!(matches!(error, StartError::Listen(ListenError::SocketInUse(_))), "{error:?}");
    first.shutdown().await;
    // What a server leaves that was killed: the file, and nobody behind it.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap());
    assert!(dir.path().join("s").exists());
    Server::start(options(dir.path())).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_default_toolchain_that_is_not_installed() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let error = refused(Options { default_toolchain: Some("gcc".into()), ..options(dir.path()) }).await;
    assert!(matches!(&error, StartError::DefaultToolchain { name, .. } if name == "gcc"), "{error:?}");
    assert!(error.to_string().contains("installed: none"), "{error}");
    assert!(error.hint().contains("lre toolchain add gcc --from"), "{}", error.hint());
}

#[tokio::test]
async fn numbers_that_make_no_sense() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(refused(Options { slots: 0, ..options(dir.path()) }).await, StartError::NoSlots));
    let upside_down = Options { action_timeout_default: Duration::from_secs(3), ..options(dir.path()) };
    assert!(matches!(refused(upside_down).await, StartError::Timeouts { .. }));
    assert!(!dir.path().join("store").exists(), "refused before anything is made");
}

#[tokio::test]
async fn a_launcher_that_is_not_there() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let launcher = LauncherProgram { program: "/nonexistent/lre".into(), arguments: vec![] };
    let error = refused(Options { launcher, ..options(dir.path()) }).await;
    assert!(matches!(&error, StartError::Launcher { program, .. } if program.ends_with("lre")), "{error:?}");
}

//! A build that needs more than the store may take.
use crate::home::Home;
use crate::server::{Client as Wire, PATIENCE, noise, sha};
use lre::client::{Client, Entry, Options};
use lre::config::Endpoint;
use lre_server::compose::{self, Server};
use lre_worker::{ExecutionLimits, LauncherProgram};
use std::time::{Duration, Instant};

/// Beside the toolchain there is room for some twenty actions.
const BUDGET_BYTES: u64 = 24 << 20;

/// What an action takes, twice: its input, and its output, which is another.
const INPUT_BYTES: usize = 400_000;

/// A server in this process, so that time can pass for its store; all else is as in the program.
async fn server(home: &Home) -> Server {
    let launcher =
        LauncherProgram { program: env!("CARGO_BIN_EXE_lre").into(), arguments: vec!["launcher".to_owned()] };
    let options = compose::Options {
        store: home.store(),
        store_bytes_max: Some(BUDGET_BYTES),
        slots: 2,
        tcp: Some(([127, 0, 0, 1], 0).into()),
        socket: None,
        token: None,
        default_toolchain: None,
        accepted_properties: Vec::new(),
        toolchain_peers: Vec::new(),
        peer_token: None,
        launcher,
        action_timeout_default: Duration::from_secs(60),
        action_timeout_max: Duration::from_secs(60),
        action_limits: ExecutionLimits::of_this_machine().unwrap(),
        cgroup: None,
    };
    Server::start(options).await.unwrap()
}

async fn client(server: &Server) -> Client {
    Client::connect(&Endpoint::Tcp(server.tcp_address().unwrap().to_string()), None).await.unwrap()
}

/// Action number `n`, from the upload of its input to its answer; or why not.
async fn run(home: &Home, client: &Client, n: u64) -> Result<lre::client::Prepared, String> {
    let mut spec = home.script(&format!("cat in >out; echo {n} >>out"), &["out"]);
    spec.inputs.add("in", Entry::Bytes { content: noise(n, INPUT_BYTES), executable: false }).unwrap();
    let prepared = client.prepare(spec).await.unwrap();
    match client.run(&prepared, &Options::default()).await {
        Ok(executed) => match executed.failure {
            None => Ok(prepared),
            Some(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        },
        Err(error) => Err(format!("{error:?}")),
    }
}

/// Issue: a build that needs more than the budget is told so, never served a hole; three hours later it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_needs_more_than_the_budget_is_told_so_and_goes_on_when_others_are_idle() {
    let home = Home::new();
    let server = server(&home).await;
    let first = client(&server).await;
    let mut built = Vec::new();
    let begun = Instant::now();
    let refused = loop {
        match run(&home, &first, built.len() as u64).await {
            Ok(prepared) => built.push(prepared),
            Err(why) => break why,
        }
        assert!(begun.elapsed() < PATIENCE && built.len() < 200, "{} actions fit", built.len());
    };
    assert!(refused.contains("ResourceExhausted"), "{refused}");
    assert!(refused.contains("budget of the store") && refused.contains("24.0 MiB"), "with figures: {refused}");
    assert!(built.len() > 5, "{} actions, then {refused}", built.len());
    // Nothing that this build was told of has gone, and all that only reads goes on.
    let wire = Wire::connect(server.tcp_address().unwrap()).await;
    let inputs: Vec<_> = (0..built.len()).map(|n| sha(&noise(n as u64, INPUT_BYTES))).collect();
    assert_eq!(wire.missing(&inputs).await, []);
    for prepared in &built {
        let known = first.cached(prepared.action).await.unwrap();
        assert!(known.is_some(), "a result of this build");
    }

    server.pass_time(Duration::from_secs(4 * 3600));
    let second = client(&server).await;
    let idle = Instant::now();
    // The first one was let in above the budget for as long as it took to find out that nothing could go.
    let fits = built.len() as u64 * 3 / 4;
    for n in 1_000..1_000 + fits {
        // What was idle goes in the background.
        while let Err(why) = run(&home, &second, n).await {
            assert!(why.contains("ResourceExhausted"), "{why}");
            assert!(idle.elapsed() < PATIENCE, "everybody else is idle, and still: {why}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    // Of the old build there is all of an action or nothing.
    let mut gone = 0;
    for prepared in &built {
        match second.cached(prepared.action).await.unwrap() {
            None => gone += 1,
            Some(result) => {
                let to = home.path().join("to");
                second.download(&result, &to).await.expect("a result that is told is whole");
            }
        }
    }
    assert!(gone > 0, "it fits as well without anything gone");
    server.shutdown().await;
}

//! Programs that take more than they may, as actions through the real launcher: each ends with words that say
//! what it was, what it said so far is kept, another action that runs beside it succeeds, and so does the
//! next one in its slot.
#[allow(dead_code, reason = "shared by several tests, not all of it by each")]
mod world;

use lre_model::{Limits, Terms};
use lre_worker::{ExecutionLimits, Failure, Limited, Outcome};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use world::{Asked, World, command, result};

const MIB: u64 = 1 << 20;
/// Small, so that nobody has to take much to take too much. More than an honest action of these tests needs.
const LIMITS: ExecutionLimits = ExecutionLimits {
    memory_bytes_max: 192 * MIB,
    processes_max: 100,
    disk_bytes_max: 32 * MIB,
    output_bytes_max: 16 * MIB,
};
/// Of an action that nothing else ends. Long, because nothing here may need it.
const TIMEOUT: Duration = Duration::from_secs(60);

async fn world() -> World {
    let mut world = World::with(2, LIMITS).await;
    world.toolchain = world.program("hog", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hog.c")).await;
    world
}

async fn run(world: &World, slot: usize, words: &[&str]) -> Outcome {
    run_under(world, slot, words, Limits::default()).await
}

async fn run_under(world: &World, slot: usize, words: &[&str], limits: Limits) -> Outcome {
    let words: Vec<_> = ["hog"].iter().chain(words).copied().collect();
    let terms = Terms { limits, ..Terms::default() };
    let asked = Asked { slot, terms, timeout: TIMEOUT };
    world.execute(asked, &[], command(&words, &["made"]), CancellationToken::new()).await
}

async fn assert_fine(world: &World, outcome: &Outcome, what: &str) {
    assert!(outcome.failure.is_none(), "{what}: {outcome:?}");
    let result = result(outcome);
    assert_eq!(world.text(result.stdout_digest.as_ref()).await, "fine\n", "{what}");
    assert_eq!((result.exit_code, result.output_files.len()), (0, 1), "{what}");
}

/// Runs a hog in slot 0, and honest actions in slot 1 as long as it lives.
async fn hog_and_neighbour(world: &World, words: &[&str]) -> Outcome {
    // A file takes 4 KiB whatever is in it, and a machine that does much else makes 1,000 in a second.
    let disk_bytes_max = words.contains(&"small").then_some(2 * MIB);
    let mut hog = std::pin::pin!(run_under(world, 0, words, Limits { disk_bytes_max, ..Limits::default() }));
    let mut over = None;
    for number in 0.. {
        let mut neighbour = std::pin::pin!(run(world, 1, &["work"]));
        let outcome = loop {
            tokio::select! {
                outcome = &mut hog, if over.is_none() => over = Some(outcome),
                outcome = &mut neighbour => break outcome,
            }
        };
        assert_fine(world, &outcome, &format!("neighbour {number} of {words:?}")).await;
        if let Some(over) = over {
            return over;
        }
    }
    unreachable!("the loop ends with the hog");
}

/// The list of what must not be possible.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_too_much_is_ended_and_harms_nobody() {
    let world = world().await;
    for (words, expected) in [
        (&["fork"][..], Limited::Processes),
        (&["threads"], Limited::Processes),
        (&["memory"], Limited::Memory),
        (&["children", "40"], Limited::Memory),
        (&["memfd"], Limited::Memory),
        (&["both"], Limited::Memory),
        (&["file"], Limited::Disk),
        (&["files"], Limited::Disk),
        (&["small"], Limited::Disk),
        (&["nameless"], Limited::Disk),
        (&["stdout", "10240"], Limited::Stdout),
        (&["stderr", "10240"], Limited::Stderr),
        // It ends before anybody looks.
        (&["stdout", "17"], Limited::Stdout),
    ] {
        let started = std::time::Instant::now();
        let outcome = hog_and_neighbour(&world, words).await;
        println!("{words:?} took {:?}", started.elapsed());
        let Some(Failure::Limit(breach)) = &outcome.failure else { panic!("{words:?}: {outcome:?}") };
        assert_eq!(breach.what, expected, "{words:?}: {breach}");
        assert!(breach.seen >= breach.limit, "{words:?}: {breach:?}");
        let result = outcome.result.as_ref().expect("what there is of a result").wire();
        assert_ne!(result.exit_code, 0, "{words:?}");
        for stream in [&result.stdout_digest, &result.stderr_digest].into_iter().flatten() {
            assert!(stream.size_bytes.unsigned_abs() <= LIMITS.output_bytes_max, "{words:?}: {stream:?}");
        }
        if expected == Limited::Stdout {
            let kept = result.stdout_digest.as_ref().expect("the output so far").size_bytes.unsigned_abs();
            assert_eq!(kept, LIMITS.output_bytes_max, "{words:?}: as much as it may say is kept");
        }
        assert_fine(&world, &run(&world, 0, &["work"]).await, &format!("after {words:?}")).await;
    }
}

/// An action gets what it asks for where that is less, and the words name the property.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_lowers_its_limits() {
    let world = world().await;
    let asked = |memory| Limits { memory_bytes_max: Some(memory), ..Limits::default() };
    let outcome = run_under(&world, 0, &["children", "8"], asked(48 * MIB)).await;
    let Some(Failure::Limit(breach)) = &outcome.failure else { panic!("{outcome:?}") };
    assert_eq!(breach.to_string(), "the command used more than 48 MiB of memory (lre-memory-bytes-max) and was killed");
    let outcome = run_under(&world, 0, &["memory"], asked(u64::MAX)).await;
    assert!(matches!(outcome.failure, Some(Failure::Limit(b)) if b.limit == LIMITS.memory_bytes_max), "{outcome:?}");
}

/// Workers that share what their parent loaded use it once: eight that see 100 MiB do not use 800.
#[tokio::test(flavor = "multi_thread")]
async fn shared_memory_counts_once() {
    let world = world().await;
    let outcome = run(&world, 0, &["shared", "100"]).await;
    assert_eq!(world.text(result(&outcome).stdout_digest.as_ref()).await, "fine\n");
}

/// A full file system in memory is an error of the command's own, and is explained.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_system_is_explained() {
    let world = world().await;
    let outcome = run(&world, 0, &["tmp"]).await;
    assert_eq!(result(&outcome).exit_code, 1);
    assert!(
        outcome.message.contains("/tmp of this action takes at most 192 MiB, its /dev/shm 64 MiB"),
        "{}",
        outcome.message
    );
}

/// Holes take no disk, and hours to hash: outputs count with them.
#[tokio::test(flavor = "multi_thread")]
async fn outputs_full_of_holes_are_too_much() {
    let world = world().await;
    let outcome = run(&world, 0, &["holes"]).await;
    let Some(Failure::Limit(breach)) = &outcome.failure else { panic!("{outcome:?}") };
    assert_eq!((breach.what, breach.seen), (Limited::Disk, 60 * MIB));
}

/// Should the kernel have to choose before anybody looks, it chooses a command.
#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_takes_a_command_first() {
    let world = world().await;
    let outcome = run(&world, 0, &["score"]).await;
    assert_eq!(world.text(result(&outcome).stdout_digest.as_ref()).await, "1000\n");
}

/// All of it once more as a user who is not root: other things hold him in the kernel.
#[test]
fn the_same_as_an_ordinary_user() {
    const ORDINARY: u32 = 65_533;
    if !std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        println!("this is an ordinary user already");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let own = directory.path().join("home");
    std::fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(ORDINARY), Some(ORDINARY)).unwrap();
    // Where the program is built may be closed to others.
    let place = |program: &Path, name: &str| {
        let copy = directory.path().join(name);
        std::fs::copy(program, &copy).unwrap();
        copy
    };
    let program = place(&std::env::current_exe().unwrap(), "tests");
    let launcher = place(Path::new(world::LAUNCHER), "launcher");
    let ended = Command::new(program)
        .args(["--skip", "the_same_as_an_ordinary_user", "--test-threads", "1"])
        .env_clear()
        .envs(BTreeMap::from([("PATH", std::env::var("PATH").unwrap())]))
        .env("TMPDIR", &own)
        .env(world::LAUNCHER_VARIABLE, launcher)
        .uid(ORDINARY)
        .gid(ORDINARY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    println!("{said}");
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.contains("6 passed"), "{said}");
}

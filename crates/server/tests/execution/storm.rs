//! Many clients at once that ask, share, hang up, come back and cancel, on all threads. The
//! simulation of the scheduler shows what the queue decides; this shows that nothing is lost, stuck or
//! left behind between the queue, the executions and the streams.
use crate::world::*;
use lre_proto::longrunning::CancelOperationRequest;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

const CLIENTS: u64 = 8;
const REQUESTS: u64 = 60;

/// A tiny generator (xorshift), so that a client's life is named by one number.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Asks for one of a few actions, so that most requests meet another one for the same.
async fn one_request(world: &World, chance: &mut Chance) {
    let script = format!("linger {}", 1 << chance.below(14));
    let spec = Spec { do_not_cache: chance.below(4) == 0, ..world.spec(&script) };
    let action = world.put(spec).await;
    let asked = if chance.below(2) == 0 { request(action) } else { again(action) };
    let mut stream = world.ask(asked).await.unwrap();
    let first = next(&mut stream).await;
    match chance.below(4) {
        _ if first.response.is_some() => {}
        0 => drop(stream),
        1 => {
            drop(stream);
            // Gone for good is possible too: the grace may be over.
            let Ok(stream) = world.wait(&first.name).await else { return };
            let code = response(&all(stream).await).status.unwrap().code;
            assert!([Code::Ok as i32, Code::Cancelled as i32].contains(&code), "{code}");
        }
        2 => {
            let cancel = CancelOperationRequest { name: first.name };
            world.operations.clone().cancel_operation(cancel).await.unwrap();
            let code = response(&all(stream).await).status.unwrap().code;
            assert!([Code::Ok as i32, Code::Cancelled as i32].contains(&code), "{code}");
        }
        _ => assert_eq!(response(&all(stream).await).status.unwrap().code, 0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_clients_leaves_nothing_behind() {
    let setting = Setting { grace: Duration::from_millis(2), waiting_max: 10_000, ..Setting::default() };
    let world = Arc::new(World::with(setting).await);
    let clients = (1..=CLIENTS).map(|seed| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for _ in 0..REQUESTS {
                one_request(&world, &mut chance).await;
            }
        })
    });
    futures::future::try_join_all(clients).await.unwrap();
    // Whoever hung up last is still within the grace.
    let last = again(world.script("say last").await);
    assert_eq!(world.run(last).await.unwrap().status.unwrap().code, 0);
    world.until_idle().await;
    let log = world.executor.log();
    assert_eq!(log.started.len(), log.ended, "every execution ended");
    let shared = world.server.driver().counters().shared.load(std::sync::atomic::Ordering::Relaxed);
    println!("{} executions, {shared} requests shared one, {} cancelled", log.started.len(), log.cancelled.len());
    assert!(shared > 0 && !log.cancelled.is_empty(), "not much of a storm");
}

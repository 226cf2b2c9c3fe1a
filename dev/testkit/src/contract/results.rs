//! What every [`ActionCache`] promises. Each case gets an empty one.
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction};
use lre_proto::re;
use lre_store::ActionCache;
use std::sync::Arc;

fn action(function: DigestFunction, name: &str) -> ActionDigest {
    ActionDigest(Digest::of(function, name.as_bytes()))
}

/// A result that names no blobs, so that also a cache that checks completeness returns it.
fn result(function: DigestFunction, worker: &str) -> Arc<ActionResult> {
    let wire = re::ActionResult {
        stdout_raw: b"said".to_vec(),
        execution_metadata: Some(re::ExecutedActionMetadata { worker: worker.to_owned(), ..Default::default() }),
        ..Default::default()
    };
    Arc::new(ActionResult::from_wire(function, wire).unwrap())
}

fn worker(result: &ActionResult) -> &str {
    result.wire().execution_metadata.as_ref().map_or("", |m| &m.worker)
}

/// PROTOCOL, 43: nothing, and not an empty result.
pub async fn an_unknown_action_has_no_result<C: ActionCache>(cache: Arc<C>) {
    for function in DigestFunction::ALL {
        assert_eq!(cache.get(action(function, "unknown")).await.unwrap(), None);
        assert_eq!(cache.get(ActionDigest(Digest::empty(function))).await.unwrap(), None);
    }
}

pub async fn a_result_is_read_back<C: ActionCache>(cache: Arc<C>) {
    for function in DigestFunction::ALL {
        let put = result(function, "w1");
        cache.put(action(function, "a"), put.clone()).await.unwrap();
        let got = cache.get(action(function, "a")).await.unwrap().expect("it was put");
        assert_eq!(got, put);
        assert_eq!(got.function(), function);
        assert_eq!(cache.get(action(function, "b")).await.unwrap(), None);
    }
}

/// PROTOCOL, 49: an action that is run again overwrites its entry.
pub async fn a_result_replaces_an_older_one<C: ActionCache>(cache: Arc<C>) {
    let function = DigestFunction::Sha256;
    for name in ["w1", "w2", "w3"] {
        cache.put(action(function, "a"), result(function, name)).await.unwrap();
        let got = cache.get(action(function, "a")).await.unwrap().expect("it was put");
        assert_eq!(worker(&got), name);
    }
}

pub async fn results_of_two_functions_are_not_mixed<C: ActionCache>(cache: Arc<C>) {
    let sha = action(DigestFunction::Sha256, "a");
    let crossed = ActionDigest(
        Digest::parse(DigestFunction::Blake3, &sha.0.hash_text(), sha.0.size_bytes().try_into().unwrap()).unwrap(),
    );
    cache.put(sha, result(DigestFunction::Sha256, "w1")).await.unwrap();
    assert_eq!(cache.get(crossed).await.unwrap(), None);
}

pub async fn an_action_of_another_size_is_another_action<C: ActionCache>(cache: Arc<C>) {
    let function = DigestFunction::Sha256;
    let right = action(function, "a");
    let other = ActionDigest(Digest::parse(function, &right.0.hash_text(), 77).unwrap());
    cache.put(right, result(function, "w1")).await.unwrap();
    assert_eq!(cache.get(other).await.unwrap(), None);
    assert!(cache.get(right).await.unwrap().is_some(), "to ask wrongly harms nobody");
}

pub async fn many_may_put_and_get_at_once<C: ActionCache + 'static>(cache: Arc<C>) {
    let function = DigestFunction::Blake3;
    cache.put(action(function, "a"), result(function, "w-first")).await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for i in 0..32 {
        let cache = cache.clone();
        all.spawn(async move {
            if i % 2 == 0 {
                cache.put(action(function, "a"), result(function, &format!("w{i}"))).await.unwrap();
            }
            let got = cache.get(action(function, "a")).await.unwrap().expect("there is always one");
            assert!(worker(&got).starts_with('w'), "a whole one");
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

pub async fn a_large_result_is_read_back<C: ActionCache>(cache: Arc<C>) {
    let function = DigestFunction::Sha256;
    let link = |i| re::OutputSymlink { path: format!("out/{i:06}"), target: "x".repeat(20), ..Default::default() };
    let wire =
        re::ActionResult { output_symlinks: (0..10_000).map(link).collect(), exit_code: 1, ..Default::default() };
    let put = Arc::new(ActionResult::from_wire(function, wire).unwrap());
    cache.put(action(function, "large"), put.clone()).await.unwrap();
    let got = cache.get(action(function, "large")).await.unwrap().expect("it was put");
    assert_eq!(got.wire().output_symlinks.len(), 10_000);
    assert_eq!(got.exit_code(), 1);
}

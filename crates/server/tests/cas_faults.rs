//! A store that fails, seen through the wire: each service says so with its code, answers every call,
//! and works again when the store does.
mod common;

use common::{TestServer, messages, noise, sha, upload_name};
use lre_model::Compressor::{Identity, Zstd};
use lre_proto::re::batch_update_blobs_request::Request as Upload;
use lre_proto::re::{
    ActionResult, BatchReadBlobsRequest, BatchUpdateBlobsRequest, FindMissingBlobsRequest, GetActionResultRequest,
    GetTreeRequest, UpdateActionResultRequest,
};
use lre_server::auth::Porch;
use lre_store::{DiskStore, Stores};
use lre_testkit::{Fault, Faulty};
use std::sync::Arc;
use tonic::Code;
use tonic_types::StatusExt;

struct Broken {
    server: TestServer,
    store: Arc<Faulty<DiskStore>>,
}

/// A server whose store works for `sound` calls.
async fn broken(sound: u64, fault: Fault) -> Broken {
    let directory = tempfile::tempdir().unwrap();
    let disk = DiskStore::open(directory.path()).unwrap();
    let store = Arc::new(Faulty::after(sound, fault, disk));
    let stores = Stores { blobs: store.clone(), results: store.clone(), counters: Arc::default() };
    Broken { server: TestServer::over(stores, directory, Porch::new(None)).await, store }
}

fn code(fault: Fault) -> Code {
    match fault {
        Fault::Full => Code::ResourceExhausted,
        Fault::Upstream => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// PROTOCOL 2: a store that fails is told with its code by every call, and with RetryInfo where it is only away.
#[tokio::test]
async fn every_call_says_what_failed() {
    for fault in Fault::HONEST {
        let Broken { server, store } = broken(0, fault).await;
        let digest = Some(sha(b"x").to_wire());
        let find = FindMissingBlobsRequest { blob_digests: digest.iter().cloned().collect(), ..Default::default() };
        let status = common::refused(server.cas().find_missing_blobs(find).await, code(fault));
        match fault {
            Fault::Full => assert!(status.get_details_quota_failure().is_some()),
            _ => assert_eq!(status.get_details_error_info().unwrap().domain, "lre"),
        }
        let again = status.get_details_retry_info().is_some();
        assert_eq!(again, fault == Fault::Upstream, "only what passes by itself is worth another try");
        let tree = GetTreeRequest { root_digest: digest.clone(), ..Default::default() };
        common::refused(server.cas().get_tree(tree).await, code(fault));
        let get = GetActionResultRequest { action_digest: digest.clone(), ..Default::default() };
        common::refused(server.actions().get_action_result(get).await, code(fault));
        let update = UpdateActionResultRequest {
            action_digest: digest.clone(),
            action_result: Some(ActionResult::default()),
            ..Default::default()
        };
        common::refused(server.actions().update_action_result(update.clone()).await, code(fault));
        common::refused(server.read(&format!("blobs/{}", sha(b"x")), 0, 0).await, code(fault));
        for compressor in [Identity, Zstd] {
            let name = upload_name("u", compressor, sha(b"x"));
            common::refused(server.write(messages(&name, b"x", 1, 0)).await, code(fault));
        }
        store.heal();
        server.actions().update_action_result(update).await.unwrap();
    }
}

/// PROTOCOL 28, 30, bad input: where the store fails, each entry of a batch says it for itself.
#[tokio::test]
async fn entries_of_batches_fail_alone() {
    for fault in Fault::HONEST {
        let Broken { server, .. } = broken(1, fault).await;
        let upload =
            |content: &[u8]| Upload { digest: Some(sha(content).to_wire()), data: content.to_vec(), compressor: 0 };
        let request = BatchUpdateBlobsRequest { requests: vec![upload(b"a"), upload(b"b")], ..Default::default() };
        let responses = server.cas().batch_update_blobs(request).await.unwrap().into_inner().responses;
        let codes: Vec<_> = responses.iter().map(|r| r.status.as_ref().unwrap().code).collect();
        assert_eq!(codes, [0, code(fault) as i32]);
        let request = BatchReadBlobsRequest { digests: vec![sha(b"a").to_wire()], ..Default::default() };
        let responses = server.cas().batch_read_blobs(request).await.unwrap().into_inner().responses;
        assert_eq!(responses[0].status.as_ref().unwrap().code, code(fault) as i32);
    }
}

/// A store that breaks at any moment of a large upload: an answer, nothing left behind, and a second
/// try works.
#[tokio::test]
async fn an_upload_may_be_tried_again() {
    let content = noise(1, 20_000_000);
    for fault in Fault::HONEST {
        for sound in 0..4 {
            let Broken { server, store } = broken(sound, fault).await;
            let name = upload_name("u", Identity, sha(&content));
            let first = server.write(messages(&name, &content, 1 << 20, 0)).await;
            common::refused(first, code(fault));
            store.heal();
            common::until("its file is gone", async || server.staged_files() == 0).await;
            server.write(messages(&name, &content, 1 << 20, 0)).await.unwrap();
            assert!(server.has(sha(&content)).await);
        }
    }
}

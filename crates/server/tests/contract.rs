//! The contracts of the stores, over the wire: our services before a store, [`Upstream`] as their
//! client. Whatever a store promises must survive the protocol, on both kinds of socket; the names of
//! the cases say what.
use lre_server::auth::Porch;
use lre_server::listen::Listeners;
use lre_server::services::Storage;
use lre_store::upstream::{Upstream, connect_tcp, connect_unix};
use lre_store::{BlobStore, Complete, DiskStore, MemoryStore, ReadThrough, Staging, Verified};
use lre_testkit::{Fault, Faulty, Kept, action_cache_contract, blob_store_contract};
use std::sync::Arc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::RoutesBuilder;

/// What is behind a served store: the folder, and the server, which stops with it.
struct Behind {
    _stop: DropGuard,
    folder: tempfile::TempDir,
    tcp: std::net::SocketAddr,
}

impl Behind {
    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("socket/re.sock")
    }
}

/// Serves `blobs`, and results that are kept in memory and checked for completeness.
fn serve(blobs: Arc<dyn BlobStore>, folder: tempfile::TempDir) -> Behind {
    let socket = folder.path().join("socket/re.sock");
    std::fs::create_dir(folder.path().join("socket")).unwrap();
    let mut routes = RoutesBuilder::default();
    let storage = Storage {
        actions: Arc::new(Complete::new(MemoryStore::default(), blobs.clone())),
        blobs,
        staging: Staging::new(folder.path().join("staging")).unwrap(),
    };
    storage.add_to(&mut routes);
    let listeners = Listeners::bind(Some("127.0.0.1:0".parse().unwrap()), Some(&socket)).unwrap();
    let tcp = listeners.tcp_address().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(listeners.serve(routes.routes(), Porch::new(None), stop.clone()));
    Behind { _stop: stop.drop_guard(), folder, tcp }
}

fn on_disk() -> Behind {
    let folder = tempfile::tempdir().unwrap();
    let disk = DiskStore::open(&folder.path().join("store")).unwrap();
    serve(Arc::new(disk), folder)
}

fn in_memory() -> Behind {
    serve(Arc::new(Verified(MemoryStore::default())), tempfile::tempdir().unwrap())
}

async fn by_unix(behind: Behind) -> Kept<Upstream> {
    let channel = connect_unix(behind.socket()).await.unwrap();
    Kept::new(Upstream::new(channel, None), behind)
}

async fn by_tcp(behind: Behind) -> Kept<Upstream> {
    let channel = connect_tcp(behind.tcp).await.unwrap();
    Kept::new(Upstream::new(channel, None), behind)
}

async fn by_instance(behind: Behind) -> Kept<Upstream> {
    let upstream = Upstream::connect(&format!("unix:{}", behind.socket().display())).await.unwrap();
    let staging = Staging::new(behind.folder.path().join("client")).unwrap();
    Kept::new(upstream.with_instance("an/instance with spaces").with_staging(staging), behind)
}

blob_store_contract! {
    disk_by_unix => by_unix(on_disk()).await;
    disk_by_tcp => by_tcp(on_disk()).await;
    memory_by_unix => by_unix(in_memory()).await;
    disk_by_instance => by_instance(on_disk()).await;
    near_before_the_wire => {
        ReadThrough::new(Verified(MemoryStore::default()), by_unix(on_disk()).await)
    };
    near_before_a_broken_service => {
        let broken = Faulty::after(0, Fault::Io, MemoryStore::default());
        let behind = serve(Arc::new(broken), tempfile::tempdir().unwrap());
        ReadThrough::new(Verified(MemoryStore::default()), by_unix(behind).await)
    };
}

action_cache_contract! {
    results_by_unix => by_unix(in_memory()).await;
    results_by_tcp => by_tcp(in_memory()).await;
    results_by_instance => by_instance(in_memory()).await;
}

mod story {
    //! What the wire adds to the contract.
    use super::*;
    use bytes::Bytes;
    use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction};
    use lre_proto::re;
    use lre_store::{ActionCache, Blob, Origin, StoreError};

    const F: DigestFunction = DigestFunction::Sha256;

    /// A result over the wire is returned only while its blobs are there (PROTOCOL, 44).
    #[tokio::test]
    async fn an_incomplete_result_is_no_result() {
        let store = by_unix(in_memory()).await;
        let output = Bytes::from_static(b"object file");
        let digest = Digest::of(F, &output);
        let wire = re::ActionResult {
            output_files: vec![re::OutputFile {
                path: "a.o".into(),
                digest: Some(digest.to_wire()),
                ..Default::default()
            }],
            ..Default::default()
        };
        let result = Arc::new(ActionResult::from_wire(F, wire).unwrap());
        let action = ActionDigest(Digest::of(F, b"action"));
        // A server may refuse it at once, or take it and not return it.
        let _ = store.put(action, result.clone()).await;
        assert_eq!(store.get(action).await.unwrap(), None);
        store.write(digest, output.into()).await.unwrap();
        store.put(action, result).await.unwrap();
        let got = store.get(action).await.unwrap().expect("all of it is there now");
        assert_eq!(got.blobs(), [digest]);
    }

    /// A broken disk behind the service is an error of the upstream, and not a missing blob.
    #[tokio::test]
    async fn an_error_of_the_service_is_told_with_its_text() {
        let broken = Faulty::after(0, Fault::Io, MemoryStore::default());
        let store = by_unix(serve(Arc::new(broken), tempfile::tempdir().unwrap())).await;
        for size in [3_usize, 4 * 1024 * 1024] {
            let bytes = Bytes::from(vec![7; size]);
            let digest = Digest::of(F, &bytes);
            for error in [
                store.write(digest, bytes.into()).await.unwrap_err(),
                store.read(digest).await.unwrap_err(),
                store.hold(&[digest]).await.map(|_| ()).unwrap_err(),
            ] {
                assert!(matches!(&error, StoreError::Upstream(text) if text.contains("Internal")), "{error:?}");
            }
        }
    }

    /// A large blob comes as a file that a store can take over, hashed once; a small one in memory.
    #[tokio::test]
    async fn large_blobs_come_as_files() {
        let store = by_instance(on_disk()).await;
        let large = Bytes::from(vec![1; 5 * 1024 * 1024]);
        let digest = Digest::of(F, &large);
        store.write(digest, large.into()).await.unwrap();
        let Blob::File(file) = store.read(digest).await.unwrap() else { panic!("in memory") };
        assert_eq!((file.origin(), file.proven()), (Origin::Owned, Some(digest)));
        let path = file.path().to_owned();
        assert!(path.is_file());
        drop(file);
        assert!(!path.exists(), "it goes with the last copy of the blob");
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_address() {
        let missing = connect_unix("/nonexistent/re.sock").await.unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/re.sock") && missing.contains("No such file"), "{missing}");
        let odd = Upstream::connect("ftp://127.0.0.1").await.unwrap_err().to_string();
        assert!(odd.contains("unix:, grpc://"), "{odd}");
    }
}

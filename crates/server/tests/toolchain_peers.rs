//! `cas:` as a source, and peers as the first place where a pinned toolchain is looked for, from real servers.
mod common;

use common::TestServer;
use lre_model::{Digest, DigestFunction, RelPath};
use lre_server::auth::Porch;
use lre_server::listen::Listeners;
use lre_server::services::cas::Cas;
use lre_store::{BlobStore, DiskStore};
use lre_toolchain::{
    Access, Entry, Facts, Kind, Layout, Locked, Place, Toolchain, ToolchainError, Wanted, add, import_layout, obtain,
};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

const F: DigestFunction = DigestFunction::Sha256;

/// Puts a tree into a store.
async fn tree(store: &dyn BlobStore) -> Digest {
    let mut layout = Layout::default();
    let mut put = |path: &str, content: Vec<u8>| {
        let entry = Entry::Bytes { content: content.into(), executable: true };
        layout.insert(RelPath::parse(path).unwrap(), entry);
    };
    put("usr/bin/cc", b"cc".to_vec());
    put("usr/lib/large", vec![1; 4_000_000]);
    (0..200).for_each(|i| put(&format!("usr/lib/{i}"), i.to_string().into_bytes()));
    import_layout(store, F, &layout, vec![], &()).await.unwrap().digest
}

struct Here {
    store: DiskStore,
    access: Access,
    _dir: tempfile::TempDir,
}

impl Here {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&dir.path().join("store")).unwrap();
        Self { store, access: Access::at(dir.path().join("incoming")), _dir: dir }
    }

    async fn add(&self, source: &str, expected: Option<Digest>) -> Result<Toolchain, ToolchainError> {
        let source = source.parse()?;
        let wanted = Wanted { name: "cc".into(), kind: Kind::Rootfs, source, also: vec![], expected };
        add(&self.store, F, &wanted, &self.access, Arc::new(())).await.map(|added| added.toolchain)
    }
}

fn locked(digest: Digest, sources: &[String]) -> Locked {
    let toolchain = Toolchain {
        name: "cc".to_owned(),
        kind: Kind::Rootfs,
        digest,
        environment: Default::default(),
        tools: Default::default(),
        source: String::new(),
        recipe: Vec::new(),
    };
    Locked { sources: sources.to_vec(), ..Locked::new(&toolchain, Facts::default()) }
}

#[tokio::test]
async fn a_tree_is_added_from_a_service_by_its_digest() {
    let server = TestServer::start().await;
    let digest = tree(&*server.stores.blobs).await;
    for address in [format!("unix:{}", server.socket.display()), format!("grpc://{}/an/instance", server.tcp)] {
        let here = Here::new();
        let refused = here.add(&format!("cas:{address}"), None).await.unwrap_err().to_string();
        assert!(refused.contains("HASH/SIZE") && refused.contains("lock"), "{refused}");
        let pinned = format!("cas:{address}#{digest}");
        let added = here.add(&pinned, None).await.unwrap();
        assert_eq!((added.digest, added.source.as_str()), (digest, pinned.as_str()));
        assert_eq!(added.tools["cc"], "/usr/bin/cc", "the tools are those of the tree");
        // With a lock the address is enough; with another digest it is a contradiction.
        assert_eq!(here.add(&format!("cas:{address}"), Some(digest)).await.unwrap().digest, digest);
        let other = Digest::of(F, b"other");
        let refused = here.add(&pinned, Some(other)).await.unwrap_err().to_string();
        assert!(refused.contains(&digest.to_string()) && refused.contains(&other.to_string()), "{refused}");
        let refused = here.add(&format!("cas:{address}"), Some(other)).await.unwrap_err().to_string();
        assert!(refused.contains("does not have all"), "{refused}");
        assert_eq!(
            std::fs::read_dir(&here.access.directory)
                .unwrap()
                .filter(|e| { e.as_ref().unwrap().file_name() != "remembered" })
                .count(),
            0,
            "nothing stays behind"
        );
    }
}

#[tokio::test]
async fn peers_come_before_sources_and_only_those_of_this_machine_when_offline() {
    let (empty, full) = (TestServer::start().await, TestServer::start().await);
    let digest = tree(&*full.stores.blobs).await;
    let mut here = Here::new();
    let at = |server: &TestServer| format!("unix:{}", server.socket.display());
    here.access.peers = vec!["grpc://192.0.2.1:50051".to_owned(), at(&empty), at(&full)];
    here.access.offline = true;
    let locked = locked(digest, &["dir:/nonexistent".to_owned()]);
    let obtained = obtain(&here.store, &locked, &here.access, Arc::new(())).await.unwrap();
    assert_eq!(obtained.place, Place::Peer(at(&full)));
    let tried: Vec<_> = obtained.tried.iter().map(|t| (t.source.clone(), t.problem.to_string())).collect();
    assert!(tried[0].1.contains("nothing may be fetched over a network"), "{tried:?}");
    assert!(tried[1].0 == at(&empty) && tried[1].1.contains("does not have all"), "{tried:?}");
    assert_eq!(tried.len(), 2);
}

/// A lock file comes with a project. Whoever wrote it must not get the token of whoever builds the project.
#[tokio::test]
async fn the_token_is_shown_to_peers_and_to_nobody_else() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn BlobStore> = Arc::new(DiskStore::open(&dir.path().join("store")).unwrap());
    let digest = tree(&*store).await;
    let mut routes = RoutesBuilder::default();
    let note = seen.clone();
    let look = move |request: tonic::Request<()>| {
        note.lock().unwrap().push(request.metadata().get("authorization").is_some());
        Ok(request)
    };
    use lre_proto::re::content_addressable_storage_server::ContentAddressableStorageServer as Server;
    let staging = lre_store::Staging::new(dir.path().join("staging")).unwrap();
    routes.add_service(Server::with_interceptor(Cas::new(store.clone(), staging), look));
    let listeners = Listeners::bind(Some(([127, 0, 0, 1], 0).into()), None).unwrap();
    let address = format!("grpc://{}", listeners.tcp_address().unwrap());
    let stop = CancellationToken::new();
    let served = tokio::spawn(listeners.serve(routes.routes(), Porch::new(None), stop.clone()));
    for chosen in [false, true] {
        let mut here = Here::new();
        here.access.peer_token = Some("secret".to_owned());
        here.access.peers = if chosen { vec![address.clone()] } else { vec![] };
        // Large blobs are streamed, which this service does not do; that it was asked is what counts.
        let _ = here.add(&format!("cas:{address}"), Some(digest)).await;
        let asked = std::mem::take(&mut *seen.lock().unwrap());
        assert!(!asked.is_empty() && asked.iter().all(|shown| *shown == chosen), "{asked:?}");
    }
    stop.cancel();
    served.abort();
}

//! Services behind TLS: a fleet's store is rarely without. Which authorities are trusted is the machine's matter, or
//! that of `SSL_CERT_FILE`, which has to be there when a process starts: so the test is started by itself.
use lre_model::{Digest, DigestFunction};
use lre_proto::re::capabilities_server::CapabilitiesServer;
use lre_proto::re::content_addressable_storage_server::ContentAddressableStorageServer;
use lre_server::services::capabilities::Capabilities;
use lre_server::services::cas::Cas;
use lre_store::upstream::Upstream;
use lre_store::{BlobStore, MemoryStore, Verified};
use std::process::Command;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};

/// Made for these tests, for `localhost` and 127.0.0.1, and good for a hundred years. The key is no secret.
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/key.pem");

/// Serves a store with TLS; gives the port.
async fn serve() -> u16 {
    let (certificate, key) = (std::fs::read(CERTIFICATE).unwrap(), std::fs::read(KEY).unwrap());
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let blobs: Arc<dyn BlobStore> = Arc::new(Verified(MemoryStore::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router =
        Server::builder().tls_config(tls).unwrap().add_service(CapabilitiesServer::new(Capabilities::default()));
    // Nobody splices here: the folder may go when this returns.
    let staging = lre_store::Staging::new(tempfile::tempdir().unwrap().path()).unwrap();
    let router = router.add_service(ContentAddressableStorageServer::new(Cas::new(blobs, staging)));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    port
}

/// Says to the process which of the two it is.
const ROLE: &str = "LRE_TLS_TEST_ROLE";

#[tokio::test]
async fn a_service_behind_tls_is_reached_if_its_authority_is_trusted() {
    match std::env::var(ROLE).as_deref() {
        Ok("trusted") => trusted().await,
        Ok(_) => not_trusted().await,
        Err(_) => {
            for (role, certificate) in [("trusted", CERTIFICATE), ("not trusted", "/dev/null")] {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.arg("--nocapture").env(ROLE, role).env("SSL_CERT_FILE", certificate);
                let output = command.output().unwrap();
                let said = [output.stdout, output.stderr].concat();
                assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&said));
            }
        }
    }
}

async fn trusted() {
    let port = serve().await;
    for address in [format!("grpcs://localhost:{port}"), format!("https://127.0.0.1:{port}")] {
        let upstream = Upstream::connect(&address).await.unwrap();
        let digest = Digest::of(DigestFunction::Sha256, b"secret");
        upstream.write(digest, bytes::Bytes::from_static(b"secret").into()).await.unwrap();
        assert_eq!(upstream.read(digest).await.unwrap().into_bytes(9).await.unwrap(), "secret");
    }
    // Without TLS nobody is understood there.
    let plain = match Upstream::connect(&format!("grpc://localhost:{port}")).await {
        Ok(plain) => plain.read(Digest::of(DigestFunction::Sha256, b"secret")).await.map(drop),
        Err(e) => Err(e),
    };
    assert!(plain.is_err());
}

async fn not_trusted() {
    let port = serve().await;
    let refused = Upstream::connect(&format!("grpcs://localhost:{port}")).await.unwrap_err().to_string();
    assert!(refused.contains("certificate") || refused.contains("UnknownIssuer"), "{refused}");
}

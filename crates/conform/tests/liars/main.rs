//! Every check can fail: against servers that keep nothing of the contract, each does at least once. A check that no liar
//! fails would pass whatever a server does, and tell nobody anything.
mod server;

use lre_conform::{Choice, Outcome, Report, Target};
use lre_proto::asset::{fetch_server::FetchServer, push_server::PushServer};
use lre_proto::bytestream::byte_stream_server::ByteStreamServer;
use lre_proto::longrunning::operations_server::OperationsServer;
use lre_proto::re::action_cache_server::ActionCacheServer;
use lre_proto::re::capabilities_server::CapabilitiesServer;
use lre_proto::re::content_addressable_storage_server::ContentAddressableStorageServer;
use lre_proto::re::execution_server::ExecutionServer;
use server::{Liar, Way};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// Messages of batches are longer than what tonic takes by itself.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

async fn serve(way: Way) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let liar = Liar::new(way);
    let cas = ContentAddressableStorageServer::new(liar.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .add_service(CapabilitiesServer::new(liar.clone()))
        .add_service(cas)
        .add_service(ByteStreamServer::new(liar.clone()))
        .add_service(ActionCacheServer::new(liar.clone()))
        .add_service(ExecutionServer::new(liar.clone()))
        .add_service(OperationsServer::new(liar.clone()))
        .add_service(FetchServer::new(liar.clone()))
        .add_service(PushServer::new(liar));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// An HTTP server that says `yes` to everything, or hangs up.
async fn http(says: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 64 * 1024];
            let _ = stream.read(&mut request).await;
            if says {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes").await;
            }
        }
    });
    address
}

async fn asked(way: Way) -> Vec<Report> {
    let mut target = Target::new(&serve(way).await.to_string()).unwrap();
    target.http(&format!("http://{}", http(way != Way::Refuses).await)).unwrap();
    target.platform.push(("a".to_owned(), "b".to_owned()));
    target.patience = Duration::from_secs(20);
    lre_conform::run(&target, &Choice::default(), |_| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_fails_for_some_liar() {
    let (a, b, c, d) = tokio::join!(asked(Way::Nods), asked(Way::Boasts), asked(Way::Refuses), asked(Way::Tires));
    let reports: Vec<Report> = [a, b, c, d].concat();
    let failed = |report: &&Report| matches!(report.outcome, Outcome::Fail(_) | Outcome::Note(_));
    let failed: BTreeSet<&str> = reports.iter().filter(failed).map(|report| report.check.name).collect();
    let never: Vec<_> = reports.iter().filter(|report| !failed.contains(report.check.name)).collect();
    let never: BTreeSet<_> = never.iter().map(|r| format!("{}: {:?}", r.check.name, r.outcome)).collect();
    assert!(never.is_empty(), "{} never fail: {never:#?}", never.len());
}

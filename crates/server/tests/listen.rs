//! The porch: who is let in, over which listener, and how it ends.
mod common;

use common::{PATIENCE, TOKEN, TestServer, connect_tcp, connect_unix, noise, refused, sha};
use hyper_util::rt::TokioIo;
use lre_proto::bytestream::WriteRequest;
use lre_proto::re::GetCapabilitiesRequest;
use lre_proto::re::capabilities_client::CapabilitiesClient;
use lre_server::auth::Porch;
use rustix::process::geteuid;
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::net::TcpStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A user that is nobody's.
const NOBODY: u32 = 65_534;

async fn ask(channel: &Channel, authorization: Option<&str>) -> Result<(), Status> {
    let mut request = tonic::Request::new(GetCapabilitiesRequest::default());
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", MetadataValue::try_from(value).unwrap());
    }
    CapabilitiesClient::new(channel.clone()).get_capabilities(request).await.map(drop)
}

/// USING 2: this user's processes need nothing.
#[tokio::test]
async fn this_user_is_let_in() {
    let server = TestServer::behind(Porch::new(None)).await;
    ask(&connect_tcp(server.tcp).await, None).await.unwrap();
    ask(&connect_unix(&server.socket).await, None).await.unwrap();
}

async fn stranger_needs_the_token(channel: &Channel) {
    let status = refused(ask(channel, None).await, Code::Unauthenticated);
    for what in ["belongs to uid", "hint:", "authorization: Bearer", "--remote_header"] {
        assert!(status.message().contains(what), "{what}: {}", status.message());
    }
    let wrong = refused(ask(channel, Some("Bearer wrong")).await, Code::Unauthenticated);
    assert!(wrong.message().contains("not its token"), "{}", wrong.message());
    ask(channel, Some(&format!("Bearer {TOKEN}"))).await.unwrap();
    // Health too: whether a server runs is nobody else's business.
    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    refused(health, Code::Unauthenticated);
}

/// USING 2: anybody else needs the token, over both listeners and for every service. The connection
/// is really ours; the server belongs to somebody else.
#[tokio::test]
async fn a_stranger_needs_the_token() {
    let server = TestServer::behind(Porch::of(geteuid().as_raw() + 1, Some(TOKEN))).await;
    stranger_needs_the_token(&connect_tcp(server.tcp).await).await;
    stranger_needs_the_token(&connect_unix(&server.socket).await).await;
}

/// A client over a TCP connection that belongs to a process of another user.
async fn connect_as(uid: u32, address: SocketAddr) -> Channel {
    let relay = format!("exec 3<>/dev/tcp/{}/{}; cat <&3 & exec cat >&3", address.ip(), address.port());
    let connect = move |_: Uri| {
        let relay = relay.clone();
        async move {
            let mut child = tokio::process::Command::new("bash")
                .args(["-c", &relay])
                .uid(uid)
                .gid(uid)
                .current_dir("/")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            let ends = tokio::io::join(child.stdout.take().unwrap(), child.stdin.take().unwrap());
            // The relay ends with its input, and that with the channel.
            tokio::spawn(async move { child.wait().await });
            Ok::<_, std::io::Error>(TokioIo::new(ends))
        }
    };
    Endpoint::from_static("http://lre").connect_with_connector(tower::service_fn(connect)).await.unwrap()
}

/// USING 2, with a process that really is another user's. Only root can start one; for an ordinary
/// user the same rule is tested from the other side in `a_stranger_needs_the_token`.
#[tokio::test]
async fn a_process_of_another_user_needs_the_token() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: only root can start a process of another user; run the tests as root too");
        return;
    }
    let server = TestServer::start().await;
    let channel = connect_as(NOBODY, server.tcp).await;
    stranger_needs_the_token(&channel).await;
    let status = refused(ask(&channel, None).await, Code::Unauthenticated);
    assert!(status.message().contains("the connection belongs to uid 65534"), "{}", status.message());
    // The same way, but of our own user: it is the uid that decides, not the way.
    ask(&connect_as(geteuid().as_raw(), server.tcp).await, None).await.unwrap();
}

/// A client with an IPv6 socket for an IPv4 address, as every Java client has.
#[tokio::test]
async fn a_dual_stack_socket_is_recognised() {
    let server = TestServer::behind(Porch::new(None)).await;
    let mapped = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), server.tcp.port());
    let connect = move |_: Uri| async move { TcpStream::connect(mapped).await.map(TokioIo::new) };
    let channel = Endpoint::from_static("http://lre").connect_with_connector(tower::service_fn(connect)).await.unwrap();
    ask(&channel, None).await.unwrap();
}

/// PROTOCOL 7: a client that pings all the time is not punished.
#[tokio::test]
async fn pings_are_not_punished() {
    let server = TestServer::start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.tcp)).unwrap();
    let channel = endpoint
        .http2_keep_alive_interval(std::time::Duration::from_millis(1))
        .keep_alive_while_idle(true)
        .connect()
        .await
        .unwrap();
    for _ in 0..500 {
        ask(&channel, None).await.unwrap();
    }
}

/// PROTOCOL 8, bad input: a call that is neither HTTP/2 nor gRPC harms nobody.
#[tokio::test]
async fn other_protocols_are_turned_away() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = TestServer::start().await;
    for greeting in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &noise(1, 4096), b""] {
        let mut stream = TcpStream::connect(server.tcp).await.unwrap();
        stream.write_all(greeting).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection stays open for {greeting:?}");
    }
    ask(&server.channel, None).await.unwrap();
}

/// An unknown service or method is UNIMPLEMENTED.
#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let server = TestServer::start().await;
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<GetCapabilitiesRequest, GetCapabilitiesRequest>::default();
    let path = "/build.bazel.remote.execution.v2.Nothing/Nothing".parse().unwrap();
    let asked = client.unary(tonic::Request::new(GetCapabilitiesRequest::default()), path, codec).await;
    refused(asked, Code::Unimplemented);
}

/// What is under way is finished, nobody new is let in, and the socket goes.
#[tokio::test]
async fn an_orderly_end_lets_calls_end_and_removes_the_socket() {
    let mut server = TestServer::start().await;
    let content = noise(2, 100_000);
    let name = common::upload_name("u", lre_model::Compressor::Identity, sha(&content));
    let all = common::messages(&name, &content, 50_000, 0);
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let mut client = server.bytes();
    let call = tokio::spawn(async move { client.write(tokio_stream::wrappers::ReceiverStream::new(receive)).await });
    send.send(all[0].clone()).await.unwrap();
    send.send(WriteRequest { write_offset: 50_000, ..Default::default() }).await.unwrap();
    server.stop.cancel();
    let address = server.tcp;
    common::until("nobody new is let in", async || TcpStream::connect(address).await.is_err()).await;
    send.send(all[1].clone()).await.unwrap();
    drop(send);
    let answer = call.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.committed_size, 100_000, "a call under way is finished");
    server.channel = connect_nowhere();
    tokio::time::timeout(PATIENCE, &mut server.served).await.expect("it ends").unwrap().unwrap();
    assert!(!server.socket.exists());
}

/// Lets the old channel go, so that the server has no connections left.
fn connect_nowhere() -> Channel {
    Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
}

/// A client that neither ends nor goes away does not keep the server from ending.
#[tokio::test]
async fn an_end_does_not_wait_for_ever() {
    let mut server = TestServer::start().await;
    let digest = sha(b"never comes");
    let first = WriteRequest {
        resource_name: common::upload_name("u", lre_model::Compressor::Identity, digest),
        ..Default::default()
    };
    let endless = futures::StreamExt::chain(tokio_stream::iter([first]), tokio_stream::pending());
    let mut client = server.bytes();
    let call = tokio::spawn(async move { client.write(endless).await });
    ask(&server.channel, None).await.unwrap();
    tokio::time::pause();
    server.stop.cancel();
    (&mut server.served).await.unwrap().unwrap();
    tokio::time::resume();
    assert!(call.await.unwrap().is_err());
    assert!(!server.socket.exists());
}

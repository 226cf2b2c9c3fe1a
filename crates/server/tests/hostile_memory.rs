//! LIMITS 5: clients that do not read, and clients that send and never end, cost the server little memory each. The server
//! is a process of its own: this test again.
mod common;

use common::{TestServer, blob_name, connect_tcp, messages, noise, sha, until, upload_name};
use futures::StreamExt;
use futures::future::join_all;
use lre_model::Compressor::{self, Identity, Zstd};
use lre_model::Digest;
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::bytestream::{QueryWriteStatusRequest, ReadRequest, WriteRequest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tonic::transport::Channel;

const MIB: u64 = 1 << 20;

/// Clients that are slow, or stop.
const CLIENTS: usize = 200;

/// Memory that each of them may cost the server: what is read ahead of it, what waits in HTTP/2.
const BYTES_EACH_MAX: u64 = MIB + MIB / 4;

/// Says to the process that it is the server.
const ROLE: &str = "LRE_HOSTILE_MEMORY_SERVER";

/// A server in a process of its own, with a large blob. It ends with its input.
struct Process {
    child: Child,
    tcp: SocketAddr,
    large: Digest,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Process {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--nocapture").env(ROLE, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Among what the test harness says; it is read to the end, so that nothing is written to nobody.
        let mut lines = lines.skip_while(|line| !line.contains("SERVES "));
        let line = lines.next().expect("the server has not started");
        std::thread::spawn(move || lines.count());
        let mut words = line.split("SERVES ").nth(1).unwrap().split(' ');
        let tcp = words.next().unwrap().parse().unwrap();
        Self { child, tcp, large: Digest::from_text(words.next().unwrap()).unwrap() }
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Runs `work` and gives the growth of the peak of the server's resident memory meanwhile.
    async fn growth<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let before = self.memory("VmRSS:");
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        let value = work.await;
        (value, self.memory("VmHWM:").saturating_sub(before))
    }

    async fn client(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(connect_tcp(self.tcp).await)
    }
}

/// The other process.
async fn serve() {
    let server = TestServer::start().await;
    let large = server.put(noise(1, 64 << 20)).await;
    server.read(&blob_name(Identity, large), 0, 1 << 20).await.unwrap();
    println!("SERVES {} {large} ", server.tcp);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

fn report(what: &str, begin: Instant, growth: u64) {
    let each = growth / CLIENTS as u64;
    eprintln!(
        "{what}: {CLIENTS} in {:.2} s, memory +{} MiB, {} KiB each",
        begin.elapsed().as_secs_f64(),
        growth / MIB,
        each >> 10
    );
    assert!(each < BYTES_EACH_MAX, "{what}: {} KiB each", each >> 10);
}

/// Clients that ask for a blob of 64 MiB each, read a little and wait.
async fn slow_readers(server: &Process, compressor: Compressor) {
    let one = async |_| {
        let request = ReadRequest { resource_name: blob_name(compressor, server.large), ..Default::default() };
        let mut stream = server.client().await.read(request).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        stream
    };
    let mut streams: Vec<_> = futures::stream::iter(0..CLIENTS).map(one).buffer_unordered(32).collect().await;
    // Everybody else is served meanwhile.
    let content = noise(9, 3 << 20);
    let all = messages(&upload_name(&format!("{compressor:?}"), Identity, sha(&content)), &content, 1 << 16, 0);
    server.client().await.write(tokio_stream::iter(all)).await.unwrap();
    // They are slow, not dead.
    let next = join_all(streams.iter_mut().map(|stream| stream.message())).await;
    assert!(next.into_iter().all(|message| message.unwrap().is_some()));
}

/// Clients that send half of what they announce, over connections of their own, and wait.
async fn stopped_writers(server: &Process) {
    let content = noise(3, 1 << 20);
    let name = |i| upload_name(&format!("u{i}"), Identity, sha(&content));
    let mut calls = Vec::new();
    for i in 0..CLIENTS {
        let first = WriteRequest { resource_name: name(i), data: content.slice(..1 << 19), ..Default::default() };
        let all = tokio_stream::iter([first]).chain(tokio_stream::pending());
        let mut client = server.client().await;
        calls.push(tokio::spawn(async move { client.write(all).await }));
    }
    let mut client = server.client().await;
    for i in 0..CLIENTS {
        until("it has arrived", async || {
            let query = QueryWriteStatusRequest { resource_name: name(i) };
            client.query_write_status(query).await.unwrap().into_inner().committed_size == 1 << 19
        })
        .await;
    }
    calls.into_iter().for_each(|call| call.abort());
}

/// PROTOCOL 40, bad input: hundreds of clients that do not read what they asked for, and hundreds that do not send what they
/// announced, take a bounded share of memory each, whatever the size of their blobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_cost_little_memory() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    if std::env::var_os(ROLE).is_some() {
        return serve().await;
    }
    let server = Process::start();
    let begin = Instant::now();
    let ((), grown) = server.growth(stopped_writers(&server)).await;
    report("stopped writers", begin, grown);
    for compressor in [Identity, Zstd] {
        let begin = Instant::now();
        let ((), grown) = server.growth(slow_readers(&server, compressor)).await;
        report(&format!("slow readers, {compressor:?}"), begin, grown);
    }
}

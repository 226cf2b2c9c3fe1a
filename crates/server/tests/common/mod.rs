//! The real services on a real store and real sockets, in this process: one server for each test.
#![allow(dead_code, reason = "every test binary uses its own part of this")]

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use lre_model::{Compressor, Digest, DigestFunction};
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::bytestream::{ReadRequest, WriteRequest};
use lre_proto::re::action_cache_client::ActionCacheClient;
use lre_proto::re::capabilities_client::CapabilitiesClient;
use lre_proto::re::content_addressable_storage_client::ContentAddressableStorageClient;
use lre_server::auth::Porch;
use lre_server::http::HttpCache;
use lre_server::listen::Listeners;
use lre_server::services::Storage;
use lre_server::services::asset::Assets;
use lre_server::services::health::Health;
use lre_server::services::reflection;
use lre_store::{DiskStore, Names, Staging, Stores};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

/// Waiting longer than this means that what is waited for never happens.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The token of the test servers.
pub const TOKEN: &str = "token-of-the-test";

/// A server. It stops with this value.
pub struct TestServer {
    /// Over TCP.
    pub channel: Channel,
    pub tcp: SocketAddr,
    pub socket: PathBuf,
    pub stores: Stores,
    pub directory: tempfile::TempDir,
    pub stop: CancellationToken,
    pub served: JoinHandle<std::io::Result<()>>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl TestServer {
    pub async fn start() -> Self {
        Self::behind(Porch::new(Some(TOKEN))).await
    }

    /// A server that lets in whom `porch` lets in.
    pub async fn behind(porch: Porch) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(DiskStore::open(directory.path()).unwrap());
        let names = disk.names();
        Self::made_of(lre_store::compose(disk, None), Some(names), directory, porch).await
    }

    /// Another server on the same store, after this one has ended.
    pub async fn again(mut self) -> Self {
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        self.served.abort();
        until("the first server has ended", async || self.served.is_finished()).await;
        drop(self);
        let open = || DiskStore::open(directory.path());
        // What a call held of the store goes a moment later.
        until("the store is free", async || open().is_ok()).await;
        let stores = lre_store::compose(Arc::new(open().unwrap()), None);
        Self::over(stores, directory, Porch::new(Some(TOKEN))).await
    }

    /// A server over stores of the test's own making.
    pub async fn over(stores: Stores, directory: tempfile::TempDir, porch: Porch) -> Self {
        Self::made_of(stores, None, directory, porch).await
    }

    /// The same; with names also the services that need them.
    pub async fn made_of(stores: Stores, names: Option<Names>, directory: tempfile::TempDir, porch: Porch) -> Self {
        let socket = directory.path().join("sockets/re.sock");
        let mut routes = RoutesBuilder::default();
        let staging = Staging::new(directory.path().join("staging")).unwrap();
        let http = names.clone().map(|names| HttpCache::new(stores.blobs.clone(), staging.clone(), names));
        if let Some(names) = names {
            Assets::new(stores.blobs.clone(), names).add_to(&mut routes);
        }
        Storage { blobs: stores.blobs.clone(), actions: stores.results.clone(), staging }.add_to(&mut routes);
        Health::add_to(&mut routes).await;
        reflection::add_to(&mut routes);
        let listeners = Listeners::bind(Some(([127, 0, 0, 1], 0).into()), Some(&socket)).unwrap();
        let listeners = match http {
            Some(http) => listeners.with_http(http),
            None => listeners,
        };
        let tcp = listeners.tcp_address().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(listeners.serve(routes.routes(), porch, stop.clone()));
        let channel = connect_tcp(tcp).await;
        Self { channel, tcp, socket, stores, directory, stop, served }
    }

    pub fn capabilities(&self) -> CapabilitiesClient<Channel> {
        CapabilitiesClient::new(self.channel.clone())
    }

    pub fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub fn actions(&self) -> ActionCacheClient<Channel> {
        ActionCacheClient::new(self.channel.clone())
    }

    pub fn bytes(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(self.channel.clone())
    }

    /// Puts a blob into the store behind the server.
    pub async fn put(&self, content: impl Into<Bytes>) -> Digest {
        self.put_as(DigestFunction::Sha256, content).await
    }

    pub async fn put_as(&self, function: DigestFunction, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = Digest::of(function, &content);
        self.stores.blobs.write(digest, content.into()).await.unwrap();
        digest
    }

    /// Whether the store behind the server has it.
    pub async fn has(&self, digest: Digest) -> bool {
        self.stores.blobs.hold(&[digest]).await.unwrap().1.is_empty()
    }

    /// Removes a blob as somebody would who does not ask the server: the file of it.
    pub async fn lose(&self, digest: Digest) {
        std::fs::remove_file(self.stores.blobs.promote(digest).await.unwrap().unwrap()).unwrap();
    }

    /// Files that wait in the staging folder.
    pub fn staged_files(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("staging")).unwrap().count()
    }

    /// Reads all of a resource.
    pub async fn read(&self, name: &str, offset: i64, limit: i64) -> Result<Vec<u8>, Status> {
        let request = ReadRequest { resource_name: name.to_owned(), read_offset: offset, read_limit: limit };
        let mut stream = self.bytes().read(request).await?.into_inner();
        let mut all = Vec::new();
        while let Some(message) = stream.message().await? {
            assert!(message.data.len() <= 256 * 1024, "LIMITS 4: chunks of 64-256 KiB");
            all.extend_from_slice(&message.data);
        }
        Ok(all)
    }

    /// Sends these messages; gives `committed_size`.
    pub async fn write(&self, messages: Vec<WriteRequest>) -> Result<i64, Status> {
        let response = self.bytes().write(tokio_stream::iter(messages)).await?;
        Ok(response.into_inner().committed_size)
    }
}

pub async fn connect_tcp(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().tcp_nodelay(true).connect().await.unwrap()
}

pub async fn connect_unix(path: &Path) -> Channel {
    let path = path.to_owned();
    let connect = move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    };
    Endpoint::from_static("http://lre").connect_with_connector(tower::service_fn(connect)).await.unwrap()
}

pub fn sha(content: &[u8]) -> Digest {
    Digest::of(DigestFunction::Sha256, content)
}

/// Bytes that do not compress, different for each seed.
pub fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

pub fn zstd(content: &[u8]) -> Bytes {
    zstd::bulk::compress(content, 3).unwrap().into()
}

/// `blobs/…` or `compressed-blobs/zstd/…`.
pub fn blob_name(compressor: Compressor, digest: Digest) -> String {
    match compressor {
        Compressor::Identity => format!("blobs/{digest}"),
        Compressor::Zstd => format!("compressed-blobs/zstd/{digest}"),
    }
}

/// `uploads/{upload}/…`.
pub fn upload_name(upload: &str, compressor: Compressor, digest: Digest) -> String {
    format!("uploads/{upload}/{}", blob_name(compressor, digest))
}

/// `content` in messages of `chunk` bytes from `offset` on, the last one with `finish_write`.
pub fn messages(name: &str, content: &[u8], chunk: usize, offset: i64) -> Vec<WriteRequest> {
    let mut messages: Vec<_> = content
        .chunks(chunk)
        .enumerate()
        .map(|(i, data)| WriteRequest {
            resource_name: if i == 0 { name.to_owned() } else { String::new() },
            write_offset: offset + (i * chunk) as i64,
            finish_write: false,
            data: Bytes::copy_from_slice(data),
        })
        .collect();
    if messages.is_empty() {
        messages.push(WriteRequest { resource_name: name.to_owned(), write_offset: offset, ..Default::default() });
    }
    messages.last_mut().unwrap().finish_write = true;
    messages
}

/// Fails with the code, and says why it was expected to.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code) -> Status {
    match result {
        Err(status) if status.code() == code => status,
        other => panic!("expected {code:?}: {other:?}"),
    }
}

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    // By the real clock: some tests set tokio's.
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(std::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

//! `lre serve` as a process, and its services as a client calls them.
use bytes::Bytes;
use lre_model::{ActionDigest, Digest, DigestFunction};
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::bytestream::{ReadRequest, WriteRequest};
use lre_proto::re::action_cache_client::ActionCacheClient;
use lre_proto::re::batch_update_blobs_request::Request as Entry;
use lre_proto::re::content_addressable_storage_client::ContentAddressableStorageClient;
use lre_proto::re::{
    ActionResult, BatchUpdateBlobsRequest, FindMissingBlobsRequest, GetActionResultRequest, UpdateActionResultRequest,
};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Waiting longer than this means that what is waited for never happens.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// SPECIFICATION: a start is instant, clean or not.
const START_TIME_MAX: Duration = Duration::from_secs(1);

/// Most of these first answers came in time. Not all: whatever else the machine does at the same time is not the store's doing.
pub fn assert_instant(mut answered: Vec<Duration>) {
    answered.sort();
    assert!(answered[(answered.len() - 1) / 2] < START_TIME_MAX, "the first answers came after {answered:?}");
}

/// A server that is to be started on a directory.
pub struct Program {
    /// Home, socket and logs; the store where nobody says otherwise.
    directory: tempfile::TempDir,
    store: PathBuf,
}

impl Program {
    pub fn new() -> Self {
        // Short: a socket will be in it.
        let directory = tempfile::Builder::new().prefix("lre-t-").tempdir_in("/tmp").unwrap();
        let store = directory.path().join("store");
        Self { directory, store }
    }

    /// With the store there, where a disk of its own is.
    pub fn at(store: PathBuf) -> Self {
        Self { store, ..Self::new() }
    }

    pub fn store(&self) -> &Path {
        &self.store
    }

    pub fn lre(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lre"));
        command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.directory.path());
        command.env("LRE_STORE", &self.store).env("LRE_SOCKET", self.directory.path().join("re.sock"));
        command.env("LRE_LISTEN", "127.0.0.1:0").env("LRE_LOG", "warn");
        command.stdin(Stdio::null()).current_dir(self.directory.path());
        command
    }

    /// The server, when it says that it is ready.
    pub fn serve(&self, further: &[&str]) -> Serve {
        let begun = Instant::now();
        let arguments: Vec<_> = ["serve", "--slots", "2"].iter().chain(further).copied().collect();
        let mut child = self.lre(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut tcp = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(address) = line.strip_prefix("listening tcp ") {
                tcp = Some(address.parse().unwrap());
            }
            if line == "ready" {
                return Serve { child, tcp: tcp.unwrap(), begun };
            }
        }
        panic!("the server ended: {:?}", child.wait());
    }

    /// What a server says that must not start.
    pub fn refused(&self) -> String {
        let Output { status, stdout, stderr } = self.lre(&["serve"]).output().unwrap();
        let said = [stdout, stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }
}

/// A running server. It is killed with this value.
pub struct Serve {
    child: Child,
    pub tcp: SocketAddr,
    begun: Instant,
}

impl Serve {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// As the kernel does it when memory is short.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.tcp).await
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to a server.
#[derive(Clone)]
pub struct Client(Channel);

pub fn sha(bytes: &[u8]) -> Digest {
    Digest::of(DigestFunction::Sha256, bytes)
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

impl Client {
    pub async fn connect(tcp: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{tcp}")).unwrap().tcp_nodelay(true);
        Self(endpoint.connect().await.unwrap())
    }

    fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.0.clone()).max_decoding_message_size(64 << 20)
    }

    /// BatchUpdateBlobs: the first error of the call or of an entry.
    pub async fn batch(&self, blobs: &[Bytes]) -> Result<(), Status> {
        let entry = |data: &Bytes| Entry { digest: Some(sha(data).to_wire()), data: data.to_vec(), ..Entry::default() };
        let requests = blobs.iter().map(entry).collect();
        let request = BatchUpdateBlobsRequest { requests, ..Default::default() };
        let answer = self.cas().batch_update_blobs(request).await?.into_inner();
        for one in answer.responses {
            let status = one.status.unwrap_or_default();
            if status.code != 0 {
                return Err(of_rpc(status));
            }
        }
        Ok(())
    }

    /// ByteStream.Write, in messages of 100,000 bytes.
    pub async fn stream(&self, bytes: &Bytes) -> Result<(), Status> {
        let digest = sha(bytes);
        let name = format!("uploads/{}/blobs/{digest}", uuid::Uuid::new_v4());
        let pieces = bytes.len().div_ceil(PIECE).max(1);
        let message = {
            let bytes = bytes.clone();
            move |i: usize| {
                let end = bytes.len().min((i + 1) * PIECE);
                WriteRequest {
                    resource_name: if i == 0 { name.clone() } else { String::new() },
                    write_offset: (i * PIECE) as i64,
                    finish_write: i + 1 == pieces,
                    data: bytes.slice(i * PIECE..end),
                }
            }
        };
        let messages = tokio_stream::iter((0..pieces).map(message));
        let written = ByteStreamClient::new(self.0.clone()).write(messages).await?.into_inner();
        assert_eq!(written.committed_size, bytes.len() as i64);
        Ok(())
    }

    pub async fn read(&self, digest: Digest) -> Result<Vec<u8>, Status> {
        let request = ReadRequest { resource_name: format!("blobs/{digest}"), ..Default::default() };
        let mut stream = ByteStreamClient::new(self.0.clone()).read(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(message) = stream.message().await? {
            bytes.extend_from_slice(&message.data);
        }
        Ok(bytes)
    }

    /// FindMissingBlobs.
    pub async fn missing(&self, digests: &[Digest]) -> Vec<Digest> {
        let blob_digests = digests.iter().map(|digest| digest.to_wire()).collect();
        let request = FindMissingBlobsRequest { blob_digests, ..Default::default() };
        let answer = self.cas().find_missing_blobs(request).await.unwrap().into_inner();
        let parse = |wire| Digest::from_wire(DigestFunction::Sha256, Some(wire)).unwrap();
        answer.missing_blob_digests.iter().map(parse).collect()
    }

    pub async fn put_result(&self, action: ActionDigest, stdout: Digest) -> Result<(), Status> {
        let result = ActionResult { stdout_digest: Some(stdout.to_wire()), ..Default::default() };
        let request = UpdateActionResultRequest {
            action_digest: Some(action.0.to_wire()),
            action_result: Some(result),
            ..Default::default()
        };
        ActionCacheClient::new(self.0.clone()).update_action_result(request).await.map(drop)
    }

    /// The digest that [`Client::put_result`] put; nothing where no result is known.
    pub async fn result(&self, action: ActionDigest) -> Option<Digest> {
        let request = GetActionResultRequest { action_digest: Some(action.0.to_wire()), ..Default::default() };
        match ActionCacheClient::new(self.0.clone()).get_action_result(request).await {
            Ok(answer) => {
                let stdout = answer.into_inner().stdout_digest;
                Some(Digest::from_wire(DigestFunction::Sha256, stdout.as_ref()).unwrap())
            }
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status:?}");
                None
            }
        }
    }
}

/// Bytes in a message of [`Client::stream`].
const PIECE: usize = 100_000;

fn of_rpc(status: lre_proto::rpc::Status) -> Status {
    use prost::Message;
    let details = status.encode_to_vec();
    Status::with_details(Code::from(status.code), status.message, details.into())
}

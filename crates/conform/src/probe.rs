//! A connection to the server, and what every check asks of it.
use crate::job::Job;
use crate::program::Program;
use crate::target::{Headers, Target, Unreachable};
use crate::verdict::{Stop, Verdict, ensure, fail, skip, works};
use bytes::Bytes;
use lre_model::{Digest, DigestFunction};
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::longrunning::operations_client::OperationsClient;
use lre_proto::re::{self, action_cache_client::ActionCacheClient, capabilities_client::CapabilitiesClient};
use re::content_addressable_storage_client::ContentAddressableStorageClient;
use re::execution_client::ExecutionClient;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::OnceCell;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Every call with the headers of the target.
pub type Wire = InterceptedService<Channel, Headers>;

/// Largest message taken, in bytes: what gRPC clients take where nobody says otherwise, since that is what the server has
/// to reckon with.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The connection, what the server says it can do, and a source of contents that nobody has seen before.
pub struct Probe {
    target: Target,
    wire: Wire,
    capabilities: re::ServerCapabilities,
    /// Makes the contents of one run differ from those of all others.
    run: u128,
    made: AtomicU64,
    /// Whether programs of ours run there; asked once.
    executes: OnceCell<Result<(), Stop>>,
    function: DigestFunction,
}

impl Probe {
    /// Connects and asks for the capabilities.
    pub async fn start(target: &Target) -> Result<Self, Unreachable> {
        let channel = target.connect(|endpoint| endpoint).await?;
        let wire = InterceptedService::new(channel, target.headers.clone());
        let request = re::GetCapabilitiesRequest { instance_name: target.instance.clone() };
        let mut client = CapabilitiesClient::new(wire.clone());
        let asked = tokio::time::timeout(target.patience, client.get_capabilities(request));
        let silent = || Status::deadline_exceeded("no answer to GetCapabilities");
        let answer = asked.await.unwrap_or_else(|_| Err(silent()));
        let capabilities = answer.map_err(|status| target.unreachable(&status))?.into_inner();
        Ok(Self {
            target: target.clone(),
            wire,
            capabilities,
            run: uuid::Uuid::new_v4().as_u128(),
            made: AtomicU64::new(0),
            executes: OnceCell::new(),
            function: DigestFunction::Sha256,
        })
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn instance(&self) -> &str {
        &self.target.instance
    }

    pub fn wire(&self) -> Wire {
        self.wire.clone()
    }

    pub fn cas(&self) -> ContentAddressableStorageClient<Wire> {
        ContentAddressableStorageClient::new(self.wire()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn bytes(&self) -> ByteStreamClient<Wire> {
        ByteStreamClient::new(self.wire()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn actions(&self) -> ActionCacheClient<Wire> {
        ActionCacheClient::new(self.wire()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn execution(&self) -> ExecutionClient<Wire> {
        ExecutionClient::new(self.wire()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn operations(&self) -> OperationsClient<Wire> {
        OperationsClient::new(self.wire())
    }

    pub fn capabilities(&self) -> &re::ServerCapabilities {
        &self.capabilities
    }

    /// What is told of the cache; there is nothing to ask a server without one.
    pub fn cache(&self) -> Verdict<&re::CacheCapabilities> {
        self.capabilities.cache_capabilities.as_ref().map_or_else(|| skip("no cache is told"), Ok)
    }

    /// What is told of execution.
    pub fn told_execution(&self) -> Verdict<&re::ExecutionCapabilities> {
        let told = self.capabilities.execution_capabilities.as_ref().filter(|told| told.exec_enabled);
        told.map_or_else(|| skip("no execution is told"), Ok)
    }

    /// zstd in streams.
    pub fn zstd_streams(&self) -> Verdict {
        let told = &self.cache()?.supported_compressors;
        if told.contains(&(re::compressor::Value::Zstd as i32)) { Ok(()) } else { skip("zstd is not told") }
    }

    /// zstd in BatchUpdateBlobs.
    pub fn zstd_batches(&self) -> Verdict {
        let told = &self.cache()?.supported_batch_update_compressors;
        if told.contains(&(re::compressor::Value::Zstd as i32)) { Ok(()) } else { skip("zstd is not told for batches") }
    }

    /// BLAKE3.
    pub fn blake3(&self) -> Verdict<DigestFunction> {
        let told = self.cache()?.digest_functions.contains(&DigestFunction::Blake3.to_wire());
        if told { Ok(DigestFunction::Blake3) } else { skip("BLAKE3 is not told") }
    }

    /// Clients may store results.
    pub fn updates(&self) -> Verdict {
        let told = self.cache()?.action_cache_update_capabilities.as_ref().is_some_and(|told| told.update_enabled);
        if told { Ok(()) } else { skip("update_enabled is not told") }
    }

    /// A number that no other check has, in no other run.
    fn fresh(&self) -> u128 {
        self.run.wrapping_add(u128::from(self.made.fetch_add(1, Ordering::Relaxed)).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// The name of an upload.
    pub fn upload(&self) -> String {
        uuid::Uuid::from_u128(self.fresh()).to_string()
    }

    /// A few letters that nobody has seen.
    pub fn word(&self) -> String {
        format!("{:032x}", self.fresh())
    }

    /// Bytes that nobody has seen and that do not compress.
    pub fn noise(&self, length: usize) -> Vec<u8> {
        let seed = self.fresh();
        let mut state = (seed ^ (seed >> 64)) as u64 | 1;
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            // xorshift64*
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            bytes.extend(state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    pub fn digest(&self, content: &[u8]) -> Digest {
        Digest::of(self.function, content)
    }

    /// Of these, the ones the server says it lacks.
    pub async fn missing(&self, digests: &[Digest]) -> Result<Vec<re::Digest>, Status> {
        let function = digests.first().map_or(self.function, |digest| digest.function());
        let request = re::FindMissingBlobsRequest {
            instance_name: self.instance().to_owned(),
            blob_digests: digests.iter().map(|digest| digest.to_wire()).collect(),
            digest_function: function.to_wire(),
        };
        Ok(self.cas().find_missing_blobs(request).await?.into_inner().missing_blob_digests)
    }

    /// Whether the server has it.
    pub async fn has(&self, digest: Digest) -> Verdict<bool> {
        Ok(works("FindMissingBlobs", self.missing(&[digest]).await)?.is_empty())
    }

    /// Sends a batch: for each blob what it is called, how it is packed, and its bytes.
    pub async fn batch(
        &self,
        blobs: impl IntoIterator<Item = (re::Digest, re::compressor::Value, Vec<u8>)>,
        function: DigestFunction,
    ) -> Result<Vec<re::batch_update_blobs_response::Response>, Status> {
        let request = |(digest, compressor, data)| re::batch_update_blobs_request::Request {
            digest: Some(digest),
            compressor: compressor as i32,
            data,
        };
        let request = re::BatchUpdateBlobsRequest {
            instance_name: self.instance().to_owned(),
            requests: blobs.into_iter().map(request).collect(),
            digest_function: function.to_wire(),
        };
        Ok(self.cas().batch_update_blobs(request).await?.into_inner().responses)
    }

    /// Stores blobs, whatever is needed for it.
    pub async fn store(&self, blobs: &[(Digest, Bytes)]) -> Verdict {
        /// What is larger goes as a stream.
        const SMALL: usize = 64 * 1024;
        for (digest, content) in blobs.iter().filter(|(_, content)| content.len() > SMALL) {
            let name = self.write_name(&self.upload(), crate::stream::Form::Plain, *digest);
            works("ByteStream.Write", self.send_all(&name, content).await)?;
        }
        let small: Vec<_> = blobs.iter().filter(|(_, content)| content.len() <= SMALL).collect();
        for part in small.chunks(16) {
            let function = part[0].0.function();
            let identity = re::compressor::Value::Identity;
            let sent = part.iter().map(|(digest, content)| (digest.to_wire(), identity, content.to_vec()));
            for response in works("BatchUpdateBlobs", self.batch(sent, function).await)? {
                let code = crate::verdict::code(response.status.as_ref());
                ensure!(code == Code::Ok, "BatchUpdateBlobs of a blob of ours: expected OK, got {:?}", response.status);
            }
        }
        Ok(())
    }

    /// Stores one.
    pub async fn put(&self, content: impl Into<Bytes>) -> Verdict<Digest> {
        let content = content.into();
        let digest = self.digest(&content);
        self.store(&[(digest, content)]).await?;
        Ok(digest)
    }

    /// Reads a batch.
    pub async fn read_batch(
        &self,
        digests: Vec<re::Digest>,
        compressors: &[re::compressor::Value],
        function: DigestFunction,
    ) -> Result<Vec<re::batch_read_blobs_response::Response>, Status> {
        let request = re::BatchReadBlobsRequest {
            instance_name: self.instance().to_owned(),
            digests,
            acceptable_compressors: compressors.iter().map(|compressor| *compressor as i32).collect(),
            digest_function: function.to_wire(),
        };
        Ok(self.cas().batch_read_blobs(request).await?.into_inner().responses)
    }

    /// The content of a blob that has to be there.
    pub async fn content(&self, what: &str, digest: Option<&re::Digest>, function: DigestFunction) -> Verdict<Vec<u8>> {
        let digest = match Digest::from_wire(function, digest) {
            Ok(digest) => digest,
            Err(error) => return fail(format!("{what}: {error}")),
        };
        let content = works(what, self.read(crate::stream::Form::Plain, digest).await)?;
        ensure!(Digest::of(function, &content) == digest, "{what}: the bytes are not those of {digest}");
        Ok(content)
    }

    /// Programs of ours run there.
    pub async fn executor(&self) -> Verdict {
        self.told_execution()?;
        match self.executes.get_or_init(|| self.canary()).await {
            Ok(()) => Ok(()),
            Err(Stop::Skip(why) | Stop::Fail(why)) => skip(format!("no program runs there: {why}")),
        }
    }

    /// The smallest program that says something.
    pub async fn canary(&self) -> Verdict {
        self.told_execution()?;
        let job = Job::new(self, Program::new().say("here"));
        let prepared = job.upload(self).await?;
        let response = match prepared.execute(self).await?.response() {
            Ok(response) => response,
            Err(status) => return not_this_platform(&status),
        };
        if let Some(status) = response.status.as_ref().filter(|status| status.code != 0) {
            return not_this_platform(&crate::verdict::as_status(status));
        }
        let result = response.result.clone().unwrap_or_default();
        let said = self.output("stdout", &result.stdout_raw, result.stdout_digest.as_ref(), self.function).await?;
        let whole = result.exit_code == 0 && said == b"here";
        ensure!(whole, "a static program of ours: expected exit code 0 and `here` on stdout, got {result:?}");
        Ok(())
    }

    /// What an action has said, wherever it stands.
    pub async fn output(
        &self,
        what: &str,
        raw: &[u8],
        digest: Option<&re::Digest>,
        function: DigestFunction,
    ) -> Verdict<Vec<u8>> {
        match digest {
            Some(digest) if raw.is_empty() && digest.size_bytes != 0 => {
                self.content(what, Some(digest), function).await
            }
            _ => Ok(raw.to_vec()),
        }
    }
}

/// A server that wants to be told a platform is not broken.
fn not_this_platform(status: &Status) -> Verdict {
    let said = crate::verdict::said(status);
    match status.code() {
        Code::FailedPrecondition | Code::InvalidArgument | Code::NotFound => {
            skip(format!("the action is refused, perhaps for want of --platform: {said}"))
        }
        _ => fail(format!("a static program of ours cannot be executed: {said}")),
    }
}

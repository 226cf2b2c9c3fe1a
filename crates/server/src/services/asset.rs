//! `Fetch` and `Push` of the Remote Asset API (PROTOCOL 86; docs/reference/remote-asset.md), over the store and the names
//! in it. Nothing is ever downloaded: what nobody has pushed, and no checksum finds in the store, is not found.
use crate::limits;
use crate::status::{self, Refusal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lre_model::{Digest, DigestFunction, Invalid};
use lre_proto::asset::fetch_server::{Fetch, FetchServer};
use lre_proto::asset::push_server::{Push, PushServer};
use lre_proto::asset::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, FetchDirectoryResponse, PushBlobRequest,
    PushBlobResponse, PushDirectoryRequest, PushDirectoryResponse, Qualifier,
};
use lre_proto::{protobuf, re, rpc};
use lre_store::{BlobStore, Form, Name, Names, Namespace, Record, first_absent_of};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::service::RoutesBuilder;
use tonic::{Code, Request, Response, Status};

/// The qualifier with a checksum of the content, as in HTML's `integrity`. Bazel's downloader sends it.
const CHECKSUM: &str = "checksum.sri";

/// Both services.
#[derive(Clone)]
pub struct Assets {
    blobs: Arc<dyn BlobStore>,
    names: Names,
}

impl Assets {
    /// Services over a store and the names in it.
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobStore>, names: Names) -> Self {
        Self { blobs, names }
    }

    /// Adds both.
    pub fn add_to(self, routes: &mut RoutesBuilder) {
        let most = limits::MESSAGE_BYTES_RECEIVED_MAX;
        routes
            .add_service(FetchServer::new(self.clone()).max_decoding_message_size(most))
            .add_service(PushServer::new(self).max_decoding_message_size(most));
    }

    /// The first URI that means something which is young enough and there with all that it needs.
    async fn find(&self, of: Namespace, asked: &Asked<'_>, oldest: SystemTime) -> Result<Option<Found>, Status> {
        for uri in asked.uris {
            let record = self.names.get(asked.name(of, uri), SystemTime::now()).map_err(status::of)?;
            let Some(record) = record.filter(|record| record.written_at >= oldest) else { continue };
            match first_absent_of(&record, &*self.blobs).await.map_err(status::of)? {
                None => return Ok(Some(Found { uri: uri.clone(), record })),
                Some(absent) => tracing::debug!(%uri, %absent, "an asset is not returned: not all of it is here"),
            }
        }
        Ok(None)
    }

    /// The blob with the checksum that was asked for. What its bytes are is said, so it does not matter where they came
    /// from, or when.
    async fn find_by_checksum(&self, asked: &Asked<'_>) -> Result<Option<Found>, Status> {
        let Some(hash) = asked.checksum.filter(|_| asked.function == DigestFunction::Sha256) else { return Ok(None) };
        let Some(digest) = self.names.find(hash).map_err(status::of)? else { return Ok(None) };
        let (_hold, missing) = self.blobs.hold(&[digest]).await.map_err(status::of)?;
        let record = Record::of(digest, Form::Opaque, UNIX_EPOCH);
        Ok(missing.is_empty().then(|| Found { uri: asked.uris[0].clone(), record }))
    }

    /// Remembers what was pushed, under each of its URIs.
    async fn push(&self, of: Namespace, asked: &Asked<'_>, record: &Record) -> Result<(), Status> {
        let named = [&[record.digest], &record.blobs[..], &record.directories[..]].concat();
        let (_hold, missing) = self.blobs.hold(&named).await.map_err(status::of)?;
        if !missing.is_empty() {
            return Err(status::in_trailers(status::of(Refusal::Missing(missing))));
        }
        if let Some(absent) = first_absent_of(record, &*self.blobs).await.map_err(status::of)? {
            return Err(status::of(Refusal::Missing(vec![absent])));
        }
        for uri in asked.uris {
            self.names.put(asked.name(of, uri), record).map_err(status::of)?;
        }
        Ok(())
    }
}

/// What was found, and of which URI.
struct Found {
    uri: String,
    record: Record,
}

/// What all four calls are about.
struct Asked<'a> {
    uris: &'a [String],
    /// In the order of their names: they come in any.
    qualifiers: Vec<&'a Qualifier>,
    function: DigestFunction,
    /// A SHA-256, of a blob whose size nobody said.
    checksum: Option<Digest>,
}

impl<'a> Asked<'a> {
    fn new(uris: &'a [String], qualifiers: &'a [Qualifier], function: i32) -> Result<Self, Status> {
        let function = DigestFunction::from_wire(function).map_err(status::of)?;
        if uris.is_empty() || uris.iter().any(String::is_empty) {
            return Err(status::of(Invalid::new("uris", "at least one is needed, and none may be empty")));
        }
        if uris.len() > limits::ASSET_URIS_MAX {
            return Err(status::of(Refusal::TooMany { what: "uris", at_most: limits::ASSET_URIS_MAX }));
        }
        let mut sorted: Vec<&Qualifier> = qualifiers.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(status::of(Invalid::new("qualifiers.name", format!("`{}` is there twice", twice[0].name))));
        }
        let checksum = sorted.iter().find(|qualifier| qualifier.name == CHECKSUM);
        let checksum = checksum.map_or(Ok(None), |qualifier| sha256_of(&qualifier.value)).map_err(status::of)?;
        Ok(Self { uris, qualifiers: sorted, function, checksum })
    }

    fn name(&self, of: Namespace, uri: &str) -> Name {
        let qualifiers = self.qualifiers.iter().flat_map(|one| [one.name.as_str(), one.value.as_str()]);
        Name::new(of, [self.function.name(), uri].into_iter().chain(qualifiers))
    }

    fn echoed(&self) -> Vec<Qualifier> {
        self.qualifiers.iter().map(|qualifier| (*qualifier).clone()).collect()
    }

    fn not_found(&self) -> rpc::Status {
        let problem = format!(
            "nobody has pushed `{}` with these qualifiers, or not all of it is here any more; this server downloads \
             nothing itself",
            self.uris[0]
        );
        status::to_rpc(&Status::new(Code::NotFound, problem))
    }

    /// What a push says, as it is kept.
    fn record(&self, form: Form, pushed: &Pushed<'_>) -> Result<Record, Status> {
        let digest = |field: &str, wire: Option<&re::Digest>| {
            Digest::from_wire(self.function, wire).map_err(|e| status::of(Invalid::new(field, e)))
        };
        let all = |field: &str, wire: &[re::Digest]| {
            let each = wire.iter().enumerate().map(|(i, wire)| digest(&format!("{field}[{i}]"), Some(wire)));
            each.collect::<Result<Vec<_>, _>>()
        };
        if pushed.blobs.len() + pushed.directories.len() > limits::ASSET_REFERENCES_MAX {
            return Err(status::of(Refusal::TooMany { what: "references", at_most: limits::ASSET_REFERENCES_MAX }));
        }
        Ok(Record {
            digest: digest(pushed.field, pushed.digest)?,
            form,
            written_at: SystemTime::now(),
            expires_at: pushed.expire_at.map(|at| time("expire_at", at)).transpose()?,
            blobs: all("references_blobs", pushed.blobs)?,
            directories: all("references_directories", pushed.directories)?,
        })
    }
}

/// What the two kinds of push have in common.
struct Pushed<'a> {
    /// Of the digest.
    field: &'static str,
    digest: Option<&'a re::Digest>,
    expire_at: Option<&'a protobuf::Timestamp>,
    blobs: &'a [re::Digest],
    directories: &'a [re::Digest],
}

/// The SHA-256 among the hashes of `sha256-{base64} sha512-{base64} …`; nothing where there is none.
fn sha256_of(integrity: &str) -> Result<Option<Digest>, Invalid> {
    let Some(text) = integrity.split_ascii_whitespace().find_map(|one| one.strip_prefix("sha256-")) else {
        return Ok(None);
    };
    let bad = || Invalid::new("qualifiers.value", format!("`sha256-{text}` is no SHA-256 in base64"));
    // What follows a `?` are options, of which there are none yet.
    let hash = STANDARD.decode(text.split('?').next().unwrap_or_default()).map_err(|_| bad())?;
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::parse(DigestFunction::Sha256, &hash, 0).map(Some).map_err(|_| bad())
}

/// `google.protobuf.Timestamp`: from the year 1 to 9999.
const TIMES: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A time of the wire.
fn time(field: &str, wire: &protobuf::Timestamp) -> Result<SystemTime, Status> {
    let bad = || status::of(Invalid::new(field, "is no time"));
    let nanos = u32::try_from(wire.nanos).ok().filter(|nanos| *nanos < 1_000_000_000).ok_or_else(bad)?;
    if !TIMES.contains(&wire.seconds) {
        return Err(bad());
    }
    let seconds = Duration::from_secs(wire.seconds.unsigned_abs());
    let whole = if wire.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    whole.and_then(|whole| whole.checked_add(Duration::from_nanos(nanos.into()))).ok_or_else(bad)
}

/// `oldest_content_accepted`; without one all is young enough.
fn oldest(wire: Option<&protobuf::Timestamp>) -> Result<SystemTime, Status> {
    let oldest = wire.map(|at| time("oldest_content_accepted", at)).transpose()?.unwrap_or(UNIX_EPOCH);
    // Times are kept to the microsecond: what was pushed in this very one is not older.
    Ok(oldest.checked_sub(Duration::from_micros(1)).unwrap_or(UNIX_EPOCH))
}

fn to_wire(time: SystemTime) -> protobuf::Timestamp {
    let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos().cast_signed()),
        // Of times before 1970 the second is enough.
        Err(before) => (-i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX), 0),
    };
    protobuf::Timestamp { seconds, nanos }
}

#[tonic::async_trait]
impl Fetch for Assets {
    async fn fetch_blob(&self, request: Request<FetchBlobRequest>) -> Result<Response<FetchBlobResponse>, Status> {
        let request = request.into_inner();
        let asked = Asked::new(&request.uris, &request.qualifiers, request.digest_function)?;
        let oldest = oldest(request.oldest_content_accepted.as_ref())?;
        let mut found = self.find(Namespace::AssetBlobs, &asked, oldest).await?;
        if found.is_none() {
            found = self.find_by_checksum(&asked).await?;
        }
        let function = asked.function.to_wire();
        let Some(Found { uri, record }) = found else {
            let (status, uri) = (Some(asked.not_found()), asked.uris[0].clone());
            return Ok(Response::new(FetchBlobResponse {
                status,
                uri,
                digest_function: function,
                ..Default::default()
            }));
        };
        Ok(Response::new(FetchBlobResponse {
            status: Some(status::ok()),
            uri,
            qualifiers: asked.echoed(),
            expires_at: record.expires_at.map(to_wire),
            blob_digest: Some(record.digest.to_wire()),
            digest_function: function,
        }))
    }

    async fn fetch_directory(
        &self,
        request: Request<FetchDirectoryRequest>,
    ) -> Result<Response<FetchDirectoryResponse>, Status> {
        let request = request.into_inner();
        let asked = Asked::new(&request.uris, &request.qualifiers, request.digest_function)?;
        let oldest = oldest(request.oldest_content_accepted.as_ref())?;
        let function = asked.function.to_wire();
        let Some(Found { uri, record }) = self.find(Namespace::AssetDirectories, &asked, oldest).await? else {
            let (status, uri) = (Some(asked.not_found()), asked.uris[0].clone());
            return Ok(Response::new(FetchDirectoryResponse {
                status,
                uri,
                digest_function: function,
                ..Default::default()
            }));
        };
        Ok(Response::new(FetchDirectoryResponse {
            status: Some(status::ok()),
            uri,
            qualifiers: asked.echoed(),
            expires_at: record.expires_at.map(to_wire),
            root_directory_digest: Some(record.digest.to_wire()),
            digest_function: function,
        }))
    }
}

#[tonic::async_trait]
impl Push for Assets {
    async fn push_blob(&self, request: Request<PushBlobRequest>) -> Result<Response<PushBlobResponse>, Status> {
        let request = request.into_inner();
        let asked = Asked::new(&request.uris, &request.qualifiers, request.digest_function)?;
        let pushed = Pushed {
            field: "blob_digest",
            digest: request.blob_digest.as_ref(),
            expire_at: request.expire_at.as_ref(),
            blobs: &request.references_blobs,
            directories: &request.references_directories,
        };
        let record = asked.record(Form::Opaque, &pushed)?;
        if let Some(hash) = asked.checksum
            && record.digest.function() == DigestFunction::Sha256
            && hash.hash() != record.digest.hash()
        {
            let problem = format!("is that of {}, and the blob is {}", hash.hash_text(), record.digest);
            return Err(status::of(Invalid::new(format!("qualifiers.{CHECKSUM}"), problem)));
        }
        self.push(Namespace::AssetBlobs, &asked, &record).await?;
        Ok(Response::new(PushBlobResponse {}))
    }

    async fn push_directory(
        &self,
        request: Request<PushDirectoryRequest>,
    ) -> Result<Response<PushDirectoryResponse>, Status> {
        let request = request.into_inner();
        let asked = Asked::new(&request.uris, &request.qualifiers, request.digest_function)?;
        let pushed = Pushed {
            field: "root_directory_digest",
            digest: request.root_directory_digest.as_ref(),
            expire_at: request.expire_at.as_ref(),
            blobs: &request.references_blobs,
            directories: &request.references_directories,
        };
        let record = asked.record(Form::Directory, &pushed)?;
        self.push(Namespace::AssetDirectories, &asked, &record).await?;
        Ok(Response::new(PushDirectoryResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_as_in_html() {
        let digest = Digest::of(DigestFunction::Sha256, b"content");
        let text = format!("sha256-{}", STANDARD.encode(digest.hash()));
        for given in [text.clone(), format!("sha512-xyz {text}"), format!("  {text}?option ")] {
            let found = sha256_of(&given).unwrap().unwrap();
            assert_eq!(found.hash(), digest.hash(), "{given}");
        }
        assert_eq!(sha256_of("sha384-abc").unwrap(), None);
        for bad in ["sha256-", "sha256-abc", "sha256-!!!!", "sha256-YWJj"] {
            assert!(sha256_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_of_the_wire() {
        let wire = |seconds, nanos| protobuf::Timestamp { seconds, nanos };
        for (seconds, nanos) in [(0, 0), (1_700_000_000, 5), (253_402_300_799, 999_999_999)] {
            assert_eq!(to_wire(time("t", &wire(seconds, nanos)).unwrap()), wire(seconds, nanos));
        }
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            assert!(time("t", &wire(seconds, nanos)).is_err(), "{seconds} {nanos}");
        }
        assert_eq!(to_wire(time("t", &wire(-5, 0)).unwrap()), wire(-5, 0));
    }
}

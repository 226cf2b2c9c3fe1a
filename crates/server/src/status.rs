//! The one place where gRPC codes are chosen (HOUSE 6).
//!
//! Inside, errors are typed by whose turn it is; here each gets the code and the `google.rpc`
//! details by which clients act. Bazel, for example, uploads again exactly what the MISSING
//! violations name.
use crate::limits::{RETRY_AFTER, TEXT_BYTES_MAX, TRAILER_DETAILS_BYTES_MAX};
use crate::services::LogError;
use lre_model::{ActionDigest, BadDigest, BadDirectory, BadResource, Digest, Invalid, TermsError};
use lre_proto::rpc;
use lre_store::StoreError;
use lre_toolchain::Refused;
use lre_worker::{Failure, LoadError};
use prost::Message;
use std::collections::HashMap;
use std::error::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `ErrorInfo.domain` of what we say.
const DOMAIN: &str = "lre";

/// An error that a client can be told.
pub trait ToStatus: Error {
    /// The gRPC status.
    fn to_status(&self) -> Status;
}

/// The gRPC status of an error; for `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub fn of(error: impl ToStatus) -> Status {
    error.to_status()
}

fn which_missing(digests: &[Digest]) -> String {
    match digests {
        [one] => format!("the blob {one} is missing"),
        [first, ..] => format!("{} blobs are missing, the first is {first}", digests.len()),
        [] => "blobs are missing".to_owned(),
    }
}

/// What the services refuse themselves.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The client's turn: execute the action.
    #[error("no result is known for the action {0}")]
    NoResult(ActionDigest),
    /// The client's turn: upload these and ask again. Always all of them; the text names one, since people whose client
    /// prints no details see nothing else.
    #[error("{}", which_missing(.0))]
    Missing(Vec<Digest>),
    /// The client's turn: upload these and splice again (REAPI, `SpliceBlob`: NOT_FOUND). Always all of them.
    #[error("{} of the chunks are missing, the first is {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    MissingChunks(Vec<Digest>),
    /// Nobody's turn: the blob is there (REAPI, `SpliceBlob`).
    #[error("the blob {0} is there already and cut elsewhere: SplitBlob tells where")]
    CutElsewhere(Digest),
    /// The client's turn: ask again with `Execute` (PROTOCOL, 54).
    #[error("the operation `{0}` is not known here (any more): call Execute again")]
    NoOperation(String),
    /// The client's turn: CreateLogStream, or the operation is forgotten.
    #[error("no log is known here as `{0}`; those of an operation are kept as long as the operation")]
    NoLog(String),
    /// The client's author's turn.
    #[error("the offset {offset} is not within the {size_bytes} bytes of the blob")]
    Offset {
        /// As requested.
        offset: i64,
        /// Of the blob.
        size_bytes: u64,
    },
    /// The client's turn: another stream goes on with this upload.
    #[error("another stream continues this upload: ask QueryWriteStatus how far it came")]
    TakenOver,
    /// The user's turn: a peer that is not this user and brings no token.
    #[error("{0}")]
    Stranger(String),
    /// The user's turn: too much at once.
    #[error("{what}: at most {at_most}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit, in pieces.
        at_most: usize,
    },
    /// The client's turn: try again when some of it is done.
    #[error("{what}: at most {at_most}")]
    Busy {
        /// What there is too much of.
        what: &'static str,
        /// The limit, in pieces.
        at_most: usize,
    },
    /// Nobody's turn: cancelled.
    #[error("cancelled: {0}")]
    Cancelled(&'static str),
    /// The client's turn: try again, somebody will be there.
    #[error("the server is shutting down")]
    Stopping,
    /// Ours.
    #[error("{problem}")]
    Broken {
        /// For machines, `UPPER_SNAKE_CASE`.
        reason: &'static str,
        /// For people.
        problem: String,
    },
}

impl ToStatus for Refusal {
    fn to_status(&self) -> Status {
        let code = match self {
            Self::Missing(digests) => return missing(digests, self),
            Self::Broken { reason, .. } => return ours(Code::Internal, reason, self),
            Self::TooMany { what, .. } => return quota(what, self),
            Self::Busy { what, .. } => return again(quota(what, self)),
            Self::Stopping => return again(Status::unavailable(self.to_string())),
            Self::MissingChunks(digests) => return absent(digests, self),
            Self::NoResult(_) | Self::NoOperation(_) | Self::NoLog(_) => Code::NotFound,
            Self::CutElsewhere(_) => Code::AlreadyExists,
            Self::Offset { .. } => Code::OutOfRange,
            Self::TakenOver => Code::Aborted,
            Self::Stranger(_) => Code::Unauthenticated,
            Self::Cancelled(_) => Code::Cancelled,
        };
        Status::new(code, short(&self.to_string()))
    }
}

impl ToStatus for StoreError {
    /// Where blobs are asked for by name, an absent one is NOT_FOUND; where an action needs them
    /// it is a failed precondition: see [`LoadError`], [`Failure`] and [`Refusal::Missing`].
    fn to_status(&self) -> Status {
        match self {
            Self::Missing(digest) => absent(&[*digest], self),
            Self::Corrupt { .. } => invalid("digest", &self.to_string()),
            Self::TooLarge { .. } => invalid("digest", &format!("{self}: use ByteStream")),
            Self::Full(_) => quota("disk", self),
            Self::OverBudget { .. } => quota("store budget", self),
            Self::Io(_) => ours(Code::Internal, "STORE_IO", self),
            Self::Upstream(_) => again(ours(Code::Unavailable, "UPSTREAM", self)),
        }
    }
}

impl ToStatus for Invalid {
    fn to_status(&self) -> Status {
        let details = ErrorDetails::with_bad_request_violation(short(&self.field), short(&self.problem));
        Status::with_error_details(Code::InvalidArgument, short(&self.to_string()), details)
    }
}

impl ToStatus for BadDigest {
    fn to_status(&self) -> Status {
        let field = if matches!(self, Self::Function(_)) { "digest_function" } else { "digest" };
        invalid(field, &self.to_string())
    }
}

impl ToStatus for BadResource {
    fn to_status(&self) -> Status {
        invalid("resource_name", &self.to_string())
    }
}

impl ToStatus for BadDirectory {
    fn to_status(&self) -> Status {
        invalid("directory", &self.to_string())
    }
}

impl ToStatus for LogError {
    fn to_status(&self) -> Status {
        match self {
            Self::Offset { .. } => invalid("write_offset", &self.to_string()),
            Self::Finished => Status::failed_precondition(self.to_string()),
            Self::TooLong | Self::TooMany => quota("logs", self),
            Self::Io(_) => ours(Code::Internal, "LOG_IO", self),
        }
    }
}

impl ToStatus for LoadError {
    fn to_status(&self) -> Status {
        match self {
            Self::Missing(digests) => missing(digests, self),
            Self::Invalid(e) => e.to_status(),
            Self::Store(e) => needed(e, self),
        }
    }
}

impl ToStatus for TermsError {
    /// PLATFORM, like a toolchain that is not there (PROTOCOL, 63).
    fn to_status(&self) -> Status {
        precondition("PLATFORM", self.property, &self.problem, self)
    }
}

impl ToStatus for Refused {
    /// PLATFORM: at once, never queued (PROTOCOL, 63).
    fn to_status(&self) -> Status {
        precondition("PLATFORM", &self.property, &self.problem, self)
    }
}

impl ToStatus for Failure {
    fn to_status(&self) -> Status {
        match self {
            Self::Missing(digests) => missing(digests, self),
            Self::Invalid(e) => e.to_status(),
            Self::Platform { property, problem } => precondition("PLATFORM", property, problem, self),
            Self::Output { path, problem } => precondition("OUTPUT", path, problem, self),
            Self::DeadlineExceeded(_) => Status::deadline_exceeded(self.to_string()),
            Self::Limit(breach) => quota(breach.what.subject(), self),
            Self::Cancelled => Status::cancelled(self.to_string()),
            Self::Sandbox(_) => ours(Code::Internal, "SANDBOX", self),
            Self::Store { source, .. } => needed(source, self),
        }
    }
}

/// A store error about something that an action needs: what is missing can be uploaded again.
fn needed(source: &StoreError, error: &dyn Error) -> Status {
    match source {
        StoreError::Missing(digest) => missing(&[*digest], source),
        StoreError::Full(_) => quota("disk", error),
        StoreError::OverBudget { .. } => quota("store budget", error),
        StoreError::Corrupt { .. } | StoreError::TooLarge { .. } | StoreError::Io(_) => {
            ours(Code::Internal, "STORE", error)
        }
        StoreError::Upstream(_) => source.to_status(),
    }
}

/// Blobs that were asked for by name. `ResourceInfo` is about one: the first.
fn absent(digests: &[Digest], error: &dyn Error) -> Status {
    let mut details = ErrorDetails::new();
    if let Some(first) = digests.first() {
        details.set_resource_info("blob", first.subject(), "", "upload it");
    }
    Status::with_error_details(Code::NotFound, error.to_string(), details)
}

/// REAPI, `Execute`: one violation of type MISSING for each blob, with the subject
/// `blobs/[{function}/]{hash}/{size}` (PROTOCOL, 51). For thousands this is large: answer it in a
/// message (`ExecuteResponse.status`), or through [`in_trailers`].
fn missing(digests: &[Digest], error: &dyn Error) -> Status {
    let mut details = ErrorDetails::new();
    for digest in digests {
        details.add_precondition_failure_violation("MISSING", digest.subject(), "upload it and ask again");
    }
    Status::with_error_details(Code::FailedPrecondition, chain(error), details)
}

fn precondition(kind: &str, subject: &str, problem: &str, error: &dyn Error) -> Status {
    let details = ErrorDetails::with_precondition_failure_violation(kind, short(subject), short(problem));
    Status::with_error_details(Code::FailedPrecondition, chain(error), details)
}

fn invalid(field: &str, problem: &str) -> Status {
    Invalid::new(field, problem).to_status()
}

fn quota(subject: &str, error: &dyn Error) -> Status {
    let text = chain(error);
    let details = ErrorDetails::with_quota_failure_violation(subject, &text);
    Status::with_error_details(Code::ResourceExhausted, text, details)
}

fn ours(code: Code, reason: &str, error: &dyn Error) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, chain(error), details)
}

/// All levels of an error. A client shows its user nothing but this text.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let level = source.to_string();
        if !text.ends_with(&level) {
            text = format!("{text}: {level}");
        }
        next = source.source();
    }
    short(&text)
}

/// The same, told that a later attempt can succeed (REAPI: "any call may return an error with a `RetryInfo`"; PROTOCOL, 2). Only
/// where it can without anybody's doing: a disk that is full stays full.
fn again(status: Status) -> Status {
    let mut details = status.get_error_details();
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(status.code(), status.message(), details)
}

/// A text that fits the trailers of an answer, whatever names it repeats.
fn short(text: &str) -> String {
    let cut = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    if cut == text.len() { text.to_owned() } else { format!("{}… ({} bytes)", &text[..cut], text.len()) }
}

/// The same as `google.rpc.Status`, for `ExecuteResponse.status` and the entries of batches.
#[must_use]
pub fn to_rpc(status: &Status) -> rpc::Status {
    // By the gRPC specification of richer errors, `grpc-status-details-bin` is this very message.
    let whole = rpc::Status::decode(status.details()).unwrap_or_default();
    rpc::Status { code: status.code() as i32, message: status.message().to_owned(), details: whole.details }
}

/// `google.rpc.Status` with code OK, for the entries of batches.
#[must_use]
pub fn ok() -> rpc::Status {
    rpc::Status::default()
}

/// Makes a status fit the trailers of a response: with too many MISSING violations, Java's HTTP/2
/// would drop the whole connection. Some are better than none; the text says how many there are.
#[must_use]
pub fn in_trailers(status: Status) -> Status {
    if status.details().len() <= TRAILER_DETAILS_BYTES_MAX {
        return status;
    }
    let Some(mut failure) = status.get_details_precondition_failure() else {
        return Status::new(status.code(), status.message());
    };
    let mut bytes = 0;
    failure.violations.retain(|v| {
        bytes += v.r#type.len() + v.subject.len() + v.description.len() + 16;
        bytes < TRAILER_DETAILS_BYTES_MAX - 256
    });
    let mut details = ErrorDetails::new();
    details.set_precondition_failure(failure.violations);
    Status::with_error_details(status.code(), status.message(), details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;
    use lre_worker::{Breach, Limited};
    use std::io;
    use std::time::Duration;

    fn digest(bytes: &[u8]) -> Digest {
        Digest::of(DigestFunction::Sha256, bytes)
    }

    /// PROTOCOL 51: one violation for each, by the name under which it is uploaded.
    #[test]
    fn every_missing_blob_is_named() {
        let blobs = [digest(b"a"), Digest::of(DigestFunction::Blake3, b"b")];
        for status in [
            Failure::Missing(blobs.to_vec()).to_status(),
            LoadError::Missing(blobs.to_vec()).to_status(),
            Refusal::Missing(blobs.to_vec()).to_status(),
        ] {
            assert_eq!(status.code(), Code::FailedPrecondition);
            let violations = status.get_details_precondition_failure().unwrap().violations;
            let subjects: Vec<_> = violations.iter().map(|v| v.subject.clone()).collect();
            assert_eq!(subjects, [blobs[0].subject(), blobs[1].subject()]);
            assert!(violations.iter().all(|v| v.r#type == "MISSING"));
            assert!(subjects[1].starts_with("blobs/blake3/"));
        }
    }

    #[test]
    fn the_table_of_codes() {
        let corrupt = StoreError::Corrupt { expected: digest(b"a"), actual: digest(b"b") };
        let too_much = Breach { what: Limited::Memory, limit: 512 << 20, seen: 600 << 20 };
        let lost = || Failure::Store { doing: "reading inputs", source: StoreError::Io(io::Error::other("broken")) };
        let over =
            || StoreError::OverBudget { needed_bytes: 9, budget_bytes: 8, used_bytes: 7, held_bytes: 6, holder: None };
        let subject = over().to_status().get_details_quota_failure().map(|q| q.violations[0].subject.clone());
        assert_eq!(subject.as_deref(), Some("store budget"));
        for (status, code) in [
            (over().to_status(), Code::ResourceExhausted),
            (Failure::Store { doing: "storing", source: over() }.to_status(), Code::ResourceExhausted),
            (corrupt.to_status(), Code::InvalidArgument),
            (StoreError::Missing(digest(b"a")).to_status(), Code::NotFound),
            (StoreError::Full(io::ErrorKind::StorageFull.into()).to_status(), Code::ResourceExhausted),
            (LoadError::Store(StoreError::Missing(digest(b"a"))).to_status(), Code::FailedPrecondition),
            (Refused { property: "p".into(), problem: "q".into() }.to_status(), Code::FailedPrecondition),
            (TermsError { property: "p", problem: "q".into() }.to_status(), Code::FailedPrecondition),
            (Failure::DeadlineExceeded(Duration::from_secs(1)).to_status(), Code::DeadlineExceeded),
            (Failure::Limit(too_much).to_status(), Code::ResourceExhausted),
            (Failure::Cancelled.to_status(), Code::Cancelled),
            (Failure::Sandbox("no namespaces".into()).to_status(), Code::Internal),
            (lost().to_status(), Code::Internal),
            (Refusal::Stopping.to_status(), Code::Unavailable),
        ] {
            assert_eq!(status.code(), code, "{status:?}");
        }
        let status = Failure::Limit(too_much).to_status();
        let violation = status.get_details_quota_failure().unwrap().violations.remove(0);
        assert_eq!(violation.subject, "lre-memory-bytes-max");
        assert!(violation.description.contains("512 MiB of memory"), "{violation:?}");
        assert!(lost().to_status().message().ends_with("broken"), "the reason is told: {:?}", lost().to_status());
    }

    /// PROTOCOL 2: who is told to come again is told when; who would meet the same again is not.
    #[test]
    fn a_later_attempt_is_asked_for_where_it_can_succeed() {
        let asked = |status: Status| status.get_details_retry_info().and_then(|info| info.retry_delay);
        let busy = Refusal::Busy { what: "executions are waiting already", at_most: 5 }.to_status();
        assert_eq!((busy.code(), busy.get_details_quota_failure().is_some()), (Code::ResourceExhausted, true));
        for status in [busy, Refusal::Stopping.to_status(), StoreError::Upstream("gone".into()).to_status()] {
            assert_eq!(asked(status.clone()), Some(RETRY_AFTER), "{status:?}");
        }
        for status in [
            StoreError::Full(io::ErrorKind::StorageFull.into()).to_status(),
            Refusal::TooMany { what: "bytes in one answer", at_most: 5 }.to_status(),
            Invalid::new("field", "wrong").to_status(),
        ] {
            assert_eq!(asked(status), None);
        }
    }

    /// PROTOCOL 5, bad input: an error about a name of a megabyte is a short text.
    #[test]
    fn texts_stay_small() {
        let long = "é".repeat(500_000);
        for status in [
            Invalid::new(format!("directory.{long}"), format!("`{long}` is no name")).to_status(),
            Refusal::NoOperation(long.clone()).to_status(),
            Refused { property: "p".into(), problem: long.clone() }.to_status(),
        ] {
            assert!(status.message().len() < 2 * TEXT_BYTES_MAX, "{}", status.message().len());
            assert!(status.details().len() <= TRAILER_DETAILS_BYTES_MAX, "{}", status.details().len());
        }
    }

    #[test]
    fn details_survive_the_way_into_a_message() {
        let status = Invalid::new("command.output_paths[3]", "is absolute").to_status();
        let rpc = to_rpc(&status);
        assert_eq!((rpc.code, rpc.details.len()), (Code::InvalidArgument as i32, 1));
        assert!(rpc.details[0].type_url.ends_with("google.rpc.BadRequest"));
        let plain = to_rpc(&Status::cancelled("gone"));
        assert_eq!((plain.code, plain.message.as_str(), plain.details.len()), (1, "gone", 0));
    }

    #[test]
    fn trailers_stay_small() {
        let many: Vec<_> = (0..1000_u32).map(|i| digest(&i.to_le_bytes())).collect();
        let status = in_trailers(Refusal::Missing(many).to_status());
        assert!(status.details().len() <= TRAILER_DETAILS_BYTES_MAX, "{}", status.details().len());
        assert!(status.get_details_precondition_failure().unwrap().violations.len() > 10);
        assert!(status.message().contains("1000"));
    }
}

//! What a check says: nothing, where all is as it should be; otherwise why it stopped.
use lre_proto::rpc;
use std::fmt::{self, Debug};
use tonic::{Code, Status};

/// Why a check ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The server does something else: what was expected, and what was seen.
    Fail(String),
    /// It could not be asked: what is missing.
    Skip(String),
}

/// The end of a check.
pub type Verdict<T = ()> = Result<T, Stop>;

/// A difference.
pub fn fail<T>(difference: impl fmt::Display) -> Verdict<T> {
    Err(Stop::Fail(difference.to_string()))
}

/// It could not be asked.
pub fn skip<T>(why: impl fmt::Display) -> Verdict<T> {
    Err(Stop::Skip(why.to_string()))
}

/// Stops with a difference unless `$holds`.
macro_rules! ensure {
    ($holds:expr, $($difference:tt)+) => {
        if !$holds {
            return $crate::verdict::fail(format!($($difference)+));
        }
    };
}
pub(crate) use ensure;

/// Two values that should be one.
pub fn same<T: PartialEq + Debug>(what: &str, expected: &T, seen: &T) -> Verdict {
    if expected == seen {
        return Ok(());
    }
    fail(format!("{what}: expected {}, got {}", short(expected), short(seen)))
}

/// Two contents that should be one. Of bytes nobody reads more than how many there are.
pub fn same_bytes(what: &str, expected: &[u8], seen: &[u8]) -> Verdict {
    match (expected == seen, expected.len(), seen.len()) {
        (true, ..) => Ok(()),
        (false, a, b) if a == b => fail(format!("{what}: expected {a} bytes, got {a} others")),
        (false, a, b) => fail(format!("{what}: expected {a} bytes, got {b}")),
    }
}

/// A value for people, not longer than a line or two.
pub fn short(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A status for people.
pub fn said(status: &Status) -> String {
    format!("{:?} ({})", status.code(), short(&status.message()))
}

/// What should have worked.
pub fn works<T>(what: &str, result: Result<T, Status>) -> Verdict<T> {
    result.or_else(|status| fail(format!("{what}: expected OK, got {}", said(&status))))
}

/// What should have been refused with one of `codes`.
pub fn refused<T: Debug>(what: &str, result: Result<T, Status>, codes: &[Code]) -> Verdict<Status> {
    match result {
        Err(status) if codes.contains(&status.code()) => Ok(status),
        Err(status) => fail(format!("{what}: expected {}, got {}", names(codes), said(&status))),
        Ok(answer) => fail(format!("{what}: expected {}, got OK: {}", names(codes), short(&answer))),
    }
}

fn names(codes: &[Code]) -> String {
    codes.iter().map(|code| format!("{code:?}")).collect::<Vec<_>>().join(" or ")
}

/// The code of a status inside of a message; none is OK.
pub fn code(status: Option<&rpc::Status>) -> Code {
    status.map_or(Code::Ok, |status| status.code.into())
}

/// A status inside of a message, as a call would have ended with it.
pub fn as_status(status: &rpc::Status) -> Status {
    use prost::Message;
    Status::with_details(status.code.into(), status.message.clone(), status.encode_to_vec().into())
}

/// Whether the server says that it does not offer a call at all.
pub fn offered<T>(what: &str, result: Result<T, Status>) -> Verdict<Result<T, Status>> {
    match result {
        Err(status) if status.code() == Code::Unimplemented => skip(format!("{what} is not offered")),
        other => Ok(other),
    }
}

//! What is answered. HTTP statuses of the cache are chosen here and nowhere else.
use super::range::{self, Part};
use crate::services::download;
use futures::TryStreamExt;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use lre_model::Digest;
use lre_store::{Blob, StoreError};
use std::error::Error;
use std::io;
use tonic::body::Body;

/// Why a request is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The client's author's turn.
    #[error("{0}")]
    Malformed(String),
    /// The client's author's turn.
    #[error("the path is too long")]
    TooLong,
    /// The client's author's turn.
    #[error("gRPC is spoken here over HTTP/2 only")]
    GrpcOverHttp1,
    /// The client's author's turn.
    #[error("this cannot be done here; these can: {0}")]
    Method(&'static str),
    /// The client's author's turn.
    #[error("bodies with a Content-Encoding are not taken: send the bytes as they are")]
    Encoded,
    /// The client's turn: other bytes than it says, or another digest function.
    #[error("the body is the blob {actual}, and not {expected}: /cas/ takes what its SHA-256 names")]
    OtherBytes {
        /// In hexadecimal.
        expected: String,
        /// What came.
        actual: Digest,
    },
    /// The client's turn: a miss.
    #[error("{0}")]
    Unknown(&'static str),
    /// The client's turn.
    #[error("there are only {0} bytes")]
    Range(u64),
    /// The client's turn: the connection, most likely, is gone.
    #[error("the body did not come in full: {0}")]
    Broken(String),
    /// The client's turn.
    #[error("nothing has come of the body for a long time")]
    Stalled,
    /// The user's turn.
    #[error("{0}")]
    Stranger(String),
    /// The user's turn, who is on a page that does this.
    #[error("{0}")]
    Browser(String),
    /// See there.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<io::Error> for Refused {
    fn from(e: io::Error) -> Self {
        Self::Store(e.into())
    }
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::OtherBytes { .. } | Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::Stranger(_) => StatusCode::UNAUTHORIZED,
            Self::Browser(_) => StatusCode::FORBIDDEN,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::TooLong => StatusCode::URI_TOO_LONG,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Range(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::GrpcOverHttp1 => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Store(StoreError::Missing(_)) => StatusCode::NOT_FOUND,
            Self::Store(StoreError::Corrupt { .. } | StoreError::TooLarge { .. }) => StatusCode::BAD_REQUEST,
            Self::Store(StoreError::Full(_) | StoreError::OverBudget { .. }) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Store(StoreError::Io(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Store(StoreError::Upstream(_)) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The answer, with the reason in words: what clients show their users, if anything, is this.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut text = self.to_string();
        if let Self::Store(e) = &self {
            // What the disk said is one level below.
            text.extend(e.source().map(|source| format!(": {source}")));
            tracing::debug!(error = %text, "a request of the HTTP cache failed");
        }
        let mut response = text_of(self.status(), "text/plain; charset=utf-8", format!("{text}\n"));
        let headers = response.headers_mut();
        match self {
            Self::Method(allowed) => drop(headers.insert(header::ALLOW, HeaderValue::from_static(allowed))),
            // Clients with a name and a password in their URL send them when they are asked to.
            Self::Stranger(_) => {
                drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"lre\"")));
            }
            Self::Range(size) => drop(headers.insert(header::CONTENT_RANGE, value(format!("bytes */{size}")))),
            // What is left of the body is not read.
            Self::Stalled => drop(headers.insert(header::CONNECTION, HeaderValue::from_static("close"))),
            _ => {}
        }
        response
    }
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// An answer with a text.
pub(super) fn text_of(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let length = text.len();
    let mut response = Response::new(Body::new(Full::new(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// An answer that says nothing else.
pub(super) fn done(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    }
    response
}

/// A blob, or the part of it that was asked for; in bounded memory, however slowly it is taken.
pub(super) fn blob(blob: Blob, asked: &HeaderMap) -> Result<Response<Body>, Refused> {
    let size = blob.size_bytes();
    let (status, first, end) = match range::of(asked.get(header::RANGE).map(HeaderValue::as_bytes), size) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Some(first, end) => (StatusCode::PARTIAL_CONTENT, first, end),
        Part::Nothing => return Err(Refused::Range(size)),
    };
    let pieces = download::plain(blob, first, end - first).map_ok(|message| Frame::data(message.data));
    let mut response = Response::new(Body::new(StreamBody::new(pieces)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(header::CONTENT_RANGE, value(format!("bytes {first}-{}/{size}", end - 1)));
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - first));
    Ok(response)
}

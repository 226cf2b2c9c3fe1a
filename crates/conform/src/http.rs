//! The HTTP cache, spoken to as Bazel does: one request, one answer.
use crate::probe::Probe;
use crate::verdict::{Verdict, fail, skip};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::fmt::Display;
use tokio::net::TcpStream;

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub length: Option<u64>,
    pub body: Bytes,
}

impl Probe {
    /// Asks for `path`, which stands after the address that was given.
    pub async fn http(&self, method: Method, path: &str, body: Vec<u8>) -> Verdict<Answer> {
        let Some(base) = self.target().http.as_ref() else { return skip("no --http is given") };
        let host = base.authority().map(ToString::to_string).unwrap_or_default();
        let (name, port) = (base.host().unwrap_or_default(), base.port_u16().unwrap_or(80));
        let stream = TcpStream::connect((name.trim_matches(['[', ']']), port)).await.or_else(broken)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.or_else(broken)?;
        tokio::spawn(connection);
        let path = format!("{}{path}", base.path().trim_end_matches('/'));
        let mut request = Request::builder().method(method).uri(path).header(HOST, host).header(CONNECTION, "close");
        for (name, value) in self.target().headers.pairs() {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).or_else(broken)?;
        let answer = sender.send_request(request).await.or_else(broken)?;
        let status = answer.status();
        let length = answer.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
        let body = answer.into_body().collect().await.or_else(broken)?.to_bytes();
        Ok(Answer { status, length, body })
    }
}

fn broken<T>(error: impl Display) -> Verdict<T> {
    fail(format!("the HTTP cache does not answer: {error}"))
}

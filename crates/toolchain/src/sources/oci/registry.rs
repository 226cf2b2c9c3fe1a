//! A registry, by its own protocol.
use super::super::http::{Answer, Expected, Failure, Http, Request, Sha256, Trust, is_loopback};
use super::auth::{self, Challenge, NOBODY};
use super::image::{ACCEPTED, DOCUMENT_BYTES_MAX, Descriptor};
use super::layers::Opened;
use super::spec::{Reference, SHA256};
use crate::error::{ToolchainError, io_at};
use std::fs::File;
use std::sync::{Mutex, PoisonError};
use ureq::http::{Uri, header};

pub(super) struct Registry {
    http: Http,
    reference: Reference,
    /// `https://HOST/v2/NAME`.
    address: String,
    login: Option<String>,
    /// The header that has let us in.
    authorization: Mutex<Option<String>>,
}

impl Registry {
    pub(super) fn new(http: Http, reference: Reference) -> Self {
        let Reference { host, name, .. } = &reference;
        // A registry of this machine needs no certificate, and seldom has one.
        let here = format!("http://{host}/").parse::<Uri>().is_ok_and(|uri| is_loopback(&uri));
        let address = format!("{}://{host}/v2/{name}", if here { "http" } else { "https" });
        let login = auth::login(&auth::login_files(), host);
        Self { http, address, login, authorization: Mutex::default(), reference }
    }

    /// Named in errors.
    pub(super) fn shown(&self) -> String {
        self.reference.to_string()
    }

    /// The digest that this tag has now.
    pub(super) fn digest_now(&self) -> Result<Sha256, ToolchainError> {
        let tag = self.reference.tag.as_deref().unwrap_or("latest");
        Ok(Sha256::of(&self.document(&format!("manifests/{tag}"))?))
    }

    pub(super) fn manifest(&self, digest: Sha256) -> Result<Vec<u8>, ToolchainError> {
        self.document(&format!("manifests/{SHA256}{digest}"))
    }

    pub(super) fn config(&self, digest: Sha256) -> Result<Vec<u8>, ToolchainError> {
        self.document(&format!("blobs/{SHA256}{digest}"))
    }

    fn document(&self, path: &str) -> Result<Vec<u8>, ToolchainError> {
        let got = self.http.trying(|| {
            let answer = self.ask(path, 0)?;
            match answer.status {
                200 => answer.bytes(DOCUMENT_BYTES_MAX).map_err(|e| Failure::Passing(e.to_string())),
                404 => Err(Failure::Final("the registry has no such image".to_owned())),
                status => Err(Failure::of_status(status)),
            }
        });
        got.map_err(|failure| failure.of(&format!("{}/{path}", self.address)))
    }

    /// A layer, fetched into a file. Where the registry does not have it, it may say who does.
    pub(super) fn layer(&self, layer: &Descriptor, digest: Sha256) -> Result<Opened, ToolchainError> {
        let path = format!("blobs/{SHA256}{digest}");
        let expected = Expected { sha256: Some(digest), size: Some(layer.size) };
        let what = format!("{}/{path}", self.address);
        let mut fetched = self.http.download(&what, expected, |from| self.ask(&path, from));
        for url in &layer.urls {
            if fetched.is_err() {
                fetched = self.http.fetch(url, expected);
            }
        }
        let download = fetched?;
        let file = File::open(&download.path).map_err(io_at("read the file", &download.path))?;
        Ok(Opened { bytes: Box::new(file), download: Some(download) })
    }

    /// Asks, and once more after it was said how to ask: a token does not last for ever.
    fn ask(&self, path: &str, from: u64) -> Result<Answer, Failure> {
        let known = self.authorization().clone();
        let answer = self.ask_as(path, from, known.as_deref())?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let challenges = answer.headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|h| h.to_str().ok());
        let Some(challenge) = challenges.filter_map(Challenge::parse).next() else {
            return Err(Failure::Final(NOBODY.to_owned()));
        };
        let authorization = auth::answer(&self.http, &challenge, &self.reference.name, self.login.as_deref())?;
        let answer = self.ask_as(path, from, Some(&authorization))?;
        if matches!(answer.status, 401 | 403) {
            return Err(Failure::Final(NOBODY.to_owned()));
        }
        *self.authorization() = Some(authorization);
        Ok(answer)
    }

    fn ask_as(&self, path: &str, from: u64, authorization: Option<&str>) -> Result<Answer, Failure> {
        let url = format!("{}/{path}", self.address);
        let mut headers = vec![("accept", if path.starts_with("manifests/") { ACCEPTED } else { "*/*" })];
        headers.extend(authorization.map(|authorization| ("authorization", authorization)));
        self.http.send(Request { headers: &headers, from, ..Request::new(&url, Trust::Connection) })
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Things fetched over HTTP. What they are is pinned by digest or checked by whoever asks; where they come
//! from is not believed.
//!
//! Proxies (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) are used as the environment says, for all but this
//! machine itself. Certificates are believed as this machine's own store says, or `SSL_CERT_FILE` and `SSL_CERT_DIR`.
mod download;
mod sha256;

use crate::access::Access;
use crate::error::ToolchainError;
use crate::progress::Progress;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use ureq::http::{HeaderMap, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

pub(crate) use download::{Download, Expected};
pub(crate) use sha256::Sha256;

/// For a name to be found and a connection to be made.
const CONNECT_SECONDS: u64 = 30;
/// For an answer to begin: registries look things up meanwhile.
const ANSWER_SECONDS: u64 = 60;
/// Without a single byte in a body. There is no limit for a whole body: large ones over slow lines arrive.
const SILENCE_SECONDS: u64 = 60;
/// Addresses that one request may be sent on to.
const REDIRECTS_MAX: usize = 10;
/// Before the first and the second try after one that failed for a reason that may pass.
const PAUSE: Duration = Duration::from_millis(500);

/// How what comes over a connection is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It is checked by digest or signature, so that any connection will do.
    Checked,
    /// It is believed because of where it comes from: TLS, or this machine.
    Connection,
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Where: `http` or `https`.
    pub url: &'a str,
    /// Beyond the usual; `authorization` goes to this host only.
    pub headers: &'a [(&'a str, &'a str)],
    /// Whether the answer is checked.
    pub trust: Trust,
    /// The first byte that is wanted.
    pub from: u64,
}

impl<'a> Request<'a> {
    /// For all of it.
    pub(crate) fn new(url: &'a str, trust: Trust) -> Self {
        Self { url, headers: &[], trust, from: 0 }
    }
}

/// What came back, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Box<dyn Read + Send>,
}

impl Answer {
    /// A header, if it is text.
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The whole body.
    pub(crate) fn bytes(self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("the answer is longer than {limit} bytes")));
        }
        Ok(bytes)
    }
}

/// Why there is no answer, or none that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Another try may have more luck.
    Passing(String),
    /// Another try would fail as well.
    Final(String),
}

impl Failure {
    /// What it is, for people.
    pub(crate) fn of(self, what: &str) -> ToolchainError {
        let (Self::Passing(problem) | Self::Final(problem)) = self;
        ToolchainError::Fetch { what: without_secrets(what), problem }
    }

    pub(crate) fn of_status(status: u16) -> Self {
        let problem = format!("the server answers {}", shown_status(status));
        match status {
            408 | 425 | 429 | 500 | 502 | 503 | 504 => Self::Passing(problem),
            _ => Self::Final(problem),
        }
    }
}

/// The way to the outside world by HTTP. For several threads.
pub(crate) struct Http {
    /// `downloads` of [`Access::directory`].
    downloads: PathBuf,
    offline: bool,
    progress: Arc<dyn Progress>,
    pause: Duration,
    /// Of all downloads, for the progress: bytes that are here, and that will be.
    done: AtomicU64,
    total: AtomicU64,
    /// To read all certificates takes some milliseconds, which those without network do not wait.
    agent: OnceLock<ureq::Agent>,
}

impl Http {
    pub(crate) fn new(access: &Access, progress: Arc<dyn Progress>) -> Self {
        Self {
            downloads: access.directory.join("downloads"),
            offline: access.offline,
            progress,
            pause: PAUSE,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            agent: OnceLock::new(),
        }
    }

    /// For tests of servers that fail: no pauses.
    #[cfg(test)]
    pub(crate) fn without_pauses(mut self) -> Self {
        self.pause = Duration::ZERO;
        self
    }

    /// A small document; nothing where the server says that there is none.
    ///
    /// # Errors
    /// `offline`, no answer, a document of more than `limit` bytes, and a server that refuses.
    pub(crate) fn get_bytes(&self, request: Request<'_>, limit: u64) -> Result<Option<Vec<u8>>, ToolchainError> {
        let got = self.trying(|| {
            let answer = self.send(request)?;
            match answer.status {
                200 => answer.bytes(limit).map(Some).map_err(|e| Failure::Passing(e.to_string())),
                404 | 410 => Ok(None),
                status => Err(Failure::of_status(status)),
            }
        });
        got.map_err(|failure| failure.of(request.url))
    }

    /// Asks again, with pauses, as long as the reason of a failure may pass.
    pub(crate) fn trying<T>(&self, mut ask: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        for pause in [self.pause, self.pause * 4] {
            match ask() {
                Err(Failure::Passing(problem)) => tracing::debug!("{problem}; once more in {pause:?}"),
                done => return done,
            }
            std::thread::sleep(pause);
        }
        ask()
    }

    /// Asks once. A redirection is followed, without secrets to another host.
    pub(crate) fn send(&self, request: Request<'_>) -> Result<Answer, Failure> {
        if self.offline {
            let hint =
                "nothing is fetched with --offline; hint: run it once without, or bring the file and name its path";
            return Err(Failure::Final(hint.to_owned()));
        }
        let mut uri = parse(request.url)?;
        let first = uri.clone();
        for _ in 0..=REDIRECTS_MAX {
            allowed(&uri, request.trust)?;
            let answer = self.send_to(&uri, &request, same_origin(&uri, &first))?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let Some(location) = answer.header(header::LOCATION) else {
                return Err(Failure::Final("the server sends us elsewhere without saying where".to_owned()));
            };
            uri = joined(&uri, location)?;
        }
        Err(Failure::Final(format!("more than {REDIRECTS_MAX} redirections")))
    }

    fn send_to(&self, uri: &Uri, request: &Request<'_>, with_secrets: bool) -> Result<Answer, Failure> {
        let mut asking = self.agent().get(uri);
        for (name, value) in request.headers {
            let secret = name.eq_ignore_ascii_case("authorization");
            if secret && !(with_secrets && (is_https(uri) || is_loopback(uri))) {
                continue;
            }
            asking = asking.header(*name, *value);
        }
        if request.from > 0 {
            asking = asking.header(header::RANGE, format!("bytes={}-", request.from));
        }
        if is_loopback(uri) {
            asking = asking.config().proxy(None).build();
        }
        let answer = asking.call().map_err(failure)?;
        let (parts, body) = answer.into_parts();
        let body = Box::new(body.into_with_config().limit(u64::MAX).reader());
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    fn agent(&self) -> &ureq::Agent {
        self.agent.get_or_init(|| {
            let certificates = rustls_native_certs::load_native_certs();
            for problem in certificates.errors {
                tracing::debug!("some certificates are not believed: {problem}");
            }
            let certificates = certificates.certs.iter().map(|c| Certificate::from_der(c).to_owned());
            let tls = TlsConfig::builder()
                .provider(TlsProvider::Rustls)
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .root_certs(RootCerts::Specific(Arc::new(certificates.collect())))
                .build();
            ureq::Agent::config_builder()
                .tls_config(tls)
                .user_agent(concat!("lre/", env!("CARGO_PKG_VERSION")))
                .http_status_as_error(false)
                // Ours are followed by hand: secrets stay with the host that they are for.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .timeout_resolve(Some(Duration::from_secs(CONNECT_SECONDS)))
                .timeout_connect(Some(Duration::from_secs(CONNECT_SECONDS)))
                .timeout_recv_response(Some(Duration::from_secs(ANSWER_SECONDS)))
                .timeout_per_read(Some(Duration::from_secs(SILENCE_SECONDS)))
                .build()
                .into()
        })
    }
}

/// Whose turn it is when there is no answer.
fn failure(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::Io(e) => match rustls_problem(&e) {
            Some(problem) => Failure::Final(problem),
            None => Failure::Passing(e.to_string()),
        },
        ureq::Error::Rustls(e) => Failure::Final(tls_problem(&e)),
        ureq::Error::BadUri(e) => Failure::Final(format!("it is not an address: {e}")),
        e @ (ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl | ureq::Error::Tls(_)) => {
            Failure::Final(e.to_string())
        }
        e => Failure::Passing(e.to_string()),
    }
}

fn rustls_problem(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(tls_problem)
}

fn tls_problem(error: &rustls::Error) -> String {
    format!("{error}; hint: certificates are believed as this machine's store says, or SSL_CERT_FILE=FILE.pem")
}

/// An address of the web.
pub(crate) fn parse(url: &str) -> Result<Uri, Failure> {
    let uri: Uri = url.parse().map_err(|e| Failure::Final(format!("it is not an address: {e}")))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        _ => Err(Failure::Final("it is not an address that begins with http:// or https://".to_owned())),
    }
}

/// What nobody checks comes over connections that nobody else writes to.
fn allowed(uri: &Uri, trust: Trust) -> Result<(), Failure> {
    if is_https(uri) || is_loopback(uri) || trust == Trust::Checked {
        return Ok(());
    }
    let problem =
        "what comes over http:// may have been changed on its way; hint: use https://, or pin it by its SHA-256";
    Err(Failure::Final(problem.to_owned()))
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// Whether it is this machine.
pub(crate) fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn same_origin(a: &Uri, b: &Uri) -> bool {
    (a.scheme(), a.host(), a.port_u16()) == (b.scheme(), b.host(), b.port_u16())
}

/// Where a redirection leads.
fn joined(from: &Uri, location: &str) -> Result<Uri, Failure> {
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |a| a.as_str());
    // The part behind `#` is for browsers.
    let location = location.split('#').next().unwrap_or_default();
    let text = match location {
        l if l.contains("://") => l.to_owned(),
        l if l.starts_with("//") => format!("{scheme}:{l}"),
        l if l.starts_with('/') => format!("{scheme}://{authority}{l}"),
        l => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{l}")
        }
    };
    parse(&text)
}

/// An address as it may be shown: no password, and no signature of somebody's storage.
pub(crate) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

fn shown_status(status: u16) -> String {
    let code = ureq::http::StatusCode::from_u16(status).ok();
    let reason = code.and_then(|c| c.canonical_reason()).unwrap_or("(which has no name)");
    format!("{status} {reason}")
}

#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;

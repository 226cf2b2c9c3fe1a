//! Which server, and how it is spoken to.
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Request, Status};

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Headers of every call.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>);

impl Headers {
    /// As names and values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }
}

/// A server, and what it needs to be told.
#[derive(Clone, Debug)]
pub struct Target {
    address: Address,
    /// The instance name of every request.
    pub instance: String,
    /// Properties of every action.
    pub platform: Vec<(String, String)>,
    pub(crate) headers: Headers,
    pub(crate) http: Option<Uri>,
    /// How long one check may take.
    pub patience: Duration,
}

#[derive(Clone, Debug)]
enum Address {
    Unix(PathBuf),
    Tcp(Uri),
}

/// What was written cannot be meant. The user's turn.
#[derive(Debug, thiserror::Error)]
pub enum BadTarget {
    /// No form of an address.
    #[error("`{0}` is no address: write unix:/path, grpc://host:port or grpcs://host:port")]
    Address(String),
    /// No header.
    #[error("`{0}` is no header: write NAME=VALUE, in plain text")]
    Header(String),
    /// No address of an HTTP cache.
    #[error("`{0}` is no address of an HTTP cache: write http://host:port[/prefix]")]
    Http(String),
}

/// Nobody answers.
#[derive(Debug, thiserror::Error)]
#[error("{address} does not answer: {why}")]
pub struct Unreachable {
    /// As it was written.
    pub address: String,
    /// What the connection said.
    pub why: String,
}

impl Target {
    /// A server at `unix:/path`, `grpc://host:port`, `grpcs://host:port` or `host:port`.
    ///
    /// # Errors
    /// What cannot be meant.
    pub fn new(address: &str) -> Result<Self, BadTarget> {
        let bad = || BadTarget::Address(address.to_owned());
        let parsed = match address.strip_prefix("unix:") {
            // Some clients write unix:///path, which is the same place.
            Some(path) => Address::Unix(path.strip_prefix("//").unwrap_or(path).into()),
            None => {
                let (scheme, authority) = address.split_once("://").unwrap_or(("grpc", address));
                let scheme = match scheme {
                    "grpc" | "http" => "http",
                    "grpcs" | "https" => "https",
                    _ => return Err(bad()),
                };
                let uri: Uri = format!("{scheme}://{authority}").parse().map_err(|_| bad())?;
                Address::Tcp(uri.port().is_some().then_some(uri).ok_or_else(bad)?)
            }
        };
        Ok(Self {
            address: parsed,
            instance: String::new(),
            platform: Vec::new(),
            headers: Headers::default(),
            http: None,
            patience: Duration::from_secs(60),
        })
    }

    /// Adds a header to every call, such as a token.
    ///
    /// # Errors
    /// What cannot be one.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), BadTarget> {
        // The value may be a secret: it is not repeated.
        let bad = || BadTarget::Header(format!("{name}=…"));
        let name = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| bad())?;
        let value = value.parse().map_err(|_| bad())?;
        self.headers.0.push((name, value));
        Ok(())
    }

    /// The server has an HTTP cache as well.
    ///
    /// # Errors
    /// What is no `http://` address.
    pub fn http(&mut self, url: &str) -> Result<(), BadTarget> {
        let bad = || BadTarget::Http(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(bad());
        }
        self.http = Some(uri);
        Ok(())
    }

    /// As one writes it.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.address {
            Address::Unix(path) => format!("unix:{}", path.display()),
            Address::Tcp(uri) => uri.to_string().trim_end_matches('/').replacen("http", "grpc", 1),
        }
    }

    /// A connection of its own, with these habits.
    pub(crate) async fn connect(&self, habits: impl Fn(Endpoint) -> Endpoint) -> Result<Channel, Unreachable> {
        let result = match &self.address {
            Address::Unix(path) => {
                let path = path.clone();
                let connector = tower::service_fn(move |_: Uri| {
                    let path = path.clone();
                    async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
                });
                // The authority of a Unix socket is not its path: HTTP/2 servers refuse it.
                let endpoint = habits(Endpoint::from_static("http://localhost").connect_timeout(CONNECT_PATIENCE));
                endpoint.connect_with_connector(connector).await
            }
            Address::Tcp(uri) => {
                let mut endpoint =
                    habits(Endpoint::from(uri.clone()).connect_timeout(CONNECT_PATIENCE)).tcp_nodelay(true);
                if uri.scheme_str() == Some("https") {
                    let tls = ClientTlsConfig::new().with_native_roots();
                    endpoint = endpoint.tls_config(tls).map_err(|error| self.unreachable(&error))?;
                }
                endpoint.connect().await
            }
        };
        result.map_err(|error| self.unreachable(&error))
    }

    /// tonic says "transport error"; why, stands in the sources below it.
    pub(crate) fn unreachable(&self, error: &dyn Error) -> Unreachable {
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            why = error.to_string();
            source = error.source();
        }
        Unreachable { address: self.address(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_all_forms() {
        for (written, meant) in [
            ("127.0.0.1:5", "grpc://127.0.0.1:5"),
            ("grpc://[::1]:5", "grpc://[::1]:5"),
            ("grpcs://example.org:443", "grpcs://example.org:443"),
            ("unix:///run/a", "unix:/run/a"),
            ("unix:/run/a", "unix:/run/a"),
        ] {
            assert_eq!(Target::new(written).unwrap().address(), meant);
        }
        for bad in ["ftp://a:1", "localhost", "grpc://", ""] {
            assert!(Target::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let mut target = Target::new("a:1").unwrap();
        target.header("Authorization", "Bearer x").unwrap();
        assert_eq!(target.headers.pairs().collect::<Vec<_>>(), [("authorization", "Bearer x")]);
        let error = target.header("a b", "secret").unwrap_err();
        assert!(!error.to_string().contains("secret"));
        assert!(target.http("https://a").is_err() && target.http("http://a:1/main").is_ok());
    }
}

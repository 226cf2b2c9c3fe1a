//! Ways to reach a service.
use crate::StoreError;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};

/// Flow-control window of a stream and of the connection, in bytes. With the default of 64 KiB a stream
/// waits for the other side after every second chunk.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Largest frame that is taken, in bytes.
const FRAME_BYTES: u32 = 1024 * 1024;

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

fn endpoint(uri: Uri) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(CONNECT_PATIENCE)
        // Without it a small message waits for the acknowledgement of the one before: 40 ms.
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
}

/// Connects to a Unix socket.
///
/// # Errors
/// Nobody listens there.
pub async fn connect_unix(path: impl AsRef<Path>) -> Result<Channel, StoreError> {
    let path = path.as_ref().to_owned();
    let shown = path.display().to_string();
    // The authority of a Unix socket is not its path: HTTP/2 servers refuse it (LIMITS 4).
    let uri = Uri::from_static("http://localhost");
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    });
    endpoint(uri).connect_with_connector(connector).await.map_err(|e| unreachable(&shown, &e))
}

/// Connects to a TCP address.
///
/// # Errors
/// Nobody listens there.
pub async fn connect_tcp(address: SocketAddr) -> Result<Channel, StoreError> {
    connect(&format!("http://{address}")).await
}

/// Connects to `unix:/path`, `grpc://host:port` or `host:port`; to `grpcs://host:port` with TLS, where the certificate
/// must be good for one of the authorities that this machine trusts (or that `SSL_CERT_FILE` names).
pub(super) async fn connect(text: &str) -> Result<Channel, StoreError> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return connect_unix(path).await;
    }
    let (scheme, authority) = text.split_once("://").unwrap_or(("grpc", text));
    let scheme = match scheme {
        "grpc" | "http" => "http",
        "grpcs" | "https" => "https",
        _ => return Err(StoreError::Upstream(format!("`{text}`: unix:, grpc:// and grpcs:// are understood"))),
    };
    let uri = format!("{scheme}://{authority}").parse::<Uri>();
    let uri = uri.map_err(|e| StoreError::Upstream(format!("`{text}` is no address: {e}")))?;
    let mut endpoint = endpoint(uri);
    if scheme == "https" {
        let tls = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint.tls_config(tls).map_err(|e| unreachable(text, &e))?;
    }
    endpoint.connect().await.map_err(|e| unreachable(text, &e))
}

/// tonic says "transport error"; why, stands in the sources below it.
fn unreachable(address: &str, error: &dyn Error) -> StoreError {
    let mut text = format!("cannot connect to {address}");
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    StoreError::Upstream(text)
}

//! Ways to reach a service.
use crate::StoreError;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Uri};

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

/// Connects to `unix:/path`, `http://host:port` or `host:port`.
pub(super) async fn connect(text: &str) -> Result<Channel, StoreError> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return connect_unix(path).await;
    }
    let with_scheme = match text.strip_prefix("grpc://") {
        Some(rest) => format!("http://{rest}"),
        None if text.contains("://") => text.to_owned(),
        None => format!("http://{text}"),
    };
    let uri: Uri = with_scheme.parse().map_err(|e| StoreError::Upstream(format!("`{text}` is no address: {e}")))?;
    if uri.scheme_str() != Some("http") {
        return Err(StoreError::Upstream(format!("`{text}`: unix:, http:// and grpc:// are understood")));
    }
    endpoint(uri).connect().await.map_err(|e| unreachable(text, &e))
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

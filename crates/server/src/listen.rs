//! The porch: a Unix socket and a loopback TCP port, at the same time, with the same services.
//!
//! Both always, because no client speaks both: Debian's Bazel and Buck2 know only TCP, some C-core
//! clients are happiest with a socket (LIMITS 4).
use crate::auth::{Peer, Porch, TcpPeer};
use crate::authority::Authority;
use crate::http::{Door, HttpCache};
use crate::invocation::Invocations;
use crate::limits;
use crate::socket::BoundSocket;
use futures::stream::{self, Stream, StreamExt};
use lre_store::DiskStore;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::service::Routes;
use tonic::transport::server::{Connected, Server};

/// Why nobody can be served here. The user's turn; [`ListenError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Neither an address nor a socket was given.
    #[error("there is nothing to listen on: neither a TCP address nor a Unix socket is given")]
    Nowhere,
    /// Not a loopback address.
    #[error("{0} is not a loopback address: everybody on the network could run commands as this user")]
    NotLoopback(SocketAddr),
    /// Somebody has this port.
    #[error("the port of {0} is in use by another process")]
    PortInUse(SocketAddr),
    /// The port cannot be had for another reason.
    #[error("cannot listen on {address}")]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel has no room for a path this long.
    #[error("the path of the socket is too long: {} has {bytes} bytes, the kernel takes {at_most}", .path.display())]
    PathTooLong {
        /// Which.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        at_most: usize,
    },
    /// A server that lives.
    #[error("another server answers at {}", .0.display())]
    SocketInUse(PathBuf),
    /// A file that is no socket: not ours to remove.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// Whoever owns the folder could put a socket of his own in our place.
    #[error("the folder {} {problem}", .directory.display())]
    Folder {
        /// Which.
        directory: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The socket cannot be had for another reason.
    #[error("cannot listen on the socket {}", .path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    /// The next command.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Nowhere => "leave out `--listen` and `--socket`: the defaults work".to_owned(),
            Self::NotLoopback(address) => format!("use `--listen 127.0.0.1:{}`", address.port()),
            Self::PortInUse(_) => {
                "`lre status` shows whether it is another lre (`lre down` ends it); else choose another port with \
                 `--listen 127.0.0.1:PORT`"
                    .to_owned()
            }
            Self::Tcp { .. } => "choose another address with `--listen 127.0.0.1:PORT`".to_owned(),
            Self::PathTooLong { .. } => {
                "choose a shorter path with `--socket`, or a shorter XDG_RUNTIME_DIR".to_owned()
            }
            Self::SocketInUse(path) => {
                format!("use that server, end it with `lre down`, or choose another than `--socket {}`", path.display())
            }
            Self::NotASocket(path) => format!("move {} away, or choose another path with `--socket`", path.display()),
            Self::Folder { directory, .. } => {
                format!("`chmod 700 {}` if it is yours, or choose another path with `--socket`", directory.display())
            }
            Self::Socket { .. } => "choose another path with `--socket`".to_owned(),
        }
    }
}

/// Bound, not yet accepting.
#[derive(Debug)]
pub struct Listeners {
    tcp: Option<(TcpListener, SocketAddr)>,
    socket: Option<BoundSocket>,
    http: Option<HttpCache>,
    /// Knows of invocations.
    store: Option<Arc<DiskStore>>,
}

impl Listeners {
    /// Binds both, or fails before anything is served. Port 0 means a free one.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(tcp: Option<SocketAddr>, socket: Option<&Path>) -> Result<Self, ListenError> {
        if tcp.is_none() && socket.is_none() {
            return Err(ListenError::Nowhere);
        }
        let tcp = tcp.map(bind_tcp).transpose()?;
        let socket = socket.map(BoundSocket::bind).transpose()?;
        Ok(Self { tcp, socket, http: None, store: None })
    }

    /// The same, with the HTTP cache beside gRPC. Without it HTTP/1 is not spoken at all.
    #[must_use]
    pub fn with_http(self, cache: HttpCache) -> Self {
        Self { http: Some(cache), ..self }
    }

    /// The same, with calls made for the invocations that this store knows of.
    #[must_use]
    pub(crate) fn for_invocations_of(self, store: Arc<DiskStore>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// The TCP address, with the real port.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(_, address)| *address)
    }

    /// The path of the Unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_ref().map(BoundSocket::path)
    }

    /// Serves until `stop`. Then nobody new is let in, open calls get
    /// [`limits::SHUTDOWN_GRACE`] to end, and what is still open is closed. The socket file is gone
    /// when this returns.
    ///
    /// # Errors
    /// The listeners cannot be used with this runtime.
    pub async fn serve(self, routes: Routes, porch: Porch, stop: CancellationToken) -> io::Result<()> {
        let Self { tcp, socket, http, store } = self;
        let close = CancellationToken::new();
        let tcp = match tcp {
            Some((listener, _)) => accept(tokio::net::TcpListener::from_std(listener)?, close.clone()).boxed(),
            None => stream::pending().boxed(),
        };
        let unix = match &socket {
            Some(socket) => accept(socket.listener()?, close.clone()).boxed(),
            None => stream::pending().boxed(),
        };
        let incoming = stream::select(tcp, unix).map(Ok::<_, io::Error>);
        let mut builder = Server::builder()
            .accept_http1(http.is_some())
            .layer(porch)
            .layer(Door(http))
            .layer(Invocations(store))
            .initial_stream_window_size(limits::HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES)
            .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
            .max_frame_size(limits::HTTP2_FRAME_BYTES)
            .http2_keepalive_interval(Some(limits::KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(limits::KEEP_ALIVE_TIMEOUT))
            .http2_max_pending_accept_reset_streams(Some(limits::HTTP2_RESET_STREAMS_MAX));
        let server = builder.add_routes(routes).serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let mut server = std::pin::pin!(server);
        tokio::select! {
            served = &mut server => served.map_err(io::Error::other),
            () = async { stop.cancelled().await; tokio::time::sleep(limits::SHUTDOWN_GRACE).await } => {
                close.cancel();
                server.await.map_err(io::Error::other)
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    let bound = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortInUse(address),
        _ => ListenError::Tcp { address, source },
    })
}

/// What the two kinds of listener have in common.
trait Accept: Send + Sync + 'static {
    fn accept_one(&self) -> impl Future<Output = io::Result<(Wire, Peer)>> + Send;
}

impl Accept for tokio::net::TcpListener {
    async fn accept_one(&self) -> io::Result<(Wire, Peer)> {
        let (stream, remote) = self.accept().await?;
        // Without this each small answer waits for the acknowledgement of the one before, 40 ms;
        // tonic sets it only on listeners that it has made itself (LIMITS 4).
        stream.set_nodelay(true)?;
        let peer = Peer::Tcp(TcpPeer::new(stream.local_addr().ok(), Some(remote)));
        Ok((Wire::Tcp(stream), peer))
    }
}

impl Accept for tokio::net::UnixListener {
    async fn accept_one(&self) -> io::Result<(Wire, Peer)> {
        let (stream, _) = self.accept().await?;
        let uid = stream.peer_cred().ok().map(|peer| peer.uid());
        Ok((Wire::Unix(stream, Authority::new()), Peer::Unix { uid }))
    }
}

/// Accepts for ever: an error is one client's, or passes when file descriptors are free again.
fn accept(listener: impl Accept, close: CancellationToken) -> impl Stream<Item = Connection> + Send {
    stream::unfold((listener, close), |(listener, close)| async move {
        loop {
            match listener.accept_one().await {
                Ok((stream, peer)) => {
                    let closed = Box::pin(close.clone().cancelled_owned());
                    return Some((Connection { stream, peer, closed, http1: None }, (listener, close)));
                }
                Err(error) if is_of_one_client(&error) => tracing::debug!(%error, "a client left before it was let in"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | InvalidInput | NotConnected)
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream, Authority),
}

/// An accepted connection.
struct Connection {
    stream: Wire,
    peer: Peer,
    /// Whether HTTP/1 is spoken, once that is known.
    http1: Option<bool>,
    /// Fires when a shutdown waits no longer.
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server is shutting down")));
        }
        let me = &mut *self;
        match &mut me.stream {
            Wire::Tcp(stream) => {
                let before = buffer.filled().len();
                let read = Pin::new(&mut *stream).poll_read(cx, buffer);
                if matches!(read, Poll::Ready(Ok(()))) && is_http1(&mut me.http1, &buffer.filled()[before..]) {
                    acknowledge_at_once(stream);
                }
                read
            }
            Wire::Unix(stream, authority) => {
                let before = buffer.filled().len();
                let read = Pin::new(stream).poll_read(cx, buffer);
                authority.mend(&mut buffer.filled_mut()[before..]);
                read
            }
        }
    }
}

/// Whether a connection that began with these bytes speaks HTTP/1; asked with each read, answered by the first.
fn is_http1(known: &mut Option<bool>, bytes: &[u8]) -> bool {
    *known.get_or_insert_with(|| !bytes.starts_with(b"PRI"))
}

/// ccache sends the head of an upload and its body in two small pieces, and leaves Nagle's algorithm on: the second waits
/// for the acknowledgement of the first, which the kernel would put off for 40 ms in hope of an answer to send along. The
/// kernel forgets that it was asked, so it is asked again and again; gRPC has no such clients and pays nothing.
fn acknowledge_at_once(stream: &TcpStream) {
    // Where it cannot be had, it is slow and right.
    let _ = rustix::net::sockopt::set_tcp_quickack(stream, true);
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Wire::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Unix(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Wire::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Wire::Unix(stream, _) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Unix(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Unix(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// LIMITS 4: without it, small answers wait 40 ms for each other.
    #[tokio::test]
    async fn accepted_sockets_do_not_wait_for_more() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (Wire::Tcp(stream), Peer::Tcp(_)) = listener.accept_one().await.unwrap() else { panic!("not TCP") };
        assert!(stream.nodelay().unwrap());
    }

    #[test]
    fn only_loopback_is_listened_on() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051"] {
            let refused = Listeners::bind(Some(address.parse().unwrap()), None).unwrap_err();
            assert!(matches!(refused, ListenError::NotLoopback(_)), "{refused}");
            assert!(refused.hint().contains("127.0.0.1"));
        }
        assert!(matches!(Listeners::bind(None, None), Err(ListenError::Nowhere)));
    }

    #[test]
    fn a_port_in_use_is_said_to_be() {
        let first = Listeners::bind(Some((Ipv4Addr::LOCALHOST, 0).into()), None).unwrap();
        let refused = Listeners::bind(first.tcp_address(), None).unwrap_err();
        assert!(matches!(refused, ListenError::PortInUse(_)), "{refused}");
        assert!(refused.hint().contains("lre status"));
    }
}

//! Who may call: this user's own processes, and whoever brings the token (USING 2).
//!
//! A laptop runs other people's processes too, and anybody on it can connect to a loopback port. The
//! kernel knows whose socket is at the other end; that is asked once for each connection.
use crate::limits::PEER_LOOKS_MAX;
use crate::status::{self, Refusal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use rustix::process::geteuid;
use std::borrow::Cow;
use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::OnceCell;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// The other end of a connection.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A Unix socket: the kernel noted the uid when it was connected (SO_PEERCRED).
    Unix {
        /// Nothing where the kernel would not say.
        uid: Option<u32>,
    },
    /// A loopback TCP socket.
    Tcp(Arc<TcpPeer>),
}

/// The two ends of a TCP connection, and whose the other one is.
#[derive(Debug)]
pub struct TcpPeer {
    /// Our end; nothing where the connection is gone already.
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    /// Empty until the kernel has named somebody.
    uid: OnceCell<u32>,
}

impl TcpPeer {
    /// A connection between these two.
    #[must_use]
    pub fn new(local: Option<SocketAddr>, remote: Option<SocketAddr>) -> Arc<Self> {
        Arc::new(Self { local, remote, uid: OnceCell::new() })
    }

    /// Whose the other end is. Somebody who was not found is looked for again with the next call.
    async fn uid(&self) -> Option<u32> {
        self.uid.get_or_try_init(|| async { self.find().await.ok_or(()) }).await.ok().copied()
    }

    async fn find(&self) -> Option<u32> {
        let (server, client) = (self.local?, self.remote?);
        if let Ok(Some(uid)) = crate::sock_diag::socket_owner(client, server) {
            return Some(uid);
        }
        // Nobody's, or a kernel that does not answer such questions: the table has the last word.
        let look = move || (0..PEER_LOOKS_MAX).find_map(|_| socket_owner(client, server).transpose()).transpose();
        match tokio::task::spawn_blocking(look).await.map_err(io::Error::other).flatten() {
            Ok(uid) => uid,
            Err(error) => {
                tracing::warn!(%error, "cannot read the kernel's table of TCP sockets: only the token admits");
                None
            }
        }
    }
}

impl Peer {
    async fn uid(&self) -> Option<u32> {
        match self {
            Self::Unix { uid } => *uid,
            Self::Tcp(tcp) => tcp.uid().await,
        }
    }
}

/// Looks the client's end up in the kernel's tables. A client that uses an IPv6 socket for an IPv4
/// address (Java does) stands in the IPv6 table.
fn socket_owner(client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let rows = match std::fs::read_to_string(table) {
            Ok(rows) => rows,
            // A kernel without IPv6.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if let Some(uid) = rows.lines().find_map(|row| owner_in_row(row, client, server)) {
            return Ok(Some(uid));
        }
    }
    Ok(None)
}

/// `TCP_ESTABLISHED` in /proc/net/tcp.
const ESTABLISHED: &str = "01";

/// The uid of a row, if it is the established socket from `client` to `server`.
///
/// Only an established one with an inode counts: a socket that was closed by its owner is shown
/// with uid 0, and a stranger who closes quickly would pass for root.
fn owner_in_row(row: &str, client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let mut fields = row.split_ascii_whitespace();
    let (local, remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    if state != ESTABLISHED || !is(local, client) || !is(remote, server) {
        return None;
    }
    let (uid, inode) = (fields.nth(3)?, fields.nth(1)?);
    if inode == "0" { None } else { uid.parse().ok() }
}

fn is(field: &str, address: SocketAddr) -> bool {
    parse_address(field).is_some_and(|(ip, port)| ip == address.ip().to_canonical() && port == address.port())
}

/// `0100007F:C383`: 32-bit words as this machine has them in memory, then the port.
fn parse_address(field: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = field.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (i, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some((ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

/// The rule of the house: who is let in.
#[derive(Clone, Debug)]
pub struct Porch {
    uid: u32,
    token: Option<Arc<str>>,
}

impl Porch {
    /// Lets in this user, and strangers who bring `token`. Without a token, or with an empty one,
    /// no stranger is let in.
    #[must_use]
    pub fn new(token: Option<&str>) -> Self {
        Self::of(geteuid().as_raw(), token)
    }

    /// The same for another user.
    #[must_use]
    pub fn of(uid: u32, token: Option<&str>) -> Self {
        let token = token.map(str::trim).filter(|token| !token.is_empty()).map(Arc::from);
        Self { uid, token }
    }

    async fn admit(&self, peer: Option<&Peer>, header: Option<&[u8]>) -> Result<(), Status> {
        let uid = match peer {
            Some(peer) => peer.uid().await,
            None => None,
        };
        if uid == Some(self.uid) || self.is_token(header) {
            return Ok(());
        }
        let whose = uid.map_or_else(|| "somebody the kernel would not name".to_owned(), |uid| format!("uid {uid}"));
        let brought = if header.is_some() { "a token that is not its token" } else { "no token" };
        Err(status::of(Refusal::Stranger(format!(
            "this server belongs to uid {}; the connection belongs to {whose} and brings {brought}. hint: ask the owner \
             of the server for $XDG_STATE_HOME/lre/token and send it with every call as the header `authorization: \
             Bearer <token>` (Bazel: --remote_header=\"authorization=Bearer <token>\"; HTTP caches: \
             http://lre:<token>@127.0.0.1:PORT)",
            self.uid
        ))))
    }

    fn is_token(&self, header: Option<&[u8]>) -> bool {
        match (&self.token, header.and_then(brought)) {
            (Some(token), Some(brought)) => equal_in_constant_time(token.as_bytes(), &brought),
            _ => false,
        }
    }
}

/// The token in an `authorization` header: `Bearer {token}`, or `Basic` with it as the password of whatever user, which
/// is what clients make of `http://user:password@host`.
fn brought(header: &[u8]) -> Option<Cow<'_, [u8]>> {
    let space = header.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&header[..space], &header[space + 1..]);
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.into());
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = STANDARD.decode(rest).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec().into())
}

/// Compares without telling by its duration how many of the first bytes are right.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    a.len() == b.len() && difference == 0
}

impl<S> Layer<S> for Porch {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { porch: self.clone(), inner }
    }
}

/// Services behind the porch.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    porch: Porch,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The one that was polled ready is the one to be called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let porch = self.porch.clone();
        Box::pin(async move {
            let grpc = crate::http::is_grpc(&request);
            let header = request.headers().get(http::header::AUTHORIZATION).map(|value| value.as_bytes());
            match porch.admit(request.extensions().get::<Peer>(), header).await {
                Ok(()) => inner.call(request).await,
                Err(status) if grpc => Ok(status.into_http()),
                Err(status) => Ok(crate::http::stranger(status.message())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    const ROW: &str =
        "   1: 0100007F:9C40 0100007F:C383 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_row_names_its_owner() {
        let (client, server) = (v4(0x9C40), v4(0xC383));
        assert_eq!(owner_in_row(ROW, client, server), Some(1000));
        assert_eq!(owner_in_row(ROW, server, client), None, "our own end is not the peer's");
        assert_eq!(owner_in_row(ROW, v4(1), server), None);
        let mapped = ROW.replace("0100007F", "0000000000000000FFFF00000100007F");
        assert_eq!(owner_in_row(&mapped, client, server), Some(1000), "Java's IPv4 over an IPv6 socket");
    }

    /// A stranger connects, asks and closes; the kernel then shows the socket as root's.
    #[test]
    fn a_closed_socket_is_nobodys() {
        let (client, server) = (v4(0x9C40), v4(0xC383));
        let time_wait = ROW.replace(" 01 ", " 06 ").replace(" 1000 ", " 0 ").replace(" 4711 ", " 0 ");
        assert_eq!(owner_in_row(&time_wait, client, server), None);
        let orphan = ROW.replace(" 1000 ", " 0 ").replace(" 4711 ", " 0 ");
        assert_eq!(owner_in_row(&orphan, client, server), None);
    }

    #[test]
    fn nonsense_rows_name_nobody() {
        for row in ["", "sl local_address rem_address st", "1: x y 01", "1: 0100007F:9C40 0100007F:C383 01 a b c d"] {
            assert_eq!(owner_in_row(row, v4(0x9C40), v4(0xC383)), None, "{row}");
        }
    }

    #[tokio::test]
    async fn the_kernel_knows_who_connects() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, remote) = listener.accept().await.unwrap();
        let peer = Peer::Tcp(TcpPeer::new(server.local_addr().ok(), Some(remote)));
        assert_eq!(peer.uid().await, Some(geteuid().as_raw()));
        drop(client);
    }

    #[tokio::test]
    async fn a_stranger_needs_the_token() {
        let stranger = Peer::Unix { uid: Some(geteuid().as_raw() + 1) };
        let porch = Porch::new(Some("s3cret\n"));
        for (header, admitted) in [
            (None, false),
            (Some("Bearer s3cret"), true),
            (Some("bearer s3cret"), true),
            (Some("Bearer s3cre"), false),
            (Some("Bearer s3cretx"), false),
            (Some("Bearer "), false),
            (Some("Basic s3cret"), false),
            (Some("Basic dXNlcjpzM2NyZXQ="), true),
            (Some("basic OnMzY3JldA=="), true),
            (Some("Basic dXNlcjpzM2NyZQ=="), false),
            (Some("Basic czNjcmV0"), false),
            (Some("Digest s3cret"), false),
            (Some(""), false),
        ] {
            let admit = porch.admit(Some(&stranger), header.map(str::as_bytes)).await;
            assert_eq!(admit.is_ok(), admitted, "{header:?}");
        }
        for porch in [Porch::new(None), Porch::new(Some("")), Porch::new(Some(" \n"))] {
            let refused = porch.admit(Some(&stranger), Some(b"Bearer ")).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Unauthenticated);
            assert!(refused.message().contains("hint:"), "{}", refused.message());
        }
    }
}

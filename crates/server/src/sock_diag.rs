//! Asks the kernel for one socket (sock_diag(7)). Reading its table of all takes milliseconds, and a compiler behind ccache
//! makes a connection for each file.
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u8 = 1;
/// `nlmsghdr`.
const HEADER: usize = 16;
/// `inet_diag_msg`.
const ANSWER: usize = 72;

/// The uid of the established socket from `client` to `server`; nothing where the kernel does not know one, or knows one that
/// nobody has open any more.
///
/// # Errors
/// The kernel cannot be asked in this way.
pub(crate) fn socket_owner(client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    send(&socket, &question(client, server), SendFlags::empty())?;
    let mut bytes = [0; 512];
    // The kernel has answered before `send` returns; were it ever otherwise, nobody waits for it here.
    let (_, length) = recv(&socket, &mut bytes[..], RecvFlags::DONTWAIT)?;
    Ok(owner_in(&bytes[..length.min(bytes.len())], client, server))
}

/// An `inet_diag_req_v2` for exactly this socket.
fn question(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let family = if client.ip().to_canonical().is_ipv4() { AF_INET } else { AF_INET6 };
    let mut request = vec![family, IPPROTO_TCP, 0, 0];
    // All states: which one it has is looked at in the answer.
    request.extend(u32::MAX.to_ne_bytes());
    request.extend(client.port().to_be_bytes());
    request.extend(server.port().to_be_bytes());
    for ip in [client.ip(), server.ip()] {
        request.extend(octets(ip));
    }
    // Any interface; whatever its cookie.
    request.extend(0_u32.to_ne_bytes());
    request.extend([u8::MAX; 8]);
    let length = u32::try_from(HEADER + request.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(request);
    message
}

/// An address in the 16 bytes that there are for one.
fn octets(ip: IpAddr) -> [u8; 16] {
    let mut octets = [0; 16];
    match ip.to_canonical() {
        IpAddr::V4(ip) => octets[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => octets = ip.octets(),
    }
    octets
}

/// The uid in an answer, if it is about this very socket. As in the table, one without an inode was closed by its owner: it is
/// shown with uid 0, and a stranger who closes quickly would pass for root.
fn owner_in(message: &[u8], client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let answer = message.get(HEADER..HEADER + ANSWER)?;
    let (family, state) = (answer[0], answer[1]);
    if kind != SOCK_DIAG_BY_FAMILY || state != TCP_ESTABLISHED {
        return None;
    }
    let port = |at: usize| Some(u16::from_be_bytes(*answer.get(at..)?.first_chunk()?));
    let number = |at: usize| Some(u32::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
    let address = |at: usize| {
        let bytes: [u8; 16] = *answer.get(at..)?.first_chunk()?;
        let ip = match family {
            AF_INET => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
            _ => IpAddr::V6(Ipv6Addr::from(bytes)),
        };
        Some(ip.to_canonical())
    };
    let ends = [(port(4)?, address(8)?), (port(6)?, address(24)?)];
    if ends != [client, server].map(|end| (end.port(), end.ip().to_canonical())) {
        return None;
    }
    let (uid, inode) = (number(64)?, number(68)?);
    (inode != 0).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn pair(listen: &str, connect: &str) -> (TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind(listen).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(format!("{connect}:{port}")).unwrap();
        let server = listener.accept().unwrap().0;
        (listener, client, server)
    }

    #[test]
    fn the_kernel_names_the_owner_of_one_socket() {
        let me = rustix::process::geteuid().as_raw();
        let (listener, client, server) = pair("127.0.0.1:0", "127.0.0.1");
        let (local, remote) = (server.local_addr().unwrap(), server.peer_addr().unwrap());
        assert_eq!(socket_owner(remote, local).unwrap(), Some(me));
        // Where nobody is connected the kernel may show the listener: that is no peer.
        let mut nobody = remote;
        nobody.set_port(1);
        assert_eq!(socket_owner(nobody, local).unwrap(), None);
        assert_eq!(socket_owner(listener.local_addr().unwrap(), nobody).unwrap(), None);
        drop(client);
        assert_eq!(socket_owner(remote, local).unwrap(), None, "closed by its owner");
    }

    /// What Java does: an IPv6 socket for an IPv4 address.
    #[test]
    fn an_ipv6_socket_to_an_ipv4_address_is_found() {
        let (_listener, _client, server) = pair("127.0.0.1:0", "[::ffff:127.0.0.1]");
        let (local, remote) = (server.local_addr().unwrap(), server.peer_addr().unwrap());
        assert_eq!(socket_owner(remote, local).unwrap(), Some(rustix::process::geteuid().as_raw()));
    }

    #[test]
    fn nonsense_names_nobody() {
        let (client, server) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        for length in [0, 3, 5, HEADER, HEADER + ANSWER - 1, HEADER + ANSWER, 512] {
            assert_eq!(owner_in(&vec![0; length], client, server), None);
            assert_eq!(owner_in(&vec![0xff; length], client, server), None);
        }
        let mut answer = question(client, server);
        answer.resize(HEADER + ANSWER, 0);
        answer[HEADER + 1] = TCP_ESTABLISHED;
        assert_eq!(owner_in(&answer, client, server), None, "without an inode");
        answer[HEADER + 68] = 1;
        answer[HEADER + 64] = 7;
        let shifted: Vec<u8> = [
            &answer[..HEADER],
            &[AF_INET, TCP_ESTABLISHED, 0, 0],
            &answer[HEADER + 8..HEADER + 44],
            &[0; 24],
            &answer[HEADER + 64..],
        ]
        .concat();
        assert_eq!(owner_in(&shifted, client, server), Some(7));
        assert_eq!(owner_in(&shifted, server, client), None, "our own end is not the peer's");
    }
}

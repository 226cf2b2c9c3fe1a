//! System calls that no build needs and that have been ways out of containers, refused with EPERM.
//!
//! Installed once, in the launcher, and inherited: installing a filter per sandbox costs several
//! times as much as all else it does. The kernel remembers which calls a filter always allows, so
//! the allowed ones cost next to nothing.
use crate::sys;
use rustix::io::Errno;
use std::mem::offset_of;

/// What is refused, and why.
const REFUSED: &[libc::c_long] = &[
    // Keyrings are not namespaced: the server's session keyring would be readable.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Large interfaces into the kernel with a history of holes.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Need privileges that nobody has here; refused once more.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    // Opens files by inode number, past every mount.
    libc::SYS_open_by_handle_at,
    // The kernel's log tells about the host.
    libc::SYS_syslog,
];

/// The families of sockets that namespaces hold: local, IPv4, IPv6, netlink, packet.
///
/// Others lead past the network namespace. A vsock, for one, reaches the host of a virtual machine, and
/// every server of this machine that listens on one. To a program it looks as if the kernel had none of them.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET];

/// `AUDIT_ARCH_X86_64`: EM_X86_64, 64 bit, little endian.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 62 | 0x8000_0000 | 0x4000_0000;
/// `AUDIT_ARCH_AARCH64`: EM_AARCH64, 64 bit, little endian.
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 183 | 0x8000_0000 | 0x4000_0000;

/// On x86-64, system calls of the x32 ABI have this bit; they would pass the list under other numbers.
const X32_BIT: u32 = 0x4000_0000;

/// Installs the filter.
///
/// # Errors
/// What the kernel says; EINVAL where it has no seccomp filters.
pub(super) fn install() -> Result<(), Errno> {
    sys::install_filter(&mut program())
}

const fn instruction(code: u32, k: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: if_true, jf: if_false, k }
}

/// The filter: another architecture, a number with the x32 bit, or one from the list: EPERM. A socket of another
/// family: EAFNOSUPPORT.
pub(crate) fn program() -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let refuse = instruction(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(), 0, 0);
    let mut program = vec![
        instruction(LOAD, offset_of!(libc::seccomp_data, arch) as u32, 0, 0),
        instruction(EQUAL, ARCHITECTURE, 1, 0),
        refuse,
        instruction(LOAD, offset_of!(libc::seccomp_data, nr) as u32, 0, 0),
        instruction(AT_LEAST, X32_BIT, 0, 1),
        refuse,
    ];
    for call in REFUSED {
        program.push(instruction(EQUAL, number(*call), 0, 1));
        program.push(refuse);
    }
    let allow = instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    program.push(instruction(EQUAL, number(libc::SYS_socket), 2, 0));
    program.push(instruction(EQUAL, number(libc::SYS_socketpair), 1, 0));
    program.push(allow);
    program.push(instruction(LOAD, first_argument(), 0, 0));
    for family in FAMILIES {
        program.push(instruction(EQUAL, family.unsigned_abs(), 0, 1));
        program.push(allow);
    }
    program.push(instruction(RETURN, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT.unsigned_abs(), 0, 0));
    program
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

/// Where the lower half of it is. The kernel takes an `int`: what is in the upper half means nothing.
const fn first_argument() -> u32 {
    let upper_half_first = if cfg!(target_endian = "big") { 4 } else { 0 };
    offset_of!(libc::seccomp_data, args) as u32 + upper_half_first
}

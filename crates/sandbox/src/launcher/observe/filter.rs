//! Which system calls are looked at, and where their paths and addresses stand.
use super::super::seccomp::ARCHITECTURE;
use std::ffi::c_long;
use std::mem::offset_of;

/// What a call names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// A file: path in this argument, seen from the directory in that one, if any; whether a symlink
    /// at its end is followed.
    File { path: usize, directory: Option<usize>, follow: bool },
    /// A file that is to be executed.
    Program { path: usize, directory: Option<usize> },
    /// An address of a socket and its length.
    Address { address: usize, length: usize },
}

/// When a call is of no interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unless {
    /// Always of interest.
    Never,
    /// This argument has one of these bits.
    Flag(usize, u32),
    /// This argument is a null pointer.
    Null(usize),
}

/// A call that is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    number: c_long,
    pub(super) names: Names,
    unless: Unless,
}

const fn file(number: c_long, path: usize, follow: bool, unless: Unless) -> Call {
    Call { number, names: Names::File { path, directory: None, follow }, unless }
}

const fn at(number: c_long, follow: bool, unless: Unless) -> Call {
    Call { number, names: Names::File { path: 1, directory: Some(0), follow }, unless }
}

/// A file that is made when it is missing is not missed.
const MAKES: u32 = libc::O_CREAT.unsigned_abs();
/// An open file is asked about; the C library's fstat(2) is this.
const IS_OPEN: u32 = libc::AT_EMPTY_PATH.unsigned_abs();

/// Opening, looking, executing, and going out. Nothing that changes files: what an action wants to
/// change outside of its own directory is not what it lacks.
const CALLS: &[Call] = &[
    at(libc::SYS_openat, true, Unless::Flag(2, MAKES)),
    // Its flags lie in memory, where a filter cannot look; few programs use it.
    at(libc::SYS_openat2, true, Unless::Never),
    at(libc::SYS_newfstatat, true, Unless::Flag(3, IS_OPEN)),
    at(libc::SYS_statx, true, Unless::Flag(2, IS_OPEN)),
    at(libc::SYS_faccessat, true, Unless::Never),
    at(libc::SYS_faccessat2, true, Unless::Never),
    at(libc::SYS_readlinkat, false, Unless::Never),
    file(libc::SYS_chdir, 0, true, Unless::Never),
    Call { number: libc::SYS_execve, names: Names::Program { path: 0, directory: None }, unless: Unless::Never },
    Call { number: libc::SYS_execveat, names: Names::Program { path: 1, directory: Some(0) }, unless: Unless::Never },
    Call { number: libc::SYS_connect, names: Names::Address { address: 1, length: 2 }, unless: Unless::Never },
    // send(2) is this without an address.
    Call { number: libc::SYS_sendto, names: Names::Address { address: 4, length: 5 }, unless: Unless::Null(4) },
];

/// Those that newer architectures have only with a directory.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[Call] = &[
    file(libc::SYS_open, 0, true, Unless::Flag(1, MAKES)),
    file(libc::SYS_stat, 0, true, Unless::Never),
    file(libc::SYS_lstat, 0, false, Unless::Never),
    file(libc::SYS_access, 0, true, Unless::Never),
    file(libc::SYS_readlink, 0, false, Unless::Never),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[Call] = &[];

/// What a call of this number names.
pub(super) fn names(number: c_long) -> Option<Names> {
    CALLS.iter().chain(OLD_CALLS).find(|call| call.number == number).map(|call| call.names)
}

/// Whether a call of this number opens what it names: a directory, to list it.
pub(super) fn opens(number: c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    let old = number == libc::SYS_open;
    #[cfg(not(target_arch = "x86_64"))]
    let old = false;
    old || matches!(number, libc::SYS_openat | libc::SYS_openat2)
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const HAS: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

const fn instruction(code: u32, k: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: if_true, jf: if_false, k }
}

const ALLOW: libc::sock_filter = instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
const TELL: libc::sock_filter = instruction(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0);

/// Loads one half of an argument. All architectures we know are little endian.
fn argument(index: usize, high: bool) -> libc::sock_filter {
    let offset = offset_of!(libc::seccomp_data, args) + 8 * index + if high { 4 } else { 0 };
    instruction(LOAD, offset as u32, 0, 0)
}

/// The filter. What it does not know it allows: the filter of every sandbox stands before it, and
/// the kernel takes the stricter of the two.
pub(super) fn program() -> Vec<libc::sock_filter> {
    let mut program = vec![
        instruction(LOAD, offset_of!(libc::seccomp_data, arch) as u32, 0, 0),
        instruction(EQUAL, ARCHITECTURE, 1, 0),
        ALLOW,
        instruction(LOAD, offset_of!(libc::seccomp_data, nr) as u32, 0, 0),
    ];
    for call in CALLS.iter().chain(OLD_CALLS) {
        let body = match call.unless {
            Unless::Never => vec![TELL],
            Unless::Flag(index, bits) => vec![argument(index, false), instruction(HAS, bits, 0, 1), ALLOW, TELL],
            Unless::Null(index) => vec![
                argument(index, false),
                instruction(EQUAL, 0, 0, 3),
                argument(index, true),
                instruction(EQUAL, 0, 0, 1),
                ALLOW,
                TELL,
            ],
        };
        let number = u32::try_from(call.number).unwrap_or(u32::MAX);
        program.push(instruction(EQUAL, number, 0, u8::try_from(body.len()).unwrap_or(u8::MAX)));
        program.extend(body);
    }
    program.push(ALLOW);
    program
}

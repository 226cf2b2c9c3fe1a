//! The launcher as a program of its own, so that the kernel tests need no server.
//!
//! `lre-kernel-launcher [--as UID]`: with `--as` it becomes that ordinary user first, which only
//! root can.
use rustix::process::{Gid, Uid};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => lre_sandbox::launcher::main(),
        ["--as", id] => become_user(id),
        _ => panic!("usage: lre-kernel-launcher [--as UID]"),
    }
}

/// Starts itself again as that user: a process that was root once is not dumpable and may not write
/// its own id maps.
fn become_user(id: &str) -> ! {
    use std::os::unix::process::CommandExt;
    let id: u32 = id.parse().expect("a user id");
    rustix::thread::set_thread_groups(&[]).expect("only root can become another user");
    rustix::thread::set_thread_res_gid(Gid::from_raw(id), Gid::from_raw(id), Gid::from_raw(id)).expect("group");
    rustix::thread::set_thread_res_uid(Uid::from_raw(id), Uid::from_raw(id), Uid::from_raw(id)).expect("user");
    let program = std::env::current_exe().expect("own path");
    panic!("{}", std::process::Command::new(program).arg0("lre").exec());
}

//! The server, its listeners, its disk, its toolchains.
use super::Finding;
use crate::commands::{Context, block_on};
use crate::exit::Problem;
use crate::instance::Instance;
use crate::{disk, holdings, paths, pinned, ui};
use lre_store::BlobStore;
use lre_toolchain::{Toolchain, load_tree};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Below this much free disk, in bytes, builds will soon fail.
const FREE_BYTES_WANTED: u64 = 2_000_000_000;
/// Below this much, a captured toolchain does not fit.
const FREE_BYTES_MIN: u64 = 500_000_000;

/// Everything about the server of this configuration.
pub fn look(context: &Context) -> Vec<Finding> {
    let instance = Instance::running(&context.config.store);
    let mut findings = vec![server(context, instance.as_ref())];
    findings.extend(context.config.listen.map(|address| port(address, instance.as_ref())));
    findings.extend(context.config.socket.as_deref().map(socket));
    findings.push(token(&context.config.token_file));
    findings.push(free(&context.config.store));
    findings.extend(toolchains(context));
    findings
}

fn server(context: &Context, instance: Option<&Instance>) -> Finding {
    let endpoint = context.endpoint();
    match (block_on(context.connect()), instance) {
        (Ok(_), Some(i)) if i.version != env!("CARGO_PKG_VERSION") => Finding::warn(
            "server",
            format!("answers at {endpoint}, version {}; this is {}", i.version, env!("CARGO_PKG_VERSION")),
            "lre down && lre up",
        ),
        (Ok(_), _) => Finding::ok("server", format!("answers at {endpoint}")),
        (Err(problem), Some(_)) => Finding::fail("server", problem.to_string(), "lre logs; then lre down && lre up"),
        (Err(_), None) => Finding::ok("server", "not running (lre up)"),
    }
}

fn port(address: SocketAddr, instance: Option<&Instance>) -> Finding {
    if let Some(tcp) = instance.and_then(|i| i.tcp) {
        return Finding::ok("port", format!("{tcp}, our server listens"));
    }
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("port", format!("{address} is free")),
        Err(e) => Finding::fail(
            "port",
            format!("{address}: {e}"),
            format!(
                "see who has it: ss -ltnp 'sport = :{}'\nor take another: lre up --listen 127.0.0.1:0",
                address.port()
            ),
        ),
    }
}

fn socket(path: &Path) -> Finding {
    let length = path.as_os_str().len();
    let directory = path.parent().unwrap_or(Path::new("/"));
    let owner = std::fs::symlink_metadata(directory).map(|m| m.uid());
    match owner {
        Ok(owner) if owner != paths::uid() && owner != 0 => Finding::fail(
            "socket",
            format!("{} belongs to user {owner}, who could replace the socket", directory.display()),
            "choose another place: lre up --socket PATH",
        ),
        _ => Finding::ok("socket", format!("{} ({length} of {} bytes)", path.display(), paths::SOCKET_PATH_BYTES_MAX)),
    }
}

fn token(path: &Path) -> Finding {
    match std::fs::metadata(path) {
        Err(_) => Finding::ok("token", "made at the first start"),
        Ok(m) if m.mode() & 0o077 != 0 => Finding::fail(
            "token",
            format!("{} can be read by others (mode {:o})", path.display(), m.mode() & 0o777),
            format!("rm {}; then lre down && lre up", path.display()),
        ),
        Ok(_) => Finding::ok("token", format!("{}, private", path.display())),
    }
}

fn free(store: &Path) -> Finding {
    let usage = disk::usage(store, Duration::from_secs(2));
    let detail = format!("{} free, the store takes {}", ui::bytes(usage.free_bytes), ui::bytes(usage.bytes));
    let fix = format!("free some room, or move the store: lre up --store DIR (now {})", store.display());
    match usage.free_bytes {
        0..FREE_BYTES_MIN => Finding::fail("disk", detail, fix),
        FREE_BYTES_MIN..FREE_BYTES_WANTED => Finding::warn("disk", detail, fix),
        _ => Finding::ok("disk", detail),
    }
}

fn toolchains(context: &Context) -> Vec<Finding> {
    let all = match pinned::installed(context) {
        Ok(all) if all.is_empty() => {
            return vec![Finding::ok("toolchains", "none installed (lre toolchain add cc --from capture:/usr/bin/cc)")];
        }
        Ok(all) => all,
        Err(problem) => return vec![Finding::fail("toolchains", problem.to_string(), "update lre")],
    };
    let checked = block_on(async {
        let store = holdings::open(context).await?;
        let mut findings = Vec::new();
        for toolchain in &all {
            findings.push(present(&*store, toolchain).await);
        }
        Ok(findings)
    });
    let unseen = |problem: Problem| vec![Finding::warn("toolchains", problem.to_string(), "lre up; then again")];
    checked.unwrap_or_else(unseen)
}

async fn present(store: &dyn BlobStore, toolchain: &Toolchain) -> Finding {
    let what = format!("toolchain {}", toolchain.name);
    match load_tree(store, toolchain.digest).await {
        Ok((tree, _hold)) => {
            Finding::ok(what, format!("{}, {} files", ui::short(toolchain.digest), tree.files().len()))
        }
        Err(e) => Finding::fail(
            what,
            e.to_string(),
            format!("lre toolchain add {} --from {}", toolchain.name, toolchain.source),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level;

    #[test]
    fn a_port_that_is_taken_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(port(address, None).level, Level::Fail);
        let ours = Instance { tcp: Some(address), ..Instance::of_this_process() };
        assert_eq!(port(address, Some(&ours)).level, Level::Ok);
        drop(listener);
        assert_eq!(port(address, None).level, Level::Ok);
    }

    #[test]
    fn a_token_that_others_can_read_is_found() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert_eq!(token(&path).level, Level::Ok);
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(token(&path).level, Level::Fail);
    }
}

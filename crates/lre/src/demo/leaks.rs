//! An action that tries to get out. Each attempt succeeds outside the sandbox, which is checked, so
//! that "blocked" means something.
use super::build::text;
use crate::client::{ActionSpec, Client, Entry, Inputs, Options};
use crate::exit::{OrProblem, Problem};
use bytes::Bytes;
use lre_model::{Digest, DigestFunction, Platform};
use lre_store::BlobStore;
use lre_toolchain::Toolchain;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// What was tried, and whether it was blocked.
pub struct Attempt {
    /// In words.
    pub what: &'static str,
    /// The sandbox held.
    pub blocked: bool,
}

/// One line of the script for each attempt: `try NAME COMMAND` prints NAME and whether the command
/// succeeded. `tools` must succeed: an attempt that fails for want of `ls` would prove nothing.
const SCRIPT: &str = r#"
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name open"; else echo "$name blocked"; fi; }
connect() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }
others() { [ "$(ls /proc | grep -c '^[0-9]')" -gt 8 ]; }
write() { echo x >> "$1"; }
tools() { cat input.txt && ls . /proc/self && test -e input.txt && kill -0 $$ && uname -n && write own.txt; }
try tools tools
try file cat "$SECRET"
try list ls "$DIRECTORY"
try socket test -e "$SOCKET"
try network connect "$PORT"
try processes others
try signal kill -0 "$PID"
try toolchain write /usr/bin/env
try root write /outside
try name test "$(uname -n)" = "$HOST"
write input.txt
mkdir -p links && ln input.txt links/again && write links/again
chmod 777 input.txt; touch -d 2001-01-01 input.txt
(sleep 1000 <&- >&- 2>&- &)
"#;

/// What the names in the script mean.
const ATTEMPTS: [(&str, &str); 9] = [
    ("file", "read a file of the host"),
    ("list", "list a directory of the host"),
    ("socket", "see the server's socket"),
    ("network", "connect to a port of the host"),
    ("processes", "see other processes"),
    ("signal", "signal the server"),
    ("toolchain", "write to the toolchain"),
    ("root", "write outside the inputs"),
    ("name", "learn the host's name"),
];

/// Runs the attempts, and looks afterwards at what they tried to change.
///
/// # Errors
/// The action cannot be run, or an attempt does not even succeed outside, so that it proves nothing.
pub async fn probe(
    client: &Client,
    toolchain: &Toolchain,
    directory: &Path,
    socket: &Path,
) -> Result<Vec<Attempt>, Problem> {
    let secret = directory.join("secret.txt");
    std::fs::write(&secret, "for this machine only\n").or_problem("cannot write the bait")?;
    let bait = TcpListener::bind("127.0.0.1:0").or_problem("cannot listen on loopback")?;
    let address = bait.local_addr().or_problem("cannot listen on loopback")?;
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .or_problem("the bait cannot be reached from outside either")?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_problem("the host has no name")?;

    let input = Bytes::from_static(b"an input that must not change\n");
    let spec = ActionSpec {
        arguments: vec!["/bin/bash".to_owned(), "-c".to_owned(), SCRIPT.to_owned()],
        environment: BTreeMap::from([
            ("SECRET".to_owned(), secret.display().to_string()),
            ("DIRECTORY".to_owned(), directory.display().to_string()),
            ("SOCKET".to_owned(), socket.display().to_string()),
            ("PORT".to_owned(), address.port().to_string()),
            ("PID".to_owned(), std::process::id().to_string()),
            ("HOST".to_owned(), host.trim().to_owned()),
        ]),
        inputs: {
            let mut inputs = Inputs::default();
            inputs.add("input.txt", Entry::Bytes { content: input.clone(), executable: false })?;
            inputs
        },
        platform: Platform::new([toolchain.property()]),
        timeout: Some(Duration::from_secs(30)),
        do_not_cache: true,
        ..ActionSpec::default()
    };
    let prepared = client.prepare(spec).await?;
    let executed = client.run(&prepared, &Options::default()).await?;
    let stdout = text(client, executed.result.wire().stdout_digest.as_ref()).await?;
    if !stdout.lines().any(|line| line == "tools open") {
        return Err(Problem::error("the attempts to get out have not even the tools for it").why(stdout));
    }
    let blocked = |name: &str| stdout.lines().any(|line| line == format!("{name} blocked"));
    let mut attempts: Vec<_> = ATTEMPTS.iter().map(|(name, what)| Attempt { what, blocked: blocked(name) }).collect();
    attempts.push(Attempt { what: "change a stored blob", blocked: unchanged(client, &input).await? });
    let outlived = !executed.message.contains("killed");
    attempts.push(Attempt { what: "leave a process behind", blocked: !outlived });
    Ok(attempts)
}

async fn unchanged(client: &Client, input: &Bytes) -> Result<bool, Problem> {
    let digest = Digest::of(DigestFunction::Sha256, input);
    let stored = client.store().read(digest).await.or_problem("the input cannot be read back")?;
    Ok(stored.read_at(0, input.len() + 1).or_problem("the input cannot be read back")? == *input)
}

//! `lre up`: the server in the background.
use crate::args::UpArgs;
use crate::commands::{Context, Done, block_on, logs};
use crate::exit::{Exit, OrProblem, Problem};
use crate::instance::Instance;
use crate::ui;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a server may take until it answers: a store of a million blobs takes about one second.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// From this size on, in bytes, the log starts afresh and the old one is kept beside it.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Runs `lre up`.
///
/// # Errors
/// The server does not start, or one of another version runs.
pub fn run(args: &UpArgs, context: &Context) -> Done {
    let (instance, started) = ensure(context, args)?;
    if instance.version != env!("CARGO_PKG_VERSION") {
        return Err(Problem::new(Exit::Version, format!("a server of version {} runs", instance.version))
            .why(format!("this is version {}", env!("CARGO_PKG_VERSION")))
            .hint("lre down && lre up"));
    }
    if args.json {
        say!("{:#}", json!({ "schema_version": 1, "started": started, "server": instance }));
        return Ok(None);
    }
    let places =
        [instance.tcp.map(|a| a.to_string()), instance.socket.as_ref().map(|s| format!("unix:{}", s.display()))];
    let places: Vec<_> = places.into_iter().flatten().collect();
    let what = if started { "up".to_owned() } else { format!("already up {}", ui::span(instance.up_for())) };
    eprintln!("{what}  {}  sandbox {}", places.join("  "), instance.sandbox);
    Ok(None)
}

fn ensure(context: &Context, args: &UpArgs) -> Result<(Instance, bool), Problem> {
    if let Some(instance) = Instance::running(&context.config.store) {
        block_on(context.connect())?;
        return Ok((instance, false));
    }
    let log = Log::open(&context.paths.log())?;
    let mut child = spawn(context, args, &log)?;
    wait_until_ready(&mut child, &log)?;
    let instance = Instance::running(&context.config.store).ok_or_else(|| log.last_words())?;
    Ok((instance, true))
}

fn spawn(context: &Context, args: &UpArgs, log: &Log) -> Result<Child, Problem> {
    let log = log.file.try_clone().or_problem("cannot share the log")?;
    let mut command = Command::new(crate::machine::this_program()?);
    // What `ps` shows; the path is that of this very program, see there.
    command.arg0("lre").arg("serve").arg("--store").arg(&context.config.store);
    for (flag, value) in flags(args) {
        command.arg(flag).arg(value);
    }
    // In its own process group: Ctrl-C in this terminal is not meant for it.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
    command.spawn().or_problem("cannot start the server")
}

fn flags(args: &UpArgs) -> Vec<(&'static str, String)> {
    let server = args.server.clone();
    let pairs = [
        ("--listen", server.listen),
        ("--socket", server.socket),
        ("--store-bytes-max", server.store_bytes_max),
        ("--slots", server.slots.map(|n| n.to_string())),
        ("--default-toolchain", server.default_toolchain),
        ("--log", server.log),
    ];
    pairs.into_iter().filter_map(|(flag, value)| Some((flag, value?))).collect()
}

/// The log, and where in it this server begins.
struct Log {
    path: PathBuf,
    file: File,
    start: u64,
}

impl Log {
    fn open(path: &Path) -> Result<Self, Problem> {
        let open = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            if std::fs::metadata(path).is_ok_and(|m| m.len() > LOG_BYTES_MAX) {
                std::fs::rename(path, path.with_extension("log.old"))?;
            }
            // Command lines and paths stand in it.
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            Ok(Self { path: path.to_owned(), start: file.metadata()?.len(), file })
        };
        open().map_err(|e: std::io::Error| Problem::error(format!("cannot write the log {}", path.display())).why(e))
    }

    /// What the server said before it ended.
    fn last_words(&self) -> Problem {
        let said = logs::last_lines(&self.path, self.start, 12);
        Problem::error("the server did not start").why(said).hint("lre doctor")
    }
}

/// The server prints `ready` when it answers; if it fails, its stdout ends.
fn wait_until_ready(child: &mut Child, log: &Log) -> Result<(), Problem> {
    let Some(stdout) = child.stdout.take() else { return Err(log.last_words()) };
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let ready = BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line == "ready");
        // Nobody listens any more after a timeout.
        let _ = send.send(ready);
    });
    match receive.recv_timeout(START_TIMEOUT) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let code = child.wait().ok().and_then(|status| status.code());
            let exit = code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
            Err(log.last_words().exiting(exit.map_or(Exit::Error, Exit::Command)))
        }
        Err(_) => {
            let _ = child.kill();
            Err(log.last_words().why(format!("it was not ready after {} s", START_TIMEOUT.as_secs())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ServerFlags;

    #[test]
    fn the_server_gets_what_was_asked_for() {
        let server = ServerFlags { slots: Some(3), listen: Some("none".into()), ..ServerFlags::default() };
        assert_eq!(
            flags(&UpArgs { server, json: false }),
            [("--listen", "none".to_owned()), ("--slots", "3".to_owned())]
        );
    }

    #[test]
    fn a_server_that_ends_early_shows_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "of an earlier server\n").unwrap();
        let log = Log::open(&path).unwrap();
        std::fs::write(&path, "of an earlier server\nerror: the port is taken\n").unwrap();
        let mut child = Command::new("sh").args(["-c", "echo no; exit 30"]).stdout(Stdio::piped()).spawn().unwrap();
        let problem = wait_until_ready(&mut child, &log).unwrap_err();
        assert_eq!(problem.exit().code(), 30);
        let text = problem.to_string();
        assert!(text.contains("the port is taken") && !text.contains("earlier"), "{text}");
    }

    #[test]
    fn a_long_log_starts_afresh() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("serve.log");
        File::create(&log).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        assert_eq!(Log::open(&log).unwrap().start, 0);
        assert!(dir.path().join("serve.log.old").exists());
    }
}

//! BuildBox's programs that follow output while it is made: `trexe --stream-logs`, `outputstreamer`, `logstreamtail`.
use lre_e2e::serve::{PATIENCE, said};
use lre_e2e::site::Site;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc;

/// A program that runs, with its lines as they come; killed when it is dropped.
struct Runs {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Runs {
    fn start(site: &Site, program: &str, arguments: &[&str], read: fn(&mut Child) -> Box<dyn Read + Send>) -> Self {
        let mut command = site.buildbox.command(program);
        command.arg(format!("--remote={}", site.unix())).args(arguments).current_dir(site.home.work());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let from = read(&mut child);
        let (told, lines) = mpsc::channel();
        // Ends with the program.
        std::thread::spawn(move || {
            BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| told.send(line))
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stdout(child: &mut Child) -> Box<dyn Read + Send> {
    Box::new(child.stdout.take().unwrap())
}

fn stderr(child: &mut Child) -> Box<dyn Read + Send> {
    Box::new(child.stderr.take().unwrap())
}

/// PROTOCOL 66: `trexe --stream-logs` shows what a command says while it runs, each stream on its own, and nothing twice.
#[test]
fn trexe_shows_output_while_the_command_runs() {
    let site = Site::with_tools("").unwrap();
    let platform = format!("--platform-properties={}", site.toolchain);
    // So much that trexe, which collects what it prints into a pipe, prints it.
    let endless = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; while :; do :; done";
    let arguments = [&platform, "--stream-logs", "--wait", "--", "sh", "-c", endless];
    let trexe = Runs::start(&site, "trexe", &arguments, stdout);
    assert_eq!((trexe.line().as_str(), trexe.line().as_str()), ("line 0", "line 1"));
    drop(trexe);
    let output = site.trexe(&["--stream-logs", "--wait"], &["sh", "-c", "echo out; echo err >&2"]).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
}

/// PROTOCOL 87: what `outputstreamer` writes to a log that it has made, `logstreamtail` reads as it is written, and both
/// end with it.
#[test]
fn a_log_is_written_and_followed() {
    let site = Site::with_tools("").unwrap();
    let mut writer = Runs::start(&site, "outputstreamer", &["--resource-parent=p", "--log-level=info"], stderr);
    let name = loop {
        let line = writer.line();
        if let Some((_, rest)) = line.split_once("[name=") {
            break rest.split(',').next().unwrap().to_owned();
        }
    };
    assert!(name.starts_with("p/logstreams/"), "{name}");
    let mut reader = Runs::start(&site, "logstreamtail", &[&format!("--resource-name={name}")], stdout);
    let mut stdin = writer.child.stdin.take().unwrap();
    for line in ["one", "two"] {
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
        assert_eq!(reader.line(), line);
    }
    drop(stdin);
    assert!(writer.child.wait().unwrap().success() && reader.child.wait().unwrap().success());
}

//! With the real kernel, in the namespaces of the test; in those of a sandbox: tests/kernel.
use super::*;

fn text(s: &str) -> CString {
    CString::new(s).expect("no NUL")
}

fn exec(arguments: &[&str]) -> Exec {
    let here = std::env::current_dir().expect("working directory");
    Exec {
        arguments: arguments.iter().map(|a| text(a)).collect(),
        environment: vec![text("PATH=/usr/bin:/bin"), text("LC_ALL=C")],
        directory: CString::new(here.as_os_str().as_bytes()).expect("no NUL"),
    }
}

/// Runs a command to its end: how wait(2) says it ended, and what it wanted.
fn observed(arguments: &[&str]) -> (i32, Vec<String>) {
    match start(&exec(arguments), None, vec![text("/proc")]) {
        Ok((pid, mut observer)) => {
            loop {
                let mut files = [PollFd::from_borrowed_fd(observer.as_fd(), PollFlags::IN)];
                poll(&mut files, None).expect("poll");
                if !observer.handle_one() {
                    break;
                }
            }
            let status = sys::wait(pid, true).expect("it is our child").status;
            (status, texts(observer.into_wanted()))
        }
        Err(NotStarted::Refused(refusal, wanted)) => (refusal.code << 8, texts(wanted)),
        Err(NotStarted::Unobservable(errno)) => panic!("cannot observe here: {errno}"),
    }
}

fn texts(wanted: Vec<Wanted>) -> Vec<String> {
    let text = |wanted| match wanted {
        Wanted::Path(path) => path.to_string_lossy().into_owned(),
        Wanted::Listed(path) => format!("list {}", path.to_string_lossy()),
        Wanted::Network(address) => format!("call {address}"),
    };
    wanted.into_iter().map(text).collect()
}

fn has(wanted: &[String], what: &str) -> bool {
    wanted.iter().any(|w| w == what)
}

#[test]
fn what_a_shell_and_its_children_do_not_find_is_seen() {
    let script = "cat /no/such/file; (cd / && cat no/relative/one) & wait; test -e /no/test; no-such-program; \
                  ls /no/directory; cd /no/place; cat /proc/none; exit 3";
    let (status, wanted) = observed(&["sh", "-c", script]);
    assert_eq!(libc::WEXITSTATUS(status), 3);
    for path in
        ["/no/such/file", "/no/relative/one", "/no/test", "/usr/bin/no-such-program", "/no/directory", "/no/place"]
    {
        assert!(has(&wanted, path), "{path}: {wanted:?}");
    }
    assert!(!has(&wanted, "/proc/none"), "{wanted:?}");
    let (_, wanted) = observed(&["ls", "/usr"]);
    assert!(has(&wanted, "list /usr"), "{wanted:?}");
    // It is in one of the two directories of PATH, so it was not missed in the other.
    assert!(!wanted.iter().any(|w| w.ends_with("/cat") || w.ends_with("/ls")), "{wanted:?}");
}

/// A file that is made is not missed; what is sent to is seen, what is only written is not.
#[test]
fn making_files_is_no_want() {
    let dir = tempfile::tempdir().expect("directory");
    let made = dir.path().join("made");
    let (status, wanted) = observed(&["sh", "-c", &format!("echo x > {0} && cat {0}", made.display())]);
    assert_eq!((status, has(&wanted, made.to_str().expect("plain"))), (0, false), "{wanted:?}");
}

#[test]
fn programs_that_cannot_start_say_what_is_missing() {
    let dir = tempfile::tempdir().expect("directory");
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter -x\n").expect("script");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let script = script.to_str().expect("plain");
    let (status, wanted) = observed(&[script]);
    assert_eq!((libc::WEXITSTATUS(status), wanted), (126, vec!["/no/such/interpreter".to_owned()]));
    let (_, wanted) = observed(&["sh", "-c", script]);
    assert!(has(&wanted, "/no/such/interpreter"), "{wanted:?}");
    assert_eq!(observed(&["/no/such/program"]), (127 << 8, vec!["/no/such/program".to_owned()]));
    let both = ["/usr/bin/no-such-program".to_owned(), "/bin/no-such-program".to_owned()].to_vec();
    assert_eq!(observed(&["no-such-program"]), (127 << 8, both));
    assert_eq!(observed(&[]).0, 127 << 8);
}

/// Nothing of the observation is left for the command: no descriptor of it, no blocked signal.
#[test]
fn the_listener_does_not_reach_the_command() {
    let dir = tempfile::tempdir().expect("directory");
    let out = dir.path().join("out");
    let script = format!(
        "ls -l /proc/$$/fd > {0}; grep -E 'Sig(Blk|Ign)|NoNewPrivs' /proc/$$/status >> {0}; (exit 4); exit $?",
        out.display()
    );
    let (status, _) = observed(&["sh", "-c", &script]);
    assert_eq!(libc::WEXITSTATUS(status), 4);
    let said = std::fs::read_to_string(out).expect("output");
    assert!(said.ends_with("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nNoNewPrivs:\t1\n"), "{said}");
    assert!(!said.contains("seccomp"), "{said}");
}

#[test]
fn addresses_are_read() {
    let inet = [&[2, 0, 1, 187, 93, 184, 216, 34][..], &[0; 8]].concat();
    assert_eq!(whom(&inet), Some(Whom::Far("93.184.216.34:443".to_owned())));
    let mut inet6 = [0; 28];
    inet6[..4].copy_from_slice(&[10, 0, 0, 80]);
    inet6[23] = 1;
    assert_eq!(whom(&inet6), Some(Whom::Far("[::1]:80".to_owned())));
    assert_eq!(whom(b"\x01\0/run/x.sock\0more"), Some(Whom::Here(b"/run/x.sock".to_vec())));
    assert_eq!(whom(b"\x01\0\0name"), Some(Whom::Far("@name".to_owned())));
    for nobody in [&[][..], &[2], &[2, 0, 1], &[10, 0, 1, 1, 0], &[1, 0], &[16, 0, 0, 0]] {
        assert_eq!(whom(nobody), None, "{nobody:?}");
    }
}

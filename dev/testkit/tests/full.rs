//! A store on a full disk.
//!
//! The disk is a small tmpfs in a user and mount namespace of its own, so no root is needed. Where such
//! namespaces cannot be had the test says so loudly, and fails where it must not be skipped.
use std::process::Command;

fn must_work() -> bool {
    ["CI", "LRE_KERNEL_MUST_WORK"].iter().any(|name| std::env::var(name).is_ok_and(|v| v == "1" || v == "true"))
}

/// Runs the script as root of namespaces of its own.
fn unshared(script: &str, arguments: &[&str]) -> std::io::Result<std::process::Output> {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh"])
        .args(arguments)
        .output()
}

fn on_tmpfs(options: &str, of: &str) {
    match unshared("mount -t tmpfs tmpfs /mnt", &[]) {
        Ok(output) if output.status.success() => {}
        other => {
            let why = format!("no tmpfs in a user namespace here: {other:?}");
            assert!(!must_work(), "{why}");
            eprintln!("\n*** NOT TESTED: a full disk. {why} ***\n");
            return;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o "$1" tmpfs "$2"; exec "$3" fill "$2" "$4""#;
    let writer = env!("CARGO_BIN_EXE_store-writer");
    let output = unshared(script, &[options, dir.path().to_str().unwrap(), writer, of]).unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{options}: {said}{complained}");
    println!("{options}: {said}");
}

#[test]
fn no_bytes_left() {
    on_tmpfs("size=3m", "bytes");
}

#[test]
fn no_inodes_left() {
    on_tmpfs("size=64m,nr_inodes=150", "inodes");
}

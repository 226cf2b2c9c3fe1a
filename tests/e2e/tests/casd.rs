//! buildbox-casd as a caching proxy in front of `lre serve`: storage, action cache and execution go through it, of two
//! versions of it. recc through it is in recc.rs.
use lre_e2e::buildbox::{grpcurl, static_casd};
use lre_e2e::packages::sha256_of;
use lre_e2e::serve::said;
use lre_e2e::site::{Casd, Site};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn debians() {
    let site = Site::with_tools("").unwrap();
    let (program, server) = (site.buildbox.command("buildbox-casd"), site.unix());
    whole_story(site, program, &server);
}

#[test]
fn the_static_one() {
    let site = Site::with_tools("").unwrap();
    let server = site.http();
    whole_story(site, Command::new(static_casd().unwrap()), &server);
}

/// PROTOCOL 8: a gRPC C++ library of today, which gives the path of a socket as the host.
#[test]
fn the_static_one_over_the_socket() {
    let site = Site::with_tools("").unwrap();
    let server = site.unix();
    whole_story(site, Command::new(static_casd().unwrap()), &server);
}

/// PROTOCOL 5, 9, 27, 30, 35, 40, 43, 46, 48, 52, 60: what goes up through the proxy is on the server, what the server has
/// comes down through it, actions run on the server and are known afterwards on both sides; and without the server its
/// user reads that nobody answers.
fn whole_story(site: Site, program: Command, server: &str) {
    let casd = Casd::start(program, server, &site.home.path().join("casd")).unwrap();
    let proxy = casd.unix();
    site.home.write("tree/small", "text\n").unwrap();
    let large: Vec<u8> = (0..1_500_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(site.home.work().join("tree/large"), &large).unwrap();

    // Up by one way, down by the other.
    for (turn, (up, down)) in [(proxy.clone(), site.unix()), (site.unix(), proxy.clone())].iter().enumerate() {
        let (file, got) = (site.path(&format!("digest{turn}")), site.path(&format!("got{turn}")));
        site.home.write("tree/turn", &turn.to_string()).unwrap();
        let up = site.client_of(up, "casupload", &[&format!("--output-digest-file={file}"), "tree"]).unwrap();
        assert!(up.status.success(), "{}", said(&up));
        let digest = fs::read_to_string(&file).unwrap();
        let flags = [format!("--root-digest={}", digest.trim()), format!("--destination-dir={got}")];
        let down = site.client_of(down, "casdownload", &[&flags[0], &flags[1]]).unwrap();
        assert!(down.status.success(), "{}", said(&down));
        assert_eq!(fs::read(site.home.path().join(format!("got{turn}/large"))).unwrap(), large);
        assert_eq!(fs::read_to_string(site.home.path().join(format!("got{turn}/turn"))).unwrap(), turn.to_string());
    }

    let run = |remote: &str, script: &str| site.trexe_of(remote, &[], &["sh", "-c", script]).unwrap();
    // Unlike each time: when it was, in nanoseconds.
    let when = "touch f; ls --full-time f";
    let first = run(&proxy, when);
    assert!(first.status.success(), "{}", said(&first));
    assert_eq!(run(&proxy, when).stdout, first.stdout, "the proxy knows the result");
    assert_eq!(run(&site.unix(), when).stdout, first.stdout, "and so does the server");
    let failed = run(&proxy, "echo err >&2; exit 3");
    assert_eq!((failed.status.code(), said(&failed)), (Some(3), "err\n".to_owned()));

    let toolchain = ["--platform-properties=lre-rootfs=00/1", "--", "sh"];
    let refused = site.client_of(&proxy, "trexe", &toolchain).unwrap();
    assert!(said(&refused).contains("no toolchain `00/1` is installed"), "{}", said(&refused));

    assert!(site.server.terminate().unwrap().success());
    let mut trexe = site.buildbox.command("trexe");
    trexe.args([format!("--remote={proxy}"), "--retry-limit=0".to_owned()]).args(["--", "nobody", "there"]);
    let alone = trexe.output().unwrap();
    assert!(!alone.status.success());
    assert!(said(&alone).contains("14: failed to connect to all addresses"), "{}", said(&alone));
}

/// What of casd's own protocol is needed to have blobs moved: between its cache, which the instance `local` fills, and the
/// server, in front of which the instance `main` is.
const LOCAL_CAS: &str = r#"
syntax = "proto3";
package build.buildgrid;
message Digest { string hash = 1; int64 size_bytes = 2; }
message Blobs { string instance_name = 1; repeated Digest blob_digests = 2; }
message Status { int32 code = 1; string message = 2; }
message Moved { message One { Digest digest = 1; Status status = 2; } repeated One responses = 1; }
service LocalContentAddressableStorage {
  rpc FetchMissingBlobs(Blobs) returns (Moved);
  rpc UploadMissingBlobs(Blobs) returns (Moved);
}
"#;

const LARGE_BYTES: usize = 12_000_000;

/// PROTOCOL 18, 85: a client that we did not write cuts as we do. Of a large blob that changed in one place it uploads the
/// chunks that are new and has the server put it together (SpliceBlob), and downloads what it has not got (SplitBlob).
#[test]
fn of_what_changed_a_little_little_travels() {
    let site = Site::with_tools("").unwrap();
    let proxy = |name: &str| {
        let mut program = Command::new(static_casd().unwrap());
        program.args(["--proxy-instance=main", "--enable-chunking-for-instance=main", "--local-server-instance=local"]);
        Casd::start(program, &site.unix(), &site.home.path().join(name)).unwrap()
    };
    site.home.write("local-cas.proto", LOCAL_CAS).unwrap();
    let (near, far) = (proxy("near"), proxy("far"));
    let blobs = |folder: &str| files_below(&site.home.path().join(folder));
    let mut content = noise(LARGE_BYTES);
    for turn in 0..3 {
        content[5_000_000 + turn] ^= 0xff;
        let file = site.home.work().join("large");
        fs::write(&file, &content).unwrap();
        let hash = sha256_of(&file).unwrap();
        let up = site.client_of(&near.unix(), "casupload", &["--instance=local", "large"]).unwrap();
        assert!(up.status.success(), "{}", said(&up));
        let (server, cache) = (blobs("store/blobs"), blobs("far/cache/cas/objects"));
        moved(&site, &near, "UploadMissingBlobs", &hash);
        moved(&site, &far, "FetchMissingBlobs", &hash);
        let (uploaded, fetched) = (blobs("store/blobs") - server, blobs("far/cache/cas/objects") - cache);
        // The blob itself, and its chunks: of 12 MB some 24, of one change the one that it is in, or what it made of two.
        let expected = if turn == 0 { 8..=100 } else { 2..=5 };
        assert!(expected.contains(&uploaded), "turn {turn}: {uploaded} blobs more on the server");
        assert!(expected.contains(&fetched), "turn {turn}: {fetched} blobs more in the cache");
    }
}

fn moved(site: &Site, casd: &Casd, call: &str, hash: &str) {
    let digest = format!(r#"{{"hash": "{hash}", "size_bytes": {LARGE_BYTES}}}"#);
    let request = format!(r#"-d={{"instance_name": "main", "blob_digests": [{digest}]}}"#);
    let mut command = Command::new(grpcurl().unwrap());
    command.args(["-plaintext", "-unix", "-authority=localhost", "-proto=local-cas.proto", &request]);
    command.arg(casd.unix().trim_start_matches("unix:"));
    command.arg(format!("build.buildgrid.LocalContentAddressableStorage/{call}")).current_dir(site.home.work());
    let answer = command.output().unwrap();
    assert!(answer.status.success() && !said(&answer).contains("message"), "{call}: {}", said(&answer));
}

/// Bytes without a pattern (xorshift), the same in each run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

fn files_below(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let entries = entries.map(|entry| entry.unwrap());
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

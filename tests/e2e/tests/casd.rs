//! buildbox-casd as a caching proxy in front of `lre serve`: storage, action cache and execution go through it, of two
//! versions of it. recc through it is in recc.rs.
use lre_e2e::buildbox::static_casd;
use lre_e2e::serve::said;
use lre_e2e::site::{Casd, Site};
use std::fs;
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

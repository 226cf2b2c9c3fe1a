//! The guides do what they say: their commands are run word for word.
use lre_e2e::bazel::{self, Version};
use lre_e2e::guide::{self, Reader};
use lre_e2e::makers;
use lre_e2e::nix::Nix;
use lre_e2e::packages::Packages;
use lre_e2e::serve::said;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

#[test]
fn bazel_without_nix() {
    let reader = Reader::new().unwrap();
    reader.has_bazel(Version::V7).unwrap();
    let said = reader.follow("bazel.md").unwrap();
    assert!(said.contains(" remote"), "{said}");
    assert!(said.contains("remote cache hit"), "{said}");
    assert!(said.contains("all files are as lre.lock says"), "{said}");
}

#[test]
fn a_toolchain_of_your_own() {
    let reader = Reader::new().unwrap();
    reader.has_bazel(Version::V7).unwrap();
    let said = reader.follow("custom-toolchain.md").unwrap();
    assert!(said.lines().any(|line| line == "green"), "{said}");
    assert!(said.contains(" remote"), "{said}");
}

/// Nix, Bazel and the page's shell are in one jail; `$LRE` is this checkout, its inputs are stand-ins.
#[test]
fn bazel_with_nix() {
    let nix = Nix::of("bazel-7").unwrap().with_compiler().unwrap();
    nix.lock().unwrap();
    let home = nix.path().join("home");
    bazel::write_stubs(&home).unwrap();
    bazel::program(Version::V7, &home, nix.path()).unwrap();
    let lre = format!("path:{}", nix.flake("lre").display());
    let script = guide::script("nix.md").unwrap();
    // A server that the shell has started in the background ends with it.
    let script = format!("trap 'nix develop path:. -c lre down' EXIT\n{script}");
    let mut command = nix.command(nix.path(), "bash", &["-euo", "pipefail", "-c", &script]);
    command.env("LRE", lre).env("LRE_STORE", nix.path().join("store")).env("LRE_SOCKET", nix.path().join("re.sock"));
    let output = command.env("LRE_LISTEN", free_address()).env("USER", "somebody").output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("built in a sandbox, with a pinned compiler"), "{said}");
    assert!(said.contains(" remote") && said.contains("all files are as lre.lock says"), "{said}");
}

/// A port that nobody had a moment ago: the project's files name it before the server has it.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// CMake and ninja see no compiler but the one of the page.
#[test]
fn cmake() {
    let reader = Reader::new().unwrap();
    reader.has("cmake", &makers::program("cmake", reader.home.path()).unwrap()).unwrap();
    let said = reader.follow("cmake.md").unwrap();
    assert!(said.contains("hello from a sandbox"), "{said}");
    assert!(said.contains("       1  compile hit\n       1  local hit\n"), "{said}");
    assert!(!said.contains("compile ran") && !said.contains("local ran"), "{said}");
}

#[test]
fn an_image() {
    let reader = Reader::new().unwrap();
    let image = reader.home.path().join("image.tar");
    write_image(&image);
    // What an engine's `save` leaves. There is no engine here.
    let docker = format!("#!/bin/sh\n[ \"$1 $2 $4\" = 'save -o team/build:1' ] && ln {} \"$3\"\n", image.display());
    reader.has("docker", &docker).unwrap();
    let said = reader.follow("oci.md").unwrap();
    assert!(said.contains("the compiler of the image, without the image"), "{said}");
}

/// A docker-archive of Debian's gcc: a layer of packages, and one that an image's author added.
fn write_image(file: &Path) {
    let packages = Packages::of_this_checkout("toolchains-all").ready().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("added/usr/bin")).unwrap();
    symlink("gcc", at("added/usr/bin/cc")).unwrap();
    // Without the other languages of that set.
    let without =
        ["usr/lib/jvm", "usr/lib/rustlib", "*/libLLVM*", "*/librustc*"].map(|path| format!("--exclude={path}"));
    let from = ["-C", packages.path().to_str().unwrap(), "-cf", &at("1.tar").to_string_lossy(), "."].map(str::to_owned);
    tar(&without.iter().chain(&from).map(String::as_str).collect::<Vec<_>>());
    tar(&["-C", at("added").to_str().unwrap(), "-cf", at("2.tar").to_str().unwrap(), "."]);
    let sha256 = |name: &str| {
        let output = Command::new("sha256sum").arg(at(name)).output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/usr/bin:/bin"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}","sha256:{}"]}}}}"#,
        sha256("1.tar"),
        sha256("2.tar")
    );
    fs::write(at("config.json"), config).unwrap();
    let manifest = r#"[{"Config":"config.json","RepoTags":["team/build:1"],"Layers":["1.tar","2.tar"]}]"#;
    fs::write(at("manifest.json"), manifest).unwrap();
    let names = ["manifest.json", "config.json", "1.tar", "2.tar"];
    let to = [file.to_str().unwrap()];
    tar(&[&["-C", folder.path().to_str().unwrap(), "-cf"][..], &to, &names].concat());
}

fn tar(arguments: &[&str]) {
    assert!(Command::new("tar").args(arguments).status().unwrap().success(), "tar {}", arguments.join(" "));
}

//! The files of every client, compared with what is kept under `golden/clients`. `UPDATE=1` rewrites.
mod kept;
#[expect(dead_code, reason = "the other tests have more toolchains")]
mod toolchains;

use kept::check;
use lre_clientgen::{Addresses, Client, Options, Unsuitable};
use lre_toolchain::LockFile;
use std::collections::BTreeMap;
use toolchains::{clang_tree, codegen, gcc, jdk_tree, rust_tree};

fn locks() -> [(&'static str, LockFile); 3] {
    let lock = |all: &[lre_toolchain::Locked]| {
        let mut lock = LockFile::default();
        all.iter().for_each(|locked| lock.put(locked.clone()));
        lock
    };
    [
        ("gcc", lock(&[gcc()])),
        ("clang", lock(&[clang_tree()])),
        ("composed", lock(&[gcc(), jdk_tree(), rust_tree(), codegen()])),
    ]
}

fn options() -> Options {
    Options { prefix: Some("lre".to_owned()), ..Options::default() }
}

fn somewhere() -> Addresses {
    Addresses {
        tcp: Some("127.0.0.1:50051".to_owned()),
        unix: Some("/run/user/1000/lre/re.sock".to_owned()),
        token: None,
        workspace: "/srv/project".to_owned(),
    }
}

#[test]
fn every_client_has_its_files() {
    // Bazel's are many, and have golden folders of their own.
    for client in Client::ALL.into_iter().filter(|client| *client != Client::Bazel) {
        for (name, lock) in locks() {
            let files = client.files(&lock, &options()).unwrap();
            if !files.is_empty() {
                check(&format!("clients/{client}/{name}"), &files);
            }
        }
        let Some(file) = client.local_file() else { continue };
        let mut local = BTreeMap::new();
        for (name, token) in [("own", None), ("token", Some("secret".to_owned()))] {
            let text = client.local(&Addresses { token, ..somewhere() }, &options()).unwrap();
            local.insert(format!("{name}/{file}"), text);
        }
        check(&format!("clients/{client}/local"), &local);
    }
}

/// PROTOCOL 8: a Unix socket and loopback TCP; each client is told the one that it can speak to.
#[test]
fn each_client_gets_an_address_that_it_can_speak_to() {
    let unix_only = Addresses { tcp: None, ..somewhere() };
    let tcp_only = Addresses { unix: None, ..somewhere() };
    let with = || Client::ALL.into_iter().filter(|client| client.local_file().is_some());
    for client in with() {
        let text = client.local(&tcp_only, &options()).unwrap();
        assert!(text.contains("127.0.0.1:50051") && !text.contains("unix:"), "{client}: {text}");
        match client.local(&unix_only, &options()) {
            Ok(text) => assert!(text.contains("unix:/run/user/1000/lre/re.sock"), "{client}: {text}"),
            Err(refused) => {
                assert_eq!(refused, Unsuitable::NoTcp(client.name()));
                assert!(refused.to_string().contains("set `listen`"), "{refused}");
            }
        }
    }
    let nowhere = Addresses { tcp: None, unix: None, ..somewhere() };
    assert!(with().all(|client| client.local(&nowhere, &options()).is_err()));
}

/// Addresses are for one user and one machine; digests are for everybody.
#[test]
fn what_is_committed_and_what_is_local_are_apart() {
    for client in Client::ALL {
        for (_, lock) in locks() {
            let files = client.files(&lock, &options()).unwrap();
            assert!(client.local_file().is_none_or(|local| !files.contains_key(local)), "{client}");
            assert!(files.is_empty() || files.contains_key(client.mark()), "{client} leaves its mark");
            for (path, text) in &files {
                assert!(!text.contains("127.0.0.1") && !text.contains("/srv/"), "{path}");
                // Bazel's module has constant files, too.
                if client != Client::Bazel {
                    assert!(text.contains("Generated from lre.lock; do not edit."), "{path}");
                    assert!(lock.toolchains().iter().any(|t| text.contains(&t.digest.to_string())), "{path}");
                }
            }
        }
        if client.local_file().is_none() {
            continue;
        }
        let local = client.local(&somewhere(), &options()).unwrap();
        assert!(local.contains("do not commit"), "{client}");
        assert!(locks().iter().all(|(_, lock)| !local.contains(&lock.toolchains()[0].digest.to_string())), "{client}");
    }
}

#[test]
fn clients_are_known_by_their_names() {
    for client in Client::ALL {
        assert_eq!(client.name().parse(), Ok(client));
        assert!(client.import().is_none_or(|import| import.line.contains(import.known_by)), "{client}");
    }
    let names: Vec<_> = Client::ALL.iter().map(|client| client.name()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!("scons".parse::<Client>(), Err(Unsuitable::NoClient("scons".to_owned())));
}

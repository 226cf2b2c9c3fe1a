//! Archives made by other programs, and hostile ones.
use super::super::http::server::{Reply, Server};
use super::super::samples::{World, gzip, tar, xz, zst};
use super::*;
use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, ZipWriter};
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;

#[test]
fn archives_are_read_and_written() {
    let hex = Sha256::of(b"x").to_string();
    for (written, shown) in [
        ("a.tar", "a.tar".to_owned()),
        ("/a/b.tar.xz#", "/a/b.tar.xz".to_owned()),
        (&*format!("a.tar#{hex}"), format!("a.tar#sha256={hex}")),
        (&*format!("a.tar#sha256:{}", hex.to_uppercase()), format!("a.tar#sha256={hex}")),
        (&*format!("https://h/a.whl#top=x/y,sha256={hex}"), format!("https://h/a.whl#sha256={hex},top=x/y")),
        ("a#b.tar#", "a#b.tar#".to_owned()),
    ] {
        let archive: Archive = written.parse().unwrap();
        assert_eq!(archive.to_string(), shown);
        assert_eq!(shown.parse::<Archive>().unwrap(), archive);
    }
    for (bad, problem) in [
        ("", "no file"),
        ("a.tar#sha256=12", "64 hexadecimal digits"),
        ("a.tar#md5=12", "`md5`"),
        ("a#b.tar", "64 hexadecimal digits"),
        ("ftp://h/a.tar", "http://"),
        ("https://", "not an address"),
    ] {
        assert!(bad.parse::<Archive>().unwrap_err().contains(problem), "{bad}");
    }
}

/// What Info-ZIP does with a directory.
fn zipped(from: &Path) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut left = vec![from.to_owned()];
    while let Some(directory) = left.pop() {
        for child in fs::read_dir(directory).unwrap() {
            let path = child.unwrap().path();
            let name = path.strip_prefix(from).unwrap().to_str().unwrap();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let options = SimpleFileOptions::default().unix_permissions(metadata.permissions().mode());
            if metadata.is_symlink() {
                zip.add_symlink(name, fs::read_link(&path).unwrap().to_str().unwrap(), options).unwrap();
            } else if metadata.is_dir() {
                zip.add_directory(name, options).unwrap();
                left.push(path);
            } else {
                zip.start_file(name, options).unwrap();
                zip.write_all(&fs::read(&path).unwrap()).unwrap();
            }
        }
    }
    zip.finish().unwrap().into_inner()
}

#[tokio::test]
async fn every_way_of_packing_gives_one_tree() {
    let world = World::new();
    let (tree, expected) = world.sample().await;
    let plain = tar(&tree, &[]);
    for (name, bytes) in [
        ("gnu.tar", plain.clone()),
        ("pax.tar", tar(&tree, &["--format=pax"])),
        ("reversed.tar", tar(&tree, &["--sort=name", "--format=gnu", "--owner=7", "--mtime=@0"])),
        ("renamed.tar.gz", gzip(&plain)),
        ("a.tar.xz", xz(&plain)),
        ("a.tar.zst", zst(&plain)),
        ("top.tar", tar(&tree, &["--transform=flags=rh;s,^[.],gcc-1.2,"])),
        ("a.whl", zipped(&tree)),
    ] {
        fs::write(world.at(name), &bytes).unwrap();
        let source = format!("archive:{}", world.at(name).display());
        let added = world.add(Kind::Tree, &source).await.unwrap();
        assert_eq!(added.toolchain.digest, expected, "{name}");
        assert_eq!(added.toolchain.source, format!("{source}#sha256={}", Sha256::of(&bytes)));
        assert!(added.toolchain.tools["cc"].ends_with("/bin/cc"));
        let said: Vec<_> = added.imported.warnings.iter().map(ToString::to_string).collect();
        let said: Vec<_> = said.iter().filter(|w| w.contains("`gcc-1.2`")).collect();
        assert_eq!(said.len(), usize::from(name == "top.tar"), "{said:?}");
        // What is in the lock gives the same again.
        let again = world.add(Kind::Rootfs, &added.toolchain.source).await.unwrap();
        assert_eq!(again.toolchain.digest, expected, "{name}");
    }
    // The sparse way of GNU; a file with a hole in it.
    let holes = world.at("holes");
    fs::create_dir(&holes).unwrap();
    fs::File::create(holes.join("hole")).unwrap().set_len(1 << 20).unwrap();
    fs::write(world.at("holes.tar"), tar(&holes, &["-S", "--format=gnu"])).unwrap();
    let source = format!("archive:{}", world.at("holes.tar").display());
    let sparse = world.add(Kind::Tree, &source).await.unwrap();
    let directory = world.add(Kind::Tree, &format!("dir:{}", holes.display())).await.unwrap();
    assert_eq!(sparse.toolchain.digest, directory.toolchain.digest);
}

#[tokio::test]
async fn the_top_is_chosen_and_said() {
    let world = World::new();
    let (tree, whole) = world.sample().await;
    let wrapped = world.at("wrapped");
    fs::create_dir_all(wrapped.join("usr")).unwrap();
    fs::rename(&tree, wrapped.join("usr/local")).unwrap();
    fs::write(world.at("a.tar"), tar(&wrapped, &[])).unwrap();
    let file = world.at("a.tar").display().to_string();
    // `usr` is no version's name.
    let all = world.add(Kind::Rootfs, &format!("archive:{file}")).await.unwrap().toolchain;
    let below = world.add(Kind::Tree, &format!("archive:{file}#top=usr/local")).await.unwrap().toolchain;
    assert!(all.digest != whole && below.digest == whole);
    assert!(below.source.ends_with(",top=usr/local"), "{}", below.source);
    for (top, problem) in
        [("usr/lokal", "no directory `usr/lokal`"), ("usr/local/bin/cc", "no directory"), ("../x", "leaves")]
    {
        let refused = world.refused(Kind::Tree, &format!("archive:{file}#top={top}")).await;
        assert!(refused.contains(problem), "{refused}");
    }
    fs::rename(wrapped.join("usr"), wrapped.join("v1")).unwrap();
    fs::write(world.at("b.tar"), tar(&wrapped, &[])).unwrap();
    let kept = world.add(Kind::Tree, &format!("archive:{}#top=.", world.at("b.tar").display())).await.unwrap();
    assert!(kept.toolchain.tools.is_empty() && kept.imported.warnings.is_empty());
}

#[tokio::test]
async fn an_address_is_pinned_by_the_user_and_told_how() {
    let world = World::new();
    let (tree, expected) = world.sample().await;
    let bytes = gzip(&tar(&tree, &[]));
    let sent = bytes.clone();
    let server = Server::new(move |asked| Reply::ranged(asked, &sent));
    let url = format!("archive:{}", server.url("/gcc.tgz?token=1"));
    let refused = world.refused(Kind::Tree, &url).await;
    let pinned = format!("{url}#sha256={}", Sha256::of(&bytes));
    assert!(refused.contains(&pinned), "{refused}");
    // What was fetched to say so is not fetched again.
    let added = world.add(Kind::Tree, &pinned).await.unwrap();
    assert_eq!((added.toolchain.digest, &added.toolchain.source), (expected, &pinned));
    assert_eq!(server.asked().len(), 1);
    assert_eq!(fs::read_dir(world.at("access/downloads")).unwrap().count(), 0, "what is imported is not kept");
    // And what was brought before is not brought again.
    world.add(Kind::Tree, &pinned).await.unwrap();
    assert_eq!(server.asked().len(), 1);
    let other = format!("{url}#sha256={}", Sha256::of(b"other"));
    let refused = world.refused(Kind::Tree, &other).await;
    for named in [Sha256::of(&bytes), Sha256::of(b"other")] {
        assert!(refused.contains(&named.to_string()), "{refused}");
    }
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be() {
    let world = World::new();
    let (tree, _) = world.sample().await;
    let (plain, zip) = (tar(&tree, &[]), zipped(&tree));
    let other = Sha256::of(b"other");
    for (bytes, pin, problem) in [
        (plain.clone(), Some(other), other.to_string()),
        // That it is another file is told, not that it cannot be read.
        (gzip(&plain)[..5000].to_vec(), Some(other), other.to_string()),
        (zip[..5000].to_vec(), Some(other), other.to_string()),
        (gzip(&plain)[..5000].to_vec(), None, "it cannot be read".to_owned()),
        (xz(&plain)[..5000].to_vec(), None, "it cannot be read".to_owned()),
        (zst(&plain)[..5000].to_vec(), None, "it cannot be read".to_owned()),
        (plain[..5000].to_vec(), None, "a part is missing".to_owned()),
        (zip[..5000].to_vec(), None, "not a whole zip archive".to_owned()),
        (b"<html>".to_vec(), None, "web page".to_owned()),
        (b"!<arch>\ndebian-binary".to_vec(), None, "deb:".to_owned()),
        (b"BZh91AY&SY".to_vec(), None, "bzip2".to_owned()),
        (b"nothing of this kind".repeat(100), None, "it cannot be read".to_owned()),
        (Vec::new(), None, "empty".to_owned()),
        (vec![0; 1024], None, "nothing in it".to_owned()),
        (ZipWriter::new(Cursor::new(Vec::new())).finish().unwrap().into_inner(), None, "nothing in it".to_owned()),
    ] {
        let file = world.at("bad");
        fs::write(&file, &bytes).unwrap();
        let pin = pin.map_or(String::new(), |pin| format!("#{pin}"));
        let refused = world.refused(Kind::Tree, &format!("archive:{}{pin}", file.display())).await;
        assert!(refused.contains(&problem) && refused.contains("bad"), "{refused}");
    }
    let refused = world.refused(Kind::Tree, "archive:/nowhere/x.tar").await;
    assert!(refused.contains("/nowhere/x.tar"), "{refused}");
}

fn one_entry(name: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file(name, options.unix_permissions(mode)).unwrap();
    zip.write_all(content).unwrap();
    zip.finish().unwrap().into_inner()
}

/// Puts other bytes in place of some, everywhere.
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
    bytes
}

#[tokio::test]
async fn hostile_zips_are_refused() {
    let world = World::new();
    let content = vec![b'x'; 70_000];
    let size = |size: u32| size.to_le_bytes();
    for (name, bytes, problem) in [
        ("up", replaced(one_entry("aa/b", 0o644, b""), b"aa/b", b"../b"), "`..`"),
        ("root", replaced(one_entry("ab", 0o644, b""), b"ab", b"/b"), "absolute"),
        ("latin", replaced(one_entry("ab", 0o644, b""), b"ab", b"a\xe4"), "not UTF-8"),
        ("less", replaced(one_entry("ab", 0o644, &content), &size(70_000), &size(69_999)), "ab"),
        ("more", replaced(one_entry("ab", 0o644, &content), &size(70_000), &size(70_001)), "ab"),
        ("torn", replaced(one_entry("ab", 0o644, b"content"), b"content", b"c0ntent"), "ab"),
    ] {
        fs::write(world.at(name), bytes).unwrap();
        let refused = world.refused(Kind::Tree, &format!("archive:{}", world.at(name).display())).await;
        assert!(refused.contains(problem), "{name}: {refused}");
    }
    // Made where nothing may be executed, or everything.
    fs::write(world.at("plain.zip"), one_entry("bin/cc", 0o644, b"x")).unwrap();
    let added = world.add(Kind::Tree, &format!("archive:{}", world.at("plain.zip").display())).await.unwrap();
    assert!(added.imported.warnings[0].to_string().contains("may be executed"), "{:?}", added.imported.warnings);
}

#[tokio::test]
async fn symlinks_that_leave_are_data_and_told_of_in_a_tree() {
    let world = World::new();
    let tree = world.at("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::write(tree.join("lib"), "").unwrap();
    for (name, target) in [("a", "/etc/passwd"), ("b", "../../x"), ("c", "../lib")] {
        std::os::unix::fs::symlink(target, tree.join("bin").join(name)).unwrap();
    }
    fs::write(world.at("a.tar"), tar(&tree, &[])).unwrap();
    let source = format!("archive:{}", world.at("a.tar").display());
    let added = world.add(Kind::Tree, &source).await.unwrap();
    let said: Vec<_> = added.imported.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["`bin/a` points out of the tree, to `/etc/passwd`; so do 1 more symlinks"]);
    assert!(world.add(Kind::Rootfs, &source).await.unwrap().imported.warnings.is_empty());
}

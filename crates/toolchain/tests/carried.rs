//! Toolchains on their way from one store to another: by digest, and in a file.
use lre_model::{Digest, DigestFunction, RelPath};
use lre_store::{BlobStore, DiskStore, MemoryStore, StoreError, Verified};
use lre_testkit::{Fault, Faulty};
use lre_toolchain::{
    Access, BadSource, Entry, Facts, Kind, Layout, Locked, Place, Progress, Registry, Stage, Toolchain, ToolchainError,
    Wanted, add, copy_tree, export, import, import_layout, load_tree, obtain,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const F: DigestFunction = DigestFunction::Sha256;

/// A tree with everything that a tree may have, and some files larger than any message.
fn layout(more: &[(&str, Entry)]) -> Layout {
    let mut layout = Layout::default();
    let file = |content: Vec<u8>, executable| Entry::Bytes { content: content.into(), executable };
    let link = |target: &str| Entry::Symlink { target: target.to_owned() };
    let long = format!("usr/lib/{}/{}", "d".repeat(120), "f".repeat(200));
    let mut put = |path: &str, entry| layout.insert(RelPath::parse(path).unwrap(), entry);
    put("usr/bin/cc", file(b"#!/bin/sh\n".to_vec(), true));
    put("usr/bin/gcc", file(b"#!/bin/sh\n".to_vec(), true));
    put("usr/share/doc", file(b"#!/bin/sh\n".to_vec(), false));
    put("usr/lib/empty", Entry::Directory);
    put("usr/lib/nothing", file(Vec::new(), false));
    put("usr/lib/nothing2", file(Vec::new(), false));
    put("usr/lib/sch\u{f6}n \u{2014} \"x\"\\y", file(b"odd name".to_vec(), false));
    put(&long, file(b"long name".to_vec(), false));
    put("bin", link("usr/bin"));
    put("odd", link("./usr//bin/../lib/"));
    put("far", link(&format!("/nowhere/{}", "t".repeat(300))));
    put("usr/lib/libLLVM.so", file(noise(1, 1_300_000), true));
    for i in 0..120_u64 {
        put(&format!("usr/include/{}/h{i}.h", i % 7), file(noise(i + 2, (i as usize * 379) % 9000), false));
    }
    more.iter().for_each(|(path, entry)| put(path, entry.clone()));
    layout
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

struct Lab {
    dir: tempfile::TempDir,
    store: Arc<DiskStore>,
    locked: Locked,
}

impl Lab {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(more: &[(&str, Entry)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(DiskStore::open(&dir.path().join("store")).unwrap());
        let imported = import_layout(&store, F, &layout(more), vec![], &()).await.unwrap();
        let toolchain = Toolchain {
            name: "cc".to_owned(),
            kind: Kind::Rootfs,
            digest: imported.digest,
            environment: [("LANG".to_owned(), "C".to_owned())].into(),
            tools: [("cc".to_owned(), "/usr/bin/cc".to_owned())].into(),
            source: "capture:/usr/bin/cc".to_owned(),
            recipe: Vec::new(),
        };
        Self { dir, store, locked: Locked::new(&toolchain, Facts::default()) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn export(&self, name: &str) -> PathBuf {
        let file = self.at(name);
        export(&self.store, &self.locked, &file, Arc::new(())).await.unwrap();
        file
    }
}

/// Another machine: a store with nothing in it.
struct Elsewhere {
    _dir: tempfile::TempDir,
    store: Arc<DiskStore>,
    access: Access,
}

impl Elsewhere {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(DiskStore::open(&dir.path().join("store")).unwrap());
        Self { store, access: Access::at(dir.path().join("incoming")), _dir: dir }
    }

    async fn lacks(&self, locked: &Locked) -> bool {
        matches!(load_tree(&self.store, locked.digest).await, Err(ToolchainError::Missing { .. }))
    }

    async fn import(&self, file: &Path) -> Result<lre_toolchain::Carried, ToolchainError> {
        import(&self.store, file, &self.access, Arc::new(())).await
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<(Stage, u64, u64)>>);

impl Progress for Seen {
    fn update(&self, stage: Stage, done: u64, total: u64) {
        self.0.lock().unwrap().push((stage, done, total));
    }
}

#[tokio::test]
async fn only_what_is_missing_is_copied_and_all_of_it_is_held() {
    let (lab, there) = (Lab::new().await, Elsewhere::new());
    let seen = Seen::default();
    let copied = copy_tree(&lab.store, &there.store, lab.locked.digest, &seen).await.unwrap();
    assert_eq!((copied.digest, copied.files), (lab.locked.digest, 128));
    let (tree, _hold) = load_tree(&there.store, lab.locked.digest).await.unwrap();
    assert!(tree.files().iter().all(|file| copied.hold.digests().contains(file)));
    let last = *seen.0.lock().unwrap().last().unwrap();
    assert!(last.0 == Stage::Fetching && last.1 == last.2 && last.1 > 1_300_000, "{last:?}");
    let again = Seen::default();
    copy_tree(&Verified(MemoryStore::default()), &there.store, lab.locked.digest, &again).await.unwrap();
    assert!(again.0.lock().unwrap().iter().all(|(stage, ..)| *stage == Stage::Finding), "nothing was fetched");
}

/// A copy that breaks off at any call goes on where it was, and nothing of a tree that is not whole is believed.
#[tokio::test]
async fn a_copy_that_broke_off_is_taken_up() {
    let lab = Lab::new().await;
    for fault in [Fault::Upstream, Fault::Io, Fault::Lies, Fault::Forgets] {
        let there = Elsewhere::new();
        let mut sound = 0;
        let copied = loop {
            let from = Faulty::after(sound, fault, lab.store.clone());
            match copy_tree(&from, &there.store, lab.locked.digest, &()).await {
                Ok(copied) => break copied,
                Err(ToolchainError::Fetched(_)) => assert!(there.lacks(&lab.locked).await, "{fault:?} after {sound}"),
                Err(e) => panic!("{fault:?} after {sound}: {e:?}"),
            }
            sound = sound * 2 + 1;
        };
        assert_eq!(copied.files, 128);
    }
}

#[tokio::test]
async fn a_source_that_lacks_or_falsifies_a_blob_is_named_so() {
    let lab = Lab::new().await;
    let there = Elsewhere::new();
    let memory = MemoryStore::default();
    copy_tree(&lab.store, &memory, lab.locked.digest, &()).await.unwrap();
    let file = Digest::of(F, &noise(1, 1_300_000));
    memory.write(file, bytes::Bytes::from(noise(9, 1_300_000)).into()).await.unwrap();
    let refused = copy_tree(&memory, &there.store, lab.locked.digest, &()).await.unwrap_err();
    let corrupt = matches!(&refused, ToolchainError::Fetched(BadSource::Failed(StoreError::Corrupt { expected, .. })) if *expected == file);
    assert!(corrupt, "{refused:?}");
    memory.remove(file);
    let refused = copy_tree(&memory, &there.store, lab.locked.digest, &()).await.unwrap_err();
    assert!(
        matches!(&refused, ToolchainError::Fetched(BadSource::Incomplete(missing)) if *missing == [file]),
        "{refused:?}"
    );
    assert!(there.lacks(&lab.locked).await);
}

/// TOOLCHAINS 4: "carries one to a machine without network".
#[tokio::test]
async fn a_file_carries_a_toolchain_to_another_machine() {
    let (lab, there) = (Lab::new().await, Elsewhere::new());
    let file = lab.export("cc.tar.zst").await;
    let carried = there.import(&file).await.unwrap();
    assert_eq!(carried.locked, lab.locked);
    assert_eq!((carried.imported.digest, carried.imported.files), (lab.locked.digest, 128));
    let _hold = load_tree(&there.store, lab.locked.digest).await.unwrap();
    let again = there.import(&file).await.unwrap();
    assert_eq!(again.imported.digest, lab.locked.digest);
    assert_eq!(fs::read_dir(&there.access.directory).unwrap().count(), 0, "nothing stays behind");
}

#[tokio::test]
async fn the_same_toolchain_gives_the_same_file() {
    let (a, b) = (Lab::new().await, Elsewhere::new());
    let first = fs::read(a.export("a.tar.zst").await).unwrap();
    let there = b.import(&a.at("a.tar.zst")).await.unwrap();
    let second = a.at("second.tar.zst");
    export(&b.store, &there.locked, &second, Arc::new(())).await.unwrap();
    assert!(first == fs::read(second).unwrap(), "{} bytes", first.len());
}

/// The tree can be looked at and unpacked with what everybody has.
#[tokio::test]
async fn the_file_is_a_plain_archive() {
    let lab = Lab::new().await;
    let file = lab.export("cc.tar.zst").await;
    let mut archive = tar::Archive::new(zstd::Decoder::new(fs::File::open(file).unwrap()).unwrap());
    let into = lab.at("unpacked");
    archive.unpack(&into).unwrap();
    let (layout, _) = Layout::of_directory(&into.join("tree")).unwrap();
    let again = import_layout(&lab.store, F, &layout, vec![], &()).await.unwrap();
    assert_eq!(again.digest, lab.locked.digest);
    let manifest = fs::read_to_string(into.join("lre-toolchain.json")).unwrap();
    assert!(manifest.contains(&lab.locked.digest.to_string()), "{manifest}");
}

#[tokio::test]
async fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    let (lab, there) = (Lab::new().await, Elsewhere::new());
    let whole = fs::read(lab.export("cc.tar.zst").await).unwrap();
    let cut = lab.at("cut.tar.zst");
    let ends = (0..10).map(|tenth| whole.len() * tenth / 10).chain([whole.len() - 1, whole.len() - 5]);
    for end in ends {
        fs::write(&cut, &whole[..end]).unwrap();
        let refused = there.import(&cut).await.unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, ToolchainError::Export { .. }) && said.contains("cut.tar.zst"), "{end}: {said}");
    }
}

/// One entry after the other is changed in a way that a checksum of the archive would not notice.
#[tokio::test]
async fn an_altered_file_is_refused_with_the_first_path_that_differs() {
    let (lab, there) = (Lab::new().await, Elsewhere::new());
    let plain = zstd::decode_all(fs::File::open(lab.export("cc.tar.zst").await).unwrap()).unwrap();
    let altered = lab.at("altered.tar.zst");
    let find = |what: &[u8]| plain.windows(what.len()).position(|w| w == what).unwrap();
    let replace = |from: &[u8], to: &[u8]| {
        let (mut bytes, at) = (plain.clone(), find(from));
        assert_eq!(from.len(), to.len());
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let script = find(b"#!/bin/sh\n");
    let mut flipped = plain.clone();
    flipped[script + 3] ^= 1;
    let digest = lab.locked.digest.to_string();
    let other = Digest::of(F, b"other").hash_text();
    for (bytes, says) in [
        (flipped, "usr/bin/cc"),
        (replace(b"odd name", b"Odd name"), "usr/lib/sch"),
        (replace(digest.as_bytes(), digest.replace(&digest[..64], &other).as_bytes()), "its manifest says"),
        (replace(b"\"schema_version\": 1", b"\"schema_version\": 2"), "update lre"),
        (replace(b"\"rootfs\"", b"\"rootfS\""), "rootfS"),
        (plain[..plain.len() / 1024 * 512].to_vec(), "the file ends"),
        (b"no archive at all".to_vec(), "altered.tar.zst"),
        (Vec::new(), "lre-toolchain.json"),
    ] {
        // Packed anew, so that the sum over all is right and only the digests can tell.
        fs::write(&altered, zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
        let refused = there.import(&altered).await.unwrap_err().to_string();
        assert!(refused.contains(says), "`{says}` is not in: {refused}");
        assert!(there.lacks(&lab.locked).await);
    }
    // Entries that are moved, added or left out.
    let rebuilt = |keep: &dyn Fn(&str) -> bool, last: Option<&str>| {
        let mut archive = tar::Archive::new(&plain[..]);
        let mut to = tar::Builder::new(Vec::new());
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            if keep(&path.to_string_lossy()) {
                let (mut header, link) = (entry.header().clone(), entry.link_name().unwrap().map(|l| l.into_owned()));
                match link {
                    Some(link) => to.append_link(&mut header, path, link).unwrap(),
                    None => to.append_data(&mut header, path, entry).unwrap(),
                }
            }
        }
        if let Some(last) = last {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            to.append_data(&mut header, last, &b""[..]).unwrap();
        }
        to.into_inner().unwrap()
    };
    for (bytes, says) in [
        (rebuilt(&|path| path != "tree/usr/bin/gcc", None), "where tree/usr/bin/gcc should be is tree/usr/include"),
        (rebuilt(&|_| true, Some("tree/zzz")), "tree/zzz is not part of the toolchain"),
        (rebuilt(&|path| path.starts_with("tree"), None), "where lre-toolchain.json should be is tree/bin"),
    ] {
        fs::write(&altered, zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
        let refused = there.import(&altered).await.unwrap_err().to_string();
        // The archive library writes one symlink in another way, which comes before these.
        assert!(
            refused.contains(says) || refused.contains("odd: it is not a symlink"),
            "`{says}` is not in: {refused}"
        );
    }
}

/// As a source of a lock file, or to be added under another name.
#[tokio::test]
async fn a_file_is_a_source() {
    let (mut lab, there) = (Lab::new().await, Elsewhere::new());
    let digest = lab.locked.digest;
    for (kind, tool) in [
        (Kind::Rootfs, "/usr/bin/cc".to_owned()),
        (Kind::Tree, format!("/lre/toolchains/{}/usr/bin/cc", digest.hash_text())),
    ] {
        lab.locked.kind = kind;
        lab.locked.mounts = vec![lab.locked.toolchain().mount()];
        lab.locked.tools = [("cc".to_owned(), tool)].into();
        let source = format!("file:{}", lab.export("cc.tar.zst").await.display());
        let wanted = |kind| Wanted {
            name: "mine".to_owned(),
            kind,
            source: source.parse().unwrap(),
            also: Vec::new(),
            expected: None,
        };
        let added = add(&there.store, F, &wanted(kind), &there.access, Arc::new(())).await.unwrap().toolchain;
        assert_eq!((added.name.as_str(), added.digest, added.source.as_str()), ("mine", digest, source.as_str()));
        assert_eq!((&added.tools, &added.environment), (&lab.locked.tools, &lab.locked.environment));
        let refused =
            add(&there.store, F, &wanted(Kind::Nix), &there.access, Arc::new(())).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("--kind {kind}")), "{refused}");
        let locked = Locked { sources: vec!["dir:/nonexistent".to_owned(), source.clone()], ..lab.locked.clone() };
        let elsewhere = Elsewhere::new();
        let obtained = obtain(&elsewhere.store, &locked, &elsewhere.access, Arc::new(())).await.unwrap();
        assert_eq!(obtained.place, Place::Source(source));
    }
}

/// A file that appears is whole: what breaks off leaves nothing.
#[tokio::test]
async fn an_export_that_fails_leaves_no_file() {
    let lab = Lab::new().await;
    let folder = lab.at("out");
    fs::create_dir(&folder).unwrap();
    let mut failures = 0;
    for sound in (0..).map(|n| n * 20) {
        let from = Faulty::after(sound, Fault::Io, lab.store.clone());
        let to = folder.join("cc.tar.zst");
        if export(&from, &lab.locked, &to, Arc::new(())).await.is_ok() {
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
            break;
        }
        failures += 1;
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "after {sound} calls");
    }
    assert!(failures > 3, "it must have failed while it wrote");
}

/// A disk that is full is told as such, nothing is registered, and the next try succeeds.
#[tokio::test]
async fn an_import_that_fails_is_no_toolchain() {
    let lab = Lab::new().await;
    let file = lab.export("cc.tar.zst").await;
    let there = Elsewhere::new();
    let registry = Registry::open(lab.at("registry")).unwrap();
    let full = Faulty::after(100, Fault::Full, there.store.clone());
    let refused = import(&full, &file, &there.access, Arc::new(())).await.unwrap_err();
    assert!(matches!(refused, ToolchainError::Store(StoreError::Full(_))), "{refused:?}");
    assert!(there.lacks(&lab.locked).await);
    let carried = there.import(&file).await.unwrap();
    registry.put(&carried.locked.toolchain()).unwrap();
    assert_eq!(registry.all().unwrap(), [lab.locked.toolchain()]);
}

/// TOOLCHAINS 3: "sources in order of trial"; "a source that vanished (next source tried, all named at the end)".
#[tokio::test]
async fn sources_are_tried_in_order_and_all_are_named() {
    let (lab, there) = (Lab::new().await, Elsewhere::new());
    let good = lab.at("good");
    unpack(&lab, &good).await;
    let other = lab.at("other");
    unpack(&lab, &other).await;
    fs::write(other.join("usr/bin/gcc"), "another compiler").unwrap();
    fs::remove_file(other.join("usr/lib/libLLVM.so")).unwrap();
    let gone = format!("dir:{}", lab.at("gone").display());
    let nobody = format!("unix:{}", lab.at("nobody").display());
    let sources = |last: &str| {
        let wrong = format!("dir:{}", other.display());
        vec![gone.clone(), format!("cas:{nobody}"), "guix:gcc".to_owned(), wrong, last.to_owned()]
    };
    let mut access = there.access.clone();
    access.peers = vec![nobody.clone()];
    let mut locked = Locked { sources: sources(&gone), ..lab.locked.clone() };
    // What was here once and is gone in part: the directories tell where a wrong tree differs.
    copy_tree(&lab.store, &there.store, locked.digest, &()).await.unwrap();
    let blob = Digest::of(F, &noise(1, 1_300_000)).hash_text();
    fs::remove_file(find(there._dir.path(), &blob)).unwrap();

    let refused = obtain(&there.store, &locked, &access, Arc::new(())).await.unwrap_err();
    let ToolchainError::Nowhere { tried, digest, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(*digest, locked.digest);
    let named: Vec<_> = tried.iter().map(|t| t.source.as_str()).collect();
    let mut expected = vec![nobody.as_str()];
    expected.extend(locked.sources.iter().map(String::as_str));
    assert_eq!(named, expected);
    let said = refused.to_string();
    for text in ["cannot connect", "guix:gcc", "No such file", "the first difference is at usr/bin/gcc"] {
        assert!(said.contains(text), "`{text}` is not in: {said}");
    }
    assert!(said.contains(&locked.digest.to_string()), "{said}");

    locked.sources = sources(&format!("dir:{}", good.display()));
    let obtained = obtain(&there.store, &locked, &access, Arc::new(())).await.unwrap();
    assert_eq!(obtained.place, Place::Source(locked.sources[4].clone()));
    assert_eq!((obtained.imported.digest, obtained.tried.len()), (locked.digest, 5));
    let obtained = obtain(&there.store, &locked, &access, Arc::new(())).await.unwrap();
    assert_eq!((obtained.place, obtained.tried.len()), (Place::Store, 0));
}

/// A full disk is not the fault of a source: nothing else is tried.
#[tokio::test]
async fn a_store_that_fails_ends_the_trying() {
    let (lab, there) = (Lab::new().await, Elsewhere::new());
    let good = lab.at("good");
    unpack(&lab, &good).await;
    let source = format!("dir:{}", good.display());
    let locked = Locked { sources: vec![source.clone(), source], ..lab.locked.clone() };
    let full = Faulty::after(5, Fault::Full, there.store.clone());
    let refused = obtain(&full, &locked, &there.access, Arc::new(())).await.unwrap_err();
    assert!(matches!(refused, ToolchainError::Store(StoreError::Full(_))), "{refused:?}");
}

async fn unpack(lab: &Lab, into: &Path) {
    let inodes = lre_store::Inodes::new(lab.at("store/inodes")).unwrap();
    let tree = lre_toolchain::materialise(&lab.store, &inodes, lab.locked.digest, &lab.at("trees")).await.unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(tree).arg(into).status().unwrap();
    assert!(copied.success());
    for folder in ["", "usr/bin"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(into.join(folder), mode).unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(into.join("usr/bin/gcc"), mode).unwrap();
}

/// The file of this name below a folder.
fn find(below: &Path, name: &str) -> PathBuf {
    let mut left = vec![below.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().contains(name) {
                return entry.path();
            }
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
        }
    }
    PathBuf::new()
}

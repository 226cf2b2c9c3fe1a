//! Hostile and odd archives, made byte by byte where the crate would not make them.
use super::*;
use crate::access::Access;
use crate::intake::take_in;
use lre_model::{Digest, DigestFunction, RelPath};
use lre_store::MemoryStore;
use proptest::prelude::*;
use std::sync::Arc;
use tar::{EntryType as T, Header};

const F: DigestFunction = DigestFunction::Sha256;

/// One entry: its type, its mode, its name and its content or target.
type Made<'a> = (T, u32, &'a str, &'a str);

fn header(kind: T, mode: u32, name: &[u8], size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_cksum();
    header
}

fn entry(kind: T, mode: u32, name: &[u8], content: &[u8]) -> Vec<u8> {
    let link = matches!(kind, T::Symlink | T::Link);
    let mut header = header(kind, mode, name, if link { 0 } else { content.len() as u64 });
    if link {
        header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
        header.set_cksum();
        return header.as_bytes().to_vec();
    }
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archive(entries: &[Made<'_>]) -> Vec<u8> {
    let entries = entries.iter().map(|(t, mode, name, content)| entry(*t, *mode, name.as_bytes(), content.as_bytes()));
    let mut bytes: Vec<u8> = entries.flatten().collect();
    bytes.extend([0; 1024]);
    bytes
}

/// A header of PAX, about the entry that follows.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let record = format!(" {key}={value}\n");
    let length = (1..).find(|n: &usize| n.to_string().len() + record.len() == *n).unwrap();
    entry(T::XHeader, 0o644, b"pax", format!("{length}{record}").as_bytes())
}

type Read = Result<(Layout, Vec<Warning>), ToolchainError>;

/// Reads these one on top of the other.
fn read_all(layers: Vec<Vec<u8>>, whiteouts: Whiteouts) -> Read {
    let dir = tempfile::tempdir().unwrap();
    let access = Access::at(dir.path());
    let store = MemoryStore::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let taken = runtime.block_on(take_in(&store, F, &access, Arc::new(()), move |intake| {
        let (mut layout, mut warnings) = (Layout::default(), Vec::new());
        for layer in layers {
            read_tar(&layer[..], "a.tar", intake, &mut layout, &mut warnings, whiteouts)?;
        }
        Ok((layout, warnings))
    }));
    taken.map(|(read, _)| read)
}

fn read(bytes: Vec<u8>) -> Read {
    read_all(vec![bytes], Whiteouts::Plain)
}

/// One line for each entry: a digest tells which content it is.
fn shown(layout: &Layout) -> Vec<String> {
    let line = |(path, entry): (&RelPath, &Entry)| match entry {
        Entry::Stored { digest, executable } => {
            let content = ["x", "y", "z", ""].into_iter().find(|c| Digest::of(F, c.as_bytes()) == *digest);
            format!("{path}{} {}", if *executable { "*" } else { "" }, content.unwrap_or("?"))
        }
        Entry::Symlink { target } => format!("{path} -> {target}"),
        Entry::Directory => format!("{path}/"),
        other => panic!("{other:?}"),
    };
    layout.iter().map(line).collect()
}

#[track_caller]
fn check(bytes: Vec<u8>, expected: &[&str]) {
    assert_eq!(shown(&read(bytes).unwrap().0), expected);
}

#[track_caller]
fn check_refused(bytes: Vec<u8>, expected: &str) {
    let refused = read(bytes).unwrap_err().to_string();
    assert!(refused.contains(expected) && refused.contains("a.tar"), "{refused}");
}

#[test]
fn what_archives_hold() {
    check(
        archive(&[
            (T::Directory, 0o755, "./", ""),
            (T::Directory, 0o755, "./bin/", ""),
            (T::Regular, 0o755, "./bin/a", "x"),
            (T::Regular, 0o611, "bin/b", "y"),
            (T::Link, 0o755, "bin/c", "./bin/a"),
            (T::Symlink, 0o777, "lib", "/usr/lib"),
            (T::Regular, 0o644, "old/", ""),
            (T::Continuous, 0o644, "deep/er/file", ""),
        ]),
        &["bin/", "bin/a* x", "bin/b y", "bin/c* x", "deep/er/file ", "lib -> /usr/lib", "old/"],
    );
}

#[test]
fn entries_below_symlinks_land_where_these_point_and_never_outside() {
    check(
        archive(&[
            (T::Symlink, 0o777, "lib", "usr/lib"),
            (T::Regular, 0o644, "lib/a", "x"),
            (T::Directory, 0o755, "lib/", ""),
            (T::Symlink, 0o777, "out", "/../../etc"),
            (T::Regular, 0o644, "out/passwd", "y"),
            (T::Symlink, 0o777, "usr/lib/up", "../.."),
            (T::Regular, 0o644, "lib/up/top", "z"),
            (T::Link, 0o644, "linked", "lib/a"),
        ]),
        &[
            "etc/passwd y",
            "lib -> usr/lib",
            "linked x",
            "out -> /../../etc",
            "top z",
            "usr/lib/",
            "usr/lib/a x",
            "usr/lib/up -> ../..",
        ],
    );
    let a_loop = [(T::Symlink, 0o777, "a", "b"), (T::Symlink, 0o777, "b", "a"), (T::Regular, 0o644, "a/x", "")];
    check_refused(archive(&a_loop), "loop");
}

#[test]
fn what_comes_later_stands_where_files_were_and_never_on_directories() {
    let file = |content| (T::Regular, 0o644, "a", content);
    check(archive(&[file("x"), file("y")]), &["a y"]);
    check(archive(&[file("x"), (T::Symlink, 0o777, "a", "b")]), &["a -> b"]);
    check(archive(&[(T::Directory, 0o755, "a/", ""), file("x")]), &["a x"]);
    let below = (T::Regular, 0o644, "a/b", "x");
    check_refused(archive(&[below, file("x")]), "a directory of the same name");
    check_refused(archive(&[file("x"), below]), "`a`, which it is below, is a file");
    check_refused(archive(&[file("x"), (T::Directory, 0o755, "a/", "")]), "a file of the same name");
}

#[test]
fn names_that_leave_the_tree_are_refused() {
    let long = "n".repeat(256);
    let deep = "d/".repeat(300) + "f";
    for (name, problem) in [
        (&b"../a"[..], "`..`"),
        (b"a/../../b", "`..`"),
        (b"a/..", "`..`"),
        (b"/etc/passwd", "absolute"),
        (b"//etc/passwd", "absolute"),
        (b"a\xff", "not UTF-8"),
        (b"", "no name"),
        (b"./.", "no name"),
    ] {
        let mut bytes = entry(T::Regular, 0o644, name, b"x");
        bytes.extend([0; 1024]);
        check_refused(bytes, problem);
    }
    for (name, problem) in [(&*long, "longer than 255"), (&deep, "directories deep"), ("a\0b", "NUL"), ("../x", "`..`")]
    {
        let long_name = entry(T::GNULongName, 0o644, b"././@LongLink", format!("{name}\0").as_bytes());
        check_refused([long_name, archive(&[(T::Regular, 0o644, "short", "x")])].concat(), problem);
        check_refused([pax("path", name), archive(&[(T::Regular, 0o644, "short", "x")])].concat(), problem);
    }
}

#[test]
fn links_are_to_what_came_before() {
    check_refused(archive(&[(T::Link, 0o644, "a", "b")]), "`b`, which does not come before it");
    check_refused(archive(&[(T::Link, 0o644, "a", "../b")]), "`..`");
    check_refused(archive(&[(T::Directory, 0o755, "b", ""), (T::Link, 0o644, "a", "b")]), "a directory");
    check_refused(archive(&[(T::Symlink, 0o777, "a", "")]), "a link to nothing");
    // A hard link to a symlink is that symlink once more, and a link to itself changes nothing.
    let links = [(T::Symlink, 0o777, "b", "nowhere"), (T::Link, 0o777, "a", "b"), (T::Link, 0o777, "b", "b")];
    check(archive(&links), &["a -> nowhere", "b -> nowhere"]);
}

#[test]
fn what_a_tree_does_not_hold_is_left_out_and_told() {
    let bytes = archive(&[
        (T::Char, 0o666, "dev/null", ""),
        (T::Block, 0o660, "dev/sda", ""),
        (T::Fifo, 0o644, "pipe", ""),
        (T::Regular, 0o4755, "su", "x"),
    ]);
    let (layout, warnings) = read(bytes).unwrap();
    assert_eq!(shown(&layout), ["su* x"]);
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "/dev/null is a device; it is left out",
            "/dev/sda is a device; it is left out",
            "/pipe is a named pipe; it is left out",
            "/su is setuid or setgid; in the toolchain it is not",
        ]
    );
    let file = archive(&[(T::Regular, 0o644, "a", "x")]);
    let (_, warnings) = read([pax("SCHILY.xattr.user.a", "1"), file.clone()].concat()).unwrap();
    assert_eq!(warnings, [Warning::Attributes("/a".into())]);
    check_refused([pax("GNU.sparse.major", "1"), file].concat(), "--sparse");
    check_refused(archive(&[(T::new(b'M'), 0o644, "a", "")]), "'M'");
}

#[test]
fn what_is_cut_off_is_refused_wherever_it_is_cut() {
    let large = "x".repeat(2000);
    let whole = archive(&[(T::Regular, 0o644, "a", &large), (T::Regular, 0o644, "b", "y")]);
    for at in [0, 100, 512, 1000, 2512, 2560, 2600, 3072, 3073, 3584] {
        let refused = read(whole[..at].to_vec()).unwrap_err().to_string();
        assert!(refused.contains("a.tar"), "{at}: {refused}");
        if (512..2512).contains(&at) {
            assert!(refused.contains("a.tar: a") && refused.contains("of its 2000 bytes"), "{at}: {refused}");
        }
    }
    // The mark of the end is one block here, two by the letter, and what follows is nobody's.
    for more in [512, 1024, 10240] {
        let bytes = [&whole[..3584], &vec![0; more], b"trailing"].concat();
        assert_eq!(read(bytes).unwrap().0.len(), 2);
    }
}

#[test]
fn headers_and_contents_have_limits() {
    let long = entry(T::GNULongName, 0o644, b"././@LongLink", &vec![b'n'; 2 << 20]);
    check_refused(long, "headers of one entry");
    let mut huge = header(T::Regular, 0o644, b"huge", 65 << 30).as_bytes().to_vec();
    huge.extend([0; 1024]);
    check_refused(huge, "unpacks to more than");
}

const OCI_LOWER: [Made<'static>; 6] = [
    (T::Directory, 0o755, "d/", ""),
    (T::Regular, 0o644, "d/a", "x"),
    (T::Regular, 0o644, "d/b", "x"),
    (T::Regular, 0o644, "d/sub/c", "x"),
    (T::Regular, 0o644, "implied/only", "x"),
    (T::Symlink, 0o777, "s", "d"),
];

#[track_caller]
fn check_layers(upper: &[Made<'_>], expected: &[&str]) {
    let layers = vec![archive(&OCI_LOWER), archive(upper)];
    assert_eq!(shown(&read_all(layers, Whiteouts::Oci).unwrap().0), expected);
}

#[test]
fn whiteouts_hide_what_is_below_and_not_their_own_layer() {
    let rest = ["implied/only x", "s -> d"];
    let file = |name| (T::Regular, 0o644, name, "y");
    let empty = |name| (T::Regular, 0o644, name, "");
    let with = |lines: &[&'static str]| [lines, &rest[..]].concat();
    check_layers(&[empty("d/.wh.a")], &with(&["d/", "d/b x", "d/sub/c x"]));
    check_layers(&[empty("/d/.wh.sub"), empty("d/.wh.nothing")], &with(&["d/", "d/a x", "d/b x"]));
    check_layers(&[empty(".wh.d")], &rest);
    check_layers(&[empty("d/.wh..wh..opq"), file("d/new")], &with(&["d/", "d/new y"]));
    // The order within a layer says nothing.
    check_layers(&[file("d/new"), empty("d/.wh..wh..opq")], &with(&["d/", "d/new y"]));
    check_layers(&[file("d/sub/c"), empty(".wh.d")], &with(&["d/", "d/sub/c y"]));
    check_layers(&[empty(".wh.d"), file("d")], &with(&["d y"]));
    check_layers(&[empty(".wh..wh..opq"), file("e")], &["e y"]);
    check_layers(&[empty("s/.wh.a"), empty("d/.wh..wh.plnk")], &with(&["d/", "d/b x", "d/sub/c x"]));
    // A directory of which only its entries told.
    check_layers(&[empty("implied/.wh.only"), empty(".wh.d"), empty(".wh.s")], &["implied/"]);
    for bad in ["d/.wh.", "d/.wh..", "d/.wh...", "d/.wh.x/y", "../.wh.x"] {
        assert!(read_all(vec![archive(&[empty(bad)])], Whiteouts::Oci).is_err(), "{bad}");
    }
    // In a plain archive they are names.
    check(archive(&[empty("d/.wh.a")]), &["d/.wh.a "]);
}

#[test]
fn layers_replace_what_is_below() {
    let directory = [(T::Directory, 0o755, "s/", ""), (T::Regular, 0o644, "s/f", "y")];
    check_layers(&directory, &["d/", "d/a x", "d/b x", "d/sub/c x", "implied/only x", "s/", "s/f y"]);
    check_layers(&[(T::Regular, 0o644, "d", "y")], &["d y", "implied/only x", "s -> d"]);
    // Through the symlink into the directory; a link to a file of the layer below.
    let through =
        [(T::Link, 0o644, "s/z", "d/a"), (T::Regular, 0o644, "/implied/only", "z"), (T::Regular, 0o644, "d/b", "y")];
    check_layers(&through, &["d/", "d/a x", "d/b y", "d/sub/c x", "d/z x", "implied/only z", "s -> d"]);
}

/// Parts of names that get in each other's way.
fn name() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("."), Just(".wh.a"), Just(".wh..wh..opq"), Just(""), Just("..")];
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    /// Whatever an archive says, it is either refused or a tree: nothing above its top, nothing below
    /// what is no directory.
    #[test]
    fn any_archive_is_a_tree_or_refused(
        layers in prop::collection::vec(prop::collection::vec((0..5_usize, name(), name()), 0..12), 1..3),
        oci in any::<bool>(),
    ) {
        let kinds = [T::Regular, T::Directory, T::Symlink, T::Link, T::Fifo];
        let made = layers.iter().map(|layer| {
            let entries: Vec<_> = layer.iter().map(|(kind, name, to)| (kinds[*kind], 0o755, &**name, &**to)).collect();
            archive(&entries)
        });
        let whiteouts = if oci { Whiteouts::Oci } else { Whiteouts::Plain };
        if let Ok((layout, _)) = read_all(made.collect(), whiteouts) {
            for (path, entry) in layout.iter() {
                prop_assert!(!path.is_root() && path.segments().iter().all(|s| s != ".." && s != "." && !s.is_empty()));
                prop_assert!(*entry == Entry::Directory || layout.below(path).next().is_none());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _any = read(bytes);
    }
}

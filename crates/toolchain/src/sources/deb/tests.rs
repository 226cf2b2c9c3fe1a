//! Packages that are not what they should be, and archives that do not have them.
use super::ar::tests::archive as ar;
use super::fetch::Downloads;
use super::{Deb, Pinned, Recipe};
use crate::access::Access;
use crate::error::ToolchainError;
use crate::progress::{Progress, Stage};
use crate::sources::http::server::{Reply, Server};
use crate::{Added, Kind, Source, Wanted, add};
use lre_model::{Digest, DigestFunction};
use lre_store::DiskStore;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

const F: DigestFunction = DigestFunction::Sha256;

/// What a file of a package is.
enum File<'a> {
    Text(&'a str),
    Link(&'a str),
    Folder,
}

fn tar(files: &[(&str, File<'_>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, file) in files {
        let mut header = tar::Header::new_gnu();
        // As it is, since the crate would refuse the names that are to be refused by us.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o755);
        let content = match file {
            File::Text(text) => *text,
            File::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name(target).unwrap();
                ""
            }
            File::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                ""
            }
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut to = liblzma::write::XzEncoder::new(Vec::new(), 0);
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn control(text: &str) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(&tar(&[("./", File::Folder), ("./control", File::Text(text))])).unwrap();
    to.finish().unwrap()
}

/// A package with these files, which says this of itself.
fn deb(says: &str, files: &[(&str, File<'_>)]) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control(says)), ("data.tar.xz", &xz(&tar(files)))])
}

/// A store, a folder for packages, and packages.
struct World {
    dir: tempfile::TempDir,
    access: Access,
    packages: Vec<(Pinned, Vec<u8>)>,
}

impl World {
    fn new(packages: &[(&str, Vec<u8>)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pin = |(name, bytes): &(&str, Vec<u8>)| {
            let pinned = Pinned {
                name: (*name).to_owned(),
                version: "1-1".to_owned(),
                architecture: "all".to_owned(),
                sha256: Digest::of(F, bytes).hash_text(),
                size_bytes: bytes.len() as u64,
                path: format!("pool/main/{name}_1-1_all.deb"),
            };
            (pinned, bytes.clone())
        };
        let mirror = dir.path().join("mirror");
        let access = Access {
            debian_mirror: Some(format!("file://{}", mirror.display())),
            ..Access::at(dir.path().join("access"))
        };
        let world = Self { access, packages: packages.iter().map(pin).collect(), dir };
        fs::create_dir_all(world.dir.path().join("mirror/pool/main")).unwrap();
        for (pinned, bytes) in &world.packages {
            fs::write(world.mirrored(pinned), bytes).unwrap();
        }
        world
    }

    fn mirrored(&self, pinned: &Pinned) -> PathBuf {
        self.dir.path().join("mirror").join(&pinned.path)
    }

    fn recipe(&self) -> Recipe {
        Recipe::new(self.packages.iter().map(|(pinned, _)| pinned.clone()).collect()).unwrap()
    }

    fn fetch(&self, progress: &dyn Progress) -> Result<(), ToolchainError> {
        let downloads = Downloads::open(&self.access).unwrap().without_apt();
        downloads.fetch("deb:x", "deb:y", &self.recipe(), &self.access, progress)
    }

    /// How many packages are here.
    fn here(&self) -> usize {
        let files = fs::read_dir(self.access.directory.join("packages")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "deb")).count()
    }

    async fn import(&self) -> Result<Added, ToolchainError> {
        self.fetch(&())?;
        let recipe = self.recipe();
        let source: Source = format!("deb:x#{}", recipe.digest()).parse()?;
        let (name, source) = ("t".to_owned(), source.with_recipe(&recipe.lines())?);
        let wanted = Wanted { name, kind: Kind::Rootfs, source, also: Vec::new(), expected: None };
        let store = DiskStore::open(&self.dir.path().join("store")).unwrap();
        add(&store, F, &wanted, &self.access, Arc::new(())).await
    }

    async fn refused(&self) -> String {
        self.import().await.unwrap_err().to_string()
    }
}

#[tokio::test]
async fn a_tree_is_made_of_what_packages_have_and_says_how() {
    let a =
        deb("Package: a\n", &[("./bin/", File::Folder), ("./bin/dash", File::Text("a")), ("./var/x", File::Text("x"))]);
    let b = deb("Package: b\n", &[("./usr/bin/gcc", File::Text("b")), ("./lib/x", File::Link("y"))]);
    let world = World::new(&[("a", a.clone()), ("b", b.clone())]);
    let added = world.import().await.unwrap();
    assert_eq!(added.toolchain.source, format!("deb:x#{}", world.recipe().digest()));
    assert_eq!(added.toolchain.recipe, world.recipe().lines());
    assert_eq!(added.toolchain.tools["cc"], "/usr/bin/cc");
    assert_eq!((added.imported.files, world.here()), (2, 0));
    // The order in which packages are written down or read does not matter.
    let again = World::new(&[("b", b), ("a", a)]).import().await.unwrap();
    assert_eq!(again.toolchain.digest, added.toolchain.digest);
}

#[tokio::test]
async fn packages_that_are_none_are_refused_and_named() {
    let good = deb("Package: a\n", &[("./usr/bin/a", File::Text("a"))]);
    let with = |members: &[(&str, &[u8])]| ar(members);
    let (control, data) = (control("Package: a\n"), xz(&tar(&[("./usr/a", File::Text("a"))])));
    let version: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    let half = &data[..data.len() / 2];
    for (bytes, says) in [
        (b"no package".to_vec(), "begin as an `ar` archive"),
        (good[..good.len() - 40].to_vec(), "it is no Debian package"),
        (with(&[version, ("control.tar.gz", &control)]), "has no `data.tar`"),
        (with(&[version, ("data.tar.xz", &data)]), "has no `control.tar`"),
        (with(&[("control.tar.gz", &control), ("data.tar.xz", &data)]), "has no `debian-binary`"),
        (with(&[("debian-binary", b"3.0\n"), ("control.tar.gz", &control), ("data.tar.xz", &data)]), "format 3.0"),
        (with(&[version, ("control.tar.gz", &control), ("data.tar.xz", half)]), "cannot be read from byte"),
        (with(&[version, ("control.tar.gz", &control[..20]), ("data.tar.xz", &data)]), "it is no Debian package"),
        (with(&[version, ("control.tar.gz", &control), ("data.tar.bz2", b"BZh91AY&SY")]), "bzip2"),
        (deb("", &[("./../../etc/passwd", File::Text("x"))]), "`..`"),
        (deb("", &[("/etc/x", File::Text("x"))]), "absolute"),
        (deb("", &[("./usr/x", File::Text("x")), ("./usr/x/y", File::Text("y"))]), "is a file"),
    ] {
        let world = World::new(&[("a", bytes), ("good", good.clone())]);
        let refused = world.refused().await;
        assert!(refused.contains("a=1-1") && refused.contains(says), "{says}: {refused}");
    }
}

/// dpkg refuses what overwrites another package's file, unless one says that it replaces the other.
#[tokio::test]
async fn what_two_packages_have_is_decided_by_what_they_say() {
    let file = |text| [("./usr/bin/x", File::Text(text))];
    let plain = deb("Package: a\n", &file("a"));
    let other = deb("Package: b\n", &file("b"));
    let refused = World::new(&[("a", plain.clone()), ("b", other.clone())]).refused().await;
    assert!(["/usr/bin/x", "`a`", "`b`"].iter().all(|part| refused.contains(part)), "{refused}");
    let alone = |bytes: &Vec<u8>| World::new(&[("a", bytes.clone())]);
    let tree_of = |added: Added| added.toolchain.digest;
    let (a, b) = (tree_of(alone(&plain).import().await.unwrap()), tree_of(alone(&other).import().await.unwrap()));
    let replaces =
        |name: &str, text| deb(&format!("Package: x\nReplaces: q (<< 2),\n {name} (<< 3:1~)\nSize: 1\n"), &file(text));
    for (first, second, expected) in [
        (plain.clone(), replaces("a", "b"), b),
        (replaces("b", "a"), other.clone(), a),
        (replaces("b", "a"), replaces("a", "b"), b),
        (plain.clone(), deb("Package: b\n", &file("a")), a),
    ] {
        let world = World::new(&[("a", first), ("b", second)]);
        assert_eq!(world.import().await.unwrap().toolchain.digest, expected);
    }
    let folder = deb("Package: b\nReplaces: a\n", &[("./usr/bin/x/", File::Folder)]);
    let refused = World::new(&[("a", plain), ("b", folder)]).refused().await;
    assert!(refused.contains("/usr/bin/x"), "{refused}");
}

/// The path by way of `/bin` and the path by way of `/usr/bin` are one.
#[tokio::test]
async fn what_two_packages_have_by_two_paths_is_seen() {
    let a = deb("Package: a\n", &[("./bin/x", File::Text("a"))]);
    let b = deb("Package: b\n", &[("./usr/bin/x", File::Text("b"))]);
    let refused = World::new(&[("a", a), ("b", b)]).refused().await;
    assert!(refused.contains("/usr/bin/x"), "{refused}");
}

fn three() -> World {
    World::new(&["a", "b", "c"].map(|name| (name, deb("", &[(&format!("./usr/bin/{name}"), File::Text(name))]))))
}

#[test]
fn what_was_fetched_is_not_fetched_again_and_what_is_wrong_is() {
    let world = three();
    let [a, b, c] = [0, 1, 2].map(|n| world.packages[n].0.clone());
    fs::rename(world.mirrored(&b), world.dir.path().join("aside")).unwrap();
    let ToolchainError::Gone(gone) = world.fetch(&()).unwrap_err() else { panic!("it is gone") };
    assert_eq!((gone.packages, gone.anew.as_str()), (vec!["b=1-1".to_owned()], "deb:y"));
    assert_eq!(world.here(), 2, "what has come is kept");
    // What is here is not asked for again, unless it is not what it was.
    fs::rename(world.dir.path().join("aside"), world.mirrored(&b)).unwrap();
    fs::remove_file(world.mirrored(&a)).unwrap();
    fs::write(world.access.directory.join(format!("packages/{}.deb", c.sha256)), "broken").unwrap();
    world.fetch(&()).unwrap();
    assert_eq!(world.here(), 3);
    let offline = Access { offline: true, ..world.access.clone() };
    let world = World { access: offline, ..world };
    world.fetch(&()).unwrap();
    Downloads::open(&world.access).unwrap().remove(&world.recipe()).unwrap();
    let refused = world.fetch(&()).unwrap_err().to_string();
    assert!(refused.contains("3 of its 3 packages") && refused.contains("no network"), "{refused}");
}

#[test]
fn another_content_than_the_pinned_one_is_refused_and_not_kept() {
    let world = three();
    let (pinned, bytes) = &world.packages[1];
    let mut wrong = bytes.clone();
    wrong[70] ^= 1;
    fs::write(world.mirrored(pinned), &wrong).unwrap();
    let refused = world.fetch(&()).unwrap_err().to_string();
    for part in ["b=1-1", &Digest::of(F, &wrong).hash_text(), "1 of its 3", "not what is pinned"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert_eq!(world.here(), 2);
    let files = fs::read_dir(world.access.directory.join("packages")).unwrap();
    assert!(files.flatten().all(|file| file.path().extension().is_none_or(|e| e != "part")));
}

/// Serves the packages of a world, a folder deeper.
fn served(world: &World, broken: impl Fn(&str, &[u8]) -> Option<Reply> + Send + 'static) -> Server {
    let files: BTreeMap<_, _> =
        world.packages.iter().map(|(pinned, bytes)| (format!("/debian/{}", pinned.path), bytes.clone())).collect();
    Server::new(move |asked| match files.get(&asked.path) {
        Some(bytes) => broken(&asked.path, bytes).unwrap_or_else(|| Reply::ranged(asked, bytes)),
        None => Reply::of(404, ""),
    })
}

#[test]
fn without_apt_packages_come_by_http_from_the_first_mirror_that_has_them() {
    let world = three();
    let server = served(&world, |_, _| None);
    let mirrors = format!("{} {}", server.url("/other"), server.url("/debian/"));
    let world = World { access: Access { debian_mirror: Some(mirrors), ..world.access.clone() }, ..world };
    #[derive(Default)]
    struct Seen(Mutex<Vec<(u64, u64)>>);
    impl Progress for Seen {
        fn update(&self, stage: Stage, done: u64, total: u64) {
            assert_eq!(stage, Stage::Fetching);
            self.0.lock().unwrap().push((done, total));
        }
    }
    let seen = Seen::default();
    world.fetch(&seen).unwrap();
    let (seen, total) = (seen.0.into_inner().unwrap(), world.recipe().size_bytes());
    assert!(seen.is_sorted() && seen.first() == Some(&(0, total)) && seen.last() == Some(&(total, total)), "{seen:?}");
    assert_eq!(server.paths().len(), 6, "{:?}", server.paths());
    world.fetch(&()).unwrap();
    assert_eq!(server.paths().len(), 6, "nothing is fetched twice");
}

/// A mirror that cannot be asked is not one that has dropped a package: there is nothing to resolve anew.
#[test]
fn a_mirror_that_fails_is_not_one_that_has_nothing() {
    let world = three();
    let server = served(&world, |path, _| path.contains("/b_").then(|| Reply::of(403, "")));
    let access = Access { debian_mirror: Some(server.url("/debian")), ..world.access.clone() };
    let refused = World { access, ..world }.fetch(&()).unwrap_err().to_string();
    assert!(
        refused.contains("b=1-1") && refused.contains("403") && refused.contains("kept for the next try"),
        "{refused}"
    );
}

/// With apt's own program, where this machine has it: what is cut off is gone on with.
#[test]
fn apt_fetches_and_goes_on_where_it_was_cut_off() {
    if !super::apt::fetches() {
        let must_work = ["LRE_KERNEL_MUST_WORK", "CI"].into_iter().any(|v| std::env::var_os(v).is_some());
        assert!(!must_work, "this machine has no apt");
        return eprintln!("SKIPPED: this machine has no apt");
    }
    let world = three();
    let server = served(&world, |_, _| None);
    let access = Access { debian_mirror: Some(server.url("/debian")), ..world.access.clone() };
    let world = World { access, ..world };
    let (pinned, bytes) = &world.packages[0];
    let downloads = Downloads::open(&world.access).unwrap();
    let part = world.access.directory.join(format!("packages/{}.part", pinned.sha256));
    fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    downloads.fetch("deb:x", "deb:y", &world.recipe(), &world.access, &()).unwrap();
    assert_eq!(world.here(), 3);
    let range = server.asked().into_iter().find(|asked| asked.path.ends_with(&pinned.path)).unwrap();
    assert_eq!(range.header("range"), Some(&*format!("bytes={}-", bytes.len() / 2)));
}

#[test]
fn sources_are_read_and_written() {
    let digest = "0123456789abcdef".repeat(4);
    for text in ["gcc,g++", "cc-debian12", "libstdc++6", &format!("gcc,g++#{digest}")] {
        assert_eq!(text.parse::<Deb>().unwrap().to_string(), *text);
    }
    for (bad, says) in [
        ("Gcc", "`deb:cc-debian12`"),
        ("gcc,,g++", "cannot name"),
        ("gcc;rm", "cannot name"),
        ("-o", "cannot name"),
        ("gcc#12", "is not the SHA-256"),
        ("", "cannot name"),
    ] {
        let refused = bad.parse::<Deb>().unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
    let embedded: Deb = "cc-debian12".parse().unwrap();
    let pinned = format!("deb {}", super::Embedded::named("cc-debian12").unwrap().recipe().digest());
    assert_eq!(embedded.pinned(), Some(pinned), "what comes with the program is pinned");
    assert_eq!("gcc".parse::<Deb>().unwrap().pinned(), None, "the packages of today are not");
}

/// "A lock edited by hand" (issue 3): it is said which of the two does not fit.
#[tokio::test]
async fn a_recipe_is_the_one_whose_digest_is_named_or_refused() {
    let recipe = three().recipe();
    let named: Deb = format!("a,b,c#{}", recipe.digest()).parse().unwrap();
    let mut lines = recipe.lines();
    named.clone().with_recipe(&lines).unwrap();
    let plain: Deb = "a,b,c".parse().unwrap();
    assert!(plain.with_recipe(&lines).unwrap_err().contains(&recipe.digest()));
    let last = lines.pop().unwrap();
    let refused = named.clone().with_recipe(&lines).unwrap_err();
    assert!(refused.contains(&recipe.digest()), "{refused}");
    lines.push(last.replace("1-1", "1_1"));
    assert!(named.clone().with_recipe(&lines).unwrap_err().contains("no version"));
    // Without its recipe a digest says nothing, not even for what comes with the program.
    for source in [named, format!("cc-debian12#{}", recipe.digest()).parse().unwrap()] {
        let refused = source.recipe(&Access::default(), Arc::new(())).await.unwrap_err().to_string();
        assert!(refused.contains("lre.lock") && refused.contains("without the digest"), "{refused}");
    }
}

//! Images packed in every way that is seen, and broken in every way that was thought of.
use super::super::http::server::{Asked, Reply, Server};
use super::super::samples::{F, World, gzip, tar, zst};
use super::*;
use lre_model::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[test]
fn images_are_read_and_written() {
    let hex = Sha256::of(b"x").to_string();
    for written in [
        "/a/b",
        "image.tar",
        "images/x.tar#gcc:12",
        "./my.dir/x",
        &format!("/a/b@sha256:{hex}"),
        "h.example/gcc:12",
        "localhost/gcc",
        "127.0.0.1:5000/a/b_c-d.e:V1.2",
        &format!("h.example/gcc:12@sha256:{hex}"),
    ] {
        let image: Oci = written.parse().unwrap();
        assert_eq!(image.to_string(), written);
        let registry = ["h.example", "localhost", "127"].iter().any(|host| written.starts_with(host));
        assert_eq!(matches!(image.place, Place::Registry(_)), registry, "{written}");
    }
    for (bad, problem) in [
        ("", "no image"),
        ("docker://h.example/gcc", "docker://"),
        ("h.example/GCC", "lower case"),
        ("h.example/../x", "lower case"),
        ("h.example/a:b:c", "lower case"),
        ("h.example/a@sha256:12", "64 hexadecimal"),
        ("h.example/a@sha512:12", "sha256:"),
    ] {
        let refused = bad.parse::<Oci>().unwrap_err();
        assert!(refused.contains(problem), "{bad}: {refused}");
    }
}

/// An image in parts: blobs by digest, the last of which is its manifest.
#[derive(Default)]
struct Made {
    blobs: BTreeMap<String, Vec<u8>>,
    diff_ids: Vec<String>,
    layers: Vec<Value>,
}

impl Made {
    fn blob(&mut self, bytes: Vec<u8>, media_type: &str) -> Value {
        let digest = format!("sha256:{}", Sha256::of(&bytes));
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.blobs.insert(digest, bytes);
        descriptor
    }

    fn layer(&mut self, plain: &[u8], packed: Vec<u8>) {
        self.diff_ids.push(format!("sha256:{}", Sha256::of(plain)));
        let descriptor = self.blob(packed, LAYER);
        self.layers.push(descriptor);
    }

    fn config_of(&mut self, architecture: &str) -> Value {
        let env = ["PATH=/usr/local/bin:/bin", "CC=/bin/cc", "broken"];
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Env": env, "Entrypoint": ["x"]},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids}
        });
        self.blob(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json")
    }

    fn config(&mut self) -> Value {
        self.config_of(ours_as_images_say())
    }

    fn manifest(&mut self) -> Value {
        let config = self.config();
        self.manifest_with(config)
    }

    fn manifest_with(&mut self, config: Value) -> Value {
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": self.layers});
        self.blob(manifest.to_string().into_bytes(), MANIFEST)
    }

    /// For this machine and for another one, and what signs them.
    fn index(&mut self) -> Value {
        let mut ours = self.manifest();
        ours["platform"] = json!({"os": "linux", "architecture": ours_as_images_say()});
        let other = self.config_of("sparc64");
        let mut other = self.manifest_with(other);
        other["platform"] = json!({"os": "linux", "architecture": "sparc64"});
        let mut signature = self.blob(b"{}".to_vec(), MANIFEST);
        signature["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, signature, ours]});
        self.blob(index.to_string().into_bytes(), INDEX)
    }

    /// As a layout, with these at its top.
    fn layout(&self, at: &Path, tops: &[Value]) {
        fs::create_dir_all(at.join("blobs/sha256")).unwrap();
        for (digest, bytes) in &self.blobs {
            fs::write(at.join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
        }
        fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        fs::write(at.join("index.json"), json!({"schemaVersion": 2, "manifests": tops}).to_string()).unwrap();
    }
}

fn ours_as_images_say() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The sample tree in three layers: one with things that later ones remove and replace.
fn layered(world: &World, tree: &Path) -> Made {
    let at = |name: &str| world.at(name);
    let (lower, middle) = (at("lower"), at("middle"));
    fs::create_dir_all(lower.join("lib/old/deep")).unwrap();
    fs::create_dir_all(lower.join("gone")).unwrap();
    for (name, content) in
        [("bin", "a file where a directory will be"), ("lib/old/deep/x", "x"), ("lib/stale", "y"), ("gone/z", "")]
    {
        fs::write(lower.join(name), content).unwrap();
    }
    fs::create_dir_all(middle.join("lib")).unwrap();
    for name in [".wh.gone", "lib/.wh..wh..opq", ".wh.nothing"] {
        fs::write(middle.join(name), "").unwrap();
    }
    fs::write(middle.join("lib/large.so"), "replaced later").unwrap();
    let mut made = Made::default();
    for (folder, pack) in [(lower, gzip as fn(&[u8]) -> Vec<u8>), (middle, zst), (tree.to_owned(), <[u8]>::to_vec)] {
        let plain = tar(&folder, &["--format=pax"]);
        made.layer(&plain, pack(&plain));
    }
    made
}

/// As `docker save` of old has written it: layers in folders, one of them a link to another.
fn saved(world: &World, made: &mut Made) -> PathBuf {
    let folder = world.at("saved");
    let config = made.config();
    let (config, digests): (&str, Vec<_>) = (
        config["digest"].as_str().unwrap(),
        made.layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect(),
    );
    let name = config.trim_start_matches("sha256:");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.json")), &made.blobs[config]).unwrap();
    let mut layers = Vec::new();
    for (n, digest) in digests.iter().enumerate() {
        fs::create_dir_all(folder.join(format!("id{n}"))).unwrap();
        fs::write(folder.join(format!("id{n}/kept.tar")), &made.blobs[digest]).unwrap();
        std::os::unix::fs::symlink(format!("../id{n}/kept.tar"), folder.join(format!("id{n}/layer.tar"))).unwrap();
        layers.push(format!("id{n}/layer.tar"));
    }
    let manifest = json!([{"Config": format!("{name}.json"), "RepoTags": ["gcc:12"], "Layers": layers}]);
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    folder
}

#[tokio::test]
async fn every_way_of_keeping_an_image_gives_one_tree() {
    let world = World::new();
    let (tree, expected) = world.sample().await;
    let mut made = layered(&world, &tree);
    let (one, many) = (made.manifest(), made.index());
    let (folder, index) = (world.at("layout"), world.at("index"));
    made.layout(&folder, &[one]);
    made.layout(&index, std::slice::from_ref(&many));
    fs::write(world.at("layout.tar"), tar(&folder, &[])).unwrap();
    fs::write(world.at("layout.tgz"), gzip(&tar(&index, &[]))).unwrap();
    fs::write(world.at("saved.tar"), tar(&saved(&world, &mut made), &[])).unwrap();
    for name in ["layout", "index", "layout.tar", "layout.tgz", "saved.tar", "saved.tar#gcc:12"] {
        // A store that has nothing yet.
        let fresh = World::new();
        let written = format!("oci:{}", world.at(name).display());
        let added = fresh.add(Kind::Rootfs, &written).await.unwrap().toolchain;
        assert_eq!(added.digest, expected, "{name}");
        assert_eq!(added.environment["PATH"], "/usr/local/bin:/bin");
        assert_eq!((added.environment["CC"].as_str(), added.tools["cc"].as_str()), ("/bin/cc", "/bin/cc"));
        let pinned = added.source.rsplit_once("@sha256:").unwrap_or_else(|| panic!("{} is not pinned", added.source));
        assert_eq!(pinned.0, written.split('#').next().unwrap());
        // By what is in the lock, and in another way.
        let again = fresh.add(Kind::Tree, &added.source).await.unwrap();
        assert_eq!(again.toolchain.digest, expected, "{name}");
        assert!(again.toolchain.environment.is_empty());
        assert!(again.imported.warnings.iter().any(|w| w.to_string().contains("CC, PATH")), "{name}");
        assert!(again.toolchain.tools["cc"].starts_with("/lre/toolchains/"));
        let left: Vec<_> = fs::read_dir(fresh.at("access")).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(left, ["remembered"]);
    }
    // The same image in another place is known by its digest, and stays where the user has it.
    world.add(Kind::Rootfs, &format!("oci:{}", world.at("layout").display())).await.unwrap();
    fs::remove_dir_all(world.at("index/blobs")).unwrap();
    let digest = many["digest"].as_str().unwrap();
    world.add(Kind::Rootfs, &format!("oci:{}", world.at("layout.tgz").display())).await.unwrap();
    let known = format!("oci:{}@{digest}", world.at("index").display());
    assert_eq!(world.add(Kind::Rootfs, &known).await.unwrap().toolchain.source, known);
}

#[tokio::test]
async fn the_image_that_is_meant_is_chosen() {
    let world = World::new();
    let mut made = Made::default();
    let mut tops = Vec::new();
    for (name, content) in [("a", "x"), ("b", "y")] {
        let folder = world.at(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("f"), content).unwrap();
        (made.layers, made.diff_ids) = Default::default();
        made.layer(&tar(&folder, &[]), tar(&folder, &[]));
        let mut top = made.manifest();
        top["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        tops.push(top);
    }
    made.layout(&world.at("both"), &tops);
    let both = format!("oci:{}", world.at("both").display());
    let refused = world.refused(Kind::Rootfs, &both).await;
    assert!(refused.contains("several images") && refused.contains("a, b"), "{refused}");
    let refused = world.refused(Kind::Rootfs, &format!("{both}#c")).await;
    assert!(refused.contains("no image `c`; it has a, b"), "{refused}");
    let b = world.add(Kind::Rootfs, &format!("{both}#b")).await.unwrap().toolchain;
    let digest = tops[1]["digest"].as_str().unwrap();
    assert_eq!(b.source, format!("{both}@{digest}"));
    let directory = world.add(Kind::Rootfs, &format!("dir:{}", world.at("b").display())).await.unwrap().toolchain;
    assert_eq!(b.digest, directory.digest);
}

/// What is wrong, as a change of a whole layout, and what is said of it.
type Broken = (&'static str, fn(&World, &mut Made) -> Vec<Value>, &'static [&'static str]);

/// All that was thought of.
const WRONG: [Broken; 12] = [
    (
        "layer cut off",
        |_, m| with_layer(m, |bytes| bytes.truncate(bytes.len() / 2)),
        &["layer 2 of 3", "a part is missing"],
    ),
    (
        "layer changed",
        |_, m| with_layer(m, |b| b.last_mut().iter_mut().for_each(|x| **x ^= 1)),
        &["layer 2 of 3", "but", "was expected"],
    ),
    ("layer missing", |_, m| without_layer(m), &["is missing"]),
    (
        "another diff_id",
        |_, m| {
            m.diff_ids[2] = format!("sha256:{}", Sha256::of(b"other"));
            vec![m.manifest()]
        },
        &["layer 3 of 3", "unpacked"],
    ),
    (
        "too few diff_ids",
        |_, m| {
            m.diff_ids.pop();
            vec![m.manifest()]
        },
        &["3 layers", "names 2"],
    ),
    (
        "for another machine",
        |_, m| {
            let config = m.config_of("sparc64");
            vec![m.manifest_with(config)]
        },
        &["linux/sparc64", "this machine"],
    ),
    (
        "no platform of ours",
        |_, m| {
            let mut top = m.manifest();
            top["platform"] = json!({"os": "windows", "architecture": "amd64"});
            vec![top]
        },
        &["no image for linux/", "it is for windows/amd64"],
    ),
    ("not an image", |_, m| vec![m.blob(b"{\"schemaVersion\": 2}".to_vec(), MANIFEST)], &["neither"]),
    ("of the first version", |_, m| vec![m.blob(b"{\"schemaVersion\": 1}".to_vec(), MANIFEST)], &["version 1"]),
    (
        "another digest function",
        |_, m| {
            m.layers[0]["digest"] = json!("sha512:12");
            vec![m.manifest()]
        },
        &["sha512:12"],
    ),
    (
        "encrypted",
        |_, m| {
            m.layers[0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+encrypted");
            vec![m.manifest()]
        },
        &["encrypted"],
    ),
    (
        "hostile layer",
        |_, m| {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.as_old_mut().name[..10].copy_from_slice(b"../../evil");
            header.set_cksum();
            let plain = [&header.as_bytes()[..], &[0; 1024]].concat();
            m.layer(&plain, gzip(&plain));
            vec![m.manifest()]
        },
        &["layer 4 of 4", "../../evil", "`..`"],
    ),
];

#[tokio::test]
async fn broken_images_are_refused_and_nothing_stays() {
    let world = World::new();
    let (tree, _) = world.sample().await;
    for (n, (what, make, problems)) in WRONG.into_iter().enumerate() {
        let (mut made, folder) = (layered(&world, &tree), world.at(&format!("broken-{n}")));
        fs::remove_dir_all(world.at("lower")).unwrap();
        fs::remove_dir_all(world.at("middle")).unwrap();
        let tops = make(&world, &mut made);
        made.layout(&folder, &tops);
        let refused = world.refused(Kind::Rootfs, &format!("oci:{}", folder.display())).await;
        assert!(problems.iter().all(|problem| refused.contains(problem)), "{what}: {refused}");
        assert!(fs::read_dir(world.at("access/remembered")).is_err(), "{what}");
    }
    for (name, problem) in [("nowhere", "nowhere"), ("tree", "neither an OCI layout")] {
        let refused = world.refused(Kind::Rootfs, &format!("oci:{}", world.at(name).display())).await;
        assert!(refused.contains(problem), "{refused}");
    }
}

fn with_layer(made: &mut Made, change: impl Fn(&mut Vec<u8>)) -> Vec<Value> {
    let digest = made.layers[1]["digest"].as_str().unwrap().to_owned();
    change(made.blobs.get_mut(&digest).unwrap());
    vec![made.manifest()]
}

fn without_layer(made: &mut Made) -> Vec<Value> {
    let digest = made.layers[1]["digest"].as_str().unwrap().to_owned();
    made.blobs.remove(&digest);
    vec![made.manifest()]
}

#[tokio::test]
async fn archives_of_images_that_are_cut_off_are_refused() {
    let world = World::new();
    let (tree, _) = world.sample().await;
    let mut made = layered(&world, &tree);
    let whole = tar(&saved(&world, &mut made), &["--sort=name"]);
    for at in [700, whole.len() / 2, whole.len() - 15_000] {
        fs::write(world.at("cut.tar"), &whole[..at]).unwrap();
        let refused = world.refused(Kind::Rootfs, &format!("oci:{}", world.at("cut.tar").display())).await;
        assert!(refused.contains("cut.tar"), "{refused}");
    }
    let config = made.config()["digest"].as_str().unwrap().to_owned();
    fs::write(world.at("saved.tar"), &whole).unwrap();
    let other = format!("oci:{}@sha256:{}", world.at("saved.tar").display(), Sha256::of(b"other"));
    let refused = world.refused(Kind::Rootfs, &other).await;
    assert!(refused.contains(&config) && refused.contains(&Sha256::of(b"other").to_string()), "{refused}");
}

/// A registry: its blobs, who may ask, and how well it sends.
struct Registered {
    server: Server,
}

/// What a registry is told apart by.
#[derive(Clone, Copy)]
struct Manner {
    /// A token is wanted, from `/token`.
    tokens: bool,
    /// Layers are sent from somewhere else, where our token is no use.
    elsewhere: bool,
    /// Bytes after which it hangs up.
    cut: usize,
}

const PLAIN: Manner = Manner { tokens: false, elsewhere: false, cut: usize::MAX };

impl Registered {
    fn new(made: &Made, top: &Value, manner: Manner, storage: Option<&Server>) -> Self {
        let (blobs, top) = (made.blobs.clone(), top["digest"].as_str().unwrap().to_owned());
        let storage = storage.map(|storage| storage.address.clone());
        let server = Server::new(move |asked| {
            let address = asked.header("host").unwrap().to_owned();
            if asked.path.starts_with("/token?") {
                assert!(asked.path.contains("scope=repository%3Atools%2Fgcc%3Apull"), "{}", asked.path);
                return Reply::of(200, r#"{"token": "sesame"}"#);
            }
            if manner.tokens && asked.header("authorization") != Some("Bearer sesame") {
                let realm = format!("Bearer realm=\"http://{address}/token\",service=\"{address}\"");
                return Reply::of(401, "").with("www-authenticate", realm);
            }
            let (folder, name) = asked.path.trim_start_matches("/v2/tools/gcc/").split_once('/').unwrap();
            let name = if name == "12" { &top } else { name };
            match (blobs.get(name), folder, &storage) {
                (None, ..) => Reply::of(404, ""),
                (Some(_), "blobs", Some(storage)) if manner.elsewhere => {
                    Reply::of(307, "").with("location", format!("http://{storage}/{name}?signature=1"))
                }
                (Some(bytes), ..) => cut(Reply::ranged(asked, bytes), manner.cut),
            }
        });
        Self { server }
    }

    fn reference(&self, rest: &str) -> String {
        format!("oci:{}/tools/gcc{rest}", self.server.address)
    }
}

fn cut(reply: Reply, after: usize) -> Reply {
    let whole = reply.body.len();
    if whole > after { reply.cut(after) } else { reply }
}

/// Where a registry keeps its layers.
fn storage(made: &Made) -> Server {
    let blobs = made.blobs.clone();
    Server::new(move |asked: &Asked| {
        assert_eq!(asked.header("authorization"), None, "the token is for the registry");
        Reply::ranged(asked, &blobs[asked.path[1..].split('?').next().unwrap()])
    })
}

#[tokio::test]
async fn a_registry_gives_the_same_tree_however_it_behaves() {
    let first = World::new();
    let (tree, expected) = first.sample().await;
    let mut made = layered(&first, &tree);
    let top = made.index();
    let digest = top["digest"].as_str().unwrap().to_owned();
    let storage = storage(&made);
    for manner in [
        PLAIN,
        Manner { tokens: true, ..PLAIN },
        Manner { cut: 300_000, ..PLAIN },
        Manner { tokens: true, elsewhere: true, ..PLAIN },
    ] {
        let world = World::new();
        let registry = Registered::new(&made, &top, manner, Some(&storage));
        // A tag is refused with what it means now, whatever is written behind the name.
        let refused = world.refused(Kind::Rootfs, &registry.reference(":12")).await;
        let pinned = registry.reference(&format!(":12@{digest}"));
        assert!(refused.contains(&format!("`{pinned}`")), "{refused}");
        let added = world.add(Kind::Rootfs, &pinned).await.unwrap().toolchain;
        assert_eq!((added.digest, &added.source), (expected, &pinned));
        assert_eq!(fs::read_dir(world.at("access/downloads")).unwrap().count(), 0);
        let asked = registry.server.asked().len();
        let plain = registry.reference(&format!("@{digest}"));
        let again = world.add(Kind::Rootfs, &plain).await.unwrap().toolchain;
        assert_eq!((again.digest, registry.server.asked().len()), (expected, asked), "what is known is not fetched");
        let ranges = registry.server.asked().iter().filter(|asked| asked.header("range").is_some()).count();
        assert_eq!(ranges > 0, manner.cut < usize::MAX);
    }
}

#[tokio::test]
async fn registries_that_lie_or_refuse() {
    let world = World::new();
    let (tree, _) = world.sample().await;
    let mut made = layered(&world, &tree);
    let top = made.manifest();
    let digest = top["digest"].as_str().unwrap().to_owned();
    // Another manifest under this digest.
    let mut lying = layered_again(&made);
    lying.blobs.insert(digest.clone(), b"{}".to_vec());
    let registry = Registered::new(&lying, &top, PLAIN, None);
    let refused = world.refused(Kind::Rootfs, &registry.reference(&format!("@{digest}"))).await;
    assert!(refused.contains(digest.trim_start_matches("sha256:")) && refused.contains("was expected"), "{refused}");
    // Another layer under its digest: both are named.
    let mut lying = layered_again(&made);
    let layer = made.layers[0]["digest"].as_str().unwrap().to_owned();
    lying.blobs.get_mut(&layer).unwrap()[20] ^= 1;
    let found = Sha256::of(&lying.blobs[&layer]).to_string();
    let registry = Registered::new(&lying, &top, PLAIN, None);
    let refused = world.refused(Kind::Rootfs, &registry.reference(&format!("@{digest}"))).await;
    assert!(refused.contains(&found) && refused.contains(layer.trim_start_matches("sha256:")), "{refused}");
    // None at all, and one that lets nobody in.
    let registry = Registered::new(&Made::default(), &top, PLAIN, None);
    let refused = world.refused(Kind::Rootfs, &registry.reference(&format!("@{digest}"))).await;
    assert!(refused.contains("no such image") && refused.contains(&registry.server.address), "{refused}");
    let closed = Server::new(|_| Reply::of(401, "").with("www-authenticate", "Basic realm=\"x\""));
    let refused = world.refused(Kind::Rootfs, &format!("oci:{}/gcc@{digest}", closed.address)).await;
    assert!(refused.contains("login"), "{refused}");
    let offline = World { access: Access { offline: true, ..world.access.clone() }, ..World::new() };
    let refused = offline.add(Kind::Rootfs, &format!("oci:{}/gcc@{digest}", closed.address)).await.unwrap_err();
    assert!(refused.to_string().contains("--offline"), "{refused}");
}

fn layered_again(made: &Made) -> Made {
    Made { blobs: made.blobs.clone(), ..Made::default() }
}

/// A layer that is only named: its bytes are at an address of somebody else.
#[tokio::test]
async fn foreign_layers_are_fetched_from_where_they_are() {
    let world = World::new();
    let (tree, expected) = world.sample().await;
    let mut made = Made::default();
    let plain = tar(&tree, &[]);
    made.layer(&plain, gzip(&plain));
    let digest = made.layers[0]["digest"].as_str().unwrap().to_owned();
    let bytes = made.blobs.remove(&digest).unwrap();
    let elsewhere =
        Server::new(move |asked| if asked.path == "/it" { Reply::ranged(asked, &bytes) } else { Reply::of(404, "") });
    made.layers[0]["urls"] = json!([elsewhere.url("/not-here"), elsewhere.url("/it")]);
    let top = made.manifest();
    made.layout(&world.at("layout"), std::slice::from_ref(&top));
    let registry = Registered::new(&made, &top, PLAIN, None);
    let pinned = registry.reference(&format!("@{}", top["digest"].as_str().unwrap()));
    for source in [format!("oci:{}", world.at("layout").display()), pinned] {
        // Each in a store of its own: it is known by its digest.
        let world = World::new();
        assert_eq!(world.add(Kind::Rootfs, &source).await.unwrap().toolchain.digest, expected);
    }
    assert_eq!(elsewhere.paths(), ["/not-here", "/it", "/not-here", "/it"]);
}

#[test]
fn tools_are_where_the_image_says_through_its_symlinks() {
    let mut layout = Layout::default();
    let digest = Digest::of(F, b"");
    let at = |path: &str| lre_model::RelPath::parse(path).unwrap();
    layout.insert(at("usr/bin/gcc"), crate::Entry::Stored { digest, executable: true });
    layout.insert(at("opt/java/bin/java"), crate::Entry::Stored { digest, executable: true });
    layout.insert(at("bin"), crate::Entry::Symlink { target: "usr/bin".to_owned() });
    let found = tools(&layout, Some(&"/opt/java/bin:/bin".to_owned()));
    assert_eq!((found["cc"].as_str(), found["java"].as_str()), ("/usr/bin/gcc", "/opt/java/bin/java"));
    assert!(!tools(&layout, None).contains_key("java"));
}

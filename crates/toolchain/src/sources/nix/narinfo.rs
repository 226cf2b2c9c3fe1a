//! `.narinfo`: what a binary cache says of a store path.
use super::info::Info;
use super::keys::Keys;
use super::path::{STORE, Sha256, StorePath, base32};
use crate::sources::http::Expected;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of the hash in a store path.
const PATH_HASH_BYTES: usize = 20;

/// What a binary cache says of a store path.
#[derive(Debug, Clone)]
pub(super) struct NarInfo {
    /// What is signed.
    pub info: Info,
    /// Where its NAR is, from the cache's top.
    pub url: String,
    /// `none`, `xz`, `zstd`, `gzip`, …
    pub compression: String,
    /// Of the compressed file; signed by nobody.
    file: (Option<Sha256>, Option<u64>),
    /// `name:base64` each.
    signatures: Vec<String>,
    /// For a path whose name follows from its content: how.
    content_address: Option<String>,
}

/// What proves that a path is what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// A key of this name.
    Signature(String),
    /// Its name, which follows from its content.
    Content,
}

impl NarInfo {
    /// Reads one that must be about `path`.
    pub fn parse(text: &str, path: &StorePath) -> Result<Self, String> {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        let mut signatures = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (name, value) =
                line.split_once(':').ok_or_else(|| format!("the line `{line}` is not `Name: value`"))?;
            let value = value.trim();
            if name == "Sig" {
                signatures.push(value.to_owned());
            } else if fields.insert(name, value).is_some() {
                return Err(format!("it has two lines `{name}`"));
            }
        }
        let field = |name: &str| fields.get(name).copied().ok_or_else(|| format!("it has no line `{name}`"));
        let about: StorePath = field("StorePath")?.parse()?;
        if about != *path {
            return Err(format!("it is about {about}"));
        }
        let references = fields.get("References").copied().unwrap_or_default().split_whitespace();
        let size = field("NarSize")?;
        Ok(Self {
            info: Info {
                path: about,
                nar_hash: field("NarHash")?.parse()?,
                nar_size: size.parse().map_err(|_| format!("`{size}` is not a size"))?,
                references: references.map(StorePath::of_either).collect::<Result<_, _>>()?,
            },
            url: field("URL")?.to_owned(),
            // What it means where nothing is said.
            compression: fields.get("Compression").copied().unwrap_or("bzip2").to_owned(),
            file: (
                fields.get("FileHash").and_then(|hash| hash.parse().ok()),
                fields.get("FileSize").and_then(|size| size.parse().ok()),
            ),
            signatures,
            content_address: fields.get("CA").map(|ca| (*ca).to_owned()),
        })
    }

    /// The compressed file, as far as it is known; enough to go on with a download that was cut off.
    pub fn expected(&self) -> Expected {
        let (hash, size) = self.file;
        Expected { sha256: hash.and_then(|hash| hex::encode(hash.0).parse().ok()), size }
    }

    /// What proves this, with these keys.
    ///
    /// # Errors
    /// Nothing does: who signed it, who should have, and what to do.
    pub fn proof(&self, keys: &Keys) -> Result<Proof, String> {
        if self.content_address.as_ref().is_some_and(|ca| named_by_content(&self.info, ca)) {
            return Ok(Proof::Content);
        }
        if let Some(name) = keys.signer(&fingerprint(&self.info), &self.signatures) {
            return Ok(Proof::Signature(name.to_owned()));
        }
        let signers: Vec<_> = self.signatures.iter().map(|s| s.split(':').next().unwrap_or(s)).collect();
        let by = match &signers[..] {
            [] => "nobody has signed it".to_owned(),
            signers if signers.iter().any(|name| keys.knows(name)) => {
                format!(
                    "its signature by `{}` is not valid: it was changed, or the key is another one",
                    signers.join("`, `")
                )
            }
            signers => format!("it is signed by `{}`, whose key is not known", signers.join("`, `")),
        };
        Err(format!("{by}; trusted keys: {}; add the cache's public key to `nix_keys` to trust it", keys.names()))
    }
}

/// What is signed: path, hash, size and references.
pub(super) fn fingerprint(info: &Info) -> String {
    let references: Vec<_> = info.references.iter().map(ToString::to_string).collect();
    format!("1;{};{};{};{}", info.path, info.nar_hash, info.nar_size, references.join(","))
}

/// Whether the path's name follows from the hash of its NAR. A name that follows from anything else (another hash, a
/// flat file, a path that names itself) is not looked into: it needs a signature like every other.
fn named_by_content(info: &Info, content_address: &str) -> bool {
    let hash = content_address.strip_prefix("fixed:r:").and_then(|hash| hash.parse::<Sha256>().ok());
    hash == Some(info.nar_hash) && !info.references.contains(&info.path) && {
        let hash = hex::encode(info.nar_hash.0);
        let kind = kind_of_source(&info.references);
        path_hash(&format!("{kind}:sha256:{hash}:{STORE}:{}", info.path.name())) == info.path.hash()
    }
}

fn kind_of_source(references: &BTreeSet<StorePath>) -> String {
    references.iter().fold("source".to_owned(), |kind, path| format!("{kind}:{path}"))
}

/// The hash in a store path: a SHA-256, folded.
fn path_hash(said: &str) -> String {
    use sha2::Digest as _;
    let mut folded = [0; PATH_HASH_BYTES];
    for (n, byte) in sha2::Sha256::digest(said.as_bytes()).iter().enumerate() {
        folded[n % PATH_HASH_BYTES] ^= byte;
    }
    base32(&folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-bb";

    fn text(more: &str) -> String {
        format!(
            "StorePath: {PATH}\nURL: nar/x.nar.xz\nCompression: xz\nFileHash: sha256:x\nFileSize: 1\n\
             NarHash: sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73\nNarSize: 120\n\
             References: 1s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-b 0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-bb\n{more}"
        )
    }

    fn parse(text: &str) -> Result<NarInfo, String> {
        NarInfo::parse(text, &PATH.parse().unwrap())
    }

    #[test]
    fn a_narinfo_is_read_and_what_is_signed_is_in_order() {
        let narinfo = parse(&text("Sig: a-1:AA\nSig: b-1:BB\nDeriver: x\n")).unwrap();
        assert_eq!((&*narinfo.url, &*narinfo.compression), ("nar/x.nar.xz", "xz"));
        assert_eq!(narinfo.signatures, ["a-1:AA", "b-1:BB"]);
        assert_eq!(
            fingerprint(&narinfo.info),
            format!(
                "1;{PATH};sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73;120;\
                 {PATH},/nix/store/1s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-b"
            )
        );
        let without = text("").replace("References: ", "References:\nX: ").replace("Compression: xz\n", "");
        let without = parse(&without).unwrap();
        assert!(without.info.references.is_empty() && without.compression == "bzip2");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let other = "/nix/store/2s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-bb";
        for (bad, says) in [
            (text("NarSize: 7\n"), "two lines `NarSize`"),
            (text("").replace("NarSize: 120", "NarSize: -1"), "`-1` is not a size"),
            (text("").replace("NarHash", "NarHush"), "no line `NarHash`"),
            (text("").replace(PATH, other), "it is about /nix/store/2s8"),
            (text("").replace(PATH, "/elsewhere/x"), "below /nix/store"),
            (text("").replace("1s8q", "../1"), "hash of 32"),
            (text("<html>\n"), "`<html>`"),
        ] {
            let refused = parse(&bad).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }

    /// What Nix 2.26 has written: a path that was built, and one that was added and is named by its content.
    const BUILT: &str = "StorePath: /nix/store/dxb1xvvifs1vha4c89v9w5qsnij1gcaf-hello\n\
         URL: nar/1s9a60kppwv1gkjcvzm0h65838cakp891wyy4rk25c0v8d960s2p.nar.xz\n\
         Compression: xz\n\
         FileHash: sha256:1s9a60kppwv1gkjcvzm0h65838cakp891wyy4rk25c0v8d960s2p\n\
         FileSize: 244\n\
         NarHash: sha256:1ir0rvzq7xwy3byzsfzc7qyg9y07qc8jjb2s4r03qi4jh9sxmw5m\n\
         NarSize: 552\n\
         References: rwhjjrhj1pbnmpfr3j1qqx48kn1cm5rj-bb\n\
         Deriver: 5a2ndpa6249mskv0b10fikmc13dhfwmk-hello.drv\n\
         Sig: test-1:5pTKd9CxlNu1FojtMjmsghx8uI13d+Jk0u5JBxFTgxebtC0BODy74JW7NryQ7z88eq7CLz++pfmOXvnD3z/CAg==\n";
    const ADDED: &str = "StorePath: /nix/store/rwhjjrhj1pbnmpfr3j1qqx48kn1cm5rj-bb\n\
         URL: nar/05cdanzqrfcwpfghj54xfm2jscb4rcixl10a9wx0r6f28z7k6w9p.nar.xz\n\
         Compression: xz\n\
         FileHash: sha256:05cdanzqrfcwpfghj54xfm2jscb4rcixl10a9wx0r6f28z7k6w9p\n\
         FileSize: 903500\n\
         NarHash: sha256:1gd2p3m37gprclxp6h96rq1mk9nvkjp77x9gr3l7bvf87y2yp2b4\n\
         NarSize: 2025984\n\
         References: \n\
         Sig: test-1:vYbqUq+CmEIvEy7H/p1UVlVtSjRw2hJF92w3rgU2DkuXTvQiJSPLPDjiLViv6iuzrf6emtEhZx+opqXWkytBBw==\n\
         CA: fixed:r:sha256:1gd2p3m37gprclxp6h96rq1mk9nvkjp77x9gr3l7bvf87y2yp2b4\n";
    const KEY: &str = "test-1:I2gULmOPHx/7MwV0hAwgs5LbMnj3UOluvK7/8+CZQ0E=";

    #[test]
    fn what_nix_has_signed_is_proven_and_nothing_else() {
        let keys = Keys::new(&[KEY.to_owned()]).unwrap();
        let none = Keys::new(&[]).unwrap();
        let of = |text: &str| {
            let path = text.lines().next().unwrap().strip_prefix("StorePath: ").unwrap();
            NarInfo::parse(text, &path.parse().unwrap()).unwrap()
        };
        assert_eq!(of(BUILT).proof(&keys), Ok(Proof::Signature("test-1".to_owned())));
        assert!(of(BUILT).proof(&none).is_err());
        assert_eq!(of(ADDED).proof(&none), Ok(Proof::Content));
        for (text, from, to) in [
            (BUILT, "NarSize: 552", "NarSize: 553"),
            (BUILT, "NarHash: sha256:1ir", "NarHash: sha256:0ir"),
            (BUILT, "References: rwhj", "References: 2whj"),
            (BUILT, "Sig: test-1", "Sig: test-2"),
            (ADDED, "NarHash: sha256:1gd", "NarHash: sha256:0gd"),
            (ADDED, "sha256:1gd", "sha256:0gd"),
            (ADDED, "References: ", "References: dxb1xvvifs1vha4c89v9w5qsnij1gcaf-hello"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            let none = if text == BUILT { &keys } else { &none };
            assert!(of(&changed).proof(none).is_err(), "{to}");
        }
    }

    #[test]
    fn without_a_proof_it_is_said_who_signed_and_what_to_do() {
        let keys = Keys::new(&["known-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()]).unwrap();
        for (signatures, says) in [
            ("", "nobody has signed it"),
            ("Sig: other-1:AAAA\n", "`other-1`, whose key is not known"),
            ("Sig: known-1:AAAA\n", "by `known-1` is not valid"),
            ("CA: fixed:r:sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73\n", "nobody has signed it"),
        ] {
            let refused = parse(&text(signatures)).unwrap().proof(&keys).unwrap_err();
            assert!(refused.contains(says) && refused.contains("`nix_keys`"), "{refused}");
        }
    }
}

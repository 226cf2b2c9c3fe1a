//! Whose word is taken for what a binary cache sends.
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

/// The key of the Nix project's own cache, which every Nix trusts from the start.
const DEFAULT: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

/// Bytes of an Ed25519 public key.
const KEY_BYTES: usize = 32;

/// Public keys, by name.
#[derive(Debug)]
pub(super) struct Keys(Vec<(String, Vec<u8>)>);

impl Keys {
    /// The well-known key, and these: `name:base64`, as in `trusted-public-keys` of nix.conf.
    pub fn new(more: &[String]) -> Result<Self, String> {
        std::iter::once(DEFAULT).chain(more.iter().map(String::as_str)).map(key).collect::<Result<_, _>>().map(Self)
    }

    /// The name of a key here that made one of `signatures` (each `name:base64`) on `said`.
    pub fn signer(&self, said: &str, signatures: &[String]) -> Option<&str> {
        let parts = |text: &str| {
            let (name, signature) = text.split_once(':')?;
            Some((name.to_owned(), BASE64_STANDARD.decode(signature).ok()?))
        };
        signatures.iter().filter_map(|text| parts(text)).find_map(|(name, signature)| {
            let mut keys = self.0.iter().filter(|(known, _)| *known == name);
            let proves = |key: &[u8]| UnparsedPublicKey::new(&ED25519, key).verify(said.as_bytes(), &signature).is_ok();
            keys.find(|(_, key)| proves(key)).map(|(name, _)| name.as_str())
        })
    }

    /// Whether there is a key of this name.
    pub fn knows(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// For errors.
    pub fn names(&self) -> String {
        self.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn key(text: &str) -> Result<(String, Vec<u8>), String> {
    let parts = text.split_once(':').filter(|(name, _)| !name.is_empty());
    let bytes = parts.and_then(|(name, key)| Some((name, BASE64_STANDARD.decode(key).ok()?)));
    match bytes {
        Some((name, key)) if key.len() == KEY_BYTES => Ok((name.to_owned(), key)),
        Some((name, key)) if key.len() == 2 * KEY_BYTES => {
            Err(format!("the key `{name}` is a secret one; give the public one (`nix key convert-secret-to-public`)"))
        }
        _ => Err(format!("`{text}` is not a public key of the form `name:base64`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn signed(name: &str, pair: &Ed25519KeyPair, said: &str) -> String {
        format!("{name}:{}", BASE64_STANDARD.encode(pair.sign(said.as_bytes())))
    }

    #[test]
    fn only_a_key_that_is_known_by_its_name_can_sign() {
        let (ours, other) = (pair(1), pair(2));
        let key = format!("ours-1:{}", BASE64_STANDARD.encode(ours.public_key()));
        let keys = Keys::new(std::slice::from_ref(&key)).unwrap();
        assert!(keys.names().contains("cache.nixos.org-1, ours-1"));
        let signer = |signatures: &[String]| keys.signer("said", signatures).map(str::to_owned);
        assert_eq!(signer(&[signed("x", &other, "said"), signed("ours-1", &ours, "said")]), Some("ours-1".to_owned()));
        assert_eq!(signer(&[]), None);
        assert_eq!(signer(&[signed("ours-1", &ours, "unsaid")]), None);
        assert_eq!(signer(&[signed("ours-1", &other, "said")]), None, "another key by this name");
        assert_eq!(signer(&[signed("ours-2", &ours, "said")]), None, "a name that is not known");
        assert_eq!(signer(&["ours-1:!".to_owned(), "ours-1".to_owned()]), None);
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let secret = format!("k:{}", BASE64_STANDARD.encode([1; 64]));
        for (bad, says) in [("k", "public key"), (":AAAA", "public key"), ("k:AAAA", "public key"), (&secret, "secret")]
        {
            let refused = Keys::new(&[bad.to_owned()]).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }
}

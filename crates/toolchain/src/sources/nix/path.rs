//! Names of store paths, and the hashes that Nix writes.
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt;
use std::str::FromStr;

/// The one store directory whose paths we take: it is part of every path's own hash, and toolchains are mounted here.
pub(super) const STORE: &str = "/nix/store";

/// Characters of the hash at the front of a name.
const HASH_CHARACTERS: usize = 32;
/// Most characters after the hash and its dash; Nix allows no more.
const NAME_CHARACTERS_MAX: usize = 211;

/// Nix's digits: no `e`, `o`, `u`, `t`.
const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// A store path, by the name that it has in the store directory: `HASH-NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StorePath(String);

impl StorePath {
    /// From `HASH-NAME`.
    pub fn of_base(base: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("`{base}` is not the name of a store path: {why}"));
        let Some((hash, name)) = base.split_at_checked(HASH_CHARACTERS) else { return refused("it is too short") };
        if !hash.bytes().all(|b| DIGITS.contains(&b)) {
            return refused("it does not begin with a hash of 32 characters");
        }
        let Some(name) = name.strip_prefix('-').filter(|name| !name.is_empty()) else {
            return refused("its hash is not followed by `-` and a name");
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-._?=".contains(&b);
        if name.len() > NAME_CHARACTERS_MAX || !name.bytes().all(allowed) {
            return refused("its name is too long or has characters that Nix does not allow");
        }
        Ok(Self(base.to_owned()))
    }

    /// From either form: with the store directory, or without, as newer programs write it.
    pub fn of_either(text: &str) -> Result<Self, String> {
        if text.starts_with('/') { text.parse() } else { Self::of_base(text) }
    }

    /// `HASH-NAME`.
    pub fn base(&self) -> &str {
        &self.0
    }

    /// What identifies it in a binary cache.
    pub fn hash(&self) -> &str {
        &self.0[..HASH_CHARACTERS]
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.0[HASH_CHARACTERS + 1..]
    }
}

impl FromStr for StorePath {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let base = text.strip_prefix(STORE).and_then(|rest| rest.strip_prefix('/'));
        let Some(base) = base.map(|base| base.trim_end_matches('/')) else {
            return Err(format!("`{text}` is not below {STORE}, the only store whose paths work everywhere"));
        };
        match base.split_once('/') {
            Some((top, _)) if Self::of_base(top).is_ok() => {
                Err(format!("`{text}` is inside of a store path; write `{STORE}/{top}`"))
            }
            _ => Self::of_base(base),
        }
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}/{}", self.0)
    }
}

/// A SHA-256, as Nix writes them in its several ways.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sha256(pub [u8; 32]);

impl FromStr for Sha256 {
    type Err = String;
    /// `sha256:` and base 32, base 16 or base 64; or `sha256-` and base 64.
    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.strip_prefix("sha256").and_then(|rest| match rest.split_at_checked(1) {
            Some((":", rest)) => match rest.len() {
                52 => from_base32(rest),
                64 => hex::decode(rest).ok(),
                _ => BASE64_STANDARD.decode(rest).ok(),
            },
            Some(("-", rest)) => BASE64_STANDARD.decode(rest).ok(),
            _ => None,
        });
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| format!("`{text}` is not a SHA-256 as Nix writes them"))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", base32(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Nix's base 32: the bytes are one number, the lowest byte first, written with the highest digit first.
pub(super) fn base32(bytes: &[u8]) -> String {
    let digits = (bytes.len() * 8).div_ceil(5);
    let digit = |n: usize| {
        let (byte, shift) = (n * 5 / 8, n * 5 % 8);
        let pair = u16::from(bytes[byte]) | u16::from(bytes.get(byte + 1).copied().unwrap_or(0)) << 8;
        char::from(DIGITS[usize::from(pair >> shift & 31)])
    };
    (0..digits).rev().map(digit).collect()
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0_u8; text.len() * 5 / 8];
    for (n, character) in text.bytes().rev().enumerate() {
        let digit = DIGITS.iter().position(|d| *d == character)? as u16;
        let (byte, shift) = (n * 5 / 8, n * 5 % 8);
        let pair = digit << shift;
        bytes[byte] |= (pair & 0xff) as u8;
        match bytes.get_mut(byte + 1) {
            Some(next) => *next |= (pair >> 8) as u8,
            // The highest digit has bits for which there is no byte.
            None if pair >> 8 != 0 => return None,
            None => {}
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_that_nix_allows() {
        let base = "0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-bb-1.0+x?y=z_w";
        let path: StorePath = format!("/nix/store/{base}").parse().unwrap();
        assert_eq!((path.base(), path.name()), (base, "bb-1.0+x?y=z_w"));
        assert_eq!(path.hash(), "0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh");
        assert_eq!(StorePath::of_either(base), Ok(path.clone()));
        assert_eq!(StorePath::of_either(&path.to_string()), Ok(path.clone()));
        assert_eq!(format!("{path}/").parse(), Ok(path.clone()));
        for (bad, says) in [
            ("/nix/store/x", "too short"),
            ("/gnu/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-bb", "below /nix/store"),
            ("/nix/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6cse-bb", "begin with a hash"),
            ("/nix/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh", "`-` and a name"),
            ("/nix/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-", "`-` and a name"),
            ("/nix/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-b b", "characters"),
            ("/nix/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-bb/bin/sh", "write `/nix/store/0s8ql"),
            ("/nix/store/../0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-bb", "begin with a hash"),
            ("/nix/storeroom/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-bb", "below /nix/store"),
        ] {
            let refused = bad.parse::<StorePath>().unwrap_err();
            assert!(refused.contains(says), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_hash_is_read_in_every_way_of_writing_it() {
        // What `nix hash to-base32`, `to-base16` and `to-sri` say of one hash: the SHA-256 of nothing.
        let all = [
            "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ];
        for text in all {
            assert_eq!(text.parse::<Sha256>().unwrap().to_string(), all[0], "{text}");
        }
        for bad in ["", "sha256", "sha256:", "sha1:x", "sha256:zzzz", "md5-47DE", &all[0].replace("0mdq", "zmdq")] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn base_32_goes_both_ways(bytes in proptest::collection::vec(any::<u8>(), 20..=32)) {
            let text = base32(&bytes);
            prop_assert_eq!(text.len(), (bytes.len() * 8).div_ceil(5));
            prop_assert_eq!(from_base32(&text), Some(bytes));
        }
    }
}

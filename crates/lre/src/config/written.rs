//! The configuration, word for word: of a file, of the environment, of flags.
use crate::config::keys;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What somebody wrote. Absent means absent; there is no magic zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each key is described in the table, keys::KEYS, from which the reference is made")]
pub struct Written {
    pub listen: Option<String>,
    pub socket: Option<String>,
    pub store: Option<String>,
    pub store_bytes_max: Option<Size>,
    pub slots: Option<u64>,
    pub default_toolchain: Option<String>,
    pub accepted_properties: Option<Vec<String>>,
    pub toolchain_peers: Option<Vec<String>>,
    pub toolchain_peer_token_file: Option<String>,
    pub debian_mirror: Option<String>,
    pub nix_caches: Option<Vec<String>>,
    pub nix_keys: Option<Vec<String>>,
    pub action_timeout_seconds_default: Option<u64>,
    pub action_timeout_seconds_max: Option<u64>,
    pub action_memory_bytes_max: Option<u64>,
    pub action_processes_max: Option<u64>,
    pub action_disk_bytes_max: Option<u64>,
    pub action_output_bytes_max: Option<u64>,
    pub token_file: Option<String>,
    pub log: Option<String>,
    pub server: Option<String>,
    pub bazel_prefix: Option<String>,
}

/// A number of bytes, as it was written: of digits, or with a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Size(pub String);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a text with a unit such as '50 GiB'")
            }
            fn visit_u64<E>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes.to_string()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Size, E> {
                Ok(Size(text.to_owned()))
            }
        }
        from.deserialize_any(Either)
    }
}

/// Who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, with its text: errors point into it.
    File {
        /// Where.
        path: PathBuf,
        /// All of it.
        text: String,
    },
    /// `LRE_*` variables.
    Environment,
    /// The command line.
    Flags,
}

/// One source and what it says. Later layers win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Who.
    pub source: Source,
    /// What.
    pub written: Written,
    /// Relative paths in it start here.
    pub base: PathBuf,
}

/// Something written that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct BadConfig {
    /// `file:line:column`, `LRE_…` or `--flag`.
    pub place: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Layer {
    /// Where `key` stands in this layer, for people.
    #[must_use]
    pub fn place(&self, key: &str) -> String {
        match &self.source {
            Source::File { path, text } => match locate(text, key) {
                Some((line, column)) => format!("{}:{line}:{column}", path.display()),
                None => path.display().to_string(),
            },
            Source::Environment => keys::variable(key),
            Source::Flags => keys::flag(key),
        }
    }

    /// A layer from the text of a file.
    ///
    /// # Errors
    /// Bad syntax, an unknown key, a value of another type; each with line and column.
    pub fn from_file(path: PathBuf, text: String) -> Result<Self, BadConfig> {
        let written = match text.trim().is_empty() {
            true => Written::default(),
            false => json5::from_str(&text).map_err(|e| bad_file(&path, &e))?,
        };
        let base = path.parent().map_or_else(PathBuf::new, ToOwned::to_owned);
        Ok(Self { source: Source::File { path, text }, written, base })
    }

    /// A layer from environment variables: one for each key. Lists are separated by commas; an empty
    /// variable counts as not set.
    ///
    /// # Errors
    /// A number that is none.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
        current_directory: PathBuf,
    ) -> Result<Self, BadConfig> {
        let text = |key: &str| variable(&keys::variable(key)).filter(|v| !v.is_empty());
        let number = |key: &str| -> Result<Option<u64>, BadConfig> {
            let parse = |v: String| {
                v.parse().map_err(|_| BadConfig {
                    place: keys::variable(key),
                    problem: format!("`{v}` is not a whole number"),
                    hint: None,
                })
            };
            text(key).map(parse).transpose()
        };
        let list = |key: &str| text(key).map(|v| v.split(',').map(|v| v.trim().to_owned()).collect());
        let written = Written {
            listen: text("listen"),
            socket: text("socket"),
            store: text("store"),
            store_bytes_max: text("store_bytes_max").map(Size),
            slots: number("slots")?,
            default_toolchain: text("default_toolchain"),
            accepted_properties: list("accepted_properties"),
            toolchain_peers: list("toolchain_peers"),
            toolchain_peer_token_file: text("toolchain_peer_token_file"),
            debian_mirror: text("debian_mirror"),
            nix_caches: list("nix_caches"),
            nix_keys: list("nix_keys"),
            action_timeout_seconds_default: number("action_timeout_seconds_default")?,
            action_timeout_seconds_max: number("action_timeout_seconds_max")?,
            action_memory_bytes_max: number("action_memory_bytes_max")?,
            action_processes_max: number("action_processes_max")?,
            action_disk_bytes_max: number("action_disk_bytes_max")?,
            action_output_bytes_max: number("action_output_bytes_max")?,
            token_file: text("token_file"),
            log: text("log"),
            server: text("server"),
            bazel_prefix: text("bazel_prefix"),
        };
        Ok(Self { source: Source::Environment, written, base: current_directory })
    }
}

fn bad_file(path: &std::path::Path, error: &json5::Error) -> BadConfig {
    let place = match error.position() {
        Some(at) => format!("{}:{}:{}", path.display(), at.line + 1, at.column + 1),
        None => path.display().to_string(),
    };
    let text = error.to_string();
    // serde's text for a field that `deny_unknown_fields` refuses: "unknown field `x`, expected …".
    let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    match unknown {
        Some((key, _)) => BadConfig {
            place,
            problem: format!("unknown key `{key}`"),
            hint: Some(match keys::nearest(key) {
                Some(near) => format!("write `{near}`; `lre config show` lists all keys"),
                None => "`lre config show` lists all keys".to_owned(),
            }),
        },
        None => {
            let problem = text.split(" at line ").next().unwrap_or(&text).to_owned();
            BadConfig { place, problem, hint: None }
        }
    }
}

/// Line and column (from 1) of `key` where it is followed by a colon: for messages about values, which
/// are judged after parsing. Keys are rarely repeated in comments; a wrong guess misleads nobody for long.
fn locate(text: &str, key: &str) -> Option<(usize, usize)> {
    text.lines().enumerate().find_map(|(number, line)| {
        let code = line.split("//").next().unwrap_or(line);
        let found = code.match_indices(key).find(|(at, _)| {
            let before = code[..*at].trim_end_matches(['"', '\'']).trim_end();
            let after = code[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
            (before.is_empty() || before.ends_with(['{', ','])) && after.starts_with(':')
        });
        found.map(|(at, _)| (number + 1, code[..at].chars().count() + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Layer, BadConfig> {
        Layer::from_file("/w/lre.json5".into(), text.to_owned())
    }

    #[test]
    fn comments_and_trailing_commas_are_welcome() {
        let layer = file("// mine\n{ slots: 2, listen: 'none', accepted_properties: ['pool',], }").unwrap();
        assert_eq!(layer.written.slots, Some(2));
        assert_eq!(layer.written.accepted_properties, Some(vec!["pool".to_owned()]));
        assert_eq!(file("  \n").unwrap().written, Written::default());
    }

    #[test]
    fn unknown_keys_are_errors_with_a_place_and_a_suggestion() {
        let e = file("{\n  slots: 2,\n  lisen: 'none',\n}").unwrap_err();
        assert_eq!(e.to_string(), "/w/lre.json5:3:3: unknown key `lisen`");
        assert!(e.hint.unwrap().starts_with("write `listen`"));
        let e = file("{ whatever: 1 }").unwrap_err();
        assert_eq!(e.hint.unwrap(), "`lre config show` lists all keys");
    }

    #[test]
    fn wrong_types_and_syntax_have_a_place() {
        for (text, expected) in [
            ("{\n slots: 'many' }", "/w/lre.json5:2:9: expected number"),
            ("{\n slots: -1 }", "/w/lre.json5:2:9: invalid value: integer `-1`, expected u64"),
            ("{ slots: 2", "/w/lre.json5:1:1: EOF parsing object"),
        ] {
            assert_eq!(file(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn values_are_found_again() {
        let layer = file("{\n  // slots: 1\n  \"slots\" : 0, store: '/s' }").unwrap();
        assert_eq!(layer.place("slots"), "/w/lre.json5:3:4");
        assert_eq!(layer.place("store"), "/w/lre.json5:3:16");
        assert_eq!(layer.place("log"), "/w/lre.json5");
    }

    #[test]
    fn the_environment_has_one_variable_for_each_key() {
        let all = |name: &str| match name {
            "LRE_SLOTS" => Some("3".to_owned()),
            "LRE_ACCEPTED_PROPERTIES" => Some("a, b".to_owned()),
            "LRE_LISTEN" => Some(String::new()),
            _ => None,
        };
        let layer = Layer::from_environment(all, "/".into()).unwrap();
        let expected =
            Written { slots: Some(3), accepted_properties: Some(vec!["a".into(), "b".into()]), ..Written::default() };
        assert_eq!(layer.written, expected);
        let bad = Layer::from_environment(|n| (n == "LRE_SLOTS").then(|| "x".into()), "/".into());
        assert_eq!(bad.unwrap_err().to_string(), "LRE_SLOTS: `x` is not a whole number");
    }
}

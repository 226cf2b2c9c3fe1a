//! The table of keys: what the reference page, the JSON schema and the suggestions are made from.
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// One key.
pub struct Key {
    /// Its name in `lre.json5`.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What holds when nobody writes it.
    pub default: &'static str,
    /// The flag of `lre serve` and `lre up`, or of all commands.
    pub flag: Option<&'static str>,
    /// What it does and why one would change it.
    pub help: &'static str,
    /// A value one might write.
    pub example: &'static str,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number of at least 1.
    Number,
    /// A list of texts.
    Texts,
    /// Bytes: a whole number, or a text with a unit.
    Size,
}

/// All keys, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "listen",
        kind: Kind::Text,
        default: "`127.0.0.1:50051`",
        flag: Some("--listen"),
        help: "Loopback address and port of the TCP listener; port 0 takes a free one; `none` for no TCP. Addresses \
               that other machines can reach are refused.",
        example: "\"127.0.0.1:50051\"",
    },
    Key {
        name: "socket",
        kind: Kind::Text,
        default: "`$XDG_RUNTIME_DIR/lre/re.sock`, else `/tmp/lre-$UID/re.sock`",
        flag: Some("--socket"),
        help: "Path of the Unix socket, at most 107 bytes; `none` for no Unix socket. Only this user can connect.",
        example: "\"/run/user/1000/lre/re.sock\"",
    },
    Key {
        name: "store",
        kind: Kind::Text,
        default: "`$XDG_CACHE_HOME/lre`",
        flag: Some("--store"),
        help: "Directory of blobs, action results and toolchains. One server at a time. Everything in it can be made \
               again.",
        example: "\"/var/cache/me/lre\"",
    },
    Key {
        name: "store_bytes_max",
        kind: Kind::Size,
        default: "`auto`",
        flag: Some("--store-bytes-max"),
        help: "What the store may take of the disk: bytes, or a text with a unit (`50 GiB`, `800 MB`). Near it, what nobody has used \
               for the longest time goes, in the background; never what a build of the last three hours was told is there. A \
               build that needs more is told so (RESOURCE_EXHAUSTED), with the figures. `auto` is a share of the free disk, and never less than what the \
               last builds have used. Toolchains count, and stay.",
        example: "\"50 GiB\"",
    },
    Key {
        name: "slots",
        kind: Kind::Number,
        default: "the number of cores",
        flag: Some("--slots"),
        help: "How many actions run at the same time.",
        example: "8",
    },
    Key {
        name: "default_toolchain",
        kind: Kind::Text,
        default: "`none`",
        flag: Some("--default-toolchain"),
        help: "Name of the installed toolchain for actions that name none; `none` refuses such actions. Their results \
               are keyed by this toolchain and never shared.",
        example: "\"cc\"",
    },
    Key {
        name: "accepted_properties",
        kind: Kind::Texts,
        default: "none",
        flag: None,
        help: "Further platform properties that clients may send; they choose nothing. `OSFamily`, `ISA`, `lre-rootfs`, \
               `lre-toolchain`, `lre-nix` and what an action asks of its sandbox (`lre-policy` and others, see platform.md) \
               are always known, everything else is refused.",
        example: "[\"Pool\"]",
    },
    Key {
        name: "toolchain_peers",
        kind: Kind::Texts,
        default: "none",
        flag: None,
        help: "REAPI services (a colleague's `lre`, a fleet) that are asked for a toolchain by its digest before any other \
               source, by `lre toolchain fetch`, `lre init` and the server. What they send is checked against the digest.",
        example: "[\"grpc://build-cache.example:50051\"]",
    },
    Key {
        name: "toolchain_peer_token_file",
        kind: Kind::Text,
        default: "`none`",
        flag: None,
        help: "File with the token that `toolchain_peers` want to be shown: of a colleague's `lre`, its `token_file`. It is \
               shown to them alone, never to an address that a lock file names.",
        example: "\"/home/me/.config/lre/peer-token\"",
    },
    Key {
        name: "debian_mirror",
        kind: Kind::Text,
        default: "`none`",
        flag: None,
        help: "Where the packages of `deb:` toolchains are fetched on a machine without `apt`: the address above `pool/`. \
               Every package is pinned by its SHA-256, whoever sends it.",
        example: "\"https://mirror.example/debian\"",
    },
    Key {
        name: "nix_caches",
        kind: Kind::Texts,
        default: "none",
        flag: None,
        help: "Binary caches that `nix:` toolchains are fetched from where this machine has no Nix store with them.",
        example: "[\"https://cache.example\"]",
    },
    Key {
        name: "nix_keys",
        kind: Kind::Texts,
        default: "none",
        flag: None,
        help: "Public keys, `name:base64`, whose signatures are believed on what a binary cache sends, beside the one of the \
               Nix project's own cache.",
        example: "[\"cache.example-1:AAAA\"]",
    },
    Key {
        name: "action_timeout_seconds_default",
        kind: Kind::Number,
        default: "`3600`",
        flag: None,
        help: "How long a command may run when its client names no timeout, in seconds.",
        example: "900",
    },
    Key {
        name: "action_timeout_seconds_max",
        kind: Kind::Number,
        default: "`86400`",
        flag: None,
        help: "The longest timeout that a client may ask for, in seconds; longer ones are refused.",
        example: "7200",
    },
    Key {
        name: "action_memory_bytes_max",
        kind: Kind::Number,
        default: "3/4 of the machine's memory",
        flag: None,
        help: "Memory of one action: of all its processes together, and of its `/tmp`, which is never larger than 4 GiB. Who \
               takes more is killed and told so. An action lowers it with the property `lre-memory-bytes-max`.",
        example: "8589934592",
    },
    Key {
        name: "action_processes_max",
        kind: Kind::Number,
        default: "`4096`",
        flag: None,
        help: "Processes and threads of one action at the same time. An action lowers it with `lre-processes-max`.",
        example: "512",
    },
    Key {
        name: "action_disk_bytes_max",
        kind: Kind::Number,
        default: "`68719476736` (64 GiB)",
        flag: None,
        help: "What one action may write to its working tree, in bytes on disk. An action lowers it with `lre-disk-bytes-max`.",
        example: "10737418240",
    },
    Key {
        name: "action_output_bytes_max",
        kind: Kind::Number,
        default: "`2147483647` (2 GiB)",
        flag: None,
        help: "What one action may write to stdout, and as much to stderr. Clients in Java cannot hold more than the default. An \
               action lowers it with `lre-output-bytes-max`.",
        example: "67108864",
    },
    Key {
        name: "token_file",
        kind: Kind::Text,
        default: "`$XDG_STATE_HOME/lre/token`",
        flag: None,
        help: "File with the token that lets other users of this machine in over TCP (`authorization: Bearer …`). Made \
               by the server, readable by its user only.",
        example: "\"/home/me/.local/state/lre/token\"",
    },
    Key {
        name: "log",
        kind: Kind::Text,
        default: "`info`",
        flag: Some("--log"),
        help: "What the server logs to stderr: `error`, `warn`, `info`, `debug`, `trace`, or filters such as \
               `info,lre_worker=debug`.",
        example: "\"debug\"",
    },
    Key {
        name: "server",
        kind: Kind::Text,
        default: "the socket, else the TCP listener",
        flag: Some("--server"),
        help: "Where the commands that need a server look for it: `unix:/path` or `grpc://host:port`.",
        example: "\"grpc://127.0.0.1:50051\"",
    },
    Key {
        name: "bazel_prefix",
        kind: Kind::Text,
        default: "`lre`",
        flag: None,
        help: "Name of the Bazel configuration that `lre init` writes: `lre` means `--config=lre`; `none` makes the \
               lines hold for every build.",
        example: "\"lre\"",
    },
];

/// The environment variable of a key.
#[must_use]
pub fn variable(key: &str) -> String {
    format!("LRE_{}", key.to_uppercase())
}

/// How a key is called on the command line.
#[must_use]
pub fn flag(key: &str) -> String {
    let known = KEYS.iter().find(|k| k.name == key).and_then(|k| k.flag);
    known.map_or_else(|| format!("--{}", key.replace('_', "-")), ToOwned::to_owned)
}

/// The key that was probably meant: within a third of its length, or the only one that begins or ends
/// with what was written.
#[must_use]
pub fn nearest(written: &str) -> Option<&'static str> {
    nearest_of(&written.replace('-', "_").to_lowercase(), KEYS.iter().map(|k| k.name))
}

/// The candidate nearest to `written`, where one is near at all.
#[must_use]
pub fn nearest_of<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| {
        if !written.is_empty() && (name.starts_with(written) || name.ends_with(written)) {
            return 1;
        }
        strsim::damerau_levenshtein(written, name)
    };
    let best = candidates.map(|name| (distance(name), name)).min();
    best.filter(|(distance, name)| *distance <= (name.len() / 3).max(1)).map(|(_, name)| name)
}

/// The text of `docs/reference/config.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\nNothing has to be written: the defaults work. What is written is looked for in this order, \
         and the last one wins:\n\n1. `$XDG_CONFIG_HOME/lre/lre.json5`, of the user\n2. `lre.json5` in the workspace (the \
         nearest directory upwards with `lre.lock`, `lre.json5`, `MODULE.bazel`, `WORKSPACE` or `.git`); it must belong to \
         the user\n3. environment variables `LRE_…`\n4. flags\n\nThe files are [JSON5](https://json5.org): JSON with comments, \
         trailing commas and bare keys. Unknown keys are errors.\nRelative paths start at the file's own directory. `lre \
         config show` prints each value and where it came from;\n`lre config schema` prints the JSON schema of the file, for \
         editors.\n\n`lre config reference` prints this page.\n\n| key | value | default | \
         flag | variable |\n|---|---|---|---|---|\n",
    );
    for key in KEYS {
        let kind = match key.kind {
            Kind::Text => "text",
            Kind::Number => "number",
            Kind::Texts => "list of texts",
            Kind::Size => "bytes, or text with a unit",
        };
        let flag = key.flag.map_or_else(|| "-".to_owned(), |flag| format!("`{flag}`"));
        let (name, variable) = (key.name, variable(key.name));
        let _ = writeln!(page, "| [`{name}`](#{name}) | {kind} | {} | {flag} | `{variable}` |", key.default);
    }
    for Key { name, help, example, .. } in KEYS {
        let _ = write!(page, "\n## {name}\n\n{help}\n\n```json5\n{{ {name}: {example} }}\n```\n");
    }
    page
}

/// The JSON schema of `lre.json5`.
#[must_use]
pub fn schema() -> Value {
    let property = |key: &Key| {
        let mut value = match key.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Number => json!({ "type": "integer", "minimum": 1 }),
            Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Kind::Size => json!({ "type": ["integer", "string"], "minimum": 0 }),
        };
        value["description"] = json!(format!("{} Default: {}.", key.help, key.default.replace('`', "")));
        (key.name.to_owned(), value)
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lre.json5",
        "type": "object",
        "additionalProperties": false,
        "properties": KEYS.iter().map(property).collect::<Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Written;

    #[test]
    fn the_table_and_the_type_have_the_same_keys() {
        let fields = serde_json::to_value(Written::default()).unwrap();
        let fields: Vec<_> = fields.as_object().unwrap().keys().cloned().collect();
        let keys: Vec<_> = KEYS.iter().map(|k| k.name.to_owned()).collect();
        assert_eq!(fields, keys);
    }

    #[test]
    fn every_example_can_be_written() {
        for key in KEYS {
            let text = format!("{{ {}: {} }}", key.name, key.example);
            let layer = crate::config::Layer::from_file("/lre.json5".into(), text).unwrap();
            assert_ne!(layer.written, Written::default(), "{}", key.name);
        }
    }

    #[test]
    fn near_misses_are_understood() {
        for (written, meant) in [
            ("lisen", Some("listen")),
            ("slot", Some("slots")),
            ("default-toolchain", Some("default_toolchain")),
            ("toolchain", Some("default_toolchain")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(written), meant, "{written}");
        }
    }
}

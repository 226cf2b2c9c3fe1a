//! From what was written to what it means, in one pure function.
use crate::config::{BadConfig, Layer, Size, Source, Written, keys};
use crate::paths::{Paths, check_socket};
use lre_worker::ExecutionLimits;
use serde_json::{Value, json};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Most slots: a slot costs a network namespace and a tree of hard links, and ext4 gives a file at most
/// 65,000 links.
const SLOTS_MAX: u64 = 4096;

/// Least bytes of a store. Far below what is of use; it catches who writes gigabytes without the unit.
const STORE_BYTES_MIN: u64 = 1 << 20;

/// What the program uses. Made only by [`Config::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The TCP listener. Loopback: another address has no way in here.
    pub listen: Option<SocketAddr>,
    /// The Unix socket.
    pub socket: Option<PathBuf>,
    /// The directory of the store.
    pub store: PathBuf,
    /// What it may take of the disk, in bytes; `None`: what the machine has to spare.
    pub store_bytes_max: Option<u64>,
    /// Actions at the same time.
    pub slots: usize,
    /// For actions that name no toolchain.
    pub default_toolchain: Option<String>,
    /// Platform properties that choose nothing.
    pub accepted_properties: Vec<String>,
    /// Asked for toolchains by digest.
    pub toolchain_peers: Vec<String>,
    /// What these want to be shown.
    pub toolchain_peer_token_file: Option<PathBuf>,
    /// For `deb:` without apt.
    pub debian_mirror: Option<String>,
    /// For `nix:` without Nix.
    pub nix_caches: Vec<String>,
    /// Believed on what these send.
    pub nix_keys: Vec<String>,
    /// Where the client names none.
    pub action_timeout_default: Duration,
    /// The longest that a client may name.
    pub action_timeout_max: Duration,
    /// What an action may take of the machine.
    pub action_limits: ExecutionLimits,
    /// The token for others.
    pub token_file: PathBuf,
    /// The filter of the server's log.
    pub log: String,
    /// Where clients look, where it is written.
    pub server: Option<Endpoint>,
    /// Of the lines that `lre init` writes.
    pub bazel_prefix: Option<String>,
    origins: Vec<Origin>,
}

/// Where a value came from, in the order of [`keys::KEYS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub String);

/// What the machine says, so that the function stays pure.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The folders of the user.
    pub paths: &'a Paths,
    /// Processor cores.
    pub cores: usize,
    /// Memory of the machine, in bytes.
    pub memory_bytes: u64,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket on this machine.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(authority) => write!(f, "grpc://{authority}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a server: write unix:/path or grpc://host:port");
        if let Some(path) = text.strip_prefix("unix:") {
            // Some clients write unix:///path, which is the same place.
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return check_socket(&path).map(|()| Self::Unix(path));
        }
        let authority = text.strip_prefix("grpc://").unwrap_or(text);
        let (host, port) = authority.rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().map_err(|_| bad())?;
        let plain = !host.is_empty() && !host.contains(['/', ' ', '@']) && port != 0;
        if plain { Ok(Self::Tcp(authority.to_owned())) } else { Err(bad()) }
    }
}

/// Picks values from layers and remembers where each came from.
struct Picker<'a> {
    layers: &'a [Layer],
    origins: Vec<Origin>,
}

impl<'a> Picker<'a> {
    /// The last layer that says something; its value goes through `meaning`.
    fn pick<W: 'a, T>(
        &mut self,
        key: &str,
        written: impl Fn(&'a Written) -> Option<&'a W>,
        default: impl FnOnce() -> T,
        meaning: impl FnOnce(&'a W, &'a Layer) -> Result<T, Wrong>,
    ) -> Result<T, BadConfig> {
        // The lookup follows the table, so that origins stand in its order.
        debug_assert_eq!(keys::KEYS[self.origins.len()].name, key);
        let found = self.layers.iter().rev().find_map(|layer| Some((written(&layer.written)?, layer)));
        let Some((value, layer)) = found else {
            self.origins.push(Origin("default".to_owned()));
            return Ok(default());
        };
        self.origins.push(Origin(match &layer.source {
            Source::File { path, .. } => path.display().to_string(),
            Source::Environment => keys::variable(key),
            Source::Flags => keys::flag(key),
        }));
        meaning(value, layer).map_err(|Wrong { problem, hint }| BadConfig { place: layer.place(key), problem, hint })
    }
}

/// A value that cannot be meant, before it is known where it stands.
struct Wrong {
    problem: String,
    hint: Option<String>,
}

fn wrong<T>(problem: impl fmt::Display) -> Result<T, Wrong> {
    Err(Wrong { problem: problem.to_string(), hint: None })
}

impl Config {
    /// What `layers` mean, later ones over earlier ones.
    ///
    /// # Errors
    /// The first value that cannot be meant, with its place.
    pub fn new(layers: &[Layer], facts: &Facts<'_>) -> Result<Self, BadConfig> {
        let (mut p, paths) = (Picker { layers, origins: Vec::new() }, facts.paths);
        let default_listen = || Some(SocketAddr::from(([127, 0, 0, 1], 50051)));
        let config = Self {
            listen: p.pick("listen", |w| w.listen.as_ref(), default_listen, |v, _| listen(v))?,
            socket: p.pick("socket", |w| w.socket.as_ref(), || Some(paths.socket()), socket)?,
            store: p.pick("store", |w| w.store.as_ref(), || paths.cache.clone(), path)?,
            store_bytes_max: p.pick(
                "store_bytes_max",
                |w| w.store_bytes_max.as_ref(),
                || None,
                |v, _| store_bytes(v),
            )?,
            slots: p.pick("slots", |w| w.slots.as_ref(), || facts.cores.max(1), |v, _| slots(*v))?,
            default_toolchain: p.pick(
                "default_toolchain",
                |w| w.default_toolchain.as_ref(),
                || None,
                |v, _| Ok(unless_none(v)),
            )?,
            accepted_properties: p.pick(
                "accepted_properties",
                |w| w.accepted_properties.as_ref(),
                Vec::new,
                |v, _| properties(v),
            )?,
            toolchain_peers: p.pick("toolchain_peers", |w| w.toolchain_peers.as_ref(), Vec::new, |v, _| peers(v))?,
            toolchain_peer_token_file: p.pick(
                "toolchain_peer_token_file",
                |w| w.toolchain_peer_token_file.as_ref(),
                || None,
                |v, layer| unless_none(v).map(|v| path(&v, layer)).transpose(),
            )?,
            debian_mirror: p.pick(
                "debian_mirror",
                |w| w.debian_mirror.as_ref(),
                || None,
                |v, _| unless_none(v).map(|v| address(&v)).transpose(),
            )?,
            nix_caches: p.pick("nix_caches", |w| w.nix_caches.as_ref(), Vec::new, |v, _| addresses(v))?,
            nix_keys: p.pick("nix_keys", |w| w.nix_keys.as_ref(), Vec::new, |v, _| nix_keys(v))?,
            action_timeout_default: p.pick(
                "action_timeout_seconds_default",
                |w| w.action_timeout_seconds_default.as_ref(),
                || Duration::from_secs(3600),
                |v, _| seconds(*v),
            )?,
            action_timeout_max: p.pick(
                "action_timeout_seconds_max",
                |w| w.action_timeout_seconds_max.as_ref(),
                || Duration::from_secs(86_400),
                |v, _| seconds(*v),
            )?,
            action_limits: limits(&mut p, ExecutionLimits::of_machine(facts.memory_bytes))?,
            token_file: p.pick("token_file", |w| w.token_file.as_ref(), || paths.token(), path)?,
            log: p.pick("log", |w| w.log.as_ref(), || "info".to_owned(), |v, _| log(v))?,
            server: p.pick(
                "server",
                |w| w.server.as_ref(),
                || None,
                |v, _| v.parse().map(Some).or_else(|problem: String| wrong(problem)),
            )?,
            bazel_prefix: p.pick(
                "bazel_prefix",
                |w| w.bazel_prefix.as_ref(),
                || Some("lre".to_owned()),
                |v, _| prefix(v),
            )?,
            origins: p.origins,
        };
        config.together(layers)
    }

    /// What only the values together can tell.
    fn together(self, layers: &[Layer]) -> Result<Self, BadConfig> {
        let place = |key: &str, is: fn(&Written) -> bool| {
            let layer = layers.iter().rev().find(|layer| is(&layer.written));
            layer.map_or_else(|| key.to_owned(), |layer| layer.place(key))
        };
        if self.listen.is_none() && self.socket.is_none() {
            return Err(BadConfig {
                place: place("socket", |w| w.socket.is_some()),
                problem: "with neither `listen` nor `socket` nobody could reach the server".to_owned(),
                hint: Some("leave one of them out".to_owned()),
            });
        }
        if self.action_timeout_default > self.action_timeout_max {
            return Err(BadConfig {
                place: place("action_timeout_seconds_default", |w| w.action_timeout_seconds_default.is_some()),
                problem: format!(
                    "the default timeout of {} s is longer than `action_timeout_seconds_max`, {} s",
                    self.action_timeout_default.as_secs(),
                    self.action_timeout_max.as_secs()
                ),
                hint: None,
            });
        }
        Ok(self)
    }

    /// Where the commands look for the server.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        let listen = || Endpoint::Tcp(self.listen.map_or_else(String::new, |a| a.to_string()));
        let local = || self.socket.clone().map_or_else(listen, Endpoint::Unix);
        self.server.clone().unwrap_or_else(local)
    }

    /// Whether nobody wrote `key`.
    #[must_use]
    pub fn is_default(&self, key: &str) -> bool {
        let at = keys::KEYS.iter().position(|k| k.name == key);
        at.is_none_or(|at| self.origins[at].0 == "default")
    }

    /// Every key with its value and origin, in the order of the table.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, Value, &Origin)> {
        let or_none = |value: Option<String>| json!(value.unwrap_or_else(|| "none".to_owned()));
        let values = [
            or_none(self.listen.map(|a| a.to_string())),
            or_none(self.socket.as_ref().map(|s| s.display().to_string())),
            json!(self.store),
            self.store_bytes_max.map_or_else(|| json!("auto"), |bytes| json!(bytes)),
            json!(self.slots),
            or_none(self.default_toolchain.clone()),
            json!(self.accepted_properties),
            json!(self.toolchain_peers),
            or_none(self.toolchain_peer_token_file.as_ref().map(|p| p.display().to_string())),
            or_none(self.debian_mirror.clone()),
            json!(self.nix_caches),
            json!(self.nix_keys),
            json!(self.action_timeout_default.as_secs()),
            json!(self.action_timeout_max.as_secs()),
            json!(self.action_limits.memory_bytes_max),
            json!(self.action_limits.processes_max),
            json!(self.action_limits.disk_bytes_max),
            json!(self.action_limits.output_bytes_max),
            json!(self.token_file),
            json!(self.log),
            json!(self.endpoint().to_string()),
            or_none(self.bazel_prefix.clone()),
        ];
        keys::KEYS.iter().zip(values).zip(&self.origins).map(|((k, v), o)| (k.name, v, o)).collect()
    }
}

fn listen(text: &str) -> Result<Option<SocketAddr>, Wrong> {
    if text == "none" {
        return Ok(None);
    }
    let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    match numeric.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
        Ok(address) => Err(Wrong {
            problem: format!(
                "`{text}` can be reached from other machines, and whoever reaches it can run programs here"
            ),
            hint: Some(format!("write 127.0.0.1:{}", address.port())),
        }),
        Err(_) => Err(Wrong {
            problem: format!("`{text}` is not an address and a port"),
            hint: Some("write 127.0.0.1:50051, 127.0.0.1:0 for a free port, or none".to_owned()),
        }),
    }
}

fn path(text: &String, layer: &Layer) -> Result<PathBuf, Wrong> {
    if text.is_empty() {
        return wrong("a path is needed");
    }
    if text.starts_with('~') {
        return wrong(format!("`{text}`: `~` is not expanded here, write the whole path"));
    }
    Ok(layer.base.join(Path::new(text)))
}

fn socket(text: &String, layer: &Layer) -> Result<Option<PathBuf>, Wrong> {
    if text == "none" {
        return Ok(None);
    }
    let path = path(text, layer)?;
    match check_socket(&path) {
        Ok(()) => Ok(Some(path)),
        Err(problem) => Err(Wrong { problem, hint: Some("choose a shorter path, for example below /tmp".to_owned()) }),
    }
}

fn slots(value: u64) -> Result<usize, Wrong> {
    match usize::try_from(value) {
        Ok(slots) if (1..=SLOTS_MAX).contains(&value) => Ok(slots),
        _ => wrong(format!("{value} slots: at least 1 and at most {SLOTS_MAX} are possible")),
    }
}

fn store_bytes(written: &Size) -> Result<Option<u64>, Wrong> {
    if written.0.trim() == "auto" {
        return Ok(None);
    }
    match crate::size::parse(&written.0) {
        Ok(bytes) if bytes >= STORE_BYTES_MIN => Ok(Some(bytes)),
        Ok(bytes) => {
            wrong(format!("a store of {bytes} bytes could hold no build: at least {STORE_BYTES_MIN} are needed"))
        }
        Err(problem) => Err(Wrong { problem, hint: Some("write 50 GiB, or auto".to_owned()) }),
    }
}

fn seconds(value: u64) -> Result<Duration, Wrong> {
    if value == 0 { wrong("a timeout of 0 s would end every action") } else { Ok(Duration::from_secs(value)) }
}

/// Each alone: an action that must not use much memory may still write much.
fn limits(p: &mut Picker<'_>, default: ExecutionLimits) -> Result<ExecutionLimits, BadConfig> {
    let some = |v: &u64, _: &Layer| if *v == 0 { wrong("a limit of 0 would end every action") } else { Ok(*v) };
    Ok(ExecutionLimits {
        memory_bytes_max: p.pick(
            "action_memory_bytes_max",
            |w| w.action_memory_bytes_max.as_ref(),
            || default.memory_bytes_max,
            some,
        )?,
        processes_max: p.pick(
            "action_processes_max",
            |w| w.action_processes_max.as_ref(),
            || default.processes_max,
            some,
        )?,
        disk_bytes_max: p.pick(
            "action_disk_bytes_max",
            |w| w.action_disk_bytes_max.as_ref(),
            || default.disk_bytes_max,
            some,
        )?,
        output_bytes_max: p.pick(
            "action_output_bytes_max",
            |w| w.action_output_bytes_max.as_ref(),
            || default.output_bytes_max,
            some,
        )?,
    })
}

fn unless_none(text: &str) -> Option<String> {
    (text != "none").then(|| text.to_owned())
}

/// What can be asked for a tree.
fn peers(written: &[String]) -> Result<Vec<String>, Wrong> {
    match written.iter().find(|peer| format!("cas:{peer}").parse::<lre_toolchain::Source>().is_err()) {
        Some(peer) => Err(Wrong {
            problem: format!("`{peer}` is not the address of a REAPI service"),
            hint: Some("write grpc://host:port or unix:/path".to_owned()),
        }),
        None => Ok(written.to_vec()),
    }
}

fn address(written: &str) -> Result<String, Wrong> {
    let known = ["https://", "http://", "file://"].iter().any(|scheme| written.starts_with(scheme));
    if known { Ok(written.trim_end_matches('/').to_owned()) } else { wrong(format!("`{written}` is not an address")) }
}

fn addresses(written: &[String]) -> Result<Vec<String>, Wrong> {
    written.iter().map(|written| address(written)).collect()
}

fn nix_keys(written: &[String]) -> Result<Vec<String>, Wrong> {
    match written.iter().find(|key| !key.contains(':')) {
        Some(key) => wrong(format!("`{key}` is not a public key of Nix, which is `name:base64`")),
        None => Ok(written.to_vec()),
    }
}

fn properties(names: &[String]) -> Result<Vec<String>, Wrong> {
    match names.iter().find(|name| name.is_empty() || name.contains(char::is_whitespace)) {
        Some(bad) => wrong(format!("`{bad}` cannot name a platform property")),
        None => Ok(names.to_vec()),
    }
}

fn log(text: &str) -> Result<String, Wrong> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(e) => wrong(format!("`{text}` is not a log filter: {e}")),
    }
}

fn prefix(text: &str) -> Result<Option<String>, Wrong> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    match plain {
        true => Ok(unless_none(text)),
        false => wrong(format!("`{text}` cannot name a Bazel configuration: letters, digits, `_` and `-` can")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Paths {
        Paths { runtime: "/run/lre".into(), cache: "/c/lre".into(), state: "/s/lre".into(), config: "/etc/lre".into() }
    }

    fn config(layers: &[Layer]) -> Result<Config, BadConfig> {
        Config::new(layers, &Facts { paths: &paths(), cores: 8, memory_bytes: 16 << 30 })
    }

    fn file(text: &str) -> Layer {
        Layer::from_file("/w/lre.json5".into(), text.to_owned()).unwrap()
    }

    #[test]
    fn nothing_written_is_a_working_server() {
        let config = config(&[]).unwrap();
        assert_eq!((config.slots, config.store.as_path()), (8, Path::new("/c/lre")));
        assert_eq!(config.listen.unwrap().to_string(), "127.0.0.1:50051");
        assert_eq!(config.endpoint(), Endpoint::Unix("/run/lre/re.sock".into()));
        assert!(config.values().iter().all(|(_, _, origin)| origin.0 == "default"));
        assert_eq!(config.values().len(), keys::KEYS.len());
    }

    #[test]
    fn later_layers_win_and_are_named() {
        let environment = Layer::from_environment(|n| (n == "LRE_SLOTS").then(|| "3".into()), "/here".into()).unwrap();
        let written = Written { store: Some("s".into()), ..Written::default() };
        let flags = Layer { source: Source::Flags, written, base: "/here".into() };
        let config = config(&[file("{ slots: 2, store: 'x', listen: 'none' }"), environment, flags]).unwrap();
        let origin = |key| config.values().into_iter().find(|(k, ..)| *k == key).unwrap().2.0.clone();
        assert_eq!((config.slots, origin("slots").as_str()), (3, "LRE_SLOTS"));
        assert_eq!((config.store.as_path(), origin("store").as_str()), (Path::new("/here/s"), "--store"));
        assert_eq!((config.listen, origin("listen").as_str()), (None, "/w/lre.json5"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place() {
        for (text, expected) in [
            ("{ listen: '0.0.0.0:50051' }", "can be reached from other machines"),
            ("{ listen: '[::]:50051' }", "can be reached from other machines"),
            ("{ listen: '192.168.1.7:1' }", "can be reached from other machines"),
            ("{ listen: 'everywhere' }", "not an address and a port"),
            ("{ listen: 'none', socket: 'none' }", "nobody could reach"),
            ("{ slots: 0 }", "at least 1"),
            ("{ slots: 99999 }", "at most 4096"),
            (
                "{ socket: '/ThisIsALongPath/ThisIsALongPath/ThisIsALongPath/ThisIsALongPath/ThisIsALongPath/ThisIsALongPath/ThisIsALongPath' }",
                "107 for a socket",
            ),
            ("{ store: '~/x' }", "not expanded"),
            ("{ store: '' }", "a path is needed"),
            ("{ store_bytes_max: '50 apples' }", "`50 apples` is not a size"),
            ("{ store_bytes_max: 50 }", "a store of 50 bytes"),
            ("{ store_bytes_max: '' }", "is not a size"),
            ("{ action_timeout_seconds_default: 0 }", "would end every action"),
            ("{ action_timeout_seconds_default: 9, action_timeout_seconds_max: 8 }", "longer than"),
            ("{ action_memory_bytes_max: 0 }", "would end every action"),
            ("{ accepted_properties: [''] }", "cannot name a platform property"),
            ("{ server: 'ftp' }", "unix:/path or grpc://host:port"),
            ("{ bazel_prefix: 'a b' }", "cannot name a Bazel configuration"),
            ("{ log: 'lre=loud' }", "not a log filter"),
        ] {
            let e = config(&[file(text)]).unwrap_err();
            assert!(e.problem.contains(expected), "{text}: {e}");
            assert!(e.place.starts_with("/w/lre.json5:1:"), "{text}: {e}");
        }
    }

    #[test]
    fn the_budget_is_bytes_or_a_text() {
        for (text, bytes) in [
            ("{}", None),
            ("{ store_bytes_max: 'auto' }", None),
            ("{ store_bytes_max: '50 GiB' }", Some(50 << 30)),
            ("{ store_bytes_max: 1073741824 }", Some(1 << 30)),
        ] {
            assert_eq!(config(&[file(text)]).unwrap().store_bytes_max, bytes, "{text}");
        }
        let variable = |name: &str| (name == "LRE_STORE_BYTES_MAX").then(|| "800MB".to_owned());
        let environment = Layer::from_environment(variable, "/".into()).unwrap();
        assert_eq!(config(&[environment]).unwrap().store_bytes_max, Some(800_000_000));
        for bad in ["{ store_bytes_max: [] }", "{ store_bytes_max: -5 }", "{ store_bytes_max: true }"] {
            let refused = Layer::from_file("/w/lre.json5".into(), bad.to_owned()).unwrap_err();
            assert!(refused.to_string().starts_with("/w/lre.json5:1:"), "{refused}");
        }
    }

    #[test]
    fn servers_are_sockets_or_addresses() {
        for (text, expected) in [
            ("unix:/run/re.sock", "unix:/run/re.sock"),
            ("unix:///run/re.sock", "unix:/run/re.sock"),
            ("grpc://127.0.0.1:1", "grpc://127.0.0.1:1"),
            ("[::1]:50051", "grpc://[::1]:50051"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), expected);
        }
        for bad in ["", "unix:relative", "grpc://", "host", "host:x", ":1", "grpcs://h:1", "h:0"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}

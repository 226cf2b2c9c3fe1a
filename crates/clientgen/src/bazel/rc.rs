//! Flags. What may influence an action digest is in the committed file, and nothing else; addresses
//! are in the user's own.
use super::{IMPORT_LINE, LOCAL_RC, MODULE};
use lre_toolchain::{CcFacts, Kind, Locked};
use std::collections::BTreeMap;

/// What Bazel sets as `PATH` with `--incompatible_strict_action_env`, up to order; a toolchain with
/// this one needs no flag.
const USUAL_PATH: [&str; 2] = ["/usr/bin:/bin", "/bin:/usr/bin"];

/// Names of variables under which tools are known, for the comment.
const VARIABLES: [(&str, &str); 5] = [("CC", "cc"), ("CXX", "c++"), ("AR", "ar"), ("LD", "ld"), ("STRIP", "strip")];

/// The committed file.
pub(super) fn committed(locked: &Locked, facts: &CcFacts, command: &str) -> String {
    let mut lines: Vec<String> = vec![
        "# Generated from lre.lock; do not edit. `lre init --check` says whether it has drifted.".to_owned(),
        "#".to_owned(),
        format!("# A project's .bazelrc ends with: {IMPORT_LINE}"),
    ];
    if let Some((_, prefix)) = command.split_once(':') {
        lines.push(format!("# It is then switched on by: --config={prefix}"));
    }
    lines.push("#".to_owned());
    lines.extend(environment(locked, facts).into_iter().map(|line| format!("# {line}")));
    lines.push(String::new());
    lines.extend(flags(locked).into_iter().map(|flag| match flag.strip_prefix('#') {
        Some(comment) => format!("#{comment}"),
        None => format!("{command} {flag}"),
    }));
    lines.extend([
        String::new(),
        "# Where the server is: of this user and machine, not committed.".to_owned(),
        format!("try-import %workspace%/{LOCAL_RC}"),
        String::new(),
    ]);
    lines.join("\n")
}

/// The environment that makes up the toolchain, for people: a cache miss between two machines begins
/// with a difference here.
fn environment(locked: &Locked, facts: &CcFacts) -> Vec<String> {
    let mut variables: BTreeMap<&str, String> =
        locked.environment.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    let tools = VARIABLES.iter().filter_map(|(variable, role)| Some((*variable, locked.tools.get(*role)?.clone())));
    variables.extend(tools);
    let title = format!("The toolchain `{}`, {}, is made up of:", locked.name, facts.version);
    let mount = format!("{} at {}", locked.digest, locked.toolchain().mount());
    let lines = variables.into_iter().map(|(name, value)| format!("{name}={value}"));
    [title, mount].into_iter().chain(lines).collect()
}

fn flags(locked: &Locked) -> Vec<String> {
    let platform = format!("@{MODULE}//generated-cc/config:platform");
    let mut flags = vec![
        "--action_env=BAZEL_DO_NOT_DETECT_CPP_TOOLCHAIN=1".to_owned(),
        "--define=EXECUTOR=remote".to_owned(),
        format!("--extra_execution_platforms={platform}"),
        format!("--extra_toolchains=@{MODULE}//generated-cc/config:cc-toolchain"),
        // What is built is for the platform that builds; a host platform without our property would
        // send actions to a machine without the toolchain.
        format!("--platforms={platform}"),
        format!("--host_platform={platform}"),
        "# The user's PATH and the like stay out of actions.".to_owned(),
        "--incompatible_strict_action_env".to_owned(),
        "# Bazel before 7 chooses compilers by --cpu otherwise.".to_owned(),
        "--incompatible_enable_cc_toolchain_resolution".to_owned(),
    ];
    if let Some(path) = locked.environment.get("PATH").filter(|p| !USUAL_PATH.contains(&p.as_str())) {
        flags.push(format!("--action_env=PATH={path}"));
    }
    if locked.kind == Kind::Rootfs {
        flags.push(
            "# The paths of this toolchain do not name it: a client that only uses the cache must not mix.".to_owned(),
        );
        flags.push(format!("--action_env=LRE_TOOLCHAIN={}", locked.digest.hash_text()));
    }
    if let Some(bash) = locked.tools.get("bash") {
        flags.push(format!("--shell_executable={bash}"));
    }
    flags
}

/// Where the server is, and how one gets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `127.0.0.1:50051`, or `unix:/path` for a client that has such a transport.
    pub endpoint: String,
    /// For peers that are not of the server's user.
    pub token: Option<String>,
}

/// The user's own file, for [`LOCAL_RC`]. Nothing in it may influence an action digest. With a token in it, it
/// must be readable for its owner only. `prefix` is that of [`super::Options`].
#[must_use]
pub fn local_rc(address: &Address, prefix: Option<&str>) -> String {
    let command = prefix.map_or("build".to_owned(), |prefix| format!("build:{prefix}"));
    // Without a scheme Bazel speaks TLS.
    let endpoint = match address.endpoint.strip_prefix("unix:") {
        Some(_) => address.endpoint.clone(),
        None => format!("grpc://{}", address.endpoint),
    };
    let mut text = format!(
        "# Written by `lre init` for this user and machine; do not commit.\n\
         {command} --remote_executor={endpoint}\n\
         {command} --remote_cache={endpoint}\n"
    );
    if let Some(token) = &address.token {
        text += &format!("{command} --remote_header=authorization=\"Bearer {token}\"\n");
    }
    text += &format!(
        "# A second cache on disk would hide what the server knows.\n\
         {command} --disk_cache=\n\
         # What cannot run remotely fails; it does not run with this machine's compiler instead.\n\
         {command} --remote_local_fallback=false\n"
    );
    text
}

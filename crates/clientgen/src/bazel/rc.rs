//! Flags. What may influence an action digest is in the committed file, and nothing else; addresses
//! are in the user's own.
use super::{IMPORT_LINE, LOCAL_RC, MODULE};
use crate::choice::Choice;
use crate::head;
use lre_toolchain::Kind;

/// What Bazel sets as `PATH` with `--incompatible_strict_action_env`, up to order; a toolchain with
/// this one needs no flag.
const USUAL_PATH: [&str; 2] = ["/usr/bin:/bin", "/bin:/usr/bin"];

/// The committed file.
pub(super) fn committed(choice: &Choice<'_>, command: &str) -> String {
    let mut lines: Vec<String> =
        vec![head::COMMITTED.to_owned(), "#".to_owned(), format!("# A project's .bazelrc ends with: {IMPORT_LINE}")];
    if let Some((_, prefix)) = command.split_once(':') {
        lines.push(format!("# It is then switched on by: --config={prefix}"));
    }
    for locked in choice.toolchains() {
        lines.push("#".to_owned());
        lines.extend(head::environment(locked).into_iter().map(|line| format!("# {line}")));
    }
    lines.push(String::new());
    lines.extend(flags(choice).into_iter().map(|flag| match flag.strip_prefix('#') {
        Some(comment) => format!("#{comment}"),
        None => format!("{command} {flag}"),
    }));
    lines.extend(java_of_bazel_4(choice, command));
    lines.extend([
        String::new(),
        "# Where the server is: of this user and machine, not committed.".to_owned(),
        format!("try-import %workspace%/{LOCAL_RC}"),
        String::new(),
    ]);
    lines.join("\n")
}

fn flags(choice: &Choice<'_>) -> Vec<String> {
    let platform = format!("@{MODULE}//generated-cc/config:platform");
    let mut flags =
        vec!["--action_env=BAZEL_DO_NOT_DETECT_CPP_TOOLCHAIN=1".to_owned(), "--define=EXECUTOR=remote".to_owned()];
    // One flag, as Bazel takes the last only; the main platform first, as it takes the first that fits.
    let apart = choice.apart().into_iter().map(|name| format!("@{MODULE}//generated-{name}/config:platform"));
    let platforms: Vec<_> = [platform.clone()].into_iter().chain(apart).collect();
    flags.push(format!("--extra_execution_platforms={}", platforms.join(",")));
    let toolchains = toolchains(choice);
    flags.extend(toolchains.into_iter().map(|label| format!("--extra_toolchains=@{MODULE}//{label}")));
    flags.extend([
        // What is built is for the platform that builds; a host platform without our property would
        // send actions to a machine without the toolchain.
        format!("--platforms={platform}"),
        format!("--host_platform={platform}"),
        "# The user's PATH and the like stay out of actions.".to_owned(),
        "--incompatible_strict_action_env".to_owned(),
        "# Bazel before 7 chooses compilers by --cpu otherwise.".to_owned(),
        "--incompatible_enable_cc_toolchain_resolution".to_owned(),
    ]);
    if let Some(java) = &choice.java {
        flags.extend(java_flags(java.facts.feature, java.apart));
    }
    flags.extend(action_environment(choice));
    if let Some(bash) = choice.tool("bash") {
        flags.push(format!("--shell_executable={bash}"));
    }
    flags
}

/// What `--extra_toolchains` names.
fn toolchains(choice: &Choice<'_>) -> Vec<String> {
    let mut labels = Vec::new();
    if choice.cc.is_some() {
        labels.push("generated-cc/config:cc-toolchain".to_owned());
    }
    if let Some(java) = &choice.java {
        if super::module::compiles_java(java.facts) {
            labels.push("generated-java/config:java-toolchain".to_owned());
        }
        labels.push("generated-java/config:java-runtime-toolchain".to_owned());
    }
    if choice.rust.is_some() {
        labels.push("generated-rust/config:rust-toolchain".to_owned());
    }
    labels.extend(choice.custom.iter().map(|custom| format!("generated-{}/config:toolchain", custom.name)));
    labels
}

/// On the main platform our Java toolchain is taken whatever these say, for it is asked first and has no condition. But
/// rules and `select`s of projects look at them.
///
/// One that is apart is not asked first: Bazel goes through the platforms, and on the main one those that it brings
/// along would do. They are for certain versions of the language, so none is for one of ours.
fn java_flags(feature: u32, apart: bool) -> Vec<String> {
    let language = if apart { format!("lre_{feature}") } else { feature.to_string() };
    vec![
        format!("--java_runtime_version={feature}"),
        format!("--tool_java_runtime_version={feature}"),
        format!("--java_language_version={language}"),
        format!("--tool_java_language_version={language}"),
    ]
}

/// Bazel 4 does not find the toolchain of Java as it finds others, unless it finds a JDK on this machine as well. What
/// it takes instead later versions warn of or do not know, so it is switched on by name.
fn java_of_bazel_4(choice: &Choice<'_>, command: &str) -> Vec<String> {
    let Some(java) = &choice.java else { return Vec::new() };
    if java.apart {
        return vec![
            String::new(),
            "# Bazel 4 cannot build Java here: its rules ask for no toolchain that would say where.".to_owned(),
        ];
    }
    let prefix = command.split_once(':').map_or("lre", |(_, prefix)| prefix);
    let mut lines = vec![String::new(), format!("# Java with Bazel 4 needs --config={prefix}-bazel4 besides.")];
    let label = |target: &str| format!("@{MODULE}//generated-java/java:{target}");
    let mut flags = vec![("javabase", label("runtime")), ("host_javabase", label("runtime"))];
    if super::module::compiles_java(java.facts) {
        flags.extend([("java_toolchain", label("toolchain")), ("host_java_toolchain", label("toolchain"))]);
    }
    lines.extend(flags.into_iter().map(|(flag, label)| format!("build:{prefix}-bazel4 --{flag}={label}")));
    lines
}

/// What a command is to find in its environment and would not without a flag.
fn action_environment(choice: &Choice<'_>) -> Vec<String> {
    let environment = choice.environment();
    let wanted = environment.iter().filter(|(name, path)| *name != "PATH" || !USUAL_PATH.contains(&path.as_str()));
    let mut flags: Vec<_> = wanted.map(|(name, value)| flag("action_env", &format!("{name}={value}"))).collect();
    let roots = choice.toolchains().into_iter().filter(|locked| locked.kind == Kind::Rootfs);
    let roots: Vec<_> = roots.map(|locked| locked.digest.hash_text()).collect();
    if !roots.is_empty() {
        flags.push(
            "# The paths of this toolchain do not name it: a client that only uses the cache must not mix.".to_owned(),
        );
        flags.push(format!("--action_env=LRE_TOOLCHAIN={}", roots.join(",")));
    }
    flags
}

/// Quoted where Bazel would see the end of an argument.
fn flag(name: &str, value: &str) -> String {
    if value.contains(|c: char| c.is_whitespace() || "'\"\\#".contains(c)) {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        return format!("--{name}=\"{value}\"");
    }
    format!("--{name}={value}")
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
    let mut text =
        format!("{}\n{command} --remote_executor={endpoint}\n{command} --remote_cache={endpoint}\n", head::LOCAL);
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

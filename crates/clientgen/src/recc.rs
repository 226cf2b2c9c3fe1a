//! Files for recc: `recc.conf` with what may influence digests, and an environment with the rest.
//!
//! recc reads `recc/recc.conf` below the directory in which it is started, which for make and CMake is some build
//! folder. So the user's own file names the folder ([`LOCAL`], to be sourced by a shell), and the root of the project:
//! recc makes paths below it relative, so that two people who have it at different places have the same actions.
use crate::choice::Choice;
use crate::{Addresses, Unsuitable, head};
use std::collections::BTreeMap;

/// The committed configuration, in the workspace.
pub const CONFIG: &str = "recc/recc.conf";
/// The environment of one user, in the workspace; never committed.
pub const LOCAL: &str = "lre.local.recc.env";

const PEOPLE: [&str; 3] = [
    "Read by recc where it is started beside the folder `recc`, else where RECC_CONFIG_DIRECTORY names it, as",
    "lre.local.recc.env does. recc finds headers with the compiler named on its command line, on the machine",
    "where it runs: it must be there at the same path as in the toolchain.",
];

/// All files to be committed.
pub(crate) fn files(choice: &Choice<'_>) -> BTreeMap<String, String> {
    let mut text = head::committed(&choice.main, &PEOPLE);
    text.push('\n');
    for (name, value) in choice.properties(&choice.main) {
        text += &format!("remote_platform_{name}={value}\n");
    }
    text +=
        "\n# recc sends these of whoever calls it where they are not set here, and nobody else's action is the same.\n";
    let mut environment = choice.environment();
    environment.entry("PATH".to_owned()).or_insert_with(|| "/usr/bin:/bin".to_owned());
    // What a sandbox has where nobody says anything, so that the compiler prints one language.
    for name in ["LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES"] {
        environment.entry(name.to_owned()).or_insert_with(|| "C".to_owned());
    }
    for (name, value) in environment {
        text += &format!("remote_env_{name}={value}\n");
    }
    BTreeMap::from([(CONFIG.to_owned(), text)])
}

/// The user's own environment.
pub(crate) fn local(at: &Addresses) -> Result<String, Unsuitable> {
    // The port first, as for everybody else. No token: it sends one over TLS only.
    let server = at.tcp.as_ref().map(|tcp| format!("http://{tcp}")).or_else(|| at.unix_url());
    let server = server.ok_or(Unsuitable::Nowhere)?;
    let workspace = &at.workspace;
    let lines = [
        ("RECC_SERVER", server),
        ("RECC_CONFIG_DIRECTORY", format!("{workspace}/recc")),
        ("RECC_PROJECT_ROOT", workspace.clone()),
    ];
    let lines = lines.map(|(name, value)| format!("export {name}={}\n", quoted(&value)));
    Ok(format!("{}\n{}", head::LOCAL, lines.concat()))
}

/// For a shell.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-".contains(c);
    if value.chars().all(plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', "'\\''")) }
}

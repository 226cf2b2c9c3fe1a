//! Files for Pants: two further configuration files, named by `PANTS_CONFIG_FILES` or `--pants-config-files`.
use crate::choice::Choice;
use crate::head;
use crate::starlark::text as quoted;
use std::collections::BTreeMap;

/// The committed configuration, in the workspace.
pub const CONFIG: &str = "lre.pants.toml";
/// That of one user, in the workspace; never committed.
pub const LOCAL: &str = "lre.local.pants.toml";

const PEOPLE: [&str; 2] = [
    "Used with: PANTS_CONFIG_FILES=\"+['lre.pants.toml', 'lre.local.pants.toml']\"",
    "Whatever a goal runs must be in the toolchain: Python for Pants' own tools (pex), a shell, compilers.",
];

/// All files to be committed.
pub(crate) fn files(choice: &Choice<'_>) -> BTreeMap<String, String> {
    let mut file = head::committed(&choice.main, &PEOPLE);
    file += "\n[GLOBAL]\nremote_execution = true\nremote_execution_extra_platform_properties = [\n";
    for (name, value) in choice.properties(&choice.main) {
        file += &format!("  {},\n", quoted(&format!("{name}={value}")));
    }
    file += "]\n";
    BTreeMap::from([(CONFIG.to_owned(), file)])
}

/// The user's own file. Pants takes `grpc://` and `grpcs://`, no Unix socket.
pub(crate) fn local(tcp: &str, token: Option<&str>) -> String {
    let mut file = format!(
        "{}\n[GLOBAL]\nremote_store_address = \"grpc://{tcp}\"\nremote_execution_address = \"grpc://{tcp}\"\n",
        head::LOCAL
    );
    if let Some(token) = token {
        let bearer = quoted(&format!("Bearer {token}"));
        for service in ["store", "execution"] {
            file += &format!("\n[GLOBAL.remote_{service}_headers]\nauthorization = {bearer}\n");
        }
    }
    file
}

//! Files for siso, in trees that are laid out as Chromium is: the platform properties of remote actions, where such a tree
//! loads them from, and the address for the environment.
use crate::choice::Choice;
use crate::head;
use crate::starlark::text;
use std::collections::BTreeMap;

/// The committed module. Trees of this kind ask whoever uses a service of their own to write it.
pub const BACKEND: &str = "build/config/siso/backend_config/backend.star";
/// The environment of one user, in the workspace; never committed.
pub const LOCAL: &str = "lre.local.siso.env";

const PEOPLE: [&str; 3] = [
    "Loaded by the tree's own configuration of siso. Its rules run compilers by a path in the tree or by name;",
    "siso sends no environment, so names are looked up in the toolchain's own PATH.",
    "`large` is what rules ask for that need much memory; here it is the same.",
];

/// All files to be committed.
pub(crate) fn files(choice: &Choice<'_>) -> BTreeMap<String, String> {
    let mut file = head::committed(&choice.main, &PEOPLE);
    file += "\nload(\"@builtin//struct.star\", \"module\")\n\n_PROPERTIES = {\n";
    for (name, value) in choice.properties(&choice.main) {
        file += &format!("    {}: {},\n", text(&name), text(&value));
    }
    file += "}\n\ndef _platform_properties(ctx):\n    return {\"default\": _PROPERTIES, \"large\": _PROPERTIES}\n\n";

    file += "backend = module(\n    \"backend\",\n    platform_properties = _platform_properties,\n)\n";
    BTreeMap::from([(BACKEND.to_owned(), file)])
}

/// The user's own environment. A port of this machine has no TLS, which siso reads from a variable of
/// reclient's.
pub(crate) fn local(tcp: &str) -> String {
    format!(
        "{}\nexport SISO_REAPI_ADDRESS={tcp}\nexport SISO_REAPI_INSTANCE=default_instance\nexport SISO_PROJECT=\n\
         export RBE_service_no_security=true\n",
        head::LOCAL
    )
}

//! `lre toolchain list`, `show`, `remove`.
use crate::commands::{Context, Done};
use crate::exit::OrProblem;
use crate::{holdings, pinned};
use lre_toolchain::Source;
use serde_json::json;

pub(super) fn list(context: &Context, json: bool) -> Done {
    let all = pinned::installed(context)?;
    if json {
        say!("{:#}", json!({ "schema_version": 1, "toolchains": all }));
        return Ok(None);
    }
    for t in &all {
        say!("{:12} {:7} {}  {}", t.name, t.kind.to_string(), t.digest, t.source);
    }
    if all.is_empty() {
        eprintln!("no toolchain is installed\n hint: lre toolchain add cc --from {}", Source::DEFAULT);
    }
    Ok(None)
}

pub(super) fn show(context: &Context, name: &str, json: bool) -> Done {
    let toolchain = pinned::choose_installed(context, name)?;
    let (property, value) = toolchain.property();
    if json {
        let mount = toolchain.mount();
        say!("{:#}", json!({ "schema_version": 1, "toolchain": toolchain, "property": property, "mount": mount }));
        return Ok(None);
    }
    say!("name      {}\nkind      {}\nsource    {}", toolchain.name, toolchain.kind, toolchain.source);
    say!("platform  {property}={value}\nmount     {}", toolchain.mount());
    for (head, map) in [("tool", &toolchain.tools), ("env", &toolchain.environment)] {
        map.iter().for_each(|(name, value)| say!("{head:9} {name}={value}"));
    }
    Ok(None)
}

pub(super) fn remove(context: &Context, name: &str) -> Done {
    let toolchain = pinned::choose_installed(context, name)?;
    holdings::registry(context)?.remove(&toolchain.name).or_problem("cannot remove the toolchain")?;
    eprintln!("removed {name}; its blobs go when the store wants the room");
    Ok(None)
}

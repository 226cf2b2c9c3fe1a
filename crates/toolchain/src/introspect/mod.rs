//! What a toolchain is like: asked inside the sandbox, with only its tree mounted (TOOLCHAINS 5). What is
//! generated for clients is made of these facts, never of the machine's.
mod cc;
mod java;
mod lab;
mod look;
mod manifest;
mod probe;
mod program;
mod rust;
mod said;
mod unfit;

use crate::{Facts, Toolchain, ToolchainError};
use futures::future::try_join3;
use lab::Lab;

pub use look::{Seen, look};
pub use manifest::{Manifest, Version};
pub use probe::{Input, Probe, Probed, Prober};
pub(crate) use said::include_directories;
pub use unfit::Unfit;

/// What a toolchain must have one of, for people.
const SPOKEN: [(&str, &str); 3] =
    [("cc", "a C compiler (cc, gcc, clang, musl-gcc)"), ("java", "Java (java, javac)"), ("rustc", "Rust (rustc)")];

/// Asks a toolchain what it is like, in every language that it has tools for. What its tools make is run, where it
/// is for this machine.
///
/// # Errors
/// It has no tool that is known; a tool does not work, as a rule because it wants what the tree does not have
/// ([`ToolchainError::Unfit`] names the path); or the sandbox failed.
pub async fn introspect(prober: &dyn Prober, toolchain: &Toolchain) -> Result<Facts, ToolchainError> {
    let facts = languages(prober, toolchain).await?;
    if facts.is_empty() { Err(speechless(toolchain)) } else { Ok(facts) }
}

/// As [`introspect`], for a toolchain that a manifest describes: tools of known languages it may have, too.
///
/// # Errors
/// As [`introspect`], and what the manifest says is not so.
pub async fn introspect_described(
    prober: &dyn Prober,
    toolchain: &Toolchain,
    manifest: &Manifest,
) -> Result<Facts, ToolchainError> {
    let custom = manifest.describe(prober, toolchain).await?;
    Ok(Facts { custom: Some(custom), ..languages(prober, toolchain).await? })
}

async fn languages(prober: &dyn Prober, toolchain: &Toolchain) -> Result<Facts, ToolchainError> {
    let lab = Lab { prober, toolchain };
    let (cc, java, rust) = try_join3(cc::introspect(&lab), java::introspect(&lab), rust::Asked::of(&lab)).await?;
    // Rust links with the C driver, as that wants to be called.
    let rust = match rust {
        Some(asked) => Some(asked.probed(&lab, cc.as_ref()).await?),
        None => None,
    };
    Ok(Facts { cc, java, rust, custom: None })
}

fn speechless(toolchain: &Toolchain) -> ToolchainError {
    let looked_for: Vec<_> = SPOKEN.iter().map(|(_, what)| *what).collect();
    let has: Vec<_> = toolchain.tools.keys().map(String::as_str).collect();
    let has = if has.is_empty() { "no tool that is known".to_owned() } else { format!("only {}", has.join(", ")) };
    ToolchainError::Unfit(Box::new(Unfit {
        problem: format!(
            "the toolchain `{}` has no compiler: looked for {}, and found {has}",
            toolchain.name,
            looked_for.join(", ")
        ),
        wants: None,
        said: None,
        hint: "tools are looked for in bin and usr/bin of the tree: is it the right folder? A toolchain of another \
            kind is described by a manifest"
            .to_owned(),
    }))
}

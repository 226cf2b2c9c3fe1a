//! Refreshes the recipes that come with this program: resolves each anew against the machine's own mirrors and writes
//! `crates/toolchain/locks/NAME.lock`. On a machine with the release that the recipes are of, from the workspace:
//! `cargo run -p lre-toolchain --example deb_lock [NAME...]`
use lre_toolchain::{Access, deb};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let folder = tempfile::tempdir()?;
    for embedded in deb::EMBEDDED.iter().filter(|e| only.is_empty() || only.iter().any(|name| name == e.name)) {
        let names: Vec<String> = embedded.wanted.iter().map(|name| (*name).to_owned()).collect();
        let recipe = deb::resolve(&names, &Access::at(folder.path()), Arc::new(())).await?;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("locks").join(format!("{}.lock", embedded.name));
        std::fs::write(&file, embedded.file(&recipe))?;
        let (count, bytes) = (recipe.packages().len(), recipe.size_bytes());
        println!("{}: {count} packages, {bytes} bytes, {}", embedded.name, recipe.digest());
    }
    Ok(())
}

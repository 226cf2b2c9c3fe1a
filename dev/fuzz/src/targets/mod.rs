//! What is thrown at, and what must hold.
mod http;
mod messages;
mod names;

use crate::Target;

/// All targets. They are made anew for each run: some have a server of their own.
#[must_use]
pub fn all() -> Vec<Target> {
    let plain = |name: &'static str, seeds: Vec<Vec<u8>>, check: fn(&[u8]) -> String| Target {
        name,
        seeds,
        check: Box::new(check),
    };
    vec![
        plain("resource-names", names::resources(), names::resource),
        plain("digests", names::digests(), names::digest),
        plain("directory", messages::directories(), messages::directory),
        plain("tree", messages::trees(), messages::tree),
        plain("action", messages::actions(), messages::action),
        plain("command", messages::commands(), messages::command),
        http::target(),
    ]
}

/// An error as a word: which one it is, without the parts of the input that it repeats. What is said of any input stays short.
fn word(error: &(impl std::fmt::Debug + std::fmt::Display)) -> String {
    short(error);
    let which = format!("{error:?}");
    which.split(['"', '{', '[']).next().unwrap_or_default().chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The same of what is wrong with a field.
fn word_of(invalid: &lre_model::Invalid) -> String {
    short(invalid);
    let field: String = invalid.field.chars().filter(|c| !c.is_ascii_digit()).collect();
    format!("{field}: {}", invalid.problem.split('`').next().unwrap_or_default().chars().take(12).collect::<String>())
}

fn short(said: &impl std::fmt::Display) {
    /// Longer than any sentence of ours, in bytes. A client's author reads it, and a header of HTTP/2 carries it.
    const SAID_BYTES_MAX: usize = 2048;
    let said = said.to_string();
    assert!(said.len() <= SAID_BYTES_MAX, "{} bytes are said about {said:.100}...", said.len());
}

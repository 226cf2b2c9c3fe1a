//! The `lre` command.
fn main() {}

//! What this machine allows.

/// One thing that a sandbox needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// Whether it is as needed.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// What a user can do about it; empty where nothing is to be done.
    pub fix: String,
}

/// Looks whether sandboxes can be made here.
#[must_use]
pub fn check() -> Vec<Finding> {
    Vec::new()
}

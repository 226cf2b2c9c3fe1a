//! Why a toolchain whose tree is there cannot be used.

/// Why a toolchain whose tree is there cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}{}", .said.as_ref().map_or(String::new(), |said| format!(" (it says: {said})")))]
pub struct Unfit {
    /// What is wrong, with the tool that shows it.
    pub problem: String,
    /// What the tool wanted and the tree does not have: an absolute path where one is known.
    pub wants: Option<String>,
    /// What the tool said, on one line.
    pub said: Option<String>,
    /// What to do.
    pub hint: String,
}

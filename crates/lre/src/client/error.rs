//! What can go wrong on the client's side, and how it is told.
use crate::config::Endpoint;
use crate::exit::{Exit, Problem};
use crate::ui;
use lre_model::Terms;
use lre_store::StoreError;
use std::io;
use std::path::PathBuf;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why the client could not do it; each variant by whose turn it is.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The user's turn: start it.
    #[error("no server answers at {endpoint}")]
    Unreachable {
        /// Where we looked.
        endpoint: Endpoint,
        /// What came back.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The user's turn: the machine has no such toolchain or platform. The text is the server's.
    #[error("the server refuses the platform: {problem}")]
    Platform {
        /// The property at fault.
        property: String,
        /// What is installed, and the command that fixes it.
        problem: String,
    },
    /// The server said no.
    #[error("the server answers {}: {}", .0.code(), .0.message())]
    Status(Box<Status>),
    /// The server promised something and did not keep it.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The user's turn: paths that cannot be an input.
    #[error("{0}")]
    BadInput(String),
    /// The user's turn: probably the wrong directory.
    #[error("the inputs are more than {entries} files, {}", ui::bytes(*.bytes))]
    TooMuchInput {
        /// Seen until then.
        entries: usize,
        /// Seen until then.
        bytes: u64,
    },
    /// The user's turn: a file of this machine.
    #[error("{}", .path.display())]
    Local {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Moving blobs failed.
    #[error("blobs could not be moved")]
    Store(#[from] StoreError),
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let violations = status.get_details_precondition_failure().map(|p| p.violations).unwrap_or_default();
        match violations.into_iter().find(|v| v.r#type == "PLATFORM") {
            Some(platform) => Self::Platform { property: platform.subject, problem: platform.description },
            None => Self::Status(Box::new(status)),
        }
    }
}

/// The subjects of MISSING violations: blobs that the server wants to be sent again.
#[must_use]
pub fn missing(status: &Status) -> Vec<String> {
    if status.code() != Code::FailedPrecondition {
        return Vec::new();
    }
    let violations = status.get_details_precondition_failure().map(|p| p.violations).unwrap_or_default();
    violations.into_iter().filter(|v| v.r#type == "MISSING").map(|v| v.subject).collect()
}

/// A server of ours ends its texts with `hint: COMMAND`.
#[must_use]
pub fn split_hint(text: &str) -> (String, Option<String>) {
    match text.split_once("hint: ") {
        Some((why, hint)) => (why.trim_end().trim_end_matches(';').to_owned(), Some(hint.trim().to_owned())),
        None => (text.to_owned(), None),
    }
}

impl From<ClientError> for Problem {
    fn from(e: ClientError) -> Self {
        let tell = |exit, e: ClientError| {
            let source = std::error::Error::source(&e).map(ToString::to_string);
            let problem = Self::new(exit, &e);
            match source {
                Some(why) => problem.why(why),
                None => problem,
            }
        };
        match e {
            ClientError::Unreachable { .. } => tell(Exit::Unreachable, e).hint("lre up"),
            ClientError::Platform { property, problem } => {
                let (why, hint) = split_hint(&problem);
                // What is asked of the sandbox was written by hand; everything else follows from toolchains.
                let terms = Terms::PROPERTIES.contains(&property.as_str());
                let exit = if terms { Exit::Usage } else { Exit::Toolchain };
                let told = Self::new(exit, format!("the server refuses the property `{property}`")).why(why);
                match hint {
                    Some(hint) => told.hint(hint),
                    None if terms => told.hint("docs/reference/platform.md says which values there are"),
                    None if property.starts_with("lre-") => told.hint("lre toolchain list"),
                    None => told,
                }
            }
            ClientError::Status(status) => {
                let (why, hint) = split_hint(status.message());
                let problem = Self::error(format!("the server answers {:?}", status.code())).why(why);
                match status.code() {
                    _ if hint.is_some() => problem.hint(hint.unwrap_or_default()),
                    Code::Unauthenticated | Code::PermissionDenied => {
                        problem.hint("another user's server wants that user's token: LRE_TOKEN_FILE=FILE")
                    }
                    _ => problem,
                }
            }
            ClientError::TooMuchInput { .. } => {
                tell(Exit::Usage, e).hint("name the inputs with --in PATH, or take none with --no-in")
            }
            ClientError::BadInput(_) => tell(Exit::Usage, e),
            other => tell(Exit::Error, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn refused(kind: &str, subject: &str, description: &str) -> Status {
        let mut details = ErrorDetails::new();
        details.add_precondition_failure_violation(kind, subject, description);
        Status::with_error_details(Code::FailedPrecondition, "not like this", details)
    }

    #[test]
    fn a_refused_platform_is_told_in_the_servers_words() {
        let status = refused("PLATFORM", "lre-rootfs", "not installed; installed: cc\nhint: lre toolchain add x");
        let problem = Problem::from(ClientError::from(status));
        assert_eq!(problem.exit(), Exit::Toolchain);
        let expected =
            "the server refuses the property `lre-rootfs`: not installed; installed: cc (hint: lre toolchain add x)";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn what_is_asked_of_the_sandbox_is_no_toolchain() {
        let problem = Problem::from(ClientError::from(refused("PLATFORM", "lre-policy", "not known here")));
        assert_eq!(problem.exit(), Exit::Usage);
        assert!(problem.to_string().contains("platform.md"), "{problem}");
    }

    #[test]
    fn missing_blobs_are_found_in_the_details() {
        assert_eq!(missing(&refused("MISSING", "blobs/a/1", "")), ["blobs/a/1"]);
        assert!(missing(&refused("PLATFORM", "p", "")).is_empty());
        assert!(missing(&Status::not_found("x")).is_empty());
    }

    #[test]
    fn a_server_that_is_not_there_has_its_own_exit_code() {
        let source = io::Error::from(io::ErrorKind::ConnectionRefused).into();
        let endpoint = Endpoint::Unix("/run/re.sock".into());
        let problem = Problem::from(ClientError::Unreachable { endpoint, source });
        assert_eq!(problem.exit().code(), 20);
        assert!(problem.to_string().ends_with("(hint: lre up)"), "{problem}");
    }
}

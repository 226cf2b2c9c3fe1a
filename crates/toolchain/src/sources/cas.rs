//! `cas:ADDRESS[/INSTANCE][#HASH/SIZE]`: a Remote Execution API service that has the tree: a colleague's server, the
//! fleet's. Nothing of what it sends is believed: everything is asked for by digest.
use super::{Finding, Found, SEARCHED, Tree, tools_in};
use crate::access::Access;
use crate::copy::copy_tree;
use crate::error::{BadSource, ToolchainError};
use crate::layout::{Entry, Layout};
use crate::materialise::load_tree;
use crate::scratch::Scratch;
use lre_model::{Digest, InputTree, Node, RelPath};
use lre_store::StoreError;
use lre_store::upstream::Upstream;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// How long connecting to a peer may take. One that is switched off does not answer at all, and the next source is
/// waiting.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// What follows `cas:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cas {
    /// As it was written, without what is below: `grpc://host:port`, `host:port`, `unix:/path`.
    address: String,
    /// The `instance_name` that the service wants.
    instance: String,
    /// The tree, where no lock file says which.
    digest: Option<Digest>,
}

impl FromStr for Cas {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, digest) = match text.rsplit_once('#') {
            Some((address, digest)) => {
                let parsed = Digest::from_text(digest);
                (address, Some(parsed.map_err(|e| format!("after `#` comes the digest of the tree: {e}"))?))
            }
            None => (text, None),
        };
        if let Some(path) = address.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self { address: address.to_owned(), instance: String::new(), digest }),
                false => Err("the path of a Unix socket is absolute: `cas:unix:/run/user/1000/lre/re.sock`".to_owned()),
            };
        }
        let (scheme, rest) = match address.split_once("://") {
            Some((scheme @ ("grpc" | "http" | "grpcs" | "https"), rest)) => (format!("{scheme}://"), rest),
            Some((scheme, _)) => return Err(format!("`{scheme}://` is not understood: write grpc:// or grpcs://")),
            None => (String::new(), address),
        };
        let (authority, instance) = rest.split_once('/').unwrap_or((rest, ""));
        let port = authority.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if port.and_then(|port| port.parse::<u16>().ok()).is_none() || authority.contains('@') {
            return Err(format!("`{authority}` is not HOST:PORT: write `cas:grpc://host:50051`"));
        }
        Ok(Self { address: format!("{scheme}{authority}"), instance: instance.to_owned(), digest })
    }
}

impl fmt::Display for Cas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.service())?;
        self.digest.map_or(Ok(()), |digest| write!(f, "#{digest}"))
    }
}

impl Cas {
    /// The service, without what is asked of it.
    fn service(&self) -> String {
        if self.instance.is_empty() { self.address.clone() } else { format!("{}/{}", self.address, self.instance) }
    }

    /// The same service, for this tree.
    #[must_use]
    pub fn of(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// Whether no packet leaves the machine.
    fn is_local(&self) -> bool {
        let authority = self.address.rsplit("://").next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
        let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.address.starts_with("unix:") || host == "localhost" || loopback
    }

    /// Connects. The token is shown to peers that the user has named and to nobody else.
    ///
    /// # Errors
    /// [`ToolchainError::Fetched`]: it does not answer, or must not be asked.
    pub async fn connect(&self, access: &Access) -> Result<Upstream, ToolchainError> {
        let failed = |text: String| ToolchainError::Fetched(BadSource::Failed(StoreError::Upstream(text)));
        if access.offline && !self.is_local() {
            return Err(failed("it is not asked, as nothing may be fetched over a network".to_owned()));
        }
        let connected = tokio::time::timeout(CONNECT_TIME_MAX, Upstream::connect(&self.address)).await;
        let late = |_| failed(format!("cannot connect to {} within {} s", self.address, CONNECT_TIME_MAX.as_secs()));
        let upstream = connected.map_err(late)?.map_err(|e| ToolchainError::Fetched(BadSource::Failed(e)))?;
        let chosen = |peer: &String| peer.parse::<Self>().is_ok_and(|peer| peer.service() == self.service());
        let token = access.peer_token.clone().filter(|_| access.peers.iter().any(chosen));
        Ok(upstream.with_token(token).with_instance(self.instance.clone()))
    }

    /// Brings the tree into the store.
    pub(super) async fn find(&self, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
        let digest = match (finding.wanted.expected, self.digest) {
            (Some(expected), Some(named)) if expected != named => {
                let problem = format!("it names the tree {named}, but lre.lock pins {expected}");
                return Err(ToolchainError::unusable(self.to_string(), problem));
            }
            (Some(digest), _) | (None, Some(digest)) => digest,
            (None, None) => {
                let problem = format!(
                    "a service has many trees: name one, `cas:{self}#HASH/SIZE`, or use it with a lock file that pins it"
                );
                return Err(ToolchainError::unusable(self.to_string(), problem));
            }
        };
        let upstream = self.connect(finding.access).await?;
        let scratch = Scratch::new(&finding.access.directory)?;
        let upstream = upstream.with_staging(scratch.staging.clone());
        let copied = copy_tree(&upstream, finding.store, digest, &*finding.progress).await?;
        let (tree, hold) = load_tree(finding.store, digest).await?;
        Ok(Found {
            tools: tools_in(&layout_of(&tree)?, &SEARCHED),
            tree: Tree::Stored(digest, hold.and(copied.hold)),
            warnings: Vec::new(),
            environment: Default::default(),
            source: format!("cas:{}", self.of(digest)),
            recipe: Vec::new(),
        })
    }
}

/// A tree of the store as a layout, for those that look for programs in it.
fn layout_of(tree: &InputTree) -> Result<Layout, ToolchainError> {
    let mut layout = Layout::default();
    let mut left = vec![(RelPath::root(), tree.root.0)];
    while let Some((path, digest)) = left.pop() {
        let Some(directory) = tree.get(&digest) else { continue };
        for (name, node) in directory.children() {
            let path = path.join(name.as_str())?;
            let entry = match node {
                Node::File { digest, executable } => Entry::Stored { digest: *digest, executable: *executable },
                Node::Symlink { target } => Entry::Symlink { target: target.clone() },
                Node::Directory { digest } => {
                    left.push((path.clone(), *digest));
                    Entry::Directory
                }
            };
            layout.insert(path, entry);
        }
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;

    #[test]
    fn addresses_are_read_and_written() {
        let digest = Digest::of(DigestFunction::Sha256, b"x");
        for (text, address, instance) in [
            ("grpc://build:50051", "grpc://build:50051", ""),
            ("grpcs://build:443/main/fast", "grpcs://build:443", "main/fast"),
            ("127.0.0.1:50051/main", "127.0.0.1:50051", "main"),
            ("[::1]:50051", "[::1]:50051", ""),
            ("unix:/run/lre/re.sock", "unix:/run/lre/re.sock", ""),
        ] {
            let parsed: Cas = text.parse().unwrap();
            assert_eq!((parsed.address.as_str(), parsed.instance.as_str(), parsed.digest), (address, instance, None));
            assert_eq!(parsed.to_string(), text);
            let pinned = format!("{text}#{digest}");
            let parsed: Cas = pinned.parse().unwrap();
            assert_eq!((parsed.address.as_str(), parsed.digest, parsed.to_string()), (address, Some(digest), pinned));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_one_that_is() {
        for (text, says) in [
            ("build", "HOST:PORT"),
            ("build:port", "HOST:PORT"),
            (":50051", "HOST:PORT"),
            ("user:secret@build:50051", "HOST:PORT"),
            ("ftp://build:21", "grpc://"),
            ("unix:relative", "absolute"),
            ("build:50051#abc", "digest"),
            ("build:50051#", "digest"),
        ] {
            let refused = text.parse::<Cas>().unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_on_this_machine_is_known() {
        for (text, local) in [
            ("unix:/run/lre/re.sock", true),
            ("127.0.0.1:1", true),
            ("grpc://localhost:1", true),
            ("[::1]:1", true),
            ("grpc://127.example.org:1", false),
            ("grpc://build:1", false),
            ("10.127.0.1:1", false),
        ] {
            assert_eq!(text.parse::<Cas>().unwrap().is_local(), local, "{text}");
        }
    }
}

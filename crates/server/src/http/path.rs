//! What a path asks for.
use super::answer::Refused;
use crate::limits::HTTP_PATH_BYTES_MAX;
use lre_model::{Digest, DigestFunction};

/// The first segment of what is WebDAV.
const WEBDAV: &str = "webdav";

/// What a path names.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    /// `[/{prefix}]/cas/{hash}`. The size is not known: it is 0 here.
    Blob(Digest),
    /// `[/{prefix}]/ac/{key}`: each prefix has names of its own.
    Action { prefix: String, key: String },
    /// `/webdav/{path}`.
    File(String),
    /// `/webdav/` and whatever ends in a slash below it.
    Folder,
}

/// Parses the path of a request.
///
/// Only plain characters: nothing is unescaped, so nothing can mean something else after that. Keys become digests
/// before they are anything on the disk, so no path can lead out of the store either.
pub(super) fn parse(path: &str) -> Result<Target, Refused> {
    if path.len() > HTTP_PATH_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    if let Some(bad) = path.bytes().find(|byte| !is_plain(*byte)) {
        return Err(Refused::Malformed(format!("`{}` cannot be in a path here", bad.escape_ascii())));
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err(Refused::Malformed("`.` and `..` cannot be in a path here".to_owned()));
    }
    match segments.as_slice() {
        [WEBDAV] => Ok(Target::Folder),
        [WEBDAV, ..] if path.ends_with('/') => Ok(Target::Folder),
        [WEBDAV, rest @ ..] => Ok(Target::File(rest.join("/"))),
        [.., "cas", hash] => Ok(Target::Blob(key(hash)?)),
        [prefix @ .., "ac", hash] => Ok(Target::Action { prefix: prefix.join("/"), key: key(hash)?.hash_text() }),
        _ => Err(Refused::Unknown(
            "this is the HTTP cache of lre: there are /cas/{sha256}, /ac/{key} and /webdav/{path}",
        )),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~+=@:,!$*();".contains(&byte)
}

fn key(hash: &str) -> Result<Digest, Refused> {
    Digest::parse(DigestFunction::Sha256, hash, 0)
        .map_err(|_| Refused::Malformed("64 lower-case hexadecimal digits are needed".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn paths_in_all_forms() {
        let digest = Digest::empty(DigestFunction::Sha256);
        let action = |prefix: &str| Target::Action { prefix: prefix.to_owned(), key: H.to_owned() };
        for (path, target) in [
            (format!("/cas/{H}"), Target::Blob(digest)),
            (format!("/a/b/cas/{H}"), Target::Blob(digest)),
            (format!("//cas/{H}"), Target::Blob(digest)),
            (format!("/ac/{H}"), action("")),
            (format!("/some/ccache/ac/{H}"), action("some/ccache")),
            (format!("/webdav/ac/{H}"), Target::File(format!("ac/{H}"))),
            ("/webdav/a/.sccache_check".to_owned(), Target::File("a/.sccache_check".to_owned())),
            ("/webdav".to_owned(), Target::Folder),
            ("/webdav/".to_owned(), Target::Folder),
            ("/webdav/a/b/".to_owned(), Target::Folder),
        ] {
            assert_eq!(parse(&path).unwrap(), target, "{path}");
        }
    }

    /// PROTOCOL 89, bad input: no path leads anywhere else, however it is written.
    #[test]
    fn malformed_paths_are_refused() {
        for bad in [
            "/cas/abc".to_owned(),
            format!("/cas/{}", H.to_uppercase()),
            format!("/cas/{H}0"),
            format!("/cas/../ac/{H}"),
            format!("/cas/%2e%2e/ac/{H}"),
            format!("/x%00/cas/{H}"),
            format!("/x\\y/cas/{H}"),
            "/webdav/../format".to_owned(),
            "/webdav/./x".to_owned(),
            "/webdav/<script>".to_owned(),
        ] {
            assert!(matches!(parse(&bad), Err(Refused::Malformed(_))), "{bad}");
        }
        for unknown in ["", "/", "*", "/cas", "/ac/", "/status", &format!("/{H}")] {
            assert!(matches!(parse(unknown), Err(Refused::Unknown(_))), "{unknown}");
        }
        assert!(matches!(parse(&"/x".repeat(50_000)), Err(Refused::TooLong)));
    }
}

//! How one asks a registry that wants to know who asks: with a token, which it says where to get, or a password
//! that `docker login` or `podman login` has left.
use super::super::http::{Failure, Http, Request, Trust};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The largest answer with a token, in bytes.
const TOKEN_BYTES_MAX: u64 = 1024 * 1024;

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token, from this address.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// Name and password.
    Basic,
}

impl Challenge {
    /// What a header `www-authenticate` says.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest);
        Some(Self::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        })
    }
}

/// `name="value"` pairs, the values with or without quotes.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    let mut rest = text;
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => value.split_once(',').unwrap_or((value, "")),
        };
        parameters.insert(name.trim_matches([' ', ',']).to_ascii_lowercase(), value.to_owned());
        rest = after;
    }
    parameters
}

/// The header that answers a challenge.
pub(super) fn answer(http: &Http, challenge: &Challenge, pull: &str, login: Option<&str>) -> Result<String, Failure> {
    let basic = login.map(|login| format!("Basic {login}"));
    let (realm, service, scope) = match challenge {
        Challenge::Bearer { realm, service, scope } => (realm, service, scope),
        Challenge::Basic => return basic.ok_or_else(|| Failure::Final(NOBODY.to_owned())),
    };
    let scope = scope.clone().unwrap_or_else(|| format!("repository:{pull}:pull"));
    let mut url = format!("{realm}{}scope={}", if realm.contains('?') { '&' } else { '?' }, escaped(&scope));
    if let Some(service) = service {
        url.push_str(&format!("&service={}", escaped(service)));
    }
    let headers: Vec<_> = basic.iter().map(|basic| ("authorization", basic.as_str())).collect();
    let token = http.send(Request { headers: &headers, ..Request::new(&url, Trust::Connection) })?;
    match token.status {
        200 => {}
        401 | 403 => return Err(Failure::Final(NOBODY.to_owned())),
        status => {
            return Err(Failure::Final(format!(
                "it wants a token, but where it says that there is one, the answer is {status}"
            )));
        }
    }
    let bytes = token.bytes(TOKEN_BYTES_MAX).map_err(|e| Failure::Passing(e.to_string()))?;
    let token: Token =
        serde_json::from_slice(&bytes).map_err(|e| Failure::Final(format!("its token is not valid: {e}")))?;
    let token = token.token.or(token.access_token).ok_or_else(|| Failure::Final("its token is empty".to_owned()))?;
    Ok(format!("Bearer {token}"))
}

/// What is said where a registry does not let us in.
pub(super) const NOBODY: &str = "the registry lets nobody in without a login, or there is no such image; hint: \
    `docker login` or `podman login`, without a helper that keeps the password elsewhere";

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[derive(Deserialize)]
struct Logins {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
}

#[derive(Deserialize)]
struct Login {
    auth: Option<String>,
}

/// The files in which logins are left, in the order in which they are asked.
pub(super) fn login_files() -> Vec<PathBuf> {
    let under = |variable: &str, rest: &str| Some(PathBuf::from(std::env::var_os(variable)?).join(rest));
    [
        std::env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from),
        under("XDG_RUNTIME_DIR", "containers/auth.json"),
        under("DOCKER_CONFIG", "config.json"),
        under("HOME", ".docker/config.json"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Name and password for a host, in base64, where one of these files has them.
pub(super) fn login(files: &[PathBuf], host: &str) -> Option<String> {
    files.iter().find_map(|file| {
        let logins: Logins = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        let of_host =
            |key: &str| key.trim_start_matches("https://").trim_end_matches('/').trim_end_matches("/v1") == host;
        logins.auths.into_iter().find(|(key, _)| of_host(key))?.1.auth.filter(|auth| !auth.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let [service, scope] = [service, scope].map(|s| s.map(str::to_owned));
            Some(Challenge::Bearer { realm: realm.to_owned(), service, scope })
        };
        for (header, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            ("Bearer realm=\"https://h/t\"", bearer("https://h/t", None, None)),
            (
                "bearer realm=\"https://h/t?x=1\", service=h ,scope=\"repository:a/b:pull,push\"",
                bearer("https://h/t?x=1", Some("h "), Some("repository:a/b:pull,push")),
            ),
            ("Bearer service=\"h\"", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
        assert_eq!(escaped("repository:a/b-1:pull"), "repository%3Aa%2Fb-1%3Apull");
    }

    #[test]
    fn logins_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let files = [dir.path().join("none"), dir.path().join("torn"), dir.path().join("config.json")];
        std::fs::write(&files[1], "{").unwrap();
        let logins = r#"{"auths": {"https://h.example/v1/": {"auth": "YTpi"}, "i.example:5000": {}, "j": {"auth": ""}}, "x": 1}"#;
        std::fs::write(&files[2], logins).unwrap();
        for (host, expected) in [("h.example", Some("YTpi")), ("i.example:5000", None), ("j", None), ("example", None)]
        {
            assert_eq!(login(&files, host).as_deref(), expected);
        }
    }
}

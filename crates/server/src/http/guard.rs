//! Pages in this user's browser are kept out: to the kernel they are this user (SECURITY.md).
use super::answer::Refused;
use http::{HeaderMap, Request, header};
use std::net::IpAddr;

/// No cache client sends an `Origin`, and none names a server on loopback by a name of the internet. A browser does the first
/// when a page asks another place than its own, and the second when the page's own name was made to point here (DNS
/// rebinding); what such a page wrote would be taken for the output of a compiler.
pub(super) fn refuse_browsers<B>(request: &Request<B>) -> Result<(), Refused> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Err(Refused::Browser("this is a cache for build tools, and not for web pages".to_owned()));
    }
    match host(request.uri().host(), headers) {
        Some(host) if !is_here(host) => Err(Refused::Browser(format!(
            "`{}` is no name of this server: use 127.0.0.1 or localhost",
            host.escape_default()
        ))),
        _ => Ok(()),
    }
}

/// The host without its port; nothing where none is named.
fn host<'a>(uri: Option<&'a str>, headers: &'a HeaderMap) -> Option<&'a str> {
    if uri.is_some() {
        return uri;
    }
    let host = headers.get(header::HOST)?.to_str().unwrap_or("?");
    Some(match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    })
}

fn is_here(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.is_empty() || host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(name: &str, value: &str) -> bool {
        refuse_browsers(&Request::builder().header(name, value).body(()).unwrap()).is_ok()
    }

    /// PROTOCOL 89, bad input: a web page cannot write what a compiler is taken to have written.
    #[test]
    fn pages_are_kept_out_and_tools_are_not() {
        for host in ["127.0.0.1:50051", "127.0.0.1", "localhost:80", "[::1]:50051", "[::1]", "a.localhost", ""] {
            assert!(admitted("host", host), "{host}");
        }
        for host in ["evil.example:50051", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert!(!admitted("host", host), "{host}");
        }
        assert!(!admitted("origin", "http://evil.example") && !admitted("origin", "null"));
        assert!(!admitted("sec-fetch-site", "same-origin"));
    }
}

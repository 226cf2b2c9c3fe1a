//! As much of WebDAV (RFC 4918) as sccache needs: it asks for folders before it writes into them.
//!
//! There are no folders here. Every path that ends in a slash is taken for one that exists and lists nothing, so that
//! nobody has to make any.
use super::answer::{self, Refused};
use http::{HeaderValue, Response, StatusCode};
use lre_store::Record;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::body::Body;

/// What a folder can be asked.
const ALLOWED: &str = "PROPFIND, MKCOL";

/// The answer to what is asked of a folder.
pub(super) fn folder(method: &str, href: &str) -> Result<Response<Body>, Refused> {
    match method {
        "PROPFIND" => Ok(properties(href, "<D:resourcetype><D:collection/></D:resourcetype>", UNIX_EPOCH)),
        "MKCOL" => Ok(answer::done(StatusCode::CREATED)),
        _ => Err(Refused::Method(ALLOWED)),
    }
}

/// The properties of a file.
pub(super) fn file(href: &str, record: &Record) -> Response<Body> {
    let size = record.digest.size_bytes();
    let own = format!("<D:resourcetype/><D:getcontentlength>{size}</D:getcontentlength>");
    properties(href, &own, record.written_at)
}

/// `href` has come through [`super::path::parse`]: no character in it means anything in XML.
fn properties(href: &str, own: &str, changed: SystemTime) -> Response<Body> {
    let changed = httpdate::fmt_http_date(changed);
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{href}</D:href>\
         <D:propstat><D:prop>{own}<D:getlastmodified>{changed}</D:getlastmodified></D:prop>\
         <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>\n"
    );
    answer::text_of(StatusCode::MULTI_STATUS, "application/xml; charset=utf-8", text)
}

/// A time as in headers.
pub(super) fn date(time: SystemTime) -> HeaderValue {
    HeaderValue::try_from(httpdate::fmt_http_date(time)).unwrap_or(HeaderValue::from_static(""))
}

//! The HTTP cache, behind its door: paths, methods and bodies.
use crate::Target;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use lre_server::http::{Door, HttpCache};
use lre_store::{DiskStore, Staging};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use tonic::body::Body;
use tower::{Layer, ServiceExt};

const METHODS: [&str; 9] = ["GET", "PUT", "HEAD", "DELETE", "PROPFIND", "MKCOL", "OPTIONS", "POST", "PATCH"];
const HASH: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
/// More than any answer to what is put here has, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A byte for the method, the path up to a new line, and the body.
pub fn target() -> Target {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // The store stands in a folder of a folder, so that what leads out of it is seen.
    let directory = tempfile::tempdir().expect("a folder");
    let inside = directory.path().join("inside");
    let disk = Arc::new(DiskStore::open(&inside.join("store")).expect("a store"));
    let staging = Staging::new(inside.join("staging")).expect("a staging folder");
    let names = disk.names();
    let cache = HttpCache::new(lre_store::compose(disk, None).blobs, staging, names);
    let no_grpc = tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let door = Door(Some(cache)).layer(no_grpc);
    let check = move |input: &[u8]| {
        let word = runtime.block_on(async {
            let Some(request) = request(input) else { return "no request".to_owned() };
            let method = request.method().clone();
            let response = door.clone().oneshot(request).await.expect("it never fails");
            let status = response.status();
            let body = response.into_body().collect().await.map(|body| body.to_bytes().len()).unwrap_or(0);
            assert!(!status.is_server_error(), "{status}");
            assert!(body <= ANSWER_BYTES_MAX, "an answer of {body} bytes");
            format!("{method} {status} {}", body > 0)
        });
        nothing_outside(directory.path());
        word
    };
    Target { name: "http", seeds: seeds(), check: Box::new(check) }
}

fn seeds() -> Vec<Vec<u8>> {
    let seed = |method: u8, path: &str, body: &str| [&[method], path.as_bytes(), b"\n", body.as_bytes()].concat();
    vec![
        seed(0, &format!("/cas/{HASH}"), ""),
        seed(1, &format!("/cas/{HASH}"), "hello"),
        seed(1, &format!("/main/ac/{HASH}"), "anything"),
        seed(0, &format!("/main/ac/{HASH}"), ""),
        seed(1, "/webdav/a/b/c", "content"),
        seed(4, "/webdav/a/b/c", ""),
        seed(5, "/webdav/a/", ""),
        seed(3, "/webdav/a/b/c", ""),
    ]
}

/// What a client could have sent: other bytes do not get through the parser of HTTP.
fn request(input: &[u8]) -> Option<Request<Body>> {
    let (method, rest) = input.split_first()?;
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (path, body) = rest.split_at(end);
    let uri = Uri::try_from(path).ok()?;
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let body = Full::new(body.get(1..).unwrap_or_default().to_vec().into());
    Request::builder().method(method).uri(uri).body(Body::new(body)).ok()
}

fn nothing_outside(directory: &Path) {
    let entries = std::fs::read_dir(directory).expect("the folder").filter_map(Result::ok);
    let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    assert!(names.len() == 1 && names[0] == "inside", "outside of the store there is now {names:?}");
}

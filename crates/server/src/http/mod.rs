//! The HTTP cache (PROTOCOL 89; docs/reference/http-cache.md): for clients that do not speak the API, on the port that
//! gRPC is on.
//!
//! `/cas/…` is the store of the API itself. What `/ac/…` and `/webdav/…` name lies in namespaces of their own
//! ([`lre_store::Namespace`]): ccache writes to `/ac/` whatever it likes under whatever key, so nothing that comes in
//! here is ever the result of an action.
mod answer;
mod guard;
mod path;
mod range;
mod receive;
mod webdav;

use crate::limits;
use answer::Refused;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, header};
use lre_model::{ActionResult, Digest, DigestFunction};
use lre_store::{Blob, BlobStore, Form, Name, Names, Namespace, Record, Staging, StoreError, first_absent_of};
use path::Target;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;
use tonic::body::Body;
use tower::{Layer, Service};

/// What `/cas/…` can be asked.
const ALLOWED_CAS: &str = "GET, HEAD, PUT";
/// What a name can be asked.
const ALLOWED_NAMED: &str = "GET, HEAD, PUT, DELETE";
/// What a file of WebDAV can be asked.
const ALLOWED_FILE: &str = "GET, HEAD, PUT, DELETE, PROPFIND";

/// The service. Copies are the same.
#[derive(Clone)]
pub struct HttpCache(Arc<Inner>);

struct Inner {
    blobs: Arc<dyn BlobStore>,
    staging: Staging,
    names: Names,
}

impl std::fmt::Debug for HttpCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HttpCache").field(&self.0.names).finish()
    }
}

impl HttpCache {
    /// A cache over a store and the names in it. Uploads wait in `staging` until they are whole.
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobStore>, staging: Staging, names: Names) -> Self {
        Self(Arc::new(Inner { blobs, staging, names }))
    }
}

/// Whether a request is a call of gRPC. Over HTTP/1 nothing is one: a page in this user's browser can send that to a port
/// of this machine, and no browser speaks HTTP/2 without TLS (SECURITY.md).
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == http::Version::HTTP_2 && says_grpc(request.headers())
}

fn says_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// How strangers are told over plain HTTP that they are not let in.
pub(crate) fn stranger(why: &str) -> Response<Body> {
    Refused::Stranger(why.to_owned()).into_response()
}

impl Inner {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let head = request.method() == Method::HEAD;
        let response = match self.try_answer(request).await {
            Ok(response) => response,
            Err(refused) => refused.into_response(),
        };
        if head { response.map(|_| Body::empty()) } else { response }
    }

    async fn try_answer(&self, request: Request<Body>) -> Result<Response<Body>, Refused> {
        guard::refuse_browsers(&request)?;
        if says_grpc(request.headers()) {
            return Err(Refused::GrpcOverHttp1);
        }
        let method = request.method().clone();
        match (path::parse(request.uri().path())?, method.as_str()) {
            (Target::Blob(hash), "GET" | "HEAD") => self.get_blob(hash, request.headers()).await,
            (Target::Blob(hash), "PUT") => self.put_blob(hash, request).await,
            (Target::Blob(_), _) => Err(Refused::Method(ALLOWED_CAS)),
            (Target::Action { prefix, key }, method) => {
                let name = Name::new(Namespace::HttpActions, [prefix.as_str(), key.as_str()]);
                self.named(name, method, request).await
            }
            (Target::File(path), "PROPFIND") => {
                let (record, _) = self.whole(webdav_name(&path)).await?;
                Ok(webdav::file(request.uri().path(), &record))
            }
            (Target::File(path), method) => match self.named(webdav_name(&path), method, request).await {
                Err(Refused::Method(_)) => Err(Refused::Method(ALLOWED_FILE)),
                answer => answer,
            },
            (Target::Folder, method) => webdav::folder(method, request.uri().path()),
        }
    }

    async fn get_blob(&self, hash: Digest, headers: &HeaderMap) -> Result<Response<Body>, Refused> {
        let unknown = || Refused::Unknown("there is no such blob");
        let digest = self.names.find(hash)?.ok_or_else(unknown)?;
        // HEAD is how these clients ask what need not be sent.
        let (_hold, missing) = self.blobs.hold(&[digest]).await?;
        if !missing.is_empty() {
            return Err(unknown());
        }
        answer::blob(self.blobs.read(digest).await?, headers)
    }

    async fn put_blob(&self, hash: Digest, request: Request<Body>) -> Result<Response<Body>, Refused> {
        let (actual, blob) = self.receive(request).await?;
        if actual.hash() != hash.hash() {
            return Err(Refused::OtherBytes { expected: hash.hash_text(), actual });
        }
        self.blobs.write(actual, blob).await?;
        Ok(answer::done(http::StatusCode::OK))
    }

    /// The body of a `PUT`, unless what it is announced to be does not fit.
    async fn receive(&self, request: Request<Body>) -> Result<(Digest, Blob), Refused> {
        self.blobs.room_for(http_body::Body::size_hint(request.body()).lower())?;
        receive::whole(request, &self.staging).await
    }

    /// What all names can be asked.
    async fn named(&self, name: Name, method: &str, request: Request<Body>) -> Result<Response<Body>, Refused> {
        match method {
            "GET" | "HEAD" => {
                let (record, blob) = self.whole(name).await?;
                let mut response = answer::blob(blob, request.headers())?;
                response.headers_mut().insert(header::LAST_MODIFIED, webdav::date(record.written_at));
                Ok(response)
            }
            "PUT" => self.put_named(name, request).await,
            "DELETE" if self.names.remove(name)? => Ok(answer::done(http::StatusCode::NO_CONTENT)),
            "DELETE" => Err(Refused::Unknown("there is nothing of this name")),
            _ => Err(Refused::Method(ALLOWED_NAMED)),
        }
    }

    /// What a name means, while all that it needs is there (PROTOCOL 44).
    async fn whole(&self, name: Name) -> Result<(Record, Blob), Refused> {
        let unknown = Refused::Unknown("there is nothing of this name");
        let Some(record) = self.names.get(name, SystemTime::now())? else { return Err(unknown) };
        if let Some(absent) = first_absent_of(&record, &*self.blobs).await? {
            tracing::debug!(value = %record.digest, %absent, "a value is not returned: not all that it names is here");
            return Err(unknown);
        }
        match self.blobs.read(record.digest).await {
            Ok(blob) => Ok((record, blob)),
            Err(StoreError::Missing(_)) => Err(unknown),
            Err(e) => Err(e.into()),
        }
    }

    async fn put_named(&self, name: Name, request: Request<Body>) -> Result<Response<Body>, Refused> {
        let by_bazel = is_bazel(request.headers());
        let (digest, blob) = self.receive(request).await?;
        let form = if by_bazel && is_result(&blob).await? { Form::ActionResult } else { Form::Opaque };
        self.blobs.write(digest, blob).await?;
        self.names.put(name, &Record::of(digest, form, SystemTime::now()))?;
        Ok(answer::done(http::StatusCode::CREATED))
    }
}

fn webdav_name(path: &str) -> Name {
    Name::new(Namespace::WebDav, [path])
}

/// Of all clients only Bazel writes `ActionResult`s; what others write may look like one by chance.
fn is_bazel(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"bazel/"))
}

async fn is_result(blob: &Blob) -> Result<bool, StoreError> {
    if blob.size_bytes() > limits::DIRECTORY_BYTES_MAX {
        return Ok(false);
    }
    let bytes = blob.clone().into_bytes(limits::DIRECTORY_BYTES_MAX).await?;
    Ok(ActionResult::decode(DigestFunction::Sha256, &bytes).is_ok())
}

/// The door behind the porch: gRPC to its services, everything else to the cache.
#[derive(Clone)]
pub struct Door(pub Option<HttpCache>);

impl<S> Layer<S> for Door {
    type Service = Parted<S>;

    fn layer(&self, grpc: S) -> Parted<S> {
        Parted { cache: self.0.clone(), grpc }
    }
}

/// Services behind the [`Door`].
#[derive(Clone)]
pub struct Parted<S> {
    cache: Option<HttpCache>,
    grpc: S,
}

impl<S> Service<Request<Body>> for Parted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.grpc.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match &self.cache {
            Some(HttpCache(cache)) if !is_grpc(&request) => {
                let cache = Arc::clone(cache);
                Box::pin(async move { Ok(cache.answer(request).await) })
            }
            _ => Box::pin(self.grpc.call(request)),
        }
    }
}

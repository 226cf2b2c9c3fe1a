//! For whom a call is made (PROTOCOL, 3 and 33): what the store tells it, it tells the invocation of its client, and
//! keeps it until that has been silent for three hours.
//!
//! Silent is who does not call. A build may wait for one action for five hours, in a stream that was opened once: as long as a
//! call lasts, its invocation is calling.
use crate::limits::{INVOCATION_CALL_LONG, INVOCATION_CALLS_AGAIN};
use crate::metadata::Caller;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use lre_store::{DiskStore, Invoker};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Runs each call for its invocation, where there is a store that knows of such.
#[derive(Clone)]
pub(crate) struct Invocations(pub(crate) Option<Arc<DiskStore>>);

impl<S> Layer<S> for Invocations {
    type Service = ForInvocation<S>;

    fn layer(&self, inner: S) -> ForInvocation<S> {
        ForInvocation { store: self.0.clone(), inner }
    }
}

/// Services behind [`Invocations`].
#[derive(Clone)]
pub(crate) struct ForInvocation<S> {
    store: Option<Arc<DiskStore>>,
    inner: S,
}

impl<S> Service<Request<Body>> for ForInvocation<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.store.as_ref().and_then(|store| Call::begin(store, request.headers()));
        let answering = self.inner.call(request);
        let Some(mut call) = call else { return Box::pin(answering) };
        Box::pin(async move {
            let mut answering = std::pin::pin!(answering);
            let answer = std::future::poll_fn(|cx| call.poll(cx, |cx| answering.as_mut().poll(cx))).await?;
            // The answer of a stream is made while it is sent.
            Ok(answer.map(|body| Body::new(Answer { body, call })))
        })
    }
}

/// A call of an invocation, until its last byte is sent.
struct Call {
    store: Arc<DiskStore>,
    name: String,
    tool: String,
    invoker: Invoker,
    /// When the store was told of it last.
    told: Instant,
    /// When it is told again. Most calls are over before that, and many without waiting.
    again: Option<Pin<Box<Sleep>>>,
}

impl Call {
    fn begin(store: &Arc<DiskStore>, headers: &HeaderMap) -> Option<Self> {
        let caller = Caller::of_headers(headers)?;
        let name = caller.invocation.0;
        if name.is_empty() {
            return None;
        }
        let tool = format!("{} {}", caller.tool, caller.tool_version).trim().to_owned();
        let store = Arc::clone(store);
        let mut call = Self { store, name, tool, invoker: Invoker::default(), told: Instant::now(), again: None };
        call.tell();
        Some(call)
    }

    /// It calls now. Where the store cannot write that down, what it is told of is held for three hours like everybody's.
    fn tell(&mut self) {
        self.told = Instant::now();
        match self.store.invocation(&self.name, &self.tool) {
            Ok(invoker) => self.invoker = invoker,
            Err(error) => {
                tracing::debug!(invocation = self.name, %error, "a call of an invocation is not written down")
            }
        }
    }

    fn poll<T>(&mut self, cx: &mut Context<'_>, work: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let polled = self.invoker.run(|| work(&mut *cx));
        if polled.is_pending() {
            let again = self.again.get_or_insert_with(|| Box::pin(sleep(INVOCATION_CALLS_AGAIN)));
            if again.as_mut().poll(cx).is_ready() {
                self.tell();
                let mut again = Box::pin(sleep(INVOCATION_CALLS_AGAIN));
                // It is to wake this task.
                let _waits = again.as_mut().poll(cx);
                self.again = Some(again);
            }
        }
        polled
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // The three hours begin with the end of a call. A short one has ended in the minute in which it began.
        if self.told.elapsed() >= INVOCATION_CALL_LONG {
            self.tell();
        }
    }
}

/// The answer to a call, on its way.
struct Answer {
    body: Body,
    call: Call,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { body, call } = self.get_mut();
        call.poll(cx, |cx| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::{BodyExt, StreamBody};
    use lre_model::{Digest, DigestFunction};
    use lre_proto::re;
    use lre_store::{BlobStore, InvocationUsage};
    use std::convert::Infallible;
    use std::time::Duration;
    use tonic::metadata::{MetadataMap, MetadataValue};

    fn request(invocation: &str) -> Request<Body> {
        let wire = re::RequestMetadata {
            tool_details: Some(re::ToolDetails { tool_name: "bazel".into(), tool_version: "8.1".into() }),
            tool_invocation_id: invocation.into(),
            ..Default::default()
        };
        let mut metadata = MetadataMap::new();
        let name = "build.bazel.remote.execution.v2.requestmetadata-bin";
        metadata.insert_bin(name, MetadataValue::from_bytes(&prost::Message::encode_to_vec(&wire)));
        let mut request = Request::new(Body::empty());
        *request.headers_mut() = metadata.into_headers();
        request
    }

    fn seen(store: &DiskStore, name: &str) -> InvocationUsage {
        let all = store.usage(&[]).unwrap().invocations;
        all.into_iter().find(|one| one.name == name).unwrap_or_else(|| panic!("`{name}` is not known"))
    }

    /// Writes a blob in the call, and another one while its answer is sent; the answer has no end.
    async fn answer(store: Arc<DiskStore>) -> Result<Response<Body>, Infallible> {
        let write = async |store: &DiskStore, bytes: &'static [u8]| {
            let blob = Bytes::from_static(bytes).into();
            store.write(Digest::of(DigestFunction::Sha256, bytes), blob).await.unwrap();
        };
        write(&store, b"in the call").await;
        let frames = stream::unfold(Some(store), move |store| async move {
            let store = store?;
            write(&store, b"in its answer").await;
            Some((Ok::<_, Status>(Frame::data(Bytes::from_static(b"said"))), None))
        });
        let frames = futures::StreamExt::chain(frames, stream::pending());
        Ok(Response::new(Body::new(StreamBody::new(Box::pin(frames)))))
    }

    /// PROTOCOL 33: what a call and its stream do is done for the invocation, and as long as they last it is not idle.
    #[tokio::test(start_paused = true)]
    async fn a_call_is_its_invocations_as_long_as_its_stream_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(DiskStore::open(directory.path()).unwrap());
        let inner = tower::service_fn(|_: Request<Body>| answer(Arc::clone(&store)));
        let mut service = Invocations(Some(Arc::clone(&store))).layer(inner);
        let mut body = service.call(request("build")).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok());
        let before = seen(&store, "build");
        assert_eq!((before.tool.as_str(), before.amount.count), ("bazel 8.1", 2));

        let waiting = tokio::spawn(async move { body.frame().await.is_some() });
        for _ in 0..20 {
            store.pass_time(INVOCATION_CALLS_AGAIN);
            tokio::time::advance(INVOCATION_CALLS_AGAIN).await;
            tokio::task::yield_now().await;
        }
        let after = seen(&store, "build");
        assert_eq!(after.began, before.began, "five hours later it is the same");
        assert!(after.last >= before.last + 4 * 3600, "{before:?} {after:?}");

        // With its end the three hours begin.
        store.pass_time(Duration::from_secs(3600));
        tokio::time::advance(INVOCATION_CALL_LONG).await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert!(seen(&store, "build").last >= after.last + 3600);
    }

    #[tokio::test]
    async fn who_says_nothing_is_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(DiskStore::open(directory.path()).unwrap());
        let inner = tower::service_fn(|_: Request<Body>| answer(Arc::clone(&store)));
        let mut service = Invocations(Some(Arc::clone(&store))).layer(inner);
        for request in [Request::new(Body::empty()), request("")] {
            assert!(service.call(request).await.unwrap().into_body().frame().await.unwrap().is_ok());
        }
        let known = store.usage(&[]).unwrap().invocations;
        assert!(known.iter().all(|one| one.name.is_empty()), "{known:?}");
    }
}

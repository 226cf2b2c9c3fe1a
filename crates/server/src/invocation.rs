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

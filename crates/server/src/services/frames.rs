//! The messages of `ByteStream.Read`, on their way to HTTP/2 without a copy.
//!
//! tonic encodes each message into a buffer of its own: that copies every byte of every download, into memory that was just
//! asked for. A `ReadResponse` is nothing but a length and the bytes, so here the bytes go as they are, behind a head
//! of some ten bytes. The call itself stays tonic's: its answer brings the messages along ([`attach`]), and [`Frames`]
//! puts them in the place of the body.
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderMap;
use http_body::Frame;
use lre_proto::bytestream::ReadResponse;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Response, Status};
use tower::Service;

use super::download::Messages;

/// Data up to this many bytes is copied behind its head: two frames of HTTP/2 cost more.
const COPIED_BYTES_MAX: usize = 8 * 1024;

/// The key of `ReadResponse.data`: field 10, length-delimited.
const KEY: u8 = 10 << 3 | 2;

/// Messages of an answer, for whoever sends it. In a mutex, because what is attached must be `Sync`; nobody ever waits.
#[derive(Clone)]
struct Attached(Arc<Mutex<Option<Messages>>>);

/// An answer whose messages go without a copy.
pub(super) fn attach(messages: Messages) -> Response<Messages> {
    let mut response = Response::new(futures::stream::empty().boxed());
    response.extensions_mut().insert(Attached(Arc::new(Mutex::new(Some(messages)))));
    response
}

/// A service whose answers may have messages attached.
#[derive(Clone, Debug)]
pub(super) struct Frames<S>(pub(super) S);

impl<S: NamedService> NamedService for Frames<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, R> Service<R> for Frames<S>
where
    S: Service<R, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            let attached = response.extensions_mut().remove::<Attached>();
            let messages = attached.and_then(|Attached(it)| it.lock().unwrap_or_else(PoisonError::into_inner).take());
            Ok(match messages {
                Some(messages) => response.map(|_| Body::new(Sending { messages, data: None, over: false })),
                None => response,
            })
        })
    }
}

/// Messages as the body of an answer.
struct Sending {
    messages: Messages,
    /// Its head was sent.
    data: Option<Bytes>,
    over: bool,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let end = match ready!(self.messages.poll_next_unpin(cx)) {
            Some(Ok(ReadResponse { data })) => {
                let mut head = head(data.len());
                if data.len() <= COPIED_BYTES_MAX {
                    head.extend_from_slice(&data);
                } else {
                    self.data = Some(data);
                }
                return Poll::Ready(Some(Ok(Frame::data(head.freeze()))));
            }
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.over = true;
        let mut trailers = HeaderMap::new();
        end.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over && self.data.is_none()
    }
}

/// What goes before the bytes: gRPC's prefix (not compressed; length of the message), then the message up to its data.
fn head(length: usize) -> BytesMut {
    let mut field = BytesMut::with_capacity(11);
    // An empty field is left out (proto3).
    if length > 0 {
        field.put_u8(KEY);
        prost::encoding::encode_varint(length as u64, &mut field);
    }
    let copied = if length <= COPIED_BYTES_MAX { length } else { 0 };
    let mut head = BytesMut::with_capacity(5 + field.len() + copied);
    head.put_u8(0);
    // No piece is longer than `limits::CHUNK_BYTES`.
    head.put_u32(u32::try_from(field.len() + length).unwrap_or(u32::MAX));
    head.extend_from_slice(&field);
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use prost::Message;

    async fn bytes_of(messages: Vec<Result<ReadResponse, Status>>) -> (Vec<u8>, HeaderMap) {
        let mut body = Sending { messages: futures::stream::iter(messages).boxed(), data: None, over: false };
        let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame.unwrap().into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap(),
            }
        }
        assert!(body.is_end_stream());
        (bytes, trailers)
    }

    /// What is sent is what gRPC and protobuf would have it be, for data of every size.
    #[tokio::test]
    async fn messages_are_those_of_the_protocol() {
        let lengths = [0, 1, 127, 128, COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1, 16_384, 256 * 1024];
        let messages = lengths.map(|length| ReadResponse { data: vec![7; length].into() });
        let mut expected = Vec::new();
        for message in &messages {
            let encoded = message.encode_to_vec();
            expected.extend_from_slice(&[&[0][..], &(encoded.len() as u32).to_be_bytes(), &encoded].concat());
        }
        let (bytes, trailers) = bytes_of(messages.into_iter().map(Ok).collect()).await;
        assert!(bytes == expected);
        assert_eq!(trailers["grpc-status"], "0");
    }

    #[tokio::test]
    async fn an_error_ends_the_stream() {
        let first = Ok(ReadResponse { data: "first".into() });
        let (bytes, trailers) =
            bytes_of(vec![first, Err(Status::data_loss("gone")), Ok(ReadResponse::default())]).await;
        assert_eq!(bytes.len(), 5 + 2 + 5);
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"15".parse().unwrap(), &"gone".parse().unwrap())
        );
    }
}

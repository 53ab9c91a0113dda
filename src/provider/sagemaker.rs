//! Amazon SageMaker: an endpoint passes on what its container speaks, and wraps a stream into Amazon's messages. Pure.

use bytes::Bytes;

use crate::provider::sse::Frame;
use crate::provider::{Decode, Dialect, Event, Framing, Losses, Manner, wire};
use crate::types::{Failure, Request};

/// The dialect of one candidate.
pub struct SageMaker {
    /// Name of the endpoint.
    pub endpoint: String,
    /// What the container speaks.
    pub inner: Box<dyn Dialect>,
}

impl Dialect for SageMaker {
    fn manner(&self) -> &Manner {
        self.inner.manner()
    }

    fn encode(&self, request: &Request) -> (Bytes, Losses) {
        self.inner.encode(request)
    }

    fn may_lose(&self) -> bool {
        self.inner.may_lose()
    }

    fn framing(&self) -> Framing {
        Framing::AmazonEvents
    }

    fn path(&self) -> String {
        let method = if self.manner().is_streamed { "invocations-response-stream" } else { "invocations" };
        format!("/endpoints/{}/{method}", wire::segment(&self.endpoint))
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder(self.inner.decoder()))
    }

    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        self.inner.decode_body(body)
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        wire::error_message(body)
    }
}

/// The container's own, but for failures that the service puts in between.
struct Decoder(Box<dyn Decode>);

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>) -> Result<Vec<Event>, Failure> {
        if matches!(frame.event, "ModelStreamError" | "InternalStreamFailure") {
            let said = wire::error_message(frame.data.as_bytes()).unwrap_or_else(|| frame.data.to_owned());
            return Err(Failure::Service { detail: format!("{}: {said}", frame.event) });
        }
        self.0.frame(frame)
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.0.end()
    }
}

//! How a request reaches a model and comes back as events.
//!
//! Dialects are pure: they turn a [`Request`] into a body and frames into [`Event`]s. `http` is the only transport and
//! [`collect`] the only reader of the clock. A new dialect is one file, one entry in `suite::spec` and one arm in the
//! plan.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::types::{Failure, Finish, Request, Response, Timing, Usage};
use crate::util::clock::Clock;

/// Something that a provider's answer consists of.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A piece of the visible answer.
    Text(String),
    /// A piece of the reasoning.
    Reasoning(String),
    /// A piece of a tool call. Pieces of one call share an index; names and ids are appended to as arguments are.
    ToolCall {
        /// Which call of the answer.
        index: usize,
        /// The id, when this piece has it.
        id: Option<String>,
        /// The name, when this piece has it.
        name: Option<String>,
        /// A piece of the arguments.
        arguments: String,
    },
    /// Why the model stopped.
    Finish(Finish),
    /// Tokens; a later one replaces what it names.
    Usage(Usage),
    /// The model's name as the service gives it.
    Model(String),
    /// Times and money that a recorded answer brings along. It replaces what `collect` measured.
    Reported {
        /// From request to first token.
        ttft: Option<Duration>,
        /// From request to end.
        latency: Option<Duration>,
        /// Dollars.
        cost_usd: Option<Decimal>,
    },
}

/// A stream of events; it ends when the answer is complete.
pub type Events = BoxStream<'static, Result<Event, Failure>>;

/// A failed attempt, and how long the service asks to be left alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Why it failed.
    pub failure: Failure,
    /// The service's `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal { failure, retry_after: None }
    }
}

/// Something that answers requests.
pub trait Provider: Send + Sync {
    /// Sends a request. The future ends when the answer has begun; the stream gives the rest.
    fn open<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Refusal>>;

    /// Whether the times that `collect` measures are the model's; false for recorded answers.
    fn is_live(&self) -> bool {
        true
    }
}

/// An answer that has begun.
pub struct Answer {
    /// Its events.
    pub events: Events,
    /// Whether the instants of its events say when the model produced them; false for an answer that comes in one
    /// piece, whose time to first token is unknown.
    pub is_streamed: bool,
}

/// A dialect: pure, without transport or clock.
pub trait Dialect: Send + Sync {
    /// The request's body.
    fn encode(&self, request: &Request) -> Value;
    /// Whether the answer will come as a stream of server-sent events.
    fn is_streamed(&self) -> bool;
    /// The path below the base URL.
    fn path(&self) -> &str;
    /// A decoder for the data of one stream of server-sent events.
    fn decoder(&self) -> Box<dyn Decode>;
    /// Decodes a body that came in one piece.
    ///
    /// # Errors
    /// When the body is not what the dialect says, or is an error the service reports.
    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure>;
    /// The message of an error body, as the service words it; `None` when the body has another shape.
    fn error_message(&self, body: &[u8]) -> Option<String>;
}

/// Decodes the frames of one stream.
pub trait Decode: Send {
    /// Takes the data of one frame.
    ///
    /// # Errors
    /// When the frame is not what the dialect says, or is an error the service reports.
    fn frame(&mut self, data: &str) -> Result<Vec<Event>, Failure>;
    /// Whether the answer is complete (`[DONE]`, or the dialect's last event), so that nothing more is waited for.
    fn is_done(&self) -> bool;
    /// Called when the bytes end.
    ///
    /// # Errors
    /// When the answer is not complete.
    fn end(&mut self) -> Result<(), Failure>;
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempted {
    /// When the request was handed over, from the clock's start.
    pub sent: Duration,
    /// The answer or why there is none, with what the service asked for.
    pub outcome: Result<Response, Refusal>,
    /// Instants; `None` when nothing was measured or reported.
    pub timing: Option<Timing>,
    /// How long the attempt took.
    pub took: Duration,
    /// Whether any content had arrived: such a request is never sent again, it may have been paid for.
    pub is_begun: bool,
}

/// Puts a request to a provider, stamps every chunk with content and gathers the answer.
pub async fn collect(provider: &dyn Provider, request: &Request, timeout: Duration, clock: Clock) -> Attempted {
    let sent = clock.now();
    let mut gathered = Gathered::default();
    let result = tokio::time::timeout(timeout, gathered.run(provider, request, clock, sent)).await;
    let took = clock.now().saturating_sub(sent);
    let outcome = match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Failure::Timeout { after: timeout }.into()),
    };
    // A body that came in one piece shows its content only when it was complete.
    let is_begun = !gathered.chunks.is_empty();
    let outcome = match outcome {
        Err(Refusal { failure: Failure::Connection { detail }, .. }) if is_begun => Err(Failure::Cut { detail }.into()),
        other => other,
    };
    let timing = gathered.timing(provider.is_live(), sent, took);
    let outcome = outcome.map(|()| gathered.response);
    Attempted { sent, outcome, timing, took, is_begun }
}

#[derive(Default)]
struct Gathered {
    response: Response,
    chunks: Vec<Duration>,
    is_streamed: bool,
    reported: Option<(Option<Duration>, Option<Duration>)>,
}

impl Gathered {
    async fn run(
        &mut self,
        provider: &dyn Provider,
        request: &Request,
        clock: Clock,
        sent: Duration,
    ) -> Result<(), Refusal> {
        let mut answer = provider.open(request).await?;
        self.is_streamed = answer.is_streamed;
        while let Some(event) = answer.events.next().await {
            if self.take(event?) {
                self.chunks.push(clock.now().saturating_sub(sent));
            }
        }
        Ok(())
    }

    /// Adds an event to the answer; true when it was content.
    fn take(&mut self, event: Event) -> bool {
        let response = &mut self.response;
        match event {
            Event::Text(text) => {
                let is_content = !text.is_empty();
                if response.text.is_empty() {
                    response.text = text
                } else {
                    response.text.push_str(&text)
                }
                return is_content;
            }
            Event::Reasoning(text) => {
                response.reasoning.push_str(&text);
                return !text.is_empty();
            }
            Event::ToolCall { index, id, name, arguments } => {
                if response.tool_calls.len() <= index {
                    // Indices come from the service: a wild one must not allocate without bound.
                    let index = index.min(response.tool_calls.len());
                    response.tool_calls.resize_with(index + 1, Default::default);
                }
                let last = response.tool_calls.len() - 1;
                let call = &mut response.tool_calls[index.min(last)];
                if let Some(id) = id {
                    call.id = id;
                }
                if let Some(name) = name {
                    call.name.push_str(&name);
                }
                call.arguments.push_str(&arguments);
                return true;
            }
            Event::Finish(finish) => response.finish = Some(finish),
            Event::Usage(usage) => {
                let old = response.usage;
                response.usage = Usage {
                    input_tokens: usage.input_tokens.or(old.input_tokens),
                    cached_input_tokens: usage.cached_input_tokens.or(old.cached_input_tokens),
                    output_tokens: usage.output_tokens.or(old.output_tokens),
                    reasoning_tokens: usage.reasoning_tokens.or(old.reasoning_tokens),
                };
            }
            Event::Model(model) => response.model_echo = Some(model),
            Event::Reported { ttft, latency, cost_usd } => {
                response.cost_usd = cost_usd;
                self.reported = Some((ttft, latency));
            }
        }
        false
    }

    fn timing(&mut self, is_live: bool, sent: Duration, took: Duration) -> Option<Timing> {
        if is_live {
            let chunks = if self.is_streamed { std::mem::take(&mut self.chunks) } else { Vec::new() };
            return Some(Timing { sent, chunks, done: took });
        }
        let (ttft, latency) = self.reported?;
        let done = latency?;
        Some(Timing { sent: Duration::ZERO, chunks: ttft.into_iter().collect(), done })
    }
}

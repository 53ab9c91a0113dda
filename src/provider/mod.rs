//! How a request reaches a model and comes back as events.
//!
//! Dialects are pure: they turn a [`Request`] into a body and frames into [`Event`]s. `http` is the only transport and
//! [`collect`] the only reader of the clock. A new dialect is one file, one entry in `suite::spec` and one arm in the
//! plan. What is sent when, and what is sent again, is the engine's matter.

mod amazon;
mod anthropic;
mod ask;
mod bedrock;
mod cohere;
mod command;
mod event_stream;
mod filtered;
mod framing;
mod gemini;
mod http;
mod offspring;
mod ollama;
mod openai_chat;
mod openai_responses;
mod plain;
pub mod presets;
mod reach;
mod recorded;
mod sagemaker;
mod scripted;
mod settle;
pub mod sse;
mod stop;
mod tgi;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use rust_decimal::Decimal;

use crate::suite::spec::Structured;
use crate::types::{Failure, Finish, Request, Response, Timing, TokenLogprob, ToolCall, Unsent, Usage};
use crate::util::clock::Clock;
use crate::util::secret::Redactor;
use crate::util::text::shorten;

pub use amazon::Signer;
pub use anthropic::Anthropic;
pub use ask::{ANSWER_TOOL, Losses};
pub use bedrock::Bedrock;
pub use cohere::Cohere;
pub use command::Command;
pub use filtered::{events as filtered_events, of_status as filtered_by_status, word_of as filter_word};
pub use framing::Frames;
pub use gemini::Gemini;
pub use http::{Auth, Http, HttpProvider, is_loopback};
pub use offspring::guard;
pub use ollama::Ollama;
pub use openai_chat::OpenAiChat;
pub use openai_responses::OpenAiResponses;
pub use recorded::{Examined, Lookup, Recorded, Said, examine};
pub use sagemaker::SageMaker;
pub use scripted::{RowTest, RowText, Scripted};
pub use settle::settle;
pub use stop::events as stop_events;
pub use tgi::Tgi;

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
    /// The service's own word for that, where it says more.
    StopWord(String),
    /// Tokens; a later one replaces what it names.
    Usage(Usage),
    /// Why something that the service reports of tokens or money is not believed.
    Doubt(String),
    /// The service says that the model refused; what it said instead comes as text.
    Refusal,
    /// Tokens of the answer with their log-probabilities.
    Logprobs(Vec<TokenLogprob>),
    /// The model's name as the service gives it.
    Model(String),
    /// The service's name for the build that answers.
    Fingerprint(String),
    /// The service tier that answers.
    Tier(String),
    /// Dollars that the service says it charges for the answer.
    Billed(Decimal),
    /// Times and money that a recorded answer brings along. It replaces what `collect` measured.
    Reported {
        /// From request to first token.
        ttft: Option<Duration>,
        /// From request to end.
        latency: Option<Duration>,
        /// Dollars.
        cost_usd: Option<Decimal>,
    },
    /// The answer is complete, though its stream may take a moment to end: a connection is read to its end to be used
    /// again, and that is not the model's time.
    Complete,
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

/// A request as it is sent.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// The request.
    pub request: &'a Request,
    /// What its provider [made](Provider::encode) of it.
    pub body: Bytes,
}

impl<'a> Outgoing<'a> {
    /// Encodes a request.
    pub fn of(provider: &dyn Provider, request: &'a Request) -> Outgoing<'a> {
        Outgoing { request, body: provider.encode(request) }
    }
}

/// Something that answers requests.
pub trait Provider: Send + Sync {
    /// What is sent of a request. It is made before the request's time begins, so that it counts neither as the model's
    /// nor, in an open loop, as late. Empty where there is nothing to make beforehand.
    fn encode(&self, _: &Request) -> Bytes {
        Bytes::new()
    }

    /// Sends a request. The future ends when the answer has begun; the stream gives the rest.
    fn open<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Answer, Refusal>>;

    /// Connects to the service without sending it a request: nothing is paid, and nothing is left behind. Whatever answers
    /// on this machine has nothing to connect to and is always reached.
    ///
    /// # Errors
    /// [`Failure::Connection`] with the address and the reason when there is no connection `within` this time.
    fn reach(&self, within: Duration) -> BoxFuture<'_, Result<(), Failure>> {
        let _ = within;
        async { Ok(()) }.boxed()
    }

    /// The most files that a request in flight holds open.
    fn files(&self) -> u64 {
        2
    }

    /// Whether the times that `collect` measures are the model's; false for recorded answers.
    fn is_live(&self) -> bool {
        true
    }
}

/// The failure, when an error says that this machine can open no more files: that is no fault of whoever is asked.
pub(crate) fn out_of_files(error: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let is_it = |error: &(dyn std::error::Error + 'static)| {
        let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        matches!(code, Some(libc::EMFILE | libc::ENFILE))
    };
    causes.any(is_it).then_some(Failure::Unsent { why: Unsent::Files })
}

/// An answer that has begun.
pub struct Answer {
    /// Its events.
    pub events: Events,
    /// Whether the instants of its events say when the model produced them; false for an answer that comes in one
    /// piece, whose time to first token is unknown.
    pub is_streamed: bool,
    /// Whether a call of [`ANSWER_TOOL`] is the answer: a schema was asked for as a tool.
    pub is_wrapped: bool,
    /// What the service said of its limits.
    pub hint: Hint,
}

impl Answer {
    /// One of which the service says nothing about its limits.
    pub fn new(events: Events, is_streamed: bool) -> Answer {
        Answer { events, is_streamed, is_wrapped: false, hint: Hint::default() }
    }
}

/// How a stream is cut into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Events,
    /// One JSON value a line.
    Lines,
    /// Amazon's binary messages.
    Amazon,
    /// Server-sent events in the payloads of Amazon's binary messages.
    AmazonEvents,
}

/// How one candidate is asked, in whatever dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// The model; empty for services that know it by the address.
    pub model: String,
    /// Whether answers are streamed.
    pub is_streamed: bool,
    /// How a schema is asked for; not `auto`.
    pub structured: Structured,
}

/// A dialect: pure, without transport or clock.
pub trait Dialect: Send + Sync {
    /// How its candidate is asked.
    fn manner(&self) -> &Manner;
    /// The request's body, and what of the request it cannot carry.
    fn encode(&self, request: &Request) -> (Bytes, Losses);
    /// Whether there are requests that it cannot carry as they are.
    fn may_lose(&self) -> bool {
        true
    }
    /// How that stream is cut.
    fn framing(&self) -> Framing {
        Framing::Events
    }
    /// The path below the base URL.
    fn path(&self) -> String;
    /// What belongs into the address behind the path.
    fn query(&self) -> Option<&'static str> {
        None
    }
    /// Headers of the dialect itself.
    fn headers(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// A decoder for the frames of one stream.
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
    /// Takes one frame.
    ///
    /// # Errors
    /// When the frame is not what the dialect says, or is an error the service reports.
    fn frame(&mut self, frame: sse::Frame<'_>) -> Result<Vec<Event>, Failure>;
    /// Whether the answer is complete (`[DONE]`, or the dialect's last event), so that nothing more is waited for.
    fn is_done(&self) -> bool;
    /// Called when the bytes end.
    ///
    /// # Errors
    /// When the answer is not complete.
    fn end(&mut self) -> Result<(), Failure>;
}

/// What a service says of its own limits with an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hint {
    /// Requests that it still takes, and for how long that counts.
    pub requests: Option<(u64, Duration)>,
    /// Tokens that it still takes, and for how long that counts.
    pub tokens: Option<(u64, Duration)>,
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
    /// What the service said of its limits.
    pub hint: Hint,
    /// How long the attempt took.
    pub took: Duration,
    /// Of one that failed, the tokens that the service bills for it: it had reported them at the answer's end when the
    /// stream broke off.
    pub billed: Option<Usage>,
    /// Whether any content had arrived: such a request is never sent again, it may have been paid for.
    pub is_begun: bool,
}

/// How many characters of a service's own words a failure keeps.
const DETAIL: usize = 400;

/// How many of its word for the end of an answer.
const FINISH: usize = 80;

/// Adds the end of an answer to what is known of it, in the word of any service.
///
/// # Errors
/// When the word says that the server broke the answer off, or failed.
pub fn ended(response: &mut Response, word: &str) -> Result<(), Failure> {
    let mut gathered = Gathered { response: std::mem::take(response), ..Gathered::default() };
    for event in stop_events(word)? {
        gathered.take(event);
    }
    *response = gathered.response;
    Ok(())
}

/// The answer that events make up, for who has received them otherwise: bodies that a log holds. Its counts are
/// [settled](settle).
pub fn gathered(events: impl IntoIterator<Item = Event>) -> Response {
    let mut gathered = Gathered::default();
    for event in events {
        gathered.take(event);
    }
    settle(&mut gathered.response);
    gathered.response
}

/// Puts a request to a provider, stamps every chunk with content and gathers the answer. `redactor` takes the keys out
/// of everything that came back, also out of a good answer: what leaves here is written to files.
pub async fn collect(
    provider: &dyn Provider,
    outgoing: &Outgoing<'_>,
    timeout: Duration,
    clock: Clock,
    redactor: &Redactor,
) -> Attempted {
    let sent = clock.now();
    let mut gathered = Gathered::default();
    let result = tokio::time::timeout(timeout, gathered.run(provider, outgoing, clock, sent)).await;
    let took = gathered.done.unwrap_or_else(|| clock.now().saturating_sub(sent));
    let outcome = match result {
        _ if gathered.done.is_some() => Ok(()),
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Failure::Timeout { after: timeout }.into()),
    };
    let outcome = match outcome {
        Err(Refusal { failure: Failure::Lost { detail }, .. }) if gathered.is_begun() => {
            Err(Failure::Cut { detail }.into())
        }
        other => other,
    };
    // A body in one piece shows its content only when it is complete; that it broke off, the transport tells.
    let is_begun = gathered.is_begun() || matches!(&outcome, Err(Refusal { failure: Failure::Cut { .. }, .. }));
    let timing = gathered.timing(provider.is_live(), sent, took);
    settle(&mut gathered.response);
    let billed = outcome.is_err().then(|| gathered.billed()).flatten();
    let outcome = match outcome {
        Ok(()) => {
            let mut replaced: u64 = gathered.response.texts_mut().map(|text| redactor.clean_answer(text)).sum();
            // A key may be spread over several tokens.
            let mut tokens: String = gathered.response.logprobs.iter().map(|token| token.token.as_str()).collect();
            let spread = redactor.clean_answer(&mut tokens);
            if spread > 0 {
                gathered.response.logprobs.clear();
                replaced += spread;
            }
            gathered.response.keys_replaced = replaced;
            if let Some(word) = &mut gathered.response.finish_raw {
                *word = shorten(word, FINISH);
            }
            Ok(gathered.response)
        }
        Err(mut refusal) => {
            if let Some(detail) = refusal.failure.detail_mut() {
                // First the whole text: a key that was cut in two would not be found.
                redactor.clean_message(detail);
                *detail = shorten(detail.trim(), DETAIL);
            }
            Err(refusal)
        }
    };
    Attempted { sent, outcome, timing, hint: gathered.hint, took, billed, is_begun }
}

#[derive(Default)]
struct Gathered {
    response: Response,
    chunks: Vec<Duration>,
    /// When the answer was complete, where its events tell.
    done: Option<Duration>,
    is_streamed: bool,
    hint: Hint,
    reported: Option<(Option<Duration>, Option<Duration>)>,
}

/// Puts the arguments of the tool that stands for the answer into the answer's place. What was said before the call is
/// no part of it, and of several calls the first counts.
fn unwrap(response: &mut Response) {
    let is_answer = |call: &ToolCall| call.name == ANSWER_TOOL;
    let Some(place) = response.tool_calls.iter().position(is_answer) else { return };
    response.text = std::mem::take(&mut response.tool_calls[place].arguments);
    response.tool_calls.retain(|call| !is_answer(call));
    if response.finish == Some(Finish::Tool) && response.tool_calls.is_empty() {
        response.finish = Some(Finish::Stop);
    }
}

impl Gathered {
    /// What is billed though the answer is not whole. Counts that came before its end may still have grown.
    fn billed(&self) -> Option<Usage> {
        let Response { usage, finish, .. } = &self.response;
        let is_told = finish.is_some() && usage.input_tokens.is_some() && usage.output_tokens.is_some();
        is_told.then_some(*usage)
    }

    async fn run(
        &mut self,
        provider: &dyn Provider,
        outgoing: &Outgoing<'_>,
        clock: Clock,
        sent: Duration,
    ) -> Result<(), Refusal> {
        let mut answer = provider.open(outgoing).await?;
        self.is_streamed = answer.is_streamed;
        self.hint = answer.hint;
        while let Some(event) = answer.events.next().await {
            let event = event?;
            if event == Event::Complete {
                self.done = Some(clock.now().saturating_sub(sent));
            } else if self.take(event) {
                self.chunks.push(clock.now().saturating_sub(sent));
            }
        }
        if answer.is_wrapped {
            unwrap(&mut self.response);
        }
        Ok(())
    }

    fn is_begun(&self) -> bool {
        !self.chunks.is_empty()
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
            Event::StopWord(word) => response.finish_raw = Some(word),
            Event::Doubt(reason) => response.usage_doubt = Some(reason),
            Event::Tier(tier) => response.service_tier = Some(tier),
            Event::Usage(usage) => response.usage = response.usage.updated(usage),
            Event::Refusal => response.is_refusal = true,
            Event::Logprobs(mut more) => response.logprobs.append(&mut more),
            Event::Model(model) => response.model_echo = Some(model),
            Event::Billed(cost_usd) => response.cost_usd = Some(cost_usd),
            Event::Fingerprint(name) => response.system_fingerprint = Some(name),
            Event::Reported { ttft, latency, cost_usd } => {
                response.cost_usd = cost_usd;
                self.reported = Some((ttft, latency));
            }
            Event::Complete => {}
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::stream;

    use super::*;
    use crate::types::{Params, ToolCall};

    /// Gives events, each after a wait in milliseconds; then ends, or not.
    struct Script {
        steps: Vec<(u64, Result<Event, Failure>)>,
        is_endless: bool,
        is_live: bool,
    }

    impl Provider for Script {
        fn open<'a>(&'a self, _: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Answer, Refusal>> {
            let events = stream::iter(self.steps.clone()).then(|(wait, event)| async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                event
            });
            let events = if self.is_endless { events.chain(stream::pending()).boxed() } else { events.boxed() };
            async { Ok(Answer::new(events, true)) }.boxed()
        }

        fn is_live(&self) -> bool {
            self.is_live
        }
    }

    async fn run(steps: Vec<(u64, Result<Event, Failure>)>, is_endless: bool, is_live: bool) -> Attempted {
        let request = Request {
            messages: Arc::new([]),
            tools: None,
            output_schema: None,
            params: Arc::new(Params::default()),
            row: Arc::default(),
        };
        let clock = Clock::new();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let script = Script { steps, is_endless, is_live };
        collect(&script, &Outgoing::of(&script, &request), Duration::from_secs(1), clock, &Redactor::default()).await
    }

    fn text(text: &str) -> Result<Event, Failure> {
        Ok(Event::Text(text.to_owned()))
    }

    fn ms(all: &[u64]) -> Vec<Duration> {
        all.iter().copied().map(Duration::from_millis).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_content_is_stamped() {
        let events = vec![
            (10, Ok(Event::Model("m".into()))),
            (10, text("")),
            (10, Ok(Event::Reasoning("hm".into()))),
            (10, text("a")),
            (10, text("b")),
            (10, Ok(Event::Finish(Finish::Stop))),
        ];
        let got = run(events, false, true).await;
        let timing = Timing { sent: ms(&[5])[0], chunks: ms(&[30, 40, 50]), done: ms(&[60])[0] };
        assert_eq!(got.timing, Some(timing));
        let response = got.outcome.unwrap();
        assert_eq!((response.text.as_str(), response.reasoning.as_str()), ("ab", "hm"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_broke_off_after_its_end_was_reported_is_billed_by_its_usage() {
        let usage = Usage { input_tokens: Some(10), output_tokens: Some(1), ..Usage::default() };
        let broken = |ends: bool, usage: Usage| {
            let mut events = vec![(1, text("a")), (1, Ok(Event::Usage(usage)))];
            if ends {
                events.push((1, Ok(Event::Finish(Finish::Stop))));
            }
            events.push((1, Err(Failure::Lost { detail: "reset".to_owned() })));
            run(events, false, true)
        };
        let got = broken(true, usage).await;
        assert!(got.outcome.is_err() && got.is_begun);
        assert_eq!(got.billed, Some(usage));
        assert_eq!(broken(false, usage).await.billed, None, "it may have grown");
        assert_eq!(broken(true, Usage { output_tokens: None, ..usage }).await.billed, None);
        let nothing = Usage { input_tokens: Some(0), output_tokens: Some(0), ..usage };
        assert_eq!(broken(true, nothing).await.billed, None, "no text costs nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_answer_stays_one_whatever_follows() {
        let events = vec![(10, text("a")), (5, Ok(Event::Complete))];
        let got = run(events.clone(), true, true).await;
        assert_eq!((got.took, got.outcome.unwrap().text.as_str()), (ms(&[15])[0], "a"));
        let broken = [events, vec![(5, Err(Failure::Lost { detail: "reset".into() }))]].concat();
        assert!(run(broken, false, true).await.outcome.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_broke_off_is_told_from_what_never_began() {
        let broken = || (5, Err(Failure::Lost { detail: "reset".into() }));
        let early = run(vec![(5, Ok(Event::Model("m".into()))), broken()], false, true).await;
        assert!(!early.is_begun && matches!(early.outcome, Err(Refusal { failure: Failure::Lost { .. }, .. })));
        let late = run(vec![(5, text("a")), broken()], false, true).await;
        assert_eq!(late.outcome, Err(Failure::Cut { detail: "reset".into() }.into()));
        assert!(late.is_begun);
        let endless = run(vec![(5, text("a"))], true, true).await;
        assert_eq!(endless.outcome, Err(Failure::Timeout { after: Duration::from_secs(1) }.into()));
        assert!(endless.is_begun && endless.timing.unwrap().chunks.len() == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_are_put_together_and_wild_numbers_take_no_memory() {
        let piece = |index, id: Option<&str>, name: Option<&str>, arguments: &str| {
            let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
            (1, Ok(Event::ToolCall { index, id, name, arguments: arguments.to_owned() }))
        };
        let usage = |input_tokens, output_tokens| {
            (1, Ok(Event::Usage(Usage { input_tokens, output_tokens, ..Usage::default() })))
        };
        let events = vec![
            piece(0, Some("x"), Some("get_"), ""),
            piece(0, None, Some("it"), "{"),
            piece(usize::MAX, Some("y"), Some("f"), "1"),
            piece(0, None, None, "}"),
            usage(Some(1), Some(2)),
            usage(None, Some(3)),
        ];
        let response = run(events, false, true).await.outcome.unwrap();
        let call = |id: &str, name: &str, arguments: &str| ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        };
        assert_eq!(response.tool_calls, [call("x", "get_it", "{}"), call("y", "f", "1")]);
        assert_eq!((response.usage.input_tokens, response.usage.output_tokens), (Some(1), Some(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn recorded_times_replace_measured_ones() {
        let reported = |ttft: Option<u64>, latency: Option<u64>| {
            let event = Event::Reported {
                ttft: ttft.map(Duration::from_millis),
                latency: latency.map(Duration::from_millis),
                cost_usd: None,
            };
            vec![(5, text("a")), (5, Ok(event))]
        };
        let timing = run(reported(Some(7), Some(9)), false, false).await.timing;
        assert_eq!(timing, Some(Timing { sent: Duration::ZERO, chunks: ms(&[7]), done: ms(&[9])[0] }));
        assert_eq!(run(reported(Some(7), None), false, false).await.timing, None);
        assert_eq!(run(vec![(5, text("a"))], false, false).await.timing, None);
    }
}

//! What happened to one task: the raw facts that every figure is derived from.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{Request, Response};
use crate::util::digest::Digest;
use crate::util::micros;

/// Names one task: it joins requests, records, scores and figures everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskKey {
    /// Id of the sample.
    pub sample: Arc<str>,
    /// Id of the candidate.
    pub candidate: Arc<str>,
    /// Which repetition, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeat: u32,
}

fn is_zero(repeat: &u32) -> bool {
    *repeat == 0
}

/// One thing to do: put `request` to the candidate named in `key`.
#[derive(Debug, Clone)]
pub struct Task {
    /// Which task it is.
    pub key: TaskKey,
    /// Digest of everything that decides the answer: request, parameters, endpoint.
    pub digest: Digest,
    /// What to ask.
    pub request: Arc<Request>,
}

/// Instants of one answered attempt, as offsets from the run's start (`sent`) or from `sent` (the rest).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// When the request was handed to the transport, from the start of the session that sent it.
    #[serde(rename = "sent_us", with = "micros")]
    pub sent: Duration,
    /// When each chunk with content (text, reasoning or a tool call) arrived, from `sent`. Empty when the answer was
    /// not streamed, so that nothing is known of its first token.
    #[serde(rename = "chunks_us", with = "micros::list", default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<Duration>,
    /// When the answer was complete, from `sent`.
    #[serde(rename = "done_us", with = "micros")]
    pub done: Duration,
}

/// Why a task, or one attempt at it, has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Nothing, or not the whole answer, came within the candidate's `timeout`.
    #[error("no answer within {}", humantime::format_duration(*.after))]
    Timeout {
        /// The limit that was passed.
        #[serde(rename = "after_us", with = "micros")]
        after: Duration,
    },
    /// The service answered with an error status.
    #[error("status {status}: {detail}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The service's message, shortened, without secrets.
        detail: String,
    },
    /// The service said we ask too often (429), to the last retry.
    #[error("rate limited: {detail}")]
    RateLimited {
        /// The service's message, shortened.
        detail: String,
    },
    /// No connection: nothing was sent.
    #[error("connection: {detail}")]
    Connection {
        /// What the transport said.
        detail: String,
    },
    /// The connection was lost after the request had been handed over and before any content came. The service may have
    /// begun to bill.
    #[error("connection lost: {detail}")]
    Lost {
        /// What the transport or the stream said.
        detail: String,
    },
    /// The answer broke off after some content had come. It is not sent again: it may have been paid for.
    #[error("answer cut off: {detail}")]
    Cut {
        /// What the transport or the stream said.
        detail: String,
    },
    /// What came back is not what the protocol says.
    #[error("protocol: {detail}")]
    Protocol {
        /// What was wrong with it.
        detail: String,
    },
    /// The service reported an error inside an answer that began as a success.
    #[error("service error: {detail}")]
    Service {
        /// The service's message, shortened.
        detail: String,
    },
    /// It was not sent: its time had come, and something of our own stood in the way.
    #[error("not sent: {}", .why.in_words())]
    Unsent {
        /// What.
        why: Unsent,
    },
    /// A recorded candidate has no answer for this sample, or the file says that it failed.
    #[error("recorded: {detail}")]
    Recorded {
        /// Which it was.
        detail: String,
    },
    /// A `command` candidate ended or answered something else than it should.
    #[error("program: {detail}")]
    Program {
        /// What it did.
        detail: String,
    },
}

/// The closed set of reasons that reports count by; texts are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the variant of `Failure` of the same name")]
pub enum FailureKind {
    Timeout,
    Status,
    RateLimited,
    Connection,
    Lost,
    Cut,
    Protocol,
    Service,
    Unsent,
    Recorded,
    Program,
}

/// Why a request was not sent at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unsent {
    /// It would have been later than late ones may be.
    Late,
    /// As many were in flight as may be.
    Full,
    /// It could have cost more than is left to spend.
    Budget,
    /// This machine could open no file or connection more for it.
    Files,
}

impl Unsent {
    /// In words.
    pub fn in_words(self) -> &'static str {
        match self {
            Unsent::Late => "too late",
            Unsent::Full => "too many in flight",
            Unsent::Budget => "no money left",
            Unsent::Files => "this machine can open no more files",
        }
    }
}

impl Failure {
    /// Which of the counted reasons this is.
    pub fn kind(&self) -> FailureKind {
        match self {
            Failure::Timeout { .. } => FailureKind::Timeout,
            Failure::Status { .. } => FailureKind::Status,
            Failure::RateLimited { .. } => FailureKind::RateLimited,
            Failure::Connection { .. } => FailureKind::Connection,
            Failure::Lost { .. } => FailureKind::Lost,
            Failure::Cut { .. } => FailureKind::Cut,
            Failure::Protocol { .. } => FailureKind::Protocol,
            Failure::Service { .. } => FailureKind::Service,
            Failure::Unsent { .. } => FailureKind::Unsent,
            Failure::Recorded { .. } => FailureKind::Recorded,
            Failure::Program { .. } => FailureKind::Program,
        }
    }

    /// Whether the service may have begun to bill: the model may have worked, though nothing came that counts as its
    /// answer.
    pub fn may_be_billed(&self) -> bool {
        match self {
            Failure::Timeout { .. }
            | Failure::Lost { .. }
            | Failure::Cut { .. }
            | Failure::Protocol { .. }
            | Failure::Service { .. } => true,
            // Something in between gave up waiting for the model.
            Failure::Status { status: 408 | 504 | 524, .. } => true,
            Failure::Status { .. }
            | Failure::RateLimited { .. }
            | Failure::Connection { .. }
            | Failure::Unsent { .. }
            | Failure::Recorded { .. }
            | Failure::Program { .. } => false,
        }
    }

    /// Whether the request got as far as the service, or whatever else answers for the candidate. One that did not tells
    /// nothing about the candidate: a resumed run sends it again.
    pub fn has_reached_service(&self) -> bool {
        match self {
            Failure::Connection { .. } | Failure::Unsent { .. } => false,
            Failure::Timeout { .. }
            | Failure::Status { .. }
            | Failure::RateLimited { .. }
            | Failure::Lost { .. }
            | Failure::Cut { .. }
            | Failure::Protocol { .. }
            | Failure::Service { .. }
            | Failure::Recorded { .. }
            | Failure::Program { .. } => true,
        }
    }

    /// What was said of it, by a service or by us.
    pub fn detail_mut(&mut self) -> Option<&mut String> {
        match self {
            Failure::Timeout { .. } | Failure::Unsent { .. } => None,
            Failure::Status { detail, .. }
            | Failure::RateLimited { detail }
            | Failure::Connection { detail }
            | Failure::Lost { detail }
            | Failure::Cut { detail }
            | Failure::Protocol { detail }
            | Failure::Service { detail }
            | Failure::Recorded { detail }
            | Failure::Program { detail } => Some(detail),
        }
    }
}

/// One attempt that failed before the one that decided the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was sent, from the start of the session.
    #[serde(rename = "sent_us", with = "micros")]
    pub sent: Duration,
    /// How long it took to fail.
    #[serde(rename = "took_us", with = "micros")]
    pub took: Duration,
    /// Why it failed.
    pub failure: Failure,
}

/// One line of `records.jsonl`: what happened to one task. In the file it has either an `answer` or a `failure`.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Which task.
    pub key: TaskKey,
    /// The task's digest: a stored answer counts only for a task of the same digest.
    pub digest: Digest,
    /// Of a replay, when it was to be sent, from the start of the session; `None` where requests have no time of their own.
    pub due: Option<Duration>,
    /// Of a replay, whether `due` was moved because the turn before it had not ended.
    pub is_held: bool,
    /// Whether the task has not ended: it was left in the middle of its attempts, and stands here for its money only.
    pub is_open: bool,
    /// Attempts that failed before the last one; empty when the first one decided.
    pub retried: Vec<Attempt>,
    /// Instants of the last attempt. `None` when they were not measured, as for recorded answers without times.
    pub timing: Option<Timing>,
    /// Dollars that were set aside and stay counted: for attempts which failed after the service may have begun to bill
    /// them, and for an answer that does not tell what it cost. `None` when there are none, or nothing bounds what is spent.
    pub held_usd: Option<Decimal>,
    /// The answer, or why there is none.
    pub outcome: Result<Response, Failure>,
}

/// A record as it is read.
#[derive(Deserialize)]
struct Read {
    task: TaskKey,
    digest: Digest,
    #[serde(rename = "due_us", with = "micros::option", default)]
    due: Option<Duration>,
    #[serde(default)]
    is_held: bool,
    #[serde(default)]
    is_open: bool,
    #[serde(default)]
    retried: Vec<Attempt>,
    #[serde(default)]
    timing: Option<Timing>,
    #[serde(default)]
    held_usd: Option<Decimal>,
    #[serde(default)]
    answer: Option<Response>,
    #[serde(default)]
    failure: Option<Failure>,
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Record, D::Error> {
        let Read { task: key, digest, due, is_held, is_open, retried, timing, held_usd, answer, failure } =
            Read::deserialize(deserializer)?;
        let outcome = match (answer, failure) {
            (Some(answer), None) => Ok(answer),
            (None, Some(failure)) => Err(failure),
            _ => return Err(D::Error::custom("a record has either an `answer` or a `failure`")),
        };
        Ok(Record { key, digest, due, is_held, is_open, retried, timing, held_usd, outcome })
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Record", 9)?;
        fields.serialize_field("task", &self.key)?;
        fields.serialize_field("digest", &self.digest)?;
        if let Some(due) = &self.due {
            fields.serialize_field("due_us", &due.as_micros())?;
        }
        if self.is_held {
            fields.serialize_field("is_held", &true)?;
        }
        if self.is_open {
            fields.serialize_field("is_open", &true)?;
        }
        if !self.retried.is_empty() {
            fields.serialize_field("retried", &self.retried)?;
        }
        if let Some(timing) = &self.timing {
            fields.serialize_field("timing", timing)?;
        }
        if let Some(held) = &self.held_usd {
            fields.serialize_field("held_usd", held)?;
        }
        match &self.outcome {
            Ok(answer) => fields.serialize_field("answer", answer)?,
            Err(failure) => fields.serialize_field("failure", failure)?,
        }
        fields.end()
    }
}

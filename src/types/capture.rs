//! One exchange of logged traffic: a line of a capture, wherever it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::types::{Failure, Message, Params, Request, Response};

/// What times that belong together may differ by in logs that round to whole milliseconds.
pub const ROUNDING: Duration = Duration::from_millis(1);

/// What stands in the field `evalctl` of every line of a capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureVersion;

impl CaptureVersion {
    /// The version that this program writes, and the only one it reads.
    pub const TEXT: &'static str = "capture/1";
}

impl Serialize for CaptureVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(CaptureVersion::TEXT)
    }
}

impl<'de> Deserialize<'de> for CaptureVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CaptureVersion, D::Error> {
        match &*std::borrow::Cow::<'de, str>::deserialize(deserializer)? {
            CaptureVersion::TEXT => Ok(CaptureVersion),
            other => Err(D::Error::custom(format!("`{other}` is no version of captures that this evalctl reads"))),
        }
    }
}

/// How finely the source of an exchange tells time. Ordered from fine to none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Finer than microseconds; what is below a microsecond is cut off.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Whole seconds: the order within a second, and bursts, are not known.
    S,
    /// There is no arrival time.
    #[default]
    None,
}

/// What the texts of an exchange are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Texts {
    /// Those of the log, but for what was redacted.
    #[default]
    Kept,
    /// Made up to the length that the log tells; the answer's text is empty.
    Made,
    /// Digests and lengths only.
    Digested,
}

/// Where an exchange was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureSource {
    /// The kind of log, by the name that `evalctl import` knows it by; a later proxy has one of its own.
    pub kind: String,
    /// Name of the file, without folders.
    pub file: String,
    /// Row of that file, from 1: its line, or its place in a list.
    pub row: u64,
}

/// One line of a capture: a request that reached a model, and what came of it.
///
/// `id`, `messages`, `tools`, `params` and `target` have the names that a golden set has by default, so that a capture
/// is one. `None` is always: the log does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// The version, so that every line can be read by itself.
    #[serde(rename = "evalctl")]
    pub version: CaptureVersion,
    /// Which exchange of its conversation, from 1, in the order of arrival.
    pub turn: u32,
    /// Unique in the capture: the log's own id where it has one.
    pub id: String,
    /// The conversation it belongs to; its own id where the log tells of none.
    pub conversation: String,
    /// When the request arrived: microseconds since 1970-01-01T00:00:00Z.
    pub arrived_us: Option<i64>,
    /// How finely the log tells that time.
    pub precision: Precision,
    /// What the texts are.
    #[serde(default)]
    pub texts: Texts,
    /// The model that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The conversation so far, in OpenAI's shape.
    pub messages: Vec<Message>,
    /// Tools the model could call: OpenAI's `tools` list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Value>,
    /// JSON Schema that the answer was held to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Sampling parameters.
    #[serde(default, skip_serializing_if = "is_default")]
    pub params: Params,
    /// The body of the request as it was sent, where the log has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The text of the answer again, by the name that golden sets have for what is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Response>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From request to the end of the answer, in milliseconds, exact to the microsecond.
    #[serde(rename = "latency_ms", with = "ms", default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Duration>,
    /// From request to the first token, in milliseconds.
    #[serde(rename = "ttft_ms", with = "ms", default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<Duration>,
    /// Dollars that the log says it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Decimal>,
    /// Whether the answer was streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_streamed: Option<bool>,
    /// Whether a cache before the model answered, so that the times are not the model's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cached: bool,
    /// What else the log says of it, for slices.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Near-duplicates that were folded into this one when the capture was sampled.
    #[serde(default, skip_serializing_if = "is_default")]
    pub duplicates: u64,
    /// Where it was read.
    pub source: CaptureSource,
    /// What was redacted: rule to count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub redactions: BTreeMap<String, u64>,
}

impl Exchange {
    /// What was asked, to be asked again. The row is empty: who has the line may put its fields there.
    pub fn request(&self) -> Request {
        Request {
            messages: self.messages.clone().into(),
            tools: self.tools.clone().map(Arc::new),
            output_schema: self.output_schema.clone().map(Arc::new),
            params: Arc::new(self.params.clone()),
            row: Arc::default(),
        }
    }

    /// Sets the answer, and its text as the reference where it says something.
    pub fn answered(&mut self, answer: Response) {
        self.target = Some(answer.text.clone()).filter(|text| !text.is_empty());
        self.answer = Some(answer);
    }

    /// What became of it, with the cost that the log tells, as a candidate of its own would have it; `None` where the
    /// log has neither an answer nor a failure.
    pub fn outcome(&self) -> Option<Result<Response, Failure>> {
        match (&self.failure, &self.answer) {
            (Some(failure), _) => Some(Err(failure.clone())),
            (None, Some(answer)) => {
                Some(Ok(Response { cost_usd: self.cost_usd.or(answer.cost_usd), ..answer.clone() }))
            }
            (None, None) => None,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Ns => "nanoseconds",
            Precision::Us => "microseconds",
            Precision::Ms => "milliseconds",
            Precision::S => "whole seconds",
            Precision::None => "no time",
        })
    }
}

/// Milliseconds with a fraction: recorded answers are read with times in this unit.
mod ms {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::cast_precision_loss, reason = "whole microseconds up to 285 years are exact")]
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_f64(duration.as_micros() as f64 / 1000.0),
            None => serializer.serialize_none(),
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        match Option::<f64>::deserialize(deserializer)? {
            None => Ok(None),
            Some(ms) if (0.0..1e12).contains(&ms) => Ok(Some(Duration::from_micros((ms * 1000.0).round() as u64))),
            Some(_) => Err(D::Error::custom("no number of milliseconds")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let mut exchange = Exchange {
            turn: 2,
            id: "a".to_owned(),
            arrived_us: Some(-1),
            precision: Precision::Us,
            latency: Some(Duration::from_micros(1_234_567)),
            ..Exchange::default()
        };
        exchange.answered(Response { text: "x".to_owned(), ..Response::default() });
        let line = serde_json::to_string(&exchange).unwrap();
        assert!(line.starts_with("{\"evalctl\":\"capture/1\",\"turn\":2,\"id\":\"a\""), "{line}");
        assert!(line.contains("\"latency_ms\":1234.567,") && line.contains("\"target\":\"x\""), "{line}");
        assert_eq!(serde_json::from_str::<Exchange>(&line).unwrap(), exchange);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let line = json!({"evalctl": "capture/2", "turn": 1, "id": "a"}).to_string();
        let said = serde_json::from_str::<Exchange>(&line).unwrap_err().to_string();
        assert!(said.starts_with("`capture/2` is no version of captures"), "{said}");
    }

    #[test]
    fn an_outcome_carries_the_cost_of_the_log() {
        let mut exchange = Exchange { cost_usd: Some(Decimal::ONE), ..Exchange::default() };
        assert_eq!(exchange.outcome(), None);
        exchange.answered(Response::default());
        assert_eq!(exchange.outcome().unwrap().unwrap().cost_usd, Some(Decimal::ONE));
        exchange.failure = Some(Failure::Cut { detail: "x".to_owned() });
        assert!(exchange.outcome().unwrap().is_err());
    }
}

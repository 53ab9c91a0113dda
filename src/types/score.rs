//! What scorers say of one answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::types::TaskKey;
use crate::util::digest::Digest;

/// A mark, or the reason why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Score {
    /// From 0.0 (wrong) to 1.0 (right).
    Value(f64),
    /// The scorer could not judge the row (no target, say). It is counted, never taken as 0.
    Unscored(String),
    /// The answer itself keeps the scorer from judging. It counts like that of a failed task: it never helps.
    Missing(String),
}

/// A score and what explains it. In files: `{"value": 1.0, "detail": …}`, `{"unscored": "why"}` or
/// `{"missing": "why"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Mark {
    /// The score.
    pub score: Score,
    /// What the scorer saw: extracted and expected values, violations with their paths.
    pub detail: Option<Value>,
}

impl Mark {
    /// 1.0 when `is_right`, else 0.0.
    pub fn binary(is_right: bool) -> Mark {
        Mark { score: Score::Value(if is_right { 1.0 } else { 0.0 }), detail: None }
    }

    /// No mark, and why.
    pub fn unscored(reason: impl Into<String>) -> Mark {
        Mark { score: Score::Unscored(reason.into()), detail: None }
    }

    /// No mark, by the answer's own doing, and why.
    pub fn missing(reason: impl Into<String>) -> Mark {
        Mark { score: Score::Missing(reason.into()), detail: None }
    }

    /// The score's value; `None` when there is none.
    pub fn value(&self) -> Option<f64> {
        match self.score {
            Score::Value(value) => Some(value),
            Score::Unscored(_) | Score::Missing(_) => None,
        }
    }

    /// Adds what the scorer saw.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Mark {
        self.detail = Some(detail);
        self
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unscored: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

impl From<Mark> for Written {
    fn from(mark: Mark) -> Written {
        let (value, unscored, missing) = match mark.score {
            Score::Value(value) => (Some(value), None, None),
            Score::Unscored(reason) => (None, Some(reason), None),
            Score::Missing(reason) => (None, None, Some(reason)),
        };
        Written { value, unscored, missing, detail: mark.detail }
    }
}

impl TryFrom<Written> for Mark {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Mark, Self::Error> {
        let score = match (written.value, written.unscored, written.missing) {
            (Some(value), None, None) => Score::Value(value),
            (None, Some(reason), None) => Score::Unscored(reason),
            (None, None, Some(reason)) => Score::Missing(reason),
            _ => return Err("a mark has one of `value`, `unscored` and `missing`"),
        };
        Ok(Mark { score, detail: written.detail })
    }
}

/// One line of `scores-<n>.jsonl`: all marks of one record, in the order of the suite's scorers. A failed record has no
/// marks and no line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// Which task.
    #[serde(rename = "task")]
    pub key: TaskKey,
    /// Digest of the answered task.
    pub digest: Digest,
    /// One mark per metric of the suite's scorers, in the order that the scores file's header names.
    pub marks: Vec<Mark>,
}

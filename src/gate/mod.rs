//! Figures and gates to verdicts. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A judgement, of a gate, a candidate or a run. Ordered: the worst of several is their maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval lies on the good side of the bar.
    Pass,
    /// The interval holds the bar: more samples are needed.
    Inconclusive,
    /// The interval lies on the bad side of the bar.
    Fail,
}

//! What the endpoint of a service was found to do.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::util::digest::Digest;

/// Which endpoint: what a finding holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The service, as suites name it.
    pub service: String,
    /// The model; empty where the address says it.
    pub model: String,
    /// The base URL.
    pub address: String,
    /// The dialect, as suites name it.
    pub api: String,
    /// Digest of the candidate's parameters and headers, as the suite writes them: what holds with some may not with
    /// others.
    pub asked_with: Digest,
}

/// Something that services do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// A system message is followed.
    SystemMessage,
    /// A streamed answer comes in pieces.
    Streaming,
    /// A streamed answer tells its tokens.
    StreamedUsage,
    /// An answer follows a JSON Schema that it is held to.
    JsonSchema,
    /// An answer is a JSON object where one is asked for.
    JsonObject,
    /// A schema is followed as the arguments of a tool that must be called.
    SchemaAsTool,
    /// A schema is followed that is told in words.
    SchemaInWords,
    /// The tool that must be called is called.
    ToolChoice,
    /// Several tools are called in one answer.
    ParallelCalls,
    /// Log-probabilities of the answer's tokens are told.
    Logprobs,
    /// With one seed, two answers are the same.
    Seed,
    /// An answer ends before a stop text.
    Stop,
    /// An answer is bounded.
    MaxTokens,
}

/// Whether an endpoint does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// It did.
    Yes,
    /// It answered, and did not.
    No,
    /// It refused to be asked for it.
    Refused,
    /// Its dialect has no word for it.
    Unsayable,
    /// It could not be seen: the request failed, or the answer was cut short.
    Unclear,
}

/// What one or a few requests showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Of what.
    pub ability: Ability,
    /// Whether it is there.
    pub shown: Shown,
    /// How it was seen, or what the service said. For [`Ability::MaxTokens`] in chat completions, the field that bounds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Everything found of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Of which.
    pub endpoint: Endpoint,
    /// When, RFC 3339.
    pub asked: String,
    /// What was found, in the order in which it was asked.
    pub findings: Vec<Finding>,
    /// Requests sent, repetitions included.
    pub requests: u32,
    /// Prompt tokens of all answers together, as far as they were told.
    pub input_tokens: u64,
    /// Generated tokens of all answers together, as far as they were told.
    pub output_tokens: u64,
    /// Dollars of all answers together; `None` when the price is not known or an answer did not tell its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Decimal>,
}

impl Probe {
    /// Whether it was seen to do something; `None` when that was not seen.
    pub fn does(&self, ability: Ability) -> Option<bool> {
        match self.finding(ability)?.shown {
            Shown::Yes => Some(true),
            Shown::No | Shown::Refused | Shown::Unsayable => Some(false),
            Shown::Unclear => None,
        }
    }

    /// What was found of something.
    pub fn finding(&self, ability: Ability) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.ability == ability)
    }
}

//! Replays: what is replayed, and how it kept its times: what was planned, what was sent when, and whether its latencies
//! can be believed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{Unsent, Volume};
use crate::util::micros;

/// Logged traffic in the place of a golden set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The file, absolute.
    pub path: PathBuf,
    /// The file as the user named it.
    pub shown: String,
    /// Which of its lines, as an expression over their fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How often it is replayed.
    pub times: u32,
}

/// A replay as its manifest keeps it: what was meant, and what no record tells of how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// What was replayed.
    pub capture: Capture,
    /// What set the times, in words: `as logged, 10 times as fast`.
    pub pacing: String,
    /// How finely the log tells time, in words; `None` where a rate made the times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Gaps of the log that were cut.
    pub gaps_cut: u64,
    /// The cap on requests in flight, of each candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<usize>,
    /// How often the program was kept from running for long, by candidate.
    #[serde(default)]
    pub pauses: BTreeMap<String, u64>,
    /// The longest time for which it was.
    #[serde(rename = "longest_pause_us", with = "micros", default)]
    pub longest_pause: Duration,
    /// Logged answers that came from a cache before the model.
    #[serde(default)]
    pub cached: u64,
    /// How much the log asks over its own span, however fast it is replayed; `None` where it tells no times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// Parameters of logged requests that only the logged service is known to have, so that no other was given them, and
    /// in how many requests.
    #[serde(default)]
    pub not_passed_on: BTreeMap<String, u64>,
}

/// Three quantiles and the largest of some times, in milliseconds; each `None` when nothing was observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Observations.
    pub n: u64,
    /// Median.
    pub p50_ms: Option<f64>,
    /// 90th percentile.
    pub p90_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// The largest.
    pub max_ms: Option<f64>,
}

/// A stretch of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stretch {
    /// Where it begins, in seconds from the first request.
    pub from_s: f64,
    /// How long it is, in seconds.
    pub length_s: f64,
    /// Requests a second that were due in it.
    pub offered_per_s: f64,
    /// Requests a second that were sent in it.
    pub achieved_per_s: f64,
    /// The 99th percentile of the lag of what was due in it.
    pub lag_p99_ms: Option<f64>,
    /// Most requests in flight at once.
    pub in_flight: u64,
}

/// What became of a candidate's requests: planned = answered + failed + timed out +
/// unfinished + all that was not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accounting {
    /// Requests that were due.
    pub planned: u64,
    /// Sent and answered.
    pub answered: u64,
    /// Sent and failed, time-outs apart.
    pub failed: u64,
    /// Sent and not answered in time.
    pub timed_out: u64,
    /// Never recorded, because the replay was stopped.
    pub unfinished: u64,
    /// Not sent, by reason.
    pub unsent: BTreeMap<Unsent, u64>,
}

impl Accounting {
    /// Whether everything that was planned is accounted for.
    pub fn adds_up(&self) -> bool {
        let ended = self.answered + self.failed + self.timed_out + self.unfinished;
        ended + self.unsent.values().sum::<u64>() == self.planned
    }
}

/// How one candidate's requests kept their times.
///
/// A request is intended for an instant computed beforehand, sent at another, and ended at a third. Lag is sent −
/// intended; service time is end − sent, what the model took; response time is end − intended, what a user would have
/// waited. What timed out is in both with the time after which it was given up, which is less than it would have been.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Punctual {
    /// The candidate.
    pub candidate: String,
    /// What became of its requests.
    pub accounting: Accounting,
    /// Sent − intended.
    pub lag: Spread,
    /// End − sent.
    pub service: Spread,
    /// End − intended: latency corrected for what the requests before it caused.
    pub response: Spread,
    /// First token − sent, of streamed answers.
    pub ttft_service: Spread,
    /// First token − intended.
    pub ttft_response: Spread,
    /// Seconds of lag gained each second: 0 unless the schedule drifts.
    pub drift: Option<f64>,
    /// Kolmogorov–Smirnov distance of the gaps between requests as planned and as sent; gaps that differ by less than a
    /// millisecond count as the same.
    pub ks: Option<f64>,
    /// Wasserstein distance of the same gaps.
    pub wasserstein_ms: Option<f64>,
    /// Most requests in flight at once.
    pub in_flight_max: u64,
    /// Turns that were held until the one before them had ended.
    pub held: u64,
    /// Since when, in seconds, the cap on requests in flight was reached: from there on the loop was not open.
    pub not_open_from_s: Option<f64>,
    /// Stretches of equal length.
    pub stretches: Vec<Stretch>,
    /// Why its latencies are not to be believed; empty when they are.
    pub invalid: Vec<String>,
}

/// How a replay went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayReport {
    /// The capture, as it was named.
    pub capture: String,
    /// What sets the times, in words: `as logged, ×10`.
    pub pacing: String,
    /// How finely the log tells time, in words; `None` where times were made by a rate.
    pub precision: Option<String>,
    /// Gaps of the log that were cut.
    pub gaps_cut: u64,
    /// The longest time for which the program was kept from running.
    pub longest_pause_ms: f64,
    /// Each candidate that was asked.
    pub candidates: Vec<Punctual>,
}

//! What a replay would be: how it is to be sent, and what the capture comes to, before anything is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::cli::{ReplayArgs, SessionOrder};
use crate::commands::estimate;
use crate::commands::exit::CommandError;
use crate::commands::plan::{LOGGED, Plan, not_passed_on};
use crate::engine::{Gaps, Late, OnFull, Order, Pacing, Punctuality, Timetable};
use crate::types::{CaptureVersion, Faults, Volume};
use crate::util::text::visible;

/// The shortest span that machines are reserved for, in microseconds.
const LEAST_SPAN_US: i64 = 10_000_000;

/// A minute, in microseconds.
const MINUTE_US: i64 = 60_000_000;

/// How many names of parameters are kept that are not passed on.
const NAMES: usize = 20;

/// How it is to be replayed.
pub struct How {
    /// When each is sent.
    pub pacing: Pacing,
    /// How strictly.
    pub punctuality: Punctuality,
    /// Whether turns wait for each other.
    pub order: Order,
}

impl How {
    /// By the command line.
    ///
    /// # Errors
    /// What in it cannot be.
    pub fn of(args: &ReplayArgs) -> Result<How, CommandError> {
        let wrong = |what: String, help: &str| CommandError::usage(what, help);
        if !(args.speed.is_finite() && (1e-3..=1e6).contains(&args.speed)) {
            return Err(wrong("`--speed` must lie between 0.001 and 1,000,000".to_owned(), "2 is twice as fast"));
        }
        let max_gap = args.max_gap.map(Into::into);
        let pacing = match &args.rate {
            None => Pacing::AsLogged { speed: args.speed, max_gap },
            Some(rate) => rate_of(rate).ok_or_else(|| {
                let what = format!("`--rate {}` is no rate", visible(rate));
                wrong(what, "const:50 or poisson:50 (50 a second), or gamma:50:2 (2 is the gaps' deviation ÷ mean)")
            })?,
        };
        let late = match args.late_policy.as_str() {
            "send" => Late::Send,
            other => {
                let limit = other.strip_prefix("drop:").and_then(|limit| limit.trim_end_matches("ms").parse().ok());
                Late::Drop(Duration::from_millis(limit.ok_or_else(|| {
                    let what = format!("`--late-policy {}` is none", visible(other));
                    wrong(what, "`send`, or `drop:500` for what is more than 500 ms late")
                })?))
            }
        };
        let on_full = if args.wait { OnFull::Wait } else { OnFull::Drop };
        let max_in_flight = args.max_in_flight.map(|cap| cap as usize);
        let order = match args.session_order {
            SessionOrder::Timed => Order::Timed,
            SessionOrder::Dependent => Order::Dependent,
        };
        Ok(How { pacing, punctuality: Punctuality { max_in_flight, on_full, late }, order })
    }

    /// In words, for the report.
    pub fn in_words(&self) -> String {
        let mut words = match self.pacing {
            Pacing::AsLogged { speed: 1.0, .. } => "as logged".to_owned(),
            Pacing::AsLogged { speed, .. } => format!("as logged, {speed} times as fast"),
            Pacing::At { per_s, gaps: Gaps::Constant, .. } => format!("{per_s} a second, evenly"),
            Pacing::At { per_s, gaps: Gaps::Poisson, .. } => format!("{per_s} a second, Poisson"),
            Pacing::At { per_s, gaps: Gaps::Gamma { variation }, .. } => {
                format!("{per_s} a second, gamma with variation {variation}")
            }
        };
        if self.order == Order::Dependent {
            words.push_str(", turns after the answers before them (partly closed)");
        }
        words
    }
}

/// `const:50`, `poisson:50`, `gamma:50:2`.
fn rate_of(text: &str) -> Option<Pacing> {
    let mut parts = text.split(':');
    let kind = parts.next()?;
    let mut number = || parts.next()?.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    let per_s = number().filter(|rate| (1e-6..=1e6).contains(rate))?;
    let gaps = match kind {
        "const" => Gaps::Constant,
        "poisson" => Gaps::Poisson,
        "gamma" => Gaps::Gamma { variation: number().filter(|variation| (0.01..=100.0).contains(variation))? },
        _ => return None,
    };
    parts.next().is_none().then_some(Pacing::At { per_s, gaps, seed: 0 })
}

/// What a capture comes to, before anything is sent.
pub struct Survey {
    /// Requests, once through.
    pub requests: u64,
    conversations: usize,
    /// From the first request to the last, once through.
    span: Duration,
    /// When the log's first and last request arrived, in microseconds.
    logged: Option<(i64, i64)>,
    /// Requests of the log's busiest minute.
    busiest_minute: u64,
    /// Gaps that `--max-gap` cut.
    pub gaps_cut: u64,
    /// How finely its lines tell time, the coarsest first.
    precisions: Vec<String>,
    made: u64,
    /// Answers that came from a cache before the model.
    pub cached: u64,
    /// Parameters that no candidate is given, and in how many requests.
    pub not_passed_on: BTreeMap<String, u64>,
}

impl Survey {
    /// Reads the capture once.
    ///
    /// # Errors
    /// When it cannot be replayed like this: lines without times, without texts, or that are no lines of a capture.
    pub fn of(plan: &Plan, how: &How) -> Result<Survey, CommandError> {
        let mut timetable = Timetable::new(how.pacing);
        let mut conversations = std::collections::HashSet::new();
        let (mut requests, mut span, mut made) = (0_u64, Duration::ZERO, 0);
        let (mut untimed, mut digested, mut foreign, mut back, mut cached) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
        let is_cut = plan.suite.dataset.select.as_ref().is_some_and(|select| select.filter.is_some());
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        let mut minutes: std::collections::HashMap<i64, u64> = std::collections::HashMap::new();
        let mut precisions: Vec<String> = Vec::new();
        let mut unknown = BTreeMap::new();
        for sample in plan.dataset.samples(&plan.selection) {
            let sample = sample.map_err(Faults::from)?;
            let word = |name: &str| sample.row.get(name).and_then(Value::as_str);
            requests += 1;
            foreign += u64::from(word("evalctl") != Some(CaptureVersion::TEXT));
            cached += u64::from(sample.row.get("is_cached") == Some(&Value::Bool(true)));
            let arrived = sample.row.get("arrived_us").and_then(Value::as_i64);
            if let Some(arrived) = arrived {
                back += u64::from(arrived < last);
                first = first.min(arrived);
                *minutes.entry(arrived.div_euclid(MINUTE_US)).or_default() += 1;
                last = last.max(arrived);
            }
            for name in not_passed_on(&sample.row) {
                if unknown.len() < NAMES || unknown.contains_key(name) {
                    *unknown.entry(name.to_owned()).or_default() += 1;
                }
            }
            digested += u64::from(word("texts") == Some("digested"));
            made += u64::from(word("texts") == Some("made"));
            if let Some(cluster) = &sample.cluster {
                conversations.insert(cluster.clone());
            }
            match timetable.next(arrived) {
                Some(due) if arrived.is_some() || !is_cut => span = span.max(due),
                Some(_) | None => untimed += 1,
            }
            let precision = word("precision").unwrap_or("none");
            if !precisions.iter().any(|known| known == precision) {
                precisions.push(precision.to_owned());
            }
        }
        let refuse = |what: String, help: &str| Err(CommandError::usage(what, help));
        if foreign > 0 {
            return refuse(
                format!("{foreign} of {requests} lines are not those of a capture"),
                "make one of the log: evalctl import auto LOG --out capture.jsonl",
            );
        }
        if back > 0 && matches!(how.pacing, Pacing::AsLogged { .. }) {
            return refuse(
                format!("{back} of {requests} lines are earlier than one before them"),
                "put the capture in order: evalctl import capture FILE --out sorted.jsonl",
            );
        }
        if digested > 0 {
            return refuse(
                format!("{digested} of {requests} lines hold digests in the place of texts: there is nothing to ask"),
                "import the log without `--digest-only`",
            );
        }
        if untimed > 0 && is_cut {
            return refuse(
                format!("{untimed} lines have no time, so that `--from` and `--to` cannot tell whether they are meant"),
                "leave `--from` and `--to` out, or those lines",
            );
        }
        if untimed > 0 {
            return refuse(
                format!("{untimed} of {requests} lines have no time to be sent at"),
                "send them at a rate: `--rate poisson:5` for 5 a second",
            );
        }
        if requests == 0 {
            return refuse("nothing of the capture is left to replay".to_owned(), "look at `--from` and `--to`");
        }
        let gaps_cut = timetable.cuts;
        let conversations = conversations.len();
        let logged = (first < last).then_some((first, last));
        let busiest_minute = minutes.into_values().max().unwrap_or(0);
        Ok(Survey {
            requests,
            conversations,
            span,
            logged,
            busiest_minute,
            gaps_cut,
            precisions,
            made,
            cached,
            not_passed_on: unknown,
        })
    }

    /// From the beginning of one time through to that of the next: one mean gap after its last request.
    pub fn period(&self, how: &How) -> Duration {
        match how.pacing {
            // What arrived all at once comes again a second later.
            Pacing::AsLogged { .. } if self.span.is_zero() => Duration::from_secs(1),
            Pacing::AsLogged { .. } => self.span + self.span.div_f64((self.requests.max(2) - 1) as f64),
            Pacing::At { .. } => Duration::ZERO,
        }
    }

    /// How much the log asks over its own span, whatever the speed of the replay: from its first request to one mean gap
    /// after its last, and ten seconds at least: no machine is had for an instant. `None` where it tells no times.
    pub fn volume(&self) -> Option<Volume> {
        let (first, last) = self.logged?;
        let gap = (last.checked_sub(first)?).checked_div(i64::try_from(self.requests).ok()?.checked_sub(1)?)?;
        let hours = Decimal::from(last.checked_sub(first)?.checked_add(gap)?.max(LEAST_SPAN_US))
            .checked_div(Decimal::from(3_600_000_000_i64))?;
        let volume = Volume { requests: Decimal::from(self.requests), hours, peak_over_mean: 1.0, is_measured: true };
        // The mean of a log of less than a minute is its peak.
        let peak = self.busiest_minute as f64 / 60.0 / volume.mean_per_s()?;
        Some(Volume { peak_over_mean: peak.max(1.0), ..volume })
    }

    /// How finely the log tells time, in words, the coarsest lines first; `None` where a rate takes its place.
    pub fn precision(&self, how: &How) -> Option<String> {
        if matches!(how.pacing, Pacing::At { .. }) {
            return None;
        }
        let word = |precision: &str| match precision {
            "ns" => "finer than microseconds",
            "us" => "microseconds",
            "ms" => "milliseconds",
            "s" => "whole seconds: bursts within one are not known",
            _ => "unknown",
        };
        Some(self.precisions.iter().map(|precision| word(precision)).collect::<Vec<_>>().join(", "))
    }

    /// What the replay would take.
    pub fn forecast(&self, plan: &Plan, how: &How) -> Result<String, CommandError> {
        let times = u64::from(plan.suite.repeats);
        let all = self.period(how) * (plan.suite.repeats - 1) + self.span;
        let mut out = String::new();
        let per_s = self.requests.saturating_sub(1) as f64 / self.span.as_secs_f64();
        let per_s =
            if self.span.is_zero() { "all at once".to_owned() } else { format!("{per_s:.2} a second on average") };
        let _ = writeln!(out, "nothing is sent; this is what it would take");
        let _ = writeln!(
            out,
            "  duration    {}, and the last answers",
            humantime::format_duration(Duration::from_millis(u64::try_from(all.as_millis()).unwrap_or(u64::MAX)))
        );
        let _ = writeln!(
            out,
            "  times       {}{}",
            how.in_words(),
            if times > 1 { format!(", {times} times over") } else { String::new() }
        );
        let _ = writeln!(
            out,
            "  requests    {} in {} conversations, {per_s}, to each candidate",
            self.requests * times,
            self.conversations
        );
        if self.made > 0 {
            let _ = writeln!(out, "  texts       made up to the logged length, of {} requests", self.made);
        }
        let estimates = estimate::of(plan).map_err(Faults::from)?;
        for (candidate, estimate) in plan.candidates.iter().zip(&estimates).filter(|(c, _)| &*c.id != LOGGED) {
            let _ = writeln!(out, "  candidate   {}: {}", visible(&candidate.id), visible(&candidate.provider));
            if let Some(estimate) = estimate {
                let _ = writeln!(out, "    estimate  {}", estimate.in_words());
            }
        }
        Ok(out)
    }
}

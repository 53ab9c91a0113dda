//! Judgements and names in words, shared by the terminal and the Markdown form.

use rust_decimal::Decimal;

use crate::report::answered::OTHER_MODEL;
use crate::report::figure::{self, count, is_same_confidence};
use crate::report::{CandidateReport, FailureExample, GateReport, Note, Report, Verdict, Weights, silent};
use crate::types::{
    Accounting, FailureKind, Machines, Method, Punctual, ReplayReport, Spread, TokenKind, TokenSum, Unit,
};

/// The note that has to stand in the first lines of every form: other gates than those of the run were judged.
pub(crate) const GATES_CHANGED: &str = "gates_changed";

/// Whether a note has to stand in the first lines of every form, too.
pub(crate) fn is_urgent(note: &Note) -> bool {
    [GATES_CHANGED, OTHER_MODEL].contains(&note.kind.as_str())
}

/// `PASS`, `INCONCLUSIVE`, `FAIL`.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Inconclusive => "INCONCLUSIVE",
        Verdict::Fail => "FAIL",
    }
}

/// How an interval was made.
pub(crate) fn method(method: Method) -> &'static str {
    match method {
        Method::Wilson => "Wilson",
        Method::ClusteredWilson => "clustered Wilson",
        Method::Bounded => "bounded mean",
        Method::T => "t",
        Method::ClusteredT => "clustered t",
        Method::OrderStatistics => "order statistics",
        Method::Bootstrap => "bootstrap",
        Method::Tango => "Tango",
        Method::ClusteredTango => "clustered Tango",
        Method::PairedT => "paired t",
        Method::ClusteredPairedT => "clustered paired t",
        Method::PairedLogRatio => "paired log ratio",
        Method::RatioOfMeans => "ratio of means",
        Method::Exact => "exact",
    }
}

/// The columns of a table of weights on this machine, after the candidate's.
pub(crate) const WEIGHTS: [&str; 4] = ["stored as", "parameters", "size", "device"];

/// A row of that table. `name` makes text from outside fit to print.
pub(crate) fn weights(weights: &Weights, name: impl Fn(&str) -> String) -> [String; 4] {
    [
        name(&format!("{} {}", weights.format, weights.quantisation)),
        count(weights.parameters),
        figure::megabytes(weights.bytes),
        name(&weights.device),
    ]
}

/// Why tasks failed.
pub(crate) fn failure(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Timeout => "timeout",
        FailureKind::Status => "error status",
        FailureKind::RateLimited => "rate limited",
        FailureKind::Connection => "no connection",
        FailureKind::Lost => "connection lost",
        FailureKind::Cut => "answer cut off",
        FailureKind::Protocol => "protocol",
        FailureKind::Service => "service error",
        FailureKind::Unsent => "not sent",
        FailureKind::Recorded => "no recorded answer",
        FailureKind::Program => "program",
    }
}

/// A kind of tokens.
fn tokens(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Input => "input",
        TokenKind::CachedInput => "cached",
        TokenKind::CacheWrite => "written to the cache",
        TokenKind::CacheWrite1h => "for an hour",
        TokenKind::AudioInput => "audio in",
        TokenKind::Output => "output",
        TokenKind::Reasoning => "reasoning",
        TokenKind::AudioOutput => "audio out",
    }
}

/// The ledger of a candidate in a sentence: tokens by kind, and what was perhaps paid for nothing. `None` when there is
/// nothing to tell.
pub(crate) fn ledger(candidate: &CandidateReport) -> Option<String> {
    let answered = candidate.counts.scored + candidate.counts.unscored;
    let sum = |sum: &TokenSum| {
        let partly = if sum.answers == answered {
            String::new()
        } else {
            format!(" (told by {} of {} answers)", count(sum.answers), count(answered))
        };
        format!("{} {}{partly}", tokens(sum.kind), count(sum.tokens))
    };
    let mut parts = Vec::new();
    if !candidate.tokens.is_empty() {
        let sums: Vec<String> = candidate.tokens.iter().map(sum).collect();
        parts.push(format!("tokens of all answers: {}", sums.join(", ")));
    }
    if candidate.maybe_billed > 0 {
        let attempts = candidate.maybe_billed;
        let noun = if attempts == 1 { "attempt" } else { "attempts" };
        parts.push(format!("{} {noun} failed that may have been billed", count(attempts)));
    }
    if let Some(held) = &candidate.held_usd {
        parts.push(format!("{} set aside for what does not tell its cost", figure::money(held)));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What machines that are paid by the hour come to, in sentences: at full use, reserved, and where they break even.
pub(crate) fn machines(machines: &Machines) -> Vec<String> {
    let dollars = |amount: f64| figure::money(&format!("{amount:.9}"));
    let mut lines = Vec::new();
    let per_hour = figure::money(&machines.per_hour_usd);
    let full = match (machines.full_use_usd, machines.measured_per_s) {
        (Some(cost), Some(rate)) => format!(
            "at full use {} an answer: one machine at {per_hour} an hour, as busy all day as while it was asked here \
             ({} answers a second)",
            dollars(cost),
            rate_in_words(rate)
        ),
        _ => format!("at full use: not known, for want of times; one machine costs {per_hour} an hour"),
    };
    lines.push(full);
    lines.push(match (machines.reserved_usd, &machines.volume, machines.replicas) {
        (Some(cost), Some(volume), Some(replicas)) => {
            let noun = if replicas == 1 { "machine" } else { "machines" };
            let whence = if volume.is_measured { "in the log" } else { "as the suite states" };
            format!(
                "reserved {} an answer: {} {noun} for {} h, {} requests {whence}; gates on cost go by this",
                dollars(cost),
                count(replicas),
                significant(volume.hours),
                significant(volume.requests)
            )
        }
        _ => format!("reserved: {}", machines.reason.as_deref().unwrap_or("not known")),
    });
    if let (Some(rate), Some(id)) = (machines.break_even_per_s, &machines.break_even_with) {
        let a_day = rate * 86_400.0;
        let reached = machines.measured_per_s.is_none_or(|measured| rate <= measured);
        lines.push(if reached {
            format!(
                "breaks even with {id} at {} requests a second per machine, {} a day",
                rate_in_words(rate),
                count(a_day.ceil() as u64)
            )
        } else {
            format!(
                "never breaks even with {id} as measured here: that takes {} requests a second per machine",
                rate_in_words(rate)
            )
        });
    }
    lines
}

/// A number to four digits that count, without needless zeros.
fn significant(amount: Decimal) -> String {
    let rounded = if amount >= Decimal::from(1000) { amount.round() } else { amount.round_sf(4).unwrap_or(amount) };
    rounded.normalize().to_string()
}

fn rate_in_words(rate: f64) -> String {
    if rate >= 100.0 {
        format!("{rate:.0}")
    } else if rate >= 1.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.3}")
    }
}

/// Why latencies of a replay are not to be believed, a line for each candidate.
pub(crate) fn invalid(report: &Report) -> Vec<String> {
    let candidates = report.replay.iter().flat_map(|replay| &replay.candidates);
    let invalid = candidates.filter(|candidate| !candidate.invalid.is_empty());
    invalid
        .map(|candidate| format!("INVALID FOR LATENCY, {}: {}", candidate.candidate, candidate.invalid.join("; ")))
        .collect()
}

/// What a replay was, in a sentence.
pub(crate) fn replayed(replay: &ReplayReport) -> String {
    let mut words = format!("{}, sent {}", replay.capture, replay.pacing);
    if let Some(precision) = &replay.precision {
        words.push_str(&format!("; the log tells time in {precision}"));
    }
    if replay.gaps_cut > 0 {
        words.push_str(&format!("; {} gaps were cut", count(replay.gaps_cut)));
    }
    words
}

/// The columns of how requests kept their times, after the candidate's.
pub(crate) const KEPT: [&str; 7] = ["planned", "sent", "not sent", "lag p50", "lag p99", "lag max", "KS"];

/// A row of that table.
pub(crate) fn kept(candidate: &Punctual) -> [String; 7] {
    let Accounting { planned, answered, failed, timed_out, unsent, unfinished } = &candidate.accounting;
    let sent = answered + failed + timed_out;
    let kept_back = unsent.values().sum::<u64>() + unfinished;
    let Spread { p50_ms, p99_ms, max_ms, .. } = candidate.lag;
    let [p50, p99, max] = [p50_ms, p99_ms, max_ms].map(ms);
    let ks = candidate.ks.map_or_else(|| "–".to_owned(), |ks| format!("{ks:.3}"));
    [count(*planned), count(sent), count(kept_back), p50, p99, max, ks]
}

/// The columns of times by both clocks, after the candidate's.
pub(crate) const BOTH: [&str; 6] = ["service p50", "service p99", "response p50", "response p99", "n", "in flight"];

/// A row of that table.
pub(crate) fn both(candidate: &Punctual) -> [String; 6] {
    let Punctual { service, response, in_flight_max, .. } = candidate;
    let [a, b, c, d] = [service.p50_ms, service.p99_ms, response.p50_ms, response.p99_ms].map(ms);
    [a, b, c, d, count(response.n), count(*in_flight_max)]
}

/// Milliseconds, whose unit stands above the table.
fn ms(ms: Option<f64>) -> String {
    match ms {
        None => "–".to_owned(),
        Some(ms) if ms >= 100.0 => format!("{ms:.0}"),
        Some(ms) => format!("{ms:.1}"),
    }
}

/// What else is to be said of how a candidate's requests kept their times: what was not sent, and why; turns held.
pub(crate) fn asides(candidate: &Punctual) -> Vec<String> {
    let unsent = candidate.accounting.unsent.iter();
    let mut asides: Vec<String> =
        unsent.map(|(why, requests)| format!("{} not sent: {}", count(*requests), why.in_words())).collect();
    if candidate.accounting.unfinished > 0 {
        asides
            .push(format!("{} without an end: the replay was stopped before", count(candidate.accounting.unfinished)));
    }
    if candidate.accounting.timed_out > 0 {
        let requests = count(candidate.accounting.timed_out);
        asides.push(format!("{requests} timed out, and are in the times with the time after which they were given up"));
    }
    if candidate.held > 0 {
        let turns = count(candidate.held);
        asides.push(format!("{turns} turns were held until the one before them had ended: partly a closed loop"));
    }
    asides
}

/// Since when a difference to the log was shown, of the metrics of which that can be said; for replays, whose order is
/// that in which a watcher would have seen the answers.
pub(crate) fn shown(report: &Report, candidate: &str, name: impl Fn(&str) -> String) -> Vec<String> {
    let own = report.comparisons.iter().filter(|comparison| comparison.candidate == candidate);
    let shown = own.filter_map(|comparison| Some((comparison, comparison.shown_after?)));
    shown
        .map(|(comparison, pairs)| {
            let metric = name(&comparison.metric);
            format!(
                "{metric}: after {} pairs, whoever had looked after each would have been shown a difference",
                count(pairs)
            )
        })
        .collect()
}

/// The verdict of the run, or that there is none.
pub(crate) fn outcome(report: &Report) -> String {
    let asked = report.candidates.iter().filter(|candidate| !is_log(report, candidate));
    let silent = asked.clone().filter(|candidate| silent::is_silent(&candidate.counts, candidate.answers)).count();
    if silent > 0 && report.verdict != Some(Verdict::Fail) {
        let (all, code) = (asked.count(), report.exit_code);
        let verdict = report.verdict.map_or("Measurement".to_owned(), |worst| format!("Verdict: {}", verdict(worst)));
        return format!("{verdict}: {silent} of {all} candidates answered nothing (exit code {code})");
    }
    match report.verdict {
        Some(worst) => {
            format!("Verdict: {}, the worst of all gates (exit code {})", verdict(worst), report.exit_code)
        }
        None => {
            format!("Measurement: the suite has no gates, so nothing passes or fails (exit code {})", report.exit_code)
        }
    }
}

/// Whether a candidate stands for the log of a replay: its baseline, which nobody was asked for.
fn is_log(report: &Report, candidate: &CandidateReport) -> bool {
    report.replay.is_some() && report.baseline.as_ref() == Some(&candidate.id)
}

/// Why tasks of a candidate failed, a sentence for each reason of which there is an example. `name` and `prose` make text
/// from outside fit to print.
pub(crate) fn examples<'a>(
    candidate: &'a CandidateReport,
    name: impl Fn(&str) -> String + 'a,
    prose: impl Fn(&str) -> String + 'a,
) -> impl Iterator<Item = String> + 'a {
    candidate.failures.iter().filter_map(move |reason| {
        let FailureExample { sample, message } = reason.example.as_ref()?;
        let kind = failure(reason.kind);
        Some(format!("{} {kind}, for example {}: {}", count(reason.count), name(sample), prose(message)))
    })
}

/// That a run is partial, and how much of it is missing; `None` when it is complete.
pub(crate) fn partial(report: &Report) -> Option<String> {
    if report.is_complete {
        return None;
    }
    // Of a replay, those that were sent anything: what was logged is there beforehand.
    let is_sent = |candidate: &&CandidateReport| {
        let mut replayed = report.replay.iter().flat_map(|replay| &replay.candidates);
        report.replay.is_none() || replayed.any(|kept| kept.candidate == candidate.id)
    };
    let sum =
        |of: fn(&CandidateReport) -> u64| report.candidates.iter().filter(is_sent).map(of).fold(0, u64::saturating_add);
    let (dropped, tasks) = (sum(|candidate| candidate.counts.dropped), sum(|candidate| candidate.counts.tasks));
    let (dropped, tasks) = (count(dropped), count(tasks));
    let replayed = report.replay.iter().flat_map(|replay| &replay.candidates);
    let is_stopped = replayed.clone().next().is_none() || replayed.clone().any(|kept| kept.accounting.unfinished > 0);
    Some(if is_stopped {
        format!(
            "PARTIAL: the run was stopped before its end. {dropped} of {tasks} tasks were dropped; the figures cover the \
             others only."
        )
    } else {
        format!("PARTIAL: {dropped} of {tasks} requests were not sent; the figures cover the others only.")
    })
}

/// Why a candidate has its verdict. `name` makes a metric's name fit to print.
pub(crate) fn why(report: &Report, candidate: &CandidateReport, name: impl Fn(&str) -> String) -> String {
    let of = |wanted: Verdict| {
        report.gates.iter().filter(move |gate| gate.candidate == candidate.id && gate.verdict == wanted)
    };
    let names = |wanted: Verdict| {
        let mut names: Vec<String> = Vec::new();
        for gate in of(wanted) {
            let name = name(&gate.gate.metric);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    };
    let (passed, open, failed) =
        (of(Verdict::Pass).count(), of(Verdict::Inconclusive).count(), of(Verdict::Fail).count());
    let all = passed + open + failed;
    let tasks = candidate.counts.tasks;
    let is_silent = silent::is_silent(&candidate.counts, candidate.answers) && !is_log(report, candidate);
    let none = is_silent.then(|| format!("it answered none of its {} tasks", count(tasks)));
    if let (true, Some(none)) = (failed == 0, &none) {
        return none.clone();
    }
    if all == 0 {
        let is_baseline = report.baseline.as_ref() == Some(&candidate.id);
        let why = if is_baseline { "baseline: the others are compared with it" } else { "no gate applies to it" };
        return why.to_owned();
    }
    if failed == 0 && open == 0 {
        return if all == 1 { "the one gate passes".to_owned() } else { format!("all {all} gates pass") };
    }
    let verb = |n: usize, one: &'static str, more: &'static str| if n == 1 { one } else { more };
    let mut parts: Vec<String> = none.into_iter().collect();
    if failed > 0 {
        parts.push(format!("{failed} of {all} gates {}: {}", verb(failed, "fails", "fail"), names(Verdict::Fail)));
    }
    if open > 0 {
        parts.push(format!("{open} of {all} {} undecided: {}", verb(open, "is", "are"), names(Verdict::Inconclusive)));
        // More samples do not help a candidate that has failed.
        if failed == 0 {
            parts.extend(more_samples(of(Verdict::Inconclusive)));
        }
    }
    parts.join("; ")
}

/// How many more samples would settle undecided gates: as many as the most demanding one needs. `None` unless every one of
/// them names a number: the reasons say what the others lack, and that may not be samples.
pub(crate) fn more_samples<'a>(gates: impl Iterator<Item = &'a GateReport> + Clone) -> Option<String> {
    let needed: Option<Vec<u64>> = gates.map(|gate| gate.samples_needed).collect();
    Some(match needed?.into_iter().max()? {
        1 => "about 1 more sample needed".to_owned(),
        samples => format!("about {} more samples needed", count(samples)),
    })
}

/// Which table a metric stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Marks and rates.
    Quality,
    /// Latencies.
    Speed,
    /// Tokens and money.
    Cost,
}

impl Section {
    pub(crate) fn of(unit: Unit) -> Section {
        match unit {
            Unit::Share => Section::Quality,
            Unit::Ms => Section::Speed,
            Unit::Tokens | Unit::Usd => Section::Cost,
        }
    }
}

/// Names of the metrics of a section over all candidates: the scorers' first, then in order of appearance.
pub(crate) fn metric_names(report: &Report, section: Section) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let metrics = || report.candidates.iter().flat_map(|candidate| &candidate.metrics);
    let in_section = |name: &str| metrics().any(|metric| metric.name == name && Section::of(metric.unit) == section);
    for name in &report.scorers {
        if !names.contains(&name.as_str()) && in_section(name) {
            names.push(name);
        }
    }
    for metric in metrics().filter(|metric| Section::of(metric.unit) == section) {
        if !names.contains(&metric.name.as_str()) {
            names.push(&metric.name);
        }
    }
    names
}

/// Names of the metrics that are compared in a section, in order of appearance.
pub(crate) fn compared_names(report: &Report, section: Section) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for comparison in report.comparisons.iter().filter(|comparison| Section::of(comparison.unit) == section) {
        if !names.contains(&comparison.metric.as_str()) {
            names.push(&comparison.metric);
        }
    }
    names
}

/// Reasons for what is missing from a table, numbered in order.
#[derive(Default)]
pub(crate) struct Footnotes(Vec<String>);

impl Footnotes {
    /// ` (1)`: the mark of a reason.
    pub(crate) fn mark(&mut self, reason: Option<&str>) -> String {
        let reason = reason.unwrap_or("no reason is recorded");
        let index = self.0.iter().position(|known| known == reason).unwrap_or_else(|| {
            self.0.push(reason.to_owned());
            self.0.len() - 1
        });
        format!(" ({})", index + 1)
    }

    /// The reasons.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (usize, &str)> {
        self.0.iter().enumerate().map(|(index, reason)| (index + 1, reason.as_str()))
    }
}

/// The confidence that most figures of a report have: the one of the first; others are named where they stand.
pub(crate) fn usual_confidence(report: &Report) -> f64 {
    let of_metric = report.candidates.iter().flat_map(|candidate| &candidate.metrics).map(|metric| metric.confidence);
    let of_comparison = report.comparisons.iter().map(|comparison| comparison.confidence);
    of_metric.chain(of_comparison).next().unwrap_or(0.95)
}

/// ` at 90 %` when a confidence is not the usual one.
pub(crate) fn at_confidence(confidence: f64, usual: f64) -> String {
    if is_same_confidence(confidence, usual) {
        String::new()
    } else {
        format!(" at {}", crate::report::figure::confidence(confidence))
    }
}

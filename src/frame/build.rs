//! Puts records and marks into columns.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use polars::prelude::{Column, DataFrame, Float64Chunked, IntoColumn, NewChunkedArray, UInt32Chunked};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::frame::{CandidateFrame, RunFrame, Terms};
use crate::price;
use crate::types::{
    Account, Counts, Echo, Failure, FailureKind, Finish, Machines, Mark, Price, Rates, Record, Score, TokenSum, Usage,
    Volume,
};

/// A metric that a scorer makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricColumn {
    /// Its name.
    pub name: String,
    /// Whether every mark is 0 or 1.
    pub is_binary: bool,
    /// Whether its marks carry classes.
    pub is_label: bool,
}

/// The shape of a run: what the rows and columns of its frame are.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Ids of the samples, in the order of the dataset.
    pub samples: Vec<std::sync::Arc<str>>,
    /// Ids of the candidates, in the order of the suite.
    pub candidates: Vec<String>,
    /// What each candidate's answers cost, or why that is not known.
    pub prices: Vec<Result<Price, String>>,
    /// Repeats of each sample.
    pub repeats: usize,
    /// The scorers' metrics, in order.
    pub metrics: Vec<MetricColumn>,
    /// Cluster of each sample, as a code; `None` when the suite names no cluster.
    pub clusters: Option<Vec<u32>>,
    /// How much is asked over how long, where that is known: what machines that are paid by the hour are shared among.
    pub volume: Option<Volume>,
    /// The samples in ascending order of their ids, which the order of the rows does not change; filled by the builder.
    pub by_id: Vec<u32>,
    /// Classes that label marks may name, by code; filled by the builder.
    pub classes: Vec<String>,
    /// Per metric and sample, whether an answer could not be marked, for want of a target; set by the builder. Empty when
    /// all could.
    pub unmarkable: Vec<Vec<bool>>,
}

impl Layout {
    /// Whether a sample has what a metric needs to mark it.
    pub(super) fn is_unmarkable(&self, metric: usize, sample: usize) -> bool {
        self.unmarkable.get(metric).and_then(|samples| samples.get(sample)).copied().unwrap_or(false)
    }
}

/// What a label scorer saw in one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelCell {
    /// The right class.
    pub expected: String,
    /// The class the answer names, if any.
    pub predicted: Option<String>,
}

/// What a frame keeps of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Why there is no answer.
    pub failure: Option<FailureKind>,
    /// Whether the task has not ended, and only its attempts and their money count.
    pub is_open: bool,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Whether the answer says something: a text or a call, and no refusal of the service. What others took and cost says
    /// nothing of what an answer takes and costs.
    pub is_answer: bool,
    /// Whether the answer ran into its token limit; `None` when the service did not say why it stopped.
    pub is_truncated: Option<bool>,
    /// Milliseconds.
    pub latency_ms: Option<f64>,
    /// Milliseconds.
    pub ttft_ms: Option<f64>,
    /// Milliseconds.
    pub tpot_ms: Option<f64>,
    /// Of a replay, from the planned time to the end of the answer, in milliseconds.
    pub response_ms: Option<f64>,
    /// Attempts that failed after the service may have begun to bill them.
    pub maybe_billed: u64,
    /// Dollars set aside for those.
    pub held_usd: Option<Decimal>,
    /// Tokens.
    pub usage: Usage,
    /// Dollars, or why they are not known. `None` for failed tasks and hourly prices.
    pub cost: Option<Result<Decimal, String>>,
    /// Start and end, for machines that are paid by the hour.
    pub span: Option<(Duration, Duration)>,
    /// Marks by metric; `None` where there is none. Empty for failed tasks.
    pub marks: Vec<Option<f64>>,
    /// The metrics whose mark the answer itself has cost.
    pub missing: Vec<usize>,
    /// Classes by metric; `None` for metrics without.
    pub labels: Vec<Option<LabelCell>>,
    /// What the answer says of who gave it; nothing for failed tasks.
    pub echo: Echo,
}

impl Facts {
    /// What the frame keeps of a record and its marks.
    ///
    /// Time per output token is (end − first chunk) ÷ (output tokens − 1), as JSONSchemaBench and the serving
    /// benchmarks define it; it needs a streamed answer and at least two reported tokens.
    pub fn of(record: &Record, marks: &[Mark], terms: &Terms) -> Facts {
        let retries = record.retried.len() as u64;
        let failed = record.retried.iter().map(|attempt| &attempt.failure).chain(record.outcome.as_ref().err());
        let maybe_billed = failed.filter(|failure| failure.may_be_billed()).count() as u64;
        let (held_usd, is_open) = (record.held_usd, record.is_open);
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let response = match &record.outcome {
            Ok(response) => response,
            Err(failure) => {
                // Of a replay, what did not come in time took that long at least: without it, a service that stalls
                // would look the faster for it.
                let timed = record.timing.as_ref().zip(record.due);
                let timed = timed.filter(|_| matches!(failure, Failure::Timeout { .. }));
                return Facts {
                    failure: Some(failure.kind()),
                    is_open,
                    retries,
                    is_answer: false,
                    is_truncated: None,
                    latency_ms: timed.map(|(timing, _)| ms(timing.done)),
                    ttft_ms: None,
                    tpot_ms: None,
                    response_ms: timed.map(|(timing, due)| ms((timing.sent + timing.done).saturating_sub(due))),
                    maybe_billed,
                    held_usd,
                    usage: Usage::default(),
                    cost: None,
                    // What never reached the machine took none of its time.
                    span: record
                        .timing
                        .as_ref()
                        .filter(|_| failure.kind() != FailureKind::Connection)
                        .map(|timing| (timing.sent, timing.sent + timing.done)),
                    marks: Vec::new(),
                    missing: Vec::new(),
                    labels: Vec::new(),
                    echo: Echo { is_asked_by_name: terms.model.is_some(), ..Echo::default() },
                };
            }
        };
        let timing = record.timing.as_ref();
        let first = timing.and_then(|timing| timing.chunks.first().copied());
        let tpot_ms = match (timing, first, response.usage.output_tokens) {
            (Some(timing), Some(first), Some(tokens)) if tokens >= 2 => {
                Some(ms(timing.done.saturating_sub(first)) / (tokens - 1) as f64)
            }
            _ => None,
        };
        let cost = terms.cost(response, timing.is_some());
        let is_refused = response.is_refusal || response.finish == Some(Finish::Filter);
        let is_answer = !is_refused && (!response.text.trim().is_empty() || !response.tool_calls.is_empty());
        Facts {
            failure: None,
            is_open,
            retries,
            is_answer,
            is_truncated: response.finish.map(|finish| finish == Finish::Length),
            latency_ms: timing.map(|timing| ms(timing.done)),
            ttft_ms: first.map(ms),
            tpot_ms,
            response_ms: timing
                .zip(record.due)
                .map(|(timing, due)| ms((timing.sent + timing.done).saturating_sub(due))),
            maybe_billed,
            held_usd,
            usage: response.usage,
            cost,
            span: timing.map(|timing| (timing.sent, timing.sent + timing.done)),
            marks: marks.iter().map(Mark::value).collect(),
            missing: (0..marks.len()).filter(|metric| matches!(marks[*metric].score, Score::Missing(_))).collect(),
            labels: marks.iter().map(LabelCell::of).collect(),
            echo: terms.echo(response),
        }
    }
}

impl LabelCell {
    fn of(mark: &Mark) -> Option<LabelCell> {
        let detail = mark.detail.as_ref()?;
        let text = |key| detail.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        mark.value()?;
        Some(LabelCell { expected: text("expected")?, predicted: text("predicted") })
    }
}

/// Adds what a record tells. Of a task that was asked again after it had failed, both count: both were sent.
fn enter(account: &mut Account, facts: &Facts) {
    account.retries += facts.retries;
    account.maybe_billed += facts.maybe_billed;
    account.echoes.add(facts.echo.clone());
    if let Some(held) = facts.held_usd {
        account.held_usd = Some(account.held_usd.unwrap_or_default().saturating_add(held));
    }
    for (kind, tokens) in facts.usage.by_kind() {
        let Some(tokens) = tokens else { continue };
        match account.tokens.iter_mut().find(|sum| sum.kind == kind) {
            Some(sum) => {
                sum.tokens = sum.tokens.saturating_add(tokens);
                sum.answers += 1;
            }
            None => account.tokens.push(TokenSum { kind, tokens, answers: 1 }),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Dropped,
    Failed(FailureKind),
    Unscored,
    Scored,
}

struct Columns {
    state: Vec<State>,
    account: Account,
    answers: u64,
    /// Answers that were refused or are blank.
    says_nothing: Vec<bool>,
    /// Marks (metric and row) that the answer itself has cost.
    missing: HashSet<(usize, usize)>,
    /// Attempts that failed and may have been billed, with the dollars that were set aside for them.
    billed: Vec<(u32, Option<Decimal>)>,
    truncated: Vec<Option<bool>>,
    latency_ms: Vec<Option<f64>>,
    ttft_ms: Vec<Option<f64>>,
    tpot_ms: Vec<Option<f64>>,
    response_ms: Vec<Option<f64>>,
    input_tokens: Vec<Option<f64>>,
    output_tokens: Vec<Option<f64>>,
    cost: Vec<Option<Decimal>>,
    cost_reason: Option<String>,
    spans: Vec<Option<(Duration, Duration)>>,
    marks: Vec<Vec<Option<f64>>>,
    expected: Vec<Vec<Option<u32>>>,
    predicted: Vec<Vec<Option<u32>>>,
    other_model: Vec<Option<bool>>,
}

/// Fills a [`RunFrame`] record by record, in any order. A later record of a task that had failed replaces
/// the earlier one.
pub struct Builder {
    layout: Layout,
    class_codes: BTreeMap<String, u32>,
    columns: Vec<Columns>,
}

impl Builder {
    /// An empty frame: every task counts as dropped until its record comes.
    pub fn new(mut layout: Layout) -> Builder {
        // Clusters of one are no clusters.
        let is_single = |clusters: &Vec<u32>| clusters.iter().collect::<HashSet<_>>().len() == clusters.len();
        layout.clusters = layout.clusters.filter(|clusters| !is_single(clusters));
        let count = u32::try_from(layout.samples.len()).expect("a run has fewer samples than 32 bits count");
        layout.by_id = (0..count).collect();
        layout.by_id.sort_unstable_by_key(|sample| &*layout.samples[*sample as usize]);
        let tasks = layout.samples.len() * layout.repeats;
        let columns = layout
            .prices
            .iter()
            .map(|price| {
                let is_hourly = price.as_ref().is_ok_and(|price| price.per_hour_usd.is_some());
                Columns {
                    state: vec![State::Dropped; tasks],
                    account: Account::default(),
                    answers: 0,
                    says_nothing: vec![false; tasks],
                    missing: HashSet::new(),
                    billed: vec![(0, None); tasks],
                    truncated: vec![None; tasks],
                    latency_ms: vec![None; tasks],
                    ttft_ms: vec![None; tasks],
                    tpot_ms: vec![None; tasks],
                    response_ms: vec![None; tasks],
                    input_tokens: vec![None; tasks],
                    output_tokens: vec![None; tasks],
                    cost: vec![None; tasks],
                    cost_reason: None,
                    spans: if is_hourly { vec![None; tasks] } else { Vec::new() },
                    marks: layout.metrics.iter().map(|_| vec![None; tasks]).collect(),
                    expected: label_columns(&layout, tasks),
                    predicted: label_columns(&layout, tasks),
                    other_model: vec![None; tasks],
                }
            })
            .collect();
        Builder { layout, class_codes: BTreeMap::new(), columns }
    }

    /// Adds the facts of one task. False, and nothing is added, when the task has been answered already.
    #[must_use]
    pub fn put(&mut self, sample: usize, candidate: usize, repeat: usize, facts: Facts) -> bool {
        let row = sample * self.layout.repeats + repeat;
        let columns = &mut self.columns[candidate];
        if matches!(columns.state[row], State::Scored | State::Unscored) {
            return false;
        }
        enter(&mut columns.account, &facts);
        columns.billed[row] = (u32::try_from(facts.maybe_billed).unwrap_or(u32::MAX), facts.held_usd);
        if facts.is_open {
            return true;
        }
        if let Some(span) = columns.spans.get_mut(row) {
            *span = facts.span;
        }
        match facts.failure {
            None => {}
            // What was never sent is no failure of the candidate's.
            Some(FailureKind::Unsent) => return true,
            Some(failure) => {
                columns.state[row] = State::Failed(failure);
                columns.latency_ms[row] = facts.latency_ms;
                columns.response_ms[row] = facts.response_ms;
                return true;
            }
        }
        columns.answers += u64::from(facts.is_answer);
        columns.says_nothing[row] = !facts.is_answer;
        let is_scored = facts.marks.iter().all(Option::is_some);
        columns.state[row] = if is_scored { State::Scored } else { State::Unscored };
        columns.truncated[row] = facts.is_truncated;
        columns.other_model[row] = facts.echo.is_other;
        columns.latency_ms[row] = facts.latency_ms;
        columns.ttft_ms[row] = facts.ttft_ms;
        columns.tpot_ms[row] = facts.tpot_ms;
        columns.response_ms[row] = facts.response_ms;
        columns.input_tokens[row] = facts.usage.input_tokens.map(|tokens| tokens as f64);
        columns.output_tokens[row] = facts.usage.output_tokens.map(|tokens| tokens as f64);
        match facts.cost {
            Some(Ok(cost)) => columns.cost[row] = Some(cost),
            // The first in alphabetical order: not that of the answer which happened to come first.
            Some(Err(reason)) if columns.cost_reason.as_ref().is_none_or(|known| reason < *known) => {
                columns.cost_reason = Some(reason);
            }
            Some(Err(_)) | None => {}
        }
        columns.missing.extend(facts.missing.into_iter().map(|metric| (metric, row)));
        for (column, mark) in columns.marks.iter_mut().zip(facts.marks) {
            column[row] = mark;
        }
        for (metric, label) in facts.labels.into_iter().enumerate() {
            let (Some(label), true) = (label, self.layout.metrics[metric].is_label) else { continue };
            columns.expected[metric][row] = Some(code(&mut self.class_codes, label.expected));
            columns.predicted[metric][row] = label.predicted.map(|class| code(&mut self.class_codes, class));
        }
        true
    }

    /// The frame.
    pub fn finish(mut self) -> RunFrame {
        let mut classes: Vec<(u32, String)> = self.class_codes.into_iter().map(|(class, code)| (code, class)).collect();
        classes.sort_unstable();
        self.layout.classes = classes.into_iter().map(|(_, class)| class).collect();
        self.layout.unmarkable = unmarkable(&self.layout, &self.columns);
        let layout = self.layout;
        let candidates =
            layout.prices.iter().zip(self.columns).map(|(price, columns)| columns.finish(&layout, price.as_ref().ok()));
        let candidates = candidates.collect();
        RunFrame { layout, candidates }
    }
}

/// The samples of each metric for which an answer is there and no mark. Not those for which that is the answer's doing: such
/// a mark is missing like that of a failed task, or wrong answers could drop out.
fn unmarkable(layout: &Layout, columns: &[Columns]) -> Vec<Vec<bool>> {
    if !columns.iter().any(|columns| columns.state.contains(&State::Unscored)) {
        return Vec::new();
    }
    let of_metric = |metric: usize| {
        let is_bare = |columns: &Columns, row: usize| {
            matches!(columns.state[row], State::Unscored | State::Scored)
                && columns.marks[metric][row].is_none()
                && !columns.missing.contains(&(metric, row))
        };
        let of_sample = |sample: usize| {
            let mut rows = sample * layout.repeats..(sample + 1) * layout.repeats;
            rows.any(|row| columns.iter().any(|columns| is_bare(columns, row)))
        };
        (0..layout.samples.len()).map(of_sample).collect()
    };
    (0..layout.metrics.len()).map(of_metric).collect()
}

fn code(codes: &mut BTreeMap<String, u32>, class: String) -> u32 {
    let next = u32::try_from(codes.len()).expect("fewer classes than tasks");
    *codes.entry(class).or_insert(next)
}

fn label_columns(layout: &Layout, tasks: usize) -> Vec<Vec<Option<u32>>> {
    layout.metrics.iter().map(|metric| if metric.is_label { vec![None; tasks] } else { Vec::new() }).collect()
}

impl Columns {
    fn finish(mut self, layout: &Layout, price: Option<&Price>) -> CandidateFrame {
        let per_hour = price.and_then(|price| Some((price.per_hour_usd?, price)));
        // What answers cost beside the machine's hours.
        let mut cost = self.cost.clone();
        let hours = per_hour.map(|(per_hour, price)| self.by_the_hour(per_hour, price.replicas, layout.volume));
        let spend = self.spend();
        let full_use = self.cost;
        let mut cost_reason = self.cost_reason;
        // What every attempt costs, where that is fixed beforehand, and what every task does.
        let mut per_attempt = price.and_then(per_request_alone);
        per_attempt = per_attempt.filter(|fixed| cost.iter().flatten().all(|cost| cost == fixed));
        let mut per_task = None;
        if let Some(hours) = &hours {
            match &hours.reserved {
                Ok(reserved) => {
                    let is_answered = |row: usize| matches!(self.state[row], State::Scored | State::Unscored);
                    let beside = std::mem::take(&mut cost);
                    let is_by_hours_alone = beside.iter().all(Option::is_none);
                    cost = beside
                        .into_iter()
                        .enumerate()
                        .map(|(row, beside)| {
                            is_answered(row).then(|| beside.unwrap_or_default().checked_add(*reserved)).flatten()
                        })
                        .collect();
                    // Machines that stand there anyway cost no more for what failed on them.
                    per_task = is_by_hours_alone.then_some(*reserved);
                }
                Err(reason) => {
                    cost_reason.get_or_insert_with(|| reason.clone());
                    cost = vec![None; self.state.len()];
                }
            }
        }
        // The most that each task can have cost, attempts that may have been billed included; `None` where nothing bounds it.
        let at_most = |row: usize| {
            let (billed, extra) = self.billed[row];
            match (per_task, per_attempt, cost[row]) {
                (Some(fixed), _, _) => Some(fixed),
                (None, Some(fixed), _) => {
                    let answer = u32::from(matches!(self.state[row], State::Scored | State::Unscored));
                    fixed.checked_mul(Decimal::from(billed.saturating_add(answer).max(1)))
                }
                (None, None, Some(cost)) if self.says_nothing[row] || billed > 0 => {
                    extra.filter(|_| !self.says_nothing[row]).and_then(|extra| cost.checked_add(extra))
                }
                (None, None, cost) => cost,
            }
        };
        let at_most: Vec<Option<f64>> =
            (0..self.state.len()).map(|row| at_most(row).and_then(|most| most.to_f64())).collect();
        let is_fixed_cost = per_task.is_some() || per_attempt.is_some();
        let mut counts = Counts { tasks: self.state.len() as u64, ..Counts::default() };
        let mut failures = BTreeMap::new();
        for state in &self.state {
            match state {
                State::Dropped => counts.dropped += 1,
                State::Unscored => counts.unscored += 1,
                State::Scored => counts.scored += 1,
                State::Failed(kind) => {
                    counts.failed += 1;
                    *failures.entry(*kind).or_insert(0) += 1;
                }
            }
        }
        let failed = self.state.iter().map(|state| match state {
            State::Dropped => None,
            State::Failed(_) => Some(1.0),
            State::Scored | State::Unscored => Some(0.0),
        });
        let mut columns: Vec<Column> = vec![numbers("failure_rate", failed)];
        let truth = |is: Option<bool>| is.map(|is| if is { 1.0 } else { 0.0 });
        columns.push(numbers("truncation_rate", self.truncated.into_iter().map(truth)));
        columns.push(numbers("other_model_rate", self.other_model.into_iter().map(truth)));
        let says_nothing = &self.says_nothing;
        let observed = |cells: Vec<Option<f64>>| {
            cells.into_iter().zip(says_nothing).map(|(cell, says_nothing)| cell.filter(|_| !says_nothing))
        };
        let dollars = |cells: Vec<Option<Decimal>>| {
            observed(cells.into_iter().map(|cost| cost.and_then(|cost| cost.to_f64())).collect())
        };
        columns.push(numbers("latency_ms", observed(self.latency_ms)));
        columns.push(numbers("ttft_ms", observed(self.ttft_ms)));
        columns.push(numbers("tpot_ms", observed(self.tpot_ms)));
        columns.push(numbers("response_ms", observed(self.response_ms)));
        columns.push(numbers("input_tokens", observed(self.input_tokens)));
        columns.push(numbers("output_tokens", observed(self.output_tokens)));
        columns.push(numbers("cost_usd", dollars(cost)));
        columns.push(numbers("cost_usd at most", at_most.into_iter()));
        if hours.is_some() {
            columns.push(numbers("cost_full_use_usd", dollars(full_use)));
        }
        for (index, marks) in self.marks.into_iter().enumerate() {
            columns.push(numbers(&mark_column(index), marks.into_iter()));
        }
        for (index, metric) in layout.metrics.iter().enumerate() {
            if metric.is_label {
                let codes = |name: String, cells: &mut Vec<Option<u32>>| {
                    UInt32Chunked::from_iter_options(name.as_str().into(), std::mem::take(cells).into_iter())
                        .into_column()
                };
                columns.push(codes(expected_column(index), &mut self.expected[index]));
                columns.push(codes(predicted_column(index), &mut self.predicted[index]));
            }
        }
        let frame = DataFrame::new(self.state.len(), columns).expect("all columns have one row per task");
        CandidateFrame {
            frame,
            counts,
            answers: self.answers,
            failures,
            account: self.account,
            spend,
            cost_reason,
            is_fixed_cost,
            machines: hours.map(|hours| hours.machines),
        }
    }

    /// Charges each answer its share of the machine's busy time, with what failed borne by all of them, and works out what
    /// an answer costs with machines reserved for the volume.
    fn by_the_hour(
        &mut self,
        per_hour: Decimal,
        replicas: Option<std::num::NonZeroU32>,
        volume: Option<Volume>,
    ) -> ByTheHour {
        let rows: Vec<usize> = (0..self.spans.len()).filter(|row| self.spans[*row].is_some()).collect();
        let mut spans: Vec<(Duration, Duration)> = rows.iter().filter_map(|row| self.spans[*row]).collect();
        // Recorded answers say how long they took and not when: then they are taken to have come one after another, so that no
        // throughput is made up.
        if spans.iter().all(|(start, _)| start.is_zero()) {
            let mut now = Duration::ZERO;
            for (start, end) in &mut spans {
                (*start, *end) = (now, now.saturating_add(*end));
                now = *end;
            }
        }
        let (shares, busy) = price::machine_time(&spans);
        let is_answered = |row: usize| matches!(self.state[row], State::Scored | State::Unscored);
        let count = |is: &dyn Fn(&State) -> bool| self.state.iter().filter(|state| is(state)).count() as u64;
        let (answered, ended) = (
            count(&|state| matches!(state, State::Scored | State::Unscored)),
            count(&|state| *state != State::Dropped),
        );
        let mut timed = rows.iter().filter(|row| is_answered(**row)).count() as u32;
        let mut wasted: Duration =
            rows.iter().zip(&shares).filter(|(row, _)| !is_answered(**row)).map(|(_, share)| *share).sum();
        for (row, share) in rows.into_iter().zip(shares) {
            if !is_answered(row) {
                continue;
            }
            // An equal part of what failed; dividing what is left keeps the sum exact.
            let part = wasted / timed;
            (wasted, timed) = (wasted - part, timed - 1);
            let hourly = price::hourly_cost(per_hour, share + part);
            // A price may be by the hour and by the token at once.
            let sum = hourly.and_then(|hourly| self.cost[row].unwrap_or_default().checked_add(hourly));
            match sum {
                Some(sum) => self.cost[row] = Some(sum),
                None => {
                    self.cost_reason.get_or_insert_with(|| "the amount is too large".to_owned());
                }
            }
        }
        let measured_per_s = (answered > 0 && !busy.is_zero()).then(|| answered as f64 / busy.as_secs_f64());
        let needed = volume.zip(measured_per_s).and_then(|(volume, rate)| price::machines_needed(&volume, rate));
        // Fewer than the peak needs cannot serve it, whatever the suite hopes for.
        let machines = replicas.map(|replicas| u64::from(replicas.get())).max(needed);
        let reserved = match (volume, machines) {
            (None, _) => Err("it is paid by the hour, so what a request costs depends on how many there are: state \
                              `volume: { requests_per_day: …, peak_over_mean: … }` in the suite"
                .to_owned()),
            (Some(_), None) => Err("no times were measured that say how many machines the volume needs: state \
                                    `replicas` in its `price`"
                .to_owned()),
            (Some(_), _) if answered == 0 => Err("nothing was answered".to_owned()),
            (Some(volume), Some(machines)) => price::reserved_cost(per_hour, machines, &volume)
                // What fails is paid for by what is answered.
                .and_then(|cost| cost.checked_mul(Decimal::from(ended))?.checked_div(Decimal::from(answered)))
                .ok_or_else(|| "the amount is too large".to_owned()),
        };
        let machines = Machines {
            per_hour_usd: per_hour.normalize().to_string(),
            measured_per_s,
            full_use_usd: None,
            volume,
            replicas: machines,
            needed,
            reserved_usd: reserved.as_ref().ok().and_then(Decimal::to_f64),
            break_even_per_s: None,
            break_even_with: None,
            reason: reserved.as_ref().err().cloned(),
        };
        ByTheHour { reserved, machines }
    }

    /// Exact dollars of all answers; why not, when one of them has no known cost.
    fn spend(&self) -> Result<Decimal, String> {
        if let Some(reason) = &self.cost_reason {
            return Err(reason.clone());
        }
        let mut sum = Decimal::ZERO;
        for cost in self.cost.iter().flatten() {
            sum = sum.checked_add(*cost).ok_or("the sum is too large")?;
        }
        Ok(sum)
    }
}

/// The price of a request, where nothing else is priced.
fn per_request_alone(price: &Price) -> Option<Decimal> {
    let is_alone = price.rates() == Rates::default() && price.tiers.is_empty() && price.per_hour_usd.is_none();
    price.per_request_usd.filter(|_| is_alone)
}

/// What machines by the hour come to.
struct ByTheHour {
    /// Dollars per answer with machines reserved for the volume, or why that cannot be said.
    reserved: Result<Decimal, String>,
    machines: Machines,
}

/// Name of a metric's column of marks. Names of metrics are the user's, so columns go by number.
pub(super) fn mark_column(metric: usize) -> String {
    format!("mark {metric}")
}

/// Name of a label metric's column of right classes.
pub(super) fn expected_column(metric: usize) -> String {
    format!("expected {metric}")
}

/// Name of a label metric's column of answered classes.
pub(super) fn predicted_column(metric: usize) -> String {
    format!("predicted {metric}")
}

fn numbers(name: &str, cells: impl Iterator<Item = Option<f64>>) -> Column {
    Float64Chunked::from_iter_options(name.into(), cells).into_column()
}

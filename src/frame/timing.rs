//! How requests kept their times: from instants to lags, service and response times, rates and a verdict on them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::stats;
use crate::types::{Accounting, Failure, Punctual, Record, Spread, Stretch, Unsent};

/// A lag from which on latencies are not to be believed.
const LONGEST_LAG_MS: f64 = 10.0;

/// Share of requests dropped for being late from which on those that are left do not stand for all.
const MOST_LATE: f64 = 0.01;

/// Gaps closer than this are not told apart, in seconds: the timer goes by milliseconds.
const SAME_GAP_S: f64 = 0.001;

/// Stretches that a replay is cut into, at most.
const STRETCHES: usize = 30;

/// Instants of one request, from the start of the replay.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Instants {
    intended: Duration,
    /// `None` when it was not sent.
    sent: Option<Duration>,
    /// When its last attempt was sent.
    last_sent: Option<Duration>,
    /// When it was over, however it ended.
    over: Option<Duration>,
    /// The same, of what counts for the times.
    end: Option<Duration>,
    first: Option<Duration>,
    is_held: bool,
    is_full: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    Answered,
    TimedOut,
    Failed,
    Unsent(Unsent),
}

/// What one record tells of time.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    instants: Instants,
    became: Became,
}

impl Seen {
    /// Of a record; `None` of one without an intended instant, which is of no replay.
    pub fn of(record: &Record) -> Option<Seen> {
        let intended = record.due.filter(|_| !record.is_open)?;
        let became = match &record.outcome {
            Ok(_) => Became::Answered,
            Err(Failure::Timeout { .. }) => Became::TimedOut,
            Err(Failure::Unsent { why }) => Became::Unsent(*why),
            Err(_) => Became::Failed,
        };
        let last = record.timing.as_ref();
        // Of what was tried again the first attempt counts for the lag: the rest is the service's doing.
        let sent = record.retried.first().map(|attempt| attempt.sent).or(last.map(|timing| timing.sent));
        let is_timed = matches!(became, Became::Answered | Became::TimedOut);
        let last_sent = last.map(|timing| timing.sent);
        let over = last.map(|timing| timing.sent + timing.done);
        let end = over.filter(|_| is_timed);
        let first = last.and_then(|timing| Some(timing.sent + *timing.chunks.first()?));
        let is_full = became == Became::Unsent(Unsent::Full);
        let is_held = record.is_held;
        Some(Seen { instants: Instants { intended, sent, last_sent, over, end, first, is_held, is_full }, became })
    }
}

/// Gathers what the records of one candidate tell of time.
#[derive(Debug, Default)]
pub struct Timekeeper {
    requests: Vec<Instants>,
    accounting: Accounting,
}

impl Timekeeper {
    /// Of a candidate for which so many requests were planned.
    pub fn new(planned: u64) -> Timekeeper {
        let accounting = Accounting { planned, unfinished: planned, ..Accounting::default() };
        Timekeeper { requests: Vec::new(), accounting }
    }

    /// Takes what a record tells.
    pub fn put(&mut self, seen: Seen) {
        let accounting = &mut self.accounting;
        accounting.unfinished = accounting.unfinished.saturating_sub(1);
        match seen.became {
            Became::Answered => accounting.answered += 1,
            Became::TimedOut => accounting.timed_out += 1,
            Became::Failed => accounting.failed += 1,
            Became::Unsent(why) => *accounting.unsent.entry(why).or_default() += 1,
        }
        self.requests.push(seen.instants);
    }

    /// What all of it comes to. `cap` is the cap on requests in flight, `pauses` how often the program was kept from
    /// running.
    pub fn finish(mut self, candidate: &str, cap: Option<usize>, pauses: u64) -> Punctual {
        self.requests.sort_by_key(|request| request.intended);
        let start = self.requests.first().map_or(Duration::ZERO, |request| request.intended);
        let requests = &self.requests;
        let ms = |later: Duration, earlier: Duration| (later.as_secs_f64() - earlier.as_secs_f64()) * 1000.0;
        let each = |of: &dyn Fn(&Instants) -> Option<f64>| requests.iter().filter_map(of).collect::<Vec<f64>>();
        let lags = each(&|request| Some(ms(request.sent?, request.intended)));
        let lag = spread(lags.clone());
        let flights: Vec<(Duration, Duration)> =
            requests.iter().filter_map(|request| Some((request.sent?, request.over.or(request.sent)?))).collect();
        let changes = changes(&flights);
        let in_flight_max = changes.iter().map(|(_, level)| *level).max().unwrap_or(0);
        let first_full = requests.iter().find(|request| request.is_full).map(|request| request.intended);
        let reached = cap.and_then(|cap| changes.iter().find(|(_, level)| *level >= cap as u64).map(|(at, _)| *at));
        let not_open = first_full.into_iter().chain(reached).min();
        let mut sends: Vec<Duration> = requests.iter().filter_map(|request| request.sent).collect();
        sends.sort_unstable();
        let planned: Vec<Duration> =
            requests.iter().filter(|request| request.sent.is_some()).map(|request| request.intended).collect();
        let (of_plan, of_sends) = (gaps(&planned), gaps(&sends));
        let mut invalid = Vec::new();
        if let Some(p99) = lag.p99_ms.filter(|p99| *p99 > LONGEST_LAG_MS) {
            invalid
                .push(format!("requests left late: 99th percentile of the lag {p99:.1} ms, over {LONGEST_LAG_MS} ms"));
        }
        let late = self.accounting.unsent.get(&Unsent::Late).copied().unwrap_or(0);
        if late as f64 > MOST_LATE * self.accounting.planned as f64 {
            let planned = self.accounting.planned;
            invalid.push(format!("{late} of {planned} requests were dropped because they would have left late"));
        }
        if let Some(since) = not_open {
            let since = ms(since, start) / 1000.0;
            invalid.push(format!("the cap on requests in flight was reached: not an open loop from {since:.1} s on"));
        }
        if pauses > 0 {
            invalid.push(format!("evalctl itself was kept from running {pauses} times"));
        }
        Punctual {
            candidate: candidate.to_owned(),
            lag,
            service: spread(each(&|request| Some(ms(request.end?, request.last_sent?)))),
            response: spread(each(&|request| Some(ms(request.end?, request.intended)))),
            ttft_service: spread(each(&|request| Some(ms(request.first?, request.last_sent?)))),
            ttft_response: spread(each(&|request| Some(ms(request.first?, request.intended)))),
            drift: drift(requests),
            ks: stats::kolmogorov_smirnov(&of_plan, &of_sends, SAME_GAP_S),
            wasserstein_ms: stats::wasserstein(&of_plan, &of_sends).map(|s| s * 1000.0),
            in_flight_max,
            held: requests.iter().filter(|request| request.is_held).count() as u64,
            not_open_from_s: not_open.map(|since| ms(since, start) / 1000.0),
            stretches: stretches(requests, &changes, start),
            invalid,
            accounting: self.accounting,
        }
    }
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let quantile = |p| stats::quantile(&values, p);
    Spread {
        n: values.len() as u64,
        p50_ms: quantile(0.5),
        p90_ms: quantile(0.9),
        p99_ms: quantile(0.99),
        max_ms: values.last().copied(),
    }
}

/// Differences of neighbours, in seconds.
fn gaps(instants: &[Duration]) -> Vec<f64> {
    instants.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
}

/// How many requests are in flight from each instant on at which that changes.
fn changes(flights: &[(Duration, Duration)]) -> Vec<(Duration, u64)> {
    let mut steps: BTreeMap<Duration, i64> = BTreeMap::new();
    for (sent, end) in flights {
        *steps.entry(*sent).or_default() += 1;
        *steps.entry(*end).or_default() -= 1;
    }
    let mut level = 0_i64;
    let mut changes = Vec::with_capacity(steps.len());
    for (at, step) in steps {
        level += step;
        changes.push((at, level.unsigned_abs()));
    }
    changes
}

/// Slope of the lag over intended time, by least squares; `None` for fewer than two instants.
fn drift(requests: &[Instants]) -> Option<f64> {
    let points: Vec<(f64, f64)> = requests
        .iter()
        .filter_map(|request| {
            let (at, sent) = (request.intended.as_secs_f64(), request.sent?.as_secs_f64());
            Some((at, sent - at))
        })
        .collect();
    let n = points.len() as f64;
    let (mean_x, mean_y) =
        (points.iter().map(|(x, _)| x).sum::<f64>() / n, points.iter().map(|(_, y)| y).sum::<f64>() / n);
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in points {
        xy += (x - mean_x) * (y - mean_y);
        xx += (x - mean_x).powi(2);
    }
    (xx > 0.0).then(|| xy / xx)
}

/// Cuts the time from the first request to the last into stretches of equal length, of a second at least.
fn stretches(requests: &[Instants], changes: &[(Duration, u64)], start: Duration) -> Vec<Stretch> {
    let Some(last) = requests.last() else { return Vec::new() };
    let span = (last.intended - start).as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and STRETCHES")]
    let count = (span.floor() as usize).clamp(1, STRETCHES);
    // What was planned for one instant is looked at over a second.
    let length = if span > 0.0 { span / count as f64 } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and clamped")]
    let place = |at: Duration| ((at.saturating_sub(start).as_secs_f64() / length) as usize).min(count - 1);
    let mut lags = vec![Vec::new(); count];
    let (mut due, mut sent, mut most) = (vec![0_u64; count], vec![0_u64; count], vec![0_u64; count]);
    for request in requests {
        due[place(request.intended)] += 1;
        if let Some(at) = request.sent {
            sent[place(at)] += 1;
            lags[place(request.intended)].push((at.as_secs_f64() - request.intended.as_secs_f64()) * 1000.0);
        }
    }
    // What is in flight when a stretch begins counts for it, too.
    let mut level = 0;
    let mut next = 0;
    for (stretch, most) in most.iter_mut().enumerate() {
        *most = level;
        while changes.get(next).is_some_and(|(at, _)| place(*at) <= stretch) {
            level = changes[next].1;
            *most = (*most).max(level);
            next += 1;
        }
    }
    let stretch = |index: usize| Stretch {
        from_s: length * index as f64,
        length_s: length,
        offered_per_s: due[index] as f64 / length,
        achieved_per_s: sent[index] as f64 / length,
        lag_p99_ms: spread(lags[index].clone()).p99_ms,
        in_flight: most[index],
    };
    (0..count).map(stretch).collect()
}

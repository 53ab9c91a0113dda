//! Carries out tasks: the only place that starts tokio tasks.
//!
//! `closed` sends the next request of a candidate when one of its slots is free; `open` sends each at a time of its own,
//! whatever the answers do. What happens to one task is the same in both, and stands here: waiting for limits and money,
//! attempts, retries, the record. The engine knows neither scorers nor files; it sends events to whoever drains the
//! channel.

mod budget;
mod closed;
mod ledger;
mod limits;
mod open;
mod pacing;
mod retry;
mod vigil;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rust_decimal::Decimal;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use budget::FailureBudget;
pub use closed::drive;
pub use ledger::{Keep, Ledger};
pub use limits::Rates;
pub use open::{Health, Host, Late, OnFull, Order, Punctuality, Timed, Turn, keep_time};
pub use pacing::{Gaps, Pacing, Timetable};
pub use retry::{RetryRule, jitter};

use crate::engine::ledger::Reserved;
use crate::engine::limits::{Heard, Leave, Limiter};
use crate::engine::vigil::{Patience, Vigil};
use crate::price;
use crate::provider::{Attempted, Outgoing, Provider, Refusal, collect};
use crate::types::{Attempt, Failure, Price, Record, Request, RunEvent, Slot, Task, Unsent, Usage};
use crate::util::clock::Clock;
use crate::util::secret::Redactor;

/// A live candidate.
pub struct Candidate {
    /// Its place among the candidates of the run, which events name it by.
    pub index: usize,
    /// Its id.
    pub id: Arc<str>,
    /// What answers.
    pub provider: Arc<dyn Provider>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// What is tried again.
    pub retry: RetryRule,
    /// Requests in flight at once.
    pub in_flight: usize,
    /// Failures borne before the run is stopped.
    pub failures: FailureBudget,
    /// The suite's own rates.
    pub rates: Rates,
    /// What its answers cost, as far as it is known before they are there.
    pub price: Option<Price>,
}

/// Why a run ended before its tasks did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it.
    Asked,
    /// The run's deadline.
    Deadline {
        /// The deadline.
        after: Duration,
    },
    /// A candidate failed too often.
    Failures {
        /// Its id.
        candidate: Arc<str>,
        /// Failed tasks.
        failed: u64,
        /// Failures that were allowed.
        allowed: u64,
        /// Why the last one failed.
        last: String,
    },
    /// The service of a candidate could not be reached any more. The others went on.
    Unreachable {
        /// Its id.
        candidate: Arc<str>,
        /// Why the last request did not reach it, with the address.
        last: String,
    },
    /// The next request could have cost more than was left to spend.
    Money {
        /// What may be spent, in dollars.
        cap: Decimal,
        /// What has been.
        spent: Decimal,
    },
    /// Something in evalctl itself broke.
    Internal {
        /// What it said.
        fault: String,
    },
    /// It could not be put down what is under way, so that nothing more may be sent.
    Unkept {
        /// What was wrong.
        fault: String,
    },
    /// This machine could open no file or connection more.
    Files,
    /// The tasks could not be read to their end.
    Source {
        /// What was wrong.
        fault: String,
    },
}

/// What a run needs beside its tasks.
pub struct Rules {
    /// Seed of the retry jitter.
    pub seed: u64,
    /// How long the run may take.
    pub deadline: Option<Duration>,
    /// Gives the instants of records.
    pub clock: Clock,
    /// Knows the keys of all candidates and takes them out of what comes back.
    pub redactor: Redactor,
    /// What may be spent, and what is under way.
    pub ledger: Arc<Ledger>,
}

/// How often the sinks hear that time passes.
const TICK: Duration = Duration::from_millis(250);

/// Waits until all `workers` have ended, and tells the sinks meanwhile that time passes and that the run is to stop.
async fn attend(mut workers: JoinSet<()>, shared: &Shared) {
    let expired = expire(shared.rules.deadline);
    tokio::pin!(expired);
    let mut ticks = tokio::time::interval(TICK);
    let (mut is_late, mut is_stopping) = (false, false);
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                // A fault of ours: its task is lost, and the run must not end as if nothing had been.
                Some(Err(error)) => shared.halt(Stop::Internal { fault: error.to_string() }),
            },
            after = &mut expired, if !is_late => {
                is_late = true;
                shared.halt(Stop::Deadline { after });
            }
            // The sinks cannot be told when they are gone, which is why the run stops then.
            () = shared.stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                drop(shared.events.send(RunEvent::Stopping).await);
            }
            // A full channel has news enough.
            _ = ticks.tick() => drop(shared.events.try_send(RunEvent::Tick)),
        }
    }
}

async fn expire(deadline: Option<Duration>) -> Duration {
    match deadline {
        Some(deadline) => {
            tokio::time::sleep(deadline).await;
            deadline
        }
        None => std::future::pending().await,
    }
}

struct Shared {
    rules: Rules,
    events: mpsc::Sender<RunEvent>,
    stop: CancellationToken,
    /// Why the run stopped.
    why: Mutex<Option<Stop>>,
    /// Candidates that were given up, and why.
    gone: Mutex<Vec<Stop>>,
    /// Money that was set aside has been put right.
    settled: Notify,
}

impl Shared {
    fn new(rules: Rules, events: mpsc::Sender<RunEvent>, stop: CancellationToken) -> Arc<Shared> {
        let (why, gone) = (Mutex::default(), Mutex::default());
        Arc::new(Shared { rules, events, stop, why, gone, settled: Notify::new() })
    }

    /// Stops the run; the first reason is the one that is told.
    fn halt(&self, why: Stop) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stop.cancel();
    }

    /// Why the run ended early: candidates that were given up, and what stopped all of them. Empty when it did not.
    fn ended(&self) -> Vec<Stop> {
        let mut stops = std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner));
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).take();
        stops.extend(why.or_else(|| self.stop.is_cancelled().then_some(Stop::Asked)));
        stops
    }

    /// Sets aside what an attempt could cost, the first one of its task or another. `None` when there is not enough left,
    /// which stops the run; and, of one that does not wait, when there may be later.
    async fn reserve(&self, candidate: &Candidate, request: &Request, waits: bool, is_first: bool) -> Option<Decimal> {
        let amount = candidate.price.as_ref().map_or(Decimal::ZERO, |price| dearest(price, request));
        let ledger = &self.rules.ledger;
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // Whoever settles between the look and the wait must be heard.
            settled.as_mut().enable();
            match ledger.reserve(amount, is_first) {
                Reserved::Yes => return Some(amount),
                Reserved::NotYet if waits => settled.await,
                Reserved::NotYet => return None,
                Reserved::Never => {
                    self.halt(Stop::Money { cap: ledger.cap().unwrap_or_default(), spent: ledger.spent() });
                    return None;
                }
                Reserved::Unkept(fault) => {
                    self.halt(Stop::Unkept { fault });
                    return None;
                }
            }
        }
    }

    /// Puts right what was set aside for an attempt.
    fn settle(&self, candidate: &Candidate, reserved: Decimal, attempted: &Attempted) -> Settled {
        let ledger = &self.rules.ledger;
        let cost = |usage: &Usage| price::cost(candidate.price.as_ref()?, usage).ok();
        let nothing = Settled { spent: Decimal::ZERO, held: Decimal::ZERO };
        // Without usage, what was set aside is the best that is known. Where nothing is bounded, it need not be kept.
        let unknown = Settled { spent: reserved, held: ledger.cap().map_or(Decimal::ZERO, |_| reserved) };
        let settled = match &attempted.outcome {
            Ok(response) => {
                let cost = response.cost_usd.or_else(|| cost(&response.usage));
                cost.map_or(unknown, |spent| Settled { spent, ..nothing })
            }
            // What has no answer cannot tell its cost later: it is kept whole.
            Err(Refusal { failure, .. }) => match attempted.billed.as_ref().and_then(cost) {
                Some(spent) => Settled { spent, held: spent },
                None if attempted.is_begun || failure.may_be_billed() => unknown,
                None => nothing,
            },
        };
        ledger.settle(reserved, settled.spent);
        self.settled.notify_waiters();
        settled
    }
}

/// What an attempt has cost.
#[derive(Debug, Clone, Copy)]
struct Settled {
    spent: Decimal,
    /// What of it stands in the record, because no answer tells it.
    held: Decimal,
}

/// The most that a request can cost: all its tokens of whatever kind is dearest. A price by the hour belongs to no
/// request, and is not bounded here.
fn dearest(price: &Price, request: &Request) -> Decimal {
    let (input, output) = (Some(request.input_tokens_at_most()), Some(request.output_tokens_at_most()));
    let plain = Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
    let kinds = [
        plain,
        Usage { cache_write_tokens: input, ..plain },
        Usage { cache_write_tokens: input, cache_write_1h_tokens: input, ..plain },
        Usage { reasoning_tokens: output, ..plain },
    ];
    kinds.iter().filter_map(|usage| price::cost(price, usage).ok()).max().unwrap_or_default()
}

/// A candidate of a run, as its tasks see it.
struct Lane {
    candidate: Candidate,
    limits: Limits,
    shared: Arc<Shared>,
    /// Whether its service can be reached.
    vigil: Vigil,
    /// Cancelled when the run stops or this candidate is given up.
    stop: CancellationToken,
    /// Whether nothing is waited for: neither for a place nor for a rate nor for money.
    is_open: bool,
}

impl Lane {
    fn new(candidate: Candidate, shared: Arc<Shared>, is_open: bool) -> Lane {
        let limiter = Limiter::new(candidate.in_flight, candidate.rates);
        let limits = Limits { limiter: Mutex::new(limiter), freed: Notify::new() };
        let vigil = Vigil::new(if is_open { Patience::OPEN } else { Patience::CLOSED });
        let stop = shared.stop.child_token();
        Lane { candidate, limits, shared, vigil, stop, is_open }
    }

    /// Sends nothing more to this candidate, whose service cannot be reached: `last` is why the last request could not.
    async fn give_up(&self, last: String) {
        let why = last.clone();
        let stop = Stop::Unreachable { candidate: Arc::clone(&self.candidate.id), last };
        self.shared.gone.lock().unwrap_or_else(PoisonError::into_inner).push(stop);
        self.stop.cancel();
        // That nobody hears it is said where records are handed on.
        let _ = self.shared.events.send(RunEvent::Unreachable { candidate: self.candidate.index, why }).await;
    }

    /// Waits for limits and money; `None` when there is no money to wait for.
    async fn leave(&self, request: &Request, tokens: u64, is_first: bool) -> Option<Decimal> {
        if !self.is_open {
            self.limits.leave(tokens, self.shared.rules.clock).await;
        }
        self.shared.reserve(&self.candidate, request, !self.is_open, is_first).await
    }
}

/// A candidate's limits, shared by its slots.
struct Limits {
    limiter: Mutex<Limiter>,
    /// A request has ended.
    freed: Notify,
}

impl Limits {
    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request of about `tokens` tokens may go.
    async fn leave(&self, tokens: u64, clock: Clock) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Whoever ends between the look and the wait must be heard.
            freed.as_mut().enable();
            let leave = self.limiter().ask(clock.now(), tokens);
            match leave {
                Leave::Go => return,
                Leave::Wait(wait) => tokio::time::sleep(wait).await,
                Leave::Full => freed.await,
            }
        }
    }

    fn heard(&self, tokens: u64, attempted: &Attempted, clock: Clock) {
        let heard = match &attempted.outcome {
            Ok(response) => {
                let Usage { input_tokens, output_tokens, .. } = response.usage;
                Heard::Answered(input_tokens.zip(output_tokens).map(|(input, output)| input.saturating_add(output)))
            }
            Err(Refusal { failure: Failure::RateLimited { .. }, retry_after }) => Heard::TooOften(*retry_after),
            // 529 is Anthropic's and others' word for it.
            Err(Refusal { failure: Failure::Status { status: 503 | 529, .. }, retry_after }) => {
                Heard::Overloaded(*retry_after)
            }
            Err(_) => Heard::Failed,
        };
        self.limiter().heard(clock.now(), tokens, heard, attempted.hint);
        self.freed.notify_one();
    }
}

/// Ends a task that is not sent any more because the run stops: it counts as not done, and a resumed run begins it anew.
/// What may have been billed is recorded all the same, so that its money stays counted; what cost nothing is not under
/// way any more.
async fn given_up(
    lane: &Lane,
    job: Job,
    mut retried: Vec<Attempt>,
    held: Decimal,
    spent: Option<Decimal>,
) -> Option<Decimal> {
    match retried.pop() {
        Some(Attempt { failure, .. }) if !held.is_zero() => failed(lane, job, retried, held, failure, true).await,
        _ if spent == Some(Decimal::ZERO) => lane.shared.rules.ledger.recorded(Decimal::ZERO),
        _ => {}
    }
    spent
}

/// Records that a task has failed, or with `is_open` that it was begun and left.
async fn failed(lane: &Lane, job: Job, retried: Vec<Attempt>, held: Decimal, failure: Failure, is_open: bool) {
    let Job { task: Task { key, digest, .. }, due, is_held, slot, .. } = job;
    let held_usd = (!held.is_zero()).then_some(held);
    let outcome = Err(failure);
    record(lane, Record { key, digest, due, is_held, is_open, retried, timing: None, held_usd, outcome }, slot).await;
}

/// Hands on a record.
async fn record(lane: &Lane, record: Record, slot: Slot) {
    let event = RunEvent::Recorded { candidate: lane.candidate.index, record: Box::new(record), slot };
    if lane.shared.events.send(event).await.is_err() {
        // Whoever drains the events is gone, because it could not write: there is no use in asking on.
        lane.shared.stop.cancel();
    }
}

/// A task on its way.
struct Job {
    task: Task,
    /// What is sent of its request, where that was made beforehand.
    body: Option<Bytes>,
    /// When it was to be sent, by the run's clock; `None` where it is sent when there is room.
    due: Option<Duration>,
    /// Whether that was moved, for the turn before it.
    is_held: bool,
    /// Dropped when its record is on disk.
    slot: Slot,
}

/// Sends one task until it is answered or given up, and hands on its record. Gives what the task has cost; `None` when it
/// was never sent. That is [under way](Ledger::recorded) until the slot is free.
async fn carry_out(lane: &Lane, job: Job) -> Option<Decimal> {
    let Lane { candidate, limits, shared, stop, vigil, .. } = lane;
    let clock = shared.rules.clock;
    let task = &job.task;
    let tokens = task.request.tokens_at_most();
    let body = job.body.clone().unwrap_or_else(|| candidate.provider.encode(&task.request));
    let outgoing = Outgoing { request: &task.request, body };
    let mut retried = Vec::new();
    let mut held = Decimal::ZERO;
    let mut spent = None;
    loop {
        // Waiting for money and for limits is no part of any attempt's time.
        let reserved = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            reserved = lane.leave(&task.request, tokens, spent.is_none()) => reserved,
        };
        let Some(reserved) = reserved else {
            if lane.is_open && !stop.is_cancelled() {
                match retried.pop() {
                    None => unsent(lane, job, Unsent::Budget).await,
                    // There is no money to try it again: then it has failed.
                    Some(Attempt { failure, .. }) => failed(lane, job, retried, held, failure, false).await,
                }
            } else {
                given_up(lane, job, retried, held, spent).await;
            }
            return spent;
        };
        let attempted =
            collect(&*candidate.provider, &outgoing, candidate.timeout, clock, &shared.rules.redactor).await;
        if !lane.is_open {
            limits.heard(tokens, &attempted, clock);
        }
        let settled = shared.settle(candidate, reserved, &attempted);
        held = held.saturating_add(settled.held);
        spent = Some(spent.unwrap_or(Decimal::ZERO).saturating_add(settled.spent));
        let has_reached =
            attempted.outcome.as_ref().map_or_else(|refusal| refusal.failure.has_reached_service(), |_| true);
        if has_reached {
            vigil.heard();
        }
        let outcome = match attempted.outcome {
            Ok(response) => Ok(response),
            Err(refusal) => {
                let failed = u32::try_from(retried.len()).unwrap_or(u32::MAX).saturating_add(1);
                let jitter = retry::jitter(shared.rules.seed, task.digest, failed);
                if let Some(wait) = candidate.retry.wait(failed, &refusal, attempted.is_begun, jitter) {
                    let Refusal { failure, .. } = refusal;
                    retried.push(Attempt { sent: attempted.sent, took: attempted.took, failure });
                    tokio::select! {
                        // Nothing was answered: the task counts as not done, and a resumed run begins it anew.
                        () = stop.cancelled() => return given_up(lane, job, retried, held, spent).await,
                        () = tokio::time::sleep(wait) => continue,
                    }
                }
                Err(refusal.failure)
            }
        };
        if matches!(outcome, Err(Failure::Unsent { .. })) {
            // Nobody was asked, and no candidate is to blame.
            if lane.is_open {
                unsent(lane, job, Unsent::Files).await;
                return spent;
            }
            shared.halt(Stop::Files);
            return given_up(lane, job, retried, held, spent).await;
        }
        if !has_reached && vigil.is_given_up() {
            // Another task has said so: this one was under way, and is asked again like those that were not sent.
            return given_up(lane, job, retried, held, spent).await;
        }
        if let Err(failure) = &outcome
            && !has_reached
            && vigil.missed()
        {
            lane.give_up(failure.to_string()).await;
        } else if let Err(failure) = &outcome
            && candidate.failures.spend()
        {
            shared.halt(Stop::Failures {
                candidate: Arc::clone(&candidate.id),
                failed: candidate.failures.failed(),
                allowed: candidate.failures.allowed(),
                last: failure.to_string(),
            });
        }
        let Job { task: Task { key, digest, .. }, due, is_held, slot, .. } = job;
        let held_usd = (!held.is_zero()).then_some(held);
        record(
            lane,
            Record { key, digest, due, is_held, is_open: false, retried, timing: attempted.timing, held_usd, outcome },
            slot,
        )
        .await;
        return spent;
    }
}

/// Records a task that is not sent at all.
async fn unsent(lane: &Lane, job: Job, why: Unsent) {
    let Job { task: Task { key, digest, .. }, due, is_held, slot, .. } = job;
    let (is_open, outcome) = (false, Err(Failure::Unsent { why }));
    record(
        lane,
        Record { key, digest, due, is_held, is_open, retried: Vec::new(), timing: None, held_usd: None, outcome },
        slot,
    )
    .await;
}

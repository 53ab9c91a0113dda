//! Carries out tasks: the only place that starts tokio tasks.
//!
//! Each candidate has a queue and a fixed number of slots. The feeder puts tasks into the queues in the order of the
//! plan and waits when a queue is full, so that no candidate runs far ahead of another: all of them meet the same
//! conditions, and memory stays flat. A slot takes its next task when the last one's record is on disk, not before. The
//! engine knows neither scorers nor files; it sends events to whoever drains the channel.

mod budget;
mod ledger;
mod limits;
mod retry;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rust_decimal::Decimal;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use budget::FailureBudget;
pub use ledger::Ledger;
pub use limits::Rates;
pub use retry::{RetryRule, jitter};

use crate::engine::ledger::Reserved;
use crate::engine::limits::{Heard, Leave, Limiter};
use crate::price;
use crate::provider::{Attempted, Provider, Refusal, collect};
use crate::types::{Attempt, Failure, Price, Record, Request, RunEvent, Slot, Task, Usage};
use crate::util::clock::Clock;
use crate::util::secret::Redactor;

/// A live candidate.
pub struct Candidate {
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
    /// What may be spent; `None` when that is not bounded.
    pub ledger: Option<Ledger>,
}

/// Packs of tasks that may wait in a candidate's queue. A pack has a task for each slot, so that the feeder is not woken
/// for every single task; together with the pack that is being filled and the one in work, a candidate can be four tasks
/// a slot ahead of the slowest.
const QUEUED_PACKS: usize = 2;

/// How often the sinks hear that time passes.
const TICK: Duration = Duration::from_millis(250);

/// Carries out `tasks` (each with the index of its candidate) until they end or `stop` is cancelled. What is in flight
/// when it stops is finished; nothing new is sent and no retry begins. The events' receiver decides the pace: a slow
/// one slows the engine, and a closed one stops it.
///
/// Returns why it stopped early, if it did.
pub async fn drive<T>(
    tasks: T,
    fleet: Vec<Candidate>,
    rules: Rules,
    events: mpsc::Sender<RunEvent>,
    stop: CancellationToken,
) -> Option<Stop>
where
    T: Iterator<Item = Result<(usize, Task), String>> + Send + 'static,
{
    let shared = Arc::new(Shared { rules, events, stop, why: Mutex::new(None), settled: Notify::new() });
    let mut queues = Vec::with_capacity(fleet.len());
    let mut slots = JoinSet::new();
    for (index, candidate) in fleet.into_iter().enumerate() {
        let (sender, receiver) = async_channel::bounded(QUEUED_PACKS);
        queues.push(Queue { sender, pack: Vec::new(), size: candidate.in_flight.max(1) });
        let limiter = Limiter::new(candidate.in_flight, candidate.rates);
        let lane = Arc::new(Lane {
            index,
            candidate,
            limits: Limits { limiter: Mutex::new(limiter), freed: Notify::new() },
            queue: receiver,
            pack: AsyncMutex::default(),
            shared: Arc::clone(&shared),
        });
        for _ in 0..lane.candidate.in_flight.max(1) {
            slots.spawn(work(Arc::clone(&lane)));
        }
    }
    let feeder = {
        let shared = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || feed(tasks, queues, &shared))
    };
    let expired = expire(shared.rules.deadline);
    tokio::pin!(expired);
    let mut ticks = tokio::time::interval(TICK);
    let (mut is_late, mut is_stopping) = (false, false);
    loop {
        tokio::select! {
            ended = slots.join_next() => match ended {
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
    // The queues are closed by now, so the feeder ends at its next task; only a panic in it could be an error here.
    if let Err(error) = feeder.await {
        shared.halt(Stop::Source { fault: error.to_string() });
    }
    let why = shared.why.lock().unwrap_or_else(PoisonError::into_inner).take();
    why.or_else(|| shared.stop.is_cancelled().then_some(Stop::Asked))
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
    why: Mutex<Option<Stop>>,
    /// Money that was set aside has been put right.
    settled: Notify,
}

impl Shared {
    /// Stops the run; the first reason is the one that is told.
    fn halt(&self, why: Stop) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stop.cancel();
    }
}

impl Shared {
    /// Sets aside what a request could cost; `None` when there is not enough left, which stops the run.
    async fn reserve(&self, candidate: &Candidate, request: &Request) -> Option<Decimal> {
        let (Some(ledger), Some(price)) = (&self.rules.ledger, &candidate.price) else { return Some(Decimal::ZERO) };
        let (input, output) = (Some(request.input_tokens_at_most()), Some(request.output_tokens_at_most()));
        let plain = Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
        // Whatever kind of tokens is dearest. A price by the hour belongs to no request, and is not bounded here.
        let kinds = [
            plain,
            Usage { cache_write_tokens: input, ..plain },
            Usage { cache_write_tokens: input, cache_write_1h_tokens: input, ..plain },
            Usage { reasoning_tokens: output, ..plain },
        ];
        let amount = kinds.iter().filter_map(|usage| price::cost(price, usage).ok()).max().unwrap_or_default();
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // Whoever settles between the look and the wait must be heard.
            settled.as_mut().enable();
            match ledger.reserve(amount) {
                Reserved::Yes => return Some(amount),
                Reserved::NotYet => settled.await,
                Reserved::Never => {
                    self.halt(Stop::Money { cap: ledger.cap(), spent: ledger.spent() });
                    return None;
                }
            }
        }
    }

    /// Puts right what was set aside for an attempt; gives what is kept of it because the service may have begun to bill.
    fn settle(&self, candidate: &Candidate, reserved: Decimal, attempted: &Attempted) -> Decimal {
        let (Some(ledger), Some(price)) = (&self.rules.ledger, &candidate.price) else { return Decimal::ZERO };
        let (spent, held) = match &attempted.outcome {
            // Without usage, what was set aside is the best that is known.
            Ok(response) => {
                let cost = response.cost_usd.or_else(|| price::cost(price, &response.usage).ok());
                cost.map_or((reserved, reserved), |cost| (cost, Decimal::ZERO))
            }
            Err(Refusal { failure, .. }) if attempted.is_begun || failure.may_be_billed() => (reserved, reserved),
            Err(_) => (Decimal::ZERO, Decimal::ZERO),
        };
        ledger.settle(reserved, spent);
        self.settled.notify_waiters();
        held
    }
}

/// The feeder's end of a candidate's queue.
struct Queue {
    sender: async_channel::Sender<Vec<Task>>,
    pack: Vec<Task>,
    size: usize,
}

impl Queue {
    /// Hands the pack over; false when nobody takes tasks any more.
    fn send(&mut self) -> bool {
        let pack = std::mem::replace(&mut self.pack, Vec::with_capacity(self.size));
        self.sender.send_blocking(pack).is_ok()
    }
}

fn feed<T>(tasks: T, mut queues: Vec<Queue>, shared: &Shared)
where
    T: Iterator<Item = Result<(usize, Task), String>>,
{
    for task in tasks {
        match task {
            Ok((candidate, task)) => {
                let queue = &mut queues[candidate];
                queue.pack.push(task);
                if queue.pack.len() >= queue.size && !queue.send() {
                    return;
                }
            }
            Err(fault) => return shared.halt(Stop::Source { fault }),
        }
    }
    for queue in &mut queues {
        if !queue.send() {
            return;
        }
    }
}

/// What the slots of one candidate share.
struct Lane {
    index: usize,
    candidate: Candidate,
    limits: Limits,
    queue: async_channel::Receiver<Vec<Task>>,
    /// What is left of the pack in work.
    pack: AsyncMutex<std::vec::IntoIter<Task>>,
    shared: Arc<Shared>,
}

impl Lane {
    /// The next task; `None` when there are no more, or the run is stopping.
    async fn next(&self) -> Option<Task> {
        let next = async {
            let mut pack = self.pack.lock().await;
            loop {
                if let Some(task) = pack.next() {
                    return Some(task);
                }
                *pack = self.queue.recv().await.ok()?.into_iter();
            }
        };
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => None,
            next = next => next,
        }
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

/// One slot: a task at a time, the next one when the last one's record is on disk.
async fn work(lane: Arc<Lane>) {
    while let Some(task) = lane.next().await {
        let (slot, is_written) = oneshot::channel::<()>();
        carry_out(&lane, task, Slot::new(slot)).await;
        // The sink drops the sender when it has written the record; that is all it says.
        let _ = is_written.await;
    }
    // Closing lets the feeder go, which else would wait for a place in a queue that nobody empties.
    lane.queue.close();
}

/// Ends a task that is not sent any more because the run stops. It counts as not done and a resumed run begins it anew,
/// unless an attempt may have been billed: then it has failed, so that its money stays counted.
async fn given_up(lane: &Lane, task: Task, mut retried: Vec<Attempt>, held: Decimal, slot: Slot) {
    if held.is_zero() {
        return;
    }
    let Some(Attempt { failure, .. }) = retried.pop() else { return };
    let Task { key, digest, .. } = task;
    let record = Box::new(Record { key, digest, retried, timing: None, held_usd: Some(held), outcome: Err(failure) });
    let event = RunEvent::Recorded { candidate: lane.index, record, slot };
    // Nobody listens any more when the sinks are gone: then the run has stopped for that.
    let _ = lane.shared.events.send(event).await;
}

/// Sends one task until it is answered or given up, and hands on its record.
async fn carry_out(lane: &Lane, task: Task, slot: Slot) {
    let Lane { index, candidate, limits, shared, .. } = lane;
    let clock = shared.rules.clock;
    let tokens = task.request.tokens_at_most();
    let mut retried = Vec::new();
    let mut held = Decimal::ZERO;
    loop {
        // Waiting for money and for limits is no part of any attempt's time.
        let reserved = tokio::select! {
            biased;
            () = shared.stop.cancelled() => None,
            reserved = async {
                limits.leave(tokens, clock).await;
                shared.reserve(candidate, &task.request).await
            } => reserved,
        };
        let Some(reserved) = reserved else { return given_up(lane, task, retried, held, slot).await };
        let attempted =
            collect(&*candidate.provider, &task.request, candidate.timeout, clock, &shared.rules.redactor).await;
        limits.heard(tokens, &attempted, clock);
        held += shared.settle(candidate, reserved, &attempted);
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
                        () = shared.stop.cancelled() => return given_up(lane, task, retried, held, slot).await,
                        () = tokio::time::sleep(wait) => continue,
                    }
                }
                Err(refusal.failure)
            }
        };
        if let Err(failure) = &outcome
            && candidate.failures.spend()
        {
            shared.halt(Stop::Failures {
                candidate: Arc::clone(&candidate.id),
                failed: candidate.failures.failed(),
                allowed: candidate.failures.allowed(),
                last: failure.to_string(),
            });
        }
        let Task { key, digest, .. } = task;
        let record = Box::new(Record {
            key,
            digest,
            retried,
            timing: attempted.timing,
            held_usd: (!held.is_zero()).then_some(held),
            outcome,
        });
        if shared.events.send(RunEvent::Recorded { candidate: *index, record, slot }).await.is_err() {
            // Whoever drains the events is gone, because it could not write: there is no use in asking on.
            shared.stop.cancel();
        }
        return;
    }
}

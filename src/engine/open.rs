//! An open loop: each task is sent at a time of its own, computed beforehand, whatever the answers do.
//!
//! Each candidate has a schedule and a pool of its own, so that a slow one cannot hold back another. A task that waits
//! for its time holds no place. What may keep a request from being sent at its time is counted: a cap on requests in
//! flight, a rule against late ones, the budget; nothing is left out in silence.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::engine::{Candidate, Job, Lane, Rules, Shared, Stop, attend, carry_out, unsent};
use crate::provider::Provider;
use crate::types::{RunEvent, Slot, Task, Unsent};
use crate::util::clock::Clock;

/// Tasks that are read and encoded ahead of their time, for each candidate: a quarter of a second at 2,000 a second.
const AHEAD: usize = if cfg!(test) { 1 << 20 } else { 512 };

/// Time between the start and the first request, in which tasks are read ahead.
const HEAD_START: Duration = Duration::from_millis(100);

/// How often the program looks whether it is kept from running.
const PULSE: Duration = Duration::from_millis(10);

/// How long before its time a schedule on a thread of its own is awake. Timers of virtual machines wake milliseconds late
/// when a core has been idle (6 ms in one case out of a hundred on the machine where this was set); what is left is
/// waited for without sleeping.
const AWAKE: Duration = Duration::from_millis(4);

/// What the runtime's timers are exact to.
const TICK: Duration = Duration::from_millis(1);

/// A task with its time.
#[derive(Debug, Clone)]
pub struct Timed {
    /// The task.
    pub task: Task,
    /// When it is due, from the start of the replay.
    pub due: Duration,
    /// Its place in a conversation, where turns wait for each other.
    pub turn: Option<Turn>,
}

/// A task with what is sent of its request.
type Ready = (Timed, Bytes);

/// A turn of a conversation that is not sent before the one before it has ended.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The conversation.
    pub conversation: Arc<str>,
    /// What passed in the log between the end of the answer before it and this request.
    pub think: Duration,
}

/// What happens to tasks whose time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// They are sent.
    Send,
    /// They are not, when they are later than this.
    Drop(Duration),
}

/// What happens when the cap on requests in flight is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// The task is not sent, and counted.
    Drop,
    /// It waits: the loop is not open any more.
    Wait,
}

/// Whether turns of one conversation wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Each is sent at its time.
    Timed,
    /// None before the one before it has ended.
    Dependent,
}

/// How strictly times are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Punctuality {
    /// Requests in flight, at most, of each candidate; `None` for as many as there are.
    pub max_in_flight: Option<usize>,
    /// What happens to the next one.
    pub on_full: OnFull,
    /// What happens to late ones.
    pub late: Late,
}

/// Where the schedules run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// All on this runtime.
    Here,
    /// Each on a thread and a runtime of its own, so that the work which one candidate makes (thousands of connections
    /// that are opened at once, say) holds back no other.
    Threads,
}

/// Whether the program itself could run, of one candidate's schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// The longest time for which it could not, beyond what it asked for.
    pub longest: Duration,
    /// How often it was kept from running for longer than [`Health::PAUSE`].
    pub pauses: u64,
}

impl Health {
    /// What counts as a pause of the program: a busy machine does not keep it waiting for so long.
    pub const PAUSE: Duration = Duration::from_millis(250);
}

/// Sends the tasks of each candidate at their times until they end or `stop` is cancelled; then what is in flight is
/// finished and nothing new is sent. Tasks must come in the order of their times.
///
/// Returns why it stopped early (nothing when it did not), and how the program fared for each candidate, by its index.
pub async fn keep_time<T>(
    lanes: Vec<(Candidate, T)>,
    host: Host,
    how: Punctuality,
    rules: Rules,
    events: mpsc::Sender<RunEvent>,
    stop: CancellationToken,
) -> (Vec<Stop>, Vec<(usize, Health)>)
where
    T: Iterator<Item = Result<Timed, String>> + Send + 'static,
{
    let shared = Shared::new(rules, events, stop);
    let mut schedules = JoinSet::new();
    let mut feeders = Vec::new();
    let mut health = Vec::new();
    let awake = match host {
        // On paused time, waiting without sleeping would never end.
        Host::Here => Duration::ZERO,
        Host::Threads => AWAKE,
    };
    let mut fed = Vec::new();
    for (candidate, tasks) in lanes {
        let (sender, ahead) = mpsc::channel(AHEAD);
        let feeding = Arc::clone(&shared);
        let provider = Arc::clone(&candidate.provider);
        feeders.push(tokio::task::spawn_blocking(move || feed(tasks, &*provider, &sender, &feeding)));
        fed.push((candidate, None, ahead));
    }
    // The first may stand far back in the file: the time begins when all have theirs.
    for (_, first, ahead) in &mut fed {
        *first = tokio::select! {
            biased;
            () = shared.stop.cancelled() => None,
            first = ahead.recv() => first,
        };
    }
    let start = shared.rules.clock.now() + HEAD_START;
    for (candidate, first, ahead) in fed {
        let seen = Arc::new(Mutex::new(Health::default()));
        health.push((candidate.index, Arc::clone(&seen)));
        let lane = Arc::new(Lane::new(candidate, Arc::clone(&shared), true));
        let kept = schedule(lane, (first, ahead), start, how, awake, seen);
        match host {
            Host::Here => drop(schedules.spawn(kept)),
            Host::Threads => {
                let halting = Arc::clone(&shared);
                schedules.spawn_blocking(move || {
                    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                        Ok(runtime) => runtime.block_on(kept),
                        Err(error) => halting.halt(Stop::Internal { fault: error.to_string() }),
                    }
                });
            }
        }
    }
    attend(schedules, &shared).await;
    for feeder in feeders {
        if let Err(error) = feeder.await {
            shared.halt(Stop::Source { fault: error.to_string() });
        }
    }
    let fared =
        |(index, seen): (usize, Arc<Mutex<Health>>)| (index, *seen.lock().unwrap_or_else(PoisonError::into_inner));
    (shared.ended(), health.into_iter().map(fared).collect())
}

/// Notes how long the program was kept from running.
async fn pulse(clock: Clock, seen: Arc<Mutex<Health>>) {
    let mut ticks = tokio::time::interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut pauses) = (clock.now(), 0);
    loop {
        ticks.tick().await;
        let now = clock.now();
        let beyond = now.saturating_sub(last).saturating_sub(PULSE);
        last = now;
        pauses += u64::from(beyond > Health::PAUSE);
        let mut health = seen.lock().unwrap_or_else(PoisonError::into_inner);
        health.longest = health.longest.max(beyond);
        health.pauses = health.pauses.max(pauses);
    }
}

/// Reads and encodes tasks ahead of their time, off the thread that sends.
fn feed<T>(tasks: T, provider: &dyn Provider, ahead: &mpsc::Sender<Ready>, shared: &Shared)
where
    T: Iterator<Item = Result<Timed, String>>,
{
    for task in tasks {
        match task {
            // The schedule has ended because the run stops.
            Ok(task) => {
                let body = provider.encode(&task.task.request);
                if ahead.blocking_send((task, body)).is_err() {
                    return;
                }
            }
            Err(fault) => return shared.halt(Stop::Source { fault }),
        }
    }
}

/// Sends the tasks of one candidate at their times.
async fn schedule(
    lane: Arc<Lane>,
    (mut first, mut ahead): (Option<Ready>, mpsc::Receiver<Ready>),
    start: Duration,
    how: Punctuality,
    awake: Duration,
    seen: Arc<Mutex<Health>>,
) {
    // Ends when it is dropped.
    let mut beside = JoinSet::new();
    beside.spawn(pulse(lane.shared.rules.clock, seen));
    let clock = lane.shared.rules.clock;
    let stop = lane.stop.clone();
    let pool = how.max_in_flight.map(|places| Arc::new(Semaphore::new(places)));
    let mut flights = JoinSet::new();
    let mut conversations = Conversations::default();
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            next = next(&mut first, &mut ahead) => next,
        };
        let Some((Timed { task, due, turn }, body)) = next else { break };
        let due = start + due;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = closely(due, clock, awake) => {}
        }
        let turn = turn.map(|turn| conversations.enter(turn, clock));
        let job = Job { task, body: Some(body), due: Some(due), is_held: false, slot: Slot::new(|| ()) };
        flights.spawn(fly(Arc::clone(&lane), job, how, pool.clone(), turn));
        while let Some(ended) = flights.try_join_next() {
            note(ended, &lane.shared);
        }
    }
    // Lets the feeder go.
    drop(ahead);
    while let Some(ended) = flights.join_next().await {
        note(ended, &lane.shared);
    }
}

async fn next<T>(first: &mut Option<T>, ahead: &mut mpsc::Receiver<T>) -> Option<T> {
    match first.take() {
        Some(first) => Some(first),
        None => ahead.recv().await,
    }
}

fn note(ended: Result<(), JoinError>, shared: &Shared) {
    if let Err(error) = ended {
        shared.halt(Stop::Internal { fault: error.to_string() });
    }
}

/// Sleeps until an instant of the clock; at once when it has passed.
async fn until(due: Duration, clock: Clock) {
    let wait = due.saturating_sub(clock.now());
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// The same, awake for the last stretch: a core that is seldom idle wakes in time. What else this runtime has to do goes
/// on meanwhile. Waits of less than a timer's tick are slept through, or a schedule of thousands of requests a second
/// would never rest.
async fn closely(due: Duration, clock: Clock, awake: Duration) {
    if due.saturating_sub(clock.now()) < TICK {
        return until(due, clock).await;
    }
    until(due.saturating_sub(awake), clock).await;
    while !awake.is_zero() && clock.now() < due {
        tokio::task::yield_now().await;
    }
}

/// One task from its time on.
async fn fly(lane: Arc<Lane>, mut job: Job, how: Punctuality, pool: Option<Arc<Semaphore>>, turn: Option<Waiting>) {
    let clock = lane.shared.rules.clock;
    let (before, _ended) = match turn {
        None => (None, None),
        Some(Waiting { before, ended, think }) => (before.map(|before| (before, think)), Some(ended)),
    };
    if let Some((before, think)) = before {
        tokio::select! {
            biased;
            () = lane.stop.cancelled() => return,
            end = before.ended() => {
                // Not before its time, and not sooner after the last answer than in the log.
                let earliest = end + think;
                if job.due.is_some_and(|due| due < earliest) {
                    job.due = Some(earliest);
                    job.is_held = true;
                }
            }
        }
        tokio::select! {
            biased;
            () = lane.stop.cancelled() => return,
            () = until(job.due.unwrap_or_default(), clock) => {}
        }
    }
    let place = match (pool, how.on_full) {
        (None, _) => None,
        (Some(pool), OnFull::Drop) => match pool.try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => return unsent(&lane, job, Unsent::Full).await,
        },
        (Some(pool), OnFull::Wait) => tokio::select! {
            biased;
            () = lane.stop.cancelled() => return,
            place = pool.acquire_owned() => place.ok(),
        },
    };
    let lag = clock.now().saturating_sub(job.due.unwrap_or_default());
    match how.late {
        Late::Drop(longest) if lag > longest => return unsent(&lane, job, Unsent::Late).await,
        Late::Drop(_) | Late::Send => {}
    }
    // A replay is not resumed, so that nobody would ask what was under way.
    let _ = carry_out(&lane, job).await;
    drop(place);
}

/// The turns under way, by conversation.
#[derive(Default)]
struct Conversations {
    last: HashMap<Arc<str>, Ending>,
    /// How many were left when those that had ended were last forgotten.
    left: usize,
}

/// Conversations that may be remembered beyond twice those that are under way.
const MANY: usize = 4096;

/// Tells when a turn has ended, which is when its other end is dropped.
#[derive(Clone)]
struct Ending(watch::Receiver<Duration>);

impl Ending {
    /// Waits for the end; gives when that was.
    async fn ended(mut self) -> Duration {
        while self.0.changed().await.is_ok() {}
        *self.0.borrow()
    }
}

/// Tells the next turn, when it is dropped, that this one has ended.
struct Ended {
    at: watch::Sender<Duration>,
    clock: Clock,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.at.send_replace(self.clock.now());
    }
}

/// A turn and what it waits for.
struct Waiting {
    before: Option<Ending>,
    /// Dropped when this turn has ended.
    ended: Ended,
    think: Duration,
}

impl Conversations {
    fn enter(&mut self, turn: Turn, clock: Clock) -> Waiting {
        if self.last.len() > 2 * self.left + MANY {
            self.last.retain(|_, ending| ending.0.has_changed().is_ok());
            self.left = self.last.len();
        }
        let (at, ending) = watch::channel(Duration::ZERO);
        let before = self.last.insert(turn.conversation, Ending(ending));
        Waiting { before, ended: Ended { at, clock }, think: turn.think }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use futures_util::{FutureExt, stream};

    use super::*;
    use crate::engine::{FailureBudget, Gaps, Ledger, Pacing, Rates, RetryRule, Timetable};
    use crate::frame::{Seen, Timekeeper};
    use crate::provider::{Answer, Event, Outgoing, Refusal};
    use crate::types::{Failure, Params, Price, Punctual, Record, Request, TaskKey};
    use crate::util::digest::Digest;
    use crate::util::secret::Redactor;

    /// Answers after a time that depends on when it is asked.
    struct Model {
        clock: Clock,
        takes: Box<dyn Fn(Duration) -> Duration + Send + Sync>,
    }

    impl Provider for Model {
        fn open<'a>(&'a self, _: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Answer, Refusal>> {
            async move {
                tokio::time::sleep((self.takes)(self.clock.now())).await;
                Ok(Answer::new(Box::pin(stream::iter([Ok(Event::Text("x".to_owned()))])), true))
            }
            .boxed()
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn steady(takes: Duration) -> impl Fn(Duration) -> Duration + Send + Sync + 'static {
        move |_| takes
    }

    fn tasks(candidate: &str, dues: Vec<Duration>, turns: Option<Duration>) -> Vec<Result<Timed, String>> {
        let request = Arc::new(Request {
            messages: Arc::new([]),
            tools: None,
            output_schema: None,
            params: Arc::new(Params { max_output_tokens: Some(1), ..Params::default() }),
            row: Arc::default(),
        });
        let timed = dues.into_iter().enumerate().map(|(index, due)| {
            let key = TaskKey { sample: format!("s{index}").into(), candidate: candidate.into(), repeat: 0 };
            let task = Task { key, digest: Digest::of(index.to_string().as_bytes()), request: Arc::clone(&request) };
            Ok(Timed { task, due, turn: turns.map(|think| Turn { conversation: "c".into(), think }) })
        });
        timed.collect()
    }

    const OPEN: Punctuality = Punctuality { max_in_flight: None, on_full: OnFull::Drop, late: Late::Send };

    type Lanes = Vec<(&'static str, Box<dyn Fn(Duration) -> Duration + Send + Sync>, Vec<Duration>)>;

    struct Run {
        how: Punctuality,
        turns: Option<Duration>,
        cap_usd: Option<i64>,
        timeout: Duration,
    }

    impl Default for Run {
        fn default() -> Run {
            Run { how: OPEN, turns: None, cap_usd: None, timeout: Duration::from_secs(600) }
        }
    }

    impl Run {
        /// Replays on paused time; gives what each candidate's records come to, and all records.
        async fn go(self, lanes: Lanes) -> (Vec<Punctual>, Vec<Record>) {
            let clock = Clock::new();
            let mut keepers = Vec::new();
            let fleet = lanes.into_iter().map(|(id, takes, dues)| {
                keepers.push((id, Timekeeper::new(dues.len() as u64)));
                let candidate = Candidate {
                    index: keepers.len() - 1,
                    id: id.into(),
                    provider: Arc::new(Model { clock, takes }),
                    timeout: self.timeout,
                    retry: RetryRule::new(0),
                    in_flight: 1,
                    failures: FailureBudget::new(u64::MAX, 0),
                    rates: Rates::default(),
                    price: Some(Price { per_request_usd: Some(1.into()), ..Price::default() }),
                };
                (candidate, tasks(id, dues, self.turns).into_iter())
            });
            let fleet: Vec<_> = fleet.collect();
            let rules = Rules {
                seed: 0,
                deadline: None,
                clock,
                redactor: Redactor::new([]),
                ledger: Arc::new(Ledger::new(self.cap_usd.map(Into::into), 0.into())),
            };
            let (sender, mut events) = mpsc::channel(1 << 20);
            keep_time(fleet, Host::Here, self.how, rules, sender, CancellationToken::new()).await;
            let mut records = Vec::new();
            while let Ok(event) = events.try_recv() {
                if let RunEvent::Recorded { candidate, record, .. } = event {
                    keepers[candidate].1.put(Seen::of(&record).unwrap());
                    records.push(*record);
                }
            }
            let cap = self.how.max_in_flight;
            let punctual = keepers.into_iter().map(|(id, keeper)| keeper.finish(id, cap, 0)).collect::<Vec<_>>();
            for punctual in &punctual {
                assert!(punctual.accounting.adds_up(), "{:?}", punctual.accounting);
            }
            (punctual, records)
        }
    }

    fn at_rate(per_s: f64, n: usize) -> Vec<Duration> {
        let mut timetable = Timetable::new(Pacing::At { per_s, gaps: Gaps::Constant, seed: 0 });
        (0..n).map(|_| timetable.next(None).unwrap()).collect()
    }

    fn close(one: Option<f64>, other: f64, within: f64) {
        let one = one.unwrap();
        assert!((one - other).abs() <= within, "{one} is not {other}");
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_steady_model_corrected_times_are_the_models_at_any_speed() {
        for speed in [0.5, 1.0, 2.0, 10.0] {
            let mut timetable = Timetable::new(Pacing::AsLogged { speed, max_gap: None });
            let dues = (0..500).map(|n| timetable.next(Some(n * 40_000)).unwrap()).collect();
            let (punctual, _) = Run::default().go(vec![("a", Box::new(steady(ms(300))), dues)]).await;
            close(punctual[0].response.p50_ms, 300.0, 2.0);
            close(punctual[0].service.p50_ms, 300.0, 2.0);
            assert!(punctual[0].lag.max_ms.unwrap() <= 2.0 && punctual[0].lag.max_ms.unwrap() >= 0.0);
            assert_eq!(punctual[0].accounting.answered, 500);
            assert!(punctual[0].ks.unwrap() < 0.02 && punctual[0].invalid.is_empty(), "{:?}", punctual[0]);
        }
    }

    /// The model answers in 1 ms but for a pause from 10 s on that ends 1.4 s later: who asks within it waits for its end.
    fn stalling(now: Duration) -> Duration {
        let (from, to) = (Duration::from_secs(10), ms(11_400));
        if now >= from && now < to { to - now } else { ms(1) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_of_the_model_is_seen_by_all_who_come_in_it() {
        // 100 a second for 30 s: 140 of 3,000 come within 1.4 s, and wait for what is left of it, from 1.4 s down to 0.
        // So the share that waits longer than t is (1.4 − t) × 100 / 3,000, and a hundredth waits longer than 1.1 s.
        let stall = || -> Lanes { vec![("a", Box::new(stalling), at_rate(100.0, 3000))] };
        let (punctual, records) = Run::default().go(stall()).await;
        close(punctual[0].response.p99_ms, 1100.0, 12.0);
        close(punctual[0].service.p99_ms, 1100.0, 12.0);
        close(punctual[0].response.max_ms, 1400.0, 105.0);
        let slow = records.iter().filter(|record| record.timing.as_ref().unwrap().done > ms(5)).count();
        assert!((130..=141).contains(&slow), "{slow}");
        // Over one connection the others wait on our side: the model's own times show one slow request only, and the
        // corrected ones show what users would have seen.
        let how = Punctuality { max_in_flight: Some(1), on_full: OnFull::Wait, late: Late::Send };
        let (punctual, records) = Run { how, ..Run::default() }.go(stall()).await;
        let slow = records.iter().filter(|record| record.timing.as_ref().unwrap().done > ms(5)).count();
        assert_eq!(slow, 1);
        close(punctual[0].service.p99_ms, 1.0, 1.5);
        assert!(punctual[0].response.p99_ms.unwrap() > 1000.0, "{:?}", punctual[0].response);
        assert!(punctual[0].invalid.iter().any(|why| why.contains("not an open loop")), "{:?}", punctual[0].invalid);
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_at_fifty_a_second_does_not_drift() {
        let (punctual, _) = Run::default().go(vec![("a", Box::new(steady(ms(20))), at_rate(50.0, 180_000))]).await;
        assert!(punctual[0].drift.unwrap().abs() < 1e-6, "{:?}", punctual[0].drift);
        assert!(punctual[0].lag.max_ms.unwrap() < 10.0);
        assert_eq!((punctual[0].accounting.answered, punctual[0].stretches.len()), (180_000, 30));
        for stretch in &punctual[0].stretches {
            assert!((stretch.offered_per_s - 50.0).abs() < 0.1 && (stretch.achieved_per_s - 50.0).abs() < 0.1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_candidate_delays_no_other() {
        let dues = || at_rate(50.0, 1000);
        let (alone, _) = Run::default().go(vec![("fast", Box::new(steady(ms(5))), dues())]).await;
        let lanes: Lanes =
            vec![("fast", Box::new(steady(ms(5))), dues()), ("slow", Box::new(steady(ms(10_000))), dues())];
        let (both, _) = Run::default().go(lanes).await;
        close(both[0].lag.p99_ms, alone[0].lag.p99_ms.unwrap(), 2.0);
        close(both[1].response.p50_ms, 10_000.0, 3.0);
        // 50 a second for 10 s, and perhaps the one that comes as the first ends.
        assert!((500..=501).contains(&both[1].in_flight_max), "{}", both[1].in_flight_max);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_at_once_leaves_at_once() {
        let dues = [vec![ms(0); 200], vec![ms(1000); 200]].concat();
        let (punctual, _) = Run::default().go(vec![("a", Box::new(steady(ms(50))), dues)]).await;
        assert!(punctual[0].lag.max_ms.unwrap() < 2.0, "{:?}", punctual[0].lag);
        assert_eq!(punctual[0].in_flight_max, 200);
        let (one, _) = Run::default().go(vec![("a", Box::new(steady(ms(50))), vec![ms(0)])]).await;
        assert_eq!((one[0].accounting.answered, one[0].ks, one[0].drift), (1, None, None));
        let (none, _) = Run::default().go(vec![("a", Box::new(steady(ms(50))), Vec::new())]).await;
        assert_eq!((none[0].accounting.planned, none[0].lag.p50_ms), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cap_is_told_and_drops_are_counted() {
        let how = Punctuality { max_in_flight: Some(4), on_full: OnFull::Drop, late: Late::Send };
        let lanes: Lanes = vec![("a", Box::new(steady(ms(1000))), at_rate(10.0, 100))];
        let (punctual, _) = Run { how, ..Run::default() }.go(lanes).await;
        let Punctual { accounting, in_flight_max, not_open_from_s, invalid, .. } = &punctual[0];
        assert_eq!(accounting.unsent.keys().collect::<Vec<_>>(), [&Unsent::Full]);
        assert_eq!((accounting.answered + accounting.unsent[&Unsent::Full], *in_flight_max), (100, 4));
        close(*not_open_from_s, 0.3, 0.05);
        assert!(invalid.iter().any(|why| why.contains("not an open loop from 0.3 s on")), "{invalid:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn late_ones_and_those_without_money_are_counted_apart() {
        let how = Punctuality { max_in_flight: Some(1), on_full: OnFull::Wait, late: Late::Drop(ms(500)) };
        let lanes: Lanes = vec![("a", Box::new(steady(ms(1000))), at_rate(2.0, 20))];
        let (punctual, _) = Run { how, ..Run::default() }.go(lanes).await;
        assert!(punctual[0].accounting.unsent[&Unsent::Late] >= 8, "{:?}", punctual[0].accounting);
        // Three dollars, a dollar each: the fourth cannot be paid while three are in flight.
        let lanes: Lanes = vec![("a", Box::new(steady(ms(1000))), at_rate(10.0, 4))];
        let (punctual, _) = Run { cap_usd: Some(3), ..Run::default() }.go(lanes).await;
        let Accounted { answered, unsent } = Accounted::of(&punctual[0]);
        assert_eq!(answered + unsent, 4, "{:?}", punctual[0].accounting);
        assert_eq!(answered, 3);
    }

    struct Accounted {
        answered: u64,
        unsent: u64,
    }

    impl Accounted {
        fn of(punctual: &Punctual) -> Accounted {
            let accounting = &punctual.accounting;
            let unsent = accounting.unsent.values().sum::<u64>() + accounting.unfinished;
            Accounted { answered: accounting.answered, unsent }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_times_out_stays_in_the_figures() {
        let takes = |now: Duration| if now > Duration::from_secs(1) { Duration::from_secs(60) } else { ms(10) };
        let lanes: Lanes = vec![("a", Box::new(takes), at_rate(10.0, 20))];
        let (punctual, records) = Run { timeout: Duration::from_secs(2), ..Run::default() }.go(lanes).await;
        assert!((10..=11).contains(&punctual[0].accounting.timed_out), "{:?}", punctual[0].accounting);
        close(punctual[0].response.max_ms, 2000.0, 3.0);
        assert_eq!(punctual[0].response.n, 20);
        assert!(records.iter().any(|record| matches!(record.outcome, Err(Failure::Timeout { .. }))));
    }

    #[tokio::test(start_paused = true)]
    async fn turns_wait_for_the_answer_before_them() {
        // Every 100 ms in the log, with 40 ms of thought after answers of 60 ms; the candidate takes 500 ms.
        let lanes: Lanes = vec![("a", Box::new(steady(ms(500))), at_rate(10.0, 5))];
        let (punctual, mut records) = Run { turns: Some(ms(40)), ..Run::default() }.go(lanes).await;
        records.sort_by_key(|record| record.timing.as_ref().unwrap().sent);
        let sent: Vec<u128> = records
            .iter()
            .map(|record| record.timing.as_ref().unwrap().sent.as_millis() - HEAD_START.as_millis())
            .collect();
        for (index, sent) in sent.iter().enumerate() {
            assert!(sent.abs_diff(540 * index as u128) <= 10, "{sent:?}");
        }
        assert_eq!((punctual[0].held, punctual[0].in_flight_max), (4, 1));
        assert!(punctual[0].lag.max_ms.unwrap() < 3.0, "a held turn has a time of its own");
        // Answers that come long before the next turn hold nothing back: what was thought about begins with their end.
        let lanes: Lanes = vec![("a", Box::new(steady(ms(10))), at_rate(10.0, 5))];
        let (punctual, _) = Run { turns: Some(ms(40)), ..Run::default() }.go(lanes).await;
        assert_eq!(punctual[0].held, 0);
        assert!(punctual[0].response.max_ms.unwrap() < 13.0, "{:?}", punctual[0].response);
    }
}

//! One session of a run: tasks to the engine, events to the sinks. The one place that drains events.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::commands::cases::Cases;
use crate::commands::plan::{Asked, Plan, Planned};
use crate::commands::signals::Signals;
use crate::engine::{self, Candidate, Health, Host, Order, Pacing, Punctuality, Rules, Stop, Timed, Timetable, Turn};
use crate::types::{Row, RunEvent, Sink, Task, TaskKey};

/// Events that may wait to be written; the engine waits when there are more.
const WAITING: usize = 1024;

/// How a session ended.
#[derive(Debug)]
pub enum Ended {
    /// All tasks have ended.
    Done,
    /// It was stopped early, or candidates were given up.
    Stopped(Vec<Stop>),
    /// It was told twice to stop: leave at once.
    Abandoned,
}

impl Ended {
    /// By what the engine says; `None` when it was left at once.
    fn of(ended: Option<Vec<Stop>>) -> Ended {
        match ended {
            None => Ended::Abandoned,
            Some(why) if why.is_empty() => Ended::Done,
            Some(why) => Ended::Stopped(why),
        }
    }
}

/// Which tasks have ended in earlier sessions.
#[derive(Debug)]
pub struct Done {
    ended: Vec<bool>,
    candidates: usize,
    repeats: usize,
}

impl Done {
    /// None of the plan's tasks.
    pub fn none(plan: &Plan) -> Done {
        let (candidates, repeats) = (plan.candidates.len(), plan.suite.repeats as usize);
        Done { ended: vec![false; plan.cases.len() * candidates * repeats], candidates, repeats }
    }

    fn index(&self, sample: usize, candidate: usize, repeat: usize) -> usize {
        (sample * self.repeats + repeat) * self.candidates + candidate
    }

    /// Notes whether a task has ended.
    pub fn set(&mut self, sample: usize, candidate: usize, repeat: usize, has_ended: bool) {
        let index = self.index(sample, candidate, repeat);
        self.ended[index] = has_ended;
    }

    /// Notes that all tasks of a candidate have.
    pub fn set_all(&mut self, candidate: usize) {
        self.ended.iter_mut().skip(candidate).step_by(self.candidates).for_each(|ended| *ended = true);
    }

    /// Whether a task has ended.
    pub fn has(&self, sample: usize, candidate: usize, repeat: usize) -> bool {
        self.ended[self.index(sample, candidate, repeat)]
    }

    /// How many tasks of a candidate have ended.
    pub fn of(&self, candidate: usize) -> u64 {
        self.ended.iter().skip(candidate).step_by(self.candidates).filter(|has_ended| **has_ended).count() as u64
    }

    /// Whether all tasks have ended.
    pub fn is_all(&self) -> bool {
        self.ended.iter().all(|has_ended| *has_ended)
    }
}

/// The plan's tasks that have not ended, sample by sample, with the candidates of a sample side by side.
pub fn tasks(plan: &Plan, done: Done) -> impl Iterator<Item = Result<(usize, Task), String>> + Send + 'static {
    let candidates: Vec<_> = plan
        .candidates
        .iter()
        .map(|candidate| (Arc::clone(&candidate.id), candidate.identity, Arc::clone(&candidate.params)))
        .collect();
    let cases: Arc<Cases> = Arc::clone(&plan.cases);
    let asking = Arc::clone(&plan.asking);
    let repeats = plan.suite.repeats;
    let samples = plan.dataset.samples(&plan.selection);
    samples.enumerate().flat_map(move |(ordinal, sample)| {
        let mut tasks = Vec::new();
        let is_open = |done: &Done| {
            (0..candidates.len()).any(|candidate| (0..repeats).any(|r| !done.has(ordinal, candidate, r as usize)))
        };
        match sample {
            Err(fault) => tasks.push(Err(fault.to_string())),
            Ok(sample) if is_open(&done) => match asking.ask(&sample.row) {
                Err(message) => tasks.push(Err(message)),
                Ok(asked) => {
                    let asked: Asked = asked;
                    for repeat in 0..repeats {
                        for (index, (id, identity, params)) in candidates.iter().enumerate() {
                            if done.has(ordinal, index, repeat as usize) {
                                continue;
                            }
                            let key = TaskKey { sample: Arc::clone(&sample.id), candidate: Arc::clone(id), repeat };
                            let digest = cases.digest(ordinal, index, *identity, repeat);
                            let request = Arc::new(asking.request(&asked, params, &sample.row));
                            tasks.push(Ok((index, Task { key, digest, request })));
                        }
                    }
                }
            },
            Ok(_) => {}
        }
        tasks
    })
}

/// The tasks of one candidate of a replay with their times, in their order: all lines of the capture, as often as it is
/// replayed. `period` is the time from one time to the next.
pub fn timed(
    plan: &Plan,
    candidate: usize,
    pacing: Pacing,
    period: Duration,
    order: Order,
) -> impl Iterator<Item = Result<Timed, String>> + Send + 'static {
    let Planned { id, identity, params, .. } = &plan.candidates[candidate];
    let (id, identity, params) = (Arc::clone(id), *identity, Arc::clone(params));
    let (cases, asking) = (Arc::clone(&plan.cases), Arc::clone(&plan.asking));
    let (dataset, selection, times) = (plan.dataset.clone(), plan.selection.clone(), plan.suite.repeats);
    let mut samples = dataset.samples(&selection).enumerate();
    let mut timetable = Timetable::new(pacing);
    let mut ends = HashMap::new();
    let mut repeat = 0;
    std::iter::from_fn(move || {
        let (ordinal, sample) = loop {
            if let Some(next) = samples.next() {
                break next;
            }
            repeat += 1;
            if repeat >= times {
                return None;
            }
            samples = dataset.samples(&selection).enumerate();
            ends.clear();
            // A rate goes on; the log begins anew.
            if matches!(pacing, Pacing::AsLogged { .. }) {
                timetable = Timetable::new(pacing);
            }
        };
        let timed = || {
            let sample = sample.map_err(|fault| fault.to_string())?;
            let asked = asking.ask(&sample.row)?;
            let arrived = sample.row.get("arrived_us").and_then(Value::as_i64);
            let due = timetable.next(arrived).ok_or_else(|| format!("`{}` has no time", sample.id))?;
            let key = TaskKey { sample: Arc::clone(&sample.id), candidate: Arc::clone(&id), repeat };
            let digest = cases.digest(ordinal, candidate, identity, repeat);
            let request = Arc::new(asking.request(&asked, &params, &sample.row));
            let turn = match (order, &sample.cluster) {
                (Order::Dependent, Some(conversation)) => {
                    Some(turn(&sample.row, conversation, pacing, &mut ends, repeat))
                }
                (Order::Dependent, None) | (Order::Timed, _) => None,
            };
            Ok(Timed { task: Task { key, digest, request }, due: due + period * repeat, turn })
        };
        Some(timed())
    })
}

/// The place of a line in its conversation; `ends` has when the last answer of each conversation ended in the log.
fn turn(row: &Row, conversation: &Arc<str>, pacing: Pacing, ends: &mut HashMap<Arc<str>, i64>, repeat: u32) -> Turn {
    let arrived = row.get("arrived_us").and_then(Value::as_i64);
    let took = row.get("latency_ms").and_then(Value::as_f64);
    // Where the log does not say how long an answer took, nobody knows what was thought about after it.
    #[expect(clippy::cast_possible_truncation, reason = "a time to the microsecond")]
    let end = arrived.zip(took).map(|(arrived, took)| arrived.saturating_add((took * 1000.0) as i64));
    let before = match end {
        Some(end) => ends.insert(Arc::clone(conversation), end),
        None => ends.remove(conversation),
    };
    let thought = arrived.zip(before).map_or(0, |(arrived, end)| arrived.saturating_sub(end).max(0));
    let thought = Duration::from_micros(thought.unsigned_abs());
    let think = match pacing {
        Pacing::AsLogged { speed, max_gap } => thought.min(max_gap.unwrap_or(Duration::MAX)).div_f64(speed),
        // At a rate the log's times count for nothing.
        Pacing::At { .. } => Duration::ZERO,
    };
    // A conversation that is replayed again is another one.
    let conversation = if repeat == 0 { Arc::clone(conversation) } else { format!("{conversation}\0{repeat}").into() };
    Turn { conversation, think }
}

/// Carries out tasks and hands every event to every sink, in order.
///
/// # Errors
/// The first error of a sink: it ends the session.
pub fn drive(
    tasks: impl Iterator<Item = Result<(usize, Task), String>> + Send + 'static,
    fleet: Vec<Candidate>,
    rules: Rules,
    sinks: &mut [&mut (dyn Sink + Send)],
    signals: &Signals,
) -> io::Result<Ended> {
    let ended = beside(sinks, signals, |events, stop| engine::drive(tasks, fleet, rules, events, stop))?;
    Ok(Ended::of(ended))
}

/// Sends the tasks of each candidate at their times and hands every event to every sink; and tells how the program
/// fared.
///
/// # Errors
/// The first error of a sink: it ends the session.
pub fn keep_time<T>(
    lanes: Vec<(Candidate, T)>,
    how: Punctuality,
    rules: Rules,
    sinks: &mut [&mut (dyn Sink + Send)],
    signals: &Signals,
) -> io::Result<(Ended, Vec<(usize, Health)>)>
where
    T: Iterator<Item = Result<Timed, String>> + Send + 'static,
{
    let ended =
        beside(sinks, signals, |events, stop| engine::keep_time(lanes, Host::Threads, how, rules, events, stop))?;
    let (why, health) = ended.unzip();
    Ok((Ended::of(why), health.unwrap_or_default()))
}

/// Runs the engine beside a thread that drains its events; `None` when it was left at once.
fn beside<F>(
    sinks: &mut [&mut (dyn Sink + Send)],
    signals: &Signals,
    work: impl FnOnce(mpsc::Sender<RunEvent>, CancellationToken) -> F,
) -> io::Result<Option<F::Output>>
where
    F: Future,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (sender, receiver) = mpsc::channel(WAITING);
    // The engine cancels its own token, too, when a candidate fails too often: that nobody has asked for.
    let stop = signals.first().child_token();
    let (ended, written) = std::thread::scope(|scope| {
        let writer =
            std::thread::Builder::new().name("sinks".to_owned()).spawn_scoped(scope, || drain(receiver, sinks))?;
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = work(sender, stop) => Some(ended),
                () = signals.second().cancelled() => None,
            }
        });
        // Whatever is still in flight ends here; so does the last sender of events, and with it the writer.
        runtime.shutdown_background();
        let written = writer.join().unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")));
        io::Result::Ok((ended, written))
    })?;
    written.map(|()| ended)
}

/// Hands events to the sinks until the engine is done.
fn drain(mut receiver: mpsc::Receiver<RunEvent>, sinks: &mut [&mut (dyn Sink + Send)]) -> io::Result<()> {
    let mut batch = Vec::with_capacity(WAITING);
    while receiver.blocking_recv_many(&mut batch, WAITING) > 0 {
        for sink in sinks.iter_mut() {
            sink.accept(&batch)?;
        }
        for event in batch.drain(..) {
            if let RunEvent::Recorded { slot, .. } = event {
                slot.written();
            }
        }
    }
    Ok(())
}

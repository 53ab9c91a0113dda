//! One session of a run: tasks to the engine, events to the sinks. The one place that drains events.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::commands::cases::Cases;
use crate::commands::plan::{Asked, Plan};
use crate::commands::signals::Signals;
use crate::engine::{self, Candidate, Rules, Stop};
use crate::types::{RunEvent, Sink, Task, TaskKey};

/// Events that may wait to be written; the engine waits when there are more.
const WAITING: usize = 1024;

/// How a session ended.
#[derive(Debug)]
pub enum Ended {
    /// All tasks have ended.
    Done,
    /// It was stopped early.
    Stopped(Stop),
    /// It was told twice to stop: leave at once.
    Abandoned,
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (sender, receiver) = mpsc::channel(WAITING);
    // The engine cancels its own token, too, when a candidate fails too often: that nobody has asked for.
    let stop = signals.first().child_token();
    let (ended, written) = std::thread::scope(|scope| {
        let writer =
            std::thread::Builder::new().name("sinks".to_owned()).spawn_scoped(scope, || drain(receiver, sinks))?;
        let ended = runtime.block_on(async {
            let work = engine::drive(tasks, fleet, rules, sender, stop);
            tokio::select! {
                why = work => why.map_or(Ended::Done, Ended::Stopped),
                () = signals.second().cancelled() => Ended::Abandoned,
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
        // This frees the slots: the records are on disk.
        batch.clear();
    }
    Ok(())
}

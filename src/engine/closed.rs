//! A closed loop: a candidate is sent its next task when one of its slots is free.
//!
//! Each candidate has a queue and a fixed number of slots. The feeder puts tasks into the queues in the order of the
//! plan and waits when a queue is full, so that no candidate runs far ahead of another: all of them meet the same
//! conditions, and memory stays flat. A slot takes its next task when the last one's record is on disk, not before.

use std::sync::Arc;

use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::{Candidate, Job, Lane, Rules, Shared, Stop, attend, carry_out};
use crate::types::{RunEvent, Slot, Task};

/// Packs of tasks that may wait in a candidate's queue. A pack has a task for each slot, so that the feeder is not woken
/// for every single task; together with the pack that is being filled and the one in work, a candidate can be four tasks
/// a slot ahead of the slowest.
const QUEUED_PACKS: usize = 2;

/// Carries out `tasks` (each with the place of its candidate in `fleet`) until they end or `stop` is cancelled. What is in flight
/// when it stops is finished; nothing new is sent and no retry begins. The events' receiver decides the pace: a slow
/// one slows the engine, and a closed one stops it.
///
/// A candidate whose service cannot be reached is given up, and the others go on.
///
/// Returns why it stopped early; nothing when it did not.
pub async fn drive<T>(
    tasks: T,
    fleet: Vec<Candidate>,
    rules: Rules,
    events: mpsc::Sender<RunEvent>,
    stop: CancellationToken,
) -> Vec<Stop>
where
    T: Iterator<Item = Result<(usize, Task), String>> + Send + 'static,
{
    let shared = Shared::new(rules, events, stop);
    let mut queues = Vec::with_capacity(fleet.len());
    let mut slots = JoinSet::new();
    for candidate in fleet {
        let (sender, queue) = async_channel::bounded(QUEUED_PACKS);
        let in_flight = candidate.in_flight.max(1);
        queues.push(Queue { sender, pack: Vec::new(), size: in_flight });
        let lane = Lane::new(candidate, Arc::clone(&shared), false);
        let line = Arc::new(Line { lane, queue, pack: AsyncMutex::default() });
        for _ in 0..in_flight {
            slots.spawn(work(Arc::clone(&line)));
        }
    }
    let feeder = {
        let shared = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || feed(tasks, queues, &shared))
    };
    attend(slots, &shared).await;
    // The queues are closed by now, so the feeder ends at its next task; only a panic in it could be an error here.
    if let Err(error) = feeder.await {
        shared.halt(Stop::Source { fault: error.to_string() });
    }
    shared.ended()
}

/// The feeder's end of a candidate's queue.
struct Queue {
    sender: async_channel::Sender<Vec<Task>>,
    pack: Vec<Task>,
    size: usize,
}

impl Queue {
    /// Hands the pack over. When nobody takes tasks any more, it is dropped: the run stops, or this candidate was given up.
    fn send(&mut self) {
        let pack = std::mem::replace(&mut self.pack, Vec::with_capacity(self.size));
        let _ = self.sender.send_blocking(pack);
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
                if queue.pack.len() >= queue.size {
                    queue.send();
                }
            }
            Err(fault) => return shared.halt(Stop::Source { fault }),
        }
        if queues.iter().all(|queue| queue.sender.is_closed()) {
            return;
        }
    }
    queues.iter_mut().for_each(Queue::send);
}

/// What the slots of one candidate share.
struct Line {
    lane: Lane,
    queue: async_channel::Receiver<Vec<Task>>,
    /// What is left of the pack in work.
    pack: AsyncMutex<std::vec::IntoIter<Task>>,
}

impl Line {
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
            () = self.lane.stop.cancelled() => None,
            next = next => next,
        }
    }
}

/// One slot: a task at a time, the next one when the last one's record is on disk.
async fn work(line: Arc<Line>) {
    while let Some(task) = line.next().await {
        let (slot, is_written) = oneshot::channel::<()>();
        let slot = Slot::new(move || {
            // That nobody waits for it any more is no matter.
            let _ = slot.send(());
        });
        let spent = carry_out(&line.lane, Job { task, body: None, due: None, is_held: false, slot }).await;
        // What has no record on disk stays under way: it could not be written, or the task was left. Then nothing more is
        // sent from here.
        if is_written.await.is_err() {
            break;
        }
        if let Some(spent) = spent {
            line.lane.shared.rules.ledger.recorded(spent);
        }
    }
    // Closing lets the feeder go, which else would wait for a place in a queue that nobody empties.
    line.queue.close();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::BoxFuture;
    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;
    use rust_decimal::Decimal;

    use crate::engine::{FailureBudget, Ledger, Rates, RetryRule};
    use crate::provider::{Answer, Event, Outgoing, Provider, Refusal};
    use crate::types::{Failure, Params, Request, TaskKey};
    use crate::util::clock::Clock;
    use crate::util::digest::Digest;
    use crate::util::secret::Redactor;

    /// Answers, or cannot be reached.
    struct Service {
        is_there: bool,
    }

    impl Provider for Service {
        fn open<'a>(&'a self, _: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Answer, Refusal>> {
            let answer = if self.is_there {
                Ok(Answer::new(stream::iter([Ok(Event::Text("x".to_owned()))]).boxed(), true))
            } else {
                Err(Failure::Connection { detail: "http://there: refused".to_owned() }.into())
            };
            async { answer }.boxed()
        }
    }

    fn candidate(index: usize, is_there: bool) -> Candidate {
        Candidate {
            index,
            id: index.to_string().into(),
            provider: Arc::new(Service { is_there }),
            timeout: Duration::from_secs(10),
            retry: RetryRule::new(0),
            in_flight: 2,
            failures: FailureBudget::new(u64::MAX, 0),
            rates: Rates::default(),
            price: None,
        }
    }

    #[tokio::test]
    async fn who_cannot_be_reached_is_given_up_and_the_others_go_on() {
        let request = Arc::new(Request {
            messages: Arc::new([]),
            tools: None,
            output_schema: None,
            params: Arc::new(Params::default()),
            row: Arc::default(),
        });
        let tasks = (0..600).map(move |n: usize| {
            let (sample, candidate) = (n / 2, n % 2);
            let key = TaskKey { sample: sample.to_string().into(), candidate: candidate.to_string().into(), repeat: 0 };
            Ok((candidate, Task { key, digest: Digest::default(), request: Arc::clone(&request) }))
        });
        let fleet = vec![candidate(0, false), candidate(1, true)];
        let redactor = Redactor::default();
        let rules = Rules {
            seed: 0,
            deadline: None,
            clock: Clock::new(),
            redactor,
            ledger: Arc::new(Ledger::new(None, Decimal::ZERO)),
        };
        let (sender, mut events) = mpsc::channel(8);
        let watched = async {
            let (mut ended, mut said) = ([0, 0], 0);
            while let Some(event) = events.recv().await {
                match event {
                    RunEvent::Recorded { candidate, slot, .. } => {
                        ended[candidate] += 1;
                        slot.written();
                    }
                    RunEvent::Unreachable { candidate: 0, why } if why.contains("http://there") => said += 1,
                    RunEvent::Unreachable { .. } | RunEvent::Stopping => panic!("nothing else stops"),
                    RunEvent::Tick => {}
                }
            }
            (ended, said)
        };
        let driven = drive(tasks, fleet, rules, sender, CancellationToken::new());
        let (stops, (ended, said)) = tokio::join!(driven, watched);
        let last = "connection: http://there: refused".to_owned();
        assert_eq!(stops, [Stop::Unreachable { candidate: "0".into(), last }]);
        assert_eq!((ended, said), ([3, 300], 1), "three in a row are enough, and all of the other's are asked");
    }
}

//! Workers, and the bounded queue before them.
//!
//! Each worker is a thread with a rayon pool of its own and carries out one request at a time. A request holds a place
//! from when it is taken until it is answered; when there is none left, it is refused at once.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::local::api::{ApiError, Request};
use crate::local::generate::{End, Listener};
use crate::local::text::Piece;
use crate::util::clock::Clock;

/// Stack of a thread that generates. Schemas are read recursively.
const STACK: usize = 16 << 20;

/// How requests are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    /// Workers, at least 1.
    pub parallel: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Threads of all workers together.
    pub threads: usize,
}

/// What a worker says about a request.
#[derive(Debug)]
pub enum Event {
    /// A piece of the answer.
    Piece(Piece),
    /// The answer has ended.
    End(End),
    /// There is no answer, or no more of it.
    Failed(ApiError),
}

/// What workers do with a request.
pub type Work = dyn Fn(&Request, &mut dyn Listener) -> Result<End, ApiError> + Send + Sync;

struct Job {
    request: Request,
    events: UnboundedSender<Event>,
    _place: OwnedSemaphorePermit,
}

impl Listener for UnboundedSender<Event> {
    fn hear(&mut self, piece: Piece) {
        // One that has gone is noticed by `is_gone`.
        let _ = self.send(Event::Piece(piece));
    }

    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

/// The queue. Workers end when it is dropped and their requests are answered.
pub struct Queue {
    jobs: async_channel::Sender<Job>,
    places: Arc<Semaphore>,
    lanes: Lanes,
    /// What a request takes on average, in microseconds.
    pace_us: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(lanes: Lanes, work: &Arc<Work>) -> io::Result<Queue> {
        let places = lanes.parallel + lanes.queue;
        let (jobs, waiting) = async_channel::bounded(places.max(1));
        let pace_us = Arc::new(AtomicU64::new(0));
        for number in 0..lanes.parallel {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads((lanes.threads / lanes.parallel).max(1))
                .stack_size(STACK)
                .thread_name(move |thread| format!("local-{number}-{thread}"))
                .build()
                .map_err(io::Error::other)?;
            let (waiting, work, pace_us) = (waiting.clone(), Arc::clone(work), Arc::clone(&pace_us));
            let carry_out = move || {
                let clock = Clock::new();
                while let Ok(job) = waiting.recv_blocking() {
                    let start = clock.now();
                    pool.install(|| carry_out(job, &*work));
                    note(&pace_us, clock.now() - start);
                }
            };
            std::thread::Builder::new().name(format!("local-{number}")).spawn(carry_out)?;
        }
        Ok(Queue { jobs, places: Arc::new(Semaphore::new(places)), lanes, pace_us })
    }

    /// Takes a request, if there is a place for it; gives what will be said about it. Dropping that cancels it.
    ///
    /// # Errors
    /// When all places are taken.
    pub fn put(&self, request: Request) -> Result<UnboundedReceiver<Event>, ApiError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let pace_us = self.pace_us.load(Ordering::Relaxed) / self.lanes.parallel as u64;
            return Err(ApiError::busy(self.lanes.queue, pace_us.div_ceil(1_000_000).clamp(1, 60)));
        };
        let (events, heard) = unbounded_channel();
        let job = Job { request, events, _place: place };
        self.jobs.try_send(job).map_err(|_| ApiError::internal("no worker is left"))?;
        Ok(heard)
    }

    /// Requests that are being answered or wait.
    pub fn taken(&self) -> usize {
        self.lanes.parallel + self.lanes.queue - self.places.available_permits()
    }
}

fn carry_out(job: Job, work: &Work) {
    let Job { request, events, _place: place } = job;
    if events.is_closed() {
        return;
    }
    let mut listener = events.clone();
    // What a request leaves behind when it panics is its own: the model is read only, and the caches mend themselves.
    let answered = catch_unwind(AssertUnwindSafe(|| work(&request, &mut listener)));
    let last = match answered {
        Ok(Ok(end)) => Event::End(end),
        Ok(Err(error)) => Event::Failed(error),
        Err(panic) => Event::Failed(ApiError::internal(format!("the worker panicked: {}", words(&*panic)))),
    };
    // The place is free before the client knows, so that whoever asks one after another is never refused.
    drop(place);
    let _ = events.send(last);
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

/// A mean that forgets: the last eight requests or so.
fn note(pace_us: &AtomicU64, took: Duration) {
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let old = pace_us.load(Ordering::Relaxed);
    pace_us.store(if old == 0 { took } else { old / 8 * 7 + took / 8 }, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError, mpsc};

    use super::*;
    use crate::local::generate::Finish;

    const END: End = End { finish: Finish::Stop, prompt_tokens: 1, completion_tokens: 1 };

    fn request() -> Request {
        Request::text(br#"{"prompt": "a"}"#).unwrap()
    }

    fn last(mut events: UnboundedReceiver<Event>) -> Event {
        let mut last = None;
        while let Some(event) = events.blocking_recv() {
            last = Some(event);
        }
        last.unwrap()
    }

    #[test]
    fn a_request_too_many_is_refused_and_places_come_back() {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let work: Arc<Work> = Arc::new(move |_, _| {
            wait.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap();
            Ok(END)
        });
        let queue = Queue::start(Lanes { parallel: 1, queue: 1, threads: 1 }, &work).unwrap();
        let (first, second) = (queue.put(request()).unwrap(), queue.put(request()).unwrap());
        let error = queue.put(request()).unwrap_err();
        assert_eq!((error.status, error.retry_after_s), (429, Some(1)));
        go.send(()).unwrap();
        assert!(matches!(last(first), Event::End(END)));
        let third = queue.put(request()).unwrap();
        go.send(()).unwrap();
        go.send(()).unwrap();
        assert!(matches!(last(second), Event::End(END)));
        assert!(matches!(last(third), Event::End(END)));
        assert_eq!(queue.taken(), 0);
    }

    #[test]
    fn a_panic_is_the_request_s_own() {
        let work: Arc<Work> =
            Arc::new(|request, _| if request.logprobs.is_some() { panic!("over {}", 9000) } else { Ok(END) });
        let queue = Queue::start(Lanes { parallel: 1, queue: 4, threads: 1 }, &work).unwrap();
        let bad = queue.put(Request { logprobs: Some(1), ..request() }).unwrap();
        let good = queue.put(request()).unwrap();
        let Event::Failed(error) = last(bad) else { panic!("it did not fail") };
        assert_eq!((error.status, error.message.as_str()), (500, "the worker panicked: over 9000"));
        assert!(matches!(last(good), Event::End(END)));
    }

    #[test]
    fn whoever_has_gone_is_not_worked_for() {
        let (say, heard) = mpsc::channel();
        let say = Mutex::new(say);
        let work: Arc<Work> = Arc::new(move |_, listener| {
            while !listener.is_gone() {
                listener.hear(Piece::default());
                std::thread::yield_now();
            }
            say.lock().unwrap_or_else(PoisonError::into_inner).send(()).unwrap();
            Ok(END)
        });
        let queue = Queue::start(Lanes { parallel: 1, queue: 4, threads: 1 }, &work).unwrap();
        let (mut first, second) = (queue.put(request()).unwrap(), queue.put(request()).unwrap());
        assert!(matches!(first.blocking_recv(), Some(Event::Piece(_))));
        drop(second);
        drop(first);
        heard.recv_timeout(Duration::from_secs(60)).unwrap();
        while queue.taken() > 0 {
            std::thread::yield_now();
        }
        assert!(heard.try_recv().is_err(), "the second one was begun although nobody waited for it");
    }
}

//! What the engine tells its sinks.

use std::io;

use crate::types::Record;

/// Held by a task while it is in flight and by its record until that is on disk; dropping it lets the next task start.
/// So no more answers than `in_flight` can ever be lost.
pub struct Slot(#[expect(dead_code, reason = "held for its Drop")] Box<dyn Send>);

impl Slot {
    /// Wraps whatever guard frees the place when dropped.
    pub fn new(guard: impl Send + 'static) -> Slot {
        Slot(Box::new(guard))
    }
}

/// Something that happened in a run, in the order it happened.
pub enum RunEvent {
    /// A task has ended, with an answer or a failure.
    Recorded {
        /// Index of the candidate in the suite.
        candidate: usize,
        /// What happened.
        record: Box<Record>,
        /// To be dropped when the record is on disk.
        slot: Slot,
    },
    /// A candidate's service cannot be reached any more: nothing more is sent to it, while the others go on.
    Unreachable {
        /// Index of the candidate in the suite.
        candidate: usize,
        /// Why the last request did not reach it.
        why: String,
    },
    /// The run was told to stop, or has to: what is in flight is finished.
    Stopping,
    /// Some time has passed; nothing else may have happened in it.
    Tick,
}

/// A consumer of events: the store, the progress display.
pub trait Sink {
    /// Takes a batch of events, in order.
    ///
    /// # Errors
    /// An error ends the run: the store could not write.
    fn accept(&mut self, events: &[RunEvent]) -> io::Result<()>;
}

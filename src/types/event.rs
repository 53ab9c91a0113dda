//! What the engine tells its sinks.

use std::io;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::types::Record;

/// Held by a task while it is in flight and by its record until that is on disk; only then may the next task start. So
/// no more answers than `in_flight` can ever be lost.
pub struct Slot(Box<dyn FnOnce() + Send>);

impl Slot {
    /// Wraps what is to happen when the record is on disk. It never does if the slot is dropped before.
    pub fn new(on_written: impl FnOnce() + Send + 'static) -> Slot {
        Slot(Box::new(on_written))
    }

    /// Says that the record is on disk.
    pub fn written(self) {
        self.0();
    }
}

/// What was sent and has no record on disk: it would be forgotten if the process died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Tasks.
    pub tasks: u64,
    /// Dollars that they may have cost or may cost yet.
    pub usd: Decimal,
}

impl UnderWay {
    /// The greater of both in each respect.
    pub fn most(self, other: UnderWay) -> UnderWay {
        UnderWay { tasks: self.tasks.max(other.tasks), usd: self.usd.max(other.usd) }
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
        /// To be told when the record is on disk.
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

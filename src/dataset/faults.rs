//! Faults of many rows: the first are kept, the others counted.

use crate::types::{Fault, Faults, Place};

/// How many faults of a dataset are shown.
pub const SHOWN_FAULTS: usize = 20;

/// Faults with the file (by its index) and line they stand on.
#[derive(Debug, Default)]
pub(super) struct Log {
    kept: Vec<((usize, u64), Fault)>,
    count: u64,
}

impl Log {
    pub fn add(&mut self, at: (usize, u64), fault: impl FnOnce() -> Fault) {
        self.count += 1;
        if self.kept.len() < SHOWN_FAULTS {
            self.kept.push((at, fault()));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts faults that are not kept.
    pub fn add_others(&mut self, count: u64) {
        self.count += count;
    }

    /// Both, in the order of files and lines.
    pub fn merge(mut self, other: Log) -> Log {
        self.count += other.count;
        self.kept.extend(other.kept);
        self.kept.sort_by_key(|(at, _)| *at);
        self.kept.truncate(SHOWN_FAULTS);
        self
    }

    /// The kept faults, and one that says how many others there are.
    pub fn into_faults(self) -> Faults {
        let others = self.count - self.kept.len() as u64;
        let mut faults = Faults(self.kept.into_iter().map(|(_, fault)| fault).collect());
        if others > 0 {
            let what = if others == 1 { "fault is" } else { "faults are" };
            let message = format!("{others} more {what} not shown");
            faults.push(Fault::new(Place::default(), message));
        }
        faults
    }
}

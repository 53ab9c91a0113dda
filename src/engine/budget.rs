//! How many failures a run puts up with.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts one candidate's failed tasks against what is allowed.
#[derive(Debug)]
pub struct FailureBudget {
    allowed: u64,
    failed: AtomicU64,
}

impl FailureBudget {
    /// `allowed` failures are borne; `failed` have already happened in earlier sessions of the run.
    pub fn new(allowed: u64, failed: u64) -> FailureBudget {
        FailureBudget { allowed, failed: AtomicU64::new(failed) }
    }

    /// Counts one more; true when that is one too many.
    pub fn spend(&self) -> bool {
        self.failed.fetch_add(1, Ordering::Relaxed) + 1 > self.allowed
    }

    /// Failures so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Failures allowed.
    pub fn allowed(&self) -> u64 {
        self.allowed
    }
}

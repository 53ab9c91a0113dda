//! The only place that reads a clock.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Gives offsets from one instant, on tokio's clock, so that tests can pause time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    base: Duration,
}

impl Clock {
    /// A clock that reads zero now.
    #[expect(clippy::new_without_default, reason = "a clock starts when it is made; a default would hide that")]
    pub fn new() -> Clock {
        Clock::resuming(Duration::ZERO)
    }

    /// A clock that reads `base` now: a resumed run goes on where its last session ended, so that no two of its
    /// instants are mistaken for simultaneous.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn resuming(base: Duration) -> Clock {
        Clock { start: Instant::now(), base }
    }

    /// Time since the run's start.
    pub fn now(&self) -> Duration {
        self.base + self.start.elapsed()
    }
}

/// The wall clock, for the manifest and for names of folders.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// `2026-11-21T08:00:00Z`.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

//! Durations in files are whole microseconds, in fields named `…_us`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

fn whole(duration: &Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Writes whole microseconds.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(whole(duration))
}

/// Reads whole microseconds.
///
/// # Errors
/// When the value is no whole number.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_micros)
}

/// The same for what may be missing; to be read only.
pub mod option {
    use super::{Deserialize, Deserializer, Duration};

    /// Reads whole microseconds, or nothing.
    ///
    /// # Errors
    /// When the value is neither a whole number nor null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_micros))
    }
}

/// The same for lists.
pub mod list {
    use super::{Deserialize, Deserializer, Duration, Serializer, whole};

    /// Writes whole microseconds.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(durations: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(durations.iter().map(whole))
    }

    /// Reads whole microseconds.
    ///
    /// # Errors
    /// When a value is no whole number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let micros = Vec::<u64>::deserialize(deserializer)?;
        Ok(micros.into_iter().map(Duration::from_micros).collect())
    }
}

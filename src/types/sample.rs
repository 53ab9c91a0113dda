//! One row of a golden set.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

/// The fields of one dataset row, in the order of the file. CSV cells are strings.
pub type Row = Map<String, Value>;

/// One case of the golden set: what is asked, what is right, and what it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Unique in the dataset. Rows without one get the digest of their input.
    pub id: Arc<str>,
    /// All fields of the row, for templates, for joining recorded answers and for `command` candidates.
    pub row: Arc<Row>,
    /// What a right answer is; `None` when the row has none.
    pub target: Option<Value>,
    /// Slices this sample belongs to: tag name to value.
    pub tags: BTreeMap<String, String>,
    /// The source this sample shares with others (a customer, a document); samples of one cluster are not independent.
    pub cluster: Option<Arc<str>>,
}

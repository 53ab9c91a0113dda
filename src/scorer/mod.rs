//! Marks: what an answer is worth.

//! Composition: every command fills the same slots.

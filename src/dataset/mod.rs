//! Golden sets: reading JSONL and CSV row by row, and choosing rows.

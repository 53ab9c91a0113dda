//! Usage and prices to money, in exact decimals. Pure; `frame` asks it for the cost of answers and of machine time, the
//! commands for what services list.
//!
//! [`cost`] prices one answer by its tokens; [`machine_time`] shares the hours of a rented machine among the requests it
//! served, and [`hourly_cost`] turns a share into dollars. [`book`] gives the list prices that come with evalctl, a file
//! of rows with source and day; what a suite says comes before them.

mod book;
#[cfg(test)]
mod book_tests;
mod cost;
mod day;
mod machine;
mod words;

pub use book::{Book, BookFile, Currency, Row, RowFault, RowPart, WrittenRow, book};
pub use cost::{NoCost, cost};
pub use day::Day;
pub use machine::{break_even_per_s, hourly_cost, machine_time, machines_needed, reserved_cost};
pub use words::{extras, in_words, plain, rates_in_words};

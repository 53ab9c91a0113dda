//! Usage and prices to money, in exact decimals. Pure; `frame` asks it for the cost of answers and of machine time.
//!
//! [`cost`] prices one answer by its tokens; [`machine_time`] shares the hours of a rented machine among the requests it
//! served, and [`hourly_cost`] turns a share into dollars. Tables of list prices are not kept here: a price is what the
//! suite says.

mod cost;
mod machine;

pub use cost::{NoCost, cost};
pub use machine::{break_even_per_s, hourly_cost, machine_time};

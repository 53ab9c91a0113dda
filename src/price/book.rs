//! The price book: what services list for their models, each row with who says so and when.
//!
//! A book is a file of rows, in JSON (or YAML, of which JSON is a part): the one that comes with evalctl is
//! `src/price/book.json`, others are named by suites. Nothing is ever guessed: a model is found by a name that stands in
//! a row, letter by letter, or not at all.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::price::Day;
use crate::types::{Price, PriceFault};

/// A file of prices, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookFile {
    /// What the reader of the file should know.
    #[serde(default)]
    pub about: Option<String>,
    /// Who says so, for rows that do not name their own source.
    #[serde(default)]
    pub source: Option<String>,
    /// The day on which it was so, for rows that do not name their own.
    #[serde(default)]
    pub as_of: Option<Day>,
    /// The prices.
    pub rows: Vec<WrittenRow>,
}

/// A row of a file of prices, as it is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRow {
    /// The service, by the name of its preset: `openai`, `bedrock`, `together`.
    pub provider: String,
    /// The model, as the service knows it.
    pub model: String,
    /// Other names of the same model.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Dated names that the service lists at the same price.
    #[serde(default)]
    pub versions: Vec<String>,
    /// The currency of the list. Amounts are dollars; prices in others must be converted, by a rate that you stand for.
    #[serde(default)]
    pub currency: Currency,
    /// What it costs, as `price:` of a suite says it.
    pub price: Price,
    /// Who says so; default: the file's.
    #[serde(default)]
    pub source: Option<String>,
    /// The day on which the source said so; default: the file's.
    #[serde(default)]
    pub as_of: Option<Day>,
    /// What else to know, such as where sources disagree.
    #[serde(default)]
    pub note: Option<String>,
}

/// A currency that prices may be listed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Currency {
    /// United States dollars.
    #[default]
    #[serde(rename = "USD")]
    Usd,
}

/// What one service lists for one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The service.
    pub provider: String,
    /// The model, as the service knows it.
    pub model: String,
    /// Other names of the same model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Dated names that the service lists at the same price.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// The currency of every amount.
    pub currency: Currency,
    /// What it costs.
    price: Price,
    /// Who says so.
    pub source: String,
    /// The day on which the source said so.
    pub as_of: Day,
    /// What else to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Row {
    /// What answers of the model cost.
    pub fn price(&self) -> Price {
        self.price.clone()
    }

    /// Every name that finds the row: the model's own, then aliases, then dated versions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.model].into_iter().chain(&self.aliases).chain(&self.versions).map(String::as_str)
    }
}

/// What is wrong with a row beyond its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// The row, from 0.
    pub row: usize,
    /// What of the row.
    pub part: RowPart,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// What of a row is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowPart {
    /// The row as a whole.
    Whole,
    /// The value of a key.
    Key(&'static str),
    /// An item of `aliases` or `versions`.
    Item(&'static str, usize),
    /// Its price; of a tier, the tier's position.
    Price {
        /// The tier, if it is about one.
        tier: Option<usize>,
        /// The key at fault; `None` for the price or the tier as a whole.
        key: Option<&'static str>,
    },
}

/// Rows of prices that are found by service and model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Book {
    rows: Vec<Row>,
    /// Row by service and name.
    index: HashMap<String, HashMap<String, usize>>,
}

impl Book {
    /// The book of a file.
    ///
    /// # Errors
    /// Everything that is wrong with its rows beyond their form: empty names, names that two rows of a service claim, rows
    /// without source or day, prices that say nothing.
    pub fn new(file: BookFile) -> Result<Book, Vec<RowFault>> {
        let (mut book, mut faults) = (Book::default(), Vec::new());
        for (row, written) in file.rows.into_iter().enumerate() {
            let fault = |part, message: String, help: Option<&str>| {
                let help = help.map(str::to_owned);
                RowFault { row, part, message, help }
            };
            for (key, text) in [("provider", &written.provider), ("model", &written.model)] {
                if text.trim().is_empty() {
                    faults.push(fault(RowPart::Key(key), format!("`{key}` is empty"), None));
                }
            }
            let own = [(RowPart::Key("model"), &written.model)];
            let item = |key| move |(index, name)| (RowPart::Item(key, index), name);
            let aliases = written.aliases.iter().enumerate().map(item("aliases"));
            let versions = written.versions.iter().enumerate().map(item("versions"));
            let of_provider = book.index.entry(written.provider.clone()).or_default();
            for (part, name) in own.into_iter().chain(aliases).chain(versions) {
                if let Some(first) = of_provider.insert(name.clone(), row) {
                    let message = format!("`{}` has a row for `{name}` already, the {}", written.provider, nth(first));
                    faults.push(fault(part, message, Some("one name of a service, one price: take it out of one row")));
                }
            }
            for PriceFault { tier, key, message, help } in written.price.faults() {
                faults.push(RowFault { row, part: RowPart::Price { tier, key }, message, help: Some(help) });
            }
            let (source, as_of) = (written.source.or_else(|| file.source.clone()), written.as_of.or(file.as_of));
            let source = source.filter(|source| !source.trim().is_empty());
            if source.is_none() {
                let help = "say who lists it: in the row, or for all rows at the top of the file";
                faults.push(fault(RowPart::Whole, "the row has no `source`".to_owned(), Some(help)));
            }
            if as_of.is_none() {
                let help = "say on which day it was so, such as 2026-07-24: in the row, or for all rows at the top";
                faults.push(fault(RowPart::Whole, "the row has no `as_of`".to_owned(), Some(help)));
            }
            let (Some(source), Some(as_of)) = (source, as_of) else { continue };
            book.rows.push(Row {
                provider: written.provider,
                model: written.model,
                aliases: written.aliases,
                versions: written.versions,
                currency: written.currency,
                price: written.price,
                source,
                as_of,
                note: written.note,
            });
        }
        if faults.is_empty() { Ok(book) } else { Err(faults) }
    }

    /// The row of a model of a service, by a name that stands in the row: its own, an alias, or a dated version. `None`
    /// when no row has the name; names that only resemble it are not taken.
    pub fn find(&self, provider: &str, model: &str) -> Option<&Row> {
        self.rows.get(*self.index.get(provider)?.get(model)?)
    }

    /// All rows, in the order of the file.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The names of all services, sorted.
    pub fn providers(&self) -> Vec<&str> {
        let mut providers: Vec<&str> = self.index.keys().map(String::as_str).collect();
        providers.sort_unstable();
        providers
    }
}

/// `3rd`, from 0.
fn nth(index: usize) -> String {
    let number = index + 1;
    let ending = match (number % 10, number % 100) {
        (1, rest) if rest != 11 => "st",
        (2, rest) if rest != 12 => "nd",
        (3, rest) if rest != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// The price book that comes with evalctl.
pub fn book() -> &'static Book {
    static BOOK: LazyLock<Book> = LazyLock::new(|| {
        let file = serde_json::from_str(include_str!("book.json")).expect("the tests read the same file");
        Book::new(file).expect("the tests read the same file")
    });
    &BOOK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Book, Vec<String>> {
        let file = serde_json::from_str(json).unwrap();
        Book::new(file).map_err(|faults| faults.into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn a_model_is_found_by_its_names_and_by_nothing_else() {
        let book = read(
            r#"{"source":"the list","as_of":"2026-07-24","rows":[
                {"provider":"a","model":"m","aliases":["m-latest"],"versions":["m-2026-01-02"],"price":{"per_request_usd":1}},
                {"provider":"a","model":"m-mini","price":{"per_request_usd":2},"source":"mail","as_of":"2026-08-01"},
                {"provider":"b","model":"m","price":{"per_request_usd":3}}]}"#,
        )
        .unwrap();
        let found =
            |provider, model| book.find(provider, model).map(|row| row.price().per_request_usd.unwrap().to_string());
        assert_eq!(found("a", "m").as_deref(), Some("1"));
        assert_eq!(found("a", "m-latest").as_deref(), Some("1"));
        assert_eq!(found("a", "m-2026-01-02").as_deref(), Some("1"));
        assert_eq!(found("b", "m").as_deref(), Some("3"));
        for (provider, model) in
            [("a", "M"), ("a", "m-2026-01-03"), ("a", "m-"), ("b", "m-mini"), ("c", "m"), ("a", "")]
        {
            assert_eq!(found(provider, model), None, "{provider} {model}");
        }
        let row = book.find("a", "m-mini").unwrap();
        assert_eq!((row.source.as_str(), row.as_of.to_string().as_str()), ("mail", "2026-08-01"));
        assert_eq!(book.providers(), ["a", "b"]);
    }

    #[test]
    fn what_is_wrong_with_rows_is_said_all_at_once() {
        let said = read(
            r#"{"rows":[
                {"provider":"a","model":"m","price":{},"source":"x","as_of":"2026-07-24"},
                {"provider":"a","model":"n","aliases":["m"],"versions":["n"],"price":{"per_hour_usd":1},"source":" "}]}"#,
        );
        let expected = [
            "`price` names no amount",
            "`a` has a row for `m` already, the 1st",
            "`a` has a row for `n` already, the 2nd",
            "the row has no `source`",
            "the row has no `as_of`",
        ];
        assert_eq!(said.unwrap_err(), expected);
        assert_eq!(
            read(
                r#"{"source":"x","as_of":"2026-07-24","rows":[{"provider":"","model":"m","price":{"per_hour_usd":1}}]}"#
            )
            .unwrap_err(),
            ["`provider` is empty"]
        );
        assert!(serde_json::from_str::<BookFile>(r#"{"rows":[],"as_of":"yesterday"}"#).is_err());
        assert!(
            serde_json::from_str::<BookFile>(r#"{"rows":[{"provider":"a","model":"m","currency":"EUR","price":{}}]}"#)
                .is_err()
        );
        assert_eq!([0, 1, 2, 3, 10, 11, 12, 20].map(nth).join(" "), "1st 2nd 3rd 4th 11th 12th 13th 21st");
    }
}

//! `evalctl prices`: the price book, its sources and days.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::cli::PricesArgs;
use crate::commands::exit::CommandError;
use crate::commands::{World, pricing, print};
use crate::price::{self, Book, Row};
use crate::types::PriceOrigin;
use crate::util::text::{self, visible};

/// The value of `format` in the JSON form.
const FORMAT: &str = "evalctl-prices/1";

/// Columns of the terminal form: models with longer names get a line of their own.
const MODEL: usize = 28;

/// Columns of an amount.
const AMOUNT: usize = 8;

/// Columns that details are wrapped at.
const WIDTH: usize = 80;

/// A row and the book that it stands in.
#[derive(Clone, Copy)]
struct Found<'a> {
    from: PriceOrigin,
    row: &'a Row,
}

/// Carries out `evalctl prices`.
///
/// # Errors
/// When nothing is called so, with what was probably meant; and all faults of the file of prices.
pub fn prices(args: &PricesArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    let own = args.file.as_deref().map(|path| pricing::read(path, path)).transpose()?;
    let books = [own.as_ref().map(|book| (PriceOrigin::File, book)), Some((PriceOrigin::Book, price::book()))];
    let books: Vec<(PriceOrigin, &Book)> = books.into_iter().flatten().collect();
    let all = books.iter().flat_map(|(from, book)| book.rows().iter().map(|row| Found { from: *from, row }));
    let all: Vec<Found<'_>> = all.collect();
    if let Some(provider) = &args.provider {
        let mut known: Vec<&str> = books.iter().flat_map(|(_, book)| book.providers()).collect();
        known.sort_unstable();
        known.dedup();
        if !known.contains(&provider.as_str()) {
            let help = text::did_you_mean(provider, known.iter().copied());
            let message = format!("no prices of a service `{}` are known", text::shorten(provider, 60));
            return Err(CommandError::usage(message, help.unwrap_or_else(|| format!("known: {}", known.join(", ")))));
        }
    }
    let of_provider = |found: &&Found<'_>| args.provider.as_ref().is_none_or(|name| *name == found.row.provider);
    let of_provider: Vec<Found<'_>> = all.iter().filter(of_provider).copied().collect();
    let rows = match &args.model {
        None => of_provider,
        Some(model) => matching(&of_provider, model)?,
    };
    let out = if args.json { as_json(&rows)? } else { as_text(&rows, args.model.is_some()) };
    print(world, out.as_bytes())
}

/// The rows one of whose names contains the text, whatever its case: first those that are called exactly so.
fn matching<'a>(rows: &[Found<'a>], model: &str) -> Result<Vec<Found<'a>>, CommandError> {
    let wanted = model.to_lowercase();
    let is_called = |found: &&Found<'a>| found.row.names().any(|name| name == model);
    let contains = |found: &&Found<'a>| found.row.names().any(|name| name.to_lowercase().contains(&wanted));
    let exact = rows.iter().filter(is_called);
    let others = rows.iter().filter(|found| contains(found) && !is_called(found));
    let found: Vec<Found<'a>> = exact.chain(others).copied().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    // Gateways put the maker before a model's name; what was meant may stand behind it.
    let names = rows.iter().flat_map(|found| found.row.names());
    let names = names.flat_map(|name| [Some(name), name.rsplit_once('/').map(|(_, tail)| tail)]).flatten();
    let help = text::did_you_mean(model, names);
    Err(CommandError::usage(
        format!("no model of the price book is called `{}`", text::shorten(model, 80)),
        help.unwrap_or_else(|| {
            "`evalctl prices` lists all; a price of your own goes into `price` or `prices` of a suite".to_owned()
        }),
    ))
}

fn as_json(rows: &[Found<'_>]) -> Result<String, CommandError> {
    let internal = |error: serde_json::Error| CommandError::Internal(error.to_string());
    let mut listed = Vec::with_capacity(rows.len());
    for Found { from, row } in rows {
        let mut value = serde_json::to_value(row).map_err(internal)?;
        if let Value::Object(fields) = &mut value {
            fields.insert("from".to_owned(), serde_json::to_value(from).map_err(internal)?);
        }
        listed.push(value);
    }
    let mut out = serde_json::to_string_pretty(&json!({ "format": FORMAT, "rows": listed })).map_err(internal)?;
    out.push('\n');
    Ok(out)
}

fn as_text(rows: &[Found<'_>], has_details: bool) -> String {
    let mut out = String::from("Dollars per million tokens\n");
    let mut sources: Vec<&str> = Vec::new();
    let mut group = None;
    for Found { from, row } in rows {
        let source = sources.iter().position(|known| *known == row.source).unwrap_or_else(|| {
            sources.push(&row.source);
            sources.len() - 1
        });
        if group != Some((*from, &row.provider)) {
            group = Some((*from, &row.provider));
            let own = if *from == PriceOrigin::File { " (your file)" } else { "" };
            let title = format!("{}{own}", visible(&row.provider));
            let heads = ["in", "cached", "write", "out"].map(|head| format!("{head:>AMOUNT$}")).join("");
            let _ = write!(out, "\n{title:<width$}{heads}  as of\n", width = MODEL + 2);
        }
        line(&mut out, row, source + 1);
        if has_details {
            for detail in details(row) {
                wrap(&mut out, &detail);
            }
        }
    }
    out.push('\n');
    if !has_details {
        let _ = writeln!(out, "+  has tiers or other prices: `evalctl prices MODEL` shows them");
    }
    for (index, source) in sources.iter().enumerate() {
        let _ = writeln!(out, "[{}] {}", index + 1, visible(source));
    }
    out
}

/// The line of a row: its name, the main prices, day and source.
fn line(out: &mut String, row: &Row, source: usize) {
    let price = row.price();
    let rates = price.rates();
    let has_more = !price::extras(&price).is_empty()
        || rates.cache_write_1h.or(rates.audio_input).or(rates.reasoning).or(rates.audio_output).is_some();
    let mark = if has_more { "+" } else { " " };
    let model = visible(&row.model);
    if model.chars().count() > MODEL {
        let _ = writeln!(out, "  {model}");
        let _ = write!(out, "{:width$}", "", width = MODEL + 2);
    } else {
        let _ = write!(out, "  {model:<MODEL$}");
    }
    match price.per_hour_usd.filter(|_| rates.input.or(rates.output).is_none()) {
        Some(hour) => {
            let _ = write!(out, "{:>width$}", format!("{} an hour", price::plain(hour)), width = 4 * AMOUNT);
        }
        None => {
            for amount in [rates.input, rates.cached, rates.cache_write, rates.output] {
                let _ = write!(out, "{:>AMOUNT$}", amount.map_or_else(|| "–".to_owned(), |a: Decimal| price::plain(a)));
            }
        }
    }
    let _ = writeln!(out, "{mark} {} [{source}]", row.as_of);
}

/// What a row says beside its line.
fn details(row: &Row) -> Vec<String> {
    let price = row.price();
    let rates = price.rates();
    let others = price::rates_in_words(&crate::types::Rates {
        cache_write_1h: rates.cache_write_1h,
        audio_input: rates.audio_input,
        reasoning: rates.reasoning,
        audio_output: rates.audio_output,
        ..Default::default()
    });
    let mut details: Vec<String> = Some(others).filter(|others| !others.is_empty()).into_iter().collect();
    details.extend(price::extras(&price));
    for (what, names) in [("also called", &row.aliases), ("versions", &row.versions)] {
        if !names.is_empty() {
            details.push(format!("{what}: {}", names.join(", ")));
        }
    }
    details.extend(row.note.iter().map(|note| format!("note: {note}")));
    details
}

/// A detail, broken at blanks.
fn wrap(out: &mut String, text: &str) {
    let text = visible(text);
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column == 0 || column + 1 + length > WIDTH {
            out.push_str(if column == 0 { "    " } else { "\n      " });
            column = if column == 0 { 4 } else { 6 };
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

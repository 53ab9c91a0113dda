//! Bounds on what a template holds in memory while it is rendered.
//!
//! The library bounds steps, and the text that comes out is bounded by whoever takes it. In between, a value can double at
//! every step (`{% set ns.s = ns.s ~ ns.s %}`) or be huge at once (`indent(2000000000)`). So every filter that makes more
//! than it was given (and `dict` and `namespace`) is checked, what is joined by `~` and `+` or put into a list goes through
//! [`FILTER`] (the source is rewritten for it, see `comparisons`), and what is printed is counted, wherever to.

use std::cell::Cell;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, functions};

/// Name of the filter that a value passes through to be weighed.
pub(crate) const FILTER: &str = "__bounded";

/// The detail of the error that a value too large gives; never shown.
pub(crate) const TOO_LARGE: &str = "too large";

/// The largest value, in bytes.
pub(crate) const MAX_VALUE: usize = 16 << 20;

/// The most that a rendering may print, into whatever: what is captured is printed more than once.
const MAX_PRINTED: usize = 4 * MAX_VALUE;

/// Bytes that a rendering may weigh in all, so that it takes no time without end.
const MAX_WEIGHED: usize = 2 << 30;

/// Lists in lists.
pub(crate) const MAX_DEPTH: usize = 100;

/// What an item takes beside its own bytes.
const ITEM: usize = 16;

thread_local! {
    static PRINTED: Cell<usize> = const { Cell::new(0) };
    static WEIGHED: Cell<usize> = const { Cell::new(0) };
}

/// Begins a rendering on this thread.
pub(crate) fn begin() {
    PRINTED.set(0);
    WEIGHED.set(0);
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOperation, TOO_LARGE)
}

/// Counts what is printed.
pub(crate) fn print(bytes: usize) -> Result<(), Error> {
    PRINTED.set(PRINTED.get().saturating_add(bytes));
    if PRINTED.get() > MAX_PRINTED { Err(too_large()) } else { Ok(()) }
}

/// The bytes of a value, each item as often as it stands in it.
pub(crate) fn weigh(value: &Value) -> Result<usize, Error> {
    let mut left = MAX_VALUE;
    let result = take(value, &mut left, 0);
    let weight = MAX_VALUE - left;
    WEIGHED.set(WEIGHED.get().saturating_add(weight));
    result.and_then(|()| if WEIGHED.get() > MAX_WEIGHED { Err(too_large()) } else { Ok(weight) })
}

fn take(value: &Value, left: &mut usize, depth: usize) -> Result<(), Error> {
    let mut need = |bytes: usize| {
        let rest = left.checked_sub(bytes);
        *left = rest.unwrap_or(0);
        rest.map(drop).ok_or_else(too_large)
    };
    match value.kind() {
        ValueKind::String => need(value.as_str().map_or(0, str::len)),
        ValueKind::Bytes => need(value.as_bytes().map_or(0, <[u8]>::len)),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map if depth >= MAX_DEPTH => Err(too_large()),
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                *left = left.checked_sub(ITEM).ok_or_else(too_large)?;
                take(&item, left, depth + 1)?;
            }
            Ok(())
        }
        ValueKind::Map => {
            for key in value.try_iter()? {
                *left = left.checked_sub(2 * ITEM).ok_or_else(too_large)?;
                take(&value.get_item(&key)?, left, depth + 1)?;
                take(&key, left, depth + 1)?;
            }
            Ok(())
        }
        _ => need(ITEM),
    }
}

/// What a filter makes at most of arguments that weigh so much in all; `None` when it will not take them.
type Growth = fn(&[Value], usize) -> Option<usize>;

/// The library's filters that make more than they are given.
const GROWING: [(&str, Growth); 19] = [
    ("replace", |args, weight| {
        let (text, from, to) = (args.first()?.as_str()?, args.get(1)?.as_str()?, args.get(2)?.as_str()?);
        let places = if from.is_empty() { text.len() + 1 } else { text.matches(from).count() };
        Some(weight.saturating_add(places.saturating_mul(to.len())))
    }),
    ("indent", |args, weight| {
        let lines = args.first()?.as_str()?.matches('\n').count() + 1;
        Some(weight.saturating_add(lines.saturating_mul(number(args).unwrap_or(4))))
    }),
    ("join", |args, weight| {
        let items = args.first().and_then(Value::len).unwrap_or(weight);
        let joiner = args.get(1).and_then(Value::as_str).map_or(0, str::len);
        Some(weight.saturating_add(items.saturating_mul(joiner)))
    }),
    ("format", |args, weight| {
        let text = args.first()?.as_str()?;
        // A conversion by name may name the same argument again.
        let times = text.matches("%(").count().max(1);
        Some(widths(text).fold(weight.saturating_mul(times), usize::saturating_add))
    }),
    ("center", counted),
    ("slice", counted),
    ("batch", counted),
    ("wordwrap", counted),
    ("escape", |_, weight| Some(weight.saturating_mul(6))),
    ("e", |_, weight| Some(weight.saturating_mul(6))),
    ("urlencode", |_, weight| Some(weight.saturating_mul(3))),
    ("pprint", |_, weight| Some(weight.saturating_mul(6))),
    ("string", |_, weight| Some(weight.saturating_mul(6))),
    ("list", |_, weight| Some(weight.saturating_mul(ITEM))),
    // These make lists of lists.
    ("groupby", |_, weight| Some(weight)),
    ("items", |_, weight| Some(weight)),
    ("dictsort", |_, weight| Some(weight)),
    ("zip", |_, weight| Some(weight)),
    ("chain", |_, weight| Some(weight)),
];

/// The number that says how many or how wide: the first argument after the value, else the greatest of those by name.
fn number(args: &[Value]) -> Option<usize> {
    let whole = |value: &Value| if value.is_number() { value.as_usize() } else { None };
    args.get(1).and_then(whole).or_else(|| {
        let named = args.last().filter(|last| args.len() > 1 && last.kind() == ValueKind::Map)?;
        named.try_iter().ok()?.filter_map(|key| whole(&named.get_item(&key).ok()?)).max()
    })
}

fn counted(args: &[Value], weight: usize) -> Option<usize> {
    Some(weight.saturating_add(number(args)?.saturating_mul(ITEM)))
}

/// Widths and precisions of the conversions in a text for `format`.
fn widths(text: &str) -> impl Iterator<Item = usize> + '_ {
    let is_part = |c: char| c.is_ascii_digit() || "-+ #0.".contains(c);
    text.split('%').skip(1).flat_map(move |rest| {
        let rest = match rest.strip_prefix('(') {
            Some(name) => name.split_once(')').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let parts = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        let numbers = parts.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
        numbers.map(|digits| digits.parse().unwrap_or(usize::MAX))
    })
}

/// Puts the filters into an environment in the place of the library's.
pub(crate) fn install(environment: &mut Environment<'_>) {
    environment.add_filter(FILTER, |value: Value| weigh(&value).map(|_| value));
    environment.add_function("dict", |value: Option<Value>, more: Kwargs| {
        let made = functions::dict(value, more)?;
        weigh(&made).map(|_| made)
    });
    environment.add_function("namespace", |defaults: Option<ValueOrKwargs>| {
        let made = functions::namespace(defaults)?;
        weigh(&made).map(|_| made)
    });
    for (name, growth) in GROWING {
        let mut plain = Environment::new();
        plain.set_undefined_behavior(UndefinedBehavior::Strict);
        if plain
            .empty_state()
            .apply_filter(name, &[Value::from("")])
            .is_err_and(|e| e.kind() == ErrorKind::UnknownFilter)
        {
            continue;
        }
        environment.add_filter(name, move |args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            let mut weight = 0_usize;
            for arg in &args {
                weight = weight.saturating_add(weigh(arg)?);
            }
            // Arguments that the filter does not take it refuses itself.
            if growth(&args, weight).is_some_and(|most| most > 8 * MAX_VALUE) {
                return Err(too_large());
            }
            let made = plain.empty_state().apply_filter(name, &args)?;
            weigh(&made).map(|_| made)
        });
    }
}

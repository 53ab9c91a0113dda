//! What candidates are priced by: what the suite says, else the file that it names, else the price book.

use std::path::Path;

use crate::price::{self, Book, BookFile, Day, RowFault, RowPart};
use crate::provider::presets::{self, Base};
use crate::suite::spec::{CandidateSpec, ProviderSpec};
use crate::suite::{self, FileKind, at};
use crate::types::{Fault, Faults, Place, PriceOrigin, Pricing};
use crate::util::{given_file, text};

/// Age of a price from which on it is stale when the suite does not say.
const DEFAULT_MAX_AGE_DAYS: u64 = 180;

const PRICES: FileKind = FileKind {
    name: "file of prices",
    keys: "`rows`, and `source` and `as_of` for all of them",
    if_empty: "a row has `provider`, `model` and `price`; the README shows one",
};

/// Reads a file of prices. `shown` is how messages name it.
///
/// # Errors
/// Everything that is wrong with it, with places.
pub fn read(path: &Path, shown: &Path) -> Result<Book, Faults> {
    let whole = |message: String| Faults::from(Fault::new(Place::file(shown), message));
    let bytes = given_file::read(path, suite::MAX_BYTES as u64).map_err(|error| whole(text::of_system(&error)))?;
    let (document, file, mut faults) = suite::parse_as::<BookFile>(&PRICES, shown, &bytes);
    let Some(file) = file else { return Err(faults) };
    match Book::new(file) {
        Ok(book) => faults.or(book),
        Err(found) => {
            for RowFault { row, part, message, help } in found {
                let mut path = at!["rows", row].to_vec();
                match part {
                    RowPart::Whole => {}
                    RowPart::Key(key) => path.extend(at![key]),
                    RowPart::Item(key, index) => path.extend(at![key, index]),
                    RowPart::Price { tier, key } => {
                        path.extend(at!["price"]);
                        path.extend(tier.iter().flat_map(|tier| at!["tiers", *tier]));
                        path.extend(key.iter().flat_map(|key| at![*key]));
                    }
                }
                // What reading the file found fault with has been said.
                if document.is_sure(&path) {
                    faults.push(Fault { help, ..document.fault(&path, message) });
                }
            }
            Err(faults)
        }
    }
}

/// The service and the model that a candidate's price is looked up by, or why there is none to look up. `key` is the entry
/// of the suite, by which price books know services.
fn service<'a>(key: &'a str, provider: &ProviderSpec<'a>) -> Result<(&'a str, &'a str), &'static str> {
    match provider {
        ProviderSpec::Service(spec) => {
            let base = presets::find(key).map(|preset| preset.base);
            // An account's own address is the service's; any other is somebody else's, with prices of their own.
            let is_own = match (&spec.base_url, base) {
                (None, _) | (Some(_), Some(Base::Account(_))) => true,
                (Some(url), Some(Base::Fixed(usual))) => url.trim_end_matches('/') == usual,
                (Some(_), Some(Base::Region(_) | Base::Project(_) | Base::Own(_)) | None) => false,
            };
            match &spec.model {
                Some(model) if is_own => Ok((key, model)),
                Some(_) => Err("no price given, and `base_url` names a service that price books cannot know"),
                None => Err("no price given, and no model to look one up by"),
            }
        }
        ProviderSpec::Recorded(_) | ProviderSpec::Command(_) | ProviderSpec::Local(_) | ProviderSpec::Scripted(_) => {
            Err("no price given")
        }
    }
}

/// What a candidate is priced by. `own` is the file of prices that the suite names.
///
/// # Errors
/// When its answers are billed as a batch and the price says nothing of batches.
pub fn of(spec: &CandidateSpec, own: Option<&Book>) -> Result<Pricing, String> {
    let mut pricing = listed(spec, own);
    if spec.is_batch
        && let Some(price) = &pricing.price
    {
        let Some(batch) = price.batch() else {
            return Err("`is_batch`, but the price has no `batch_factor` to go by".to_owned());
        };
        (pricing.price, pricing.is_batch) = (Some(batch), true);
    }
    Ok(pricing)
}

fn listed(spec: &CandidateSpec, own: Option<&Book>) -> Pricing {
    if let Some(price) = &spec.price {
        return Pricing { from: Some(PriceOrigin::Suite), price: Some(price.clone()), ..Pricing::default() };
    }
    let unknown = |reason: String| Pricing { reason: Some(reason), ..Pricing::default() };
    let providers = spec.providers();
    let key = providers.first().map_or(Err("no price given"), |(key, provider)| service(key, provider));
    let (service, model) = match key {
        Ok(key) => key,
        Err(reason) => return unknown(reason.to_owned()),
    };
    let of_own = own.and_then(|book| book.find(service, model)).map(|row| (PriceOrigin::File, row));
    let of_book = || price::book().find(service, model).map(|row| (PriceOrigin::Book, row));
    let Some((from, row)) = of_own.or_else(of_book) else {
        let books = if own.is_some() { "neither `prices` nor the price book has" } else { "the price book has no" };
        return unknown(format!("no price given, and {books} `{}` of {service}", text::shorten(model, 80)));
    };
    Pricing {
        from: Some(from),
        price: Some(row.price()),
        provider: Some(row.provider.clone()),
        model: Some(row.model.clone()),
        source: Some(row.source.clone()),
        as_of: Some(row.as_of.to_string()),
        note: row.note.clone(),
        is_batch: false,
        reason: None,
    }
}

/// What a candidate is priced by, in words: `0.25 in, 2 out per Mtok, as gpt-5-mini of openai in the price book (litellm
/// 2026-07-24, as of 2026-07-24)`.
pub fn in_words(pricing: &Pricing) -> String {
    let Some(amounts) = pricing.price.as_ref().map(price::in_words) else {
        return pricing.reason.clone().unwrap_or_else(|| "no price given".to_owned());
    };
    let batch = if pricing.is_batch { ", for batches" } else { "" };
    let book = match pricing.from {
        Some(PriceOrigin::File) => "the suite's `prices`",
        Some(PriceOrigin::Book) => "the price book",
        Some(PriceOrigin::Suite) | None => return format!("{amounts}{batch}, as the suite says"),
    };
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let note = pricing.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
    format!(
        "{amounts}{batch}, as `{}` of {} in {book} ({}; as of {}{note})",
        of(&pricing.model),
        of(&pricing.provider),
        of(&pricing.source),
        of(&pricing.as_of)
    )
}

/// How many days older than allowed the price was when the run started (an instant such as `2026-11-21T08:00:00Z`): its
/// age; `None` for prices of that age or younger, and for those that bear no day.
pub fn stale_days(pricing: &Pricing, started: &str, max_age: Option<std::time::Duration>) -> Option<u64> {
    let as_of = Day::parse(pricing.as_of.as_deref()?)?;
    let age = as_of.days_until(Day::of_instant(started)?);
    let allowed = max_age.map_or(DEFAULT_MAX_AGE_DAYS, |age| age.as_secs() / 86_400);
    (age > allowed).then_some(age)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn candidate(yaml: &str) -> (CandidateSpec, Book) {
        let text =
            format!("name: t\ndataset: {{ path: d }}\nprompt: {{ user: x }}\ncandidates:\n  - {{ id: a, {yaml} }}\n");
        let (_, suite, faults) = suite::parse(Path::new("s.yaml"), text.as_bytes());
        assert!(faults.is_empty(), "{faults}");
        let rows = r#"{"source":"contract","as_of":"2026-01-01","rows":[
            {"provider":"openai","model":"gpt-5-mini","price":{"input_per_mtok_usd":0.2,"output_per_mtok_usd":1}}]}"#;
        let book = Book::new(serde_json::from_str(rows).unwrap()).unwrap();
        (suite.unwrap().candidates.remove(0), book)
    }

    fn priced(yaml: &str, has_file: bool) -> Result<Pricing, String> {
        let (spec, book) = candidate(yaml);
        of(&spec, has_file.then_some(&book))
    }

    #[test]
    fn the_suite_comes_before_its_file_and_that_before_the_book() {
        let own = "openai: { model: gpt-5-mini }, price: { per_request_usd: 1 }";
        assert_eq!(in_words(&priced(own, true).unwrap()), "1 per request, as the suite says");
        let by_file = priced("openai: { model: gpt-5-mini }", true).unwrap();
        assert_eq!(
            in_words(&by_file),
            "0.2 in, 1 out per Mtok, as `gpt-5-mini` of openai in the suite's `prices` (contract; as of 2026-01-01)"
        );
        let dated = priced("openai: { model: gpt-5-mini-2025-08-07 }", true).unwrap();
        assert_eq!((dated.from, dated.model.as_deref()), (Some(PriceOrigin::Book), Some("gpt-5-mini")));
        assert!(dated.source.is_some() && dated.as_of.is_some());
        let unknown = priced("openai: { model: gpt-5-mini-of-ours }", false).unwrap();
        let reason = "no price given, and the price book has no `gpt-5-mini-of-ours` of openai";
        assert_eq!(unknown.price(), Err(reason));
        let elsewhere = priced("openai: { model: gpt-5-mini, base_url: 'http://127.0.0.1:1/v1' }", true).unwrap();
        assert!(elsewhere.price().unwrap_err().starts_with("no price given, and `base_url`"));
        let slash = priced("openai: { model: gpt-5-mini, base_url: 'https://api.openai.com/v1/' }", true).unwrap();
        assert_eq!(slash.from, Some(PriceOrigin::File));
        assert_eq!(priced("scripted: { reply: x }", true).unwrap().price(), Err("no price given"));
        // Every service by the name of its entry; an account's own address is still the service's.
        let claude = priced("anthropic: { model: claude-sonnet-4-5-20250929 }", false).unwrap();
        assert_eq!((claude.from, claude.provider.as_deref()), (Some(PriceOrigin::Book), Some("anthropic")));
        let azure =
            priced("azure: { model: gpt-4o, base_url: 'https://x.openai.azure.com/openai/v1' }", false).unwrap();
        assert_eq!(azure.from, Some(PriceOrigin::Book));
        let proxied =
            priced("anthropic: { model: claude-opus-5, base_url: 'https://proxy.example/v1' }", false).unwrap();
        assert!(proxied.price().is_err());
    }

    #[test]
    fn the_book_calls_services_as_suites_do() {
        for provider in price::book().providers() {
            assert!(presets::find(provider).is_some() || provider == "minimax", "{provider}");
        }
    }

    #[test]
    fn batches_cost_the_factor_of_the_price() {
        let batch = priced("openai: { model: gpt-4o }, is_batch: true", false).unwrap();
        assert!(in_words(&batch).starts_with("1.25 in, 0.625 cached, 5 out per Mtok, for batches, as `gpt-4o`"));
        let without = priced("openai: { model: gpt-5-mini }, is_batch: true", true);
        assert_eq!(without, Err("`is_batch`, but the price has no `batch_factor` to go by".to_owned()));
        assert!(priced("scripted: { reply: x }, is_batch: true", true).unwrap().price.is_none());
    }

    #[test]
    fn an_old_price_is_stale() {
        let pricing = priced("openai: { model: gpt-5-mini }", true).unwrap();
        let stale = |started, days: u64| stale_days(&pricing, started, Some(Duration::from_secs(days * 86_400)));
        assert_eq!(stale("2026-06-30T00:00:00Z", 180), None);
        assert_eq!(stale("2026-07-01T00:00:00Z", 180), Some(181));
        assert_eq!(stale("2026-01-20T00:00:00Z", 10), Some(19));
        assert_eq!(stale("2025-01-20T00:00:00Z", 10), None);
        assert_eq!(stale_days(&pricing, "2026-07-01T00:00:00Z", None), Some(181));
        let own = Pricing { as_of: None, ..pricing };
        assert_eq!(stale_days(&own, "2026-07-01T00:00:00Z", None), None);
    }
}

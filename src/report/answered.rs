//! Who answered: what services say of the models, builds and tiers behind a candidate's answers, with counts, and the notes
//! that they call for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::figure::count;
use crate::report::{CandidateReport, Note};
use crate::types::{Echoes, PriceOrigin, is_standard_tier};
use crate::util::text::shorten;

/// The note that another model answered than the one that was asked for. It has to stand in the first lines of every form:
/// the figures are not of the model that their column names.
pub(crate) const OTHER_MODEL: &str = "other_model";

/// The most names of a kind that a report has room for; a service may give each answer a name of its own.
const LISTED: usize = 50;

/// The most characters of a name.
const NAME: usize = 120;

/// The most names that a line shows.
const SHOWN: usize = 8;

/// A name that answers give, and how many do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Named {
    /// The name, as the service writes it.
    pub name: String,
    /// Answers that give it.
    pub answers: u64,
    /// Of a model, whether it is another than the one asked for. Aliases, dated versions, and addresses before the name
    /// are the same model.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_other: bool,
}

/// What the answers of a candidate say of who gave them; the most frequent names of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnsweredBy {
    /// Models, as the service names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Named>,
    /// Builds of weights and software (`system_fingerprint`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Named>,
    /// Service tiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_tiers: Vec<Named>,
    /// Words for why answers ended that evalctl does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finish_words: Vec<Named>,
    /// Answers for which the service reported usage that contradicts the answer or itself; it is left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub usage_doubted: u64,
    /// What contradicts what, of one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_doubt: Option<String>,
    /// Answers that held a key, which was taken out; they have no marks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub keys_replaced: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl AnsweredBy {
    /// The report's form of what answers say.
    pub(crate) fn of(echoes: &Echoes) -> AnsweredBy {
        let list = |counts: &std::collections::BTreeMap<String, u64>| {
            let named = |(name, answers): (&String, &u64)| Named {
                name: shorten(name, NAME),
                answers: *answers,
                is_other: echoes.other_models.contains(name),
            };
            let mut all: Vec<Named> = counts.iter().map(named).collect();
            // Those of the same number stay in alphabetical order.
            all.sort_by_key(|named| std::cmp::Reverse(named.answers));
            all.truncate(LISTED);
            all
        };
        let plain = |counts| list(counts).into_iter().map(|named| Named { is_other: false, ..named }).collect();
        AnsweredBy {
            models: list(&echoes.models),
            fingerprints: plain(&echoes.fingerprints),
            service_tiers: plain(&echoes.tiers),
            finish_words: plain(&echoes.stop_words),
            usage_doubted: echoes.doubted,
            usage_doubt: echoes.doubt.clone(),
            keys_replaced: echoes.held_key,
        }
    }

    /// Whether the answers say nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == AnsweredBy::default()
    }
}

/// `a` (2 answers), `b` (1). `name` makes names from outside fit to print.
fn listed(all: &[Named], name: impl Fn(&str) -> String) -> String {
    let shown = all.iter().take(SHOWN).enumerate().map(|(index, named)| {
        let noun = match (index, named.answers) {
            (0, 1) => " answer",
            (0, _) => " answers",
            _ => "",
        };
        format!("{} ({}{noun})", name(&named.name), count(named.answers))
    });
    let mut words = shown.collect::<Vec<String>>().join(", ");
    if let Some(more) = all.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        words.push_str(&format!(" and {more} more"));
    }
    words
}

/// Who answered for a candidate, in a line; `None` when no answer says so.
pub(crate) fn in_words(answered: &AnsweredBy, name: impl Fn(&str) -> String) -> Option<String> {
    let kinds = [
        ("models named in the answers", &answered.models),
        ("builds (system_fingerprint)", &answered.fingerprints),
        ("service tier", &answered.service_tiers),
    ];
    let parts: Vec<String> = kinds
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| format!("{kind}: {}", listed(names, &name)))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn answers(number: u64) -> String {
    if number == 1 { "1 answer".to_owned() } else { format!("{} answers", count(number)) }
}

/// What is worth a note of who answered for a candidate, and how.
pub(crate) fn notes(candidate: &CandidateReport) -> Vec<Note> {
    let AnsweredBy { models, fingerprints, service_tiers, finish_words, usage_doubted, usage_doubt, keys_replaced } =
        &candidate.answered_by;
    let id = &candidate.id;
    let code = |name: &str| format!("`{name}`");
    let note =
        |kind: &str, text: String, advice: &str| Note { kind: kind.to_owned(), text, advice: Some(advice.to_owned()) };
    let mut notes = Vec::new();
    let others: Vec<Named> = models.iter().filter(|named| named.is_other).cloned().collect();
    if !others.is_empty() {
        let text = format!("`{id}` was answered by another model than the one asked for: {}", listed(&others, code));
        let advice =
            "its figures are not those of one model; `{ metric: other_model_rate, at_most: 0 }` is a gate against it";
        notes.push(note(OTHER_MODEL, text, advice));
    } else if models.len() > 1 {
        let text = format!("`{id}` was answered by models of several names: {}", listed(models, code));
        notes.push(note("several_models", text, "ask for a dated version, so that all answers are of the same one"));
    }
    if fingerprints.len() > 1 {
        let text = format!(
            "the build behind `{id}` (system_fingerprint) changed during the run: {}",
            listed(fingerprints, code)
        );
        notes.push(note("fingerprints", text, "answers of different builds can differ for the same prompt and seed"));
    }
    let is_unusual = |named: &&Named| !is_standard_tier(&named.name);
    let unusual: Vec<Named> = service_tiers.iter().filter(is_unusual).cloned().collect();
    if service_tiers.len() > 1 || !unusual.is_empty() {
        let text = format!("`{id}` was served at these service tiers: {}", listed(service_tiers, code));
        let from = candidate.pricing.as_ref().and_then(|pricing| pricing.from);
        let advice = match (from, unusual.is_empty()) {
            (_, true) | (None, _) => "speed can differ from one tier to another",
            (Some(PriceOrigin::Suite), false) => {
                "prices differ from one tier to another: check that the `price` in the suite is for this one"
            }
            (Some(PriceOrigin::File | PriceOrigin::Book), false) => {
                "the listed price is for the standard tier: give the `price` of this one in the suite"
            }
        };
        notes.push(note("service_tiers", text, advice));
    }
    if !finish_words.is_empty() {
        let text =
            format!("answers of `{id}` ended for reasons that evalctl does not know: {}", listed(finish_words, code));
        notes.push(note("finish_words", text, "they count as complete answers: check some of them in records.jsonl"));
    }
    if let (Some(doubt), 1..) = (usage_doubt, *usage_doubted) {
        let text =
            format!("usage reported for {} of `{id}` is not believed, for example: {doubt}", answers(*usage_doubted));
        let advice = "such tokens, and costs computed from them, count as missing; records.jsonl has each reason";
        notes.push(note("usage_doubted", text, advice));
    }
    if *keys_replaced > 0 {
        let verb = if *keys_replaced == 1 { "was" } else { "were" };
        let text = format!("{} of `{id}` held a key and {verb} changed", answers(*keys_replaced));
        let advice = "their marks are missing; see `[key]` in records.jsonl for where the keys stood";
        notes.push(note("keys_replaced", text, advice));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;
    use crate::types::{Echo, Pricing};

    fn candidate(answers: &[Echo]) -> CandidateReport {
        let mut echoes = Echoes::default();
        answers.iter().for_each(|echo| echoes.add(echo.clone()));
        let mut candidate = example::rich().candidates.remove(0);
        candidate.answered_by = AnsweredBy::of(&echoes);
        candidate
    }

    fn of_model(name: &str, is_other: bool) -> Echo {
        Echo { model: Some(name.to_owned()), is_other: Some(is_other), ..Echo::default() }
    }

    #[test]
    fn another_model_is_named_with_its_share() {
        let mixed = candidate(&[of_model("m", false), of_model("cheap", true), of_model("m", false)]);
        assert_eq!(
            in_words(&mixed.answered_by, str::to_owned).unwrap(),
            "models named in the answers: m (2 answers), cheap (1)"
        );
        let notes = notes(&mixed);
        assert_eq!(notes.len(), 1);
        assert_eq!(
            (notes[0].kind.as_str(), notes[0].text.ends_with("asked for: `cheap` (1 answer)")),
            (OTHER_MODEL, true)
        );
    }

    #[test]
    fn what_is_as_usual_is_no_note() {
        let usual =
            Echo { tier: Some("default".to_owned()), fingerprint: Some("fp".to_owned()), ..of_model("m", false) };
        let candidate = candidate(&[usual.clone(), usual]);
        assert_eq!(notes(&candidate), []);
        assert!(in_words(&candidate.answered_by, str::to_owned).unwrap().contains("service tier: default (2 answers)"));
        assert_eq!(in_words(&AnsweredBy::default(), str::to_owned), None);
    }

    #[test]
    fn tiers_builds_words_and_doubts_are_noted_with_their_numbers() {
        let one = Echo {
            tier: Some("flex".to_owned()),
            fingerprint: Some("fp_1".to_owned()),
            stop_word: Some("repetition".to_owned()),
            doubt: Some("b".to_owned()),
            ..Echo::default()
        };
        let other = Echo { fingerprint: Some("fp_2".to_owned()), doubt: Some("a".to_owned()), ..one.clone() };
        let mut candidate = candidate(&[one.clone(), other.clone(), one]);
        let kinds: Vec<String> = notes(&candidate).into_iter().map(|note| note.kind).collect();
        assert_eq!(kinds, ["fingerprints", "service_tiers", "finish_words", "usage_doubted"]);
        let doubted = notes(&candidate).pop().unwrap();
        assert!(
            doubted.text.starts_with("usage reported for 3 answers of") && doubted.text.ends_with(": a"),
            "{doubted:?}"
        );
        let advice = |from| {
            candidate.pricing = Some(Pricing { from, ..Pricing::default() });
            notes(&candidate)[1].advice.clone().unwrap()
        };
        let [of_suite, of_book] = [PriceOrigin::Suite, PriceOrigin::Book].map(Some).map(advice);
        assert!(of_suite.contains("check") && of_book.contains("standard tier"), "{of_suite} {of_book}");
    }

    #[test]
    fn answers_that_held_a_key_are_counted() {
        let held = Echo { held_key: true, ..Echo::default() };
        let one = notes(&candidate(&[held.clone(), Echo::default()])).remove(0);
        let (kind, text) = (one.kind.as_str(), one.text.as_str());
        assert!(
            kind == "keys_replaced" && text.starts_with("1 answer of ") && text.ends_with("held a key and was changed")
        );
        let two = notes(&candidate(&[held.clone(), held])).remove(0);
        assert!(two.text.starts_with("2 answers of ") && two.text.ends_with("held a key and were changed"), "{two:?}");
    }

    #[test]
    fn many_names_are_counted_not_listed() {
        let all: Vec<Echo> = (0..60).map(|n| of_model(&format!("m{n}"), false)).collect();
        let answered = candidate(&all).answered_by;
        assert_eq!(answered.models.len(), LISTED);
        assert!(in_words(&answered, str::to_owned).unwrap().ends_with("and 42 more"));
    }
}

//! What part of an answer, and of a target, a scorer looks at.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::scorer::BuildFault;
use crate::scorer::normalise::shown;
use crate::suite::spec::{ExtractSpec, Which};
use crate::util::json;
use crate::util::number;
use crate::util::text::{did_you_mean, visible};

/// Largest compiled pattern. It bounds memory, not the text that is searched, which takes linear time.
const PATTERN_BYTES: usize = 10 << 20;

/// `which: last` looks at one match after the other, and each may read to the end of the text, so the time is quadratic
/// for some patterns. This bounds matches times bytes: a text of 1 MiB may have 8,192 matches.
const MATCH_WORK: usize = 1 << 33;

/// Why a row without a target gets no mark.
pub const NO_TARGET: &str = "the row has no target";

/// Why a row gets no mark whose target lacks what `target_extract`, `pointer` or `field` asks for.
const NOTHING: &str = "nothing can be extracted from the target";

/// What a scorer looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Part<'a> {
    /// Text as written.
    Text(&'a str),
    /// A value: a target that is no string, or something that a pointer led to.
    Json(Cow<'a, Value>),
}

impl Part<'_> {
    /// The part as text: strings as they are, numbers and truth values as JSON writes them; `None` for null, lists and
    /// objects.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Part::Text(text) => Some(Cow::Borrowed(text)),
            Part::Json(value) => match value.as_ref() {
                Value::String(text) => Some(Cow::Borrowed(text)),
                Value::Number(number) => Some(Cow::Owned(number.to_string())),
                Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            },
        }
    }

    /// The part as text, with lists and objects as compact JSON; `None` for null.
    pub fn rendered(&self) -> Option<Cow<'_, str>> {
        match self {
            Part::Json(value) if value.is_array() || value.is_object() => Some(Cow::Owned(value.to_string())),
            Part::Text(_) | Part::Json(_) => self.text(),
        }
    }

    /// The part as details show it: numbers, truth values and null as they are, all else as a bounded text.
    pub fn shown(&self) -> Value {
        match self {
            Part::Text(text) => Value::String(shown(text)),
            Part::Json(value) => match value.as_ref() {
                Value::Null | Value::Bool(_) | Value::Number(_) => value.as_ref().clone(),
                Value::String(text) => Value::String(shown(text)),
                Value::Array(_) | Value::Object(_) => Value::String(shown(value)),
            },
        }
    }
}

/// Compiles a pattern of the suite.
///
/// # Errors
/// A fault at `path` when it is no pattern, or one that compiles to more than 10 MiB.
pub fn pattern(text: &str, path: &[&str]) -> Result<Regex, BuildFault> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES).build().map_err(|error| {
        let error = match error {
            regex::Error::CompiledTooBig(limit) => format!("it compiles to more than {} MiB", limit >> 20),
            other => other.to_string(),
        };
        // A syntax error repeats the pattern on lines of its own; what is wrong stands on the last one.
        let last = error.lines().last().unwrap_or_default();
        let reason = last.strip_prefix("error: ").unwrap_or(last);
        let fault = BuildFault::new(path, format!("not a regular expression: {}", visible(reason)));
        if reason.contains("look-around") {
            return fault.help("patterns are searched in linear time, which look-around and back-references rule out");
        }
        fault
    })
}

/// The JSON pointer of a field, of which a plain name is the key of that name.
pub fn pointer_of(field: &str) -> String {
    match field.starts_with('/') {
        true => field.to_owned(),
        false => format!("/{}", field.replace('~', "~0").replace('/', "~1")),
    }
}

/// A rule that takes a part out of a text.
#[derive(Debug, Clone)]
enum Rule {
    Whole,
    Regex { regex: Regex, group: usize, which: Which },
    Pointer(String),
    Fence,
    LastNumber,
}

/// What is looked at in answers, and what in targets.
#[derive(Debug, Clone)]
pub struct Extractor {
    answer: Rule,
    /// `None`: what follows from the answer's rule.
    target: Option<Rule>,
}

impl Extractor {
    /// Reads a scorer's `extract`, `target_extract` and `field`. Adds what is wrong to `faults`; `None` then.
    pub fn build(
        extract: Option<&ExtractSpec>,
        target_extract: Option<&ExtractSpec>,
        field: Option<&str>,
        faults: &mut Vec<BuildFault>,
    ) -> Option<Extractor> {
        let before = faults.len();
        if extract.is_some() && field.is_some() {
            faults.push(
                BuildFault::new(&["field"], "`field` and `extract` both say what to look at")
                    .help("`field` is short for `extract: { pointer: … }`: give one of them"),
            );
        }
        let mut read = |spec: Option<&ExtractSpec>, key| spec.map(|spec| read_rule(spec, key, faults));
        let answer = read(extract, "extract");
        let target = read(target_extract, "target_extract");
        let field = field.map(|field| {
            if field.is_empty() {
                faults.push(BuildFault::new(&["field"], "`field` is empty"));
            }
            let pointer = pointer_of(field);
            check_pointer(&pointer, &["field"], faults);
            Rule::Pointer(pointer)
        });
        if faults.len() > before {
            return None;
        }
        Some(Extractor { answer: answer.flatten().or(field).unwrap_or(Rule::Whole), target: target.flatten() })
    }

    /// The part of an answer to judge.
    ///
    /// # Errors
    /// Why the answer does not have it.
    pub fn answer<'a>(&self, text: &'a str) -> Result<Part<'a>, String> {
        self.answer.of_text(text)
    }

    /// The part of a target to compare with.
    ///
    /// Without a `target_extract`, a pattern is applied to targets that are strings, and other scalars are taken as they
    /// are; a pointer leads into targets that are objects, or strings that hold one, and other targets are taken whole, as
    /// they are with every other rule.
    ///
    /// # Errors
    /// Why there is none: the same text for all such rows.
    pub fn target<'a>(&self, target: Option<&'a Value>) -> Result<Part<'a>, &'static str> {
        let target = match target {
            None | Some(Value::Null) => return Err(NO_TARGET),
            Some(target) => target,
        };
        match (&self.target, &self.answer) {
            (Some(rule), _) => rule.of_target(target),
            (None, rule @ Rule::Regex { .. }) => match target {
                Value::Number(_) | Value::Bool(_) => Ok(Part::Json(Cow::Borrowed(target))),
                Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => rule.of_target(target).map_err(
                    |_| "`extract` finds nothing in the target; `target_extract: { regex: '(?s).*' }` takes it whole",
                ),
            },
            (None, rule @ Rule::Pointer(pointer)) => match target {
                Value::Object(_) => rule.of_target(target),
                Value::String(text) if text.trim_start().starts_with('{') => match json::parse(text) {
                    Ok(value) if value.is_object() => take(value, pointer).ok_or(NOTHING),
                    Ok(_) | Err(_) => Ok(Part::Text(text)),
                },
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Rule::Whole.of_target(target)
                }
            },
            (None, Rule::Whole | Rule::Fence | Rule::LastNumber) => Rule::Whole.of_target(target),
        }
    }
}

impl Rule {
    fn of_text<'a>(&self, text: &'a str) -> Result<Part<'a>, String> {
        match self {
            Rule::Whole => Ok(Part::Text(text)),
            Rule::Regex { regex, group, which } => find(regex, *group, *which, text).map(Part::Text),
            Rule::Pointer(pointer) => {
                let parsed = json::parse_answer(text).map_err(|reason| format!("not JSON: {reason}"))?;
                take(parsed.value, pointer).ok_or_else(|| format!("the JSON has nothing at `{}`", shown(pointer)))
            }
            Rule::Fence => json::last_fence(text).map(Part::Text).ok_or_else(|| "there is no code fence".into()),
            Rule::LastNumber => number::last(text).map(Part::Text).map_err(str::to_owned),
        }
    }

    fn of_target<'a>(&self, target: &'a Value) -> Result<Part<'a>, &'static str> {
        match (self, target) {
            (Rule::Whole, Value::String(text)) => Ok(Part::Text(text)),
            (Rule::Whole, _) | (Rule::LastNumber, Value::Number(_)) => Ok(Part::Json(Cow::Borrowed(target))),
            (_, Value::String(text)) => self.of_text(text).map_err(|_| NOTHING),
            (Rule::Pointer(pointer), _) => {
                target.pointer(pointer).map(|value| Part::Json(Cow::Borrowed(value))).ok_or(NOTHING)
            }
            (Rule::Regex { .. } | Rule::Fence | Rule::LastNumber, _) => Err(NOTHING),
        }
    }
}

/// What a pointer leads to, without a copy.
fn take(mut value: Value, pointer: &str) -> Option<Part<'static>> {
    value.pointer_mut(pointer).map(|found| Part::Json(Cow::Owned(found.take())))
}

fn find<'a>(regex: &Regex, group: usize, which: Which, text: &'a str) -> Result<&'a str, String> {
    let found = match which {
        Which::First => regex.find(text),
        Which::Last => {
            let mut left = MATCH_WORK / text.len().max(1);
            let mut last = None;
            for found in regex.find_iter(text) {
                if left == 0 {
                    return Err("too many matches in too long a text to find the last one".into());
                }
                left -= 1;
                last = Some(found);
            }
            last
        }
    };
    let found = found.ok_or("there is no match")?;
    if group == 0 {
        return Ok(found.as_str());
    }
    // Searching again from where the match begins, with what stands before it in view, finds the same match.
    let captures = regex.captures_at(text, found.start());
    let part = captures.and_then(|captures| captures.get(group));
    part.map(|part| part.as_str()).ok_or_else(|| "the group took no part in the match".into())
}

/// Reads one `extract` or `target_extract`, which stands at `key`.
fn read_rule(spec: &ExtractSpec, key: &str, faults: &mut Vec<BuildFault>) -> Option<Rule> {
    let is_fence = spec.fence == Some(true);
    let is_last_number = spec.last_number == Some(true);
    let given = [spec.regex.is_some(), spec.pointer.is_some(), is_fence, is_last_number];
    match given.into_iter().filter(|is_given| *is_given).count() {
        1 => {}
        count => {
            let message = if count == 0 { "says nothing to look at" } else { "says more than one thing to look at" };
            faults.push(
                BuildFault::new(&[key], format!("`{key}` {message}"))
                    .help("give exactly one of `regex`, `pointer`, `fence: true` and `last_number: true`"),
            );
            return None;
        }
    }
    if spec.regex.is_none() {
        for (name, is_given) in [("group", spec.group.is_some()), ("which", spec.which.is_some())] {
            if is_given {
                faults.push(BuildFault::new(&[key, name], format!("`{name}` goes with `regex` only")));
            }
        }
    }
    if let Some(text) = &spec.regex {
        let regex = match pattern(text, &[key, "regex"]) {
            Ok(regex) => regex,
            Err(fault) => {
                faults.push(fault);
                return None;
            }
        };
        let group = group(&regex, spec.group.as_ref(), key, faults)?;
        return Some(Rule::Regex { regex, group, which: spec.which.unwrap_or_default() });
    }
    if let Some(pointer) = &spec.pointer {
        check_pointer(pointer, &[key, "pointer"], faults);
        return Some(Rule::Pointer(pointer.clone()));
    }
    Some(if is_fence { Rule::Fence } else { Rule::LastNumber })
}

fn group(regex: &Regex, group: Option<&Value>, key: &str, faults: &mut Vec<BuildFault>) -> Option<usize> {
    let fault = match group {
        None => return Some(usize::from(regex.captures_len() > 1)),
        Some(Value::Number(number)) => {
            let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
            match index.filter(|index| *index < regex.captures_len()) {
                Some(index) => return Some(index),
                None => {
                    let last = regex.captures_len() - 1;
                    BuildFault::new(&[key, "group"], format!("the pattern has no group {number}"))
                        .help(format!("its groups are numbered up to {last}; 0 is the whole match"))
                }
            }
        }
        Some(Value::String(name)) => {
            if let Some(index) = regex.capture_names().position(|known| known == Some(name)) {
                return Some(index);
            }
            let fault = BuildFault::new(&[key, "group"], format!("the pattern has no group named `{}`", visible(name)));
            match did_you_mean(name, regex.capture_names().flatten()) {
                Some(help) => fault.help(help),
                None => fault,
            }
        }
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            BuildFault::new(&[key, "group"], "`group` is the number or the name of a group")
        }
    };
    faults.push(fault);
    None
}

/// RFC 6901: empty, or `/` before every step, with `~` only in `~0` and `~1`.
fn check_pointer(pointer: &str, path: &[&str], faults: &mut Vec<BuildFault>) {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        let help = format!("write `/{}`", visible(pointer));
        faults.push(BuildFault::new(path, "a JSON pointer begins with `/`").help(help));
    } else if pointer.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        let fault = BuildFault::new(path, "in a JSON pointer `~` is followed by 0 or 1");
        faults.push(fault.help("`~0` stands for `~` in a key, `~1` for `/`"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: Value) -> ExtractSpec {
        serde_json::from_value(value).unwrap()
    }

    fn extractor(extract: Value, target_extract: Value, field: Option<&str>) -> Result<Extractor, Vec<BuildFault>> {
        let mut faults = Vec::new();
        let [extract, target] = [extract, target_extract].map(|value| (!value.is_null()).then(|| spec(value)));
        let built = Extractor::build(extract.as_ref(), target.as_ref(), field, &mut faults);
        assert_eq!(built.is_some(), faults.is_empty());
        built.ok_or(faults)
    }

    fn text_of(part: Part<'_>) -> String {
        part.rendered().map_or("null".into(), Cow::into_owned)
    }

    #[test]
    fn parts_of_answers() {
        let table = [
            (json!({"regex": "A: *(.+)", "which": "last"}), "A: 1\nA:  18 \nend", Some("18 ")),
            (json!({"regex": "A: *(.+)"}), "A: 1\nA: 18", Some("1")),
            (json!({"regex": "A: *(.+)"}), "no", None),
            (json!({"regex": "A: *(.+)", "group": 0}), "A: 1", Some("A: 1")),
            (json!({"regex": "a.c"}), "xabcx", Some("abc")),
            (json!({"regex": "(?<x>a)|(?<y>b)", "group": "y", "which": "last"}), "ab", Some("b")),
            (json!({"regex": "(?<x>a)|(?<y>b)", "group": "y"}), "ab", None),
            // Look-behind assertions see what stands before the match.
            (json!({"regex": "\\b(a)", "which": "last"}), "a ba a", Some("a")),
            (json!({"regex": "$", "which": "last"}), "a", Some("")),
            (json!({"pointer": "/a/0"}), "{\"a\": [\"x\"]}", Some("x")),
            (json!({"pointer": "/a"}), "```json\n{\"a\": [1, {}]}\n```", Some("[1,{}]")),
            (json!({"pointer": ""}), "[1]", Some("[1]")),
            (json!({"pointer": "/a~1b"}), "{\"a/b\": true}", Some("true")),
            (json!({"pointer": "/a"}), "{\"b\": 1}", None),
            (json!({"pointer": "/a"}), "Sure! {\"a\": 1}", None),
            (json!({"fence": true}), "x\n```\ny\n```", Some("y")),
            (json!({"fence": true}), "x", None),
            (json!({"last_number": true, "fence": false}), "1 or 2.", Some("2")),
            (json!({"last_number": true}), "one", None),
            (Value::Null, " all ", Some(" all ")),
        ];
        for (extract, answer, expected) in table {
            let extractor = extractor(extract.clone(), Value::Null, None).unwrap();
            let got = extractor.answer(answer).ok().map(text_of);
            assert_eq!(got.as_deref(), expected, "{extract} {answer:?}");
        }
    }

    #[test]
    fn parts_of_targets() {
        let regex = json!({"regex": "A: *(.+)"});
        let none = Value::Null;
        let table = [
            (regex.clone(), none.clone(), json!("A: 18"), Some("18")),
            (regex.clone(), none.clone(), json!("18"), None),
            (regex.clone(), none.clone(), json!(18), Some("18")),
            (regex.clone(), none.clone(), json!({"a": 1}), None),
            (regex.clone(), json!({"regex": "#### *(.+)"}), json!("#### 18"), Some("18")),
            (regex.clone(), json!({"pointer": "/x"}), json!({"x": 18}), Some("18")),
            (regex.clone(), json!({"pointer": "/x"}), json!("{\"x\": 18}"), Some("18")),
            (regex.clone(), json!({"pointer": "/x"}), json!("18"), None),
            (regex.clone(), json!({"last_number": true}), json!("so 18."), Some("18")),
            (regex.clone(), json!({"last_number": true}), json!(18), Some("18")),
            (json!({"pointer": "/x"}), none.clone(), json!({"x": "y"}), Some("y")),
            (json!({"pointer": "/x"}), none.clone(), json!({"z": "y"}), None),
            (json!({"pointer": "/x"}), none.clone(), json!("{\"x\": \"y\"}"), Some("y")),
            (json!({"pointer": "/x"}), none.clone(), json!("{\"z\": \"y\"}"), None),
            (json!({"pointer": "/x"}), none.clone(), json!("y"), Some("y")),
            (json!({"pointer": "/x"}), none.clone(), json!("{y"), Some("{y")),
            (json!({"pointer": "/x"}), none.clone(), json!([1]), Some("[1]")),
            (json!({"fence": true}), none.clone(), json!("y"), Some("y")),
            (json!({"last_number": true}), none.clone(), json!("18 or 19"), Some("18 or 19")),
            (none.clone(), none.clone(), json!(["y"]), Some("[\"y\"]")),
            (none.clone(), none.clone(), Value::Null, None),
        ];
        for (extract, target_extract, target, expected) in table {
            let extractor = extractor(extract.clone(), target_extract.clone(), None).unwrap();
            let got = extractor.target(Some(&target)).ok().map(text_of);
            assert_eq!(got.as_deref(), expected, "{extract} {target_extract} {target}");
        }
        assert_eq!(extractor(none.clone(), none, None).unwrap().target(None), Err(NO_TARGET));
    }

    #[test]
    fn fields_are_names_or_pointers() {
        for (field, answer) in [("/a/b", "{\"a\": {\"b\": 1}}"), ("a/b", "{\"a/b\": 1}"), ("a~b", "{\"a~b\": 1}")] {
            let extractor = extractor(Value::Null, Value::Null, Some(field)).unwrap();
            assert_eq!(extractor.answer(answer).map(text_of).as_deref(), Ok("1"), "{field}");
        }
    }

    #[test]
    fn faults_have_their_place() {
        let table = [
            (json!({}), None, vec!["extract"]),
            (json!({"fence": false}), None, vec!["extract"]),
            (json!({"fence": true, "regex": "a"}), None, vec!["extract"]),
            (json!({"regex": "("}), None, vec!["extract", "regex"]),
            (json!({"regex": "(?=a)"}), None, vec!["extract", "regex"]),
            (json!({"regex": "(\\w{1000}){1000}"}), None, vec!["extract", "regex"]),
            (json!({"regex": "(a)", "group": 2}), None, vec!["extract", "group"]),
            (json!({"regex": "(a)", "group": -1}), None, vec!["extract", "group"]),
            (json!({"regex": "(?<num>a)", "group": "nmu"}), None, vec!["extract", "group"]),
            (json!({"regex": "(a)", "group": []}), None, vec!["extract", "group"]),
            (json!({"fence": true, "which": "last"}), None, vec!["extract", "which"]),
            (json!({"pointer": "a"}), None, vec!["extract", "pointer"]),
            (json!({"pointer": "/a~2"}), None, vec!["extract", "pointer"]),
            (json!({"fence": true}), Some("/a"), vec!["field"]),
            (Value::Null, Some(""), vec!["field"]),
        ];
        for (extract, field, path) in table {
            let faults = extractor(extract.clone(), Value::Null, field).unwrap_err();
            assert_eq!(faults.len(), 1, "{extract} {faults:?}");
            assert_eq!(faults[0].path, path, "{extract}");
            assert!(!faults[0].message.contains('\n') && !faults[0].message.is_empty(), "{faults:?}");
        }
        let faults = extractor(json!({"regex": "("}), json!({"regex": ")"}), None).unwrap_err();
        assert_eq!(faults.len(), 2);
        assert_eq!(faults[0].message, "not a regular expression: unclosed group");
        assert_eq!(faults[1].path, ["target_extract", "regex"]);
    }

    #[test]
    fn the_last_of_very_many_matches_is_given_up_in_time() {
        // The same bound holds for `a(.*X)?`, which reads 100 kB for each of its 100,000 matches.
        let extractor = extractor(json!({"regex": "a", "which": "last"}), Value::Null, None).unwrap();
        assert!(extractor.answer(&"a".repeat(100_000)).unwrap_err().contains("too many"));
        assert!(extractor.answer(&"a".repeat(50_000)).is_ok());
    }
}

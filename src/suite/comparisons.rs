//! Comparisons of templates and filters, kept to values of one kind.
//!
//! The library orders values of any kinds: a text is greater than every number, so that `len > 400` is true of every row
//! of a CSV file, whose cells are texts. Python raises a `TypeError` there, and so does this. The library has no hook for
//! it, so each comparison is rewritten into a call of a filter before the template is compiled: `a < b` becomes
//! `(a)|__compare(0, b)`, on the same line. The tests (`is lt`), `min`, `max` and `sort` get the same care.
//!
//! Values of different kinds that are compared with `==` and `in` are unequal, as in Python, except for texts that look
//! like the number or the truth value that they are compared with: there the kind alone makes the answer, which nobody
//! means.
//!
//! In the same pass, what `~` and `+` join and what is put into a list or a map is made to pass through a filter that weighs
//! it (see `bounds`).
//!
//! Not covered: the order of `sort(attribute=…)`, `dictsort`, `unique` and `groupby`.

use std::cmp::Ordering;
use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

use crate::suite::bounds;
use crate::suite::words::{end_of_raw, quoted};
use crate::util::text;

/// Name of the filter that stands for a comparison.
const FILTER: &str = "__compare";

/// Begins the detail of an error about kinds; the advice follows upon a line break. Never shown.
const MARK: &str = "kinds: ";

/// An operator of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

impl Operator {
    /// As it is written.
    fn text(self) -> &'static str {
        match self {
            Operator::Eq => "==",
            Operator::Ne => "!=",
            Operator::Lt => "<",
            Operator::Le => "<=",
            Operator::Gt => ">",
            Operator::Ge => ">=",
            Operator::In => "in",
            Operator::NotIn => "not in",
        }
    }

    /// The operator that a text begins with, of those that are no words.
    fn symbol(text: &str) -> Option<Operator> {
        use Operator::{Eq, Ge, Gt, Le, Lt, Ne};
        [Eq, Ne, Le, Ge, Lt, Gt].into_iter().find(|operator| text.starts_with(operator.text()))
    }
}

/// A comparison as it is written, such as `0 < length <= 400`: one operand more than operators.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparison {
    operands: Vec<String>,
    operators: Vec<Operator>,
}

/// A source whose comparisons are calls.
#[derive(Debug)]
pub(crate) struct Rewritten {
    /// The source, with the same lines.
    pub source: String,
    comparisons: Vec<Comparison>,
}

impl Rewritten {
    /// Rewrites a template, or a bare expression. What the library will refuse comes out in any way.
    pub fn of(source: &str, is_template: bool) -> Rewritten {
        let mut comparisons = Vec::new();
        if !is_template {
            let (source, _) = Reader::new(source, &mut comparisons).expression(0, None);
            return Rewritten { source, comparisons };
        }
        let mut out = String::with_capacity(source.len());
        let mut at = 0;
        while let Some(start) = source[at..].find('{').map(|found| at + found) {
            let rest = &source[start..];
            out.push_str(&source[at..start]);
            if rest.starts_with("{#") {
                at = rest.find("#}").map_or(source.len(), |end| start + end + 2);
                out.push_str(&source[start..at]);
            } else if rest.starts_with("{{") || rest.starts_with("{%") {
                let closer = if rest.starts_with("{{") { "}}" } else { "%}" };
                let (inside, end) = Reader::new(source, &mut comparisons).expression(start + 2, Some(closer));
                at = (end + 2).min(source.len());
                out.push_str(&rest[..2]);
                out.push_str(&inside);
                out.push_str(&source[end..at]);
                if closer == "%}" && inside.trim_matches(['-', '+', ' ', '\t', '\r', '\n']) == "raw" {
                    let end = end_of_raw(source, at);
                    out.push_str(&source[at..end]);
                    at = end;
                }
            } else {
                at = start + 1;
                out.push('{');
            }
        }
        out.push_str(&source[at..]);
        Rewritten { source: out, comparisons }
    }

    /// Puts what the rewritten source calls into its environment.
    pub fn install(&self, environment: &mut Environment<'_>) {
        let known: Arc<[Comparison]> = self.comparisons.clone().into();
        let compare = move |state: &State<'_, '_>, first: Value, index: usize, others: Rest<Value>| {
            let comparison = known.get(index).ok_or_else(|| Error::from(ErrorKind::UnknownFilter))?;
            let mut left = &first;
            for (place, (operator, right)) in comparison.operators.iter().zip(others.iter()).enumerate() {
                let is_so = holds(state, *operator, left, right)?;
                if !is_so.map_err(|Unlike(a, b)| comparison.fault(place, (left, right), (&a, &b)))? {
                    return Ok(false);
                }
                left = right;
            }
            Ok(true)
        };
        environment.add_filter(FILTER, compare);
    }
}

/// Puts tests and filters that compare into an environment, in the place of the library's.
pub(crate) fn install(environment: &mut Environment<'_>) {
    use Operator::{Eq, Ge, Gt, In, Le, Lt, Ne};
    for (operator, names) in [
        (Eq, &["eq", "equalto", "=="][..]),
        (Ne, &["ne", "!="]),
        (Lt, &["lt", "lessthan", "<"]),
        (Le, &["le", "<="]),
        (Gt, &["gt", "greaterthan", ">"]),
        (Ge, &["ge", ">="]),
        (In, &["in"]),
    ] {
        for name in names {
            environment.add_test(*name, move |state: &State<'_, '_>, left: &Value, right: &Value| {
                holds(state, operator, left, right)?.map_err(|Unlike(a, b)| nameless(&a, &b))
            });
        }
    }
    environment.add_filter("min", |state: &State<'_, '_>, value: Value, kwargs: Kwargs| {
        of_one_kind(&value, &kwargs)?;
        filters::min(state, value, kwargs)
    });
    environment.add_filter("max", |state: &State<'_, '_>, value: Value, kwargs: Kwargs| {
        of_one_kind(&value, &kwargs)?;
        filters::max(state, value, kwargs)
    });
    environment.add_filter("sort", |state: &State<'_, '_>, value: Value, kwargs: Kwargs| {
        of_one_kind(&value, &kwargs)?;
        filters::sort(state, value, kwargs)
    });
}

/// The message and the advice of an error that stands for values of different kinds.
pub(crate) fn told(detail: &str) -> Option<(&str, Option<&str>)> {
    let told = detail.strip_prefix(MARK)?;
    Some(told.split_once('\n').map_or((told, None), |(message, help)| (message, Some(help))))
}

/// Whether a piece of a rewritten source is none of the user's.
pub(crate) fn is_ours(snippet: &str) -> bool {
    snippet.contains(FILTER) || snippet.contains(bounds::FILTER)
}

/// Two values that cannot be compared: those that were, or the first such items in them.
struct Unlike(Value, Value);

/// Whether a comparison is true.
fn holds(
    state: &State<'_, '_>,
    operator: Operator,
    left: &Value,
    right: &Value,
) -> Result<Result<bool, Unlike>, Error> {
    for value in [left, right] {
        if value.is_undefined() {
            // Of what is not there nothing can be had: the library's own error, which knows the name.
            value.get_attr(FILTER)?;
        }
    }
    let ordered = |is_so: fn(Ordering) -> bool| order(left, right).map(is_so);
    Ok(match operator {
        Operator::Eq => is_same(left, right),
        Operator::Ne => is_same(left, right).map(|is_same| !is_same),
        Operator::Lt => ordered(Ordering::is_lt),
        Operator::Le => ordered(Ordering::is_le),
        Operator::Gt => ordered(Ordering::is_gt),
        Operator::Ge => ordered(Ordering::is_ge),
        Operator::In => is_in(state, left, right)?,
        Operator::NotIn => is_in(state, left, right)?.map(|is_in| !is_in),
    })
}

/// The order of two values of one kind: numbers, texts, truth values, and lists of these.
fn order(left: &Value, right: &Value) -> Result<Ordering, Unlike> {
    let unlike = || Unlike(left.clone(), right.clone());
    match (left.kind(), right.kind()) {
        (ValueKind::Number, ValueKind::Number)
        | (ValueKind::String, ValueKind::String)
        | (ValueKind::Bytes, ValueKind::Bytes)
        | (ValueKind::Bool, ValueKind::Bool) => Ok(left.cmp(right)),
        (ValueKind::Seq, ValueKind::Seq) => {
            let (Ok(mut one), Ok(mut other)) = (left.try_iter(), right.try_iter()) else { return Err(unlike()) };
            loop {
                match (one.next(), other.next()) {
                    (None, None) => return Ok(Ordering::Equal),
                    (None, Some(_)) => return Ok(Ordering::Less),
                    (Some(_), None) => return Ok(Ordering::Greater),
                    (Some(one), Some(other)) if one == other => {}
                    (Some(one), Some(other)) => return order(&one, &other),
                }
            }
        }
        _ => Err(unlike()),
    }
}

/// Whether two values are equal; an error where only their kinds make them differ.
fn is_same(left: &Value, right: &Value) -> Result<bool, Unlike> {
    if left == right {
        return Ok(true);
    }
    let looks_like = |text: &Value, other: &Value| {
        let Some(text) = text.as_str().map(str::trim) else { return false };
        match other.kind() {
            ValueKind::Number => {
                text.ends_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok()
            }
            ValueKind::Bool => text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"),
            _ => false,
        }
    };
    if looks_like(left, right) || looks_like(right, left) {
        return Err(Unlike(left.clone(), right.clone()));
    }
    Ok(false)
}

fn is_in(state: &State<'_, '_>, item: &Value, container: &Value) -> Result<Result<bool, Unlike>, Error> {
    let kind = container.kind();
    if !matches!(kind, ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Plain) {
        return Err(marked(&format!("nothing is in {}", in_words(kind)), Some("`in` looks into a list or a text")));
    }
    if minijinja::tests::is_in(state, item, container)? {
        return Ok(Ok(true));
    }
    if kind == ValueKind::Seq
        && let Some(unlike) = container.try_iter()?.find_map(|other| is_same(item, &other).err())
    {
        return Ok(Err(unlike));
    }
    Ok(Ok(false))
}

/// Whether the items of a list can be put into an order.
fn of_one_kind(list: &Value, kwargs: &Kwargs) -> Result<(), Error> {
    if kwargs.has("attribute") || list.kind() != ValueKind::Seq {
        return Ok(());
    }
    let mut items = list.try_iter()?;
    let Some(first) = items.next() else { return Ok(()) };
    match items.find_map(|item| order(&first, &item).err()) {
        Some(Unlike(a, b)) => Err(nameless(&a, &b)),
        None => Ok(()),
    }
}

impl Comparison {
    /// The error of the operator at a place, whose operands have these values; what cannot be compared are the others:
    /// they themselves, or items in them.
    fn fault(&self, place: usize, operands: (&Value, &Value), unlike: (&Value, &Value)) -> Error {
        let [left, right] = [place, place + 1].map(|index| self.operands.get(index).map_or("", |name| name.trim()));
        if operands != unlike {
            let message =
                format!("in `{} {} {}` {}", short(left), self.operators[place].text(), short(right), both(unlike));
            return marked(&message, advice_on_items(unlike).as_deref());
        }
        let [one, other] = [unlike.0, unlike.1].map(|value| in_words(value.kind()));
        let message = format!("`{}` is {one} and `{}` is {other}: they cannot be compared", short(left), short(right));
        marked(&message, self.advice(place, (left, right), unlike).as_deref())
    }

    /// What to write in the place of a comparison of two kinds.
    fn advice(&self, place: usize, (left, right): (&str, &str), (a, b): (&Value, &Value)) -> Option<String> {
        let operator = self.operators[place];
        let whole = format!("{left} {} {right}", operator.text());
        for (name, value, other) in [(left, a, b), (right, b, a)] {
            let is_quoted = name.starts_with(['\'', '"']);
            match (value.kind(), other.kind()) {
                (ValueKind::None, _) => return Some(format!("write `{} is not none and {whole}`", operand(name))),
                (ValueKind::String, ValueKind::Number) if is_quoted => {
                    return Some(format!("write {name} without the quotes"));
                }
                (ValueKind::String, ValueKind::Number) => {
                    let name = operand(name);
                    return Some(format!("write `{name} | int`, or `{name} | float` where it has decimals"));
                }
                (ValueKind::String, ValueKind::Bool) if is_quoted => {
                    return Some(format!("write {name} without the quotes"));
                }
                (ValueKind::String, ValueKind::Bool) => {
                    return Some(format!("compare it with a text, as in `{} == 'true'`", operand(name)));
                }
                (ValueKind::Seq | ValueKind::Iterable, _) => {
                    return Some(format!("`{} | length` is the number of its items", operand(name)));
                }
                (ValueKind::Map, _) => return Some(format!("name a field of it, as in `{}.field`", operand(name))),
                _ => {}
            }
        }
        let is_bool = |value: &Value| value.kind() == ValueKind::Bool;
        let name = if is_bool(a) { left } else { right };
        (is_bool(a) || is_bool(b)).then(|| format!("`{}` is a condition by itself", operand(name)))
    }
}

/// An operand before a filter or a test, which bind closer than arithmetic.
fn operand(name: &str) -> String {
    let is_simple = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | '\'' | '"'));
    if is_simple { short(name) } else { format!("({})", short(name)) }
}

fn short(source: &str) -> String {
    text::shorten(source, 60)
}

fn both((one, other): (&Value, &Value)) -> String {
    format!("{} is compared with {}", in_words(one.kind()), in_words(other.kind()))
}

fn advice_on_items((one, other): (&Value, &Value)) -> Option<String> {
    let is = |kind| one.kind() == kind || other.kind() == kind;
    let help = "write both alike: numbers without quotes, or `x | int` for a field that is a text";
    (is(ValueKind::String) && is(ValueKind::Number)).then(|| help.to_owned())
}

/// The error where it is not known what the values are called.
fn nameless(one: &Value, other: &Value) -> Error {
    marked(&both((one, other)), advice_on_items((one, other)).as_deref())
}

fn marked(message: &str, help: Option<&str>) -> Error {
    let help = help.map(|help| format!("\n{help}")).unwrap_or_default();
    Error::new(ErrorKind::InvalidOperation, format!("{MARK}{message}{help}"))
}

fn in_words(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::None => "null",
        ValueKind::Bool => "true or false",
        ValueKind::Number => "a number",
        ValueKind::String => "a text",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "an object",
        _ => "no plain value",
    }
}

/// What was read last, where it decides what the next word is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// A dot or a bar: a name follows, whatever word it is.
    Joint,
    /// `is`: the name of a test follows, or `not` and one.
    Is,
    Other,
}

/// What stands between two brackets, or in a whole tag.
struct Frame {
    opener: &'static str,
    closer: char,
    /// What is done.
    out: String,
    /// The operands and operators of the comparison that is read, each operand rewritten and as it is written.
    operands: Vec<(String, String)>,
    operators: Vec<Operator>,
    /// The operand that is read, rewritten, and where it begins in the source.
    current: String,
    start: usize,
    /// Whether the operand makes a value that may be larger than its parts, how many joints it has, and where in `current`
    /// what follows its last `+` or `-` begins: `~` binds more tightly.
    grows: bool,
    joints: usize,
    segment: usize,
    /// Whether it did so before its last joint.
    grew_before: bool,
    /// Whether these are brackets around an expression, and whether there is a comma in them: then it is a list.
    is_group: bool,
    has_comma: bool,
}

/// Joints of an expression after which it is weighed, and not only at its end.
const WEIGHED_AFTER: usize = 16;

impl Frame {
    fn new(opener: &'static str, closer: char, start: usize) -> Frame {
        let (out, current) = (String::new(), String::new());
        let (operands, operators) = (Vec::new(), Vec::new());
        let (joints, segment) = (0, 0);
        let (grows, grew_before, is_group, has_comma) = (false, false, false, false);
        Frame {
            opener,
            closer,
            out,
            operands,
            operators,
            current,
            start,
            grows,
            joints,
            segment,
            grew_before,
            is_group,
            has_comma,
        }
    }

    /// Whether what begins here begins an operand.
    fn is_at_operand(&self) -> bool {
        let before = self.current.trim_end();
        before.is_empty() || before.ends_with(['~', '+', '-', '*', '/', '%'])
    }

    /// A `~`, `+` or `-`, which goes over all that is read since the operand began, or since its last `+` or `-`.
    fn join(&mut self, joint: char) {
        self.grew_before = self.grows;
        if self.is_at_operand() {
            // A sign.
            return self.current.push(joint);
        }
        self.grows |= joint != '-';
        self.joints += 1;
        if self.joints.is_multiple_of(WEIGHED_AFTER) {
            let from = if joint == '~' { self.segment } else { 0 };
            let operand = self.current.split_off(from);
            self.current.push_str(&weighed(&operand));
        }
        self.current.push(joint);
        if joint != '~' {
            self.segment = self.current.len();
        }
    }

    fn take_operand(&mut self) -> String {
        (self.grows, self.joints, self.segment) = (false, 0, 0);
        std::mem::take(&mut self.current)
    }
}

/// An operand that is weighed. White space around it stays where it is.
fn weighed(operand: &str) -> String {
    let inner = operand.trim();
    let begin = operand.len() - operand.trim_start().len();
    let (before, after) = (&operand[..begin], &operand[begin + inner.len()..]);
    format!("{before}({inner})|{}{after}", bounds::FILTER)
}

/// Reads one expression, or the inside of one tag.
struct Reader<'a> {
    source: &'a str,
    comparisons: &'a mut Vec<Comparison>,
    frames: Vec<Frame>,
    last: Last,
    /// Whether it is the inside of a `for` tag before its `in`, and whether it is one at all.
    is_before_in: bool,
    is_for: bool,
    /// Whether the `call` of a tag was read last.
    is_after_call: bool,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, comparisons: &'a mut Vec<Comparison>) -> Reader<'a> {
        Reader {
            source,
            comparisons,
            frames: Vec::new(),
            last: Last::Other,
            is_before_in: false,
            is_for: false,
            is_after_call: false,
        }
    }

    /// Reads up to the closer; gives the rewritten text, and where the closer begins.
    fn expression(mut self, start: usize, closer: Option<&str>) -> (String, usize) {
        let source = self.source;
        let mut at = start;
        self.frames.push(Frame::new("", ' ', start));
        if closer.is_some() && source[at..].starts_with(['-', '+']) {
            at += 1;
            self.boundary(start, at);
        }
        let mut is_first = closer == Some("%}");
        while at < source.len() {
            let rest = &source[at..];
            if self.frames.len() == 1 && closer.is_some_and(|closer| rest.starts_with(closer)) {
                break;
            }
            let Some(c) = rest.chars().next() else { break };
            let mut width = c.len_utf8();
            let is_word = c.is_alphanumeric() || c == '_';
            if c.is_whitespace() {
                self.plain(rest, width);
                at += width;
                continue;
            }
            let mut last = Last::Other;
            match c {
                '\'' | '"' => {
                    width = quoted(rest, c);
                    self.plain(rest, width);
                }
                '(' => {
                    // The names that a `call` takes are no list.
                    let is_group = !self.is_after_call && self.frames.last().is_some_and(Frame::is_at_operand);
                    self.frames.push(Frame { is_group, ..Frame::new("(", ')', at + 1) });
                }
                '[' | '{' => {
                    if let Some(frame) = self.frames.last_mut() {
                        frame.grows |= frame.is_at_operand();
                    }
                    let (opener, closer) = if c == '[' { ("[", ']') } else { ("{", '}') };
                    self.frames.push(Frame::new(opener, closer, at + 1));
                }
                '~' | '+' | '-' => {
                    if let Some(frame) = self.frames.last_mut() {
                        frame.join(c);
                    }
                }
                ')' | ']' | '}' => {
                    if self.frames.last().is_none_or(|frame| frame.closer != c) {
                        // The library refuses it, and reads nothing of the rest.
                        return (source[start..].to_owned(), source.len());
                    }
                    self.flush(at);
                    if let Some(Frame { opener, out, is_group, has_comma, .. }) = self.frames.pop()
                        && let Some(outer) = self.frames.last_mut()
                    {
                        outer.grows |= is_group && has_comma;
                        outer.current.extend([opener, &out]);
                        outer.current.push(c);
                    }
                }
                '.' | '|' => {
                    self.plain(rest, width);
                    last = Last::Joint;
                }
                ',' | ':' => {
                    self.boundary(at, at + width);
                    if let Some(frame) = self.frames.last_mut() {
                        frame.has_comma |= c == ',';
                    }
                }
                _ if is_word => {
                    width = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                    // The sign of an exponent belongs to its number.
                    let after = &rest[width..];
                    if c.is_ascii_digit() && rest[..width].ends_with(['e', 'E']) && after.starts_with(['+', '-']) {
                        let digits = after[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len() - 1);
                        width += if digits > 0 { 1 + digits } else { 0 };
                    }
                    if is_first {
                        self.is_after_call = &rest[..width] == "call";
                        self.is_for = &rest[..width] == "for";
                        self.is_before_in = self.is_for;
                        self.boundary(at, at + width);
                    } else {
                        (width, last) = self.word(at, width);
                    }
                }
                _ => match Operator::symbol(rest) {
                    Some(operator) => {
                        width = operator.text().len();
                        self.operator(operator, at, at + width);
                    }
                    None if c == '=' => self.name(at, at + width),
                    None => self.plain(rest, width),
                },
            }
            self.is_after_call &= is_first;
            is_first = false;
            self.last = last;
            at += width;
        }
        // Brackets that are never closed are refused by the library; the text stays whole all the same.
        while self.frames.len() > 1 {
            let Some(Frame { opener, start, .. }) = self.frames.pop() else { break };
            let text = format!("{opener}{}", &source[start..at]);
            self.frames.truncate(1);
            if let Some(outer) = self.frames.last_mut() {
                outer.current.push_str(&text);
            }
        }
        let control = match self.frames.last_mut() {
            Some(frame) if closer.is_some() && frame.current.ends_with(['-', '+']) => {
                // It looked like a joint.
                frame.grows = frame.grew_before;
                frame.current.pop()
            }
            _ => None,
        };
        self.flush(at);
        let mut out = self.frames.pop().map(|frame| frame.out).unwrap_or_default();
        out.extend(control);
        (out, at)
    }

    /// Reads a word; gives how long what was read is, and what it means for the next word.
    fn word(&mut self, at: usize, width: usize) -> (usize, Last) {
        let rest = &self.source[at..];
        let word = &rest[..width];
        let is_outer = self.frames.len() == 1;
        match (self.last, word) {
            (Last::Is, "not") => {
                self.plain(rest, width);
                return (width, Last::Is);
            }
            (Last::Joint | Last::Is, _) => self.plain(rest, width),
            (Last::Other, "is") => {
                self.plain(rest, width);
                return (width, Last::Is);
            }
            (Last::Other, "in") if self.is_before_in && is_outer => {
                self.is_before_in = false;
                self.name(at, at + width);
            }
            (Last::Other, "in") => self.operator(Operator::In, at, at + width),
            (Last::Other, "not") => {
                let after = rest[width..].trim_start();
                let is_in = after.strip_prefix("in").is_some_and(|after| {
                    !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
                        && self.frames.last().is_some_and(|frame| !frame.current.trim().is_empty())
                });
                if is_in {
                    let whole = rest.len() - after.len() + "in".len();
                    self.operator(Operator::NotIn, at, at + whole);
                    return (whole, Last::Other);
                }
                self.boundary(at, at + width);
            }
            (Last::Other, "and" | "or" | "if" | "else") => self.boundary(at, at + width),
            (Last::Other, "recursive") if self.is_for && is_outer => self.boundary(at, at + width),
            (Last::Other, _) => self.plain(rest, width),
        }
        (width, Last::Other)
    }

    /// Adds to the operand.
    fn plain(&mut self, rest: &str, width: usize) {
        if let Some(frame) = self.frames.last_mut() {
            frame.current.push_str(&rest[..width]);
        }
    }

    /// Ends an operand with an operator. Line breaks inside the operator stay with the operand that follows.
    fn operator(&mut self, operator: Operator, start: usize, end: usize) {
        let Some(frame) = self.frames.last_mut() else { return };
        let written = self.source[frame.start..start].to_owned();
        let operand = frame.take_operand();
        frame.operands.push((operand, written));
        frame.operators.push(operator);
        frame.current.extend(self.source[start..end].chars().filter(|c| c.is_whitespace()));
        frame.start = end;
    }

    /// Ends what is no value but the names that one is given.
    fn name(&mut self, start: usize, end: usize) {
        if let Some(frame) = self.frames.last_mut() {
            frame.grows = false;
        }
        self.boundary(start, end);
    }

    /// Ends a comparison with what no comparison goes over.
    fn boundary(&mut self, start: usize, end: usize) {
        self.flush(start);
        if let Some(frame) = self.frames.last_mut() {
            frame.out.push_str(&self.source[start..end]);
            frame.start = end;
        }
    }

    /// Writes the operand, or the comparison, that ends here.
    fn flush(&mut self, end: usize) {
        let Some(frame) = self.frames.last_mut() else { return };
        let grows = frame.grows;
        let current = frame.take_operand();
        if frame.operators.is_empty() {
            // What is spread over arguments (`*list`) is no value.
            let is_weighed = grows && !current.trim_start().starts_with('*');
            if is_weighed {
                frame.out.push_str(&weighed(&current))
            } else {
                frame.out.push_str(&current)
            }
            return;
        }
        let written = self.source.get(frame.start..end).unwrap_or_default().to_owned();
        frame.operands.push((current, written));
        let index = self.comparisons.len();
        let (mut names, mut operands) = (Vec::new(), Vec::new());
        for (rewritten, written) in frame.operands.drain(..) {
            names.push(written);
            operands.push(rewritten);
        }
        self.comparisons.push(Comparison { operands: names, operators: std::mem::take(&mut frame.operators) });
        let first = operands.first().map(String::as_str).unwrap_or_default();
        let inner = first.trim_start();
        let others = operands[1..].join(",");
        let last = others.trim_end();
        let (before, after) = (&first[..first.len() - inner.len()], &others[last.len()..]);
        frame.out.push_str(&format!("{before}({inner})|{FILTER}({index},{last}){after}"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(source: &str, is_template: bool) -> String {
        Rewritten::of(source, is_template).source.replace(FILTER, "C").replace(bounds::FILTER, "B")
    }

    #[test]
    fn comparisons_become_calls() {
        for (source, expected) in [
            ("a < b", "(a )|C(0, b)"),
            ("a<b<=c", "(a)|C(0,b,c)"),
            (" a + 1 == f(x > y, z) and not b in c ", " (a + 1 )|C(1, f((x )|C(0, y), z)) and not (b )|C(2, c) "),
            ("a\n not\n in b", "(a\n )|C(0,\n  b)"),
            ("a is not in b and a is lt 3", "a is not in b and a is lt 3"),
            ("a | in < x.in", "(a | in )|C(0, x.in)"),
            ("'a < b' ~ \"<\"", "('a < b' ~ \"<\")|B"),
            ("a ~ -b - c", "(a ~ -b - c)|B"),
            ("[a, (b, c)][0]", "([a, ((b, c))|B][0])|B"),
            ("a[0] is defined", "a[0] is defined"),
            ("x if a < b else c > d", "x if (a )|C(0, b) else (c )|C(1, d)"),
            ("{'k': a == b, 'l': [c != d]}", "({'k': (a )|C(0, b), 'l': ([(c )|C(1, d)])|B})|B"),
            ("a[b < c:d]", "a[(b )|C(0, c):d]"),
            ("f(k=a==b)", "f(k=(a)|C(0,b))"),
        ] {
            assert_eq!(rewritten(source, false), expected, "{source}");
        }
        for (source, expected) in [
            ("a < b {{ a < b }} }}", "a < b {{ (a )|C(0, b) }} }}"),
            ("{%- if a < b -%}{{-a < b-}}{% endif %}", "{%- if (a )|C(0, b) -%}{{-(a )|C(1, b)-}}{% endif %}"),
            ("{% for x in xs if x in y recursive %}", "{% for x in xs if (x )|C(0, y) recursive %}"),
            ("{% raw %}{{ a < b }}{% endraw %}{# {{ a < b }} #}", "{% raw %}{{ a < b }}{% endraw %}{# {{ a < b }} #}"),
            ("{% set ok = a >= b %}{ {", "{% set ok = (a )|C(0, b) %}{ {"),
        ] {
            assert_eq!(rewritten(source, true), expected, "{source}");
        }
    }

    /// Expressions over numbers, as text.
    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec!["1", "2.5", "a", "b", "xs[0]", "m.k", "xs | length", "-a"]);
        leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
            let operator = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
            prop_oneof![
                (inner.clone(), operator.clone(), inner.clone()).prop_map(|(a, o, b)| format!("{a} {o} {b}")),
                (inner.clone(), operator.clone(), inner.clone(), operator, inner.clone())
                    .prop_map(|(a, o, b, p, c)| format!("{a}{o}{b} {p}\n{c}")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) + ({b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(not {a} or {b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} in [{b}, 1]")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} not in [{b}]")),
                (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
                (inner.clone(), inner).prop_map(|(a, b)| format!("([{a}, {b}][0] is defined)")),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_can_be_compared_means_what_it_meant(source in expression(), a in -2..4_i64, b in -2..4_i64) {
            let context = || minijinja::context! { a, b, xs => [a, b], m => minijinja::context! { k => b } };
            let plain = Environment::new();
            let meant = plain.compile_expression(&source).unwrap().eval(context());
            let rewritten = Rewritten::of(&source, false);
            prop_assert_eq!(rewritten.source.matches('\n').count(), source.matches('\n').count());
            let mut environment = Environment::new();
            bounds::install(&mut environment);
            rewritten.install(&mut environment);
            let found = environment.compile_expression(&rewritten.source).unwrap().eval(context());
            match (meant, found) {
                (Ok(meant), Ok(found)) => prop_assert_eq!(meant, found, "{}", rewritten.source),
                // A truth value has no place among numbers here; nor is anything added to one.
                (Ok(_), Err(error)) => {
                    prop_assert!(error.detail().and_then(told).is_some(), "{}: {error}", rewritten.source);
                }
                (Err(_), Err(_)) => {}
                (Err(error), Ok(_)) => prop_assert!(false, "{}: {error}", rewritten.source),
            }
        }

        #[test]
        fn no_source_panics(source in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|'|\"|raw|endraw|<|==|not in|is|for|in|\\(|\\)|a|[ -~]|\\PC){0,40}") {
            for is_template in [false, true] {
                let lines = Rewritten::of(&source, is_template).source;
                prop_assert_eq!(lines.matches('\n').count(), source.matches('\n').count());
            }
        }
    }
}

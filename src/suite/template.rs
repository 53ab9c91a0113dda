//! Templates and filters over the fields of a row, in strict minijinja.
//!
//! - An unknown variable is an error. Fields are variables; `row["odd name"]` reaches those whose names are no
//!   identifiers (a field that is itself called `row` hides it).
//! - What is printed looks as in the row: strings as they are, everything else as JSON (`true`, `[1, 2]`). The filter
//!   `tojson` writes the same, without the escapes that HTML would need.
//! - Printing a null is an error, because `None` in a prompt is hardly ever meant: `{{ x or "" }}` says that it may be
//!   empty.
//! - One final line break of a template is taken off, as Jinja does. Nothing is escaped, and nothing can be included.
//! - Only values of one kind are compared: `len > 400` is an error where `len` is a text, as cells of CSV files are.
//! - A template can neither run nor grow without end: steps, nesting and the length of the text are limited.

use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;

use crate::suite::bounds;
use crate::suite::comparisons::{self, Rewritten};
use crate::suite::document::Document;
use crate::suite::node::Step;
use crate::suite::words::Words;
use crate::types::{Fault, Row};
use crate::util::text;

/// The most steps that one rendering may take.
const MAX_STEPS: u64 = 1_000_000;

/// The longest text that a template may produce, in bytes.
const MAX_OUTPUT: usize = bounds::MAX_VALUE;

/// How much of its own text a template may capture: that is not counted as values are, so steps are the fewer, the longer
/// a piece of it is.
const MAX_PIECES: u64 = 256 << 20;

/// Nested macro calls.
const MAX_RECURSION: usize = 50;

/// What is wrong with a template, or with a row for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFault {
    /// Line of the template, from 1, where it is known.
    pub line: Option<u64>,
    /// The word of that line that is wrong, where there is one.
    pub word: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl TemplateFault {
    pub(crate) fn new(message: impl Into<String>) -> TemplateFault {
        TemplateFault { line: None, word: None, message: message.into(), help: None }
    }

    /// The fault of a suite file whose template stands at a path.
    pub fn at(&self, document: &Document, path: &[Step<'_>]) -> Fault {
        let message = self.message.as_str();
        let fault = match self.line {
            Some(line) => document.text_fault(path, line, self.word.as_deref(), message),
            None => document.fault(path, message),
        };
        Fault { help: self.help.clone(), ..fault }
    }
}

impl fmt::Display for TemplateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TemplateFault {}

/// A variable that a template takes from the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name: a field of the row.
    pub name: String,
    /// The line of the template, from 1, in which it stands first.
    pub line: u64,
}

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    variables: Vec<Variable>,
}

/// The only name in the environment of a template.
const NAME: &str = "template";

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// When its syntax is wrong, or its expressions are too long to be compiled safely.
    pub fn compile(source: &str) -> Result<Template, TemplateFault> {
        let words = Words::of(source, true)?;
        let mut environment = environment();
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| in_words(&error, source, None))?;
        let names = environment.get_template(NAME).map(|template| template.undeclared_variables(false));
        let names = names.map_err(|error| in_words(&error, source, None))?;
        let variables = words.variables(names, &environment);
        // Syntax is judged as it is written; what is rendered has its comparisons rewritten.
        let checked = Rewritten::of(source, true);
        checked.install(&mut environment);
        if ["macro", "endset", "endcall", "endfilter"].iter().any(|word| source.contains(word)) {
            environment.set_fuel(Some(MAX_STEPS.min(MAX_PIECES / longest_piece(source).max(1))));
        }
        environment.add_template_owned(NAME, checked.source).map_err(|_| too_deep())?;
        Ok(Template { environment, variables })
    }

    /// The fields it uses, in the order of its text. One that is only asked for (`x is defined`, `x | default("")`) is
    /// among them.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The text for a row.
    ///
    /// # Errors
    /// When the row lacks a field or has null where something is printed, when an operation does not fit the values, and
    /// when the template runs too long or its text grows too large.
    pub fn render(&self, row: &Row) -> Result<String, TemplateFault> {
        let template = self.environment.get_template(NAME).map_err(|error| in_words(&error, "", None))?;
        let mut out = Bounded(Vec::new());
        bounds::begin();
        match template.render_captured_to(Value::from_object(Fields::new(row)), &mut out) {
            Ok(_) => String::from_utf8(out.0).map_err(|_| TemplateFault::new("the text is not valid UTF-8")),
            Err(_) if out.0.len() > MAX_OUTPUT => {
                Err(TemplateFault::new(format!("the text is longer than {MAX_OUTPUT} bytes")))
            }
            Err(error) => Err(in_words(&error, template.source(), Some(row))),
        }
    }
}

/// A compiled condition over a row.
#[derive(Debug)]
pub struct Filter {
    environment: Environment<'static>,
    source: String,
    /// The source with its comparisons rewritten, which is what is evaluated.
    checked: String,
    variables: Vec<Variable>,
}

impl Filter {
    /// Compiles an expression such as `language == 'en' and length < 400`.
    ///
    /// # Errors
    /// When its syntax is wrong, or it is too long to be compiled safely.
    pub fn compile(source: &str) -> Result<Filter, TemplateFault> {
        let words = Words::of(source, false)?;
        let environment = environment();
        let names = environment
            .compile_expression(source)
            .map(|expression| expression.undeclared_variables(false))
            .map_err(|error| in_words(&error, source, None))?;
        let variables = words.variables(names, &environment);
        let mut environment = environment;
        let checked = Rewritten::of(source, false);
        checked.install(&mut environment);
        environment.compile_expression(&checked.source).map_err(|_| too_deep())?;
        Ok(Filter { environment, source: source.to_owned(), checked: checked.source, variables })
    }

    /// The fields it uses, in the order of its text.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Whether the condition is true of a row. Cells of a CSV file are texts: `length | int < 400` makes a number.
    ///
    /// # Errors
    /// When the row lacks a field, when an operation does not fit the values (a text is compared with a number), and when the result is neither true nor
    /// false: a string such as `false` would otherwise count as true.
    pub fn keeps(&self, row: &Row) -> Result<bool, TemplateFault> {
        let in_words = |error: Error| in_words(&error, &self.checked, Some(row));
        bounds::begin();
        let expression = self.environment.compile_expression(&self.checked).map_err(in_words)?;
        let value = expression.eval(Value::from_object(Fields::new(row))).map_err(in_words)?;
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            ValueKind::Undefined => {
                Err(TemplateFault::new(format!("unknown variable in `{}`", text::shorten(&self.source, 100))))
            }
            _ => {
                let shown = text::shorten(&json(&value), 40);
                let fault = TemplateFault::new(format!("the condition is neither true nor false but `{shown}`"));
                Err(TemplateFault { help: Some("compare it, as in `x == 'yes'`".to_owned()), ..fault })
            }
        }
    }
}

/// An environment in which nothing is escaped, loaded or left undefined.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_recursion_limit(MAX_RECURSION);
    // Only so that errors name the variable.
    environment.set_debug(true);
    environment.remove_global("debug");
    environment.add_filter("tojson", to_json);
    comparisons::install(&mut environment);
    bounds::install(&mut environment);
    environment.set_formatter(|out, _, value| match value.kind() {
        ValueKind::None => Err(Error::new(ErrorKind::InvalidOperation, NULL)),
        ValueKind::Undefined => Ok(()),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            bounds::print(text.len())?;
            Ok(out.write_str(text)?)
        }
        ValueKind::Plain | ValueKind::Invalid => Ok(write!(out, "{value}")?),
        _ => {
            bounds::weigh(value)?;
            let text = json(value);
            bounds::print(text.len())?;
            Ok(out.write_str(&text)?)
        }
    });
    environment
}

/// The longest piece of a template without a tag, in bytes.
fn longest_piece(source: &str) -> u64 {
    source.split(['{', '}']).map(str::len).max().unwrap_or(0) as u64
}

/// An expression takes up to two levels of the library's nesting more once it is rewritten.
fn too_deep() -> TemplateFault {
    let fault = TemplateFault::new("expressions are nested too deep");
    TemplateFault { help: Some("give the inner ones a name with `{% set … %}`".to_owned()), ..fault }
}

/// The mark of the error that printing a null gives; never shown.
const NULL: &str = "null printed";

fn to_json(value: &Value, indent: Option<usize>, kwargs: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<usize>>("indent")?,
    };
    kwargs.assert_all_used()?;
    bounds::weigh(value)?;
    let made = written(value, indent)?;
    // A text in a text doubles its escapes.
    bounds::weigh(&Value::from(made.as_str())).map(|_| made)
}

fn written(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    let Some(indent) = indent.filter(|indent| *indent > 0) else { return Ok(json(value)) };
    let indent = " ".repeat(indent.min(16));
    let mut out = Vec::new();
    let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let result = value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty));
    result.map_err(|_| Error::new(ErrorKind::BadSerialization, "this cannot be written as JSON"))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// JSON with blanks after `:` and `,`, as Python writes it and templates expect it.
fn json(value: &Value) -> String {
    struct Spaced;
    impl serde_json::ser::Formatter for Spaced {
        fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
            if is_first { Ok(()) } else { writer.write_all(b", ") }
        }
        fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
            if is_first { Ok(()) } else { writer.write_all(b", ") }
        }
        fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
            writer.write_all(b": ")
        }
    }
    let mut out = Vec::new();
    match value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => value.to_string(),
    }
}

/// The fields of a row as variables.
#[derive(Debug)]
struct Fields(Value);

impl Fields {
    fn new(row: &Row) -> Fields {
        Fields(Value::from(Serde(row)))
    }
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let field = self.0.get_item(key).ok().filter(|value| !value.is_undefined());
        field.or_else(|| (key.as_str() == Some("row")).then(|| self.0.clone()))
    }
}

/// Takes text up to the limit.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > MAX_OUTPUT { Err(io::Error::other("too long")) } else { Ok(bytes.len()) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The library's error in our words. No values of the row are shown: prompts are not printed unasked.
fn in_words(error: &Error, source: &str, row: Option<&Row>) -> TemplateFault {
    let line = error.line().filter(|line| *line > 0).map(|line| line as u64);
    let detail = error.detail().unwrap_or_default();
    let snippet = error.range().and_then(|range| source.get(range)).map(|text| text.trim_start_matches(['{', ' ']));
    let is_shown = |text: &&str| !text.is_empty() && !text.contains('\n') && !comparisons::is_ours(text);
    let word = snippet.filter(is_shown).map(ToOwned::to_owned);
    let fault = |message: String, help: Option<String>| TemplateFault { line, word: word.clone(), message, help };
    if let Some((message, help)) = comparisons::told(detail) {
        return fault(message.to_owned(), help.map(ToOwned::to_owned));
    }
    match error.kind() {
        ErrorKind::UndefinedError => {
            let name = detail.strip_suffix(" is undefined").unwrap_or(detail).trim_matches('`');
            let top = name.split(['.', '[']).next().unwrap_or_default();
            let help = row.and_then(|row| {
                if row.contains_key(top) { None } else { text::did_you_mean(top, row.keys().map(String::as_str)) }
            });
            let shown = if name.is_empty() { word.clone().unwrap_or_default() } else { name.to_owned() };
            fault(format!("unknown variable `{}`", text::shorten(&shown, 60)), help)
        }
        ErrorKind::InvalidOperation if detail == NULL => {
            let shown = word.as_deref().map(|word| text::shorten(word, 60));
            let message = match &shown {
                Some(shown) => format!("`{shown}` is null"),
                None => "a null is printed".to_owned(),
            };
            let example = shown.unwrap_or_else(|| "x".to_owned());
            fault(message, Some(format!("where it may be empty, write `{{{{ {example} or \"\" }}}}`")))
        }
        ErrorKind::InvalidOperation if detail == bounds::TOO_LARGE => {
            let (bytes, levels) = (bounds::MAX_VALUE >> 20, bounds::MAX_DEPTH);
            let message =
                format!("it makes a value of more than {bytes} MiB or {levels} levels, or too many large ones");
            TemplateFault { line, word: None, message, help: None }
        }
        ErrorKind::OutOfFuel => fault("the template takes too many steps".to_owned(), None),
        ErrorKind::TemplateNotFound => fault("a template cannot include another".to_owned(), None),
        kind => {
            let detail = text::shorten(detail, 160);
            let message = if detail.is_empty() { kind.to_string() } else { format!("{kind}: {detail}") };
            fault(message, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn row() -> Row {
        let row = json!({
            "body": "a <b> & 'c'", "count": 3, "share": 0.5, "flag": true, "none": null, "odd name": "odd",
            "tools": [{"z": 1, "a": null, "q": "<"}], "text_flag": "false"
        });
        row.as_object().unwrap().clone()
    }

    fn render(source: &str) -> Result<String, String> {
        let template = Template::compile(source).map_err(|fault| fault.to_string())?;
        template.render(&row()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn what_is_printed_looks_as_in_the_row() {
        for (source, text) in [
            ("{{ body }}", "a <b> & 'c'"),
            ("{{ body }}\n\n", "a <b> & 'c'\n"),
            ("{{ count }} {{ share }} {{ flag }}", "3 0.5 true"),
            ("{{ tools }}", r#"[{"z": 1, "a": null, "q": "<"}]"#),
            ("{{ tools | tojson }}", r#"[{"z": 1, "a": null, "q": "<"}]"#),
            ("{{ [1] | tojson(indent=1) }}", "[\n 1\n]"),
            ("{{ row['odd name'] }} {{ row.count }}", "odd 3"),
            ("{{ none or '' }}", ""),
            ("{{ 'yes' if none is none else 'no' }}", "yes"),
            ("{{ 'x' if false }}", ""),
            ("{% for tool in tools %}{{ loop.index }}{{ tool.z }}{% endfor %}", "11"),
            ("{{ missing | default('d') }}", "d"),
            ("{{ range(3) | list }}", "[0, 1, 2]"),
        ] {
            assert_eq!(render(source).as_deref(), Ok(text), "{source}");
        }
    }

    #[test]
    fn faults_name_the_variable_and_the_line() {
        for (source, message) in [
            ("x\n{{ bodyy }}", "line 2: unknown variable `bodyy`; did you mean `body`?"),
            ("{{ tools[0].nope }}", "line 1: unknown variable `tools[0].nope`"),
            ("{{ none }}", "line 1: `none` is null; where it may be empty, write `{{ none or \"\" }}`"),
            ("{{ zzzzz }}", "line 1: unknown variable `zzzzz`"),
            ("{{ body | uper }}", "line 1: unknown filter: filter uper is unknown"),
            ("\n\n{% if %}", "line 3: syntax error: unexpected end of block"),
            ("{{ (body }} a ) b", "line 1: syntax error: unexpected `}`, expected `)`"),
            ("{{ body", "line 1: syntax error: unexpected end of input, expected end of variable block"),
            ("{% include 'x' %}", "line 1: a template cannot include another"),
            (
                "{% for i in range(100000) %}{% for j in range(10000) %}.{% endfor %}{% endfor %}",
                "line 1: the template takes too many steps",
            ),
            ("{{ 'x' * 20000000 }}", "the text is longer than 16777216 bytes"),
        ] {
            assert_eq!(render(source), Err(message.to_owned()), "{source}");
        }
    }

    #[test]
    fn no_template_takes_the_memory() {
        let rounds = |before: &str, round: &str| {
            format!(
                "{{% set ns = namespace(s={before}) %}}{{% for i in range(60) %}}{round}{{% endfor %}}{{{{ ns.s | length }}}}"
            )
        };
        let set = |value: &str| rounds("body", &format!("{{% set ns.s = {value} %}}"));
        let chain = ["body ~ body"; 20].map(|pair| format!("({pair})")).join(" ~ ");
        for source in [
            set("ns.s ~ ns.s"),
            set("ns.s + ns.s"),
            set("'x' ~ ns.s + ns.s"),
            set("ns.s * 2"),
            set("ns.s | replace('a', 'aa')"),
            set("[ns.s, ns.s] | join"),
            set("'%s%s' | format(ns.s, ns.s)"),
            set("[ns.s, ns.s]"),
            set("{'a': ns.s, 'b': ns.s}"),
            set("ns.s | tojson | tojson | tojson"),
            set("[ns.s] + [ns.s]"),
            set("(ns.s, ns.s)"),
            set("dict(a=ns.s, b=ns.s)"),
            set("dict(a=ns.s)") + &set("namespace(a=ns.s, b=('x' * 9999999) | upper)"),
            set("namespace(a=ns.s, b=ns.s)"),
            set("{'a': ns.s} | items | list").replace("range(60)", "range(20000)"),
            set("dict(a=ns.s)").replace("range(60)", "range(20000)"),
            set("namespace(a=ns.s)").replace("range(60)", "range(20000)"),
            rounds("body", "{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}"),
            rounds("body", "{% macro m() %}{{ ns.s }}{{ ns.s }}{% endmacro %}{% set ns.s = m() %}"),
            rounds(
                "body",
                "{% set x %}{% filter replace('a', 'aa') %}{{ ns.s }}{% endfilter %}{% endset %}{% set ns.s = x %}",
            ),
            "{{ 'a\nb' | indent(2000000000) | length }}".to_owned(),
            "{{ body | indent(width=2000000000) | length }}".to_owned(),
            "{{ [1] | slice(1000000000) | list | length }}".to_owned(),
            "{{ [1] | batch(1000000000, 0) | list | length }}".to_owned(),
            "{{ '%1000000000s' | format(body) | length }}".to_owned(),
            "{{ '%.1000000000f' | format(1.5) | length }}".to_owned(),
            "{{ ('x' * 9999999) | replace('x', 'y' * 9999999) | length }}".to_owned(),
            "{{ range(100000) | join('x' * 9999999) | length }}".to_owned(),
        ] {
            let fault = render(&source).expect_err(&source);
            assert!(
                fault.contains("16 MiB") || fault.contains("too large") || fault.contains("text is longer"),
                "{source}: {fault}"
            );
        }
        assert_eq!(render(&format!("{{{{ ({chain}) | length }}}}")), Ok("440".to_owned()));
        let deep =
            "{% set ns = namespace(s=1) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}";
        assert!(render(deep).unwrap_err().contains("16 MiB"));
    }

    #[test]
    fn what_is_weighed_stays_what_it_is() {
        for (source, text) in [
            ("{{ 'a' ~ 1 + 2 ~ 'b' }}", "a12b"),
            ("{{ 1 + 2 - 3 - -1 }}{{ 'a' ~ 2 * 3 ~ -1 }}", "1a6-1"),
            ("{{ [1, 2] + [3] }}", "[1, 2, 3]"),
            ("{{ {'a': [1 + 1]}.a[0] + 1 }}", "3"),
            ("{% set x +%}a{% endset %}{{ x +}}", "a"),
            ("{% set x = 'a' ~ 'b' -%} {{ x ~ x }}", "abab"),
            ("{% macro m(a, b=['x'] + ['y']) -%}{{ a ~ b | join }}{%- endmacro %}{{ m('q') }}", "qxy"),
            ("{% macro m() %}{{ caller('a' ~ 'b') }}{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}", "ab"),
            ("{% for a, b in [[1, 2]] + [[3, 4]] %}{{ a ~ b }}{% endfor %}", "1234"),
            ("{% filter replace('a' ~ 'b', 'c') %}xab{% endfilter %}", "xc"),
            ("{{ 'yes' if 'a' ~ 'b' in ['ab'] else 'n' ~ 'o' }}", "yes"),
            ("{{ 'a' ~ 'b' | upper }}{{ ('a' ~ 'b') | upper }}", "aBAB"),
            ("{{ [1, 2][1] ~ 'x'[0] }}", "2x"),
            ("{{ ['x'] | map('upper') | join(', ' ~ '.') }}", "X"),
            ("{% macro n() %}{{ caller(1, 2) }}{% endmacro %}{% call(x, y) n() %}{{ x }}-{{ y }}{% endcall %}", "1-2"),
            ("{{ (1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1e-5) | int }}", "16"),
            ("{{ 'Call 18005551234 %s' | format('jo') }}", "Call 18005551234 jo"),
            ("{{ 'On 20250101 %s of %s: 100%% %s' | format('a', 'b', 'c') }}", "On 20250101 a of b: 100% c"),
            ("{{ [1, 2, 3] | batch(2, 1234567890) | list }}", "[[1, 2], [3, 1234567890]]"),
            ("{{ 1 +\n2 }}", "3"),
            ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
            ("{{ '%5s|%-3d' | format('ab', 4) }}", "   ab|4  "),
            ("{{ [1, 2, 3] | batch(2, 0) | list }}", "[[1, 2], [3, 0]]"),
        ] {
            let rendered = render(source);
            // The library without us.
            let mut plain = Environment::new();
            plain.set_undefined_behavior(UndefinedBehavior::Strict);
            assert_eq!(
                plain.render_str(source, Value::UNDEFINED).map_err(|error| error.to_string()),
                rendered.clone(),
                "{source}"
            );
            assert_eq!(rendered.as_deref(), Ok(text), "{source}");
        }
    }

    #[test]
    fn variables_are_those_of_the_row() {
        let source = "{# no #}{{ b.c }}\n{% raw %}{{ a }}{% endraw %}{% set x = 1 %}{% for y in ys %}{{ y }}{{ x }}{% endfor %}\n\
            {{ range(2) }}{{ row['q'] }}{{ 'a' }}\n{{ d.a }}{{ a }}";
        let template = Template::compile(source).unwrap();
        let found: Vec<(&str, u64)> = template.variables().iter().map(|v| (v.name.as_str(), v.line)).collect();
        assert_eq!(found, [("b", 1), ("ys", 2), ("d", 4), ("a", 4)]);
    }

    #[test]
    fn filters_are_true_or_false() {
        let keeps = |source: &str| {
            let filter = Filter::compile(source).map_err(|fault| fault.to_string())?;
            filter.keeps(&row()).map_err(|fault| fault.to_string())
        };
        assert_eq!(keeps("count > 2 and body != ''"), Ok(true));
        assert_eq!(keeps("not flag"), Ok(false));
        assert_eq!(keeps("row['odd name'] == 'odd'"), Ok(true));
        assert_eq!(keeps("missing is defined"), Ok(false));
        assert_eq!(
            keeps("text_flag"),
            Err("the condition is neither true nor false but `\"false\"`; compare it, as in `x == 'yes'`".to_owned())
        );
        assert_eq!(keeps("coun == 1"), Err("line 1: unknown variable `coun`; did you mean `count`?".to_owned()));
        assert_eq!(keeps("nope"), Err("unknown variable in `nope`".to_owned()));
        assert_eq!(keeps("a = 1"), Err("line 1: syntax error: unexpected input after expression".to_owned()));
        assert_eq!(keeps(""), Err("syntax error: unexpected end of input, expected expression".to_owned()));
        let filter = Filter::compile("a == 1\nor b.c").unwrap();
        assert_eq!(
            filter.variables(),
            [Variable { name: "a".to_owned(), line: 1 }, Variable { name: "b".to_owned(), line: 2 }]
        );
    }

    #[test]
    fn values_of_different_kinds_are_not_compared() {
        let row =
            json!({"len": "450", "n": 5, "word": "n/a", "none": null, "flag": true, "list": [1], "map": {"a": 1}});
        let row = row.as_object().unwrap();
        let cannot = |what: &str, help: &str| Err(format!("line 1: {what}: they cannot be compared; {help}"));
        let as_int = "write `len | int`, or `len | float` where it has decimals";
        for (source, expected) in [
            ("len > 400", cannot("`len` is a text and `400` is a number", as_int)),
            ("400 < len", cannot("`400` is a number and `len` is a text", as_int)),
            ("0 < len <= 400", cannot("`0` is a number and `len` is a text", as_int)),
            ("len == 450", cannot("`len` is a text and `450` is a number", as_int)),
            ("len != 450", cannot("`len` is a text and `450` is a number", as_int)),
            ("n == '5'", cannot("`n` is a number and `'5'` is a text", "write '5' without the quotes")),
            ("n < '6'", cannot("`n` is a number and `'6'` is a text", "write '6' without the quotes")),
            (
                "len ~ '0' >= 5",
                cannot(
                    "`len ~ '0'` is a text and `5` is a number",
                    "write `(len ~ '0') | int`, or `(len ~ '0') | float` where it has decimals",
                ),
            ),
            ("none < 5", cannot("`none` is null and `5` is a number", "write `none is not none and none < 5`")),
            ("flag < 5", cannot("`flag` is true or false and `5` is a number", "`flag` is a condition by itself")),
            ("flag == 'true'", cannot("`flag` is true or false and `'true'` is a text", "write 'true' without the quotes")),
            ("list > 0", cannot("`list` is a list and `0` is a number", "`list | length` is the number of its items")),
            ("map > 0", cannot("`map` is an object and `0` is a number", "name a field of it, as in `map.field`")),
            ("none < none", cannot("`none` is null and `none` is null", "write `none is not none and none < none`")),
            (
                "len in [400, 450]",
                Err("line 1: in `len in [400, 450]` a text is compared with a number; write both alike: numbers without \
                     quotes, or `x | int` for a field that is a text"
                    .to_owned()),
            ),
            (
                "len is gt 400",
                Err("line 1: a text is compared with a number; write both alike: numbers without quotes, or `x | int` for \
                     a field that is a text"
                    .to_owned()),
            ),
            ("(list | min) > 0", Ok(true)),
            ("([1, 'a'] | max) == 1", Err("line 1: a number is compared with a text; write both alike: numbers without \
                quotes, or `x | int` for a field that is a text".to_owned())),
            ("n in 5", Err("line 1: nothing is in a number; `in` looks into a list or a text".to_owned())),
            ("zzzzz < 5", Err("line 1: unknown variable `zzzzz`".to_owned())),
            ("map.gone == 5", Err("line 1: unknown variable `map.gone`".to_owned())),
            // What stays as it is.
            ("len | int > 400", Ok(true)),
            ("none is not none and none < 5", Ok(false)),
            ("none == 5 or word == 5 or word == true", Ok(false)),
            ("'n' in word and 5 not in list and 1 in list", Ok(true)),
            ("1 < n <= 5 != 6", Ok(true)),
            ("1 > n < 'a'", Ok(false)),
            ("[1, 'b'] < [2, 3] and 'a' < 'b' and false < true", Ok(true)),
            ("not n < 3 and (n > 3) == true", Ok(true)),
            ("n is in [1, 5] and n is not in [2] and n is not lt 5", Ok(true)),
            ("{'a': n < 6}['a'] and [n == 5][0]", Ok(true)),
        ] {
            let filter = Filter::compile(source).unwrap_or_else(|fault| panic!("{source}: {fault}"));
            assert_eq!(filter.keeps(row).map_err(|fault| fault.to_string()), expected, "{source}");
        }
        for (source, expected) in [
            ("{% for x in list if x < 3 %}{{ x }}{% endfor %}", Ok("1")),
            ("{%- if n < 6 -%} a {%- elif n > 'b' -%} b {%- endif -%}", Ok("a")),
            ("{% set y = n\n < 6 %}{{ y }} {{- n <\n9 -}} !", Ok("truetrue!")),
            ("{{ 'x' if n < 6 else 'y' }}{# len > 4 #}{% raw %}{{ len > 4 }}{% endraw %}", Ok("x{{ len > 4 }}")),
            ("{% macro m(a, b=n<6) %}{{ a < 2 }}{{ b }}{% endmacro %}{{ m(1) }}", Ok("truetrue")),
            ("{% for x in [1, 2] recursive %}{{ x <= 1 }}{% endfor %}", Ok("truefalse")),
            (
                "a\n{% if len > 400 %}long{% endif %}",
                Err("line 2: `len` is a text and `400` is a number: they cannot be compared; write `len | int`, or \
                     `len | float` where it has decimals"),
            ),
        ] {
            let rendered = Template::compile(source).unwrap().render(row).map_err(|fault| fault.to_string());
            assert_eq!(rendered.as_deref().map_err(String::as_str), expected, "{source}");
        }
    }

    /// Chains at the limit are safe on half the stack that threads have by default.
    #[test]
    fn no_expression_overflows_the_stack() {
        let shapes: &[fn(usize) -> String] = &[
            |n| format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n)),
            |n| format!("{{{{ {} flag }}}}", "not ".repeat(n)),
            |n| format!("{{{{ {}1 }}}}", "-".repeat(n)),
            |n| format!("{{{{ 1 {} }}}}", " if flag else 1".repeat(n)),
            |n| format!("{{{{ 1{} }}}}", "+1".repeat(n)),
            |n| format!("{{{{ 1{} }}}}", "**1".repeat(n)),
            |n| format!("{{{{ body{} }}}}", "|e".repeat(n)),
            |n| format!("{{{{ body{} }}}}", ".a".repeat(n)),
            |n| format!("{{{{ body{} }}}}", "[0]".repeat(n)),
            |n| format!("{{{{ body{} }}}}", "()".repeat(n)),
            |n| format!("{{{{ flag{} }}}}", " and flag".repeat(n)),
            |n| format!("{{{{ {}1{} }}}}", "[1+".repeat(n), "]".repeat(n)),
            |n| format!("{}{}", "{% if flag %}".repeat(n), "{% endif %}".repeat(n)),
            |n| format!("{{% if flag %}}{}{{% endif %}}", "{% elif flag %}".repeat(n)),
            |n| format!("{}{}", "{% for x in tools %}".repeat(n), "{% endfor %}".repeat(n)),
            |n| format!("{{% raw %}}{{# {{% endraw %}}{{{{ {} flag }}}}", "not ".repeat(n)),
            |n| {
                let (deep, wide) = (n.min(28), n.min(48));
                let blocks = "{% if flag %}".repeat(deep) + &"{% elif flag %}".repeat(wide);
                let brackets = format!("{{{{ {} {} 1{} }}}}", "(".repeat(deep), "not ".repeat(n), ")".repeat(deep));
                blocks + &brackets + &"{% endif %}".repeat(deep)
            },
            |n| format!("{{{{ 1{} }}}}", " < 1".repeat(n)),
            |n| format!("{{{{ {}1{} }}}}", "1 < (".repeat(n), ")".repeat(n)),
            |n| format!("{{{{ {}1{} }}}}", "(".repeat(n), " < 1)".repeat(n)),
            |n| format!("{}{}", "{% set x | default(a=1) %}".repeat(n), "{% endset %}".repeat(n)),
            |n| format!("{{{{ {{ 'a': {{ 'b': {} flag }}}} }}}}", "not ".repeat(n)),
        ];
        let check = move || {
            for shape in shapes {
                for n in [10, 25, 28, 48, 140, 145, 290, 100_000] {
                    let _ = render(&shape(n));
                }
            }
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(check).unwrap().join().unwrap();
    }

    #[test]
    fn long_lists_are_no_chains() {
        let source = format!("{{% set xs = [{}] %}}{{{{ xs | length }}}}", "{'q': 'a', 'n': [1, 2]}, ".repeat(500));
        assert_eq!(render(&source).as_deref(), Ok("500"));
    }

    proptest! {
        #[test]
        fn no_template_panics(source in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|'|\"|raw|endraw|if|for|in|body|none|[ -~]|\\PC){0,40}") {
            let _ = render(&source);
            if let Ok(filter) = Filter::compile(&source) {
                let _ = filter.keeps(&row());
            }
        }
    }
}

//! Chat templates: messages to the text that a model was trained on.
//!
//! They are Jinja as Hugging Face's `apply_chat_template` reads it: blocks take the line that they stand on with them,
//! strings have Python's methods, and there is `raise_exception`, `strftime_now` and a `tojson` that doesn't escape.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};

use crate::util::clock;

/// Steps that a template may take: many more than any needs, few enough to end.
const FUEL: u64 = 20_000_000;

/// A model's chat template.
#[derive(Debug, Clone, Default)]
pub struct ChatTemplate {
    plain: Option<String>,
    with_tools: Option<String>,
    specials: Vec<(String, String)>,
}

/// Why messages could not be made into text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is no template.
    #[error("the model has no chat template: it completes text, and `/v1/completions` asks it to")]
    None,
    /// The template refuses these messages.
    #[error("the chat template refuses: {0}")]
    Refused(String),
    /// The template is broken, or needs what isn't there.
    #[error("the chat template failed: {0}")]
    Failed(String),
}

impl ChatTemplate {
    /// A template from its text, one more for requests with tools, and the special tokens that it may name
    /// (`bos_token`).
    pub(super) fn new(
        plain: Option<String>,
        with_tools: Option<String>,
        specials: Vec<(String, String)>,
    ) -> ChatTemplate {
        ChatTemplate { plain, with_tools, specials }
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.plain.is_some() || self.with_tools.is_some()
    }

    /// Looks whether the template can be read at all.
    ///
    /// # Errors
    /// When it cannot; that there is none is no error.
    pub fn check(&self) -> Result<(), TemplateError> {
        for text in [&self.plain, &self.with_tools].into_iter().flatten() {
            environment(text)?;
        }
        Ok(())
    }

    /// The text for messages, ready for the model's answer.
    ///
    /// # Errors
    /// When there is no template, or it refuses these messages, or fails.
    pub fn render(
        &self,
        messages: &serde_json::Value,
        tools: Option<&serde_json::Value>,
    ) -> Result<String, TemplateError> {
        let with_tools = self.with_tools.as_ref().filter(|_| tools.is_some());
        let text = with_tools.or(self.plain.as_ref()).or(self.with_tools.as_ref()).ok_or(TemplateError::None)?;
        let environment = environment(text)?;
        let mut values = serde_json::Map::new();
        for (name, text) in &self.specials {
            values.insert(name.clone(), text.clone().into());
        }
        values.insert("messages".to_owned(), messages.clone());
        values.insert("tools".to_owned(), tools.cloned().unwrap_or_default());
        values.insert("documents".to_owned(), serde_json::Value::Null);
        values.insert("add_generation_prompt".to_owned(), true.into());
        let template = environment.get_template("chat").map_err(failed)?;
        template.render(Serde(&values)).map_err(failed)
    }
}

fn failed(error: Error) -> TemplateError {
    let detail = error.detail().unwrap_or_default();
    if let Some(said) = detail.strip_prefix(RAISED) {
        return TemplateError::Refused(said.to_owned());
    }
    TemplateError::Failed(error.to_string())
}

/// Marks what a template says by `raise_exception`.
const RAISED: &str = "\u{1}raised: ";

fn environment(text: &str) -> Result<Environment<'_>, TemplateError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(failed)?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(method);
    environment.add_function("raise_exception", |text: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{text}")))
    });
    environment.add_function("strftime_now", |format: String| strftime(&format, clock::wall()));
    environment.add_filter("tojson", tojson);
    environment.add_template("chat", text).map_err(failed)?;
    Ok(environment)
}

/// JSON as Python writes it: a space after commas and colons, nothing escaped that need not be.
fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    let _: Option<bool> = options.get("sort_keys")?;
    let _: Option<Value> = options.get("separators")?;
    options.assert_all_used()?;
    let json =
        serde_json::to_value(value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let mut out = String::new();
    write_json(&json, indent, 0, &mut out);
    Ok(Value::from_safe_string(out))
}

fn write_json(value: &serde_json::Value, indent: Option<usize>, depth: usize, out: &mut String) {
    use serde_json::Value as Json;
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent * depth));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match value {
        Json::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { comma } else { "" });
                line(out, depth + 1);
                write_json(item, indent, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Json::Object(items) if !items.is_empty() => {
            out.push('{');
            for (index, (key, item)) in items.iter().enumerate() {
                out.push_str(if index > 0 { comma } else { "" });
                line(out, depth + 1);
                out.push_str(&Json::from(key.as_str()).to_string());
                out.push_str(": ");
                write_json(item, indent, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => {
            out.push_str(&value.to_string());
        }
    }
}

/// Python's methods of strings and dictionaries, as far as templates use them.
fn method(_: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let text_at = |index: usize| args.get(index).and_then(|value| value.as_str().map(str::to_owned));
    if value.kind() == ValueKind::Map {
        let pairs = || -> Result<Vec<(Value, Value)>, Error> {
            value.try_iter()?.map(|key| Ok((key.clone(), value.get_item(&key)?))).collect()
        };
        return match name {
            "items" => Ok(pairs()?.into_iter().map(|(key, item)| Value::from(vec![key, item])).collect()),
            "keys" => Ok(pairs()?.into_iter().map(|(key, _)| key).collect()),
            "values" => Ok(pairs()?.into_iter().map(|(_, item)| item).collect()),
            "get" => {
                let item = args.first().map(|key| value.get_item(key)).transpose()?.unwrap_or_default();
                let default = || args.get(1).cloned().unwrap_or_else(|| Value::from(()));
                Ok(if item.is_undefined() { default() } else { item })
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        };
    }
    let Some(text) = value.as_str() else { return Err(Error::from(ErrorKind::UnknownMethod)) };
    let cut = |text: &str, left: bool, right: bool| {
        let signs = text_at(0);
        let is_cut = |c: char| signs.as_ref().map_or(c.is_whitespace(), |signs| signs.contains(c));
        let text = if left { text.trim_start_matches(is_cut) } else { text };
        Value::from(if right { text.trim_end_matches(is_cut) } else { text })
    };
    let any = |test: &dyn Fn(&str) -> bool| match args.first() {
        Some(value) if value.kind() == ValueKind::Seq => {
            Ok(value.try_iter()?.any(|item| item.as_str().is_some_and(test)).into())
        }
        Some(value) => Ok(value.as_str().is_some_and(test).into()),
        None => Err(Error::from(ErrorKind::MissingArgument)),
    };
    let limit = || args.get(1).and_then(|limit| usize::try_from(limit.clone()).ok());
    match name {
        "strip" => Ok(cut(text, true, true)),
        "lstrip" => Ok(cut(text, true, false)),
        "rstrip" => Ok(cut(text, false, true)),
        "startswith" => any(&|start| text.starts_with(start)),
        "endswith" => any(&|end| text.ends_with(end)),
        "upper" => Ok(text.to_uppercase().into()),
        "lower" => Ok(text.to_lowercase().into()),
        "capitalize" => {
            let mut signs = text.chars();
            let first = signs.next().map(|sign| sign.to_uppercase().to_string()).unwrap_or_default();
            Ok(format!("{first}{}", signs.as_str().to_lowercase()).into())
        }
        "title" => {
            let mut is_start = true;
            let change = |sign: char| {
                let was_start = std::mem::replace(&mut is_start, !sign.is_alphabetic());
                let upper = was_start && sign.is_alphabetic();
                if upper { sign.to_uppercase().to_string() } else { sign.to_lowercase().to_string() }
            };
            Ok(text.chars().map(change).collect::<String>().into())
        }
        "split" => match (text_at(0), limit()) {
            (None, _) => Ok(text.split_whitespace().map(Value::from).collect()),
            (Some(mark), _) if mark.is_empty() => Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
            (Some(mark), None) => Ok(text.split(mark.as_str()).map(Value::from).collect()),
            (Some(mark), Some(limit)) => Ok(text.splitn(limit + 1, mark.as_str()).map(Value::from).collect()),
        },
        "rsplit" => match (text_at(0), limit()) {
            (Some(mark), Some(limit)) if !mark.is_empty() => {
                let mut parts: Vec<Value> = text.rsplitn(limit + 1, mark.as_str()).map(Value::from).collect();
                parts.reverse();
                Ok(parts.into())
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        },
        "splitlines" => Ok(text.lines().map(Value::from).collect()),
        "replace" => match (text_at(0), text_at(1)) {
            (Some(from), Some(to)) => Ok(text.replace(&from, &to).into()),
            _ => Err(Error::from(ErrorKind::MissingArgument)),
        },
        "find" => {
            let at = text_at(0).and_then(|part| text.find(&part)).map(|at| text[..at].chars().count() as i64);
            Ok(at.unwrap_or(-1).into())
        }
        "count" => Ok(text_at(0).map_or(0, |part| text.matches(&part).count()).into()),
        "join" => {
            let items = args.first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?.try_iter()?;
            Ok(items.map(|item| item.to_string()).collect::<Vec<_>>().join(text).into())
        }
        "isdigit" => Ok((!text.is_empty() && text.chars().all(|sign| sign.is_ascii_digit())).into()),
        "isspace" => Ok((!text.is_empty() && text.chars().all(char::is_whitespace)).into()),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// Python's `strftime` in UTC, for the marks that templates use; others stand as they are.
fn strftime(format: &str, now: SystemTime) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let mut out = String::new();
    let mut signs = format.chars();
    while let Some(sign) = signs.next() {
        if sign != '%' {
            out.push(sign);
            continue;
        }
        let month_name = MONTHS[month as usize - 1];
        let day_name = DAYS[(days % 7) as usize];
        match signs.next() {
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&format!("{:02}", year % 100)),
            Some('m') => out.push_str(&format!("{month:02}")),
            Some('d') => out.push_str(&format!("{day:02}")),
            Some('e') => out.push_str(&format!("{day:2}")),
            Some('B') => out.push_str(month_name),
            Some('b') => out.push_str(&month_name[..3]),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('H') => out.push_str(&format!("{:02}", second / 3600)),
            Some('M') => out.push_str(&format!("{:02}", second / 60 % 60)),
            Some('S') => out.push_str(&format!("{:02}", second % 60)),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

/// Year, month and day of a count of days since 1970 (Hinnant, <https://howardhinnant.github.io/date_algorithms.html>).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::json;

    fn render(template: &str, messages: serde_json::Value) -> Result<String, TemplateError> {
        let specials = vec![("bos_token".to_owned(), "<s>".to_owned()), ("eos_token".to_owned(), "</s>".to_owned())];
        ChatTemplate::new(Some(template.to_owned()), None, specials).render(&messages, None)
    }

    #[test]
    fn a_template_of_the_usual_kind_gives_what_transformers_gives() {
        let template = "{%- if messages[0]['role'] == 'system' %}\n    {%- set system = messages[0].content.strip() %}\n\
            {%- else %}\n    {%- set system = 'You help.' %}\n{%- endif %}\n{{ bos_token }}[{{ system }}]\n\
            {% for message in messages %}\n    {% if message.role != 'system' %}\n<{{ message.role }}>{{ message.content | trim }}\n\
            {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}<assistant>{% endif %}\n";
        let messages = json!([{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi <b>"}]);
        assert_eq!(render(template, messages).unwrap(), "<s>[Be brief.]\n<user>Hi <b>\n<assistant>");
        assert_eq!(
            render(template, json!([{"role": "user", "content": "x"}])).unwrap(),
            "<s>[You help.]\n<user>x\n<assistant>"
        );
    }

    #[test]
    fn pythons_methods_work() {
        let said = |template: &str| {
            render(template, json!([{"role": "user", "content": "a</think>\n b", "n": [1, "é<"]}])).unwrap()
        };
        assert_eq!(said("{{ messages[0].content.split('</think>')[-1].lstrip('\\n') }}"), " b");
        assert_eq!(said("{{ messages[0].content.startswith('a') }}"), "True");
        assert_eq!(said("{{ messages[0].get('name', 'none') }}"), "none");
        assert_eq!(said("{% for key, value in messages[0].items() %}{{ key }};{% endfor %}"), "role;content;n;");
        assert_eq!(
            said("{{ messages[0] | tojson }}"),
            r#"{"role": "user", "content": "a</think>\n b", "n": [1, "é<"]}"#
        );
        assert_eq!(said("{{ messages[0].n | tojson(indent=2) }}"), "[\n  1,\n  \"é<\"\n]");
        assert_eq!(said("{{ 'abc def'.title() }}{{ 'ABC'.capitalize() }}"), "Abc DefAbc");
    }

    #[test]
    fn what_a_template_refuses_is_told_from_what_fails() {
        let refused = render("{{ raise_exception('roles must alternate') }}", json!([])).unwrap_err();
        assert_eq!(refused, TemplateError::Refused("roles must alternate".to_owned()));
        assert!(matches!(render("{% for %}", json!([])), Err(TemplateError::Failed(_))));
        let endless = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
        assert!(matches!(render(endless, json!([])), Err(TemplateError::Failed(_))));
        assert_eq!(ChatTemplate::default().render(&json!([]), None), Err(TemplateError::None));
    }

    #[test]
    fn dates_are_pythons() {
        let now = UNIX_EPOCH + Duration::from_secs(1_709_210_096);
        assert_eq!(strftime("%d %b %Y, %A %H:%M:%S %%", now), "29 Feb 2024, Thursday 12:34:56 %");
    }
}

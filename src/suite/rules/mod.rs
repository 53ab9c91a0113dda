//! What must hold in a suite beyond its form, as far as it can be said without opening a file: names, ranges, and that
//! the parts which name each other exist.
//!
//! Not here: whether files exist, patterns and schemas compile, templates fit the rows, and variables are set.

mod candidate;
mod measure;

use std::time::Duration;

use crate::suite::document::Document;
use crate::suite::node::Step;
use crate::suite::spec::{DatasetSpec, PacingSpec, PromptSpec, ProviderSpec, SelectSpec, Suite};
use crate::suite::values::Allowance;
use crate::suite::{at, parse};
use crate::types::{Fault, Faults};
use crate::util::text;

pub use measure::{BUILT_IN, is_share};

/// The longest name or id, in bytes.
const MAX_NAME: usize = 100;

/// The most repeats of a sample.
const MAX_REPEATS: u32 = 1000;

/// The most requests in flight.
const MAX_IN_FLIGHT: u32 = 4096;

/// Everything that is wrong with a suite and can be said without opening a file, in the order of the file. What follows
/// from a fault that reading the file found is not reported again.
pub fn check(document: &Document, suite: &Suite) -> Faults {
    let mut rules = Rules { document, suite, faults: Faults::new() };
    rules.suite();
    rules.dataset(&suite.dataset);
    rules.prompt();
    rules.candidates();
    rules.scorers();
    rules.gates();
    parse::sort(&mut rules.faults);
    rules.faults
}

struct Rules<'a> {
    document: &'a Document,
    suite: &'a Suite,
    faults: Faults,
}

impl<'a> Rules<'a> {
    /// Reports a fault of the value at a path, unless reading the file found fault with it already.
    fn fault(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        if self.document.is_sure(path) {
            self.faults.push(self.document.fault(path, message));
        }
    }

    /// The same, and what to do about it.
    fn fault_help(&mut self, path: &[Step<'_>], message: impl Into<String>, help: impl Into<String>) {
        if self.document.is_sure(path) {
            self.faults.push(self.document.fault(path, message).help(help));
        }
    }

    /// The same for a value that may be a secret: the source line is not shown.
    fn secret_fault(&mut self, path: &[Step<'_>], message: impl Into<String>, help: impl Into<String>) {
        if self.document.is_sure(path) {
            let fault: Fault = Fault { excerpt: None, ..self.document.fault(path, message) };
            self.faults.push(fault.help(help));
        }
    }

    fn suite(&mut self) {
        self.name(&at!["name"], &self.suite.name);
        if let Some(volume) = self.suite.volume {
            if !(1e-3..=1e12).contains(&volume.requests_per_day) {
                let message = "`requests_per_day` must be a number above 0, such as 50000";
                self.fault(&at!["volume", "requests_per_day"], message);
            }
            if !(1.0..=1e6).contains(&volume.peak_over_mean) {
                let message = "`peak_over_mean` must be 1 or more: the busiest time is no quieter than the mean";
                self.fault(&at!["volume", "peak_over_mean"], message);
            }
        }
        if self.suite.price_max_age.is_some_and(|age| age.0 < Duration::from_secs(86_400)) {
            self.fault(&at!["price_max_age"], "`price_max_age` must be at least a day, such as `90d`");
        }
        if self.suite.repeats == 0 {
            self.fault(&at!["repeats"], "`repeats` must be at least 1");
        }
        if self.suite.repeats > MAX_REPEATS {
            self.fault(&at!["repeats"], format!("`repeats` must be at most {MAX_REPEATS}"));
        }
        let PacingSpec::Closed(closed) = &self.suite.pacing;
        self.in_flight(&at!["pacing", "closed", "in_flight"], closed.in_flight);
        match self.suite.limits.max_failures {
            Some(Allowance::Share(share)) if !(0.0..=1.0).contains(&share) => {
                self.fault(&at!["limits", "max_failures"], "a share must be between 0% and 100%");
            }
            Some(Allowance::Share(_) | Allowance::Count(_)) | None => {}
        }
        if self.suite.limits.deadline() == Some(Duration::ZERO) {
            self.fault(&at!["limits", "deadline"], "`deadline` must be more than 0");
        }
        if let Some(output) = &self.suite.output {
            self.path(&at!["output", "schema"], &output.schema);
        }
    }

    /// A name that is also the name of a folder or stands in tables.
    fn name(&mut self, path: &[Step<'_>], name: &str) {
        let what = match path.last() {
            Some(Step::Key(key)) => format!("`{key}`"),
            Some(Step::Index(_)) | None => "a name".to_owned(),
        };
        if name.trim().is_empty() {
            self.fault(path, format!("{what} must not be empty"));
        } else if name.len() > MAX_NAME {
            self.fault(path, format!("{what} is {} bytes long, longer than {MAX_NAME}", name.len()));
        } else if name.chars().any(text::is_unprintable) {
            self.fault(path, format!("{what} has characters that cannot be shown: `{}`", text::visible(name)));
        } else if name.contains(['/', '\\']) || name == "." || name == ".." {
            self.fault_help(
                path,
                format!("{what} must not be `{name}`: it becomes part of a file name"),
                "leave out slashes and dots",
            );
        } else if name.trim() != name {
            self.fault(path, format!("{what} begins or ends with white space"));
        }
    }

    fn in_flight(&mut self, path: &[Step<'_>], in_flight: u32) {
        if !(1..=MAX_IN_FLIGHT).contains(&in_flight) {
            self.fault(path, format!("`in_flight` must be between 1 and {MAX_IN_FLIGHT}"));
        }
    }

    /// A path of a file, or the name of a field: anything but nothing.
    fn path(&mut self, path: &[Step<'_>], written: &str) {
        if written.trim().is_empty() {
            let name = self.document.name(path);
            self.fault(path, format!("`{name}` must not be empty"));
        }
    }

    fn fields(&mut self, parent: &[Step<'_>], fields: &[(&str, &Option<String>)]) {
        for (key, field) in fields {
            if let Some(field) = field {
                let path = [parent, &at![*key]].concat();
                self.path(&path, field);
            }
        }
    }

    fn dataset(&mut self, dataset: &DatasetSpec) {
        if dataset.path.0.is_empty() {
            self.fault(&at!["dataset", "path"], "`dataset.path` must name at least one file");
        }
        let is_list = dataset.path.0.len() != 1 || self.document.has_items(&at!["dataset", "path"]);
        for (index, file) in dataset.path.0.iter().enumerate() {
            if is_list {
                self.path(&at!["dataset", "path", index], file);
            } else {
                self.path(&at!["dataset", "path"], file);
            }
        }
        let fields = [
            ("id", &dataset.id),
            ("input", &dataset.input),
            ("target", &dataset.target),
            ("cluster", &dataset.cluster),
        ];
        self.fields(&at!["dataset"], &fields);
        for (index, tag) in dataset.tags.iter().enumerate() {
            self.path(&at!["dataset", "tags", index], tag);
            if dataset.tags[..index].contains(tag) {
                self.fault(&at!["dataset", "tags", index], format!("the tag `{}` is given twice", shown(tag)));
            }
        }
        if let Some(select) = &dataset.select {
            self.select(select);
        }
    }

    fn select(&mut self, select: &SelectSpec) {
        let path = |key| at!["dataset", "select", key];
        self.fields(&at!["dataset", "select"], &[("where", &select.filter), ("stratify", &select.stratify)]);
        for (key, count) in [("sample", select.sample), ("limit", select.limit)] {
            if count == Some(0) {
                self.fault(&path(key), format!("`{key}` must be at least 1"));
            }
        }
        for (key, is_given) in [("stratify", select.stratify.is_some()), ("seed", select.seed.is_some())] {
            if is_given && select.sample.is_none() && self.document.is_sure(&path("sample")) {
                self.fault_help(&path(key), format!("`{key}` has no effect without `sample`"), "add `sample: N`");
            }
        }
    }

    fn prompt(&mut self) {
        let Some(prompt) = &self.suite.prompt else {
            let asks = self
                .suite
                .candidates
                .iter()
                .enumerate()
                .find(|(_, candidate)| candidate.providers().iter().any(|(_, provider)| needs_prompt(*provider)));
            if let Some((index, candidate)) = asks
                && self.document.is_sure(&at!["prompt"])
            {
                self.fault_help(
                    &at!["candidates", index],
                    format!("candidate `{}` needs a `prompt`, and the suite has none", shown(&candidate.id)),
                    "add `prompt: { user: \"{{ input }}\" }`; only `recorded` candidates do without",
                );
            }
            return;
        };
        let PromptSpec { system, user, messages } = prompt;
        match (user, messages) {
            (Some(_), Some(_)) => self.fault_help(
                &at!["prompt"],
                "`prompt` has both `user` and `messages`",
                "`messages` names a field that holds the whole conversation; `user` is a template",
            ),
            (None, Some(_)) if system.is_some() => self.fault_help(
                &at!["prompt", "system"],
                "`prompt` has both `system` and `messages`",
                "put the system message into the rows, or use `user`",
            ),
            (None, None) => {
                self.fault_help(
                    &at!["prompt"],
                    "`prompt` has neither `user` nor `messages`",
                    "add `user: …`, a template",
                );
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
        if user.as_ref().is_some_and(|user| user.trim().is_empty()) {
            self.fault(&at!["prompt", "user"], "`prompt.user` must not be empty");
        }
        self.fields(&at!["prompt"], &[("messages", messages)]);
    }
}

/// Whether a provider is asked something.
fn needs_prompt(provider: ProviderSpec<'_>) -> bool {
    match provider {
        ProviderSpec::Service(_) | ProviderSpec::Command(_) | ProviderSpec::Local(_) | ProviderSpec::Scripted(_) => {
            true
        }
        ProviderSpec::Recorded(_) => false,
    }
}

/// A name from the file in a message.
fn shown(name: &str) -> String {
    text::shorten(name, 60)
}

/// Whether a text names a variable of the environment and is no key by mistake, so that it may be looked up and shown.
pub fn names_variable(name: &str) -> bool {
    is_variable(name) && !crate::suite::mask::is_key(name)
}

/// Whether a text can name an environment variable.
fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

//! Rules for scorers and gates: one name a metric, one condition a gate, and that gates speak of what is measured.

use serde_json::Value;

use crate::suite::at;
use crate::suite::node::Step;
use crate::suite::rules::{Rules, shown};
use crate::suite::spec::{ContainsSpec, ExtractSpec, GateSpec, LabelSpec, LengthSpec, NumberSpec, ScorerSpec};
use crate::types::OTHER_MODEL_RATE;
use crate::util::text;

/// Dollars per right answer, by the marks of the suite's first scorer.
const COST_PER_CORRECT: &str = "cost_per_correct_usd";

/// Built-in metrics that are not compared with the baseline, with what is instead.
const NOT_COMPARED: [(&str, &str); 3] = [
    (OTHER_MODEL_RATE, "gate it by `at_most: 0`"),
    ("cost_per_1k_requests_usd", "it is `cost_usd` times a thousand: compare that"),
    (COST_PER_CORRECT, "gate it by `at_most`, or compare `cost_usd`"),
];

/// The metrics that are built in, per candidate. `cost_usd` and the token counts are means per request.
pub const BUILT_IN: &[&str] = &[
    "failure_rate",
    "truncation_rate",
    OTHER_MODEL_RATE,
    "latency_ms.mean",
    "latency_ms.p50",
    "latency_ms.p90",
    "latency_ms.p95",
    "latency_ms.p99",
    "ttft_ms.mean",
    "ttft_ms.p50",
    "ttft_ms.p90",
    "ttft_ms.p95",
    "ttft_ms.p99",
    "tpot_ms.mean",
    "tpot_ms.p50",
    "tpot_ms.p90",
    "tpot_ms.p95",
    "tpot_ms.p99",
    "response_ms.mean",
    "response_ms.p50",
    "response_ms.p90",
    "response_ms.p95",
    "response_ms.p99",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "cost_per_1k_requests_usd",
    COST_PER_CORRECT,
];

/// Whether a metric is a share, from 0 to 1: everything that scorers make, and the rates.
pub fn is_share(metric: &str) -> bool {
    !BUILT_IN.contains(&metric) || ["failure_rate", "truncation_rate", OTHER_MODEL_RATE].contains(&metric)
}

impl ScorerSpec {
    /// The kind, as the key in the suite.
    pub fn kind(&self) -> &'static str {
        match self {
            ScorerSpec::Exact(_) => "exact",
            ScorerSpec::Contains(_) => "contains",
            ScorerSpec::Regex(_) => "regex",
            ScorerSpec::Number(_) => "number",
            ScorerSpec::Label(_) => "label",
            ScorerSpec::Schema(_) => "schema",
            ScorerSpec::Agreement(_) => "agreement",
            ScorerSpec::Length(_) => "length",
            ScorerSpec::Refusal(_) => "refusal",
        }
    }

    /// The name of its metric: as given, else the kind.
    pub fn name(&self) -> &str {
        let name = match self {
            ScorerSpec::Exact(spec) => &spec.name,
            ScorerSpec::Contains(spec) => &spec.name,
            ScorerSpec::Regex(spec) => &spec.name,
            ScorerSpec::Number(spec) => &spec.name,
            ScorerSpec::Label(spec) => &spec.name,
            ScorerSpec::Schema(spec) => &spec.name,
            ScorerSpec::Agreement(spec) => &spec.name,
            ScorerSpec::Length(spec) => &spec.name,
            ScorerSpec::Refusal(spec) => &spec.name,
        };
        name.as_deref().unwrap_or(self.kind())
    }

    /// The names of all metrics it makes, its own first.
    pub fn metrics(&self) -> Vec<String> {
        let name = self.name();
        match self {
            ScorerSpec::Exact(_)
            | ScorerSpec::Contains(_)
            | ScorerSpec::Regex(_)
            | ScorerSpec::Number(_)
            | ScorerSpec::Agreement(_)
            | ScorerSpec::Length(_)
            | ScorerSpec::Refusal(_) => vec![name.to_owned()],
            ScorerSpec::Label(_) => vec![name.to_owned(), format!("{name}.macro_f1")],
            ScorerSpec::Schema(_) => vec![name.to_owned(), format!("{name}.json")],
        }
    }
}

impl GateSpec {
    /// The key of its condition, if it has one. A valid gate has exactly one.
    fn conditions(&self) -> Vec<&'static str> {
        [
            self.at_least.map(|_| "at_least"),
            self.at_most.map(|_| "at_most"),
            self.at_most_ratio.map(|_| "at_most_ratio"),
            self.non_inferior.as_ref().map(|_| "non_inferior"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Rules<'_> {
    pub(super) fn scorers(&mut self) {
        let suite = self.suite;
        let mut seen: Vec<String> = Vec::new();
        for (index, scorer) in suite.scorers.iter().enumerate() {
            let kind = scorer.kind();
            let at_name = at!["scorers", index, kind, "name"];
            self.name(&at_name, scorer.name());
            for metric in scorer.metrics() {
                if BUILT_IN.contains(&metric.as_str()) {
                    self.fault(&at_name, format!("`{metric}` is a built-in metric: give the scorer another `name`"));
                } else if seen.contains(&metric) {
                    let help = format!("give this one a name of its own: `{kind}: {{ name: … }}`");
                    self.fault_help(&at_name, format!("two scorers make the metric `{}`", shown(&metric)), help);
                    break;
                }
            }
            seen.extend(scorer.metrics());
            self.scorer(index, scorer);
        }
    }

    fn scorer(&mut self, index: usize, scorer: &ScorerSpec) {
        let path = |key| at!["scorers", index, scorer.kind(), key];
        let (field, extract, target_extract) = match scorer {
            ScorerSpec::Exact(spec) => (&spec.field, &spec.extract, &spec.target_extract),
            ScorerSpec::Number(spec) => (&spec.field, &spec.extract, &spec.target_extract),
            ScorerSpec::Label(spec) => (&spec.field, &spec.extract, &spec.target_extract),
            ScorerSpec::Contains(spec) => (&None, &spec.extract, &None),
            ScorerSpec::Regex(spec) => (&None, &spec.extract, &None),
            ScorerSpec::Schema(spec) => (&None, &spec.extract, &None),
            ScorerSpec::Agreement(_) | ScorerSpec::Length(_) | ScorerSpec::Refusal(_) => (&None, &None, &None),
        };
        if field.is_some() && extract.is_some() {
            self.fault_help(
                &path("extract"),
                "the scorer has both `field` and `extract`",
                "`field: /x` is short for `extract: { pointer: /x }`",
            );
        }
        self.fields(&at!["scorers", index, scorer.kind()], &[("field", field)]);
        for (key, extract) in [("extract", extract), ("target_extract", target_extract)] {
            if let Some(extract) = extract {
                self.extract(&path(key), extract);
            }
        }
        match scorer {
            ScorerSpec::Exact(_) | ScorerSpec::Agreement(_) => {}
            ScorerSpec::Length(spec) => self.length(index, spec),
            ScorerSpec::Refusal(spec) => {
                for (item, phrase) in spec.phrases.iter().enumerate() {
                    if phrase.trim().is_empty() {
                        let path = at!["scorers", index, "refusal", "phrases", item];
                        self.fault(&path, "every answer contains the empty text");
                    }
                }
            }
            ScorerSpec::Contains(spec) => self.contains(index, spec),
            ScorerSpec::Regex(spec) => {
                if spec.pattern.is_empty() {
                    self.fault(&path("pattern"), "an empty pattern is found in everything");
                }
            }
            ScorerSpec::Number(spec) => self.number(index, spec),
            ScorerSpec::Label(spec) => self.label(index, spec),
            ScorerSpec::Schema(spec) => {
                self.fields(&at!["scorers", index, "schema"], &[("path", &spec.path)]);
            }
        }
    }

    fn extract(&mut self, path: &[Step<'_>], extract: &ExtractSpec) {
        let given: Vec<&str> = [
            extract.regex.as_ref().map(|_| "regex"),
            extract.pointer.as_ref().map(|_| "pointer"),
            extract.fence.map(|_| "fence"),
            extract.last_number.map(|_| "last_number"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let inside = |key| [path, &at![key]].concat();
        match given.as_slice() {
            [] => self.fault_help(
                path,
                "this names nothing to extract",
                "add one of `regex`, `pointer`, `fence: true`, `last_number: true`",
            ),
            [_] => {}
            [first, second, ..] => self.fault(
                &inside(*second),
                format!("this has both `{first}` and `{second}`: exactly one says what to extract"),
            ),
        }
        for (key, flag) in [("fence", extract.fence), ("last_number", extract.last_number)] {
            if flag == Some(false) {
                self.fault_help(&inside(key), format!("`{key}: false` extracts nothing"), "leave it out");
            }
        }
        if extract.regex.as_ref().is_some_and(String::is_empty) {
            self.fault(&inside("regex"), "an empty pattern is found in everything");
        }
        if extract.pointer.as_ref().is_some_and(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            self.fault_help(&inside("pointer"), "a JSON pointer begins with `/`", "such as `/answer/text`");
        }
        for (key, is_given) in [("group", extract.group.is_some()), ("which", extract.which.is_some())] {
            if is_given && extract.regex.is_none() {
                self.fault(&inside(key), format!("`{key}` goes with `regex` only"));
            }
        }
        let is_group = match &extract.group {
            None => true,
            Some(Value::Number(number)) => number.as_u64().is_some(),
            Some(Value::String(name)) => !name.is_empty(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => false,
        };
        if !is_group {
            self.fault(&inside("group"), "`group` is the number or the name of a group of `regex`");
        }
    }

    fn contains(&mut self, index: usize, spec: &ContainsSpec) {
        for (key, texts) in [("any", &spec.any), ("all", &spec.all), ("none", &spec.none)] {
            for (item, text) in texts.iter().enumerate() {
                if text.is_empty() {
                    let path = at!["scorers", index, "contains", key, item];
                    self.fault(&path, "every answer contains the empty text");
                }
            }
        }
    }

    fn number(&mut self, index: usize, spec: &NumberSpec) {
        for (key, tolerance) in [("tolerance", spec.tolerance), ("relative_tolerance", spec.relative_tolerance)] {
            if tolerance.is_some_and(|tolerance| !(tolerance.is_finite() && tolerance >= 0.0)) {
                self.fault(&at!["scorers", index, "number", key], format!("`{key}` must be 0 or more"));
            }
        }
    }

    fn length(&mut self, index: usize, spec: &LengthSpec) {
        let path = |key| at!["scorers", index, "length", key];
        let bounds = [("at_least", spec.at_least), ("at_most", spec.at_most)];
        for (key, bound) in bounds {
            if bound.is_some_and(|bound| !(bound.is_finite() && bound >= 0.0)) {
                self.fault(&path(key), format!("`{key}` must be 0 or more"));
            }
        }
        match (spec.at_least, spec.at_most) {
            (None, None) => self.fault_help(
                &at!["scorers", index, "length"],
                "the scorer has no bound",
                "such as `length: { at_least: 0.5, at_most: 2 }`: from half as long as the reference to twice",
            ),
            (Some(least), Some(most)) if least > most => {
                self.fault(&path("at_least"), "`at_least` is more than `at_most`: no answer is within such bounds");
            }
            (Some(_), _) | (_, Some(_)) => {}
        }
    }

    fn label(&mut self, index: usize, spec: &LabelSpec) {
        let folded = |class: &String| if spec.ignore_case { class.to_lowercase() } else { class.clone() };
        for (item, class) in spec.classes.iter().enumerate() {
            let path = at!["scorers", index, "label", "classes", item];
            if class.trim().is_empty() {
                self.fault(&path, "a class must not be empty");
            } else if spec.classes[..item].iter().any(|other| folded(other) == folded(class)) {
                self.fault(&path, format!("the class `{}` is given twice", shown(class)));
            }
        }
    }

    pub(super) fn gates(&mut self) {
        let suite = self.suite;
        let metrics: Vec<String> = suite.scorers.iter().flat_map(ScorerSpec::metrics).collect();
        for (index, gate) in suite.gates.iter().enumerate() {
            self.metric(index, gate, &metrics);
            match gate.conditions().as_slice() {
                [] => self.fault_help(
                    &at!["gates", index],
                    format!("the gate on `{}` has no condition", shown(&gate.metric)),
                    "add one of `at_least`, `at_most`, `at_most_ratio`, `non_inferior: { margin: … }`",
                ),
                [_] => {}
                [first, second, ..] => self.fault_help(
                    &at!["gates", index, *second],
                    format!("the gate has both `{first}` and `{second}`"),
                    "a gate has one condition: make two gates of it",
                ),
            }
            self.numbers(index, gate, &metrics);
            self.compared(index, gate);
        }
    }

    fn metric(&mut self, index: usize, gate: &GateSpec, metrics: &[String]) {
        let metric = gate.metric.as_str();
        let is_known = BUILT_IN.contains(&metric) || metrics.iter().any(|name| name == metric);
        if is_known || !self.document.is_sure_throughout(&at!["scorers"]) {
            return;
        }
        let known = metrics.iter().map(String::as_str).chain(BUILT_IN.iter().copied());
        let family: Vec<String> = BUILT_IN
            .iter()
            .filter(|name| name.split_once('.').is_some_and(|(head, _)| head == metric))
            .map(|name| format!("`{name}`"))
            .collect();
        let help = if !family.is_empty() {
            format!("say which: {}", family.join(", "))
        } else if let Some(near) = text::did_you_mean(metric, known) {
            near
        } else if metrics.is_empty() {
            "the suite has no scorers; built-in metrics are `latency_ms.p95`, `cost_usd`, `failure_rate` and others"
                .to_owned()
        } else {
            let names: Vec<String> = metrics.iter().take(20).map(|name| format!("`{}`", shown(name))).collect();
            format!("scorers make {}; others are built in, such as `latency_ms.p95`, `cost_usd`", names.join(", "))
        };
        self.fault_help(&at!["gates", index, "metric"], format!("nothing makes the metric `{}`", shown(metric)), help);
    }

    fn numbers(&mut self, index: usize, gate: &GateSpec, metrics: &[String]) {
        let is_known = BUILT_IN.contains(&gate.metric.as_str()) || metrics.contains(&gate.metric);
        let is_share = is_known && is_share(&gate.metric);
        for (key, bound) in [("at_least", gate.at_least), ("at_most", gate.at_most)] {
            let Some(bound) = bound else { continue };
            let path = at!["gates", index, key];
            if !bound.is_finite() {
                self.fault(&path, format!("`{key}` must be a finite number"));
            } else if is_share && !(0.0..=1.0).contains(&bound) {
                let message = format!("`{}` is a share from 0 to 1", shown(&gate.metric));
                if (1.0..=100.0).contains(&bound) {
                    self.fault_help(&path, message, format!("{bound} percent is {}", percent(bound)));
                } else {
                    self.fault(&path, message);
                }
            } else if bound < 0.0 {
                self.fault(&path, format!("`{}` is never below 0", shown(&gate.metric)));
            }
        }
        if gate.at_most_ratio.is_some_and(|ratio| !(ratio.is_finite() && ratio > 0.0)) {
            self.fault(&at!["gates", index, "at_most_ratio"], "`at_most_ratio` must be more than 0");
        }
        if let Some(spec) = &gate.non_inferior {
            let path = at!["gates", index, "non_inferior", "margin"];
            if !(spec.margin.is_finite() && spec.margin >= 0.0) {
                self.fault(&path, "`margin` must be 0 or more");
            } else if is_share && spec.margin >= 1.0 {
                let message =
                    format!("`{}` is a share from 0 to 1: a margin of 1 allows anything", shown(&gate.metric));
                self.fault_help(&path, message, format!("{} points are {}", spec.margin, percent(spec.margin)));
            }
        }
    }

    fn compared(&mut self, index: usize, gate: &GateSpec) {
        if gate.metric == COST_PER_CORRECT
            && self.suite.scorers.is_empty()
            && self.document.is_sure_throughout(&at!["scorers"])
        {
            let message = format!("`{COST_PER_CORRECT}` needs a scorer, and the suite has none");
            self.fault_help(&at!["gates", index, "metric"], message, "the first scorer says what is right");
        }
        let relative = [("at_most_ratio", gate.at_most_ratio.is_some()), ("non_inferior", gate.non_inferior.is_some())]
            .into_iter()
            .find(|(_, is_given)| *is_given)
            .map(|(key, _)| key);
        if let Some(key) = relative
            && let Some((metric, help)) = NOT_COMPARED.iter().find(|(name, _)| *name == gate.metric)
        {
            let message = format!("`{metric}` is not compared with the baseline");
            self.fault_help(&at!["gates", index, key], message, *help);
        }
        let baseline = self.suite.baseline.as_deref();
        if let Some(key) = relative
            && baseline.is_none()
            && self.document.is_sure(&at!["baseline"])
        {
            let help = "add `baseline: ID`, the candidate that the others are compared with";
            self.fault_help(
                &at!["gates", index, key],
                format!("`{key}` needs a baseline, and the suite has none"),
                help,
            );
        }
        for (item, id) in gate.candidates.iter().enumerate() {
            let path = at!["gates", index, "candidates", item];
            if !self.candidate_exists(id) {
                self.unknown_candidate(&path, "gate on", id);
            } else if gate.candidates[..item].contains(id) {
                self.fault(&path, format!("candidate `{}` is named twice", shown(id)));
            }
        }
        let Some(baseline) = baseline else { return };
        let is_for_baseline_only = !gate.candidates.is_empty() && gate.candidates.iter().all(|id| id == baseline);
        if let Some(key) = relative
            && is_for_baseline_only
            && self.document.is_sure(&at!["gates", index, "candidates"])
        {
            let message = format!("the gate compares the baseline `{}` with itself", shown(baseline));
            self.fault(&at!["gates", index, key], message);
        }
        let is_alone = self.suite.candidates.len() == 1 && self.suite.candidates[0].id == baseline;
        if gate.candidates.is_empty() && is_alone && self.document.is_sure(&at!["candidates"]) {
            self.fault_help(
                &at!["gates", index],
                "the gate applies to no candidate: the baseline is the only one",
                "add a candidate, or name the baseline in the gate's `candidates`",
            );
        }
    }
}

/// Hundredths without the noise of binary fractions.
fn percent(number: f64) -> f64 {
    (number * 1e4).round() / 1e6
}

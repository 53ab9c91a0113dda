//! Rules for candidates: names, one provider each, ranges, and that no key is written into the file.

use std::time::Duration;

use crate::suite::at;
use crate::suite::keys::is_secret_header;
use crate::suite::mask;
use crate::suite::node::Step;
use crate::suite::rules::{Rules, is_variable, shown};
use crate::suite::spec::{
    CandidateSpec, CommandSpec, LocalSpec, ProviderSpec, RecordedSpec, ScriptedSpec, ServiceSpec,
};
use crate::suite::values::{HumanDuration, JoinField};
use crate::types::{Params, Price, PriceFault};
use crate::util::text;

/// The most repetitions of a failed attempt.
const MAX_RETRIES: u32 = 20;

/// The longest a single wait may be.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The most requests or threads of a server on this machine.
const MAX_WORKERS: u32 = 256;

/// The most chunks of a scripted answer.
const MAX_CHUNKS: u32 = 100_000;

/// What may answer.
const ENTRIES: &str = "a service (`openai`, `anthropic`, `vllm`, …), `recorded`, `command`, `local` or `scripted`";

impl Rules<'_> {
    pub(super) fn candidates(&mut self) {
        let suite = self.suite;
        if suite.candidates.is_empty() {
            self.fault_help(
                &at!["candidates"],
                "a suite needs at least one candidate",
                format!("add one with an `id` and {ENTRIES}"),
            );
        }
        for (index, candidate) in suite.candidates.iter().enumerate() {
            self.candidate(index, candidate);
        }
        if let Some(baseline) = &suite.baseline
            && !self.candidate_exists(baseline)
        {
            self.unknown_candidate(&at!["baseline"], "baseline", baseline);
        }
    }

    /// Whether a candidate has the id, or one of them may have had it before something was found wrong with it.
    pub(super) fn candidate_exists(&self, id: &str) -> bool {
        let candidates = &self.suite.candidates;
        candidates.iter().any(|candidate| candidate.id == id)
            || !self.document.is_sure(&at!["candidates"])
            || (0..candidates.len()).any(|index| !self.document.is_sure(&at!["candidates", index, "id"]))
    }

    pub(super) fn unknown_candidate(&mut self, path: &[Step<'_>], what: &str, id: &str) {
        let ids: Vec<&str> = self.suite.candidates.iter().map(|candidate| candidate.id.as_str()).collect();
        let help = text::did_you_mean(id, ids.iter().copied()).unwrap_or_else(|| match ids.as_slice() {
            [] => "the suite has no candidates".to_owned(),
            ids => format!(
                "candidates: {}",
                ids.iter().take(20).map(|id| format!("`{}`", shown(id))).collect::<Vec<_>>().join(", ")
            ),
        });
        self.fault_help(path, format!("{what} `{}` is no candidate", shown(id)), help);
    }

    fn candidate(&mut self, index: usize, candidate: &CandidateSpec) {
        let id = at!["candidates", index, "id"];
        self.name(&id, &candidate.id);
        if !candidate.id.is_empty() {
            let folded = candidate.id.to_lowercase();
            let earlier = self.suite.candidates[..index].iter().find(|other| other.id.to_lowercase() == folded);
            match earlier {
                Some(other) if other.id == candidate.id => {
                    self.fault(&id, format!("two candidates have the id `{}`", shown(&candidate.id)));
                }
                Some(other) => self.fault(
                    &id,
                    format!("the ids `{}` and `{}` differ in case only", shown(&other.id), shown(&candidate.id)),
                ),
                None => {}
            }
        }
        let providers = candidate.providers();
        match providers.as_slice() {
            [] => {
                self.fault_help(
                    &at!["candidates", index],
                    format!("candidate `{}` has no provider", shown(&candidate.id)),
                    format!("add {ENTRIES}"),
                );
            }
            [_] => {}
            [(first, _), (second, _), ..] => {
                self.fault_help(
                    &at!["candidates", index, *second],
                    format!("candidate `{}` has both `{first}` and `{second}`", shown(&candidate.id)),
                    "a candidate has one provider: make two candidates of it",
                );
            }
        }
        for (name, provider) in &providers {
            match provider {
                ProviderSpec::Service(spec) => self.service(index, name, spec),
                ProviderSpec::Recorded(spec) => self.recorded(index, spec),
                ProviderSpec::Command(spec) => self.command(index, spec),
                ProviderSpec::Local(spec) => self.local(index, spec),
                ProviderSpec::Scripted(spec) => self.scripted(index, spec),
            }
        }
        self.params(index, &candidate.params);
        for PriceFault { tier, key, message, help } in candidate.price.iter().flat_map(Price::faults) {
            let mut path = at!["candidates", index, "price"].to_vec();
            path.extend(tier.iter().flat_map(|tier| at!["tiers", *tier]));
            path.extend(key.map(Step::Key));
            self.fault_help(&path, message, help);
        }
        self.wait(&at!["candidates", index, "timeout"], "timeout", candidate.timeout, false);
        if candidate.retries.is_some_and(|retries| retries > MAX_RETRIES) {
            self.fault(&at!["candidates", index, "retries"], format!("`retries` must be at most {MAX_RETRIES}"));
        }
        if let Some(in_flight) = candidate.in_flight {
            self.in_flight(&at!["candidates", index, "in_flight"], in_flight);
        }
        for (key, rate) in
            [("requests_per_min", candidate.requests_per_min), ("tokens_per_min", candidate.tokens_per_min)]
        {
            if rate == Some(0) {
                self.fault(&at!["candidates", index, key], format!("`{key}` must be at least 1"));
            }
        }
        self.headers(index, candidate);
    }

    fn wait(&mut self, path: &[Step<'_>], key: &str, wait: Option<HumanDuration>, may_be_zero: bool) {
        let Some(HumanDuration(wait)) = wait else { return };
        if wait.is_zero() && !may_be_zero {
            self.fault(path, format!("`{key}` must be more than 0"));
        } else if wait > DAY {
            self.fault(path, format!("`{key}` must be at most a day"));
        }
    }

    fn service(&mut self, index: usize, name: &'static str, spec: &ServiceSpec) {
        let path = |key| at!["candidates", index, name, key];
        if spec.model.as_ref().is_some_and(|model| model.trim().is_empty()) {
            self.fault(&path("model"), "`model` must not be empty");
        }
        if spec.model.as_ref().is_some_and(|model| matches!(model.trim(), "." | "..")) {
            self.fault(&path("model"), "this is no name of a model");
        }
        if let Some(url) = &spec.base_url
            && let Err(why) = check_base_url(url)
        {
            self.fault_help(&path("base_url"), why, "such as `http://127.0.0.1:8000/v1`");
        }
        if let Some(variable) = &spec.api_key_env {
            self.variable(&path("api_key_env"), variable);
        }
    }

    /// The name of a variable. What is not one may be the key itself, so it is not shown.
    fn variable(&mut self, path: &[Step<'_>], name: &str) {
        if mask::is_key(name) {
            self.secret_fault(
                path,
                "this looks like a key; a suite names the variable that holds it",
                "put the key into a variable, write the variable's name here, and replace the key: it has been in a file",
            );
        } else if !is_variable(name) {
            self.secret_fault(
                path,
                "this is not the name of a variable",
                "letters, digits and `_`, such as `OPENAI_API_KEY`",
            );
        }
    }

    fn recorded(&mut self, index: usize, spec: &RecordedSpec) {
        self.path(&at!["candidates", index, "recorded", "path"], &spec.path);
        if let Some(JoinField { answer, sample }) = &spec.on {
            let on = at!["candidates", index, "recorded", "on"];
            if answer == sample {
                self.path(&on, answer);
            } else {
                for (key, field) in [("answer", answer), ("sample", sample)] {
                    self.path(&[&on[..], &at![key]].concat(), field);
                }
            }
        }
        let fields = [
            ("text", &spec.text),
            ("tool_calls", &spec.tool_calls),
            ("usage", &spec.usage),
            ("latency_ms", &spec.latency_ms),
            ("ttft_ms", &spec.ttft_ms),
            ("finish", &spec.finish),
            ("cost_usd", &spec.cost_usd),
            ("refusal", &spec.refusal),
            ("failure", &spec.failure),
        ];
        self.fields(&at!["candidates", index, "recorded"], &fields);
    }

    fn command(&mut self, index: usize, spec: &CommandSpec) {
        if spec.program.first().is_none_or(|program| program.trim().is_empty()) {
            self.fault_help(
                &at!["candidates", index, "command", "program"],
                "`program` must name a program",
                "such as `program: [./answer.py, --fast]`",
            );
        }
        for (item, variable) in spec.env.iter().enumerate() {
            self.variable(&at!["candidates", index, "command", "env", item], variable);
        }
    }

    fn local(&mut self, index: usize, spec: &LocalSpec) {
        self.path(&at!["candidates", index, "local", "weights"], &spec.weights);
        let most = [("parallel", Some(spec.parallel), MAX_WORKERS), ("threads", spec.threads, MAX_WORKERS)];
        for (key, number, most) in most.into_iter().chain([("context", spec.context, u32::MAX)]) {
            if number.is_some_and(|number| number == 0 || number > most) {
                self.fault(&at!["candidates", index, "local", key], format!("`{key}` must be from 1 to {most}"));
            }
        }
    }

    fn scripted(&mut self, index: usize, spec: &ScriptedSpec) {
        let path = |key| at!["candidates", index, "scripted", key];
        self.wait(&path("first_after"), "first_after", spec.first_after, true);
        self.wait(&path("gap"), "gap", spec.gap, true);
        if spec.chunks.is_some_and(|chunks| !(1..=MAX_CHUNKS).contains(&chunks)) {
            self.fault(&path("chunks"), format!("`chunks` must be between 1 and {MAX_CHUNKS}"));
        }
        self.fields(&at!["candidates", index, "scripted"], &[("fail_where", &spec.fail_where)]);
    }

    fn params(&mut self, index: usize, params: &Params) {
        let path = |key| at!["candidates", index, "params", key];
        if params.temperature.is_some_and(|temperature| !(temperature.is_finite() && temperature >= 0.0)) {
            self.fault(&path("temperature"), "`temperature` must be 0 or more");
        }
        if params.top_p.is_some_and(|top_p| !(0.0..=1.0).contains(&top_p)) {
            self.fault(&path("top_p"), "`top_p` must be between 0 and 1");
        }
        if params.max_output_tokens == Some(0) {
            self.fault(&path("max_output_tokens"), "`max_output_tokens` must be at least 1");
        }
        for (item, stop) in params.stop.iter().flatten().enumerate() {
            if stop.is_empty() {
                self.fault(&at!["candidates", index, "params", "stop", item], "a text to stop at must not be empty");
            }
        }
    }

    fn headers(&mut self, index: usize, candidate: &CandidateSpec) {
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in &candidate.headers {
            let path = at!["candidates", index, "headers", name.as_str()];
            let folded = name.to_ascii_lowercase();
            if !is_token(name) {
                self.fault(&path, format!("`{}` is not the name of a header", shown(name)));
            } else if ["content-length", "transfer-encoding"].contains(&folded.as_str()) {
                self.fault(&path, format!("the header `{name}` is set by the request itself"));
            } else if seen.contains(&folded) {
                self.fault(&path, format!("the header `{name}` is given twice"));
            }
            self.header_value(&path, &folded, value);
            seen.push(folded);
        }
    }

    fn header_value(&mut self, path: &[Step<'_>], name: &str, value: &str) {
        if value.chars().any(|c| !matches!(c, ' '..='~' | '\t')) {
            self.secret_fault(
                path,
                "a header's value must be printable ASCII without a line break",
                "check its quotes",
            );
            return;
        }
        let literal = match literal(value) {
            Ok(literal) => literal,
            Err(why) => {
                self.secret_fault(path, why, "a variable is named as `${NAME}`");
                return;
            }
        };
        let has_variable = literal.len() < value.len();
        let is_literal_secret = is_secret_header(name) && !has_variable && !value.trim().is_empty();
        if is_literal_secret || literal.split([' ', ',', ';', '=']).any(mask::is_key) {
            self.secret_fault(
                path,
                format!("the value of the header `{}` is a secret, written into the file", shown(name)),
                "put it into a variable and name that: `Bearer ${NAME}`",
            );
        }
    }
}

/// What of a header's value is not a `${NAME}`.
fn literal(value: &str) -> Result<String, &'static str> {
    let mut literal = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        literal.push_str(before);
        let Some((name, tail)) = after.split_once('}') else { return Err("a `${` has no `}`") };
        if !is_variable(name) {
            return Err("between `${` and `}` stands no name of a variable");
        }
        rest = tail;
    }
    literal.push_str(rest);
    Ok(literal)
}

/// A token of RFC 7230, section 3.2.6.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether a text can be the address of an API: `http(s)://host[:port][/path]`. It is never repeated in the message: it
/// may hold a password.
fn check_base_url(url: &str) -> Result<(), &'static str> {
    let lower = url.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://")) else {
        return Err("a base URL begins with `http://` or `https://`");
    };
    if url.chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        return Err("a base URL has no white space and no characters beyond ASCII");
    }
    if url.contains(['?', '#']) {
        return Err("a base URL has no query and no fragment");
    }
    if url.contains(['{', '}', '<', '>', '"', '\\', '^', '`', '|']) {
        return Err("a base URL has no brackets, quotes or backslashes; variables are not replaced in it");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a base URL has no user and password: a key is named by `api_key_env`");
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return Err("a base URL needs `:` before the port"),
        },
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(['[', ']']) {
        return Err("a base URL names a host");
    }
    if let Some(port) = port
        && (!port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err())
    {
        return Err("the port of a base URL is a number from 0 to 65535");
    }
    if rest.trim_end_matches('/').ends_with("/chat/completions") {
        return Err("a base URL ends before `/chat/completions`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        for good in [
            "https://api.openai.com/v1",
            "http://127.0.0.1:8000/v1/",
            "HTTP://localhost",
            "http://[::1]:80/v1",
            "https://h/a%20b/~x",
        ] {
            assert_eq!(check_base_url(good), Ok(()), "{good}");
        }
        for bad in [
            "api.openai.com/v1",
            "ftp://h",
            "http://",
            "http:///v1",
            "http://u:p@h/v1",
            "http://h/v1?key=1",
            "http://h/v1#x",
            "http://h:99999/v1",
            "http://h:x",
            "http://h /v1",
            "http://h/v1\n",
            "https://${HOST}/v1",
            "http://[::1/v1",
            "http://h/v1/chat/completions",
        ] {
            assert!(check_base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn header_literals() {
        assert_eq!(literal("Bearer ${TOKEN}").as_deref(), Ok("Bearer "));
        assert_eq!(literal("plain").as_deref(), Ok("plain"));
        assert!(literal("${").is_err());
        assert!(literal("${a b}").is_err());
        assert!(is_secret_header("x-api-key") && is_secret_header("proxy-authorization"));
        assert!(!is_secret_header("x-max-tokens") && !is_secret_header("x-team"));
        assert!(is_token("X-Team") && !is_token("x team") && !is_token(""));
    }
}

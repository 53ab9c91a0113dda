//! Suites as files: what is read, and every word of what is said about broken ones.

use std::path::Path;

use proptest::prelude::*;

use crate::suite::spec::{ScorerSpec, Suite};
use crate::suite::{Document, check, parse};
use crate::types::Faults;

const GOOD: &str = r#"name: support-triage
decision: May ticket triage move from the current API to open weights?

dataset:
  path: ../datasets/support-triage/data.jsonl
  id: id
  target: expected
  cluster: customer
  tags: [language, channel]
  select: { where: "language == 'en'", sample: 200, seed: 7, stratify: channel }

prompt:
  system: You route support tickets. Answer with JSON.
  user: |
    {{ subject }}

    {{ body }}

output:
  schema: schemas/triage.json

candidates:
  - id: current
    openai: { model: gpt-5-mini, api_key_env: OPENAI_API_KEY }
  - id: qwen-vllm
    openai: { base_url: "http://127.0.0.1:8000/v1", model: Qwen/Qwen3-32B }
    params: { temperature: 0, max_output_tokens: 256, seed: 1 }
    structured: json_schema
    price: { per_hour_usd: 3.13 }
    timeout: 120s
    headers: { authorization: "Bearer ${TOKEN}", x-team: no }
baseline: current

scorers:
  - label: { field: /intent }
  - schema:
  - number: { field: /priority, tolerance: 0 }

gates:
  - { metric: label, non_inferior: { margin: 0.02 } }
  - { metric: schema.json, at_least: 0.99 }
  - { metric: latency_ms.p95, at_most: 1500 }
  - { metric: cost_usd, at_most_ratio: 0.5 }

repeats: 1
pacing: { closed: { in_flight: 16 } }
limits: { max_failures: 5%, deadline: 30m }
seed: 7
"#;

fn read(text: &str) -> (Document, Option<Suite>, Faults) {
    let (document, suite, mut faults) = parse(Path::new("suite.yaml"), text.as_bytes());
    if let Some(suite) = &suite {
        faults.0.extend(check(&document, suite).0);
    }
    (document, suite, faults)
}

/// All faults as they are printed.
fn faults(text: &str) -> String {
    read(text).2.to_string()
}

/// The messages alone, with their lines.
fn messages(text: &str) -> Vec<String> {
    read(text).2.0.iter().map(|f| format!("{}: {}", f.place.line.unwrap_or(0), f.message)).collect()
}

/// The good suite with one text replaced.
fn with(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    GOOD.replacen(old, new, 1)
}

#[test]
fn a_good_suite_is_read_as_written() {
    let (document, suite, faults) = read(GOOD);
    assert_eq!(faults.to_string(), "");
    let suite = suite.unwrap();
    assert_eq!(suite.candidates.len(), 2);
    assert_eq!(suite.candidates[1].headers["x-team"], "no", "YAML 1.2: `no` is a string");
    assert_eq!(suite.prompt.unwrap().user.as_deref(), Some("{{ subject }}\n\n{{ body }}\n"));
    let Some(price) = &suite.candidates[1].price else { panic!("a price") };
    assert_eq!(price.per_hour_usd.unwrap().to_string(), "3.13");
    let ScorerSpec::Schema(schema) = &suite.scorers[1] else { panic!("a schema") };
    assert!(schema.assert_format, "an empty value is a mapping with the defaults");
    let place = |path: &[_]| document.place(path).to_string();
    assert_eq!(place(&at!["candidates", 1, "openai", "model"]), "suite.yaml:26:60");
    assert_eq!(place(&at!["candidates", 1, "openai", "nope"]), "suite.yaml:26:13");
    assert_eq!(document.key_place(&at!["candidates", 1, "openai"]).to_string(), "suite.yaml:26:5");
    assert_eq!(document.name(&at!["candidates", 1, "openai", "x"]), "candidates[1].openai.x");
    let fault = document.text_fault(&at!["prompt", "user"], 3, Some("body"), "unknown variable `body`");
    assert_eq!(
        fault.to_string(),
        "error: unknown variable `body`\n  --> suite.yaml:17:8\n    |\n 17 |     {{ body }}\n    |        ^"
    );
    let late = with("  user: |\n", "  user: |-  # two blank lines\n\n\n");
    let (document, ..) = read(&late);
    assert_eq!(document.place(&at!["prompt", "user"]).to_string(), "suite.yaml:14:9");
    assert_eq!(document.text_fault(&at!["prompt", "user"], 5, None, "x").place.to_string(), "suite.yaml:19:5");
    let crlf = GOOD.replace('\n', "\r\n");
    let bytes = [b"\xEF\xBB\xBF".as_slice(), crlf.as_bytes()].concat();
    let (again, suite, faults) = parse(Path::new("suite.yaml"), &bytes);
    assert!(faults.is_empty() && suite.is_some(), "a byte order mark and CRLF: {faults}");
    assert_eq!(again.place(&at!["candidates", 1, "openai", "model"]).to_string(), "suite.yaml:26:60");
}

#[test]
fn faults_of_all_kinds_are_reported_together() {
    let text = "\
name: triage
dataset: { path: data.jsonl }
prompt: { user: \"{{ q }}\" }
candidates:
  - id: a
    openai: { modle: gpt }
    timeout: 30
  - id: b
    recorded: { path: [x] }
    structured: jsonschema
baseline: today
gates:
  - { metric: latency_ms.p96, at_most: 5 }
";
    let expected = "\
error: unknown key `modle` in `candidates[0].openai`
  --> suite.yaml:6:15
   |
 6 |     openai: { modle: gpt }
   |               ^
   = help: did you mean `model`?

error: expected a duration with its unit, such as `30s`, `5m` or `250ms`, found the number `30`
  --> suite.yaml:7:14
   |
 7 |     timeout: 30
   |              ^

error: expected a string, found a list
  --> suite.yaml:9:23
   |
 9 |     recorded: { path: [x] }
   |                       ^

error: unknown value `jsonschema` for `candidates[1].structured`
  --> suite.yaml:10:17
    |
 10 |     structured: jsonschema
    |                 ^
   = help: did you mean `json_schema`?

error: baseline `today` is no candidate
  --> suite.yaml:11:11
    |
 11 | baseline: today
    |           ^
   = help: candidates: `a`, `b`

error: nothing makes the metric `latency_ms.p96`
  --> suite.yaml:13:15
    |
 13 |   - { metric: latency_ms.p96, at_most: 5 }
    |               ^
   = help: did you mean `latency_ms.p90`?";
    assert_eq!(faults(text), expected);
}

#[test]
fn one_mistake_is_one_fault() {
    for (old, new, expected) in [
        // The misspelt key was the provider, the scorers, the baseline, the prompt.
        ("openai: { model: gpt", "opnai: { model: gpt", "24: unknown key `opnai` in `candidates[0]`"),
        ("scorers:", "scorer:", "34: unknown key `scorer`"),
        ("baseline:", "baselin:", "32: unknown key `baselin`"),
        ("prompt:", "promt:", "12: unknown key `promt`"),
        ("output:", "outptu:", "19: unknown key `outptu`"),
        // What others refer to was wrong.
        ("- id: current", "- id: 7", "23: expected a string, found the number `7`"),
        ("- label: { field: /intent }", "- lable: { field: /intent }", "35: unknown key `lable` in `scorers[0]`"),
        ("field: /intent", "naem: label", "35: unknown key `naem` in `scorers[0].label`"),
        (
            "- label: { field: /intent }",
            "- label",
            "35: expected a mapping with exactly one of the keys `exact`, `contains`, `regex`, `number`, `label`, `schema`, `agreement`, `length`, `refusal`, found the string `label`",
        ),
        (
            "- number: {",
            "- {",
            "37: expected a mapping with exactly one of the keys `exact`, `contains`, `regex`, `number`, `label`, `schema`, `agreement`, `length`, `refusal`, found the keys `field`, `tolerance`",
        ),
        (
            "pacing: { closed: { in_flight: 16 } }",
            "pacing: { closed: { in_flight: many } }",
            "46: expected a whole number from 0 to 4294967295, found the string `many`",
        ),
        (
            "pacing: { closed: { in_flight: 16 } }",
            "pacing: { closed: 16 }",
            "46: expected a mapping, found the number `16`",
        ),
        (
            "pacing: { closed: { in_flight: 16 } }",
            "pacing: closed",
            "46: expected a mapping with the key `closed`, found the string `closed`",
        ),
        ("name: support-triage\n", "", "1: missing key `name`"),
        (
            "dataset:\n  path: ../datasets/support-triage/data.jsonl\n  id: id",
            "dataset:\n  id: id",
            "5: missing key `path` in `dataset`",
        ),
        ("repeats: 1", "repeats: -1", "45: expected a whole number from 0 to 4294967295, found the number `-1`"),
        ("repeats: 1", "repeats: 1.5", "45: expected a whole number from 0 to 4294967295, found the number `1.5`"),
        ("repeats: 1", "repeats: yes", "45: expected a whole number from 0 to 4294967295, found the string `yes`"),
        ("at_most: 1500", "at_most: .inf", "42: expected a finite number, found the number `inf`"),
        ("at_most: 1500", "at_most:", "42: the gate on `latency_ms.p95` has no condition"),
        ("margin: 0.02", "margin: two", "40: expected a number, found the string `two`"),
        ("{ margin: 0.02 }", "0.02", "40: expected a mapping, found the number `0.02`"),
        (
            "per_hour_usd: 3.13",
            "per_hour_usd: -3",
            "29: expected an amount of dollars, 0 or more, found the number `-3`",
        ),
        (
            "max_failures: 5%",
            "max_failures: 500%",
            "47: expected a whole number, or a share such as `5%`, found the string `500%`",
        ),
        ("repeats: 1", "repeats: 1\nrepeats: 2", "46: the key `repeats` is given twice, first in line 45"),
        ("repeats: 1", "repeats: !!int 1", "45: the tag `tag:yaml.org,2002:!int` has no meaning in a suite"),
        ("x-team: no", "1: x", "31: a key must be a string, found the number `1`"),
        ("tags: [language, channel]", "tags: language", "9: expected a list, found the string `language`"),
        ("seed: 7\n", "seed: 7\n---\nname: x\n", "49: a second document begins here"),
    ] {
        assert_eq!(messages(&with(old, new)), [expected], "{old} -> {new}");
    }
}

#[test]
fn rules() {
    for (old, new, expected) in [
        ("name: support-triage", "name: a/b", "1: `name` must not be `a/b`: it becomes part of a file name"),
        ("name: support-triage", "name: ..", "1: `name` must not be `..`: it becomes part of a file name"),
        ("name: support-triage", "name: \" \"", "1: `name` must not be empty"),
        ("name: support-triage", "name: \"a\\tb\"", "1: `name` has characters that cannot be shown: `a\\tb`"),
        ("../datasets/support-triage/data.jsonl", "\"\"", "5: `dataset.path` must not be empty"),
        ("../datasets/support-triage/data.jsonl", "[a, \"\"]", "5: `dataset.path[1]` must not be empty"),
        ("../datasets/support-triage/data.jsonl", "[]", "5: `dataset.path` must name at least one file"),
        ("sample: 200, seed: 7,", "", "10: `stratify` has no effect without `sample`"),
        ("sample: 200", "sample: 0", "10: `sample` must be at least 1"),
        ("  user: |", "  messages: chat\n  user: |", "13: `prompt` has both `user` and `messages`"),
        ("id: qwen-vllm", "id: Current", "25: the ids `current` and `Current` differ in case only"),
        ("id: qwen-vllm", "id: current", "25: two candidates have the id `current`"),
        (
            "    openai: { model: gpt-5-mini, api_key_env: OPENAI_API_KEY }\n",
            "",
            "23: candidate `current` has no provider",
        ),
        (
            "    structured:",
            "    scripted: { reply: x }\n    structured:",
            "28: candidate `qwen-vllm` has both `openai` and `scripted`",
        ),
        (
            "http://127.0.0.1:8000/v1",
            "http://me:pw@h/v1",
            "26: a base URL has no user and password: a key is named by `api_key_env`",
        ),
        ("OPENAI_API_KEY", "sk-0123456789abc", "24: this looks like a key; a suite names the variable that holds it"),
        ("OPENAI_API_KEY", "my-secret", "24: this is not the name of a variable"),
        (
            "Bearer ${TOKEN}",
            "Bearer abc",
            "31: the value of the header `authorization` is a secret, written into the file",
        ),
        (
            "x-team: no",
            "x-team: sk-0123456789abc",
            "31: the value of the header `x-team` is a secret, written into the file",
        ),
        ("x-team: no", "x team: no", "31: `x team` is not the name of a header"),
        ("x-team: no", "x-team: \"a\\nb\"", "31: a header's value must be printable ASCII without a line break"),
        ("temperature: 0", "temperature: -1", "27: `temperature` must be 0 or more"),
        ("max_output_tokens: 256", "max_output_tokens: 0", "27: `max_output_tokens` must be at least 1"),
        ("max_output_tokens: 256", "top_p: 1.1", "27: `top_p` must be between 0 and 1"),
        ("{ per_hour_usd: 3.13 }", "{}", "29: `price` names no amount"),
        ("timeout: 120s", "timeout: 0s", "30: `timeout` must be more than 0"),
        ("timeout: 120s", "retries: 21", "30: `retries` must be at most 20"),
        ("timeout: 120s", "in_flight: 0", "30: `in_flight` must be between 1 and 4096"),
        ("baseline: current", "baseline: curent", "32: baseline `curent` is no candidate"),
        ("- number: { field: /priority, tolerance: 0 }", "- label:", "37: two scorers make the metric `label`"),
        (
            "- number: {",
            "- number: { name: cost_usd,",
            "37: `cost_usd` is a built-in metric: give the scorer another `name`",
        ),
        ("tolerance: 0", "tolerance: -1", "37: `tolerance` must be 0 or more"),
        ("field: /priority,", "extract: {},", "37: this names nothing to extract"),
        (
            "field: /priority,",
            "extract: { regex: a, fence: true },",
            "37: this has both `regex` and `fence`: exactly one says what to extract",
        ),
        ("field: /priority,", "field: /p, extract: { fence: true },", "37: the scorer has both `field` and `extract`"),
        ("field: /priority,", "extract: { pointer: a },", "37: a JSON pointer begins with `/`"),
        ("field: /priority,", "extract: { fence: true, which: last },", "37: `which` goes with `regex` only"),
        (
            "- number: { field: /priority, tolerance: 0 }",
            "- contains: { any: [\"\"] }",
            "37: every answer contains the empty text",
        ),
        (
            "- number: { field: /priority, tolerance: 0 }",
            "- length: { at_least: 2, at_most: 0.5 }",
            "37: `at_least` is more than `at_most`: no answer is within such bounds",
        ),
        ("- number: { field: /priority, tolerance: 0 }", "- length: {}", "37: the scorer has no bound"),
        (
            "- number: { field: /priority, tolerance: 0 }",
            "- refusal: { phrases: [\" \"] }",
            "37: every answer contains the empty text",
        ),
        ("metric: label", "metric: lable", "40: nothing makes the metric `lable`"),
        ("metric: latency_ms.p95", "metric: latency_ms", "42: nothing makes the metric `latency_ms`"),
        ("at_most: 1500", "at_most: 1500, at_least: 1", "42: the gate has both `at_least` and `at_most`"),
        (", at_most: 1500", "", "42: the gate on `latency_ms.p95` has no condition"),
        ("at_least: 0.99", "at_least: 99", "41: `schema.json` is a share from 0 to 1"),
        ("margin: 0.02", "margin: 2", "40: `label` is a share from 0 to 1: a margin of 1 allows anything"),
        ("margin: 0.02", "margin: -0.1", "40: `margin` must be 0 or more"),
        ("at_most_ratio: 0.5", "at_most_ratio: 0", "43: `at_most_ratio` must be more than 0"),
        ("at_most: 1500", "at_most: 1500, candidates: [qwen]", "42: gate on `qwen` is no candidate"),
        (
            "margin: 0.02 }",
            "margin: 0.02 }, candidates: [current]",
            "40: the gate compares the baseline `current` with itself",
        ),
        ("repeats: 1", "repeats: 0", "45: `repeats` must be at least 1"),
        ("in_flight: 16", "in_flight: 5000", "46: `in_flight` must be between 1 and 4096"),
        ("deadline: 30m", "deadline: 0s", "47: `deadline` must be more than 0"),
    ] {
        assert_eq!(messages(&with(old, new)), [expected], "{old} -> {new}");
    }
    let relative = with("baseline: current\n", "");
    assert_eq!(
        messages(&relative),
        [
            "39: `non_inferior` needs a baseline, and the suite has none",
            "42: `at_most_ratio` needs a baseline, and the suite has none"
        ]
    );
}

#[test]
fn secrets_are_not_shown() {
    for (old, new) in [
        ("OPENAI_API_KEY", "sk-0123456789abc"),
        ("api_key_env: OPENAI_API_KEY", "api_key: sk-0123456789abc"),
        ("api_key_env: OPENAI_API_KEY", "key: 0123456789abc"),
        ("api_key_env: OPENAI_API_KEY", "modl: x, api_key: \"0123456789abc\""),
        ("OPENAI_API_KEY", "0123456789abc"),
        ("Bearer ${TOKEN}", "Bearer 0123456789abc"),
        ("authorization: \"Bearer ${TOKEN}\"", "x-api-key: 0123456789abc"),
        ("http://127.0.0.1:8000/v1", "https://u:0123456789abc@h/v1"),
        ("seed: 7", "seed: sk-0123456789abc"),
    ] {
        let shown = faults(&with(old, new));
        assert!(shown.starts_with("error: "), "{new}");
        assert!(!shown.contains("0123456789abc"), "{shown}");
    }
}

#[test]
fn broken_files() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "error: the suite is empty\n  --> suite.yaml\n   = help: `evalctl init` writes one to start from"),
        (
            b"# nothing\n",
            "error: the suite is empty\n  --> suite.yaml\n   = help: `evalctl init` writes one to start from",
        ),
        (
            b"- a\n- b\n",
            "error: expected a mapping with `name`, `dataset`, `candidates`, found a list\n  --> suite.yaml:1:1\n   |\n 1 | - a\n   | ^",
        ),
        (
            b"name: x\ndecision: caf\xE9\n",
            "error: the byte 0xE9 is not valid UTF-8\n  --> suite.yaml:2:14\n   |\n 2 | decision: caf\n   |              ^\n   = help: a suite is UTF-8 text",
        ),
        (
            b"name: a\0b\n",
            "error: the character U+0000 is not allowed\n  --> suite.yaml:1:8\n   |\n 1 | name: a\n   |        ^\n   = help: a suite is UTF-8 text",
        ),
        (
            b"name: x\ndataset:\n\tpath: y\n",
            "error: not valid YAML: tabs disallowed within this context (block indentation)\n  --> suite.yaml:3:2\n   |\n 3 |  path: y\n   |  ^\n   = help: indent with spaces: YAML allows no tabs there",
        ),
        (
            b"name: x: y\n",
            "error: not valid YAML: mapping values are not allowed in this context\n  --> suite.yaml:1:8\n   |\n 1 | name: x: y\n   |        ^\n   = help: put a text that contains `: ` in quotes, or check the indentation",
        ),
        (
            b"name: &a [*a]\n",
            "error: the alias stands inside the value that it names\n  --> suite.yaml:1:11\n   |\n 1 | name: &a [*a]\n   |           ^",
        ),
    ];
    for (bytes, expected) in cases {
        let (_, suite, faults) = parse(Path::new("suite.yaml"), bytes);
        assert_eq!(faults.to_string(), *expected);
        assert!(suite.is_none());
    }
    let (_, _, faults) = parse(Path::new("suite.yaml"), &vec![b'#'; crate::suite::MAX_BYTES + 1]);
    assert_eq!(faults.to_string(), "error: a suite of 4194305 bytes is longer than 4194304\n  --> suite.yaml");
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    assert_eq!(
        messages("decision: x\nscorers: [{regex: {}}]\ngates: [{at_least: 1}]\n"),
        [
            "1: missing key `name`",
            "1: missing key `dataset`",
            "1: missing key `candidates`",
            "2: missing key `pattern` in `scorers[0].regex`",
            "3: missing key `metric` in `gates[0]`",
        ]
    );
}

#[test]
fn aliases_are_values() {
    let text = with("params: {", "params: &p {").replace(
        "    openai: { model: gpt-5-mini, api_key_env: OPENAI_API_KEY }\n",
        "    openai: { model: gpt-5-mini }\n    params: &q { temperature: 1 }\n",
    );
    let (_, suite, faults) =
        read(&text.replace(
            "    structured: json_schema",
            "    structured: json_schema\n    retries: &r 3\n    in_flight: *r",
        ));
    assert_eq!(faults.to_string(), "");
    assert_eq!(suite.unwrap().candidates[1].in_flight, Some(3));
}

#[test]
fn hostile_files_end_soon() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, inner) in ('b'..='z').zip('a'..='y') {
        bomb.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{inner}"); 10].join(", ")));
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(10_000));
    let files = [
        (bomb, "more than 250000 values"),
        (long, "bytes of text"),
        ("[".repeat(10_000), "nested too deep"),
        ("a: ".repeat(10_000), "not valid YAML"),
        ("- ".repeat(10_000), "nested more than 128 deep"),
        ("? ".repeat(10_000), "nested more than 128 deep"),
        ((0..1_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect(), "nested more than 128 deep"),
        (format!("x: {}1{}", "{a: ".repeat(200), "}".repeat(200)), "nested more than 128 deep"),
        ((0..100_000).map(|i| format!("k{i}: 1\n")).collect(), "only 50 are shown"),
        ("k: 1\n".repeat(100_000), "only 50 are shown"),
        (format!("name: x\nscorers: [{}]", "{labl: 1}, ".repeat(20_000)), "only 50 are shown"),
        (format!("\"{}\": 1\n", "k".repeat(1 << 20)), "not valid YAML"),
        (format!("name: x\ntags:\n{}", "- |\n  a\n".repeat(100_000)), "unknown key `tags`"),
        (format!("tags:\n{}", "- &a x\n- *a\n".repeat(50_000)), "unknown key `tags`"),
        (format!("x: {}{}", "&a [".repeat(120), "]".repeat(120)), "unknown key `x`"),
        ("name: - !!x\n".to_owned(), "not valid YAML"),
        (format!("tags:\n{}", "- !!x a\n".repeat(50_000)), "only 50 are shown"),
        (format!("tags: [{}]", "{1: a}, ".repeat(50_000)), "only 50 are shown"),
        (format!("name: \"{}\"", "x\\n".repeat(1 << 20)), "is 2097152 bytes long"),
        ("{".repeat(1 << 20), "nested too deep"),
        (format!("k: \"{}", "x".repeat(1 << 20)), "not valid YAML"),
        ("*a".repeat(100), "not valid YAML"),
        ("!".repeat(100_000), "not valid YAML"),
    ];
    for (text, expected) in files {
        let shown = faults(&text);
        assert!(shown.contains(expected), "{}: {}", &text[..40.min(text.len())], &shown[..2000.min(shown.len())]);
        assert!(shown.len() < 50_000, "{} bytes", shown.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (_, suite, faults) = parse(Path::new("x"), &bytes);
        prop_assert!(suite.is_some() || !faults.is_empty());
    }

    #[test]
    fn arbitrary_yaml_is_read_or_refused(
        text in "([a-c]: |- |\\[|\\]|\\{|\\}|, |\n|  |&a |\\*a|\\?|!|'|\"|\\||>|#|%|---|\\.\\.\\.|\t|0x1|\\.inf|1e9|~|null|name|é|\u{85}|\u{FEFF}){0,60}"
    ) {
        let (_, suite, faults) = read(&text);
        prop_assert!(suite.is_some() || !faults.is_empty());
    }

    #[test]
    fn a_mutilated_suite_is_read_or_refused(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..12, "([:\\-{}\\[\\],&*!|>#'\" \n\t0-9a-z]|null|\\$\\{){0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (place, cut, insert) in edits {
            let start = place.index(text.len().max(1)).min(text.len());
            let end = (start + cut).min(text.len());
            text.splice(start..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        let (document, suite, faults) = read(&text);
        prop_assert!(suite.is_some() || !faults.is_empty(), "{text}");
        let lines = crate::suite::document::lines(document.text()).count() as u64;
        for fault in &faults.0 {
            prop_assert!(fault.place.line.is_none_or(|line| (1..=lines).contains(&line)), "{fault}\n{text}");
        }
        let mut seen = std::collections::HashSet::new();
        for fault in &faults.0 {
            prop_assert!(seen.insert(fault.to_string()), "twice: {fault}\n{text}");
        }
    }
}

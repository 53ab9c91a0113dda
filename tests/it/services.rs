//! Services by name: eight dialects give the same scores, limits are ridden out, money is not overspent.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::server::{self, Asked, Model, Step};
use crate::support::{Folder, finish, until};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The number behind the first `Q` of a request, whatever its shape.
fn question(asked: &Asked) -> u64 {
    let body = asked.body.to_string();
    let digits = body.split("Q:").nth(1).unwrap_or_else(|| panic!("no question in {body}"));
    digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// Right but for every third.
fn answer(asked: &Asked) -> String {
    let n = question(asked);
    if n.is_multiple_of(3) { "wrong".to_owned() } else { format!("A{n}") }
}

fn sse(events: &[(&str, Value)]) -> Vec<Step> {
    let mut steps = vec![server::stream_head()];
    for (name, data) in events {
        let name = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
        steps.push(Step::Chunk(format!("{name}data: {data}\n\n").into_bytes()));
    }
    steps.push(Step::End);
    steps
}

/// Speaks eight dialects, by the path.
fn polyglot(asked: &Asked) -> Vec<Step> {
    let text = answer(asked);
    let (head, tail) = text.split_at(1);
    let whole = |body: Value| server::plain(200, &[JSON], &body.to_string());
    let path = asked.path.as_str();
    if path.ends_with("/chat/completions") {
        return server::answer(asked, &text);
    }
    if path.ends_with("/responses") {
        let item = json!({"type": "message", "content": [{"type": "output_text", "text": text}]});
        let done = json!({
            "model": "r-1", "status": "completed", "output": [item], "usage": {"input_tokens": 10, "output_tokens": 5},
        });
        if !asked.is_streamed() {
            return whole(done);
        }
        let delta = |text: &str| json!({"type": "response.output_text.delta", "output_index": 0, "delta": text});
        return sse(&[
            ("", json!({"type": "response.created", "response": {"model": "r-1"}})),
            ("", delta(head)),
            ("", delta(tail)),
            ("", json!({"type": "response.completed", "response": done})),
        ]);
    }
    if path.ends_with("/messages") {
        assert!(asked.headers.contains_key("anthropic-version"));
        assert!(asked.body["max_tokens"].is_u64());
        let delta = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        return sse(&[
            (
                "message_start",
                json!({"type": "message_start", "message": {"model": "c-1", "usage": {"input_tokens": 10}}}),
            ),
            (
                "content_block_start",
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}),
            ),
            ("content_block_delta", delta(head)),
            ("content_block_delta", delta(tail)),
            (
                "message_delta",
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
            ),
            ("message_stop", json!({"type": "message_stop"})),
        ]);
    }
    if path.contains(":streamGenerateContent?alt=sse") {
        let part = |text: &str| json!({"candidates": [{"content": {"parts": [{"text": text}]}}]});
        let usage = json!({"promptTokenCount": 10, "candidatesTokenCount": 5});
        return sse(&[
            ("", part(head)),
            (
                "",
                json!({"candidates": [{"content": {"parts": [{"text": tail}]}, "finishReason": "STOP"}], "usageMetadata": usage}),
            ),
        ]);
    }
    if path.ends_with("/converse") {
        return whole(json!({
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 10, "outputTokens": 5},
        }));
    }
    if path.ends_with("/api/chat") {
        let line = |value: Value| format!("{value}\n");
        let body = [
            line(json!({"model": "o", "message": {"content": head}, "done": false})),
            line(json!({"model": "o", "message": {"content": tail}, "done": false})),
            line(json!({"done": true, "done_reason": "stop", "prompt_eval_count": 10, "eval_count": 5})),
        ];
        return server::plain(200, &[("content-type", "application/x-ndjson")], &body.concat());
    }
    if path.ends_with("/generate_stream") {
        let details = json!({"finish_reason": "eos_token", "generated_tokens": 5, "input_length": 10});
        return sse(&[
            ("", json!({"token": {"text": head}, "generated_text": null})),
            ("", json!({"token": {"text": tail}, "generated_text": text, "details": details})),
        ]);
    }
    assert!(path.ends_with("/chat"), "{path}");
    let delta = |text: &str| json!({"type": "content-delta", "delta": {"message": {"content": {"text": text}}}});
    let usage = json!({"billed_units": {"input_tokens": 10, "output_tokens": 5}});
    sse(&[
        ("", json!({"type": "message-start"})),
        ("", delta(head)),
        ("", delta(tail)),
        ("", json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}})),
    ])
}

fn questions(folder: &Folder, count: u64) {
    let rows = (0..count).map(|n| json!({"id": format!("q{n}"), "input": format!("Q:{n}"), "target": format!("A{n}")}));
    folder.write("data.jsonl", rows.map(|row| format!("{row}\n")).collect::<String>());
}

const SERVICES: [(&str, &str); 8] = [
    ("openai", ""),
    ("responses", "api: responses, "),
    ("anthropic", ""),
    ("gemini", ""),
    ("bedrock", "region: us-east-1, stream: false, "),
    ("cohere", ""),
    ("ollama", ""),
    ("tgi", ""),
];

#[test]
fn eight_dialects_give_the_same_scores_and_say_what_they_lose() {
    let model = Model::start(polyglot);
    let folder = Folder::new();
    questions(&folder, 30);
    let mut suite = "name: eight\ndataset: { path: data.jsonl }\nprompt: { system: Answer., user: \"{{ input }}\" }\n\
                     scorers:\n  - exact: {}\nbaseline: openai\ncandidates:\n"
        .to_owned();
    for (id, more) in SERVICES {
        let service = if id == "responses" { "openai" } else { id };
        suite.push_str(&format!(
            "  - id: {id}\n    {service}: {{ model: m, {more}base_url: \"{}\" }}\n    \
             params: {{ temperature: 0, max_output_tokens: 50, seed: 7 }}\n    price: {{ per_request_usd: 0.001 }}\n",
            model.base_url()
        ));
    }
    folder.write("suite.yaml", suite);
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let report = folder.json("run/report.json");
    for candidate in report["candidates"].as_array().unwrap() {
        let id = candidate["id"].as_str().unwrap();
        let metric = |name: &str| {
            let all = candidate["metrics"].as_array().unwrap();
            all.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("{id} {name}"))["value"].clone()
        };
        assert_eq!(candidate["counts"]["scored"], 30, "{id}: {}", candidate["failures"]);
        assert_eq!(metric("exact").as_f64(), Some(20.0 / 30.0), "{id}");
        // Our own server tells as many output tokens as it sends pieces.
        let output = if id == "openai" { 1.0 } else { 5.0 };
        assert_eq!(
            (metric("input_tokens").as_f64(), metric("output_tokens").as_f64()),
            (Some(10.0), Some(output)),
            "{id}"
        );
        if id != "bedrock" {
            assert!(metric("ttft_ms.p50").is_number(), "{id}");
        }
    }
    let notes = report["notes"].as_array().unwrap().iter();
    let lossy: Vec<&str> =
        notes.filter(|note| note["kind"] == "lossy").map(|note| note["text"].as_str().unwrap()).collect();
    for (id, is_lossy) in
        [("openai", false), ("responses", true), ("anthropic", true), ("gemini", false), ("bedrock", true)]
    {
        let said = lossy.iter().find(|text| text.starts_with(&format!("`{id}`")));
        assert_eq!(said.is_some_and(|text| text.contains("parameter `seed`")), is_lossy, "{id}: {lossy:?}");
    }
    assert!(lossy.iter().any(|text| text.starts_with("`tgi`") && text.contains("who speaks")), "{lossy:?}");
}

/// Allows so many requests a second, with bursts.
struct Allowance {
    level: f64,
    at: Instant,
}

#[test]
fn a_storm_of_refusals_loses_nothing_and_no_latency_holds_the_waiting() {
    const PER_S: f64 = 20.0;
    const BURST: f64 = 5.0;
    let allowance = Mutex::new(Allowance { level: BURST, at: Instant::now() });
    let model = Model::start(move |asked| {
        let mut allowance = allowance.lock().unwrap();
        let earned = asked.at.saturating_duration_since(allowance.at).as_secs_f64() * PER_S;
        (allowance.level, allowance.at) = ((allowance.level + earned).min(BURST), asked.at);
        if allowance.level < 1.0 {
            return server::error(429, &[("retry-after", "1")], "slow down");
        }
        allowance.level -= 1.0;
        server::answer(asked, "yes")
    });
    let folder = Folder::new();
    questions(&folder, 500);
    folder.write(
        "suite.yaml",
        format!(
            "name: storm\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ input }}}}\" }}\nscorers:\n  - exact: {{}}\n\
             candidates:\n  - {{ id: a, openai: {{ model: m, base_url: \"{}\" }} }}\npacing: {{ closed: {{ in_flight: 16 }} }}\n",
            model.base_url()
        ),
    );
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let report = folder.json("run/report.json");
    assert_eq!(report["candidates"][0]["counts"]["scored"], 500);
    let asked = model.asked();
    let wasted = asked.len() - 500;
    assert!(wasted < 25, "{wasted} requests were refused");
    let took = asked.last().unwrap().at.duration_since(asked[0].at).as_secs_f64();
    assert!(500.0 / took >= 0.85 * PER_S, "{:.1} a second", 500.0 / took);
    for line in folder.read("run/records.jsonl").lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        // Whoever waits waits for a second; an answer takes milliseconds, on a busy machine tens of them.
        assert!(record["timing"]["done_us"].as_u64().unwrap() < 900_000, "{line}");
    }
}

fn money_suite(folder: &Folder, model: &Model) {
    folder.write(
        "suite.yaml",
        format!(
            "name: money\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ input }}}}\" }}\nscorers:\n  - exact: {{}}\n\
             candidates:\n  - id: a\n    openai: {{ model: m, base_url: \"{}\" }}\n    price: {{ per_request_usd: 0.01 }}\n\
             pacing: {{ closed: {{ in_flight: 4 }} }}\nlimits: {{ max_usd: 0.25 }}\n",
            model.base_url()
        ),
    );
}

#[test]
fn no_more_is_spent_than_may_be_over_all_sessions() {
    let model = Model::start(|asked| server::answer(asked, "yes"));
    let folder = Folder::new();
    questions(&folder, 60);
    money_suite(&folder, &model);
    let said = folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(3).err;
    assert!(said.contains("`limits.max_usd`") && said.contains("$0.25 of $0.25"), "{said}");
    assert_eq!(model.count(), 25);
    let report = folder.json("run/report.json");
    assert_eq!(report["candidates"][0]["counts"]["dropped"], 35);
    folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]).expect(3);
    assert_eq!(model.count(), 25, "a resumed run has the same money");
    let more = folder.read("suite.yaml").replace("max_usd: 0.25", "max_usd: 1");
    folder.write("suite.yaml", more);
    folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]).expect(0);
    assert_eq!(model.count(), 60);
}

#[test]
fn a_killed_run_goes_on_with_what_is_left_of_its_money() {
    let model = Model::start(|asked| {
        let mut steps = vec![Step::Wait(Duration::from_millis(20))];
        steps.extend(server::answer(asked, "yes"));
        steps
    });
    let folder = Folder::new();
    questions(&folder, 60);
    money_suite(&folder, &model);
    let mut child = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]).spawn().unwrap();
    until("requests", || model.count() >= 10);
    child.kill().unwrap();
    child.wait().unwrap();
    finish(folder.evalctl(["run", "suite.yaml", "--out", "run", "--resume", "-q"])).expect(3);
    let answered = folder.read("run/records.jsonl").lines().count();
    assert!(model.count() <= 25, "{} requests were paid, 25 are allowed", model.count());
    assert!(model.count() - answered <= 4, "what was in flight is asked again, and nothing else: {answered}");
    assert!(answered >= 10, "what is held is what was in flight: {answered}");
}

/// Dollars that the sessions of a run hold for what they may have sent without a record.
fn held(folder: &Folder, run: &str) -> f64 {
    let mut last = std::collections::BTreeMap::new();
    for line in folder.read(&format!("{run}/under_way.jsonl")).lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        last.insert(line["session"].as_u64().unwrap(), line["usd"].as_str().unwrap().parse::<f64>().unwrap());
    }
    last.values().sum()
}

/// Answers whose tokens are anyone's guess, but the same for the same question.
fn of_some_length(asked: &Asked) -> Vec<Step> {
    let spread = question(asked).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let usage = json!({"prompt_tokens": 20 + spread % 300, "completion_tokens": 1 + spread % 90});
    let choice = json!({"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"});
    let mut steps = vec![Step::Wait(Duration::from_millis(2))];
    steps.extend(server::plain(200, &[JSON], &json!({"choices": [choice], "usage": usage}).to_string()));
    steps
}

#[test]
fn whatever_answers_cost_a_killed_run_spends_no_more_than_an_undisturbed_one_and_what_it_holds_less() {
    for (cents, kills) in [(3, vec![4, 11]), (7, vec![1, 2, 30]), (12, vec![25])] {
        let model = Model::start(of_some_length);
        let folder = Folder::new();
        questions(&folder, 200);
        // One at a time: then it does not depend on who ends first which requests there is money for.
        folder.write(
            "suite.yaml",
            format!(
                "name: money\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ input }}}}\" }}\nscorers:\n  - exact: {{}}\n\
                 candidates:\n  - id: a\n    openai: {{ model: m, base_url: \"{}\", stream: false }}\n    \
                 params: {{ max_output_tokens: 90 }}\n    price: {{ input_per_mtok_usd: 3, output_per_mtok_usd: 15 }}\n\
                 pacing: {{ closed: {{ in_flight: 1 }} }}\nlimits: {{ max_usd: {} }}\n",
                model.base_url(),
                f64::from(cents) / 100.0
            ),
        );
        let spend = |run: &str| -> f64 {
            let report = folder.json(&format!("{run}/report.json"));
            report["candidates"][0]["spend_usd"].as_str().unwrap().parse().unwrap()
        };
        folder.run(&["run", "suite.yaml", "--out", "whole", "-q"]).expect(3);
        let asked_whole = model.count();
        assert!((5..200).contains(&asked_whole), "{asked_whole}");
        for (index, after) in kills.iter().enumerate() {
            let before = model.count();
            let more: &[&str] = if index == 0 { &[] } else { &["--resume"] };
            let mut child =
                folder.evalctl([&["run", "suite.yaml", "--out", "cut", "-q"], more].concat()).spawn().unwrap();
            until("requests", || model.count() >= before + after || child.try_wait().unwrap().is_some());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        finish(folder.evalctl(["run", "suite.yaml", "--out", "cut", "--resume", "-q"])).expect(3);
        // It asks the same questions in the same order, and stops earlier by what it holds; the next request may be too
        // dear for what is left.
        let (cut, whole, held, next) = (spend("cut"), spend("whole"), held(&folder, "cut"), 0.003);
        assert!(cut <= whole && cut + held + next > whole, "{cut} of {whole}, {held} held, cap of {cents} cents");
        assert!(held <= next * kills.len() as f64, "{held} is more than was in flight");
        let asked_cut = model.count() - asked_whole;
        assert!(asked_cut <= asked_whole + kills.len(), "{asked_cut} and {asked_whole} with {} kills", kills.len());
    }
}

#[test]
fn what_is_wrong_with_a_service_is_said_before_anything_is_sent() {
    let folder = Folder::new();
    questions(&folder, 1);
    let refused = |candidate: &str, words: &[&str]| {
        folder.write(
            "suite.yaml",
            format!(
                "name: x\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: hi }}\nscorers: [exact: {{}}]\n\
                 candidates:\n  - id: a\n    {candidate}\n"
            ),
        );
        let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run"]);
        command.env("EMPTY_KEY", "");
        if candidate.contains("192.0.2.1") {
            command.env("OPENAI_API_KEY", "sk-never-to-be-sent-0123");
        }
        let said = finish(command).expect(2).err;
        for words in words {
            assert!(said.contains(words), "{candidate}: {said}");
        }
        assert!(said.contains("suite.yaml:"), "{said}");
    };
    refused("antropic: { model: m }", &["antropic", "did you mean `anthropic`?"]);
    refused("azure: { model: m }", &["Azure OpenAI", "`base_url`", "openai.azure.com"]);
    refused("bedrock: { model: m }", &["needs a region", "us-east-1"]);
    refused("bedrock: { model: m, region: europe }", &["no region of Amazon Bedrock", "suite.yaml:7:34"]);
    refused("bedrock: { model: m, region: us-east-1 }", &["AWS_ACCESS_KEY_ID"]);
    refused("vertex: { model: m, region: global }", &["project"]);
    refused("anthropic: {}", &["missing field `model`"]);
    refused("anthropic: { model: m }", &["ANTHROPIC_API_KEY"]);
    refused("anthropic: { model: m, api_key_env: EMPTY_KEY }", &["`EMPTY_KEY` is not set"]);
    refused("openai: { model: m, api: converse }", &["does not speak `converse`", "`chat` and `responses`"]);
    refused("mistral: { model: m, region: us-east-1 }", &["`region` means nothing to Mistral"]);
    refused(
        "openai: { model: m, base_url: \"http://192.0.2.1/v1\" }",
        &["`OPENAI_API_KEY`", "open line", "`https://`"],
    );
    refused("gemini: { model: \"..\" }", &["no name of a model"]);
    refused("groq: { model: m }\n    requests_per_min: 0", &["`requests_per_min` must be at least 1"]);
}

#[test]
fn who_is_left_out_of_a_session_keeps_its_money_counted() {
    let model = Model::start(|asked| server::answer(asked, "yes"));
    let folder = Folder::new();
    questions(&folder, 20);
    let candidate = |id: &str| {
        format!(
            "  - id: {id}\n    openai: {{ model: m, base_url: \"{}\" }}\n    price: {{ per_request_usd: 0.01 }}\n",
            model.base_url()
        )
    };
    let suite = |first: &str| {
        folder.write(
            "suite.yaml",
            format!(
                "name: money\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ input }}}}\" }}\nscorers:\n  - exact: {{}}\n\
                 candidates:\n{}{}limits: {{ max_usd: 0.25 }}\n",
                candidate(first),
                candidate("b")
            ),
        );
    };
    suite("a");
    folder.run(&["run", "suite.yaml", "--out", "run", "-q", "--candidate", "a"]).expect(0);
    assert_eq!(model.count(), 20);
    folder.run(&["run", "suite.yaml", "--out", "run", "-q", "--resume", "--candidate", "b"]).expect(3);
    assert_eq!(model.count(), 25, "five more were left");
    suite("renamed");
    folder.run(&["run", "suite.yaml", "--out", "run", "-q", "--resume"]).expect(3);
    assert_eq!(model.count(), 25, "another name is no new money");
}

#[test]
fn a_schema_that_is_asked_for_in_two_ways_is_told() {
    let model = Model::start(|asked| {
        // Talks before it calls, and calls twice.
        if asked.body["tools"].is_null() {
            return server::completion("{\"a\": 1}");
        }
        let call = |n: u64| {
            let function = json!({"name": "final_answer", "arguments": format!("{{\"a\": {n}}}")});
            json!({"id": format!("c{n}"), "type": "function", "function": function})
        };
        let message = json!({"role": "assistant", "content": "Gladly: ", "tool_calls": [call(1), call(2)]});
        let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
        server::plain(200, &[JSON], &body.to_string())
    });
    let folder = Folder::new();
    questions(&folder, 3);
    folder.write("schema.json", r#"{"type": "object", "required": ["a"], "additionalProperties": false, "properties": {"a": {"type": "integer"}}}"#);
    let candidate = |id: &str, structured: &str| {
        format!(
            "  - id: {id}\n    openai: {{ model: m, stream: false, base_url: \"{}\" }}\n    structured: {structured}\n",
            model.base_url()
        )
    };
    folder.write(
        "suite.yaml",
        format!(
            "name: ways\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ input }}}}\" }}\n\
             output: {{ schema: schema.json }}\nscorers:\n  - schema: {{}}\ncandidates:\n{}{}",
            candidate("one", "json_schema"),
            candidate("other", "tool")
        ),
    );
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let report = folder.json("run/report.json");
    let notes = report["notes"].to_string();
    assert!(notes.contains("structured") && notes.contains("json_schema") && notes.contains("tool"), "{notes}");
    for candidate in report["candidates"].as_array().unwrap() {
        let schema = candidate["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "schema").unwrap();
        assert_eq!(schema["value"], 1.0, "the call is the answer: {candidate}");
    }
}

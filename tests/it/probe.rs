//! `evalctl probe`: what a service honours is seen, kept, and gone by.

use serde_json::{Value, json};

use crate::support::Folder;
use crate::support::server::{self, Asked, Model, Step};

const KEY: &str = "sk-probe-1234567890";

/// A server that takes schemas only as tools, bounds answers only by `max_tokens`, and knows no seed.
fn particular(asked: &Asked) -> Vec<Step> {
    let body = &asked.body;
    let refuse = |field: &str| server::error(400, &[], &format!("`{field}` is not supported, {KEY}"));
    if !body["max_completion_tokens"].is_null() {
        return refuse("max_completion_tokens");
    }
    match body["response_format"]["type"].as_str() {
        Some("json_schema") => return refuse("response_format.json_schema"),
        Some("json_object") => return server::answer(asked, r#"{"sea": "wide"}"#),
        _ => {}
    }
    if let Some(name) = body.pointer("/tool_choice/function/name").and_then(Value::as_str) {
        let arguments =
            if name == "get_weather" { json!({"city": "Oslo"}) } else { json!({"bird": "heron", "legs": 2}) };
        return calls(&[(name, arguments)]);
    }
    if !body["tools"].is_null() {
        return calls(&[("get_weather", json!({"city": "Oslo"})), ("get_weather", json!({"city": "Lima"}))]);
    }
    if body["messages"][0]["role"] == "system" && body["messages"][0]["content"].to_string().contains("pelican") {
        // Both the word that is asked for and the schema in words come by here.
        return server::answer(asked, "Pelican");
    }
    if !body["seed"].is_null() {
        return server::answer(asked, &format!("{}", asked.n));
    }
    if !body["stop"].is_null() {
        return server::answer(asked, "1 2 3 4 5 6 ");
    }
    if body["max_tokens"] == 16 {
        let mut steps = vec![server::stream_head(), server::piece("1 2 3 4 5 6 7 8")];
        steps.push(server::event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})));
        steps.extend([Step::Chunk(b"data: [DONE]\n\n".to_vec()), Step::End]);
        return steps;
    }
    server::answer(asked, "The sea is wide.")
}

fn calls(list: &[(&str, Value)]) -> Vec<Step> {
    let calls = list.iter().enumerate().map(|(index, (name, arguments))| {
        let function = json!({"name": name, "arguments": arguments.to_string()});
        json!({"index": index, "id": format!("c{index}"), "type": "function", "function": function})
    });
    let delta = json!({"tool_calls": calls.collect::<Value>()});
    vec![
        server::stream_head(),
        server::event(&json!({"choices": [{"index": 0, "delta": delta}]})),
        server::event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})),
        Step::Chunk(b"data: [DONE]\n\n".to_vec()),
        Step::End,
    ]
}

fn suite(folder: &Folder, candidates: &str) {
    folder.write("schema.json", r#"{"type": "object", "properties": {"bird": {"type": "string"}}}"#);
    folder.write("data.jsonl", "{\"id\": \"a\", \"input\": \"Which bird?\", \"target\": \"heron\"}\n");
    folder.write(
        "suite.yaml",
        format!(
            "name: probed\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ input }}}}\" }}\n\
             output: {{ schema: schema.json }}\nscorers:\n  - schema: {{}}\ncandidates:\n{candidates}"
        ),
    );
}

fn candidate(id: &str, model: &Model) -> String {
    format!(
        "  - id: {id}\n    openai: {{ model: m, base_url: \"{}\", api_key_env: PROBE_KEY }}\n    retries: 0\n",
        model.base_url()
    )
}

fn finding<'a>(probe: &'a Value, ability: &str) -> &'a Value {
    let findings = probe["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["ability"] == ability).unwrap_or_else(|| panic!("no {ability} in {probe}"))
}

#[test]
fn what_was_seen_is_kept_and_gone_by() {
    let model = Model::start(particular);
    let folder = Folder::new();
    suite(&folder, &candidate("odd", &model));
    let with_key = |arguments: &[&str]| {
        let mut command = folder.evalctl(arguments);
        command.env("PROBE_KEY", KEY);
        crate::support::finish(command)
    };
    // Lines are wrapped.
    let check = || with_key(&["check", "suite.yaml"]).expect(0).out.split_whitespace().collect::<Vec<_>>().join(" ");
    let before = check();
    assert!(before.contains("`json_schema`, as the service describes it; `evalctl probe` asks it"), "{before}");
    let told = with_key(&["probe", "suite.yaml"]).expect(0);
    assert!(told.err.contains("reports/probed/probes.json"), "{}", told.err);
    for line in told.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let stored = folder.json("reports/probed/probes.json");
    assert!(!stored.to_string().contains(KEY), "the service said it back");
    let probe = &stored["probes"][0];
    let expected = [
        ("system_message", "yes"),
        ("streaming", "yes"),
        ("streamed_usage", "yes"),
        ("json_schema", "refused"),
        ("json_object", "yes"),
        ("schema_as_tool", "yes"),
        ("schema_in_words", "no"),
        ("tool_choice", "yes"),
        ("parallel_calls", "yes"),
        ("logprobs", "no"),
        ("seed", "no"),
        ("stop", "yes"),
        ("max_tokens", "yes"),
    ];
    for (ability, shown) in expected {
        assert_eq!(finding(probe, ability)["shown"], shown, "{ability}: {probe}");
    }
    assert_eq!(finding(probe, "max_tokens")["detail"], "max_tokens");
    assert_eq!(finding(probe, "tool_choice")["detail"], "finish: tool");
    assert_eq!(probe["requests"].as_u64(), Some(model.count() as u64));

    let after = check();
    assert!(after.contains("`tool`, as the probe of 2"), "{after}");
    let asked = model.count();
    with_key(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let body = &model.asked()[asked].body;
    assert_eq!(body["tool_choice"]["function"]["name"], "final_answer", "{body}");
    assert!(body["response_format"].is_null(), "{body}");
    let manifest = folder.json("run/manifest.json");
    assert_eq!(&manifest["candidates"][0]["probe"], probe);
    // A stored run goes by what was known when it was made.
    std::fs::remove_file(folder.path().join("reports/probed/probes.json")).unwrap();
    with_key(&["report", "run"]).expect(0);
}

#[test]
fn one_that_does_not_answer_keeps_no_other_from_being_probed() {
    let model = Model::start(particular);
    let closed = Model::start(|_| server::error(401, &[], "who are you?"));
    let folder = Folder::new();
    suite(&folder, &(candidate("odd", &model) + &candidate("closed", &closed)));
    let mut command = folder.evalctl(["probe", "suite.yaml", "--json"]);
    command.env("PROBE_KEY", KEY);
    let told = crate::support::finish(command).expect(3);
    assert!(told.err.contains("`closed` could not be probed: status 401: who are you?"), "{}", told.err);
    assert_eq!(closed.count(), 1, "the plainest question is enough");
    let found: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["endpoint"]["address"], model.base_url());
}

#[test]
fn a_dialect_without_a_word_for_it_is_not_asked() {
    let model = Model::start(|asked| {
        let text = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        assert!(asked.body.get("seed").is_none());
        let events = [
            ("message_start", json!({"type": "message_start", "message": {"model": "c"}})),
            (
                "content_block_start",
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}),
            ),
            ("content_block_delta", text("pelican")),
            ("message_delta", json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})),
            ("message_stop", json!({"type": "message_stop"})),
        ];
        let mut steps = vec![server::stream_head()];
        for (name, data) in events {
            steps.push(Step::Chunk(format!("event: {name}\ndata: {data}\n\n").into_bytes()));
        }
        steps.push(Step::End);
        steps
    });
    let folder = Folder::new();
    suite(
        &folder,
        &format!("  - id: claude\n    anthropic: {{ model: c, base_url: \"{}\" }}\n    retries: 0\n", model.base_url()),
    );
    let told = folder.run(&["probe", "suite.yaml", "--json"]).expect(0);
    let found: Value = serde_json::from_str(&told.out).unwrap();
    for ability in ["seed", "logprobs", "json_object"] {
        assert_eq!(finding(&found[0], ability)["shown"], "unsayable", "{ability}");
    }
    assert_eq!(finding(&found[0], "json_schema")["shown"], "no");
    assert_eq!(finding(&found[0], "streamed_usage")["shown"], "no", "no usage came");
}

#[test]
fn a_suite_without_services_has_nothing_to_probe() {
    let folder = Folder::new();
    suite(&folder, "  - id: s\n    scripted: { reply: x }\n");
    let told = folder.run(&["probe", "suite.yaml"]).expect(2);
    assert!(told.err.contains("no service among the candidates"), "{}", told.err);
    folder.write("reports/probed/probes.json", "{\"format\": \"evalctl-probes/9\"}");
    let told = folder.run(&["check", "suite.yaml"]).expect(2);
    assert!(told.err.contains("evalctl-probes/9"), "{}", told.err);
}

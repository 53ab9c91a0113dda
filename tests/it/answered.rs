//! What services say of their answers: counts that cannot be right, ends of all kinds, filters, and who answered.

use serde_json::{Value, json};

use crate::support::server::{self, Model, Step};
use crate::support::{Folder, Output};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Dollars per million tokens, of every kind.
const PRICE: &str = "price: { input_per_mtok_usd: 1, cached_input_per_mtok_usd: 0.1, cache_write_per_mtok_usd: 1.25, \
                     cache_write_1h_per_mtok_usd: 2, output_per_mtok_usd: 10 }";

/// A stream of events by these names; without a name it is data alone.
fn events(all: &[(&str, Value)]) -> Vec<Step> {
    let mut steps = vec![server::stream_head()];
    for (name, data) in all {
        let name = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
        steps.push(Step::Chunk(format!("{name}data: {data}\n\n").into_bytes()));
    }
    steps.push(Step::End);
    steps
}

/// A chat completion in pieces: what the chunks have in common, the text, why it ended, and the counts.
fn chat(common: &Value, text: &str, finish: &str, usage: &Value) -> Vec<Step> {
    let chunk = |more: Value| {
        let mut chunk = common.clone();
        chunk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("", chunk)
    };
    let mut steps = events(&[
        chunk(json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})),
        chunk(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})),
        chunk(json!({"choices": [], "usage": usage})),
    ]);
    steps.insert(steps.len() - 1, Step::Chunk(b"data: [DONE]\n\n".to_vec()));
    steps
}

/// An ordinary one but for its counts.
fn counted(usage: &Value) -> Vec<Step> {
    chat(&json!({"model": "m"}), "yes", "stop", usage)
}

struct Run {
    folder: Folder,
    output: Output,
    asked: usize,
}

impl Run {
    /// Asks `samples` questions of a service that answers by a script of the number of the request. `more` goes to the
    /// candidate, `rest` to the end of the suite.
    fn of(
        service: &str,
        samples: u64,
        more: &str,
        rest: &str,
        script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static,
    ) -> Run {
        let model = Model::start(move |asked| script(asked.n));
        let folder = Folder::new();
        let rows = (0..samples).map(|n| json!({"id": format!("r{n}"), "q": format!("q{n}"), "target": "yes"}));
        folder.write("data.jsonl", rows.map(|row| format!("{row}\n")).collect::<String>());
        let suite = format!(
            "name: answered\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ q }}}}\" }}\n\
             scorers: [{{ exact: {{}} }}, {{ refusal: {{}} }}]\ncandidates:\n  - id: c\n    \
             {service}: {{ model: m, base_url: \"{}\" }}\n    in_flight: 1\n    retries: 3\n    {more}\n{rest}\n",
            model.base_url()
        );
        folder.write("suite.yaml", suite);
        let keys = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE0000000"), ("AWS_SECRET_ACCESS_KEY", "secretexample00000000")];
        let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
        command.envs(keys);
        let output = crate::support::finish(command);
        Run { folder, output, asked: model.count() }
    }

    fn records(&self) -> Vec<Value> {
        self.folder.read("run/records.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one answer.
    fn answer(&self) -> Value {
        let record = self.records().swap_remove(0);
        assert!(record["answer"].is_object(), "{record}\n{}", self.output.err);
        record["answer"].clone()
    }

    fn report(&self) -> Value {
        self.folder.json("run/report.json")
    }

    fn metric(&self, name: &str) -> Value {
        let report = self.report();
        let all = report["candidates"][0]["metrics"].as_array().unwrap();
        all.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    }

    fn cost(&self) -> Option<f64> {
        self.metric("cost_usd")["value"].as_str().map(|cost| cost.parse().unwrap())
    }

    fn notes(&self, kind: &str) -> Vec<String> {
        let report = self.report();
        let notes = report["notes"].as_array().unwrap().iter().filter(|note| note["kind"] == kind);
        notes.map(|note| note["text"].as_str().unwrap().to_owned()).collect()
    }

    fn gate(&self) -> (Value, String) {
        let gate = self.report()["gates"][0].clone();
        (gate["verdict"].clone(), gate["reason"].as_str().unwrap().to_owned())
    }
}

/// One answer with these counts, priced.
fn priced(service: &str, usage: Value) -> Run {
    Run::of(service, 1, PRICE, "", move |_| counted(&usage))
}

const CHEAP: &str = "gates: [{ metric: cost_usd, at_most: 0.001 }]";

#[test]
fn a_later_zero_takes_no_count_back() {
    let run = Run::of("anthropic", 1, PRICE, "", |_| {
        let start = json!({"model": "claude-x", "usage": {"input_tokens": 57, "output_tokens": 1}});
        let text = json!({"type": "text_delta", "text": "yes"});
        events(&[
            ("message_start", json!({"type": "message_start", "message": start})),
            (
                "content_block_start",
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}),
            ),
            ("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": text})),
            (
                "message_delta",
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                    "usage": {"output_tokens": 5, "input_tokens": 0}}),
            ),
            ("message_stop", json!({"type": "message_stop"})),
        ])
    });
    let answer = run.answer();
    assert_eq!((&answer["usage"]["input_tokens"], &answer["usage"]["output_tokens"]), (&json!(57), &json!(5)));
    assert_eq!((run.cost(), &answer["finish_raw"]), (Some(0.000_107), &json!("end_turn")));
}

#[test]
fn writes_to_the_cache_are_paid_as_such_behind_a_gateway() {
    let five_minutes = priced(
        "litellm",
        json!({"prompt_tokens": 10032, "completion_tokens": 10, "total_tokens": 10042,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_creation_tokens": 10017},
            "cache_creation_input_tokens": 10017, "cache_read_input_tokens": 0}),
    );
    assert_eq!(five_minutes.answer()["usage"]["cache_write_tokens"], 10017);
    assert_eq!(five_minutes.cost(), Some(0.012_636_25));
    let kept = json!({"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 4803});
    let hour = priced(
        "litellm",
        json!({"prompt_tokens": 4818, "completion_tokens": 47, "total_tokens": 4865,
            "prompt_tokens_details": {"cached_tokens": 0, "text_tokens": 15, "cache_creation_tokens": 4803,
                "cache_creation_token_details": kept}, "cache_creation_input_tokens": 4803}),
    );
    assert_eq!(hour.cost(), Some(0.010_091));
}

#[test]
fn a_gateways_fee_under_the_customers_key_is_not_the_cost() {
    let usage = |details: Value| {
        json!({"prompt_tokens": 9171, "completion_tokens": 113, "total_tokens": 9284, "cost": 0, "is_byok": true,
            "cost_details": details, "completion_tokens_details": {"reasoning_tokens": 55}})
    };
    let told = usage(json!({"upstream_inference_cost": 0.036_079_5}));
    let run = Run::of("openrouter", 3, "", CHEAP, move |_| counted(&told));
    assert_eq!(run.cost(), Some(0.036_079_5));
    assert_ne!(run.gate().0, "pass");
    let untold = usage(json!({}));
    let unknown = Run::of("openrouter", 3, "", CHEAP, move |_| counted(&untold));
    let (verdict, reason) = unknown.gate();
    assert_eq!((unknown.cost(), verdict), (None, json!("inconclusive")));
    assert!(reason.contains("is_byok"), "{reason}");
    // Without that figure, the price of the suite holds: 9171 · 1 + 113 · 10.
    let own_price = priced("openrouter", usage(json!(null)));
    assert_eq!(own_price.cost(), Some(0.010_301));
}

#[test]
fn thoughts_that_are_in_the_total_only_are_output() {
    let run = priced("openai", json!({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}));
    assert_eq!(run.answer()["usage"], json!({"input_tokens": 20, "output_tokens": 603}));
    assert_eq!(run.cost(), Some(0.006_05));
    let odd = priced("openai", json!({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 100}));
    assert_eq!((odd.answer()["usage"].clone(), odd.cost()), (json!({}), None));
    assert!(odd.metric("cost_usd")["reason"].as_str().unwrap().contains("100 in total"));
}

fn nothing() -> Value {
    json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}})
}

#[test]
fn zero_tokens_beside_an_answer_are_no_count_in_any_dialect() {
    let run = Run::of("openai", 3, PRICE, CHEAP, |_| counted(&nothing()));
    let (verdict, reason) = run.gate();
    assert_eq!(verdict, "inconclusive");
    assert!(reason.contains("0 input and 0 output tokens"), "{reason}");
    assert_eq!(run.answer()["usage"], json!({}));
    for name in ["input_tokens", "output_tokens", "cost_usd"] {
        let metric = run.metric(name);
        assert_eq!((&metric["value"], metric["reason"].as_str().unwrap().contains("not empty")), (&Value::Null, true));
    }
    assert_eq!(run.notes("usage_doubted").len(), 1);
    type Script = fn() -> Vec<Step>;
    let others: [(&str, Script); 4] = [
        ("gemini", || {
            let usage = json!({"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0});
            let candidate = json!({"content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"});
            events(&[("", json!({"candidates": [candidate], "usageMetadata": usage}))])
        }),
        ("ollama", || {
            let body = json!({"model": "m", "message": {"content": "yes"}, "done": true, "prompt_eval_count": 0, "eval_count": 0});
            server::plain(200, &[("content-type", "application/x-ndjson")], &format!("{body}\n"))
        }),
        ("cohere", || {
            let delta = json!({"message": {"content": {"text": "yes"}}});
            let usage = json!({"billed_units": {"input_tokens": 0, "output_tokens": 0}});
            events(&[
                ("", json!({"type": "content-delta", "delta": delta})),
                ("", json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}})),
            ])
        }),
        ("tgi", || {
            let details = json!({"finish_reason": "eos_token", "generated_tokens": 0, "input_length": 0});
            events(&[("", json!({"token": {"text": "yes"}, "generated_text": "yes", "details": details}))])
        }),
    ];
    for (service, script) in others {
        let run = Run::of(service, 1, PRICE, CHEAP, move |_| script());
        assert_eq!((run.answer()["usage"].clone(), run.gate().0), (json!({}), json!("inconclusive")), "{service}");
    }
}

#[test]
fn a_cap_holds_when_the_service_counts_nothing() {
    let sent =
        |script: fn() -> Vec<Step>| Run::of("openai", 60, PRICE, "limits: { max_usd: 0.1 }", move |_| script()).asked;
    let without = sent(|| counted(&json!({})));
    let with_zeros = sent(|| counted(&nothing()));
    assert_eq!((without, with_zeros), (2, 2), "what was set aside stays counted");
}

#[test]
fn the_tier_that_served_is_kept_and_noted() {
    let usage = json!({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100});
    let run = Run::of("openai", 2, PRICE, "", move |n| {
        let tier = if n == 0 { "flex" } else { "default" };
        chat(&json!({"model": "m", "service_tier": tier}), "yes", "stop", &usage)
    });
    assert_eq!(run.answer()["service_tier"], "flex");
    assert_eq!(
        run.report()["candidates"][0]["answered_by"]["service_tiers"],
        json!([{"name": "default", "answers": 1}, {"name": "flex", "answers": 1}])
    );
    assert_eq!(run.notes("service_tiers"), ["`c` was served at these service tiers: `default` (1 answer), `flex` (1)"]);
}

#[test]
fn ends_of_answers_are_read_in_any_words() {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let ended = |service: &str, word: &'static str| {
        let usage = usage.clone();
        Run::of(service, 1, PRICE, "", move |n| {
            // What is asked a second time is answered well, so that a repetition would show.
            let (text, word) = if n == 0 { ("The answer is y", word) } else { ("yes", "stop") };
            chat(&json!({"model": "m"}), text, word, &usage)
        })
    };
    for word in ["MAX_TOKENS", "model_context_window_exceeded"] {
        let run = ended("openai", word);
        assert_eq!((&run.answer()["finish"], &run.answer()["finish_raw"]), (&json!("length"), &json!(word)));
        assert_eq!(run.metric("truncation_rate")["value"], 1.0);
    }
    for word in ["abort", "network_error"] {
        let run = ended("vllm", word);
        let record = run.records().swap_remove(0);
        assert!(record["failure"]["cut"]["detail"].as_str().unwrap().contains(word), "{record}");
        let candidate = run.report()["candidates"][0].clone();
        assert_eq!((run.asked, &candidate["counts"]["failed"], &candidate["maybe_billed"]), (1, &json!(1), &json!(1)));
    }
    let odd = ended("openai", "repetition");
    assert_eq!(odd.answer()["finish"], "other");
    assert_eq!(
        odd.notes("finish_words"),
        ["answers of `c` ended for reasons that evalctl does not know: `repetition` (1 answer)"]
    );
}

#[test]
fn a_filter_that_refuses_with_a_status_is_an_answer() {
    let azure = json!({"error": {"message": "The response was filtered due to the prompt triggering a policy.",
        "param": "prompt", "code": "content_filter", "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation"}}});
    let run = Run::of("azure", 1, PRICE, "", move |_| server::plain(400, &[JSON], &azure.to_string()));
    let answer = run.answer();
    assert_eq!(
        (&answer["finish"], &answer["is_refusal"], &answer["text"]),
        (&json!("filter"), &json!(true), &json!(""))
    );
    for name in ["exact", "refusal"] {
        assert_eq!(run.metric(name)["value"], 0.0, "{name}");
    }
    assert_eq!(run.report()["candidates"][0]["counts"]["failed"], 0);
    let anthropic = json!({"type": "error", "error": {"type": "invalid_request_error",
        "message": "Output blocked by content filtering policy"}});
    let other = Run::of("anthropic", 1, PRICE, "", move |_| server::plain(400, &[JSON], &anthropic.to_string()));
    assert_eq!(other.answer()["finish"], "filter");
    // Any other refusal of the request stays a failure.
    let plain = Run::of("azure", 1, PRICE, "", |_| server::error(400, &[], "the context is too long"));
    assert_eq!(plain.report()["candidates"][0]["counts"]["failed"], 1);
}

#[test]
fn another_model_is_told_and_can_be_forbidden() {
    let gate = "gates: [{ metric: other_model_rate, at_most: 0 }]";
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let by = |names: [&'static str; 2]| {
        let usage = usage.clone();
        Run::of("litellm", 4, PRICE, gate, move |n| {
            let (model, build) = (names[n % 2], format!("fp_{}", n / 2));
            chat(&json!({"model": model, "system_fingerprint": build}), "yes", "stop", &usage)
        })
    };
    let mixed = by(["m", "cheap-fallback"]);
    let said = "`c` was answered by another model than the one asked for: `cheap-fallback` (2 answers)";
    assert_eq!(mixed.notes("other_model"), [said]);
    assert_eq!(mixed.notes("fingerprints").len(), 1);
    let models = json!([{"name": "cheap-fallback", "answers": 2, "is_other": true}, {"name": "m", "answers": 2}]);
    assert_eq!(mixed.report()["candidates"][0]["answered_by"]["models"], models);
    let rate = mixed.metric("other_model_rate");
    assert_eq!((&rate["value"], &rate["lower"], &rate["upper"]), (&json!(0.5), &json!(0.5), &json!(0.5)));
    assert_eq!(mixed.gate().0, "fail");
    // It stands before the figures, in every form.
    for form in ["terminal", "md"] {
        let shown = mixed.folder.run(&["report", "run", "--format", form]).out;
        let (note, figures) = (shown.find("was answered by another model"), shown.to_lowercase().find("quality"));
        assert!(note.is_some() && note < figures, "{shown}");
        assert!(shown.contains("models named in the answers"), "{shown}");
    }
    let same = by(["m-2025-08-07", "gateway/m"]);
    assert_eq!((same.notes("other_model"), same.gate().0), (vec![], json!("pass")));
    // Who names no model could be anybody.
    let silent = by(["m", ""]);
    assert_eq!(silent.gate().0, "inconclusive");
}

#[test]
fn recorded_answers_are_held_to_the_same() {
    let folder = Folder::new();
    folder.write("data.jsonl", "{\"id\": \"1\", \"input\": \"q\", \"target\": \"ok\"}\n");
    let answers = [
        (
            "anthropic",
            json!({"input_tokens": 10, "cache_read_input_tokens": 90000, "cache_creation_input_tokens": 0, "output_tokens": 4}),
            Some(0.027_09),
        ),
        (
            "write",
            json!({"prompt_tokens": 4020, "completion_tokens": 4, "total_tokens": 4024, "prompt_tokens_details": {"cache_write_tokens": 4012, "cached_tokens": 0}}),
            Some(0.015_129),
        ),
        (
            "gemini",
            json!({"promptTokenCount": 1000, "candidatesTokenCount": 50, "thoughtsTokenCount": 400, "totalTokenCount": 1450}),
            Some(0.009_75),
        ),
        ("zero", json!({"input_tokens": 0, "output_tokens": 0}), None),
        ("cached", json!({"input_tokens": 1, "cached_input_tokens": 2, "output_tokens": 1}), None),
    ];
    let mut suite = "name: recorded\ndataset: { path: data.jsonl }\nscorers: [{ exact: {} }]\ncandidates:\n".to_owned();
    for (id, usage, _) in &answers {
        folder.write(&format!("{id}.jsonl"), format!("{}\n", json!({"id": "1", "output": "ok", "usage": usage})));
        suite.push_str(&format!(
            "  - id: {id}\n    recorded: {{ path: {id}.jsonl, usage: usage }}\n    price: {{ input_per_mtok_usd: 3, \
             cached_input_per_mtok_usd: 0.3, cache_write_per_mtok_usd: 3.75, output_per_mtok_usd: 15 }}\n"
        ));
    }
    folder.write("suite.yaml", suite);
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let report = folder.json("run/report.json");
    for (place, (id, _, wanted)) in answers.iter().enumerate() {
        let candidate = &report["candidates"][place];
        let cost = candidate["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "cost_usd").unwrap();
        let value = cost["value"].as_str().map(|cost| cost.parse::<f64>().unwrap());
        assert_eq!((value, &candidate["counts"]["scored"]), (*wanted, &json!(1)), "{id}: {cost}");
        assert_eq!(
            cost["reason"].as_str().is_some_and(|reason| reason.starts_with("the service reported")),
            wanted.is_none()
        );
    }
}

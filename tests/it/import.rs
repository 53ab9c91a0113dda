//! `evalctl import`: logs of every kind in their real key names, whatever may be wrong with them, and the account of every
//! row.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Folder, Output};

/// Imports and gives the lines of the capture and the account.
#[track_caller]
fn import(folder: &Folder, kind: &str, file: &str, more: &[&str]) -> (Vec<Value>, Value) {
    let arguments = [&["import", kind, file, "--out", "out.jsonl", "--force", "--json"], more].concat();
    let output = folder.run(&arguments).expect(0);
    let ledger: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(folder.json("out.jsonl.ledger.json"), ledger);
    let lines = lines(folder);
    adds_up(&ledger, lines.len());
    (lines, ledger)
}

fn lines(folder: &Folder) -> Vec<Value> {
    folder.read("out.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn adds_up(ledger: &Value, lines: usize) {
    let not_kept: u64 = ledger["not_kept"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let kept = ledger["kept"].as_u64().unwrap();
    assert_eq!(ledger["rows_read"].as_u64().unwrap(), kept + not_kept, "{ledger}");
    assert_eq!(kept, lines as u64, "{ledger}");
}

fn jsonl(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn chat_answer(text: &str) -> Value {
    json!({"id": "chatcmpl-9", "object": "chat.completion", "model": "gpt-x-0101", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}})
}

fn chat_body(text: &str) -> Value {
    json!({"model": "gpt-x", "temperature": 0.2, "messages": [{"role": "user", "content": text}]})
}

/// Both ways of naming the kind give the same.
#[track_caller]
fn both(folder: &Folder, kind: &str, file: &str) -> (Vec<Value>, Value) {
    let found = import(folder, "auto", file, &[]);
    assert_eq!(found.1["files"][0]["kind"], kind);
    let named = import(folder, kind, file, &[]);
    assert_eq!(found, named);
    named
}

#[test]
fn stored_completions_of_openai() {
    let folder = Folder::new();
    let mut row = chat_answer("ok");
    let own = json!({"created": 1_760_000_000, "temperature": 0.2, "seed": 7, "tools": null, "metadata": {"env": "prod"},
        "messages": {"object": "list", "data": [{"id": "chatcmpl-9-0", "role": "user", "content": "hi"}]}});
    row.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let bare = chat_answer("no input");
    folder.write("log.json", json!({"object": "list", "data": [row, bare], "has_more": false}).to_string());
    let (lines, ledger) = both(&folder, "openai-stored", "log.json");
    let line = &lines[0];
    assert_eq!((&line["id"], &line["arrived_us"]), (&json!("chatcmpl-9"), &json!(1_760_000_000_000_000_i64)));
    assert_eq!(
        (&line["precision"], &line["target"], &line["model"]),
        (&json!("s"), &json!("ok"), &json!("gpt-x-0101"))
    );
    assert_eq!((&line["params"]["temperature"], &line["params"]["seed"]), (&json!(0.2), &json!(7)));
    assert_eq!((&line["messages"][0]["content"], &line["tags"]["env"]), (&json!("hi"), &json!("prod")));
    assert_eq!(line["answer"]["usage"], json!({"input_tokens": 9, "output_tokens": 3}));
    assert_eq!(ledger["not_kept"], json!({"no_body": 1}));
    assert_eq!(ledger["partly"]["whole_seconds"], 1);
}

#[test]
fn batches_are_joined() {
    let folder = Folder::new();
    let asked =
        |id: &str| json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": chat_body(id)});
    let answered = |id: &str, status: u64, body: Value| {
        json!({"id": "batch_req_1", "custom_id": id, "error": null,
            "response": {"status_code": status, "request_id": "r", "body": body}})
    };
    folder.write("in.jsonl", jsonl(&[asked("a"), asked("b"), asked("c")]));
    let refused = json!({"error": {"message": "bad schema"}});
    folder.write(
        "out",
        jsonl(&[answered("b", 400, refused), answered("a", 200, chat_answer("A")), answered("z", 200, json!({}))]),
    );
    for files in [["in.jsonl", "out"], ["out", "in.jsonl"]] {
        let arguments = ["import", "openai-batch", files[0], files[1], "--out", "c.jsonl", "--force", "--json"];
        let ledger: Value = serde_json::from_str(&folder.run(&arguments).expect(0).out).unwrap();
        assert_eq!((&ledger["rows_read"], &ledger["kept"]), (&json!(6), &json!(3)), "{ledger}");
        assert_eq!(ledger["not_kept"], json!({"no_body": 1, "joined": 2}));
        assert_eq!(ledger["partly"]["no_time"], 3);
        let text = folder.read("c.jsonl");
        let row = |id: &str| -> Value {
            let line = text.lines().find(|line| line.contains(&format!("\"id\":\"{id}\""))).unwrap();
            serde_json::from_str(line).unwrap()
        };
        assert_eq!((&row("a")["target"], &row("c")["answer"]), (&json!("A"), &Value::Null));
        assert_eq!(row("b")["failure"], json!({"status": {"status": 400, "detail": "bad schema"}}));
        assert_eq!(row("b")["body"], chat_body("b"));
    }
}

#[test]
fn messages_of_anthropic() {
    let folder = Folder::new();
    let request =
        json!({"model": "claude-x", "max_tokens": 9, "system": "s", "messages": [{"role": "user", "content": "hi"}]});
    let response = json!({"type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "max_tokens",
        "content": [{"type": "text", "text": "ok"}], "usage": {"input_tokens": 5, "output_tokens": 2}});
    let stream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\",\"usage\":\
        {\"input_tokens\":5}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
        \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\nevent: \
        content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\
        \"text\":\"streamed\"}}\n\n";
    let end = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
        \"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let row =
        |at: &str, response: Value| json!({"timestamp": at, "request": request, "response": response, "latency_ms": 5});
    folder.write(
        "log.jsonl",
        jsonl(&[
            row("2026-03-01T10:00:00.125Z", response),
            row("2026-03-01T10:00:01.125Z", format!("{stream}{end}").into()),
            row("2026-03-01T10:00:02.125Z", stream.into()),
        ]),
    );
    let (lines, ledger) = both(&folder, "anthropic", "log.jsonl");
    assert_eq!(lines[0]["messages"][0], json!({"role": "system", "content": "s"}));
    assert_eq!((&lines[0]["answer"]["finish"], &lines[0]["target"]), (&json!("length"), &json!("ok")));
    assert_eq!((&lines[1]["target"], &lines[1]["is_streamed"]), (&json!("streamed"), &json!(true)));
    assert!(lines[2]["failure"]["cut"].is_object(), "{}", lines[2]);
    let wanted = json!({"failed": 1, "truncated": 1, "cut_body": 1, "streamed": 2, "no_first_token": 1});
    assert_eq!(ledger["partly"], wanted);
}

#[test]
fn payloads_and_spend_logs_of_litellm() {
    let folder = Folder::new();
    let payload = |id: &str| {
        json!({"id": id, "trace_id": "t-1", "call_type": "acompletion", "status": "success", "response_cost": 0.0004,
            "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "startTime": 1_760_000_000.125,
            "endTime": 1_760_000_001.5, "completionStartTime": 1_760_000_000.6, "response_time": 0.475, "model": "gpt-x",
            "model_id": "m1", "model_group": "chat", "metadata": {"user_api_key_hash": "ab12"}, "cache_hit": false,
            "messages": [{"role": "user", "content": "hi"}],
            "response": {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}, "error_str": null,
            "model_parameters": {"temperature": 0.2, "stream": true}, "hidden_params": {}})
    };
    let mut cached = payload("c-2");
    cached["cache_hit"] = json!(true);
    let mut failed = payload("c-3");
    failed["status"] = json!("failure");
    failed["error_information"] = json!({"error_code": "503", "error_message": "overloaded"});
    failed["response"] = json!({});
    let mut withheld = payload("c-4");
    withheld["messages"] = json!([{"role": "user", "content": "redacted-by-litellm"}]);
    let mut embedding = payload("c-5");
    embedding["call_type"] = json!("aembedding");
    folder.write("log.jsonl", jsonl(&[payload("c-1"), cached, failed, withheld, embedding]));
    let (lines, ledger) = both(&folder, "litellm", "log.jsonl");
    // The first token, not `response_time`, and the end, not the first token.
    assert_eq!((&lines[0]["latency_ms"], &lines[0]["ttft_ms"]), (&json!(1375.0), &json!(475.0)));
    assert_eq!((&lines[0]["cost_usd"], &lines[0]["conversation"]), (&json!("0.0004"), &json!("t-1")));
    assert_eq!(lines[0]["answer"]["usage"], json!({"input_tokens": 9, "output_tokens": 3}));
    assert_eq!(lines.iter().map(|line| line["turn"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&lines[1]["is_cached"], &lines[2]["failure"]["status"]["status"]), (&json!(true), &json!(503)));
    assert_eq!(ledger["not_kept"], json!({"other_call": 1, "no_body": 1}));
    assert_eq!(ledger["partly"], json!({"failed": 1, "streamed": 3, "cached": 1}));
    assert!(!folder.read("out.jsonl").contains("ab12"), "hashes of keys are not kept");

    let spend = "request_id,call_type,api_key,spend,total_tokens,prompt_tokens,completion_tokens,startTime,endTime,\
        completionStartTime,model,cache_hit,session_id,status,messages,response,requester_ip_address\n\
        r1,acompletion,hash,0.0002,12,9,3,2026-03-01 10:00:00.125,2026-03-01 10:00:01.5,2026-03-01 10:00:01.5,gpt-x,None,\
        s1,success,\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"hi\"\"}]\",\"{\"\"choices\"\":[{\"\"message\"\":\
        {\"\"content\"\":\"\"ok\"\"}}]}\",203.0.113.9\n";
    folder.write(
        "spend.csv",
        format!("{spend}r2,acompletion,hash,0.1,1,1,0,2026-03-01 10:00:00,,,gpt-x,None,s1,success,{{}},{{}},\n"),
    );
    let (lines, ledger) = both(&folder, "litellm-spend", "spend.csv");
    assert_eq!(
        (&lines[0]["target"], &lines[0]["conversation"], &lines[0]["turn"]),
        (&json!("ok"), &json!("s1"), &json!(1))
    );
    assert_eq!(lines[0]["ttft_ms"], Value::Null, "an answer in one piece has no first token");
    assert_eq!((&ledger["not_kept"], &ledger["partly"]["no_zone"]), (&json!({"no_body": 1}), &json!(1)));
    assert!(!folder.read("out.jsonl").contains("203.0.113.9"));
}

#[test]
fn observations_of_langfuse() {
    let folder = Folder::new();
    let row = |id: &str, kind: &str| {
        json!({"id": id, "trace_id": "t1", "project_id": "p", "environment": "default", "type": kind,
            "parent_observation_id": null, "start_time": "2026-03-01 10:00:00.125000",
            "end_time": "2026-03-01 10:00:01.500000", "completion_start_time": "2026-03-01 10:00:00.600000",
            "name": "answer", "level": "DEFAULT", "provided_model_name": "gpt-x", "model_parameters": {"temperature": "0.2"},
            "input": [{"role": "user", "content": "hi"}], "output": {"role": "assistant", "content": "ok"},
            "usage_details": {"input": 9, "output": 3, "total": 12}, "cost_details": {"total": 0.0004}, "latency": 1.375,
            "time_to_first_token": 0.475, "tool_calls": [], "metadata": {}})
    };
    let mut failed = row("o3", "GENERATION");
    failed["level"] = json!("ERROR");
    failed["status_message"] = json!("timed out");
    let mut bare = row("o4", "GENERATION");
    bare.as_object_mut().unwrap().remove("input");
    folder.write("legacy.jsonl", jsonl(&[row("o1", "GENERATION"), row("o2", "SPAN"), failed, bare]));
    let (lines, ledger) = both(&folder, "langfuse", "legacy.jsonl");
    assert_eq!(
        (&lines[0]["latency_ms"], &lines[0]["ttft_ms"]),
        (&json!(1375.0), &json!(475.0)),
        "not `latency`, whose unit varies"
    );
    assert_eq!((&lines[0]["precision"], &lines[0]["params"]), (&json!("us"), &json!({"temperature": 0.2})));
    assert_eq!((&lines[0]["cost_usd"], &lines[0]["conversation"]), (&json!("0.0004"), &json!("t1")));
    assert_eq!(lines[1]["failure"], json!({"service": {"detail": "timed out"}}));
    assert_eq!(ledger["not_kept"], json!({"other_call": 1, "no_body": 1}));

    // As the API says it, in a trace, and as a CSV export of version 2 with a session.
    let api = json!({"trace": {"id": "t1", "projectId": "p", "sessionId": "s9", "latency": 1.375}, "observations": [
        {"id": "o1", "traceId": "t1", "type": "GENERATION", "startTime": "2026-03-01T10:00:00.125Z",
         "endTime": "2026-03-01T10:00:01.500Z", "latency": 1375, "model": "gpt-x", "usageDetails": {"input": 9, "output": 3},
         "input": "system: s\nuser: hi", "output": "ok", "metadata": {"attributes": {}}},
        {"id": "o2", "traceId": "t1", "type": "TOOL", "startTime": "2026-03-01T10:00:00.125Z"}]});
    folder.write("api.json", serde_json::to_string_pretty(&api).unwrap());
    let (lines, ledger) = both(&folder, "langfuse", "api.json");
    assert_eq!((&lines[0]["conversation"], &lines[0]["messages"][1]["content"]), (&json!("s9"), &json!("hi")));
    assert_eq!((&lines[0]["latency_ms"], &lines[0]["source"]["row"]), (&json!(1375.0), &json!(1)));
    assert_eq!((&ledger["rows_read"], &ledger["partly"]["parts_lost"]), (&json!(2), &json!(1)));
    folder.write(
        "v2.csv",
        "id,trace_id,session_id,user_id,tags,type,start_time,end_time,input,output,provided_model_name,usage_details\n\
         o1,t1,s1,u1,[],GENERATION,2026-03-01 10:00:00.125000,2026-03-01 10:00:01.500000,\
         \"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"hi\"\"}]\",\"\"\"ok\"\"\",gpt-x,\"{\"\"input\"\":9}\"\n",
    );
    let (lines, _) = both(&folder, "langfuse", "v2.csv");
    assert_eq!((&lines[0]["conversation"], &lines[0]["answer"]["usage"]["input_tokens"]), (&json!("s1"), &json!(9)));
}

#[test]
fn exports_of_helicone() {
    let folder = Folder::new();
    let row = |id: &str| {
        json!({"request_id": id, "request_created_at": "2026-03-01T10:00:00.125Z", "request_path": "/v1/chat/completions",
            "request_model": "gpt-x", "provider": "OPENAI", "request_user_id": "u1", "request_body": chat_body("hi"),
            "request_properties": {"Helicone-Session-Id": "s1", "plan": "pro"}, "response_id": "x1",
            "response_created_at": "2026-03-01T10:00:01.500Z", "response_status": 200, "response_model": "gpt-x",
            "response_body": chat_answer("ok"), "delay_ms": 1375, "time_to_first_token": 475, "prompt_tokens": 9,
            "completion_tokens": 3, "total_tokens": 12, "cost": 0.0004, "cache_enabled": false,
            "target_url": "https://api.example/v1/chat/completions"})
    };
    let mut limited = row("r2");
    limited["response_status"] = json!(429);
    limited["response_body"] = json!({"error": {"message": "slow down"}});
    let mut signed = row("r3");
    signed["request_body"] = Value::Null;
    signed["signed_body_url"] = json!("https://x.example/expires");
    folder.write("log.jsonl", jsonl(&[row("r1"), limited, signed]));
    let (lines, ledger) = both(&folder, "helicone", "log.jsonl");
    assert_eq!(
        (&lines[0]["conversation"], &lines[0]["tags"]),
        (&json!("s1"), &json!({"plan": "pro", "provider": "OPENAI"}))
    );
    assert_eq!((&lines[0]["latency_ms"], &lines[0]["ttft_ms"]), (&json!(1375.0), &json!(475.0)));
    assert_eq!(lines[1]["failure"], json!({"rate_limited": {"detail": "slow down"}}));
    assert_eq!((&lines[1]["status"], &ledger["not_kept"]), (&json!(429), &json!({"no_body": 1})));
}

fn attribute(key: &str, value: Value) -> Value {
    let typed = match &value {
        Value::Number(_) => json!({"intValue": value.to_string()}),
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({"key": key, "value": typed})
}

#[test]
fn spans_of_opentelemetry_by_old_names_and_new() {
    let folder = Folder::new();
    let span = |id: &str, name: &str, attributes: Vec<Value>| {
        json!({"traceId": "5b8e", "spanId": id, "name": name, "startTimeUnixNano": "1760000000125000000",
            "endTimeUnixNano": "1760000001500000000", "attributes": attributes})
    };
    let new = span(
        "01aa",
        "chat gpt-x",
        vec![
            attribute("gen_ai.operation.name", json!("chat")),
            attribute("gen_ai.provider.name", json!("openai")),
            attribute("gen_ai.request.model", json!("gpt-x")),
            attribute("gen_ai.request.max_tokens", json!(64)),
            attribute("gen_ai.conversation.id", json!("s1")),
            attribute("gen_ai.usage.input_tokens", json!(9)),
            attribute("gen_ai.system_instructions", json!([{"type": "text", "content": "s"}])),
            attribute("gen_ai.input.messages", json!([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}])),
            attribute(
                "gen_ai.output.messages",
                json!([{"role": "assistant", "finish_reason": "tool_call", "parts":
            [{"type": "tool_call", "id": "c1", "name": "f", "arguments": {"x": 1}}]}]),
            ),
        ],
    );
    let old = span(
        "02aa",
        "openai.chat",
        vec![
            attribute("gen_ai.system", json!("openai")),
            attribute("gen_ai.request.model", json!("gpt-x")),
            attribute("gen_ai.prompt.0.role", json!("user")),
            attribute("gen_ai.prompt.0.content", json!("hi")),
            attribute("gen_ai.completion.0.role", json!("assistant")),
            attribute("gen_ai.completion.0.content", json!("ok")),
            attribute("gen_ai.usage.prompt_tokens", json!(9)),
        ],
    );
    let mut event = span("03aa", "chat", vec![attribute("gen_ai.operation.name", json!("chat"))]);
    event["events"] = json!([{"name": "gen_ai.client.inference.operation.details", "attributes":
        [attribute("gen_ai.input.messages", json!([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]))]}]);
    event["status"] = json!({"code": 2, "message": "boom"});
    let tool = span("04aa", "execute_tool f", vec![attribute("gen_ai.operation.name", json!("execute_tool"))]);
    let silent = span("05aa", "chat", vec![attribute("gen_ai.operation.name", json!("chat"))]);
    let export = json!({"resourceSpans": [{"scopeSpans": [{"spans": [new, old, event, tool, silent, span("06aa", "GET /", vec![])]}]}]});
    folder.write("spans.jsonl", format!("{export}\n"));
    let (lines, ledger) = both(&folder, "otel", "spans.jsonl");
    assert_eq!(lines[0]["messages"][0], json!({"role": "system", "content": "s"}));
    assert_eq!(lines[0]["answer"]["tool_calls"], json!([{"id": "c1", "name": "f", "arguments": "{\"x\":1}"}]));
    assert_eq!(
        (&lines[0]["answer"]["finish"], &lines[0]["params"]),
        (&json!("tool"), &json!({"max_output_tokens": 64}))
    );
    assert_eq!((&lines[0]["precision"], &lines[0]["latency_ms"]), (&json!("ns"), &json!(1375.0)));
    assert_eq!((&lines[1]["target"], &lines[1]["answer"]["usage"]["input_tokens"]), (&json!("ok"), &json!(9)));
    assert_eq!(lines[2]["failure"], json!({"service": {"detail": "boom"}}));
    assert_eq!(ledger["not_kept"], json!({"other_call": 2, "no_body": 1}));
}

#[test]
fn archives_of_http() {
    let folder = Folder::new();
    let entry = |url: &str, body: &str, content: Value| {
        json!({"startedDateTime": "2026-03-01T12:00:00.125+02:00", "time": 1375.25,
            "request": {"method": "POST", "url": url, "headers": [{"name": "Authorization", "value": "Bearer abcdef0123456789"}],
                "postData": {"mimeType": "application/json", "text": body}},
            "response": {"status": 200, "headers": [], "content": content}, "timings": {"wait": 300}})
    };
    let body = chat_body("hi").to_string();
    let text = chat_answer("ok").to_string();
    let gemini = json!({"contents": [{"parts": [{"text": "hi"}]}]}).to_string();
    let log = json!({"log": {"version": "1.2", "creator": {"name": "x"}, "entries": [
        entry("https://api.example/v1/chat/completions?key=abcdef0123456789", &body, json!({"size": 9, "text": text})),
        entry("https://api.example/v1beta/models/gemini-x:generateContent", &gemini,
            json!({"encoding": "base64", "text": "eyJjYW5kaWRhdGVzIjpbeyJjb250ZW50Ijp7InBhcnRzIjpbeyJ0ZXh0IjoiZyJ9XX0sImZpbmlzaFJlYXNvbiI6IlNUT1AifV19"})),
        entry("https://api.example/v1/chat/completions", &body, json!({"size": 900, "text": &text[..40]})),
        entry("https://www.example/login", "user=1&password=2", json!({})),
    ]}});
    folder.write("session.har", serde_json::to_string_pretty(&log).unwrap());
    let (lines, ledger) = both(&folder, "har", "session.har");
    assert_eq!(
        (&lines[0]["arrived_us"], &lines[0]["latency_ms"]),
        (&json!(1_772_359_200_125_000_i64), &json!(1375.25))
    );
    assert_eq!(
        (&lines[1]["model"], &lines[1]["target"], &lines[1]["source"]["row"]),
        (&json!("gemini-x"), &json!("g"), &json!(2))
    );
    assert!(lines[2]["failure"]["cut"].is_object(), "{}", lines[2]);
    assert_eq!((&ledger["not_kept"], &ledger["partly"]["cut_body"]), (&json!({"other_call": 1}), &json!(1)));
    assert!(!folder.read("out.jsonl").contains("abcdef0123456789"), "headers and queries are not kept");
}

#[test]
fn captures_of_goreplay() {
    let folder = Folder::new();
    let separator = "\n🐵🙈🙉\n";
    let (body, answer) = (chat_body("hi").to_string(), chat_answer("ok").to_string());
    let asked = |id: &str, at: u64, body: &str| {
        format!(
            "1 {id} {at} 0\nPOST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abcdef0123456789\r\n\
            Content-Length: {}\r\n\r\n{body}{separator}",
            body.len()
        )
    };
    let (a, b, c) = ("a".repeat(24), "b".repeat(24), "c".repeat(24));
    let chunked = format!("{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", 10, &answer[..10], answer.len() - 10, &answer[10..]);
    let log = [
        asked(&a, 1_760_000_000_125_000_000, &body),
        asked(&b, 1_760_000_000_125_000_000, &body),
        format!(
            "2 {a} 1760000000125000000 1375000000\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{separator}"
        ),
        format!("2 {b} 1760000000425000000 0\nHTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno{separator}"),
        format!("3 {b} 1760000000425000000 0\nHTTP/1.1 200 OK\r\n\r\n{separator}"),
        asked(&c, 1_760_000_001_000_000_000, &body),
        format!("1 {} 1760000001000000000 0\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n{separator}", "d".repeat(24)),
        format!("2 {} 1760000001000000000 0\nHTTP/1.1 200 OK\r\n\r\n", "e".repeat(24)),
    ];
    folder.write("log.gor", log.concat());
    let (lines, ledger) = both(&folder, "goreplay", "log.gor");
    assert_eq!((&lines[0]["target"], &lines[0]["latency_ms"]), (&json!("ok"), &json!(1375.0)));
    assert_eq!(lines[1]["failure"], json!({"status": {"status": 500, "detail": "no"}}));
    assert_eq!((&lines[1]["latency_ms"], &lines[2]["answer"]), (&json!(300.0), &Value::Null));
    assert_eq!(ledger["not_kept"], json!({"other_call": 2, "no_body": 1, "joined": 2}));
    assert_eq!((&ledger["partly"]["no_answer"], &ledger["precision"]), (&json!(1), &json!({"ns": 3})));
    assert!(!folder.read("out.jsonl").contains("abcdef0123456789"));
}

#[test]
fn traces_without_text() {
    let folder = Folder::new();
    folder.write("azure.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:46.6805901,12,\n");
    let (lines, ledger) = both(&folder, "azure", "azure.csv");
    let words = |line: &Value| line["messages"][0]["content"].as_str().unwrap().split(' ').count();
    assert_eq!((words(&lines[0]), words(&lines[1])), (374, 12));
    assert_eq!(lines[0]["arrived_us"], 1_700_158_546_680_590_i64);
    assert_eq!((&lines[0]["params"]["max_output_tokens"], &lines[0]["texts"]), (&json!(44), &json!("made")));
    assert_eq!((&ledger["partly"]["text_made"], &ledger["precision"]), (&json!(2), &json!({"ns": 2})));
    folder.write(
        "burst.csv",
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
        5,7,1.5,ChatGPT,20,0,20,Conversation log\n45.5,7,2.5,GPT-4,10,30,40,API log\n",
    );
    let (lines, _) = both(&folder, "burstgpt", "burst.csv");
    assert!(lines[0]["failure"]["recorded"].is_object() && lines[0]["answer"].is_null());
    assert_eq!(
        (&lines[1]["arrived_us"], &lines[1]["turn"], &lines[1]["latency_ms"]),
        (&json!(45_500_000), &json!(2), &json!(2500.0))
    );
    let row =
        |at: u64, blocks: Value| json!({"timestamp": at, "input_length": 1000, "output_length": 5, "hash_ids": blocks});
    folder.write("mooncake.jsonl", jsonl(&[row(0, json!([0, 1])), row(3000, json!([0, 2])), row(3000, json!([3, 4]))]));
    let (lines, _) = both(&folder, "mooncake", "mooncake.jsonl");
    let head = |line: &Value| {
        line["messages"][0]["content"].as_str().unwrap().split(' ').take(512).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(head(&lines[0]), head(&lines[1]));
    assert_ne!(head(&lines[1]), head(&lines[2]));
    assert_eq!(import(&folder, "mooncake", "mooncake.jsonl", &["--seed", "0"]).0, lines, "the same texts again");
    assert_ne!(import(&folder, "mooncake", "mooncake.jsonl", &["--seed", "1"]).0, lines);
}

/// Rows as people log them themselves, in whatever order and with whatever is wrong with them.
#[test]
fn rows_that_are_wrong_are_counted() {
    let folder = Folder::new();
    let row = |at: Value, text: &str| json!({"id": text, "timestamp": at, "messages": [{"role": "user", "content": text}], "response": "ok"});
    let good = [
        row(json!("2026-03-01T10:00:05.500Z"), "late"),
        row(json!("2026-03-01T12:00:00.000+02:00"), "first"),
        row(json!("2026-03-01 10:00:03.1234567"), "no zone"),
        row(json!("2026-03-01T10:00:05.500Z"), "late"),
        row(json!(1_772_359_201), "whole second"),
        row(json!("soon"), "no time"),
        row(json!("2026-02-28T10:00:00Z"), "yesterday"),
    ];
    let mut text = jsonl(&good).into_bytes();
    text.extend_from_slice(b"{\"messages\": \xff}\n{\"messages\" []}\n[1, 2]\n{\"a\": 1}\n{\"messages\": []}\n\n");
    text.extend_from_slice(format!("{}\n", "[".repeat(10_000)).as_bytes());
    text.extend_from_slice(b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\\u0000b\\u001b[2J");
    folder.write("log.jsonl", &text);
    let (lines, ledger) = import(&folder, "chat", "log.jsonl", &["--zone", "+00:00"]);
    let ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["yesterday", "first", "whole second", "no zone", "late", "late~log.jsonl:4", "no time"]);
    assert_eq!(lines[3]["arrived_us"], 1_772_359_203_123_456_i64);
    assert_eq!(ledger["not_kept"], json!({"broken": 2, "cut_off": 1, "not_utf8": 1, "other_kind": 2, "no_body": 1}));
    assert_eq!(
        ledger["partly"],
        json!({"no_time": 1, "whole_seconds": 2, "no_zone": 1, "out_of_order": 4,
        "no_latency": 7, "no_model": 7, "repeated_id": 1})
    );
    assert_eq!(ledger["offsets_min"], json!([0, 120]));
    assert_eq!(ledger["largest_step_back_us"], 86_405_500_000_u64);
    let shown = folder.run(&["import", "chat", "log.jsonl", "--out", "again.jsonl"]).expect(0).out;
    for line in [
        "rows read",
        "kept",
        "not kept: not UTF-8",
        "out of order, put in its place",
        "read in its own",
        "wrote again.jsonl",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}

#[test]
fn equal_stamps_stay_in_order_and_one_row_is_a_log() {
    let folder = Folder::new();
    let row = |id: u32| json!({"id": id, "time": 1_760_000_000_125_u64, "prompt": format!("question {id}"), "completion": "a"});
    folder.write("log.jsonl", jsonl(&(0..50).map(row).collect::<Vec<_>>()));
    let (lines, _) = import(&folder, "auto", "log.jsonl", &[]);
    assert!(lines.iter().enumerate().all(|(index, line)| line["id"].as_str() == Some(index.to_string().as_str())));
    folder.write("one.jsonl", row(7).to_string());
    assert_eq!(import(&folder, "auto", "one.jsonl", &[]).0.len(), 1);
}

#[track_caller]
fn refused(folder: &Folder, arguments: &[&str], code: i32, said: &[&str]) -> Output {
    let output = folder.run(arguments).expect(code);
    for said in said {
        assert!(output.err.contains(said), "{said:?} is not in\n{}", output.err);
    }
    output
}

#[test]
fn what_cannot_be_imported_is_refused_with_what_to_do() {
    let folder = Folder::new();
    folder.write("chat.jsonl", jsonl(&[json!({"messages": [{"role": "user", "content": "q"}]})]));
    folder.write("empty.jsonl", "");
    folder.write("odd.jsonl", "{\"alpha\": 1, \"beta\": 2}\n");
    folder.write("rules.txt", "x: (\n");
    folder.write("there.jsonl", "");
    let none = |kind: &str, file: &str| {
        folder.run(&["import", kind, file, "--out", "o.jsonl"]);
        assert!(!folder.path().join("o.jsonl").exists() && !folder.path().join("o.jsonl.spool").exists());
    };
    none("helicone", "chat.jsonl");
    let to = ["--out", "o.jsonl"];
    let all = |arguments: &[&'static str]| [&["import"], arguments, &to].concat();
    refused(&folder, &all(&["helicon", "chat.jsonl"]), 2, &["`helicon` is no kind of log", "did you mean `helicone`?"]);
    let output =
        refused(&folder, &all(&["helicone", "chat.jsonl"]), 2, &["none of the 1 rows", "not of the kind `helicone`"]);
    assert!(output.out.contains("no row of this kind of log"), "{}", output.out);
    refused(&folder, &all(&["chat", "empty.jsonl"]), 2, &["the files have no rows"]);
    refused(&folder, &all(&["auto", "empty.jsonl"]), 2, &["it is empty", "name the kind: chat, "]);
    refused(&folder, &all(&["auto", "odd.jsonl"]), 2, &["its first row has `alpha`, `beta`"]);
    refused(&folder, &all(&["chat", "gone.jsonl"]), 5, &["could not read `gone.jsonl`: no such file"]);
    refused(&folder, &all(&["chat", "."]), 5, &["it is a folder"]);
    refused(&folder, &all(&["chat", "chat.jsonl", "--zone", "Mars"]), 2, &["`Mars` is no zone", "+02:00"]);
    refused(&folder, &all(&["chat", "chat.jsonl", "--redact", "emial"]), 2, &["did you mean `email`?"]);
    refused(&folder, &all(&["chat", "chat.jsonl", "--redact-file", "rules.txt"]), 2, &["rules.txt:1"]);
    refused(&folder, &all(&["chat", "chat.jsonl", "--redact-file", "gone"]), 5, &["gone"]);
    refused(
        &folder,
        &all(&["chat", "chat.jsonl", "--sample", "3", "--stratify", "colour"]),
        2,
        &["model, length, tools"],
    );
    refused(&folder, &["import", "chat", "chat.jsonl", "--out", "there.jsonl"], 2, &["already there", "--force"]);
    refused(&folder, &["import", "chat", "chat.jsonl", "--out", "chat.jsonl", "--force"], 2, &["one of the logs"]);
    refused(&folder, &["import", "chat", "chat.jsonl", "--out", "no/o.jsonl"], 5, &["could not write"]);
    refused(
        &folder,
        &["import", "chat", "chat.jsonl", "--out", "/dev/null", "--force"],
        2,
        &["`/dev/null` is no file"],
    );
    for beside in ["n.jsonl.ledger.json", "n.jsonl.spool"] {
        folder.write(beside, "mine");
        let to_n = ["import", "chat", "chat.jsonl", "--out", "n.jsonl"];
        refused(&folder, &to_n, 2, &[&format!("`{beside}` is already there"), "--force"]);
        assert_eq!(folder.read(beside), "mine");
        std::fs::remove_file(folder.path().join(beside)).unwrap();
    }
    refused(&folder, &["import", "chat", "chat.jsonl", "--out", "n.cap"], 2, &["does not end in `.jsonl`"]);
    // What an import that was stopped has left is in nobody's way.
    folder.write("n.jsonl.spool", "{\"evalctl\":\"capture/1\",\"turn\":1,\"id\":\"a\"");
    folder.run(&["import", "chat", "chat.jsonl", "--out", "n.jsonl"]).expect(0);
    assert!(!folder.path().join("n.jsonl.spool").exists());
    folder.write("fields.txt", "/body/user\n");
    folder.write("log.gor", "1 a 1760000000000000000 0\nPOST /v1/chat/completions HTTP/1.1\r\n\r\n{}");
    let with_fields = ["goreplay", "log.gor", "--redact-file", "fields.txt"];
    refused(&folder, &all(&with_fields), 2, &["cannot reach into `log.gor`", "use a pattern"]);
    assert!(!folder.path().join("o.jsonl").exists());
}

#[test]
fn secrets_are_taken_out_unless_that_is_not_wanted() {
    let folder = Folder::new();
    let text = "I am jo@x.example (+49 30 1234567), key sk-proj-a1B2c3D4e5F6g7H8, ticket T-1234.";
    let row = |id: u32| {
        json!({"id": id, "session_id": "s", "created_at": format!("2026-03-01T10:00:0{id}Z"),
        "request": {"model": "m", "user": "jo@x.example", "messages": [{"role": "user", "content": text}]},
        "response": "Dear jo@x.example", "metadata": {"who": "jo@x.example", "plan": "pro"}})
    };
    folder.write("log.jsonl", jsonl(&[row(1), row(2)]));
    let (lines, ledger) = import(&folder, "chat", "log.jsonl", &[]);
    let clean = "I am [EMAIL_1] ([PHONE_1]), key [API_KEY_1], ticket T-1234.";
    for line in &lines {
        assert_eq!((&line["messages"][0]["content"], &line["target"]), (&json!(clean), &json!("Dear [EMAIL_1]")));
        assert_eq!((&line["body"]["user"], &line["tags"]["who"]), (&json!("[EMAIL_1]"), &json!("[EMAIL_1]")));
    }
    assert_eq!(ledger["redacted"], 2);
    folder.write("rules.txt", "# ours\nticket: T-\\d+\n/metadata/who\n/metadata/whom\n");
    let (lines, ledger) = import(&folder, "chat", "log.jsonl", &["--redact", "secrets", "--redact-file", "rules.txt"]);
    let own = "I am jo@x.example (+49 30 1234567), key [API_KEY_1], ticket [TICKET_1].";
    assert_eq!((&lines[0]["messages"][0]["content"], &lines[0]["tags"]), (&json!(own), &json!({"plan": "pro"})));
    assert_eq!(ledger["redactions"]["field"], 2);
    assert!(ledger["notes"].to_string().contains("`/metadata/whom` names no field of any row"), "{ledger}");
    let (lines, _) = import(&folder, "chat", "log.jsonl", &["--redact", "none"]);
    assert_eq!(lines[0]["messages"][0]["content"], text);
    let (lines, _) = import(&folder, "chat", "log.jsonl", &["--digest-only"]);
    assert_eq!((&lines[0]["texts"], &lines[0]["body"]), (&json!("digested"), &Value::Null));
    assert_eq!(lines[0]["target"], lines[1]["target"]);
    let written = folder.read("out.jsonl");
    for part in ["jo@", "Dear", "ticket", "a1B2c3", "pro\""] {
        assert!(!written.contains(part), "{part}: {written}");
    }
}

#[test]
fn a_first_token_after_the_end_is_left_out() {
    let folder = Folder::new();
    let line = |id: &str, ttft: f64| {
        json!({"evalctl": "capture/1", "turn": 1, "id": id, "conversation": id, "arrived_us": 1_700_000_000_000_000_u64,
        "precision": "ms", "messages": [{"role": "user", "content": "q"}], "answer": {"text": "a"}, "latency_ms": 10.0,
        "ttft_ms": ttft, "source": {"kind": "chat", "file": "f", "row": 1}})
    };
    folder.write("log.jsonl", jsonl(&[line("a", 10.5), line("b", 12.0)]));
    let (lines, ledger) = import(&folder, "capture", "log.jsonl", &[]);
    assert_eq!((&lines[0]["ttft_ms"], &lines[1]["ttft_ms"]), (&json!(10.5), &Value::Null));
    assert_eq!(ledger["partly"]["first_token_late"], 1);
}

#[test]
fn what_is_ours_stays_under_any_pattern() {
    let folder = Folder::new();
    let row = json!({"id": 12345, "timestamp": "2026-03-01T10:00:00Z", "status": 200,
        "request": {"model": "m", "max_tokens": 12345, "seed": 12345, "messages": [
            {"role": "user", "content": "Employee 12345 asks for user 54321."}]},
        "response": {"choices": [{"message": {"role": "assistant", "content": "user 12345"}, "finish_reason": "stop",
            "logprobs": {"content": [{"token": "user", "logprob": -0.1}, {"token": " 12", "logprob": -0.1},
                {"token": "345", "logprob": -0.1}]}}],
            "usage": {"prompt_tokens": 12345, "completion_tokens": 54321}}});
    folder.write("log.jsonl", jsonl(&[row.clone(), row]));
    folder.write("rules.txt", "employee: \\b\\d{5}\\b\nwho: user\n");
    let (lines, ledger) = import(&folder, "chat", "log.jsonl", &["--redact-file", "rules.txt"]);
    assert_eq!(ledger["kept"], 2);
    let line = &lines[0];
    assert_eq!(
        line["messages"][0],
        json!({"role": "user", "content": "Employee [EMPLOYEE_1] asks for [WHO_1] [EMPLOYEE_2]."})
    );
    assert_eq!((&line["params"]["max_output_tokens"], &line["params"]["seed"]), (&json!(12345), &json!(12345)));
    assert_eq!(line["answer"]["usage"]["input_tokens"], 12345);
    assert_eq!((&line["answer"]["text"], &line["answer"]["logprobs"]), (&json!("[WHO_1] [EMPLOYEE_1]"), &Value::Null));
    folder.run(&["import", "capture", "out.jsonl", "--out", "again.jsonl", "--sample", "1"]).expect(0);
    // Tokens of a text in which there is nothing to find are no secrets.
    let (lines, ledger) = import(&folder, "chat", "log.jsonl", &["--redact", "secrets"]);
    assert_eq!((&ledger["redacted"], lines[0]["answer"]["logprobs"].as_array().map(Vec::len)), (&json!(0), Some(3)));
}

#[test]
fn questions_and_answers_that_are_json_stay_as_they_are() {
    let folder = Folder::new();
    let row = |input: &str, answer: Value| json!({"timestamp": "2026-03-01T10:00:00Z", "request": {"model": "m", "input": input}, "response": answer});
    let asked = [
        r#"{"task":"classify the mood","input":"I am angry"}"#,
        r#"{"content":"Guten Tag","translate_to":"fr"}"#,
        r#"["apple","pear"]"#,
        "user: so\nsystem: it goes",
    ];
    let said = [
        r#"{"answer":"42","text":"why"}"#,
        r#"{"label":"refund","text":"I want it back"}"#,
        r#"{"error":"no such order","action":"escalate"}"#,
        r#"{"choices":["a","b"],"best":"a"}"#,
    ];
    let rows: Vec<Value> = asked.iter().zip(said).map(|(asked, said)| row(asked, json!(said))).collect();
    folder.write("log.jsonl", jsonl(&rows));
    let (lines, ledger) = import(&folder, "chat", "log.jsonl", &[]);
    for (line, (asked, said)) in lines.iter().zip(asked.iter().zip(said)) {
        assert_eq!(line["messages"], json!([{"role": "user", "content": asked}]));
        assert_eq!((&line["answer"]["text"], &line["failure"]), (&json!(said), &Value::Null));
    }
    assert_eq!(ledger["partly"].get("parts_lost"), None);
    // The same where a tracer has opened them, or written them as text.
    let observation = |input: Value, output: Value| {
        json!({"id": "o", "type": "GENERATION", "traceId": "t", "startTime": "2026-03-01T10:00:00Z",
        "endTime": "2026-03-01T10:00:01Z", "input": input, "output": output})
    };
    let rows = [
        observation(json!(asked[0]), json!(said[1])),
        observation(json!({"task": "classify", "input": "x"}), json!({"label": "refund", "text": "back"})),
        observation(json!(r#"[{"role":"user","content":"hi"}]"#), json!(r#"{"role":"assistant","content":"yes"}"#)),
        observation(json!({"messages": [{"role": "user", "content": "hi"}]}), json!({"content": "c", "label": "L"})),
        observation(json!([{"role": "user", "content": "hi"}]), json!({"error": {"message": "busy"}})),
    ];
    folder.write("log.jsonl", jsonl(&rows));
    let (lines, _) = import(&folder, "langfuse", "log.jsonl", &[]);
    let asked: Vec<&Value> = lines.iter().map(|line| &line["messages"][0]["content"]).collect();
    let first = json!(r#"{"task":"classify the mood","input":"I am angry"}"#);
    assert_eq!(asked, [&first, &json!(r#"{"task":"classify","input":"x"}"#), &json!("hi"), &json!("hi"), &json!("hi")]);
    let said: Vec<&Value> = lines.iter().map(|line| &line["answer"]["text"]).collect();
    let second = json!(r#"{"label":"refund","text":"I want it back"}"#);
    let opened =
        [second, json!(r#"{"label":"refund","text":"back"}"#), json!("yes"), json!(r#"{"content":"c","label":"L"}"#)];
    assert_eq!(said[..4], opened.iter().collect::<Vec<_>>());
    assert_eq!(lines[4]["failure"]["service"]["detail"], "busy");
}

/// Ids of a batch are its own: two batches may have the same.
#[test]
fn answers_of_batches_go_to_their_own_questions_or_to_none() {
    let folder = Folder::new();
    let asked = |text: &str| {
        jsonl(&[
            json!({"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": chat_body(text)}),
        ])
    };
    let said = |text: &str| {
        jsonl(&[
            json!({"id": "b", "custom_id": "request-1", "response": {"status_code": 200, "body": chat_answer(text)}, "error": null}),
        ])
    };
    for (name, text) in
        [("in_1", asked("2+2?")), ("in_2", asked("Capital?")), ("out_1", said("4")), ("out_2", said("Paris"))]
    {
        folder.write(&format!("{name}.jsonl"), text);
    }
    let account = |files: &[&str]| -> (Vec<Value>, Value) {
        let arguments = [&["import", "openai-batch"], files, &["--out", "out.jsonl", "--force", "--json"]].concat();
        let ledger: Value = serde_json::from_str(&folder.run(&arguments).expect(0).out).unwrap();
        assert_eq!(ledger["rows_read"], files.len(), "{ledger}");
        assert!(ledger["files"].as_array().unwrap().iter().all(|file| file["rows"] == 1), "{ledger}");
        (lines(&folder), ledger)
    };
    let (two, ledger) = account(&["in_1.jsonl", "in_2.jsonl", "out_1.jsonl", "out_2.jsonl"]);
    assert!(two.iter().all(|line| line["answer"].is_null()), "{two:?}");
    assert_eq!((two.len(), &ledger["not_kept"]), (2, &json!({"ambiguous": 2})));
    let (two, ledger) = account(&["out_1.jsonl", "out_2.jsonl", "in_1.jsonl"]);
    assert_eq!((two.len(), &two[0]["answer"], &ledger["not_kept"]["ambiguous"]), (1, &Value::Null, &json!(2)));
    let (two, ledger) = account(&["in_1.jsonl", "out_1.jsonl", "out_2.jsonl", "in_2.jsonl"]);
    let said: Vec<&Value> = two.iter().map(|line| &line["target"]).collect();
    assert_eq!((said, &ledger["not_kept"]), (vec![&json!("4"), &json!("Paris")], &json!({"joined": 2})));
}

#[test]
fn what_looks_otherwise_than_expected_is_counted_or_understood() {
    let folder = Folder::new();
    let row = |more: Value| {
        let mut row = json!({"request": chat_body("q"), "response": "a"});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    // A list with other things in it than rows.
    folder.write("list.json", format!("[{}, null, \"x {{\", 17,\n{}]", row(json!({})), row(json!({}))));
    let (_, ledger) = import(&folder, "chat", "list.json", &[]);
    assert_eq!((&ledger["rows_read"], &ledger["not_kept"]), (&json!(5), &json!({"other_kind": 3})));
    // A first row that is longer than what is looked at elsewhere.
    let long = row(json!({"note": "x".repeat(700_000)}));
    folder.write("long.jsonl", jsonl(&[long, row(json!({}))]));
    assert_eq!(import(&folder, "auto", "long.jsonl", &[]).1["kept"], 2);
    // The beginning goes before the stamp of the line, and not every status is one of HTTP.
    let rows = [
        row(
            json!({"timestamp": "2026-03-01T10:00:05Z", "start_time": "2026-03-01T10:00:00Z", "end_time": "2026-03-01T10:00:04Z", "status": 0}),
        ),
        row(json!({"timestamp": "2026-03-01T10:00:06Z", "status": 1})),
        row(json!({"timestamp": "2026-03-01T10:00:07Z", "status": "500", "response": "Internal Server Error"})),
    ];
    folder.write("log.jsonl", jsonl(&rows));
    let (lines, _) = import(&folder, "chat", "log.jsonl", &[]);
    assert_eq!((&lines[0]["latency_ms"], &lines[0]["target"]), (&json!(4000.0), &json!("a")));
    assert_eq!(lines[1]["target"], "a");
    assert_eq!(lines[2]["failure"]["status"]["status"], 500);
    // Pictures tell questions apart.
    let picture = |n: u32| {
        let parts = json!([{"type": "text", "text": "Describe this image."},
            {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,AAAA{n}")}}]);
        json!({"request": {"model": "m", "messages": [{"role": "user", "content": parts}]}, "response": "a"})
    };
    folder.write("log.jsonl", jsonl(&[picture(1), picture(2), picture(1)]));
    let (lines, _) = import(&folder, "chat", "log.jsonl", &["--sample", "9"]);
    assert_eq!(lines.len(), 2);
}

/// Text without a secret is not changed. The golden sets are this project's own; what is found in them is printed.
#[test]
fn golden_sets_have_no_false_positives() {
    let folder = Folder::new();
    let mut rows = Vec::new();
    for name in ["support-triage", "opening-hours"] {
        let path = format!("{}/datasets/{name}/data.jsonl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        rows.extend(text.lines().map(|line| json!({"messages": [{"role": "user", "content": line}]})));
    }
    folder.write("golden.jsonl", jsonl(&rows));
    let (lines, ledger) = import(&folder, "chat", "golden.jsonl", &[]);
    println!("false positives on the golden sets: {} in {} rows", ledger["redactions"], lines.len());
    assert_eq!((lines.len(), &ledger["redactions"], &ledger["redacted"]), (552, &json!({}), &json!(0)));
}

#[test]
fn a_sample_stands_for_the_rest() {
    let folder = Folder::new();
    let row = |n: u32| {
        // Every second one says what the one before it says, with a sign more.
        let (question, sign) = (n / 2, if n.is_multiple_of(2) { "" } else { " !" });
        let words: Vec<String> =
            (0..30).map(|word| format!("w{}", (question * 7919 + word * 104_729) % 5003)).collect();
        json!({"time": 1_760_000_000 + question, "model": if question.is_multiple_of(2) { "a" } else { "b" },
            "completion": "x", "prompt": format!("{}{sign}", words.join(" "))})
    };
    folder.write("log.jsonl", jsonl(&(0..200).map(row).collect::<Vec<_>>()));
    let (lines, ledger) =
        import(&folder, "chat", "log.jsonl", &["--sample", "10", "--stratify", "model,length", "--seed", "3"]);
    assert_eq!(lines.len(), 10);
    assert_eq!(ledger["not_kept"], json!({"near_duplicate": 100, "not_drawn": 90}));
    assert_eq!(lines.iter().filter(|line| line["model"] == "a").count(), 5);
    assert!(lines.iter().all(|line| line["duplicates"] == 1 && line["source"]["file"] == "log.jsonl"));
    let again = import(&folder, "chat", "log.jsonl", &["--sample", "10", "--stratify", "model,length", "--seed", "3"]);
    assert_eq!(again.0, lines);
}

/// A capture is a golden set, and the answers of the log are a candidate of their own.
#[test]
fn a_capture_runs_as_it_stands() {
    let folder = Folder::new();
    let row = |n: u32| {
        json!({"id": format!("q{n}"), "session_id": format!("s{}", n / 2), "created_at": format!("2026-03-01T10:00:{:02}.125Z", n),
            "request": {"model": "m", "temperature": 0.5, "messages": [{"role": "user", "content": format!("say {n}")}]},
            "response": chat_answer(&format!("said {n}")), "latency_ms": 100 + n, "ttft_ms": 50, "cost_usd": 0.001})
    };
    folder.write("log.jsonl", jsonl(&(0..20).map(row).collect::<Vec<_>>()));
    import(&folder, "chat", "log.jsonl", &[]);
    folder.write("suite.yaml", "name: replayed\ndataset: { path: out.jsonl, cluster: conversation }\nprompt: { messages: messages }\n\
        candidates:\n  - id: logged\n    recorded: { path: out.jsonl, text: /answer/text, tool_calls: /answer/tool_calls, \
        usage: /answer/usage, finish: /answer/finish, latency_ms: latency_ms, ttft_ms: ttft_ms, cost_usd: cost_usd, \
        failure: failure }\n  - id: echo\n    scripted: { reply: \"said {{ id[1:] }}\" }\n\
        baseline: logged\nscorers:\n  - exact: {}\n");
    let report: Value =
        serde_json::from_str(&folder.run(&["run", "suite.yaml", "-q", "--json"]).expect(0).out).unwrap();
    for candidate in report["candidates"].as_array().unwrap() {
        assert_eq!(candidate["counts"]["failed"], 0, "{candidate}");
        assert_eq!(
            (&candidate["metrics"][0]["name"], &candidate["metrics"][0]["value"]),
            (&json!("exact"), &json!(1.0))
        );
    }
    let logged = report["candidates"][0]["metrics"].as_array().unwrap();
    let value = |name: &str| logged.iter().find(|metric| metric["name"] == name).unwrap()["value"].clone();
    assert_eq!((value("latency_ms.mean"), value("ttft_ms.mean")), (json!(109.5), json!(50.0)));
    // A capture of a capture is the same.
    folder.run(&["import", "auto", "out.jsonl", "--out", "second.jsonl"]).expect(0);
    assert_eq!(folder.read("second.jsonl"), folder.read("out.jsonl"));
}

#[test]
fn compressed_logs_and_pipes_are_read() {
    let folder = Folder::new();
    let row = json!({"messages": [{"role": "user", "content": "q"}], "response": "a"});
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(jsonl(&[row.clone(), row.clone()]).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    folder.write("log.jsonl.gz", &gzip);
    assert_eq!(import(&folder, "auto", "log.jsonl.gz", &[]).0.len(), 2);
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    folder.write("log.zst", ruzstd::encoding::compress_to_vec(jsonl(&[row.clone(), row]).as_bytes(), level));
    assert_eq!(import(&folder, "auto", "log.zst", &[]).0.len(), 2);
    folder.write("cut.gz", &gzip[..gzip.len() - 12]);
    let output = folder.run(&["import", "chat", "cut.gz", "--out", "cut.jsonl"]);
    assert!(output.out.contains("the file ends in the middle of it"), "{output:?}");
}

/// A log that is larger than what is held of it, through a pipe: memory stays flat.
#[test]
fn memory_does_not_grow_with_the_log() {
    let folder = Folder::new();
    let mut command = folder.evalctl(["import", "chat", "-", "--out", "out.jsonl"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut input = child.stdin.take().unwrap();
    let filler = "all that somebody wrote about it, at length, ".repeat(40);
    let peak = || {
        let status = std::fs::read_to_string(&status).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let mut highest = 0;
    for n in 0..40_000_u64 {
        // Every tenth row came a minute earlier.
        let at = 1_760_000_000_000 + n * 10 - if n % 10 == 0 { 60_000 } else { 0 };
        let row = json!({"timestamp": at, "messages": [{"role": "user", "content": format!("{n} {filler}")}], "response": "ok"});
        writeln!(input, "{row}").unwrap();
        if n % 1000 == 0 {
            highest = highest.max(peak().unwrap_or(0));
        }
    }
    highest = highest.max(peak().unwrap_or(0));
    drop(input);
    assert!(crate::support::wait(&mut child, std::time::Duration::from_secs(120)).success());
    // 74 MB went in; half of it is the window for rows out of order.
    assert!((1..150_000).contains(&highest), "{highest} KB");
    let text = folder.read("out.jsonl");
    let times = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["arrived_us"].as_i64().unwrap());
    assert!(times.clone().is_sorted() && times.count() == 40_000);
}

fn shared(name: &str) -> Option<String> {
    let folder = std::env::var("EVALCTL_CONFORMANCE_DATA").ok()?;
    Some(format!("{folder}/{name}"))
}

/// The quantile of a sorted list, between neighbours in proportion.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let low = sorted[at.floor() as usize];
    low + (sorted[at.ceil() as usize] - low) * at.fract()
}

fn counts(lines: &[Value], name: &str) -> Vec<f64> {
    let mut all: Vec<f64> = lines.iter().map(|line| line["answer"]["usage"][name].as_f64().unwrap()).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// Figures published with the traces: microsoft/AzurePublicDataset and kvcache-ai/Mooncake.
#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn public_traces_give_their_published_figures() {
    let Some(azure) = shared("traces/azure_llm_2023_conv.csv") else { return };
    let folder = Folder::new();
    let (lines, ledger) = import(&folder, "auto", &azure, &["--digest-only"]);
    assert_eq!((&ledger["rows_read"], &ledger["kept"]), (&json!(19_366), &json!(19_366)));
    let (input, output) = (counts(&lines, "input_tokens"), counts(&lines, "output_tokens"));
    assert_eq!([0.5, 0.9, 0.99].map(|q| quantile(&input, q)), [1020.0, 2734.5, 4142.0]);
    assert_eq!([0.5, 0.9, 0.99].map(|q| quantile(&output, q)), [129.0, 424.0, 601.0]);
    let times: Vec<f64> = lines.iter().map(|line| line["arrived_us"].as_i64().unwrap() as f64 / 1e6).collect();
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
    let rate = gaps.len() as f64 / (times[times.len() - 1] - times[0]);
    assert_eq!((format!("{rate:.4}"), format!("{:.3}", deviation / mean)), ("5.5301".to_owned(), "1.094".to_owned()));
    let mooncake = shared("traces/mooncake_conversation.jsonl").unwrap();
    let (lines, _) = import(&folder, "auto", &mooncake, &["--digest-only"]);
    let mean = |name: &str| counts(&lines, name).iter().sum::<f64>() / lines.len() as f64;
    assert_eq!(lines.len(), 12_031);
    let means = [mean("input_tokens"), mean("output_tokens")].map(|mean| format!("{mean:.2}"));
    assert_eq!(means, ["12035.06", "342.62"]);
}

#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn real_exports_import_with_a_complete_account() {
    if shared("").is_none() {
        return;
    }
    let folder = Folder::new();
    // Observations, generations that were kept, and their latencies in milliseconds, which follow from the stamps.
    for (name, rows, kept, latency) in [
        ("agno-2025-06-11", 6, 4, Some(960.0)),
        ("autogen-2025-06-06", 2, 1, Some(628.0)),
        ("google-adk-2025-08-28", 5, 2, Some(911.0)),
        ("koog-2025-08-26", 11, 2, Some(2840.0)),
        ("langgraph-2025-08-22", 9, 2, Some(848.0)),
        ("openai-agents-2025-09-30", 5, 2, Some(1036.0)),
        ("openai-assistants-2024-05-29", 4, 1, None),
    ] {
        let file = shared(&format!("request_logs/langfuse/{name}.json")).unwrap();
        let (lines, ledger) = import(&folder, "auto", &file, &[]);
        assert_eq!(ledger["files"][0]["kind"], "langfuse", "{name}");
        assert_eq!((ledger["rows_read"].as_u64(), lines.len()), (Some(rows), kept), "{name}: {ledger}");
        assert_eq!(lines[0]["latency_ms"].as_f64(), latency, "{name}");
        for line in &lines {
            assert!(!line["messages"].as_array().unwrap().is_empty(), "{name}");
            let has_answer = line["target"].is_string() || line["answer"]["tool_calls"].is_array();
            assert_eq!(has_answer, line["answer"]["usage"]["input_tokens"].is_u64(), "{name}: {line}");
        }
        // One tracer writes the text `None` for an answer that only called tools.
        let silent = u64::from(name.starts_with("agno"));
        assert_eq!(ledger["partly"]["no_answer"].as_u64().unwrap_or(0), silent, "{name}");
    }
    let payload = shared("request_logs/litellm/standard_logging_payload.trimmed.json").unwrap();
    let (lines, _) = import(&folder, "auto", &payload, &[]);
    assert_eq!(lines[0]["latency_ms"], 4.583, "not `response_time`");
    assert_eq!((&lines[0]["ttft_ms"], &lines[0]["cost_usd"]), (&Value::Null, &json!("0.00022500000000000002")));
    let spend = shared("request_logs/litellm/spend_logs_payload.trimmed.json").unwrap();
    let arguments = ["import", "auto", spend.as_str(), "--out", "spend.jsonl"];
    let output = refused(&folder, &arguments, 2, &["no request bodies: turn on the storage of prompts"]);
    assert!(
        output.out.contains("as litellm-spend") && output.out.contains("not kept: no request body"),
        "{}",
        output.out
    );
}

#[test]
fn chats_are_read_from_csv() {
    let folder = Folder::new();
    folder.write(
        "log.csv",
        "timestamp,prompt,response,latency_ms,model\n\
         2026-11-01T09:00:00.487625Z,\"which bundles, if any?\",\"{\"\"intent\"\": \"\"change\"\"}\",1495,gpt-5-mini\n\
         2026-11-01T09:00:01Z,no sim for 10 days,\"{\"\"intent\"\": \"\"delivery\"\"}\",439,gpt-5-mini\n",
    );
    for kind in ["auto", "chat"] {
        let out = format!("{kind}.jsonl");
        folder.run(&["import", kind, "log.csv", "--out", &out]).expect(0);
        let lines: Vec<Value> = folder.read(&out).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["messages"][0]["content"], "which bundles, if any?");
        assert_eq!(lines[0]["answer"]["text"], "{\"intent\": \"change\"}");
        assert_eq!(lines[0]["latency_ms"], 1495.0);
        assert_eq!(lines[0]["model"], "gpt-5-mini");
    }
    // A first line that only looks like a header makes no CSV of lines of JSON.
    folder.write("odd.jsonl", "INFO start, all well\n{\"messages\":[{\"role\":\"user\",\"content\":\"a, b\"}]}\n");
    folder.run(&["import", "chat", "odd.jsonl", "--out", "odd.out.jsonl"]).expect(0);
    assert_eq!(folder.read("odd.out.jsonl").lines().count(), 1);
}

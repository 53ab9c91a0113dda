//! `evalctl serve` from its arguments to its answers, on a tiny model with random weights.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Folder, tell, until, wait, weights};

/// A server that ends with its test.
struct Served {
    child: Child,
    port: u16,
    facts: Value,
    _folder: Folder,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// The error, which must have all four fields.
    #[track_caller]
    fn error(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        let error = self.json()["error"].clone();
        let fields: Vec<&String> = error.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["message", "type", "param", "code"]);
        error
    }

    /// The chunks of a stream, which must have ended well.
    #[track_caller]
    fn chunks(self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.body);
        let mut events: Vec<&str> = self.body.split_terminator("\n\n").collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{}", self.body);
        events.iter().map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
    }
}

impl Served {
    fn start(more: &[&str]) -> Served {
        let folder = Folder::new();
        let path = weights::random(&folder, "noise", 1024, 11);
        let path = path.to_str().unwrap();
        let mut command = folder.evalctl(["serve", path, "--port", "0", "--announce", "--with-parent"]);
        command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).unwrap();
        let url = facts["ready"].as_str().unwrap();
        let port = url.strip_prefix("http://127.0.0.1:").unwrap().strip_suffix("/v1").unwrap().parse().unwrap();
        Served { child, port, facts, _folder: folder }
    }

    fn open(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(240))).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses early may not read all of it.
        let _ = stream.write_all(body.as_bytes());
        stream
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let mut bytes = Vec::new();
        let _ = self.open(method, path, body).read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        let body = if is_chunked { joined(body) } else { body.to_owned() };
        Reply { status, head: head.to_lowercase(), body }
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "")
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &body.to_string())
    }

    fn chat(&self, more: &Value) -> Reply {
        let mut body = json!({"model": "noise", "messages": [{"role": "user", "content": "What is the matter?"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post("/v1/chat/completions", &body)
    }

    /// Requests that are being answered or wait.
    fn busy(&self) -> u64 {
        self.get("/health").ok()["requests"].as_u64().unwrap()
    }

    fn wait_until_idle(&self) {
        until("it works for someone who has gone", || self.busy() == 0);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A chunked body in one.
fn joined(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap();
    }
    whole
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// The text of a stream.
fn told(chunks: &[Value]) -> String {
    let delta = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
    chunks.iter().map(delta).collect()
}

#[test]
fn it_says_what_it_serves() {
    let server = Served::start(&["--parallel", "3", "--queue", "5", "--threads", "1", "--context", "512"]);
    let facts = &server.facts;
    assert_eq!((&facts["parallel"], &facts["queue"], &facts["threads"]), (&json!(3), &json!(5), &json!(1)));
    let facts = &facts["facts"];
    assert_eq!((&facts["architecture"], &facts["format"]), (&json!("llama"), &json!("safetensors")));
    assert_eq!((&facts["context"], &facts["name"]), (&json!(512), &json!("noise")));
    assert!(facts["files"].as_array().unwrap().iter().any(|file| file["name"] == "model.safetensors"));
    assert_eq!(server.get("/health").ok()["status"], "ok");
    let models = server.get("/v1/models").ok();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("noise")));
    assert_eq!(server.get("/v1/models/noise").ok()["object"], "model");
    assert_eq!(server.get("/v1/models/other").error(404)["code"], "model_not_found");
}

#[test]
fn chat_comes_whole_or_in_pieces_and_is_the_same() {
    let server = Served::start(&[]);
    let whole = server.chat(&json!({"temperature": 0, "max_tokens": 40})).ok();
    assert_eq!((&whole["object"], &whole["model"]), (&json!("chat.completion"), &json!("noise")));
    assert!(whole["system_fingerprint"].as_str().unwrap().starts_with("fp_"));
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 40);
    let sum = whole["usage"]["prompt_tokens"].as_u64().unwrap() + 40;
    assert_eq!(whole["usage"]["total_tokens"], sum);

    let more = json!({"temperature": 0, "max_tokens": 40, "stream": true});
    let chunks = server.chat(&more).chunks();
    assert_eq!(told(&chunks), content(&whole));
    assert!(chunks.len() > 10, "{} chunks", chunks.len());
    assert_eq!(chunks[0]["object"], "chat.completion.chunk");
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk.get("usage").is_none()));

    let mut more = more;
    more["stream_options"] = json!({"include_usage": true});
    let mut chunks = server.chat(&more).chunks();
    let last = chunks.pop().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()));

    // The same through text parts, and with a developer who is a system.
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "What is the matter?"}]}]);
    let again = server.chat(&json!({"temperature": 0, "max_tokens": 40, "messages": parts})).ok();
    assert_eq!(content(&again), content(&whole));
}

#[test]
fn text_completions_go_on_from_a_text() {
    let server = Served::start(&[]);
    let body = json!({"model": "noise", "prompt": "Once upon", "temperature": 0, "logprobs": 2});
    let whole = server.post("/v1/completions", &body).ok();
    assert_eq!((&whole["object"], &whole["usage"]["completion_tokens"]), (&json!("text_completion"), &json!(16)));
    let logprobs = &whole["choices"][0]["logprobs"];
    for field in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[field].as_array().unwrap().len(), 16, "{field}");
    }
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let chunks = server.post("/v1/completions", &streamed).chunks();
    let text: String = chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, whole["choices"][0]["text"].as_str().unwrap());
}

#[test]
fn log_probabilities_are_those_of_the_tokens() {
    let server = Served::start(&[]);
    let more = json!({"temperature": 0, "max_tokens": 30, "logprobs": true, "top_logprobs": 5});
    let whole = server.chat(&more).ok();
    let tokens = whole["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 30);
    let mut bytes = Vec::new();
    for token in tokens {
        bytes.extend(token["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8));
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 5);
        let shares: Vec<f64> = top.iter().map(|entry| entry["logprob"].as_f64().unwrap()).collect();
        assert!(shares.is_sorted_by(|one, other| one >= other) && shares.iter().map(|l| l.exp()).sum::<f64>() <= 1.0);
        assert_eq!((&top[0]["bytes"], &top[0]["logprob"]), (&token["bytes"], &token["logprob"]), "greedy is likeliest");
    }
    assert_eq!(String::from_utf8_lossy(&bytes), content(&whole));
    let mut streamed = more;
    streamed["stream"] = json!(true);
    let chunks = server.chat(&streamed).chunks();
    let parts = chunks.iter().filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(&parts.flatten().cloned().collect::<Vec<_>>(), tokens);
}

#[test]
fn a_seed_fixes_an_answer_and_company_changes_none() {
    let server = Served::start(&["--parallel", "2"]);
    let greedy = json!({"temperature": 0, "max_tokens": 60});
    let seeded = |seed| json!({"temperature": 1.3, "top_p": 0.95, "top_k": 100, "max_tokens": 60, "seed": seed});
    let alone = [&greedy, &seeded(1), &seeded(2)].map(|more| content(&server.chat(more).ok()).to_owned());
    assert_ne!(alone[1], alone[2]);
    let unseeded = json!({"temperature": 1.3, "max_tokens": 60});
    assert_ne!(content(&server.chat(&unseeded).ok()), content(&server.chat(&unseeded).ok()));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    server.chat(&json!({"max_tokens": 20})).ok();
                }
            });
        }
        for _ in 0..5 {
            let among = [&greedy, &seeded(1), &seeded(2)].map(|more| content(&server.chat(more).ok()).to_owned());
            assert_eq!(among, alone);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_answer_ends_before_a_stop_text() {
    let server = Served::start(&[]);
    let whole = server.chat(&json!({"temperature": 0, "max_tokens": 60})).ok();
    let whole: Vec<char> = content(&whole).chars().collect();
    let stop: String = whole[10..13].iter().collect();
    let text: String = whole.iter().collect();
    let expected = text.split(&stop).next().unwrap();
    for stream in [false, true] {
        let more = json!({"temperature": 0, "max_tokens": 60, "stop": ["never there", stop], "stream": stream});
        let reply = server.chat(&more);
        let (got, why) = if stream {
            let chunks = reply.chunks();
            (told(&chunks), chunks.last().unwrap()["choices"][0]["finish_reason"].clone())
        } else {
            let answer = reply.ok();
            (content(&answer).to_owned(), answer["choices"][0]["finish_reason"].clone())
        };
        assert_eq!((got.as_str(), why), (expected, json!("stop")));
    }
}

#[test]
fn what_cannot_be_answered_is_refused_in_the_api_s_words() {
    let server = Served::start(&[]);
    for (more, param) in [
        (json!({"n": 2}), "n"),
        (json!({"tools": [{"type": "function", "function": {"name": "f"}}]}), "tools"),
        (json!({"temperature": -1}), "temperature"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "user", "content": "a ".repeat(2000)}]}), "messages"),
    ] {
        let error = server.chat(&more).error(400);
        assert_eq!((&error["param"], &error["type"]), (&json!(param), &json!("invalid_request_error")));
    }
    let long = json!({"messages": [{"role": "user", "content": "a ".repeat(2000)}], "stream": true});
    assert_eq!(server.chat(&long).error(400)["code"], "context_length_exceeded");
    assert_eq!(server.chat(&json!({"model": "gpt-5"})).error(404)["code"], "model_not_found");
    let schema = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}});
    for (impossible, why) in [
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "integer", "minimum": 2, "maximum": 1}), "nsatisfiable"),
        (json!({"$ref": "#/$defs/none"}), "none"),
        (json!({"type": "object", "properties": {"a": {"$id": "x", "type": "string"}}}), "$id"),
        (json!(false), "nothing is valid"),
    ] {
        let error = server.chat(&schema(impossible)).error(400);
        assert_eq!(error["param"], "response_format.json_schema.schema");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
    assert_eq!(server.get("/v1/nothing").error(404)["code"], "unknown_url");
    assert_eq!(server.get("/v1/chat/completions").error(405)["code"], "method_not_allowed");
    assert_eq!(server.ask("POST", "/v1/chat/completions", "{").error(400)["param"], Value::Null);
    let large = format!("{{\"prompt\": \"{}\"}}", "a".repeat(9 << 20));
    assert_eq!(server.ask("POST", "/v1/completions", &large).error(413)["type"], "invalid_request_error");
    // After all that it still answers.
    server.chat(&json!({"max_tokens": 3})).ok();
}

/// Schemas that between them use what schemas are made of.
fn schemas() -> Vec<Value> {
    let tree = json!({"$ref": "#/$defs/tree"});
    vec![
        json!({
            "type": "object", "required": ["intent", "product", "priority", "needs_human"],
            "properties": {
                "intent": {"enum": ["fault", "billing", "cancel", "change", "delivery", "account", "feedback"]},
                "product": {"enum": ["internet", "mobile", "tv", "landline", "email", "none"]},
                "priority": {"type": "integer", "minimum": 1, "maximum": 4}, "needs_human": {"type": "boolean"},
            },
            "additionalProperties": false,
        }),
        json!({
            "type": "object", "required": ["text", "count", "share", "list"], "additionalProperties": false,
            "properties": {
                "text": {"type": "string"}, "count": {"type": "integer"}, "share": {"type": "number"},
                "list": {"type": "array", "items": {"type": "number"}}, "more": {"type": ["string", "null"]},
            },
        }),
        json!({"type": "object"}),
        json!({
            "$ref": "#/$defs/tree",
            "$defs": {"tree": {
                "type": "object", "required": ["name", "children"], "additionalProperties": false,
                "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": tree}},
            }},
        }),
        json!({
            "type": "object", "required": ["code", "tag", "either"],
            "properties": {
                "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
                "tag": {"type": "string", "minLength": 3, "maxLength": 5}, "kind": {"const": "x\"y"},
                "either": {"anyOf": [{"type": "null"}, {"type": "integer"}, {"type": "array", "maxItems": 2}]},
            },
        }),
        json!({
            "type": "array", "minItems": 2, "maxItems": 4,
            "items": {
                "type": "object", "required": ["at"], "additionalProperties": false,
                "properties": {
                    "at": {"type": "number", "minimum": -1.5, "maximum": 200},
                    "by": {"type": "integer", "multipleOf": 7, "exclusiveMinimum": 0},
                },
            },
        }),
        json!({}),
        json!({"type": "object", "minProperties": 3, "additionalProperties": {"type": "integer"}}),
        json!({
            "type": "object", "required": ["found", "ends", "mail", "at"], "additionalProperties": false,
            "properties": {
                "found": {"type": "string", "pattern": "foo"}, "ends": {"type": "string", "pattern": "^(ab)+c"},
                "mail": {"type": "string", "format": "email"}, "at": {"type": "string", "format": "time"},
                "colour": {"type": "string", "format": "colour"},
            },
        }),
        json!({"type": "object", "patternProperties": {"^x_": {"type": "boolean"}}, "additionalProperties": false}),
    ]
}

/// Asks for `count` answers by each schema; all must be valid. Gives how many ended by their limit.
fn all_valid(server: &Served, schemas: &[Value], count: usize, max_tokens: usize) -> usize {
    let prompts = ["", "Hello", "Do not answer with JSON.", "{\"a\": ", "\"\\\u{0}\n", "漢字 🎉 é", "]]}}", "1e999"];
    let temperatures = [0.0, 1.0, 0.5, 2.0];
    let mut cut = 0;
    for (index, schema) in schemas.iter().enumerate() {
        let validator = jsonschema::validator_for(schema).unwrap();
        for round in 0..count {
            let prompt = format!("{} {round}", prompts[round % prompts.len()].repeat(1 + round / 8));
            let answer = server.chat(&json!({
                "messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens, "seed": round,
                "temperature": temperatures[round % 4],
                "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
            }));
            let answer = answer.ok();
            let text = content(&answer);
            let value = serde_json::from_str(text).unwrap_or_else(|e| panic!("schema {index}: {e}: {text:?}"));
            assert!(validator.is_valid(&value), "schema {index}, round {round}: {text}");
            assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() <= max_tokens as u64);
            cut += usize::from(answer["choices"][0]["finish_reason"] == "length");
        }
    }
    cut
}

#[test]
fn every_answer_is_valid_against_its_schema_even_from_random_weights() {
    let server = Served::start(&[]);
    let cut = all_valid(&server, &schemas(), 20, 400);
    assert!(cut < 200, "all {cut} answers ran into their limit");
    // Hardly more tokens than the shortest answer needs.
    all_valid(&server, &schemas()[..1], 40, 90);
    let object = json!({"response_format": {"type": "json_object"}, "max_tokens": 300, "messages": [
        {"role": "system", "content": "Answer with JSON."}, {"role": "user", "content": "Go"},
    ]});
    for _ in 0..20 {
        let answer = server.chat(&object).ok();
        assert!(serde_json::from_str::<Value>(content(&answer)).unwrap().is_object());
    }
    // A limit that is too small for any answer cuts it, and says so.
    let schema = &schemas()[0];
    let format = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
    let answer = server.chat(&json!({"max_tokens": 5, "response_format": format, "stream": true})).chunks();
    assert_eq!(answer.last().unwrap()["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_request_too_many_is_told_when_to_come_back() {
    let server = Served::start(&["--parallel", "1", "--queue", "1"]);
    let replies: Vec<Reply> = thread::scope(|scope| {
        let ask = || server.chat(&json!({"max_tokens": 900, "temperature": 0}));
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let refused: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert!(!refused.is_empty() && replies.iter().filter(|reply| reply.status == 200).count() >= 2);
    assert_eq!(refused.len() + replies.iter().filter(|reply| reply.status == 200).count(), 8);
    for reply in refused {
        assert!(reply.head.contains("\r\nretry-after: "), "{}", reply.head);
        assert_eq!(reply.json()["error"]["code"], "queue_full");
    }
    server.wait_until_idle();
    server.chat(&json!({"max_tokens": 1})).ok();
}

#[test]
fn whoever_goes_away_is_not_worked_for() {
    let server = Served::start(&["--parallel", "1"]);
    for stream in [true, false] {
        let body = json!({
            "messages": [{"role": "user", "content": "a"}], "temperature": 0, "stream": stream,
            "response_format": {"type": "json_schema", "json_schema": {"schema": {
                // Slow on purpose: a list that cannot end before the context does.
                "type": "array", "minItems": 400, "items": {"type": "string", "maxLength": 1},
            }}},
        });
        let waiting: Vec<TcpStream> =
            (0..30).map(|_| server.open("POST", "/v1/chat/completions", &body.to_string())).collect();
        // One is worked for, and one waits at the least.
        until("requests", || server.busy() >= 2);
        drop(waiting);
        server.wait_until_idle();
    }
}

#[test]
fn it_ends_when_it_is_told_and_when_its_parent_goes() {
    let mut server = Served::start(&[]);
    drop(server.child.stdin.take());
    assert!(wait(&mut server.child, Duration::from_secs(2)).success());

    let mut server = Served::start(&[]);
    let question = json!({
        "messages": [{"role": "user", "content": "a"}], "max_tokens": 300, "temperature": 0, "stream": true,
    });
    let mut stream = BufReader::new(server.open("POST", "/v1/chat/completions", &question.to_string()));
    let mut reply = String::new();
    stream.read_line(&mut reply).unwrap();
    tell(&server.child, "-TERM");
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
    assert!(reply.contains("data: [DONE]"), "what was in flight was not finished: {reply}");
    assert!(wait(&mut server.child, Duration::from_secs(8)).success());
    assert!(TcpStream::connect(("127.0.0.1", server.port)).is_err());
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let folder = Folder::new();
    let output = folder.run(&["serve", "nowhere"]).expect(2);
    assert!(output.err.contains("nowhere") && output.err.starts_with("error: "), "{}", output.err);
    folder.run(&["serve", "nowhere", "--parallel", "0"]).expect(2);
    let output = folder.run(&["serve", "nowhere", "--host", "no host"]).expect(2);
    assert!(output.err.contains("`no host`"), "{}", output.err);
    let output = folder.run(&["serve", "nowhere", "--host", "0.0.0.0"]).expect(2);
    assert!(output.err.contains("warning: `0.0.0.0` can be reached from outside"), "{}", output.err);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let path = weights::random(&folder, "noise", 64, 1);
    let output = folder.run(&["serve", path.to_str().unwrap(), "--port", &port]).expect(2);
    assert!(output.err.contains(&format!("could not listen at `127.0.0.1:{port}`")), "{}", output.err);
}

#[test]
fn web_pages_are_kept_out() {
    let server = Served::start(&["--allow-origin", "https://app.example", "--allow-host", "box.lan"]);
    let send = |method: &str, host: &str, more: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let body = r#"{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}"#;
        let length = body.len();
        write!(
            stream,
            "{method} /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n{more}content-type: text/plain\r\n\
             connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_lowercase(), body: body.to_owned() }
    };
    for host in ["127.0.0.1", "localhost:1", "[::1]:8080", "box.lan"] {
        send("POST", host, "").ok();
    }
    assert_eq!(send("POST", "evil.example", "").error(403)["code"], "host_not_allowed");
    let foreign = "origin: http://evil.example\r\n";
    assert_eq!(send("POST", "evil.example", foreign).error(403)["code"], "host_not_allowed");
    assert_eq!(send("POST", "127.0.0.1", foreign).error(403)["code"], "origin_not_allowed");
    assert_eq!(send("POST", "127.0.0.1", "host: evil.example\r\n").status / 100, 4);
    assert_eq!(send("POST", "127.0.0.1", "origin: null\r\n").error(403)["code"], "origin_not_allowed");
    let own = send("POST", "127.0.0.1", "origin: http://127.0.0.1\r\n");
    assert!(!own.head.contains("access-control"), "{}", own.head);
    own.ok();
    let allowed = "origin: https://app.example\r\n";
    let answer = send("POST", "127.0.0.1", allowed);
    assert!(answer.head.contains("access-control-allow-origin: https://app.example\r\n"), "{}", answer.head);
    answer.ok();
    let asked =
        format!("{allowed}access-control-request-method: POST\r\naccess-control-request-headers: x-stainless-os\r\n");
    let preflight = send("OPTIONS", "127.0.0.1", &asked);
    assert_eq!(preflight.status, 204);
    assert!(preflight.head.contains("access-control-allow-headers: x-stainless-os"), "{}", preflight.head);
}

#[test]
fn a_prompt_that_cannot_fit_is_not_cut_into_tokens_first() {
    let server = Served::start(&["--context", "128"]);
    let error = server.post("/v1/completions", &json!({"prompt": "no room ".repeat(900_000)})).error(400);
    assert_eq!(error["code"], "context_length_exceeded");
    assert!(error["message"].as_str().unwrap().contains("at least"), "{error}");
}

//! What is answered: completions and their chunks, in OpenAI's shape. Pure.

use serde_json::{Map, Value, json};

use crate::local::api::{Input, Request};
use crate::local::generate::{End, Finish};
use crate::local::text::{Piece, Said};

/// The frame of the answers to one request: what all its chunks have in common.
#[derive(Debug, Clone)]
pub struct Answer {
    is_chat: bool,
    wants_usage: bool,
    logprobs: Option<usize>,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    has_begun: bool,
    /// Characters so far, for the offsets of a text completion.
    length: usize,
}

impl Answer {
    /// For a request. `created` is in seconds since 1970.
    pub fn new(request: &Request, number: u64, created: u64, model: &str, fingerprint: &str) -> Answer {
        let is_chat = matches!(request.input, Input::Chat(_));
        let prefix = if is_chat { "chatcmpl" } else { "cmpl" };
        Answer {
            is_chat,
            wants_usage: request.wants_usage,
            logprobs: request.logprobs,
            id: format!("{prefix}-{created:x}{number:08x}"),
            created,
            model: model.to_owned(),
            fingerprint: fingerprint.to_owned(),
            has_begun: false,
            length: 0,
        }
    }

    /// The whole answer in one.
    pub fn whole(&mut self, pieces: Vec<Piece>, end: End) -> Value {
        let mut all = Piece::default();
        for piece in pieces {
            all.text.push_str(&piece.text);
            all.tokens.extend(piece.tokens);
        }
        let logprobs = self.logprobs(&all);
        let mut choice = Map::new();
        choice.insert("index".to_owned(), json!(0));
        if self.is_chat {
            choice.insert("message".to_owned(), json!({"role": "assistant", "content": all.text, "refusal": null}));
        } else {
            choice.insert("text".to_owned(), json!(all.text));
        }
        choice.insert("logprobs".to_owned(), logprobs);
        choice.insert("finish_reason".to_owned(), json!(end.finish.as_str()));
        let mut body = self.frame("chat.completion", json!([choice]));
        body.insert("usage".to_owned(), usage(end));
        Value::Object(body)
    }

    /// The chunk of a piece.
    pub fn chunk(&mut self, piece: &Piece) -> Value {
        let delta = self.delta(&piece.text);
        let logprobs = self.logprobs(piece);
        self.chunk_of(delta, logprobs, None)
    }

    /// The chunks after the last piece: why it ended and, where it is wanted, the usage.
    pub fn last_chunks(&mut self, end: End) -> Vec<Value> {
        let delta = self.delta("");
        let mut chunks = vec![self.chunk_of(delta, Value::Null, Some(end.finish))];
        if self.wants_usage {
            let mut body = self.frame("chat.completion.chunk", json!([]));
            body.insert("usage".to_owned(), usage(end));
            chunks.push(Value::Object(body));
        }
        chunks
    }

    /// The fields of a choice that carry text.
    fn delta(&mut self, text: &str) -> Map<String, Value> {
        let mut fields = Map::new();
        if !self.is_chat {
            fields.insert("text".to_owned(), json!(text));
            return fields;
        }
        let mut delta = Map::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            delta.insert("role".to_owned(), json!("assistant"));
            delta.insert("content".to_owned(), json!(text));
        } else if !text.is_empty() {
            delta.insert("content".to_owned(), json!(text));
        }
        fields.insert("delta".to_owned(), Value::Object(delta));
        fields
    }

    fn chunk_of(&self, delta: Map<String, Value>, logprobs: Value, finish: Option<Finish>) -> Value {
        let mut choice = Map::new();
        choice.insert("index".to_owned(), json!(0));
        choice.extend(delta);
        choice.insert("logprobs".to_owned(), logprobs);
        choice.insert("finish_reason".to_owned(), json!(finish.map(Finish::as_str)));
        let mut body = self.frame("chat.completion.chunk", json!([choice]));
        if self.wants_usage {
            body.insert("usage".to_owned(), Value::Null);
        }
        Value::Object(body)
    }

    fn frame(&self, object: &str, choices: Value) -> Map<String, Value> {
        let object = if self.is_chat { object } else { "text_completion" };
        let mut body = Map::new();
        body.insert("id".to_owned(), json!(self.id));
        body.insert("object".to_owned(), json!(object));
        body.insert("created".to_owned(), json!(self.created));
        body.insert("model".to_owned(), json!(self.model));
        body.insert("system_fingerprint".to_owned(), json!(self.fingerprint));
        body.insert("choices".to_owned(), choices);
        body
    }

    fn logprobs(&mut self, piece: &Piece) -> Value {
        let offset = self.length;
        self.length += piece.text.chars().count();
        match self.logprobs {
            None => Value::Null,
            Some(_) if self.is_chat => {
                let content: Vec<Value> = piece.tokens.iter().map(chat_token).collect();
                json!({"content": content, "refusal": null})
            }
            Some(count) => text_tokens(&piece.tokens, count, offset),
        }
    }
}

fn usage(end: End) -> Value {
    json!({
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "total_tokens": end.prompt_tokens + end.completion_tokens,
    })
}

/// The text of a token; bytes that are no whole characters become U+FFFD.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn chat_token(said: &Said) -> Value {
    let entry = |bytes: &[u8], logprob: f64| json!({"token": shown(bytes), "logprob": logprob, "bytes": bytes});
    let top: Vec<Value> = said.top.iter().map(|(bytes, logprob)| entry(bytes, *logprob)).collect();
    let mut token = entry(&said.bytes, said.logprob);
    token["top_logprobs"] = Value::Array(top);
    token
}

fn text_tokens(tokens: &[Said], count: usize, mut offset: usize) -> Value {
    let mut offsets = Vec::with_capacity(tokens.len());
    for said in tokens {
        offsets.push(offset);
        offset += shown(&said.bytes).chars().count();
    }
    let top = |said: &Said| {
        let mut top = Map::new();
        for (bytes, logprob) in &said.top {
            // Of tokens that read the same, the likelier one stays.
            top.entry(shown(bytes)).or_insert(json!(logprob));
        }
        Value::Object(top)
    };
    json!({
        "tokens": tokens.iter().map(|said| shown(&said.bytes)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|said| said.logprob).collect::<Vec<_>>(),
        "top_logprobs": (count > 0).then(|| tokens.iter().map(top).collect::<Vec<_>>()),
        "text_offset": offsets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: End = End { finish: Finish::Stop, prompt_tokens: 3, completion_tokens: 2 };

    fn piece(text: &str) -> Piece {
        let top = vec![(text.as_bytes().to_vec(), -0.5), (b"x".to_vec(), -2.0)];
        Piece { text: text.to_owned(), tokens: vec![Said { bytes: text.as_bytes().to_vec(), logprob: -0.5, top }] }
    }

    fn answer(body: Value, is_chat: bool) -> Answer {
        let body = body.to_string();
        let read = if is_chat { Request::chat } else { Request::text };
        Answer::new(&read(body.as_bytes()).unwrap(), 1, 2, "m", "fp")
    }

    #[test]
    fn a_chat_in_one() {
        let body = json!({"messages": [{"role": "user", "content": "a"}], "logprobs": true, "top_logprobs": 2});
        let whole = answer(body, true).whole(vec![piece("é"), piece("b")], END);
        assert_eq!(whole["object"], "chat.completion");
        assert_eq!(whole["choices"][0]["message"]["content"], "éb");
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
        assert_eq!(whole["usage"], json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}));
        let token = &whole["choices"][0]["logprobs"]["content"][0];
        assert_eq!((&token["token"], &token["bytes"]), (&json!("é"), &json!([195, 169])));
        assert_eq!(token["top_logprobs"][1], json!({"token": "x", "logprob": -2.0, "bytes": [120]}));
    }

    #[test]
    fn a_chat_in_pieces() {
        let body = json!({
            "messages": [{"role": "user", "content": "a"}], "stream": true, "stream_options": {"include_usage": true}
        });
        let mut answer = answer(body, true);
        let first = answer.chunk(&piece("a"));
        assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": "a"}));
        assert_eq!((&first["usage"], &first["choices"][0]["logprobs"]), (&Value::Null, &Value::Null));
        assert_eq!(answer.chunk(&piece("b"))["choices"][0]["delta"], json!({"content": "b"}));
        let last = answer.last_chunks(END);
        assert_eq!(last[0]["choices"][0]["delta"], json!({}));
        assert_eq!(last[0]["choices"][0]["finish_reason"], "stop");
        assert_eq!((&last[1]["choices"], &last[1]["usage"]["total_tokens"]), (&json!([]), &json!(5)));
    }

    #[test]
    fn a_text() {
        let mut one = answer(json!({"prompt": "a", "logprobs": 2}), false);
        let whole = one.whole(vec![piece("é"), piece("b")], END);
        assert_eq!((&whole["object"], &whole["choices"][0]["text"]), (&json!("text_completion"), &json!("éb")));
        let logprobs = &whole["choices"][0]["logprobs"];
        assert_eq!(logprobs["text_offset"], json!([0, 1]));
        assert_eq!(logprobs["top_logprobs"][1], json!({"b": -0.5, "x": -2.0}));
        let mut streamed = answer(json!({"prompt": "a", "stream": true, "logprobs": 0}), false);
        streamed.chunk(&piece("é"));
        let second = streamed.chunk(&piece("b"));
        assert_eq!(second["choices"][0]["logprobs"]["text_offset"], json!([1]));
        assert_eq!(second["choices"][0]["logprobs"]["top_logprobs"], Value::Null);
        assert_eq!(streamed.last_chunks(END).len(), 1);
    }
}

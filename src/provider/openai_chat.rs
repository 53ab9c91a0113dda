//! OpenAI's chat completions, as OpenAI and the many servers that follow it speak it. Pure.
//!
//! What is read: `choices[0]` with its text, reasoning, refusal, tool calls and reason for stopping, and the token
//! counts wherever a server puts them. Where servers differ, every form that has been seen is understood; a field of a
//! wrong type fails the answer only when it holds the answer.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::provider::ask::openai_additions;
use crate::provider::sse::Frame;
use crate::provider::wire::{self, QUOTE, text};
use crate::provider::{Decode, Dialect, Event, Losses, Manner, stop};
use crate::suite::spec::{MaxTokensField, Structured};
use crate::types::{Content, Failure, Message, Request, Role, TokenLogprob, Usage};
use crate::util::text::shorten;

/// Fields that `params.extra` cannot overrule: they decide who is asked what, and how the answer is read.
const OURS: [&str; 3] = ["model", "messages", "stream"];

/// Tool calls in one answer, at most: looking one up takes time in proportion.
const MAX_CALLS: usize = 1024;

/// The dialect of one candidate.
#[derive(Debug, Clone)]
pub struct OpenAiChat {
    /// How its candidate is asked; an empty model is not sent.
    pub manner: Manner,
    /// The field that bounds the answer.
    pub max_tokens_field: MaxTokensField,
}

impl Dialect for OpenAiChat {
    fn manner(&self) -> &Manner {
        &self.manner
    }

    fn encode(&self, request: &Request) -> (Bytes, Losses) {
        let body = Body { dialect: self, request };
        let body = serde_json::to_vec(&body).expect("every key is a string and nothing else in a request can fail");
        (body.into(), Losses::default())
    }

    /// Messages, tools and parameters go through as they stand.
    fn may_lose(&self) -> bool {
        false
    }

    fn path(&self) -> String {
        "/chat/completions".to_owned()
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let body = text(body);
        let completion = parse(&body)?;
        let mut decoder = Decoder::default();
        let events = decoder.chunk(completion)?;
        if decoder.has_choice {
            return Ok(events);
        }
        Err(match self.error_message(body.as_bytes()) {
            Some(detail) => Failure::Service { detail },
            None => Failure::Protocol { detail: format!("the answer has no `choices`: {}", shorten(&body, QUOTE)) },
        })
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        wire::error_message(body)
    }
}

/// The body of a request, written without a detour over [`Value`].
struct Body<'a> {
    dialect: &'a OpenAiChat,
    request: &'a Request,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Body { dialect, request } = self;
        let params = &request.params;
        let mut fields = Fields { map: serializer.serialize_map(None)?, extra: &params.extra };
        if !dialect.manner.model.is_empty() {
            fields.map.serialize_entry("model", &dialect.manner.model)?;
        }
        let schema = request.output_schema.as_deref().filter(|_| params.response_format.is_none());
        let (tool, choice, words) =
            schema.map_or((None, None, None), |schema| openai_additions(schema, dialect.manner.structured));
        match words {
            Some(words) => fields.map.serialize_entry("messages", &with_instruction(&request.messages, words))?,
            None => fields.map.serialize_entry("messages", &request.messages)?,
        }
        let own = request.tools.as_deref().filter(|tools| tools.as_array().is_none_or(|list| !list.is_empty()));
        match tool {
            Some(tool) => {
                let own = own.and_then(Value::as_array).into_iter().flatten();
                fields.put("tools", Some(&own.chain([&tool]).collect::<Vec<&Value>>()))?;
                fields.put("tool_choice", choice.as_ref())?;
            }
            None => {
                fields.put("tools", own)?;
                fields.put("tool_choice", params.tool_choice.as_ref())?;
            }
        }
        match (&params.response_format, &request.output_schema, dialect.manner.structured) {
            (Some(format), _, _) => fields.put("response_format", Some(format))?,
            (None, Some(schema), Structured::JsonSchema) => {
                let json_schema = JsonSchema { name: "answer", strict: true, schema };
                fields.put("response_format", Some(&Format { kind: "json_schema", json_schema: Some(json_schema) }))?;
            }
            (None, Some(_), Structured::JsonObject) => {
                fields.put("response_format", Some(&Format { kind: "json_object", json_schema: None }))?;
            }
            (None, Some(_), Structured::Auto | Structured::Tool | Structured::Prompt | Structured::Off)
            | (None, None, _) => {}
        }
        fields.put("temperature", params.temperature.as_ref())?;
        fields.put("top_p", params.top_p.as_ref())?;
        let bound = match dialect.max_tokens_field {
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
            MaxTokensField::MaxTokens => "max_tokens",
        };
        fields.put(bound, params.max_output_tokens.as_ref())?;
        fields.put("seed", params.seed.as_ref())?;
        fields.put("stop", params.stop.as_ref())?;
        if dialect.manner.is_streamed {
            fields.map.serialize_entry("stream", &true)?;
            fields.put("stream_options", Some(&StreamOptions { include_usage: true }))?;
        }
        for (name, value) in params.extra.iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
            fields.map.serialize_entry(name, value)?;
        }
        fields.map.end()
    }
}

/// The messages with words of ours behind the first instructions of the application.
fn with_instruction(messages: &[Message], words: String) -> Vec<Message> {
    let mut all = messages.to_vec();
    let is_first = |message: &&mut Message| matches!(message.role, Role::System | Role::Developer);
    if let Some(Message { content: Content::Text(text), .. }) = all.first_mut().filter(is_first) {
        text.push_str("\n\n");
        text.push_str(&words);
        return all;
    }
    all.insert(0, Message { role: Role::System, content: Content::Text(words), more: Map::new() });
    all
}

struct Fields<'a, M> {
    map: M,
    extra: &'a Map<String, Value>,
}

impl<M: SerializeMap> Fields<'_, M> {
    /// Writes a field that has a value, unless `params.extra` has another for it.
    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: Option<&T>) -> Result<(), M::Error> {
        match value {
            Some(value) if !self.extra.contains_key(name) => self.map.serialize_entry(name, value),
            _ => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<JsonSchema<'a>>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a Value,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// A chunk of a stream, or a whole answer: they differ in `delta` and `message` only. Fields that hold no part of the
/// answer are read later and by themselves, so that nonsense in them spoils nothing.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    x_groq: Option<&'a RawValue>,
    #[serde(borrow, default)]
    system_fingerprint: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default)]
    content: Option<Said>,
    #[serde(default)]
    reasoning_content: Option<Said>,
    #[serde(default)]
    reasoning: Option<Said>,
    #[serde(default)]
    refusal: Option<Said>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Call<'a>>>,
    /// A spoken answer; its words are the answer's text.
    #[serde(borrow, default)]
    audio: Option<&'a RawValue>,
    /// What tool calls were called before there could be several.
    #[serde(borrow, default)]
    function_call: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
    /// A call whose argument is a text, by no schema.
    #[serde(borrow, default)]
    custom: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(default)]
    name: Option<String>,
    /// A string; some servers send the object itself.
    #[serde(borrow, default, alias = "input")]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Groq<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tokens<'a> {
    #[serde(borrow, default)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    completion_tokens_details: Option<&'a RawValue>,
    /// DeepSeek's name for cached tokens.
    #[serde(borrow, default)]
    prompt_cache_hit_tokens: Option<&'a RawValue>,
    /// Moonshot's and Z.ai's.
    #[serde(borrow, default)]
    cached_tokens: Option<&'a RawValue>,
    /// Mistral's.
    #[serde(borrow, default)]
    num_cached_tokens: Option<&'a RawValue>,
    /// Anthropic's, which LiteLLM and others write beside the details. The tokens are inside `prompt_tokens` all the same.
    #[serde(borrow, default)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_creation: Option<&'a RawValue>,
    /// Dollars that the answer is charged, where the service says so (OpenRouter).
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
    /// Whether that is a gateway's fee only.
    #[serde(borrow, default)]
    is_byok: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Details<'a> {
    #[serde(borrow, default)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_write_tokens: Option<&'a RawValue>,
    /// LiteLLM's name for them.
    #[serde(borrow, default)]
    cache_creation_tokens: Option<&'a RawValue>,
    /// LiteLLM's, of how long they are kept.
    #[serde(borrow, default)]
    cache_creation_token_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    audio_tokens: Option<&'a RawValue>,
}

/// How long tokens that are written to the cache are kept.
#[derive(Deserialize)]
struct Kept<'a> {
    #[serde(borrow, default)]
    ephemeral_1h_input_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Audio {
    #[serde(default)]
    transcript: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    content: Option<Vec<TokenLogprob>>,
}

/// What is said in a field: a text, or a list of parts of which some are reasoning.
#[derive(Debug, Default, PartialEq)]
struct Said {
    pieces: Vec<Piece>,
    /// Whether the field was neither text nor list nor null.
    is_odd: bool,
}

#[derive(Debug, PartialEq)]
struct Piece {
    text: String,
    is_reasoning: bool,
}

impl Said {
    fn one(text: String) -> Said {
        let pieces = if text.is_empty() { Vec::new() } else { vec![Piece { text, is_reasoning: false }] };
        Said { pieces, is_odd: false }
    }
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Said, D::Error> {
        deserializer.deserialize_any(Saying)
    }
}

/// Reads what is said; anything else is passed over and noted.
struct Saying;

impl<'de> Visitor<'de> for Saying {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of parts")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Said, E> {
        Ok(Said::one(text.to_owned()))
    }
    fn visit_string<E: de::Error>(self, text: String) -> Result<Said, E> {
        Ok(Said::one(text))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Said, E> {
        Ok(Said::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Said, A::Error> {
        let mut said = Said::default();
        while let Some(part) = list.next_element::<Part>()? {
            said.pieces.extend(part.0);
        }
        Ok(said)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Said { pieces: Vec::new(), is_odd: true })
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Said, E> {
        Ok(Said { pieces: Vec::new(), is_odd: true })
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Said, E> {
        self.visit_bool(true)
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Said, E> {
        self.visit_bool(true)
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Said, E> {
        self.visit_bool(true)
    }
}

/// A part of a list: `{type: text, text}`, `{type: thinking, thinking: text or list}`, or a bare text. Parts of other
/// types (references, images) say nothing.
struct Part(Vec<Piece>);

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        struct Parting;
        impl<'de> Visitor<'de> for Parting {
            type Value = Part;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part of a message")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Part, E> {
                Ok(Part(Said::one(text.to_owned()).pieces))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Part, E> {
                Ok(Part(Vec::new()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
                let mut pieces = Vec::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match &*key {
                        "text" | "refusal" => pieces.extend(map.next_value::<Said>()?.pieces),
                        "thinking" | "reasoning" => {
                            let thoughts = map.next_value::<Said>()?.pieces.into_iter();
                            pieces.extend(thoughts.map(|piece| Piece { is_reasoning: true, ..piece }));
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Part(pieces))
            }
        }
        deserializer.deserialize_any(Parting)
    }
}

fn parse(body: &str) -> Result<Chunk<'_>, Failure> {
    let failed = |why: &str| Failure::Protocol {
        detail: format!("this is no chat completion ({why}): {}", shorten(body, QUOTE)),
    };
    if !body.trim_start().starts_with('{') {
        return Err(failed("no JSON object"));
    }
    serde_json::from_str(body).map_err(|error| failed(&error.to_string()))
}

/// Reads an object that is not the answer itself; `None` for anything else. A derived reader would take a list, too.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

/// A string, or a number as it is written; `None` for anything else and for nothing.
fn word(raw: &RawValue) -> Option<String> {
    let text = match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok()?,
        b'-' | b'0'..=b'9' => raw.get().to_owned(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// A count of tokens, however it is written; `None` for what is no count.
fn count(raw: Option<&RawValue>) -> Option<u64> {
    let raw = raw?.get();
    raw.parse().ok().or_else(|| {
        let number: f64 = raw.parse().ok()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
        (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
    })
}

fn usage(raw: &RawValue) -> Vec<Event> {
    let Some(tokens) = object::<Tokens<'_>>(raw.get()) else { return Vec::new() };
    fn details(raw: Option<&RawValue>) -> Details<'_> {
        raw.and_then(|raw| object(raw.get())).unwrap_or_default()
    }
    let (prompt, completion) = (details(tokens.prompt_tokens_details), details(tokens.completion_tokens_details));
    let hourly = |raw: Option<&'_ RawValue>| count(object::<Kept<'_>>(raw?.get())?.ephemeral_1h_input_tokens);
    let cached = [
        prompt.cached_tokens,
        tokens.prompt_cache_hit_tokens,
        tokens.cached_tokens,
        tokens.num_cached_tokens,
        tokens.cache_read_input_tokens,
    ];
    let written = [prompt.cache_write_tokens, prompt.cache_creation_tokens, tokens.cache_creation_input_tokens];
    let usage = Usage {
        input_tokens: count(tokens.prompt_tokens),
        cached_input_tokens: wire::most(cached.map(count)),
        cache_write_tokens: wire::most(written.map(count)),
        cache_write_1h_tokens: wire::most([prompt.cache_creation_token_details, tokens.cache_creation].map(hourly)),
        audio_input_tokens: count(prompt.audio_tokens),
        output_tokens: count(tokens.completion_tokens),
        reasoning_tokens: count(completion.reasoning_tokens),
        audio_output_tokens: count(completion.audio_tokens),
        total_tokens: count(tokens.total_tokens),
    };
    // Few services name money, and only of those is the whole looked at.
    let has_money = tokens.cost.is_some() || tokens.is_byok.is_some();
    let charged = has_money.then(|| wire::charged(&serde_json::from_str(raw.get()).ok()?)).flatten();
    [Event::Usage(usage)].into_iter().chain(charged).collect()
}

/// The value of an error field, and the message in it.
fn error_of(raw: &RawValue) -> Option<(Value, String)> {
    let error: Value = serde_json::from_str(raw.get()).ok()?;
    let message = wire::message_of(&error)?;
    Some((error, message))
}

/// A tool call that has begun.
struct Begun {
    /// The server's number for it.
    index: Option<u64>,
    id: String,
    name: String,
}

#[derive(Default)]
struct Decoder {
    is_done: bool,
    has_choice: bool,
    has_finish: bool,
    has_model: bool,
    has_fingerprint: bool,
    tier: Option<String>,
    is_refused: bool,
    calls: Vec<Begun>,
}

impl Decoder {
    fn chunk(&mut self, chunk: Chunk<'_>) -> Result<Vec<Event>, Failure> {
        let groq: Option<Groq<'_>> = chunk.x_groq.and_then(|raw| object(raw.get()));
        let mut error = chunk.error.and_then(error_of);
        if error.is_none() {
            error = groq.as_ref().and_then(|groq| groq.error).and_then(error_of);
        }
        if error.is_none() && chunk.object.and_then(word).as_deref() == Some("error") {
            error = chunk.message.and_then(error_of).or_else(|| Some((Value::Null, "no message".to_owned())));
        }
        let mut events = Vec::new();
        if let Some((error, message)) = error {
            events = wire::error_in_answer(&error, message)?;
            (self.has_choice, self.has_finish) = (true, true);
        }
        if !self.has_model
            && let Some(model) = chunk.model.and_then(word)
        {
            self.has_model = true;
            events.push(Event::Model(model));
        }
        if !self.has_fingerprint
            && let Some(name) = chunk.system_fingerprint.and_then(word)
        {
            self.has_fingerprint = true;
            events.push(Event::Fingerprint(name));
        }
        // The last one counts: a request may be moved to another tier before it is answered.
        if let Some(tier) = chunk.service_tier.and_then(word)
            && self.tier.as_ref() != Some(&tier)
        {
            events.push(Event::Tier(tier.clone()));
            self.tier = Some(tier);
        }
        for choice in chunk.choices.unwrap_or_default() {
            // One answer is asked for; where a suite's `extra` asks for more, the first counts.
            if count(choice.index).unwrap_or(0) == 0 {
                self.choice(choice, &mut events)?;
            }
        }
        let counts = groq.and_then(|groq| groq.usage).into_iter().chain(chunk.usage);
        events.extend(counts.flat_map(usage));
        Ok(events)
    }

    fn choice(&mut self, choice: Choice<'_>, events: &mut Vec<Event>) -> Result<(), Failure> {
        self.has_choice = true;
        if let Some(delta) = choice.delta.or(choice.message) {
            self.delta(delta, events)?;
        }
        let logprobs = choice.logprobs.and_then(|raw| object::<Logprobs>(raw.get())?.content);
        events.extend(logprobs.filter(|tokens| !tokens.is_empty()).map(Event::Logprobs));
        if let Some(reason) = choice.finish_reason.and_then(word) {
            self.has_finish = true;
            events.append(&mut stop::events(&reason)?);
        }
        events.extend(choice.usage.into_iter().flat_map(usage));
        Ok(())
    }

    fn delta(&mut self, delta: Delta<'_>, events: &mut Vec<Event>) -> Result<(), Failure> {
        let content = delta.content.unwrap_or_default();
        if content.is_odd {
            return Err(Failure::Protocol { detail: "`content` is neither a text nor a list of parts".to_owned() });
        }
        // Servers that send both send the same in both.
        let reasoning = delta.reasoning_content.filter(|said| !said.pieces.is_empty()).or(delta.reasoning);
        events.extend(reasoning.unwrap_or_default().pieces.into_iter().map(|piece| Event::Reasoning(piece.text)));
        if content.pieces.is_empty() {
            let spoken = delta.audio.and_then(|raw| object::<Audio>(raw.get())?.transcript);
            events.extend(spoken.filter(|text| !text.is_empty()).map(Event::Text));
        }
        let refusal = delta.refusal.unwrap_or_default().pieces;
        if !refusal.is_empty() && !std::mem::replace(&mut self.is_refused, true) {
            events.push(Event::Refusal);
        }
        for Piece { text, is_reasoning } in content.pieces.into_iter().chain(refusal) {
            events.push(if is_reasoning { Event::Reasoning(text) } else { Event::Text(text) });
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.call(count(call.index), call.id.and_then(word), call.function.or(call.custom), events)?;
        }
        if delta.function_call.is_some() {
            self.call(None, None, delta.function_call, events)?;
        }
        Ok(())
    }

    /// Takes a piece of a tool call. Servers number calls, or name them by id, or send each whole; some number all of
    /// them 0, and some repeat the name with every piece.
    fn call(
        &mut self,
        index: Option<u64>,
        id: Option<String>,
        function: Option<Function<'_>>,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let (name, arguments) = function.map_or((None, None), |function| (function.name, function.arguments));
        let name = name.filter(|name| !name.is_empty());
        let arguments = match arguments.map(RawValue::get) {
            None => String::new(),
            Some(raw) if raw.starts_with('"') => serde_json::from_str(raw)
                .map_err(|error| Failure::Protocol { detail: format!("`arguments` is no text ({error})") })?,
            Some(raw) => raw.to_owned(),
        };
        if name.is_none() && id.is_none() && arguments.is_empty() {
            // Some servers write an empty call beside the real ones.
            return Ok(());
        }
        let known = match (index, &id) {
            (Some(_), _) => self.calls.iter().rposition(|call| call.index == index),
            (None, Some(id)) => self.calls.iter().rposition(|call| call.id == *id),
            (None, None) if name.is_some() => None,
            (None, None) => self.calls.len().checked_sub(1),
        };
        let known = known.filter(|place| {
            let is_another =
                id.as_ref().is_some_and(|id| !self.calls[*place].id.is_empty() && self.calls[*place].id != *id);
            !(is_another && name.is_some())
        });
        let place = match known {
            Some(place) => place,
            None if self.calls.len() == MAX_CALLS => {
                return Err(Failure::Protocol { detail: format!("the answer has more than {MAX_CALLS} tool calls") });
            }
            None => {
                self.calls.push(Begun { index, id: String::new(), name: String::new() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[place];
        let id = id.filter(|id| call.id.is_empty() && !id.is_empty());
        call.id.extend(id.as_deref());
        let name = name.filter(|name| *name != call.name);
        call.name.extend(name.as_deref());
        events.push(Event::ToolCall { index: place, id, name, arguments });
        Ok(())
    }
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>) -> Result<Vec<Event>, Failure> {
        let data = frame.data.trim();
        if data.is_empty() {
            return Ok(Vec::new());
        }
        if data != "[DONE]" {
            return self.chunk(parse(data)?);
        }
        if !self.has_choice {
            return Err(Failure::Protocol { detail: "the stream ended without any answer".to_owned() });
        }
        self.is_done = true;
        Ok(Vec::new())
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn end(&mut self) -> Result<(), Failure> {
        // Some servers end without `[DONE]`; a reason for stopping says as well that the answer is whole.
        if self.is_done || self.has_finish {
            return Ok(());
        }
        Err(Failure::Lost { detail: "the stream ended without `[DONE]` and without a finish reason".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::types::{Content, Finish, Message, Params, Role};

    /// A dialect from what differs from the usual.
    fn dialect(spec: Value, structured: Structured) -> OpenAiChat {
        OpenAiChat {
            manner: Manner {
                model: spec["model"].as_str().unwrap().to_owned(),
                is_streamed: spec["stream"].as_bool().unwrap_or(true),
                structured,
            },
            max_tokens_field: serde_json::from_value(spec["max_tokens_field"].clone()).unwrap_or_default(),
        }
    }

    fn frame(data: &str) -> Frame<'_> {
        Frame { event: "", data }
    }

    fn plain() -> OpenAiChat {
        dialect(json!({"model": "m"}), Structured::JsonSchema)
    }

    fn request(params: Value) -> Request {
        let message = Message { role: Role::User, content: Content::Text("hi".into()), more: Map::new() };
        Request {
            messages: Arc::new([message]),
            tools: None,
            output_schema: Some(Arc::new(json!({"type": "object"}))),
            params: Arc::new(serde_json::from_value::<Params>(params).unwrap()),
            row: Arc::default(),
        }
    }

    fn body(dialect: &OpenAiChat, request: &Request) -> Value {
        let (text, _) = dialect.encode(request);
        let value: Value = serde_json::from_slice(&text).unwrap();
        // Twice the same key would go unseen in the value.
        assert_eq!(value.to_string().len(), text.len());
        value
    }

    /// All events of a stream of chunks, and whether it may end there.
    fn stream(chunks: &[Value]) -> (Vec<Event>, Result<(), Failure>) {
        let mut decoder = plain().decoder();
        let mut events = Vec::new();
        for chunk in chunks {
            match decoder.frame(frame(&chunk.to_string())) {
                Ok(more) => events.extend(more),
                Err(failure) => return (events, Err(failure)),
            }
        }
        (events, decoder.end())
    }

    fn deltas(deltas: &[Value]) -> Vec<Event> {
        let chunks: Vec<Value> =
            deltas.iter().map(|delta| json!({"choices": [{"index": 0, "delta": delta}]})).collect();
        stream(&chunks).0
    }

    fn call(index: usize, id: Option<&str>, name: Option<&str>, arguments: &str) -> Event {
        Event::ToolCall {
            index,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        }
    }

    #[test]
    fn a_request_says_what_was_asked_for_and_no_more() {
        let mut bare = request(json!({}));
        bare.output_schema = None;
        let wanted = json!({
            "model": "m", "messages": [{"role": "user", "content": "hi"}],
            "stream": true, "stream_options": {"include_usage": true},
        });
        assert_eq!(body(&plain(), &bare), wanted);
        bare.tools = Some(Arc::new(json!([])));
        let whole = dialect(json!({"model": "m", "stream": false}), Structured::Off);
        assert_eq!(body(&whole, &bare), json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}));
    }

    #[test]
    fn parameters_have_their_places() {
        let params = json!({
            "temperature": 0, "top_p": 0.5, "max_output_tokens": 9, "seed": 1, "stop": ["x"], "tool_choice": "auto",
        });
        let mut request = request(params);
        request.tools = Some(Arc::new(json!([{"type": "function"}])));
        let got = body(&plain(), &request);
        let wanted = json!({
            "model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}],
            "tool_choice": "auto",
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object"}},
            },
            "temperature": 0.0, "top_p": 0.5, "max_completion_tokens": 9, "seed": 1, "stop": ["x"],
            "stream": true, "stream_options": {"include_usage": true},
        });
        assert_eq!(got, wanted);
        let older = dialect(json!({"model": "m", "max_tokens_field": "max_tokens"}), Structured::JsonObject);
        let got = body(&older, &request);
        assert_eq!((&got["max_tokens"], &got["response_format"]), (&json!(9), &json!({"type": "json_object"})));
        assert_eq!(got.get("max_completion_tokens"), None);
        assert_eq!(body(&dialect(json!({"model": "m"}), Structured::Off), &request).get("response_format"), None);
    }

    #[test]
    fn extras_come_last_but_do_not_decide_who_is_asked_what() {
        let extra = json!({
            "model": "other", "messages": [], "stream": false, "stream_options": null, "temperature": 2, "top_k": 5,
        });
        let got =
            body(&plain(), &request(json!({"temperature": 0, "response_format": {"type": "text"}, "extra": extra})));
        let wanted = json!({
            "model": "m", "messages": [{"role": "user", "content": "hi"}], "response_format": {"type": "text"},
            "stream": true, "stream_options": null, "temperature": 2, "top_k": 5,
        });
        assert_eq!(got, wanted);
    }

    #[test]
    fn a_stream_is_read_in_order() {
        let (events, end) = stream(&[
            json!({"model": "", "choices": [], "prompt_filter_results": []}),
            json!({"model": "m-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
            json!({"model": "m-1", "choices": [{"index": 1, "delta": {"content": "not this"}}]}),
            json!({"model": "m-1", "choices": [{"index": 0, "delta": {"reasoning_content": "hm", "reasoning": "hm"}}]}),
            json!({"model": "m-1", "choices": [{"delta": {"content": "Hé", "refusal": null, "tool_calls": null}}]}),
            json!({"model": "m-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}),
            json!({"choices": [], "usage": {
                "prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17,
                "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3},
            }}),
        ]);
        let usage = Usage {
            input_tokens: Some(10),
            cached_input_tokens: Some(4),
            output_tokens: Some(7),
            reasoning_tokens: Some(3),
            total_tokens: Some(17),
            ..Usage::default()
        };
        let wanted = [
            Event::Model("m-1".into()),
            Event::Reasoning("hm".into()),
            Event::Text("Hé".into()),
            Event::Finish(Finish::Length),
            Event::Usage(usage),
        ];
        assert_eq!((&events[..], end), (&wanted[..], Ok(())));
    }

    #[test]
    fn a_stream_is_whole_when_it_says_so() {
        let begun = json!({"choices": [{"delta": {"content": "x"}}]});
        assert!(matches!(stream(std::slice::from_ref(&begun)).1, Err(Failure::Lost { .. })));
        let mut decoder = plain().decoder();
        decoder.frame(frame(&begun.to_string())).unwrap();
        assert!(!decoder.is_done());
        decoder.frame(frame(" [DONE]")).unwrap();
        assert!(decoder.is_done() && decoder.end().is_ok());
        let early = plain().decoder().frame(frame("[DONE]"));
        assert!(matches!(early, Err(Failure::Protocol { .. })), "an empty stream is no empty answer");
    }

    #[test]
    fn content_in_parts_keeps_reasoning_apart() {
        let parts = json!({"content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "so"}]},
            {"type": "thinking", "thinking": "!"},
            {"type": "reference", "reference_ids": [1]},
            {"type": "text", "text": "yes"}, "no", null,
        ]});
        let wanted = [
            Event::Reasoning("so".into()),
            Event::Reasoning("!".into()),
            Event::Text("yes".into()),
            Event::Text("no".into()),
        ];
        assert_eq!(deltas(&[parts]), wanted);
        assert_eq!(
            deltas(&[json!({"refusal": "I cannot"}), json!({"reasoning": {"odd": 1}})]),
            [Event::Refusal, Event::Text("I cannot".into())]
        );
    }

    #[test]
    fn tool_calls_are_told_apart_however_servers_number_them() {
        let piece = |more: Value| json!({"tool_calls": [more]});
        let whole = |id: &str, name: &str| json!({"id": id, "function": {"name": name, "arguments": "{}"}});
        // By the book.
        assert_eq!(
            deltas(&[
                piece(json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}})),
                piece(json!({"index": 0, "function": {"arguments": "{\"x\""}})),
                piece(json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}})),
                piece(json!({"index": 0, "id": null, "function": {"name": null, "arguments": ":1}"}})),
            ]),
            [
                call(0, Some("a"), Some("f"), ""),
                call(0, None, None, "{\"x\""),
                call(1, Some("b"), Some("g"), "{}"),
                call(0, None, None, ":1}"),
            ]
        );
        // Whole calls without numbers, together or one after the other.
        let two = [call(0, Some("a"), Some("f"), "{}"), call(1, Some("b"), Some("f"), "{}")];
        assert_eq!(deltas(&[json!({"tool_calls": [whole("a", "f"), whole("b", "f")]})]), two);
        assert_eq!(deltas(&[piece(whole("a", "f")), piece(whole("b", "f"))]), two);
        // All of them numbered 0.
        let mut zero = [whole("a", "f"), whole("b", "f")];
        zero.iter_mut().for_each(|call| call["index"] = json!(0));
        assert_eq!(deltas(&zero.map(piece)), two);
        // Wild numbers do not take memory; id and name repeated with every piece are taken once.
        let wild = json!({"index": u64::MAX, "id": "a", "function": {"name": "f", "arguments": "1"}});
        assert_eq!(
            deltas(&[piece(wild.clone()), piece(wild)]),
            [call(0, Some("a"), Some("f"), "1"), call(0, None, None, "1"),]
        );
        // An empty one is none.
        let empty = json!({"function": {"name": "", "arguments": ""}, "id": ""});
        assert_eq!(deltas(&[json!({"tool_calls": [empty], "function_call": {"name": "", "arguments": ""}})]), []);
        // No id at all, arguments as an object, and the older form.
        let bare = json!({"function": {"name": "f", "arguments": {"x": 1}}});
        assert_eq!(deltas(&[piece(bare)]), [call(0, None, Some("f"), "{\"x\":1}")]);
        assert_eq!(
            deltas(&[json!({"function_call": {"name": "f"}}), json!({"function_call": {"arguments": "1"}})]),
            [call(0, None, Some("f"), ""), call(0, None, None, "1"),]
        );
    }

    #[test]
    fn too_many_tool_calls_are_refused() {
        let calls: Vec<Value> = (0..=MAX_CALLS).map(|index| json!({"index": index, "id": "x"})).collect();
        let (_, end) = stream(&[json!({"choices": [{"delta": {"tool_calls": calls}}]})]);
        assert!(matches!(end, Err(Failure::Protocol { .. })), "{end:?}");
    }

    #[test]
    fn usage_is_found_wherever_it_is() {
        let usage_of = |chunk: Value| {
            stream(&[chunk]).0.into_iter().find_map(|event| match event {
                Event::Usage(usage) => Some((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)),
                _ => None,
            })
        };
        let counts = json!({"prompt_tokens": 3, "completion_tokens": 2.0});
        let wanted = Some((Some(3), None, Some(2)));
        assert_eq!(usage_of(json!({"x_groq": {"id": "r", "usage": counts}})), wanted);
        assert_eq!(usage_of(json!({"choices": [{"delta": {}, "usage": counts}]})), wanted);
        assert_eq!(
            usage_of(json!({"usage": {"prompt_tokens": 3, "prompt_cache_hit_tokens": 1}})),
            Some((Some(3), Some(1), None))
        );
        // Names that mean the same may stand beside each other.
        let twice = json!({
            "prompt_tokens": 9, "cached_tokens": 0, "num_cached_tokens": 4, "prompt_tokens_details": {"cached_tokens": 0},
        });
        assert_eq!(usage_of(json!({"usage": twice})), Some((Some(9), Some(4), None)));
        // Nonsense is no count, and costs no answer.
        let odd = json!({"prompt_tokens": -3, "completion_tokens": "many", "prompt_tokens_details": 7});
        assert_eq!(usage_of(json!({"usage": odd})), Some((None, None, None)));
        assert_eq!(usage_of(json!({"usage": "none", "model": 4, "x_groq": []})), None);
    }

    /// LiteLLM's names of what is written to the cache, from recorded answers of it.
    #[test]
    fn writes_to_the_cache_are_counted_under_every_name() {
        let written = |details: Value, more: Value| {
            let mut counts = json!({"prompt_tokens": 4818, "completion_tokens": 47, "prompt_tokens_details": details});
            counts.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let events = stream(&[json!({"usage": counts})]).0;
            let Some(Event::Usage(usage)) = events.into_iter().next() else { panic!("no usage") };
            (usage.input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens)
        };
        let kept = json!({"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 4803});
        let details = json!({
            "cached_tokens": 0, "text_tokens": 15, "cache_creation_tokens": 4803, "cache_creation_token_details": kept,
        });
        assert_eq!(
            written(details, json!({"cache_creation_input_tokens": 4803})),
            (Some(4818), Some(4803), Some(4803))
        );
        let beside = json!({"cache_creation_input_tokens": 4803, "cache_read_input_tokens": 0, "cache_creation": kept});
        assert_eq!(written(json!(null), beside), (Some(4818), Some(4803), Some(4803)));
        assert_eq!(written(json!({"cache_write_tokens": 7}), json!({})), (Some(4818), Some(7), None));
    }

    #[test]
    fn the_tier_that_answers_is_told_once() {
        let tiers = |named: &[Value]| {
            let chunks: Vec<Value> = named.iter().map(|tier| json!({"service_tier": tier, "choices": []})).collect();
            stream(&chunks).0
        };
        let tier = |name: &str| Event::Tier(name.to_owned());
        assert_eq!(tiers(&[json!("flex"), json!(null), json!("flex")]), [tier("flex")]);
        assert_eq!(tiers(&[json!("priority"), json!("default")]), [tier("priority"), tier("default")]);
    }

    #[test]
    fn reasons_for_stopping() {
        let finish = |reason: Value| stream(&[json!({"choices": [{"delta": {}, "finish_reason": reason}]})]).0;
        for (reason, wanted) in [
            ("stop", Finish::Stop),
            ("length", Finish::Length),
            ("tool_calls", Finish::Tool),
            ("content_filter", Finish::Filter),
        ] {
            assert_eq!(finish(json!(reason)), [Event::Finish(wanted)]);
        }
        for (reason, wanted) in [
            ("function_call", Finish::Tool),
            ("MAX_TOKENS", Finish::Length),
            ("model_context_window_exceeded", Finish::Length),
            ("sensitive", Finish::Filter),
            ("repetition", Finish::Other),
        ] {
            assert_eq!(finish(json!(reason)), [Event::Finish(wanted), Event::StopWord(reason.to_owned())]);
        }
        assert_eq!(finish(json!("")), []);
        let end =
            |reason: &str| stream(&[json!({"choices": [{"delta": {"content": "x"}, "finish_reason": reason}]})]).1;
        assert!(matches!(end("error"), Err(Failure::Service { .. })));
        assert!(matches!(end("abort"), Err(Failure::Cut { .. })));
        assert!(matches!(end("network_error"), Err(Failure::Cut { .. })));
    }

    #[test]
    fn a_filter_that_reports_an_error_in_a_stream_ends_the_answer() {
        let error = json!({"error": {"message": "filtered", "code": "content_filter"}});
        let (events, end) = stream(&[json!({"choices": [{"delta": {"content": "x"}}]}), error.clone()]);
        assert_eq!(end, Ok(()));
        assert_eq!(events[1..3], [Event::Refusal, Event::Finish(Finish::Filter)]);
        let whole = plain().decode_body(error.to_string().as_bytes()).unwrap();
        assert_eq!(whole[..2], [Event::Refusal, Event::Finish(Finish::Filter)]);
    }

    #[test]
    fn errors_in_a_good_stream_are_the_services() {
        let service = |chunk: Value| match stream(&[chunk]).1 {
            Err(Failure::Service { detail }) => detail,
            other => panic!("{other:?}"),
        };
        assert_eq!(service(json!({"error": {"message": "overloaded", "code": 503}, "choices": []})), "overloaded");
        assert_eq!(service(json!({"error": "out of memory"})), "out of memory");
        assert_eq!(service(json!({"x_groq": {"error": "broken"}})), "broken");
        assert_eq!(service(json!({"object": "error", "message": "too long"})), "too long");
        assert_eq!(service(json!({"error": {"code": 7}})), "{\"code\":7}");
        assert_eq!(stream(&[json!({"error": null, "choices": [{"delta": {}, "finish_reason": "stop"}]})]).1, Ok(()));
    }

    #[test]
    fn a_body_in_one_piece() {
        let answer = json!({
            "object": "chat.completion", "model": "m-1",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": null, "reasoning": "r",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            }}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        });
        let usage = Usage { input_tokens: Some(1), output_tokens: Some(2), ..Usage::default() };
        let wanted = [
            Event::Model("m-1".into()),
            Event::Reasoning("r".into()),
            call(0, Some("a"), Some("f"), "{}"),
            Event::Finish(Finish::Tool),
            Event::Usage(usage),
        ];
        assert_eq!(plain().decode_body(answer.to_string().as_bytes()).unwrap(), wanted);
        let failed = |body: &str| plain().decode_body(body.as_bytes()).unwrap_err();
        assert!(matches!(failed("{\"error\":{\"message\":\"no\"}}"), Failure::Service { detail } if detail == "no"));
        assert!(matches!(failed("{\"detail\":\"Not Found\"}"), Failure::Service { .. }));
        for broken in ["{}", "[]", "null", "{\"choices\":[]}", "{\"choices\":[{\"message\":{\"content\":7}}]}", "{", ""]
        {
            assert!(matches!(failed(broken), Failure::Protocol { .. }), "{broken}");
        }
    }

    proptest! {
        /// Whatever comes, it is read or refused.
        #[test]
        fn nothing_a_server_sends_ends_in_a_panic(
            words in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "null", "\"", "\\u00", "1e999", "-1", "\"choices\"", "\"delta\"", "\"x\"",
                "\"content\"", "\"tool_calls\"", "\"index\"", "\"function\"", "\"arguments\"", "\"usage\"", "\"error\"",
            ]), 0..30),
        ) {
            let data = words.concat();
            let _ = plain().decoder().frame(frame(&data));
            let _ = plain().decode_body(data.as_bytes());
            let _ = plain().error_message(data.as_bytes());
        }

        /// Fields of any type: what holds the answer fails it, nothing else does.
        #[test]
        fn odd_types_beside_the_answer_cost_nothing(odd in prop::sample::select(vec![
            json!(1), json!(-1.5), json!(true), json!([]), json!({}), json!("x"), json!([1, "a"]), json!({"a": []}),
        ])) {
            for field in ["usage", "x_groq", "model", "id", "created", "system_fingerprint", "service_tier"] {
                let mut chunk = json!({"choices": [{"delta": {"content": "x"}, "logprobs": odd, "usage": odd}]});
                chunk[field] = odd.clone();
                let (events, _) = stream(&[chunk]);
                prop_assert!(events.contains(&Event::Text("x".into())), "{} {}", field, odd);
            }
        }
    }
}

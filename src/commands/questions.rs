//! What a probe asks and what the answers show. Pure.
//!
//! Each question is put so that a model which pays no attention to the setting in question answers otherwise: who is
//! asked for a sentence and held to a schema shows that the schema holds, and not that the model is obliging.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::suite::spec::{Api, MaxTokensField, Structured};
use crate::types::{Ability, Content, Finish, Message, Params, Request, Response, Role, Shown};
use crate::util::json;

/// Tokens that each answer may take: reasoning wants room before the first word of the answer.
const ROOM: u32 = 1024;

/// Tokens of the answer that is to be cut short: the least that all services take.
const SHORT: u32 = 16;

/// Something to ask, once or twice.
pub struct Question {
    /// What the answers will show.
    pub abilities: &'static [Ability],
    /// How the schema of the request, if it has one, is asked for.
    pub structured: Structured,
    /// The field that carries the bound, where it matters.
    pub max_tokens_field: Option<MaxTokensField>,
    /// What is asked.
    pub request: Request,
    /// How often.
    pub times: usize,
}

/// An answer and what is known of how it came.
pub struct Given {
    /// The answer.
    pub response: Response,
    /// Pieces with content; `None` when it came as a whole.
    pub pieces: Option<usize>,
}

/// The questions that come first: which field bounds an answer. Services that do not know a field refuse all that has it.
pub fn bounds(api: Api, own: &Params) -> Vec<Question> {
    let fields: &[Option<MaxTokensField>] = match api {
        Api::Chat => &[Some(MaxTokensField::MaxCompletionTokens), Some(MaxTokensField::MaxTokens)],
        _ => &[None],
    };
    let params = Params { max_output_tokens: Some(SHORT), ..plain(own) };
    let long = "Count from 1 to 100 in digits, with a blank between them, and say nothing else.";
    let question = |field: &Option<MaxTokensField>| Question {
        abilities: &[Ability::MaxTokens],
        structured: Structured::Off,
        max_tokens_field: *field,
        request: request(&[(Role::User, long)], &params),
        times: 1,
    };
    fields.iter().map(question).collect()
}

/// The candidate's parameters without those that are in question: what a suite needs for its model to answer at all
/// (`reasoning_effort`) is needed here, too.
fn plain(own: &Params) -> Params {
    Params { seed: None, stop: None, tool_choice: None, response_format: None, ..own.clone() }
}

/// All other questions for an endpoint of this dialect. `own` are the candidate's parameters; `bound` is the field that
/// bounds answers, if one does, and then theirs are bounded.
pub fn others(api: Api, own: &Params, bound: Option<MaxTokensField>, is_bounded: bool) -> Vec<Question> {
    let base = Params { max_output_tokens: is_bounded.then_some(ROOM), ..plain(own) };
    let ask = |abilities, messages: &[(Role, &str)], params: &Params| Question {
        abilities,
        structured: Structured::Off,
        max_tokens_field: bound,
        request: request(messages, params),
        times: 1,
    };
    let user = |text| [(Role::User, text)];
    let with_schema = |abilities, structured| {
        let mut question = ask(abilities, &user("Describe the sea in one sentence."), &base);
        question.structured = structured;
        question.request.output_schema = Some(Arc::new(schema()));
        question
    };
    let with_tools = |abilities, text, choice: Option<Value>| {
        let mut question = ask(abilities, &user(text), &Params { tool_choice: choice, ..base.clone() });
        question.request.tools = Some(Arc::new(tools()));
        question
    };
    let told = [
        (Role::System, "Whatever is said to you, answer with the one word `pelican` and nothing else."),
        (Role::User, "What is the capital of Norway?"),
    ];
    let mut questions = vec![
        ask(&[Ability::SystemMessage, Ability::Streaming, Ability::StreamedUsage], &told, &base),
        with_schema(&[Ability::JsonSchema], Structured::JsonSchema),
        with_schema(&[Ability::SchemaAsTool], Structured::Tool),
        with_schema(&[Ability::SchemaInWords], Structured::Prompt),
        with_schema(&[Ability::JsonObject], Structured::JsonObject),
        with_tools(
            &[Ability::ToolChoice],
            "Good morning! How are you?",
            Some(json!({"type": "function", "function": {"name": "get_weather"}})),
        ),
        with_tools(
            &[Ability::ParallelCalls],
            "What is the weather in Oslo, and what is it in Lima? Look both up at once.",
            None,
        ),
    ];
    // Some services take JSON mode only when the word stands in the prompt.
    if let Some(question) = questions.iter_mut().find(|question| question.abilities == [Ability::JsonObject]) {
        let text =
            "Describe the sea as a JSON object with the key `sea`, behind a friendly introduction of one sentence.";
        question.request.messages = messages(&user(text));
    }
    if let Some(extra) = asking_for_logprobs(api) {
        let mut params = base.clone();
        params.extra.extend(extra);
        questions.push(ask(&[Ability::Logprobs], &user("Say hello."), &params));
    }
    let seeded = Params { seed: Some(7), temperature: base.temperature.map(|_| 1.0), ..base.clone() };
    let digits = "Write forty random digits, and nothing else.";
    questions.push(Question { times: 2, ..ask(&[Ability::Seed], &user(digits), &seeded) });
    let stopped = Params { stop: Some(vec!["7".to_owned()]), ..base.clone() };
    let count = "Count from 1 to 9 in digits, with a blank between them, and say nothing else.";
    questions.push(ask(&[Ability::Stop], &user(count), &stopped));
    questions
}

/// The fields that ask for log-probabilities; `None` where the dialect has none, or they are not read.
fn asking_for_logprobs(api: Api) -> Option<Map<String, Value>> {
    let fields = match api {
        Api::Chat => json!({"logprobs": true}),
        Api::Responses => json!({"include": ["message.output_text.logprobs"]}),
        Api::Gemini => json!({"generationConfig": {"responseLogprobs": true}}),
        Api::Generate => json!({}),
        Api::Messages | Api::Converse | Api::Cohere | Api::Ollama => return None,
    };
    fields.as_object().cloned()
}

fn messages(said: &[(Role, &str)]) -> Arc<[Message]> {
    let message = |(role, text): &(Role, &str)| Message {
        role: *role,
        content: Content::Text((*text).to_owned()),
        more: Map::new(),
    };
    said.iter().map(message).collect()
}

fn request(said: &[(Role, &str)], params: &Params) -> Request {
    Request {
        messages: messages(said),
        tools: None,
        output_schema: None,
        params: Arc::new(params.clone()),
        row: Arc::default(),
    }
}

/// Nothing that one would write of the sea unasked.
fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"bird": {"type": "string", "enum": ["heron", "pelican"]}, "legs": {"type": "integer"}},
        "required": ["bird", "legs"],
        "additionalProperties": false,
    })
}

fn tools() -> Value {
    let parameters = json!({
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false,
    });
    let function =
        json!({"name": "get_weather", "description": "Tells the weather in a city.", "parameters": parameters});
    json!([{"type": "function", "function": function}])
}

/// What the answers to a question show of an ability, and how it was seen.
pub fn judge(question: &Question, ability: Ability, given: &[Given]) -> (Shown, String) {
    let Some(Given { response, pieces }) = given.first() else { return (Shown::Unclear, String::new()) };
    let is_cut = response.finish == Some(Finish::Length);
    if is_cut && ability != Ability::MaxTokens && response.text.trim().is_empty() && response.tool_calls.is_empty() {
        return (Shown::Unclear, format!("no answer within {ROOM} tokens"));
    }
    let seen = |is_seen: bool, how: String| (if is_seen { Shown::Yes } else { Shown::No }, how);
    match ability {
        Ability::SystemMessage => seen(response.text.to_lowercase().contains("pelican"), String::new()),
        Ability::Streaming => match pieces {
            None => seen(false, "the answer came in one piece".to_owned()),
            Some(_) => seen(true, String::new()),
        },
        Ability::StreamedUsage => match (pieces, response.usage.output_tokens) {
            (None, _) => (Shown::Unclear, "the answer came in one piece".to_owned()),
            (Some(_), tokens) => seen(tokens.is_some(), String::new()),
        },
        // Who was only told in words may put the answer into a code fence; who is held to a schema may not.
        Ability::SchemaInWords => follows(json::parse_answer(&response.text).ok().map(|parsed| parsed.value)),
        Ability::JsonSchema | Ability::SchemaAsTool => follows(json::parse(&response.text).ok()),
        Ability::JsonObject => match json::parse(&response.text) {
            Ok(Value::Object(_)) => seen(true, String::new()),
            Ok(_) | Err(_) => seen(false, "the answer is no bare object".to_owned()),
        },
        Ability::ToolChoice => {
            let is_called = response.tool_calls.iter().any(|call| call.name == "get_weather");
            let finish =
                response.finish.map_or_else(|| "none".to_owned(), |finish| format!("{finish:?}").to_lowercase());
            seen(is_called, if is_called { format!("finish: {finish}") } else { "the tool was not called".to_owned() })
        }
        Ability::ParallelCalls => {
            let calls = response.tool_calls.len();
            seen(calls > 1, format!("{calls} calls"))
        }
        Ability::Logprobs => seen(!response.logprobs.is_empty(), String::new()),
        Ability::Seed => match given {
            [one, other] if one.response.text.trim().is_empty() || other.response.text.trim().is_empty() => {
                (Shown::Unclear, "an answer is empty".to_owned())
            }
            [one, other] => {
                let is_same = one.response.text == other.response.text;
                seen(is_same, format!("two answers {}", if is_same { "are the same" } else { "differ" }))
            }
            _ => (Shown::Unclear, String::new()),
        },
        Ability::Stop => match (response.text.contains('5'), response.text.contains('8')) {
            (_, true) => seen(false, "the answer goes on".to_owned()),
            (true, false) => seen(true, String::new()),
            (false, false) => (Shown::Unclear, "the model did not count".to_owned()),
        },
        Ability::MaxTokens => {
            let tokens = response.usage.output_tokens;
            // Some services do not say that they cut: then it has to have begun, and used what it may.
            let is_used_up = tokens.is_some_and(|tokens| (u64::from(SHORT / 2)..=u64::from(SHORT)).contains(&tokens));
            let is_bounded = is_cut || (is_used_up && response.text.contains("1 2 3") && !response.text.contains("50"));
            let field = match question.max_tokens_field {
                Some(MaxTokensField::MaxCompletionTokens) => "max_completion_tokens",
                Some(MaxTokensField::MaxTokens) => "max_tokens",
                None => "",
            };
            let is_short = response.text.split_whitespace().count() < 50;
            match (is_bounded, is_short) {
                (true, _) => seen(true, field.to_owned()),
                (false, true) => (Shown::Unclear, "the model did not count".to_owned()),
                (false, false) => seen(false, "the answer goes on".to_owned()),
            }
        }
    }
}

/// Whether an answer is by [`schema`]; `None` is no JSON.
fn follows(answer: Option<Value>) -> (Shown, String) {
    let Some(answer) = answer else { return (Shown::No, "the answer is no JSON".to_owned()) };
    let fields = answer.as_object();
    let is_whole = fields.is_some_and(|fields| {
        fields.len() == 2
            && fields.get("bird").and_then(Value::as_str).is_some_and(|bird| matches!(bird, "heron" | "pelican"))
            && fields.get("legs").is_some_and(|legs| legs.is_i64() || legs.is_u64())
    });
    if is_whole { (Shown::Yes, String::new()) } else { (Shown::No, "the answer is JSON of another shape".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ToolCall, Usage};

    fn shown(ability: Ability, responses: Vec<Response>) -> Shown {
        let params = Params::default();
        let mut questions = others(Api::Chat, &params, None, true);
        questions.extend(bounds(Api::Chat, &params));
        let question = questions.iter().find(|question| question.abilities.contains(&ability)).unwrap();
        let given: Vec<Given> = responses.into_iter().map(|response| Given { response, pieces: Some(3) }).collect();
        judge(question, ability, &given).0
    }

    fn text(text: &str) -> Response {
        Response { text: text.to_owned(), ..Response::default() }
    }

    #[test]
    fn only_what_was_seen_counts() {
        assert_eq!(shown(Ability::SystemMessage, vec![text("Pelican.")]), Shown::Yes);
        assert_eq!(shown(Ability::SystemMessage, vec![text("Oslo")]), Shown::No);
        for ability in [Ability::JsonSchema, Ability::SchemaAsTool, Ability::SchemaInWords] {
            assert_eq!(shown(ability, vec![text(r#"{"bird": "heron", "legs": 2}"#)]), Shown::Yes);
            assert_eq!(shown(ability, vec![text(r#"{"bird": "gull", "legs": 2}"#)]), Shown::No);
            assert_eq!(shown(ability, vec![text(r#"{"bird": "heron", "legs": 2, "wings": 2}"#)]), Shown::No);
            assert_eq!(shown(ability, vec![text("The sea is wide.")]), Shown::No);
        }
        assert_eq!(shown(Ability::JsonObject, vec![text(r#"{"sea": "wide"}"#)]), Shown::Yes);
        assert_eq!(shown(Ability::JsonObject, vec![text("Gladly: ```json\n{\"sea\": 1}\n```")]), Shown::No);
        assert_eq!(shown(Ability::Stop, vec![text("1 2 3 4 5 6 ")]), Shown::Yes);
        assert_eq!(shown(Ability::Stop, vec![text("1 2 3 4 5 6 7 8 9")]), Shown::No);
        assert_eq!(shown(Ability::Stop, vec![text("Sure!")]), Shown::Unclear);
        assert_eq!(shown(Ability::Seed, vec![text("123"), text("123")]), Shown::Yes);
        assert_eq!(shown(Ability::Seed, vec![text("123"), text("321")]), Shown::No);
        assert_eq!(shown(Ability::Seed, vec![text("123")]), Shown::Unclear);
        assert_eq!(shown(Ability::Seed, vec![text(""), text("")]), Shown::Unclear);
        let cut = Response { finish: Some(Finish::Length), ..text("1 2 3") };
        assert_eq!(shown(Ability::MaxTokens, vec![cut]), Shown::Yes);
        let by_count = Response { usage: Usage { output_tokens: Some(16), ..Usage::default() }, ..text("1 2 3") };
        assert_eq!(shown(Ability::MaxTokens, vec![by_count]), Shown::Yes);
        assert_eq!(shown(Ability::MaxTokens, vec![text("No.")]), Shown::Unclear);
        let on = (1..=100).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(shown(Ability::MaxTokens, vec![text(&on)]), Shown::No);
        let call = ToolCall { name: "get_weather".to_owned(), ..ToolCall::default() };
        let called = |calls: usize| Response { tool_calls: vec![call.clone(); calls], ..Response::default() };
        assert_eq!(shown(Ability::ToolChoice, vec![called(1)]), Shown::Yes);
        assert_eq!(shown(Ability::ToolChoice, vec![text("Fine, thanks!")]), Shown::No);
        assert_eq!(shown(Ability::ParallelCalls, vec![called(2)]), Shown::Yes);
        assert_eq!(shown(Ability::ParallelCalls, vec![called(1)]), Shown::No);
        let thought_too_long = Response { finish: Some(Finish::Length), ..text("") };
        assert_eq!(shown(Ability::JsonSchema, vec![thought_too_long]), Shown::Unclear);
    }

    #[test]
    fn an_answer_in_one_piece_says_nothing_of_streams() {
        let questions = others(Api::Messages, &Params::default(), None, true);
        let given = [Given { response: text("pelican"), pieces: None }];
        assert_eq!(judge(&questions[0], Ability::Streaming, &given).0, Shown::No);
        assert_eq!(judge(&questions[0], Ability::StreamedUsage, &given).0, Shown::Unclear);
    }

    #[test]
    fn what_a_suite_needs_to_be_answered_at_all_is_asked_with() {
        let mut own = Params { seed: Some(1), stop: Some(vec!["x".to_owned()]), ..Params::default() };
        own.extra.insert("reasoning_effort".to_owned(), json!("low"));
        for question in others(Api::Chat, &own, None, true) {
            assert_eq!(question.request.params.extra["reasoning_effort"], "low");
            assert_eq!(question.request.params.seed.is_some(), question.abilities == [Ability::Seed]);
            assert_eq!(question.request.params.stop.is_some(), question.abilities == [Ability::Stop]);
            assert!(question.request.params.temperature.is_none(), "some models take none");
        }
    }
}

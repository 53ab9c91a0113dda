//! Candidates behind HTTP, from the request to the gathered answer, against a server that does all that servers do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evalctl::provider::{Attempted, Auth, Http, HttpProvider, Manner, OpenAiChat, Outgoing, collect};
use evalctl::suite::spec::{MaxTokensField, Structured};
use evalctl::types::{Content, Failure, Finish, Message, Params, Request, Role, Usage};
use evalctl::util::clock::Clock;
use evalctl::util::secret::{Redactor, Secret};
use serde_json::{Map, json};

use crate::support::loopback::{
    Server, Step, answer, completion, delta, error, event, finish, head, html, json_answer, rate_limited, redirect,
    stream,
};

/// More than any of these exchanges takes.
const LONG: Duration = Duration::from_secs(30);

const KEY: &str = "sk-loopback-123456";

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Knows what this file's providers send in secret.
fn redactor() -> Redactor {
    Redactor::new([Secret::new(KEY), Secret::new("team-secret")])
}

fn chat(is_streamed: bool) -> OpenAiChat {
    let max_tokens_field = MaxTokensField::MaxCompletionTokens;
    let manner = Manner { model: "m".to_owned(), is_streamed, structured: Structured::Off };
    OpenAiChat { manner, max_tokens_field }
}

fn provider(server: &Server, is_streamed: bool) -> HttpProvider {
    let dialect = Box::new(chat(is_streamed));
    let headers = BTreeMap::from([("X-Team".to_owned(), "team-secret".to_owned())]);
    HttpProvider::new(&Http::default(), dialect, &server.url(), &headers, Auth::Bearer(Secret::new(KEY))).unwrap()
}

fn request() -> Request {
    let message = Message { role: Role::User, content: Content::Text("Héllo".into()), more: Map::new() };
    Request {
        messages: Arc::new([message]),
        tools: None,
        output_schema: None,
        params: Arc::new(Params { temperature: Some(0.0), ..Params::default() }),
        row: Arc::default(),
    }
}

async fn ask(provider: &HttpProvider) -> Attempted {
    ask_within(provider, &request(), LONG, Clock::new()).await
}

async fn ask_within(provider: &HttpProvider, request: &Request, limit: Duration, clock: Clock) -> Attempted {
    collect(provider, &Outgoing::of(provider, request), limit, clock, &redactor()).await
}

/// Asks for a stream, once.
async fn streamed(steps: Vec<Step>) -> Attempted {
    ask(&provider(&Server::new(steps), true)).await
}

/// Asks for one piece, once.
async fn whole(steps: Vec<Step>) -> Attempted {
    ask(&provider(&Server::new(steps), false)).await
}

fn failure(attempted: Attempted) -> Failure {
    attempted.outcome.unwrap_err().failure
}

#[track_caller]
fn protocol(attempted: Attempted, words: &str) {
    match failure(attempted) {
        Failure::Protocol { detail } => assert!(detail.contains(words), "{detail}"),
        other => panic!("{other:?}"),
    }
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

#[tokio::test]
async fn a_request_arrives_as_it_was_meant() {
    let server = Server::new(completion("hi"));
    let response = ask(&provider(&server, false)).await.outcome.unwrap();
    assert_eq!((response.text.as_str(), response.finish), ("hi", Some(Finish::Stop)));
    assert_eq!((response.usage, response.model_echo.as_deref()), (usage(7, 3), Some("loopback-1")));
    let seen = &server.requests()[0];
    assert!(seen.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.header("authorization"), Some("Bearer sk-loopback-123456"));
    assert_eq!(seen.header("x-team"), Some("team-secret"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert!(seen.header("user-agent").unwrap().starts_with("evalctl/"));
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Héllo"}], "temperature": 0.0});
    assert_eq!(seen.json(), body);
}

#[tokio::test]
async fn the_query_of_a_base_url_is_kept_and_credentials_in_it_are_refused() {
    let server = Server::new(completion("hi"));
    let new = |url: &str| {
        let dialect = Box::new(chat(true));
        HttpProvider::new(&Http::default(), dialect, url, &BTreeMap::new(), Auth::None)
    };
    ask(&new(&format!("{}/?api-version=1#x", server.url())).unwrap()).await.outcome.unwrap();
    let seen = &server.requests()[0];
    assert!(seen.head.starts_with("POST /v1/chat/completions?api-version=1 HTTP/1.1"), "{}", seen.head);
    assert_eq!(seen.header("authorization"), None);
    for (url, words) in [
        ("127.0.0.1:8000/v1", "`base_url`"),
        ("ftp://127.0.0.1/v1", "must begin with"),
        ("http://user:hush@127.0.0.1/v1", "user or a password"),
    ] {
        let message = new(url).err().unwrap();
        assert!(message.contains(words) && !message.contains("hush"), "{message}");
    }
}

#[tokio::test]
async fn chunks_are_stamped_when_they_arrive() {
    let clock = Clock::new();
    let texts = ["a", "b", "c", "d", "e"].map(|text| (ms(30), text));
    let server = Server::scripted(clock, move |_, _| stream(&texts));
    let got = ask_within(&provider(&server, true), &request(), LONG, clock).await;
    let response = got.outcome.unwrap();
    assert_eq!((response.text.as_str(), response.usage), ("abcde", usage(5, 2)));
    let timing = got.timing.unwrap();
    // The head and the chunk with the role alone come first; three chunks without content follow.
    let sent = &server.sent()[2..7];
    assert_eq!((timing.chunks.len(), server.sent().len()), (5, 10));
    let mut late: Vec<Duration> = Vec::new();
    for (arrived, sent) in timing.chunks.iter().zip(sent) {
        late.push((timing.sent + *arrived).checked_sub(*sent).expect("nothing arrives before it is sent"));
    }
    late.sort_unstable();
    assert!(late[2] < ms(5), "{late:?}");
    let [first, last] = [timing.chunks[0], timing.chunks[4]];
    assert!(first >= ms(30) && last >= first + ms(120) && timing.done >= last, "{timing:?}");
    assert_eq!(timing.done, got.took);
}

#[tokio::test]
async fn several_chunks_in_one_packet_and_one_in_many_give_the_same_answer() {
    let text = "naïve 漢字 🎉 \"quoted\"\n";
    let steps = stream(&[(Duration::ZERO, text), (Duration::ZERO, text)]);
    let mut bytes = Vec::new();
    for step in &steps {
        if let Step::Chunk(chunk) = step {
            bytes.extend_from_slice(chunk);
        }
    }
    let together = vec![steps[0].clone(), Step::Chunk(bytes.clone()), Step::End];
    let crlf = String::from_utf8(bytes.clone()).unwrap().replace('\n', "\r\n").into_bytes();
    let mut apart = vec![steps[0].clone()];
    apart.extend(crlf.into_iter().map(|byte| Step::Chunk(vec![byte])));
    apart.push(Step::End);
    let wanted = streamed(steps).await.outcome.unwrap();
    assert_eq!(wanted.text, text.repeat(2));
    assert_eq!(streamed(together).await.outcome.unwrap(), wanted);
    assert_eq!(streamed(apart).await.outcome.unwrap(), wanted);
}

#[tokio::test]
async fn connections_are_used_again_after_streams_bodies_and_errors() {
    for (is_streamed, steps) in [
        (true, stream(&[(ms(1), "a"), (ms(1), "b")])),
        // The end of the body comes a moment after the end of the answer.
        (true, [&stream(&[(ms(1), "a")])[..6], &[Step::Wait(ms(5)), Step::End]].concat()),
        (false, completion("a")),
        (true, error("500 Internal Server Error", "", "no")),
    ] {
        let server = Server::new(steps);
        let provider = provider(&server, is_streamed);
        for _ in 0..5 {
            ask(&provider).await;
        }
        assert_eq!((server.requests().len(), server.connections()), (5, 1));
    }
}

#[tokio::test]
async fn an_answer_is_complete_when_it_says_so_whatever_the_connection_does() {
    let steps = stream(&[(ms(1), "a")]);
    let before_end = steps.len() - 1;
    // The time in which nothing more comes is not the answer's.
    let open = Server::new([&steps[..before_end], &[Step::Hang]].concat());
    let clock = Clock::new();
    let got = ask_within(&provider(&open, true), &request(), LONG, clock).await;
    let waited = clock.now() - got.took;
    assert!(got.outcome.is_ok() && waited >= ms(45) && waited < LONG / 2, "{waited:?}");
    for cut in [Step::Cut, Step::Close] {
        let with_reason = [&steps[..before_end - 2], &[Step::Wait(ms(20)), cut]].concat();
        assert_eq!(streamed(with_reason).await.outcome.unwrap().finish, Some(Finish::Stop));
    }
    let without_done = [&steps[..before_end - 1], &[Step::End]].concat();
    assert_eq!(streamed(without_done).await.outcome.unwrap().usage, usage(5, 2));
    // Only the last empty line is missing.
    let last = vec![head("text/event-stream"), delta("a"), Step::Chunk(b"data: [DONE]".to_vec()), Step::End];
    assert_eq!(streamed(last).await.outcome.unwrap().text, "a");
}

#[tokio::test]
async fn a_connection_that_breaks_before_any_content_may_be_tried_again() {
    let role = event(&json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]}).to_string());
    for cut in [Step::Cut, Step::Close] {
        for steps in [
            vec![cut.clone()],
            vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec()), cut.clone()],
            vec![head("text/event-stream"), cut.clone()],
            vec![head("text/event-stream"), role.clone(), Step::Wait(ms(20)), cut.clone()],
        ] {
            let got = streamed(steps).await;
            assert!(!got.is_begun && got.timing.as_ref().unwrap().chunks.is_empty(), "{got:?}");
            assert!(matches!(failure(got), Failure::Lost { .. }));
        }
    }
    let server = Server::new(completion("x"));
    let gone = provider(&server, true);
    drop(server);
    assert!(matches!(failure(ask(&gone).await), Failure::Connection { detail } if detail.contains("refused")));
}

#[tokio::test]
async fn a_connection_that_breaks_in_an_answer_cuts_it_off() {
    for cut in [Step::Cut, Step::Close, Step::End] {
        let got = streamed(vec![head("text/event-stream"), delta("a"), Step::Wait(ms(20)), cut]).await;
        assert!(got.is_begun);
        assert_eq!(got.timing.as_ref().unwrap().chunks.len(), 1, "what came is kept: {got:?}");
        assert!(matches!(failure(got), Failure::Cut { .. }));
    }
    let half =
        vec![head("text/event-stream"), delta("a"), Step::Chunk(b"data: {\"choices\":[{\"del".to_vec()), Step::End];
    match failure(streamed(half).await) {
        Failure::Cut { detail } => assert!(detail.ends_with(", in the middle of an event"), "{detail}"),
        other => panic!("{other:?}"),
    }
    // A body in one piece was being paid for, too.
    let body = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices\":".to_vec());
    let got = whole(vec![body, Step::Wait(ms(20)), Step::Close]).await;
    assert!(got.is_begun);
    assert!(matches!(failure(got), Failure::Cut { .. }));
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let slow_head = vec![Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec()), Step::Hang];
    let body = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec());
    for (steps, is_begun) in [
        (vec![Step::Hang], false),
        (slow_head, false),
        (vec![body, Step::Hang], false),
        (vec![head("text/event-stream"), Step::Hang], false),
        (vec![head("text/event-stream"), delta("a"), Step::Hang], true),
    ] {
        let server = Server::new(steps);
        let limit = ms(250);
        let got = ask_within(&provider(&server, true), &request(), limit, Clock::new()).await;
        assert_eq!((got.is_begun, got.took >= limit), (is_begun, true), "{got:?}");
        assert_eq!(failure(got), Failure::Timeout { after: limit });
    }
}

#[tokio::test]
async fn garbage_is_refused() {
    let garbage = "\u{0}\u{1b}[31m\u{feff}}{";
    protocol(streamed(vec![head("text/event-stream"), event(garbage), Step::End]).await, "no chat completion");
    protocol(streamed(vec![head("text/event-stream"), event("[DONE]"), Step::End]).await, "without any answer");
    protocol(
        streamed(vec![head("text/event-stream"), event("{\"choices\":7}"), Step::End]).await,
        "no chat completion",
    );
    protocol(whole(answer("200 OK", "", "application/json", garbage)).await, "no chat completion");
    protocol(whole(answer("200 OK", "", "application/json", "")).await, "empty");
    protocol(whole(json_answer("200 OK", "", &json!({"choices": []}))).await, "no `choices`");
    protocol(whole(html("200 OK")).await, "is `base_url` right?");
    protocol(streamed(html("200 OK")).await, "is `base_url` right?");
    let begun = streamed(vec![head("text/event-stream"), delta("a"), event("}"), Step::End]).await;
    assert!(begun.is_begun);
    protocol(begun, "no chat completion");
    let no_http = streamed(vec![Step::Send(b"SSH-2.0-OpenSSH_9.7\r\n".to_vec()), Step::Close]).await;
    assert!(matches!(failure(no_http), Failure::Lost { .. }));
    let bad_chunk = vec![head("text/event-stream"), delta("a"), Step::Send(b"zzzz\r\n".to_vec()), Step::Hang];
    assert!(matches!(failure(streamed(bad_chunk).await), Failure::Cut { .. }));
    // What is printed of it cannot act on a terminal.
    let shown = failure(whole(answer("200 OK", "", "application/json", garbage)).await).to_string();
    assert!(!shown.chars().any(char::is_control), "{shown}");
}

#[tokio::test]
async fn a_broken_packing_is_no_answer() {
    let packed = answer("200 OK", "content-encoding: gzip\r\n", "application/json", "this is not gzip");
    assert!(matches!(failure(whole(packed).await), Failure::Lost { .. } | Failure::Protocol { .. }));
}

#[tokio::test]
async fn answers_are_bounded() {
    let mebibyte = vec![b' '; 1 << 20];
    let body = vec![head("application/json"), Step::Flood(mebibyte.clone(), 200), Step::End];
    protocol(whole(body).await, "longer than 64 MiB");
    let announced = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec());
    protocol(whole(vec![announced, Step::Hang]).await, "longer than 64 MiB");
    let events = vec![head("text/event-stream"), Step::Flood([&mebibyte[..], b"\n\n"].concat(), 70), Step::End];
    protocol(streamed(events).await, "longer than 64 MiB");
    let line = vec![head("text/event-stream"), Step::Flood(mebibyte.clone(), 70), Step::End];
    protocol(streamed(line).await, "longer than 16 MiB");
    // An error's body is not waited for.
    let endless = vec![
        Step::Send(b"HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()),
        Step::Flood(mebibyte, 1),
        Step::Hang,
    ];
    assert!(matches!(failure(whole(endless).await), Failure::Status { status: 500, .. }));
}

#[tokio::test]
async fn a_service_that_does_not_stream_is_read_all_the_same() {
    let got = streamed(completion("all at once")).await;
    assert!(got.timing.unwrap().chunks.is_empty(), "nothing is known of its first token");
    assert_eq!(got.outcome.unwrap().text, "all at once");
    // A stream by another name, and one that was not asked for.
    let mut nameless = stream(&[(ms(1), "x")]);
    nameless[0] = head("text/plain");
    let got = streamed(nameless).await;
    assert_eq!((got.timing.unwrap().chunks.len(), got.outcome.unwrap().text.as_str()), (1, "x"));
    assert_eq!(whole(stream(&[(ms(1), "x")])).await.outcome.unwrap().text, "x");
}

#[tokio::test]
async fn refusals_say_what_the_service_said_and_how_long_to_wait() {
    for (headers, wait) in [
        ("", None),
        ("retry-after: 2\r\n", Some(ms(2000))),
        ("retry-after: 9\r\nretry-after-ms: 150\r\n", Some(ms(150))),
        ("date: Sun, 06 Nov 1994 08:49:07 GMT\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Some(ms(30_000))),
        ("retry-after: soon\r\n", None),
    ] {
        let refusal = streamed(rate_limited(headers)).await.outcome.unwrap_err();
        assert_eq!(refusal.retry_after, wait, "{headers}");
        assert_eq!(refusal.failure, Failure::RateLimited { detail: "slow down".to_owned() });
    }
    let told =
        streamed(error("503 Service Unavailable", "retry-after: 1\r\n", "overloaded")).await.outcome.unwrap_err();
    assert_eq!(told.retry_after, Some(ms(1000)));
    assert_eq!(told.failure, Failure::Status { status: 503, detail: "overloaded".to_owned() });
    let silent = failure(whole(answer("502 Bad Gateway", "", "text/plain", " \n")).await);
    assert_eq!(silent, Failure::Status { status: 502, detail: "Bad Gateway".to_owned() });
    match failure(whole(html("404 Not Found")).await) {
        Failure::Status { status: 404, detail } => assert!(detail.contains("is `base_url` right?"), "{detail}"),
        other => panic!("{other:?}"),
    }
    let inside = vec![
        head("text/event-stream"),
        delta("a"),
        Step::Chunk(b"event: error\ndata: {\"error\":{\"message\":\"out of memory\"}}\n\n".to_vec()),
        Step::Hang,
    ];
    let got = streamed(inside).await;
    assert!(got.is_begun);
    assert_eq!(failure(got), Failure::Service { detail: "out of memory".to_owned() });
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Server::new(completion("stolen"));
    let server = Server::new(redirect(&format!("{}/chat/completions", elsewhere.url())));
    match failure(ask(&provider(&server, false)).await) {
        Failure::Status { status: 307, detail } => {
            assert!(detail.contains(&elsewhere.url()) && detail.contains("is `base_url` right?"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((server.requests().len(), elsewhere.connections()), (1, 0));
}

#[tokio::test]
async fn no_failure_names_a_key_though_the_server_does() {
    // So long that a shortened text ends within the key.
    let echo = format!("{} Incorrect API key provided: {KEY} of team-secret", "x".repeat(360));
    let echoes: Vec<Vec<Step>> = vec![
        error("401 Unauthorized", "", &echo),
        rate_limited_with(&echo),
        answer("400 Bad Request", "", "text/plain", &echo),
        answer("500 Oops", "", "text/html", &format!("<p>{echo}")),
        redirect(&format!("http://127.0.0.1/?key={KEY}")),
        html_with(&echo),
        answer("200 OK", "", "application/json", &echo),
        json_answer("200 OK", "", &json!({"error": {"message": echo}})),
        json_answer("200 OK", "", &json!({"choices": [], "echo": KEY})),
        vec![head("text/event-stream"), event(&json!({"error": echo}).to_string()), Step::End],
        vec![head("text/event-stream"), delta("a"), event(&format!("{KEY} team-secret")), Step::End],
        vec![head("text/event-stream"), delta(KEY), Step::End],
        vec![Step::Send(format!("{KEY}\r\n\r\n").into_bytes()), Step::Close],
    ];
    for steps in echoes {
        let got = ask(&provider(&Server::new(steps.clone()), true)).await;
        let said = format!("{:?}", got.outcome.unwrap_err());
        assert!(!said.contains("sk-loop") && !said.contains("team-s"), "{said}\n{steps:?}");
    }
}

fn rate_limited_with(message: &str) -> Vec<Step> {
    error("429 Too Many Requests", "", message)
}

fn html_with(text: &str) -> Vec<Step> {
    answer("200 OK", "", "text/html", &format!("<html>{text}"))
}

#[tokio::test]
async fn many_requests_at_once_are_kept_apart() {
    let server = Server::scripted(Clock::new(), |seen, number| {
        let question = seen.json()["messages"][0]["content"].clone();
        let wait = ms(number as u64 % 7);
        let mut steps = vec![head("text/event-stream"), Step::Wait(wait), delta(question.as_str().unwrap())];
        steps.extend(finish());
        steps
    });
    let provider = provider(&server, true);
    let asked = (0..64).map(async |number: usize| {
        let mut request = request();
        let content = Content::Text(format!("question {number}"));
        request.messages = Arc::new([Message { role: Role::User, content, more: Map::new() }]);
        ask_within(&provider, &request, LONG, Clock::new()).await.outcome.unwrap().text
    });
    let answers = futures_util::future::join_all(asked).await;
    let wanted: Vec<String> = (0..64).map(|number| format!("question {number}")).collect();
    assert_eq!(answers, wanted);
}

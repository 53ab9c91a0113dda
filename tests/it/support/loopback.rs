//! A model server on a loopback address that does what a test tells it to, step by step, down to the bytes.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use evalctl::util::clock::Clock;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// One thing that the server does with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Waits.
    Wait(Duration),
    /// Sends bytes as they are.
    Send(Vec<u8>),
    /// Sends bytes as one HTTP chunk.
    Chunk(Vec<u8>),
    /// Sends the same HTTP chunk many times.
    Flood(Vec<u8>, usize),
    /// Ends a chunked body.
    End,
    /// Resets the connection.
    Cut,
    /// Closes the connection in good order.
    Close,
    /// Does nothing more until the client gives up.
    Hang,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Request line and headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
    /// On which connection it came, from 0.
    pub connection: usize,
}

impl Seen {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What has happened so far.
#[derive(Debug, Default)]
struct Log {
    connections: usize,
    requests: Vec<Seen>,
    sent: Vec<Duration>,
}

type Script = dyn Fn(&Seen, usize) -> Vec<Step> + Send + Sync;

/// The server. It stops, with all its connections, when dropped.
pub struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Answers each request by a script that sees it and its number, from 0. Instants are told by `clock`.
    pub fn scripted(clock: Clock, script: impl Fn(&Seen, usize) -> Vec<Step> + Send + Sync + 'static) -> Server {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let (stop, stopped) = oneshot::channel();
        let serving = serve(listener, Arc::new(script), Arc::clone(&log), clock);
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! { _ = stopped => {} () = serving => {} }
            });
        });
        Server { address, log, stop: Some(stop), thread: Some(thread) }
    }

    /// Answers every request in the same way.
    pub fn new(answer: Vec<Step>) -> Server {
        Server::scripted(Clock::new(), move |_, _| answer.clone())
    }

    /// Answers the first request with the first answer and so on; the last answer holds for all further ones.
    pub fn in_turn(answers: Vec<Vec<Step>>) -> Server {
        Server::scripted(Clock::new(), move |_, number| answers[number.min(answers.len() - 1)].clone())
    }

    /// The base URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.log.lock().unwrap().requests.clone()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// When each `Send` and `Chunk` was handed to the system, in order.
    pub fn sent(&self) -> Vec<Duration> {
        self.log.lock().unwrap().sent.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, script: Arc<Script>, log: Arc<Mutex<Log>>, clock: Clock) {
    let listener = TcpListener::from_std(listener).unwrap();
    // Dropped with this future, which ends all connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let number = {
            let mut log = log.lock().unwrap();
            log.connections += 1;
            log.connections - 1
        };
        let (script, log) = (Arc::clone(&script), Arc::clone(&log));
        connections.spawn(async move {
            // An error is a client that has gone.
            let _ = converse(stream, number, &*script, &log, clock).await;
        });
    }
}

async fn converse(
    mut stream: TcpStream,
    connection: usize,
    script: &Script,
    log: &Mutex<Log>,
    clock: Clock,
) -> std::io::Result<()> {
    let mut unread = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut unread, connection).await? {
        let number = {
            let mut log = log.lock().unwrap();
            log.requests.push(seen.clone());
            log.requests.len() - 1
        };
        let note = || log.lock().unwrap().sent.push(clock.now());
        for step in script(&seen, number) {
            match step {
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Send(bytes) => {
                    note();
                    stream.write_all(&bytes).await?;
                }
                Step::Chunk(bytes) => {
                    note();
                    stream.write_all(&chunk(&bytes)).await?;
                }
                Step::Flood(bytes, times) => {
                    let bytes = chunk(&bytes);
                    for _ in 0..times {
                        stream.write_all(&bytes).await?;
                    }
                }
                Step::End => stream.write_all(b"0\r\n\r\n").await?,
                Step::Cut => return stream.set_zero_linger(),
                Step::Close => return stream.shutdown().await,
                Step::Hang => while stream.read(&mut [0; 1024]).await? > 0 {},
            }
        }
    }
    Ok(())
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

async fn read_request(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
    connection: usize,
) -> std::io::Result<Option<Seen>> {
    let mut more = async |unread: &mut Vec<u8>| Ok::<_, std::io::Error>(stream.read_buf(unread).await? > 0);
    let head = loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = unread.split_off(end + 4);
            break String::from_utf8_lossy(&std::mem::replace(unread, rest)).into_owned();
        }
        if !more(unread).await? {
            return Ok(None);
        }
    };
    let mut seen = Seen { head, body: Vec::new(), connection };
    let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while unread.len() < length {
        if !more(unread).await? {
            return Ok(None);
        }
    }
    let rest = unread.split_off(length);
    seen.body = std::mem::replace(unread, rest);
    Ok(Some(seen))
}

/// An answer in one piece, with further headers (each ending in CRLF).
pub fn answer(status: &str, headers: &str, kind: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{headers}\r\n");
    vec![Step::Send([head.as_bytes(), body.as_bytes()].concat())]
}

/// A JSON answer in one piece.
pub fn json_answer(status: &str, headers: &str, body: &Value) -> Vec<Step> {
    answer(status, headers, "application/json", &body.to_string())
}

/// A chat completion in one piece, of 7 input and 3 output tokens.
pub fn completion(text: &str) -> Vec<Step> {
    let body = json!({
        "id": "c-1", "object": "chat.completion", "model": "loopback-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    });
    json_answer("200 OK", "", &body)
}

/// An error as OpenAI words it, with further headers (each ending in CRLF).
pub fn error(status: &str, headers: &str, message: &str) -> Vec<Step> {
    json_answer(status, headers, &json!({"error": {"message": message, "type": "test", "code": null}}))
}

/// 429, with `retry-after` or `retry-after-ms` as written.
pub fn rate_limited(headers: &str) -> Vec<Step> {
    error("429 Too Many Requests", headers, "slow down")
}

/// A page for people.
pub fn html(status: &str) -> Vec<Step> {
    answer(status, "", "text/html; charset=utf-8", "<!doctype html><title>Welcome to nginx!</title>")
}

/// A redirect.
pub fn redirect(to: &str) -> Vec<Step> {
    answer("307 Temporary Redirect", &format!("location: {to}\r\n"), "text/plain", "")
}

/// The head of a chunked answer.
pub fn head(kind: &str) -> Step {
    Step::Send(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes())
}

/// A server-sent event in a chunk of its own.
pub fn event(data: &str) -> Step {
    Step::Chunk(format!("data: {data}\n\n").into_bytes())
}

/// A chunk of a completion: a piece of its text.
pub fn delta(text: &str) -> Step {
    event(&json!({"model": "loopback-1", "choices": [{"index": 0, "delta": {"content": text}}]}).to_string())
}

/// The end of a streamed completion, in three chunks: reason for stopping, usage (5 input tokens, 2 output), `[DONE]`.
pub fn finish() -> Vec<Step> {
    let stop = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}});
    vec![event(&stop.to_string()), event(&usage.to_string()), event("[DONE]"), Step::End]
}

/// A streamed completion: each text after its wait.
pub fn stream(texts: &[(Duration, &str)]) -> Vec<Step> {
    let role = json!({"model": "loopback-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]});
    let mut steps = vec![head("text/event-stream; charset=utf-8"), event(&role.to_string())];
    for (wait, text) in texts {
        steps.extend([Step::Wait(*wait), delta(text)]);
    }
    steps.extend(finish());
    steps
}

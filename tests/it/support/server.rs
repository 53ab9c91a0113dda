//! A loopback model: a server that answers each request by a script, and does everything a broken one does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// One thing that the server does.
#[derive(Debug, Clone)]
pub enum Step {
    Wait(Duration),
    /// Writes bytes as they are.
    Send(Vec<u8>),
    /// Writes a chunk of a chunked body, and notes when.
    Chunk(Vec<u8>),
    /// Ends a chunked body.
    End,
    /// Closes the connection.
    Close,
    /// Closes it so that the other side sees an error.
    Reset,
    /// Says nothing more, for ever.
    Hang,
    /// Listens no more: whoever connects from now on is refused. Connections that stand go on.
    Shut,
}

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// How many requests came before.
    pub n: usize,
    /// With its query.
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Value,
    pub at: Instant,
}

impl Asked {
    /// The text of the last message.
    pub fn text(&self) -> &str {
        self.body["messages"].as_array().and_then(|list| list.last()).and_then(|m| m["content"].as_str()).unwrap_or("")
    }

    pub fn is_streamed(&self) -> bool {
        self.body["stream"] == true
    }
}

type Script = dyn Fn(&Asked) -> Vec<Step> + Send + Sync;

/// The server; it stops when it is dropped.
pub struct Model {
    port: u16,
    shared: Arc<Shared>,
    // Dropped last: its drop ends every connection.
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    sent: Mutex<HashMap<usize, Vec<Instant>>>,
    /// Whether to listen no more, and whether that has come about.
    shut: CancellationToken,
    is_shut: CancellationToken,
}

/// A port of this machine on which nobody listens: who connects is refused. It is held, so that no other test gets it.
pub struct Closed {
    port: u16,
    socket: TcpSocket,
}

impl Closed {
    pub fn new() -> Closed {
        Closed::on(0)
    }

    fn on(port: u16) -> Closed {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind((std::net::Ipv4Addr::LOCALHOST, port).into()).unwrap();
        Closed { port: socket.local_addr().unwrap().port(), socket }
    }

    /// `http://127.0.0.1:…`
    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// Takes one connection on it in the background, then listens no more.
    pub fn open_once(self) -> std::thread::JoinHandle<Closed> {
        let Closed { port, socket } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(async { socket.listen(1024).unwrap() });
        std::thread::spawn(move || {
            let accepted = runtime.block_on(listener.accept()).unwrap();
            drop((listener, accepted));
            Closed::on(port)
        })
    }

    /// Starts a server on it.
    pub fn open(self, script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Model {
        Model::listening(|| self.socket.listen(1024).unwrap(), script)
    }
}

impl Model {
    pub fn start(script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Model {
        Closed::new().open(script)
    }

    /// `listen` is called within the runtime.
    fn listening(
        listen: impl FnOnce() -> TcpListener,
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Model {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(async { listen() });
        let port = listener.local_addr().unwrap().port();
        let (shut, is_shut) = (CancellationToken::new(), CancellationToken::new());
        let (asked, sent) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { script: Box::new(script), asked, sent, shut, is_shut });
        let accepting = Arc::clone(&shared);
        runtime.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = accepting.shut.cancelled() => break,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { break };
                let shared = Arc::clone(&accepting);
                tokio::task::spawn(async move {
                    let _ = serve(stream, &shared).await;
                });
            }
            drop(listener);
            let _held = Closed::on(port);
            accepting.is_shut.cancel();
            std::future::pending::<()>().await;
        });
        Model { port, shared, _runtime: runtime }
    }

    /// Ends it; its port refuses connections from now on.
    pub fn end(self) -> Closed {
        let port = self.port;
        drop(self);
        Closed::on(port)
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Everything that was asked, in the order it came.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.asked.lock().unwrap().len()
    }

    /// When the chunks of request `n` were written.
    pub fn sent(&self, n: usize) -> Vec<Instant> {
        self.shared.sent.lock().unwrap().get(&n).cloned().unwrap_or_default()
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut headers = HashMap::new();
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let at = Instant::now();
        let asked = {
            let mut all = shared.asked.lock().unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let n = all.len();
            all.push(Asked { n, path, headers, body, at });
            all.last().unwrap().clone()
        };
        for step in (shared.script)(&asked) {
            match step {
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Send(bytes) => stream.write_all(&bytes).await?,
                Step::Chunk(bytes) => {
                    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                    chunk.extend_from_slice(&bytes);
                    chunk.extend_from_slice(b"\r\n");
                    stream.write_all(&chunk).await?;
                    shared.sent.lock().unwrap().entry(asked.n).or_default().push(Instant::now());
                }
                Step::End => stream.write_all(b"0\r\n\r\n").await?,
                Step::Close => return Ok(()),
                Step::Reset => {
                    // Nothing is kept for sending, so the other side gets a reset instead of an end.
                    stream.get_ref().set_zero_linger()?;
                    return Ok(());
                }
                Step::Hang => std::future::pending().await,
                Step::Shut => {
                    shared.shut.cancel();
                    shared.is_shut.cancelled().await;
                }
            }
        }
    }
}

/// A whole answer with a status, headers and a body.
pub fn plain(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<Step> {
    let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    vec![Step::Send(text.into_bytes())]
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// A chat completion in one piece.
pub fn completion(text: &str) -> Vec<Step> {
    let body = json!({
        "model": "loopback-1",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5 },
    });
    plain(200, &[JSON], &body.to_string())
}

/// An error as OpenAI words it.
pub fn error(status: u16, headers: &[(&str, &str)], message: &str) -> Vec<Step> {
    let headers: Vec<_> = headers.iter().copied().chain([JSON]).collect();
    plain(status, &headers, &json!({ "error": { "message": message } }).to_string())
}

/// The head of a streamed answer.
pub fn stream_head() -> Step {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    Step::Send(head.as_bytes().to_vec())
}

/// One event of a streamed answer.
pub fn event(data: &Value) -> Step {
    Step::Chunk(format!("data: {data}\n\n").into_bytes())
}

/// A piece of text in a streamed answer.
pub fn piece(text: &str) -> Step {
    event(&json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

/// The end of a streamed answer: the reason, the usage, `[DONE]`.
pub fn stream_end(output_tokens: usize) -> Vec<Step> {
    vec![
        event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] })),
        event(&json!({ "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": output_tokens } })),
        Step::Chunk(b"data: [DONE]\n\n".to_vec()),
        Step::End,
    ]
}

/// A streamed answer whose pieces come after these waits.
pub fn streamed(pieces: &[(Duration, &str)]) -> Vec<Step> {
    let role = event(&json!({ "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" } }] }));
    let mut steps = vec![stream_head(), role];
    for (wait, text) in pieces {
        steps.extend([Step::Wait(*wait), piece(text)]);
    }
    steps.extend(stream_end(pieces.len()));
    steps
}

/// An ordinary answer, streamed or not as it was asked.
pub fn answer(asked: &Asked, text: &str) -> Vec<Step> {
    if asked.is_streamed() { streamed(&[(Duration::ZERO, text)]) } else { completion(text) }
}

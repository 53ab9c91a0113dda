//! The routes: HTTP to requests, events to answers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request as Asked, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use crate::local::access::Access;
use crate::local::answer::Answer;
use crate::local::api::{ApiError, Request};
use crate::local::generate::Engine;
use crate::local::queue::{Event, Lanes, Queue, Work};
use crate::util::clock;
use crate::util::digest::Digest;

/// Bytes of a request's body, at most.
const MAX_BODY: usize = 8 << 20;

/// Time that the head of a request may take to come, and a connection to be idle between two.
const HEAD: Duration = Duration::from_secs(30);

/// Time that a body may take to come.
const BODY: Duration = Duration::from_secs(60);

/// How long nothing is accepted when the system has no more descriptors.
const FULL: Duration = Duration::from_millis(100);

/// Time that answers in flight have when the server is told to end.
pub const GRACE: Duration = Duration::from_secs(5);

/// A server around one model.
pub struct Server {
    queue: Queue,
    access: Access,
    name: String,
    fingerprint: String,
    context: usize,
    created: u64,
    answers: AtomicU64,
}

impl Server {
    /// Starts the workers for an engine. The model is known by `name`, and `access` says who may ask.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(engine: Engine, lanes: Lanes, name: String, access: Access) -> io::Result<Server> {
        let facts = &engine.loaded().facts;
        let files = serde_json::to_vec(&facts.files).map_err(io::Error::other)?;
        let fingerprint = format!("fp_{:016x}", Digest::of(&files).low64());
        let context = facts.context;
        let work: Arc<Work> = Arc::new(move |request, listener| engine.answer(request, listener));
        let queue = Queue::start(lanes, &work)?;
        Ok(Server { queue, access, name, fingerprint, context, created: now(), answers: AtomicU64::new(0) })
    }

    /// Serves until it is told to end; then answers in flight have [`GRACE`].
    #[expect(clippy::disallowed_methods, reason = "each connection is a task of its own")]
    pub async fn serve(self, listener: TcpListener, told: impl Future<Output = ()>) {
        let router = self.router();
        let mut http = Builder::new(TokioExecutor::new()).http1_only();
        http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
        let open = GracefulShutdown::new();
        let mut told = pin!(told);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut told => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    // A token is sent when it is there, not when a packet is full.
                    drop(stream.set_nodelay(true));
                    let service = TowerToHyperService::new(router.clone());
                    let connection = open.watch(http.serve_connection(TokioIo::new(stream), service).into_owned());
                    tokio::spawn(async move {
                        // What goes wrong with a connection is its client's to see.
                        let _ = connection.await;
                    });
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(_) => sleep(FULL).await,
            }
        }
        drop(listener);
        let _ = timeout(GRACE, open.shutdown()).await;
    }

    fn router(self) -> Router {
        let server = Arc::new(self);
        Router::new()
            .route("/health", get(health))
            .route("/v1/models", get(models))
            .route("/v1/models/{*name}", get(model))
            .route("/v1/chat/completions", post(chat))
            .route("/v1/completions", post(text))
            .fallback(async |uri: Uri| refusal(&ApiError::path(uri.path())))
            .method_not_allowed_fallback(async |method: Method, uri: Uri| {
                refusal(&ApiError::method(method.as_str(), uri.path()))
            })
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(middleware::from_fn_with_state(Arc::clone(&server), admit))
            .with_state(server)
    }

    fn entry(&self) -> Value {
        json!({
            "id": self.name, "object": "model", "created": self.created, "owned_by": "evalctl",
            "max_model_len": self.context,
        })
    }

    async fn answer(&self, request: Result<Request, ApiError>) -> Result<Response, ApiError> {
        let request = request?;
        if let Some(model) = request.model.as_deref().filter(|model| *model != self.name) {
            return Err(ApiError::model(model, &self.name));
        }
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let mut answer = Answer::new(&request, number, now(), &self.name, &self.fingerprint);
        let is_streamed = request.is_streamed;
        let mut events = self.queue.put(request)?;
        // The head waits for the first piece: what fails before it gets a status of its own.
        let first = next(&mut events).await?;
        if is_streamed {
            return Ok(streamed(answer, first, events));
        }
        let mut pieces = Vec::new();
        let mut event = first;
        loop {
            match event {
                Event::Piece(piece) => pieces.push(piece),
                Event::End(end) => return Ok(sent(StatusCode::OK, &answer.whole(pieces, end))),
                Event::Failed(error) => return Err(error),
            }
            event = next(&mut events).await?;
        }
    }
}

/// Whether a connection could not be accepted because its client has gone.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Lets requests through that may ask, and answers the question of a browser whether a page may.
async fn admit(State(server): State<Arc<Server>>, request: Asked, next: Next) -> Response {
    let heads = request.headers();
    // A head that is there twice, or is not text, is none of ours.
    let only = |name: HeaderName| {
        let mut values = heads.get_all(name).iter();
        let first = values.next()?;
        Some(if values.next().is_some() { "" } else { first.to_str().unwrap_or_default() })
    };
    // Where the whole address is asked for, its host counts instead of the head.
    let host = request.uri().authority().map(|authority| authority.as_str()).or_else(|| only(header::HOST));
    let origin = match server.access.judge(host, only(header::ORIGIN)) {
        Ok(origin) => origin.and_then(|origin| HeaderValue::from_str(origin).ok()),
        Err(error) => return refusal(&error),
    };
    let Some(origin) = origin else { return next.run(request).await };
    let asked = heads.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let is_preflight = request.method() == Method::OPTIONS && heads.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let heads = response.headers_mut();
        heads.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        heads.extend(asked.map(|asked| (header::ACCESS_CONTROL_ALLOW_HEADERS, asked)));
        heads.insert(HeaderName::from_static("access-control-allow-private-network"), HeaderValue::from_static("true"));
        response
    } else {
        next.run(request).await
    };
    let heads: &mut HeaderMap = response.headers_mut();
    heads.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    heads.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    heads.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// The next event; an error stands for itself.
async fn next(events: &mut UnboundedReceiver<Event>) -> Result<Event, ApiError> {
    match events.recv().await {
        Some(Event::Failed(error)) => Err(error),
        Some(event) => Ok(event),
        None => Err(ApiError::ending()),
    }
}

/// An answer piece by piece, as server-sent events.
fn streamed(answer: Answer, first: Event, events: UnboundedReceiver<Event>) -> Response {
    let state = Some((answer, Some(first), events));
    let chunks = stream::unfold(state, async |state| {
        let (mut answer, first, mut events) = state?;
        let event = match first {
            Some(event) => Ok(event),
            None => next(&mut events).await,
        };
        let mut out = String::new();
        let state = match event {
            Ok(Event::Piece(piece)) => {
                write(&mut out, &answer.chunk(&piece));
                Some((answer, None, events))
            }
            Ok(Event::End(end)) => {
                answer.last_chunks(end).iter().for_each(|chunk| write(&mut out, chunk));
                out.push_str("data: [DONE]\n\n");
                None
            }
            Ok(Event::Failed(error)) | Err(error) => {
                write(&mut out, &error.to_json());
                None
            }
        };
        Some((Ok::<_, Infallible>(Bytes::from(out)), state))
    });
    let head = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (head, Body::from_stream(chunks)).into_response()
}

fn write(out: &mut String, data: &Value) {
    out.push_str("data: ");
    out.push_str(&data.to_string());
    out.push_str("\n\n");
}

async fn health(State(server): State<Arc<Server>>) -> Response {
    sent(StatusCode::OK, &json!({"status": "ok", "model": server.name, "requests": server.queue.taken()}))
}

async fn models(State(server): State<Arc<Server>>) -> Response {
    sent(StatusCode::OK, &json!({"object": "list", "data": [server.entry()]}))
}

async fn model(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Response {
    if name == server.name {
        sent(StatusCode::OK, &server.entry())
    } else {
        refusal(&ApiError::model(&name, &server.name))
    }
}

async fn chat(State(server): State<Arc<Server>>, request: Asked) -> Response {
    let request = body(request).await.and_then(|body| Request::chat(&body));
    server.answer(request).await.unwrap_or_else(|error| refusal(&error))
}

async fn text(State(server): State<Arc<Server>>, request: Asked) -> Response {
    let request = body(request).await.and_then(|body| Request::text(&body));
    server.answer(request).await.unwrap_or_else(|error| refusal(&error))
}

async fn body(request: Asked) -> Result<Bytes, ApiError> {
    let body = timeout(BODY, Bytes::from_request(request, &())).await.map_err(|_| ApiError::slow(BODY.as_secs()))?;
    body.map_err(|rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(MAX_BODY),
        _ => ApiError::body("the body could not be read"),
    })
}

fn refusal(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = sent(status, &error.to_json());
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn sent(status: StatusCode, body: &Value) -> Response {
    let kind: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, body.to_string()).into_response()
}

/// Seconds since 1970.
fn now() -> u64 {
    clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// What a server without a model sends to a client that says this and no more. The clock stands still while
    /// anything moves, so that time-outs take no time.
    async fn said(text: &str) -> String {
        let work: Arc<Work> = Arc::new(|_, _| Err(ApiError::internal("no model")));
        let queue = Queue::start(Lanes { parallel: 1, queue: 1, threads: 1 }, &work).unwrap();
        let (name, fingerprint, access) = ("m".to_owned(), String::new(), Access::default());
        let server = Server { queue, access, name, fingerprint, context: 8, created: 0, answers: AtomicU64::new(0) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        tokio::select! {
            () = server.serve(listener, std::future::pending()) => unreachable!("it is never told to end"),
            answer = client => answer,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn neither_a_head_nor_a_body_may_take_for_ever() {
        said("").await;
        said("GET /health HTTP/1.1\r\nHost: local").await;
        let idle = said("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
        let half = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"prompt\": \"";
        let late = said(half).await;
        assert!(late.starts_with("HTTP/1.1 408") && late.contains("within 60 s"), "{late}");
    }
}

//! The routes: HTTP to requests, events to answers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::local::answer::Answer;
use crate::local::api::{ApiError, Request};
use crate::local::generate::Engine;
use crate::local::queue::{Event, Lanes, Queue, Work};
use crate::util::clock;
use crate::util::digest::Digest;

/// Bytes of a request's body, at most.
const MAX_BODY: usize = 8 << 20;

/// Time that answers in flight have when the server is told to end.
pub const GRACE: Duration = Duration::from_secs(5);

/// A server around one model.
pub struct Server {
    queue: Queue,
    name: String,
    fingerprint: String,
    context: usize,
    created: u64,
    answers: AtomicU64,
}

impl Server {
    /// Starts the workers for an engine. The model is known by `name`.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(engine: Engine, lanes: Lanes, name: String) -> io::Result<Server> {
        let facts = &engine.loaded().facts;
        let files = serde_json::to_vec(&facts.files).map_err(io::Error::other)?;
        let fingerprint = format!("fp_{:016x}", Digest::of(&files).low64());
        let context = facts.context;
        let work: Arc<Work> = Arc::new(move |request, listener| engine.answer(request, listener));
        let queue = Queue::start(lanes, &work)?;
        Ok(Server { queue, name, fingerprint, context, created: now(), answers: AtomicU64::new(0) })
    }

    /// Serves until it is told to end; then answers in flight have [`GRACE`].
    ///
    /// # Errors
    /// When the address can no longer be listened to.
    pub async fn serve(self, listener: TcpListener, told: impl Future<Output = ()>) -> io::Result<()> {
        // A token is sent when it is there, not when a packet is full.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let (end, ended) = oneshot::channel::<()>();
        let serving = axum::serve(listener, self.router()).with_graceful_shutdown(async {
            // It is never sent: the other side is dropped.
            let _ = ended.await;
        });
        let last = async {
            told.await;
            drop(end);
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = serving.into_future() => result,
            () = last => Ok(()),
        }
    }

    fn router(self) -> Router {
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
            .with_state(Arc::new(self))
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

async fn chat(State(server): State<Arc<Server>>, body: Result<Bytes, BytesRejection>) -> Response {
    let request = read(body).and_then(|body| Request::chat(&body));
    server.answer(request).await.unwrap_or_else(|error| refusal(&error))
}

async fn text(State(server): State<Arc<Server>>, body: Result<Bytes, BytesRejection>) -> Response {
    let request = read(body).and_then(|body| Request::text(&body));
    server.answer(request).await.unwrap_or_else(|error| refusal(&error))
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
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

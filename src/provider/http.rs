//! The only transport: connections, keys and bounds. What is said over it is a dialect's matter, and how long an answer
//! may take is [`collect`](crate::provider::collect)'s.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode, Url, redirect, retry};

use crate::provider::reach::{ConnectOnly, is_reached};
use crate::provider::sse::Frame;
use crate::provider::{
    Answer, Decode, Dialect, Event, Frames, Framing, Hint, Outgoing, Provider, Refusal, Signer, filtered, out_of_files,
};
use crate::suite::spec::Structured;
use crate::types::{Failure, Request};
use crate::util::clock;
use crate::util::secret::Secret;

/// An answer that is longer, once unpacked, is refused.
const MAX_BODY: usize = 64 << 20;

/// So much of an error's body is read.
const MAX_ERROR: usize = 64 << 10;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection is kept that nothing uses. Common servers close theirs after 5 s, and a request that meets the
/// closing one is lost.
const IDLE: Duration = Duration::from_secs(4);

/// How long the end of a stream is waited for after its last event, so that the connection can be used again.
const LINGER: Duration = Duration::from_millis(50);

/// Headers that are the transport's own: a wrong one makes a request that servers wait for, or read differently.
const RESERVED: [&str; 7] =
    ["connection", "content-encoding", "content-length", "te", "trailer", "transfer-encoding", "upgrade"];

/// The connections of a candidate. Nothing is set up before it needs them. No two candidates share them: thousands that
/// one server keeps waiting would be looked through for each request to another.
///
/// Proxies are taken from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), but never for a loopback address.
/// Certificates are the system's; for `http:` addresses none are read, so an `https:` proxy cannot be used for those.
#[derive(Debug, Clone, Default)]
pub struct Http(Arc<Mutex<BTreeMap<Reach, Client>>>);

/// What a client is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reach {
    is_loopback: bool,
    is_tls: bool,
}

impl Reach {
    fn of(url: &Url) -> Reach {
        Reach { is_loopback: is_loopback_host(url), is_tls: url.scheme() == "https" }
    }
}

impl Http {
    fn client(&self, url: &Url) -> Result<Client, String> {
        let reach = Reach::of(url);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&reach) {
            return Ok(client.clone());
        }
        let client = build(reach).build().map_err(|error| no_setup(&error))?;
        clients.insert(reach, client.clone());
        Ok(client)
    }
}

fn no_setup(error: &reqwest::Error) -> String {
    format!("could not set up connections: {}", causes(error))
}

fn build(reach: Reach) -> ClientBuilder {
    // Another part of the process may have installed it before; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("evalctl/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        // Idle connections are never more than there were requests in flight.
        .pool_max_idle_per_host(usize::MAX)
        .pool_idle_timeout(IDLE)
        // A key must not follow a redirect, and an API that redirects is misconfigured.
        .redirect(redirect::Policy::none())
        .referer(false)
        // Every attempt is the engine's: one that is repeated in secret would be timed and counted as one. With no
        // retries at all, requests are not copied in advance either.
        .retry(retry::never().max_retries_per_request(0));
    if reach.is_loopback {
        builder = builder.no_proxy();
    }
    if !reach.is_tls {
        builder = builder.tls_certs_only([]);
    }
    builder
}

/// Whether an address is this machine's own: `localhost`, 127.0.0.0/8 or ::1. Such a server needs no key.
pub fn is_loopback(base_url: &str) -> bool {
    Url::parse(base_url).is_ok_and(|url| is_loopback_host(&url))
}

fn is_loopback_host(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// How a request says who sends it.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Not at all.
    None,
    /// With a key as a bearer token.
    Bearer(Secret),
    /// With a key in a header of this name.
    Header(&'static str, Secret),
    /// With a signature over the whole request.
    Amazon(Signer),
}

/// A candidate behind HTTP.
pub struct HttpProvider {
    client: Client,
    dialect: Box<dyn Dialect>,
    url: Url,
    headers: HeaderMap,
    signer: Option<Signer>,
}

impl HttpProvider {
    /// A candidate at `base_url`, asked in `dialect`, with these headers and this proof of who asks. A header of the same
    /// name takes the key's place. A query of `base_url` is kept.
    ///
    /// # Errors
    /// When the address, a header or the key cannot be used, or the system's certificates cannot be read. The message
    /// holds no value of a header and no key.
    pub fn new(
        http: &Http,
        dialect: Box<dyn Dialect>,
        base_url: &str,
        headers: &BTreeMap<String, String>,
        auth: Auth,
    ) -> Result<HttpProvider, String> {
        let mut url = Url::parse(base_url).map_err(|error| format!("`base_url` is no address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("`base_url` must begin with `http://` or `https://`".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("`base_url` holds a user or a password: name a variable with `api_key_env` instead".to_owned());
        }
        url.set_path(&format!("{}{}", url.path().trim_end_matches('/'), dialect.path()));
        if let Some(query) = dialect.query() {
            let query = url.query().map_or_else(|| query.to_owned(), |own| format!("{own}&{query}"));
            url.set_query(Some(&query));
        }
        url.set_fragment(None);
        let headers = headers_of(dialect.as_ref(), headers, &auth)?;
        let signer = match auth {
            Auth::Amazon(signer) => Some(signer),
            Auth::None | Auth::Bearer(_) | Auth::Header(..) => None,
        };
        Ok(HttpProvider { client: http.client(&url)?, dialect, url, headers, signer })
    }

    fn sign(&self, headers: &mut HeaderMap, body: &[u8]) -> Result<(), Failure> {
        let Some(signer) = &self.signer else { return Ok(()) };
        let failed = |detail| Failure::Protocol { detail };
        let kind = [(CONTENT_TYPE.as_str(), "application/json")];
        for (name, value) in signer.headers(self.url.as_str(), &kind, body, clock::wall()).map_err(failed)? {
            let odd = || failed("the signature has characters that no header may have".to_owned());
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| odd())?;
            let mut value = HeaderValue::from_str(&value).map_err(|_| odd())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(())
    }

    async fn send(&self, Outgoing { request, body }: &Outgoing<'_>) -> Result<Answer, Refusal> {
        let mut call = reqwest::Request::new(Method::POST, self.url.clone());
        *call.headers_mut() = self.headers.clone();
        self.sign(call.headers_mut(), body)?;
        *call.body_mut() = Some(body.clone().into());
        let mut response = match self.client.execute(call).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Err(self.unconnected(&error, CONNECT_WITHIN).into()),
            Err(error) => return Err(lost(error).into()),
        };
        if !response.status().is_success() {
            return self.refused(response).await;
        }
        let is_wrapped = self.dialect.manner().structured == Structured::Tool && request.output_schema.is_some();
        let hint = hint_of(response.headers(), clock::wall());
        Ok(match self.begun(&mut response).await? {
            Begun::Whole(events) => {
                let events: Vec<_> = events.into_iter().map(Ok).collect();
                Answer { events: stream::iter(events).boxed(), is_streamed: false, is_wrapped, hint }
            }
            Begun::Stream(first) => {
                let mut streamed = Box::new(Streamed {
                    response,
                    decoder: self.dialect.decoder(),
                    frames: Frames::new(self.dialect.framing()),
                    ready: VecDeque::new(),
                    failed: None,
                    received: 0,
                    is_over: false,
                });
                streamed.take(&first);
                let events = stream::unfold(streamed, |mut streamed| async move {
                    let item = streamed.next().await?;
                    Some((item, streamed))
                });
                Answer { events: events.boxed(), is_streamed: true, is_wrapped, hint }
            }
        })
    }

    /// Connects as for a request: through the same proxy, with the same certificates. The connection is closed unused.
    async fn connect(&self, within: Duration) -> Result<(), Failure> {
        let client = build(Reach::of(&self.url)).connect_timeout(within).connector_layer(ConnectOnly).build();
        let client = client.map_err(|error| Failure::Connection { detail: no_setup(&error) })?;
        match client.execute(reqwest::Request::new(Method::GET, self.url.clone())).await {
            Err(error) if !is_reached(&error) => Err(self.unconnected(&error, within)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Why there is no connection, with the address. Of the address only what is connected to: a query may hold a key.
    fn unconnected(&self, error: &reqwest::Error, within: Duration) -> Failure {
        if let Some(failure) = out_of_files(error) {
            return failure;
        }
        let address = self.url.origin().ascii_serialization();
        let detail = if error.is_timeout() {
            format!("{address}: no connection within {}", humantime::format_duration(within))
        } else {
            // The two errors around it say only that it was a request, and that it was connecting.
            let cause = std::error::Error::source(error).and_then(std::error::Error::source);
            format!("{address}: {}", cause.map_or_else(|| "no connection".to_owned(), causes))
        };
        Failure::Connection { detail }
    }

    /// Reads the beginning of a stream, or all of an answer that comes in one piece. Which it is, the service decides:
    /// some do not stream though asked to, and some do not name the kind of what they stream.
    async fn begun(&self, response: &mut Response) -> Result<Begun, Failure> {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_kind = |wanted: &str| kind.get(..wanted.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
        let is_stream = match self.dialect.framing() {
            Framing::Events => is_kind("text/event-stream"),
            // Whatever it is called: a body in one piece is one line.
            Framing::Lines => self.dialect.manner().is_streamed && !is_kind("text/html"),
            Framing::Amazon | Framing::AmazonEvents => is_kind("application/vnd.amazon.eventstream"),
        };
        if is_stream {
            return Ok(Begun::Stream(Bytes::new()));
        }
        let is_html = is_kind("text/html");
        if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
            return Err(too_long());
        }
        let first = next(response).await.map_err(lost)?.unwrap_or_default();
        if self.dialect.framing() == Framing::Events && self.dialect.manner().is_streamed && looks_streamed(&first) {
            return Ok(Begun::Stream(first));
        }
        let body = whole(response, first).await?;
        if is_html || body.trim_ascii_start().first() == Some(&b'<') {
            let detail = format!("an HTML page came instead of JSON, is `base_url` right? {}", text_of(&body));
            return Err(Failure::Protocol { detail });
        }
        if body.is_empty() {
            return Err(Failure::Protocol { detail: "the answer is empty".to_owned() });
        }
        Ok(Begun::Whole(self.dialect.decode_body(&body)?))
    }

    /// What an answer with an error status says: a failure, but for a content filter, whose refusal is an answer.
    async fn refused(&self, mut response: Response) -> Result<Answer, Refusal> {
        let status = response.status();
        let retry_after = retry_after(response.headers(), clock::wall());
        let location = response.headers().get(LOCATION).map(|place| text_of(place.as_bytes()));
        let mut body = BytesMut::new();
        // What can be had of the body is enough: the status alone says that there is no answer.
        while body.len() < MAX_ERROR
            && let Ok(Some(chunk)) = next(&mut response).await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR - body.len())]);
        }
        if let Some(events) = filtered::of_status(status.as_u16(), &body) {
            let hint = hint_of(response.headers(), clock::wall());
            let events: Vec<_> = events.into_iter().map(Ok).collect();
            return Ok(Answer { events: stream::iter(events).boxed(), is_streamed: false, is_wrapped: false, hint });
        }
        let said = self.dialect.error_message(&body).unwrap_or_else(|| text_of(&body));
        let detail = match (status.is_redirection(), location) {
            (true, Some(location)) => format!("redirected to {location}, which is not followed: is `base_url` right?"),
            _ if said.trim().is_empty() => status.canonical_reason().unwrap_or("no message").to_owned(),
            _ if body.trim_ascii_start().first() == Some(&b'<') => format!("an HTML page, is `base_url` right? {said}"),
            _ => said,
        };
        let failure = match status {
            StatusCode::TOO_MANY_REQUESTS => Failure::RateLimited { detail },
            status => Failure::Status { status: status.as_u16(), detail },
        };
        Err(Refusal { failure, retry_after })
    }
}

impl Provider for HttpProvider {
    fn encode(&self, request: &Request) -> Bytes {
        self.dialect.encode(request).0
    }

    fn open<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Answer, Refusal>> {
        self.send(outgoing).boxed()
    }

    fn reach(&self, within: Duration) -> BoxFuture<'_, Result<(), Failure>> {
        self.connect(within).boxed()
    }
}

fn headers_of(dialect: &dyn Dialect, headers: &BTreeMap<String, String>, auth: &Auth) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if dialect.manner().is_streamed {
        let accepted = match dialect.framing() {
            Framing::Events => "text/event-stream, application/json",
            Framing::Lines => "application/x-ndjson, application/json",
            Framing::Amazon | Framing::AmazonEvents => "application/vnd.amazon.eventstream, application/json",
        };
        map.insert(ACCEPT, HeaderValue::from_static(accepted));
        // What is packed on its way is held back until a block is full: that would be measured as the model's time.
        map.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    } else {
        map.insert(ACCEPT, HeaderValue::from_static("application/json"));
    }
    for (name, value) in dialect.headers() {
        let value = HeaderValue::from_str(&value).map_err(|_| format!("the header `{name}` cannot be sent"))?;
        map.insert(HeaderName::from_static(name), value);
    }
    let key = match auth {
        Auth::None | Auth::Amazon(_) => None,
        Auth::Bearer(key) => Some((AUTHORIZATION, format!("Bearer {}", key.expose()))),
        Auth::Header(name, key) => Some((HeaderName::from_static(name), key.expose().to_owned())),
    };
    if let Some((name, value)) = key {
        let mut value =
            HeaderValue::from_str(&value).map_err(|_| "the key has characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    for (name, value) in headers {
        let named = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no header name"))?;
        if RESERVED.contains(&named.as_str()) {
            return Err(format!("the header `{name}` is set by the transport"));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("the header `{name}` has characters that no header may have"))?;
        value.set_sensitive(true);
        map.insert(named, value);
    }
    Ok(map)
}

/// How an answer with a good status begins.
enum Begun {
    /// All events of an answer in one piece.
    Whole(Vec<Event>),
    /// The first bytes of a stream, which may be none.
    Stream(Bytes),
}

/// A streamed answer on its way.
struct Streamed {
    response: Response,
    decoder: Box<dyn Decode>,
    frames: Frames,
    ready: VecDeque<Event>,
    /// What ends the answer once the events before it are handed out.
    failed: Option<Failure>,
    received: usize,
    /// Whether nothing more is read.
    is_over: bool,
}

impl Streamed {
    async fn next(&mut self) -> Option<Result<Event, Failure>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if let Some(failure) = self.failed.take() {
                self.is_over = true;
                return Some(Err(failure));
            }
            if self.is_over {
                return None;
            }
            if self.decoder.is_done() {
                self.is_over = true;
                // `Event::Complete` has been handed out: what follows is not the answer's time.
                let _ = tokio::time::timeout(LINGER, self.run_out()).await;
                return None;
            }
            match next(&mut self.response).await {
                Ok(Some(chunk)) => self.take(&chunk),
                Ok(None) => self.ended(None),
                Err(error) => self.ended(Some(error)),
            }
        }
    }

    /// Takes the next bytes.
    fn take(&mut self, chunk: &[u8]) {
        let Streamed { decoder, frames, ready, failed, received, .. } = self;
        *received += chunk.len();
        if *received > MAX_BODY {
            *failed = Some(too_long());
            return;
        }
        let fed = frames.feed(chunk, |frame| match decoder.frame(frame) {
            Ok(events) => {
                ready.extend(events);
                if decoder.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
            Err(failure) => {
                *failed = Some(failure);
                ControlFlow::Break(())
            }
        });
        if let Err(detail) = fed {
            *failed = Some(Failure::Protocol { detail });
        }
        if failed.is_none() && decoder.is_done() {
            ready.push_back(Event::Complete);
        }
    }

    /// Called when no more bytes come, in order or (`error`) out of it.
    fn ended(&mut self, error: Option<reqwest::Error>) {
        self.is_over = true;
        let Some(data) = self.frames.unfinished() else {
            self.failed = self.end(error, "");
            return;
        };
        // Only the empty line behind it may be missing, or half of it: JSON tells.
        match self.decoder.frame(Frame { event: "", data: &data }) {
            Ok(events) => {
                self.ready.extend(events);
                self.failed = if self.decoder.is_done() { None } else { self.end(error, "") };
            }
            Err(failure @ Failure::Service { .. }) => self.failed = Some(failure),
            Err(_) => self.failed = self.end(error, ", in the middle of an event"),
        }
    }

    fn end(&mut self, error: Option<reqwest::Error>, place: &str) -> Option<Failure> {
        // An answer that had said why it stopped is complete, however the connection ends.
        let failure = self.decoder.end().err()?;
        Some(match (error, failure) {
            (Some(error), _) => lost(error),
            (None, Failure::Lost { detail }) => Failure::Lost { detail: format!("{detail}{place}") },
            (None, failure) => failure,
        })
    }

    /// Reads what follows the answer; nothing does, by the protocol.
    async fn run_out(&mut self) {
        let mut rest = 0;
        while rest < MAX_ERROR
            && let Ok(Some(chunk)) = next(&mut self.response).await
        {
            rest += chunk.len();
        }
    }
}

/// The next bytes of a body.
async fn next(response: &mut Response) -> reqwest::Result<Option<Bytes>> {
    loop {
        match response.chunk().await? {
            Some(chunk) if chunk.is_empty() => {}
            chunk => return Ok(chunk),
        }
    }
}

/// The rest of a body. Most answers are one chunk and are not copied.
async fn whole(response: &mut Response, first: Bytes) -> Result<Bytes, Failure> {
    let cut = |error: reqwest::Error| Failure::Cut { detail: causes(&error.without_url()) };
    let Some(second) = next(response).await.map_err(cut)? else {
        return Ok(first);
    };
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut body = BytesMut::with_capacity(announced.clamp(first.len() + second.len(), MAX_BODY));
    body.extend_from_slice(&first);
    body.extend_from_slice(&second);
    while let Some(chunk) = next(response).await.map_err(cut)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Whether bytes begin as an event stream does. JSON and HTML never do.
fn looks_streamed(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    [&b"data:"[..], b"event:", b"id:", b"retry:", b":"].iter().any(|field| bytes.starts_with(field))
}

fn too_long() -> Failure {
    Failure::Protocol { detail: format!("the answer is longer than {} MiB", MAX_BODY >> 20) }
}

fn lost(error: reqwest::Error) -> Failure {
    Failure::Lost { detail: causes(&error.without_url()) }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An error with what caused it, which is where the reason usually stands.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

/// How long a service asks to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as a date. A date counts
/// from the service's own `Date`, so that its clock need not agree with ours (`now`).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str, unit: f64| Duration::try_from_secs_f64(text.parse::<f64>().ok()? / unit).ok();
    let exact = text(&HeaderName::from_static("retry-after-ms")).and_then(|text| number(text, 1000.0));
    exact.or_else(|| {
        let text = text(&RETRY_AFTER)?;
        let Some(until) = imf_fixdate(text) else {
            return number(text, 1.0);
        };
        let theirs = headers.get(DATE).and_then(|date| imf_fixdate(date.to_str().ok()?));
        Some(until.duration_since(theirs.unwrap_or(now)).unwrap_or_default())
    })
}

/// What a service says of its limits: OpenAI's headers, which many have taken over, or Anthropic's.
fn hint_of(headers: &HeaderMap, now: SystemTime) -> Hint {
    let text = |name: String| headers.get(name)?.to_str().ok().map(|text| text.trim().to_owned());
    let limit = |what: &str| {
        let (left, reset) = text(format!("x-ratelimit-remaining-{what}"))
            .zip(text(format!("x-ratelimit-reset-{what}")))
            .or_else(|| {
                let name = |which: &str| format!("anthropic-ratelimit-{what}-{which}");
                text(name("remaining")).zip(text(name("reset")))
            })?;
        // Some write -1 where there is no limit.
        let left = left.parse::<f64>().ok().filter(|left| *left >= 0.0)?;
        Some((left as u64, span(&reset, now)?))
    };
    // Most answers have no such headers: one look tells.
    let has_any = headers.keys().any(|name| name.as_str().contains("ratelimit"));
    if has_any { Hint { requests: limit("requests"), tokens: limit("tokens") } } else { Hint::default() }
}

/// `1.5` seconds, `6m0.2s`, `120ms`, or an instant.
fn span(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    if let Ok(until) = humantime::parse_rfc3339_weak(text) {
        return Some(until.duration_since(now).unwrap_or_default());
    }
    if text.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let seconds = match &rest[digits..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7), by way of RFC 3339.
fn imf_fixdate(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next() != Some("GMT") || parts.next().is_some() {
        return None;
    }
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day:0>2}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Manner, OpenAiChat};
    use crate::suite::spec::MaxTokensField;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn chat(is_streamed: bool) -> OpenAiChat {
        let manner = Manner { model: "m".to_owned(), is_streamed, structured: Structured::Off };
        OpenAiChat { manner, max_tokens_field: MaxTokensField::MaxTokens }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs =
            pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        pairs.collect()
    }

    #[test]
    fn a_service_says_how_long_to_wait_in_three_ways() {
        let wait = |pairs: &[(&'static str, &str)]| retry_after(&headers(pairs), NOW);
        assert_eq!(wait(&[("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(wait(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
        let both = [("retry-after", "2"), ("retry-after-ms", "150.5")];
        assert_eq!(wait(&both), Some(Duration::from_micros(150_500)));
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[date]), Some(Duration::from_secs(784_111_777)), "RFC 9110's example");
        assert_eq!(wait(&[date, ("date", "Sun, 06 Nov 1994 08:49:07 GMT")]), Some(Duration::from_secs(30)));
        assert_eq!(wait(&[date, ("date", "Sun, 06 Nov 1994 09:00:00 GMT")]), Some(Duration::ZERO));
        for rubbish in ["-1", "soon", "NaN", "inf", "", "1e300", "Sun, 06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(wait(&[("retry-after", rubbish)]), None, "{rubbish}");
        }
        assert_eq!(wait(&[("retry-after", "3"), ("retry-after-ms", "x")]), Some(Duration::from_secs(3)));
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn limits_are_read_in_every_form() {
        let of = |reset: &str| {
            let named = [("x-ratelimit-remaining-requests", "3"), ("x-ratelimit-reset-requests", reset)];
            hint_of(&headers(&named), NOW).requests
        };
        assert_eq!(of("1.5"), Some((3, Duration::from_millis(1500))));
        assert_eq!(of("6m0.5s"), Some((3, Duration::from_millis(360_500))));
        assert_eq!(of("120ms"), Some((3, Duration::from_millis(120))));
        assert_eq!(of("1970-01-01T00:00:07Z"), Some((3, Duration::from_secs(7))));
        for rubbish in ["soon", "", "-1", "1x", "s", "NaN"] {
            assert_eq!(of(rubbish), None, "{rubbish}");
        }
        let theirs = [
            ("anthropic-ratelimit-tokens-remaining", "40"),
            ("anthropic-ratelimit-tokens-reset", "1970-01-01T00:01:00Z"),
        ];
        let hint = Hint { requests: None, tokens: Some((40, Duration::from_secs(60))) };
        assert_eq!(hint_of(&headers(&theirs), NOW), hint);
        assert_eq!(hint_of(&headers(&[("retry-after", "1")]), NOW), Hint::default());
    }

    #[test]
    fn loopback_addresses_are_known() {
        let own = ["http://localhost:8000/v1", "http://127.1.2.3", "http://[::1]:1/v1", "https://api.localhost/"];
        assert!(own.iter().all(|url| is_loopback(url)));
        let others = ["https://api.openai.com/v1", "http://localhost.example", "http://10.0.0.1", "http://[::2]", "x"];
        assert!(!others.iter().any(|url| is_loopback(url)));
    }

    #[test]
    fn streams_are_told_from_bodies() {
        assert!(looks_streamed(b"data: {}") && looks_streamed(b"\n: hello\n\n") && looks_streamed(b"event: x"));
        assert!(!looks_streamed(b"{\"data\": 1}") && !looks_streamed(b"<html>") && !looks_streamed(b""));
    }

    #[test]
    fn headers_of_the_transport_and_broken_ones_are_refused_without_their_values() {
        let refused = |name: &str, value: &str| {
            headers_of(&chat(true), &BTreeMap::from([(name.to_owned(), value.to_owned())]), &Auth::None).unwrap_err()
        };
        assert_eq!(refused("Content-Length", "1"), "the header `Content-Length` is set by the transport");
        assert_eq!(refused("a b", "secret-value"), "`a b` is no header name");
        assert_eq!(refused("x-a", "secret\nvalue"), "the header `x-a` has characters that no header may have");
        let broken = headers_of(&chat(true), &BTreeMap::new(), &Auth::Bearer(Secret::new("sk-\n1"))).unwrap_err();
        assert_eq!(broken, "the key has characters that no header may have");
        let own = BTreeMap::from([("Authorization".to_owned(), "Basic abc".to_owned())]);
        let map = headers_of(&chat(false), &own, &Auth::Bearer(Secret::new("sk-1"))).unwrap();
        assert_eq!(map.get_all(AUTHORIZATION).iter().count(), 1);
        assert!(!format!("{map:?}").contains("abc"), "values are not shown");
    }
}

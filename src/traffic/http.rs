//! A request over HTTP and its answer, as recorders keep them: which of them ask a model, and what they say. Pure.

use serde_json::Value;

use crate::traffic::answer;
use crate::traffic::draft::{Draft, Found};
use crate::traffic::ledger::{Mark, Reason};

/// What was answered.
#[derive(Debug, Default)]
pub struct Answered<'a> {
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
    /// Whether the log has only a part of it.
    pub is_cut: bool,
}

/// An exchange over HTTP. Headers are not taken: keys stand in them. Nor is what stands behind `?` in the address.
pub fn call(mut draft: Draft, method: &str, target: &str, body: &[u8], answered: Option<Answered<'_>>) -> Found {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let is_other = ["/embeddings", "/moderations", "/images", "/audio", "/count_tokens", "/rerank", "embedContent"];
    if !method.eq_ignore_ascii_case("POST") || is_other.iter().any(|other| path.contains(other)) {
        return Found::Not(Reason::OtherCall);
    }
    let body = match serde_json::from_slice::<Value>(body) {
        Ok(body) => body,
        Err(error) => return Found::Not(if error.is_eof() { Reason::NoBody } else { Reason::OtherCall }),
    };
    if !draft.request(&body) {
        return Found::Not(Reason::OtherCall);
    }
    draft.exchange.body = Some(body);
    draft.model(model_in(path).map(Value::from).as_ref());
    if path.contains("streamGenerateContent") || path.contains("converse-stream") {
        draft.exchange.is_streamed = Some(true);
    }
    let Some(Answered { status, body, is_cut }) = answered else { return draft.found() };
    draft.exchange.status = Some(status).filter(|status| *status > 0);
    if answer::is_stream(body) {
        draft.exchange.is_streamed = Some(true);
    }
    if is_cut {
        draft.marks.push(Mark::CutBody);
    }
    draft.outcome(answer::of_status(status, body).or_else(|| answer::of_bytes(body)));
    draft.marks.dedup();
    draft.found()
}

/// The model, where the address names it and the body does not.
fn model_in(path: &str) -> Option<String> {
    for before in ["/models/", "/deployments/", "/model/"] {
        if let Some((_, rest)) = path.split_once(before) {
            let name = rest.split(['/', ':']).next().unwrap_or_default();
            return Some(name.to_owned()).filter(|name| !name.is_empty());
        }
    }
    None
}

//! OpenAI's Batch API: files of requests and of answers, joined by `custom_id`. There is no arrival time in either.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::traffic::answer;
use crate::traffic::draft::{Draft, Found, Importer, first, word};
use crate::traffic::ledger::Reason;
use crate::traffic::read::Piece;
use crate::types::Failure;

/// Bytes of rows that wait for their other half. A batch has 200 MB at most, by the service's own limit.
const WAITING: usize = 512 << 20;

/// Requests and answers, in whatever order the files come.
#[derive(Default)]
pub struct Batch {
    /// Requests whose answers have not come, in their order.
    asked: Vec<Option<(String, Vec<u8>)>>,
    /// Where they are; `None` of ids that several have, as ids are a batch's own.
    place: HashMap<String, Option<usize>>,
    /// Answers whose requests have not come; `None` where there were several.
    answered: HashMap<String, Option<Vec<u8>>>,
    bytes: usize,
}

impl Importer for Batch {
    fn take(&mut self, piece: Piece, out: &mut Vec<Found>) {
        let row = match piece {
            Piece::Bad(reason) => return out.push(Found::Not(reason)),
            Piece::Json(Value::Object(row)) => row,
            Piece::Json(_) | Piece::Block(_) => return out.push(Found::Not(Reason::OtherKind)),
        };
        let Some(id) = word(&row, &["custom_id"]) else { return out.push(Found::Not(Reason::OtherKind)) };
        let bytes = serde_json::to_vec(&row).unwrap_or_default();
        let is_answer = row.contains_key("response") || row.contains_key("error");
        let is_request = row.contains_key("body") || row.contains_key("params");
        match (is_answer, is_request) {
            (true, _) => self.answer(id, &row, bytes, out),
            (false, true) => self.request(id, bytes, out),
            (false, false) => out.push(Found::Not(Reason::OtherKind)),
        }
    }

    fn end(&mut self, is_last: bool, out: &mut Vec<Found>) {
        if is_last {
            self.give_up(out);
        }
    }

    fn joins(&self) -> bool {
        true
    }
}

impl Batch {
    fn answer(&mut self, id: String, row: &Map<String, Value>, bytes: Vec<u8>, out: &mut Vec<Found>) {
        match self.place.get(&id).copied() {
            Some(Some(place)) => {
                self.place.remove(&id);
                let Some((id, request)) = self.asked[place].take() else { return };
                self.bytes = self.bytes.saturating_sub(request.len());
                out.push(Found::Not(Reason::Joined));
                out.push(joined(id, &request, Some(row)));
            }
            Some(None) => out.push(Found::Not(Reason::Ambiguous)),
            None => match self.answered.get_mut(&id) {
                Some(known) => {
                    let before = known.take();
                    self.bytes -= before.as_ref().map_or(0, Vec::len);
                    out.extend(before.map(|_| Found::Not(Reason::Ambiguous)));
                    out.push(Found::Not(Reason::Ambiguous));
                }
                None => self.wait(bytes.len(), out, |batch| {
                    batch.answered.insert(id, Some(bytes));
                }),
            },
        }
    }

    fn request(&mut self, id: String, bytes: Vec<u8>, out: &mut Vec<Found>) {
        match self.answered.get_mut(&id).map(Option::take) {
            Some(Some(answer)) => {
                self.answered.remove(&id);
                self.bytes = self.bytes.saturating_sub(answer.len());
                let answer = serde_json::from_slice(&answer).ok();
                out.push(Found::Not(Reason::Joined));
                out.push(joined(id, &bytes, answer.as_ref()));
            }
            // Which of the answers is its own, nobody can tell.
            Some(None) => out.push(joined(id, &bytes, None)),
            None => self.wait(bytes.len(), out, |batch| {
                let place = batch.asked.len();
                batch.place.entry(id.clone()).and_modify(|place| *place = None).or_insert(Some(place));
                batch.asked.push(Some((id, bytes)));
            }),
        }
    }

    fn wait(&mut self, bytes: usize, out: &mut Vec<Found>, put: impl FnOnce(&mut Batch)) {
        if self.bytes + bytes > WAITING {
            self.give_up(out);
        }
        self.bytes += bytes;
        put(self);
    }

    /// Tells all that wait, as they are.
    fn give_up(&mut self, out: &mut Vec<Found>) {
        for (id, request) in self.asked.drain(..).flatten() {
            out.push(joined(id, &request, None));
        }
        out.extend(self.answered.drain().filter_map(|(_, answer)| answer).map(|_| Found::Not(Reason::NoBody)));
        self.place.clear();
        self.bytes = 0;
    }
}

fn joined(id: String, request: &[u8], answer: Option<&Map<String, Value>>) -> Found {
    let request: Map<String, Value> = serde_json::from_slice(request).unwrap_or_default();
    // Anthropic's batches have `params` where OpenAI's have `body`.
    let Some(body) = first(&request, &["body", "params"]) else { return Found::Not(Reason::NoBody) };
    let mut draft = Draft::default();
    let is_other =
        word(&request, &["url"]).is_some_and(|url| url.contains("embeddings") || url.contains("moderations"));
    if is_other {
        return Found::Not(Reason::OtherCall);
    }
    if !draft.request(body) {
        return Found::Not(Reason::NoBody);
    }
    draft.exchange.body = Some(body.clone());
    draft.exchange.id = id;
    let Some(answer) = answer else { return draft.found() };
    draft.tag("batch_request", answer.get("id"));
    match (
        answer.get("response").filter(|value| !value.is_null()),
        answer.get("error").filter(|value| !value.is_null()),
    ) {
        (Some(response), _) => {
            let body = response.get("body").cloned().unwrap_or_default();
            let status = response.get("status_code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
            draft.exchange.status = status;
            let by_status = status.and_then(|status| answer::of_status(status, body.to_string().as_bytes()));
            draft.outcome(by_status.or_else(|| answer::of_value(&body)));
        }
        (None, Some(error)) => draft.outcome(Some(Err(Failure::Service { detail: answer::message_of(error) }))),
        (None, None) => {}
    }
    draft.found()
}

//! HTTP archives (HAR 1.2, <http://www.softwareishard.com/blog/har-12-spec/>), as browsers and proxies save them.

use serde_json::Value;

use crate::traffic::draft::{Draft, Found, Importer};
use crate::traffic::http::{self, Answered};
use crate::traffic::ledger::Reason;
use crate::traffic::read::Piece;
use crate::traffic::time::{self, Zone};
use crate::util::base64;

/// Archives, or their entries one by one.
pub struct Har {
    /// Of stamps without one.
    pub zone: Zone,
}

impl Importer for Har {
    fn take(&mut self, piece: Piece, out: &mut Vec<Found>) {
        let value = match piece {
            Piece::Bad(reason) => return out.push(Found::Not(reason)),
            Piece::Json(value) => value,
            Piece::Block(_) => return out.push(Found::Not(Reason::OtherKind)),
        };
        match value.pointer("/log/entries").and_then(Value::as_array) {
            None if value.get("startedDateTime").is_some() => out.push(self.entry(&value, 0)),
            None => out.push(Found::Not(Reason::OtherKind)),
            Some(entries) => {
                out.extend(entries.iter().enumerate().map(|(index, entry)| self.entry(entry, index as u64 + 1)));
            }
        }
    }
}

impl Har {
    fn entry(&self, entry: &Value, row: u64) -> Found {
        let word = |place: &str| entry.pointer(place).and_then(Value::as_str).unwrap_or_default();
        let mut draft = Draft::default();
        draft.exchange.source.row = row;
        draft.arrived = entry.get("startedDateTime").and_then(|value| time::stamp(value, self.zone));
        draft.exchange.latency = entry.get("time").and_then(time::ms);
        // `timings.wait` ends with the first byte of the headers, which is not the first token.
        let content = word("/response/content/text");
        let decoded = (word("/response/content/encoding") == "base64").then(|| base64::decode(content)).flatten();
        let body = decoded.as_deref().unwrap_or(content.as_bytes());
        let size = entry.pointer("/response/content/size").and_then(Value::as_u64).unwrap_or(0);
        let status = entry.pointer("/response/status").and_then(Value::as_u64).and_then(|s| u16::try_from(s).ok());
        // Browsers drop bodies that they do not need any more.
        let is_cut = !body.is_empty() && size > body.len() as u64;
        let answered = Answered { status: status.unwrap_or(0), body, is_cut };
        http::call(
            draft,
            word("/request/method"),
            word("/request/url"),
            word("/request/postData/text").as_bytes(),
            Some(answered),
        )
    }
}

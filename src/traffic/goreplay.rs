//! GoReplay's files (`.gor`): blocks of a head line (kind, id, nanoseconds since the epoch, and for answers how long they
//! took) and the bytes of an HTTP message. Answers are joined to their requests by the id.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use memchr::memmem;

use crate::traffic::draft::{Draft, Found, Importer};
use crate::traffic::http::{self, Answered};
use crate::traffic::ledger::Reason;
use crate::traffic::read::Piece;
use crate::traffic::time::{self, Stamp, Zone};

/// Bytes of requests that wait for their answers; then the oldest are told without one.
const WAITING: usize = 64 << 20;

/// The most that a compressed body may become.
const INFLATED: u64 = 64 << 20;

/// Requests and answers.
#[derive(Default)]
pub struct GoReplay {
    /// Requests that wait, in their order; those that were answered are `None`.
    waiting: std::collections::VecDeque<Option<Asked>>,
    place: HashMap<String, u64>,
    /// Number of the first one that waits.
    first: u64,
    bytes: usize,
}

struct Asked {
    id: String,
    arrived: Option<Stamp>,
    message: Message,
}

/// An HTTP message.
struct Message {
    start: String,
    body: Vec<u8>,
    is_cut: bool,
}

impl Importer for GoReplay {
    fn take(&mut self, piece: Piece, out: &mut Vec<Found>) {
        let block = match piece {
            Piece::Bad(reason) => return out.push(Found::Not(reason)),
            Piece::Json(_) => return out.push(Found::Not(Reason::OtherKind)),
            Piece::Block(block) => block,
        };
        let end = memchr::memchr(b'\n', &block).unwrap_or(block.len());
        let head = String::from_utf8_lossy(&block[..end]).into_owned();
        let mut words = head.split(' ');
        let (Some(kind), Some(id), Some(stamp)) = (words.next(), words.next(), words.next()) else {
            return out.push(Found::Not(Reason::OtherKind));
        };
        let Some(message) = message(block.get(end + 1..).unwrap_or_default()) else {
            return out.push(Found::Not(if kind.len() == 1 { Reason::CutOff } else { Reason::OtherKind }));
        };
        let stamp = time::parse(stamp, Zone::default());
        match kind {
            "1" => {
                self.bytes += message.body.len() + 256;
                self.place.insert(id.to_owned(), self.first + self.waiting.len() as u64);
                self.waiting.push_back(Some(Asked { id: id.to_owned(), arrived: stamp, message }));
                while self.bytes > WAITING && self.oldest(out) {}
            }
            "2" => {
                let took = words.next().and_then(|took| took.trim().parse::<u64>().ok()).filter(|took| *took > 0);
                self.answered(id, stamp, took.map(Duration::from_nanos), &message, out);
            }
            // What a replay was answered is no traffic.
            "3" => out.push(Found::Not(Reason::OtherCall)),
            _ => out.push(Found::Not(Reason::OtherKind)),
        }
    }

    /// A recorder begins a new file in the middle of the traffic: answers may stand in the next one.
    fn end(&mut self, is_last: bool, out: &mut Vec<Found>) {
        while is_last && self.oldest(out) {}
    }

    fn joins(&self) -> bool {
        true
    }
}

impl GoReplay {
    /// Tells the oldest request, without an answer; false when there is none.
    fn oldest(&mut self, out: &mut Vec<Found>) -> bool {
        let Some(asked) = self.waiting.pop_front() else { return false };
        self.first += 1;
        if let Some(asked) = asked {
            self.place.remove(&asked.id);
            out.push(self.tell(asked, None, None));
        }
        true
    }

    fn answered(
        &mut self,
        id: &str,
        at: Option<Stamp>,
        took: Option<Duration>,
        answer: &Message,
        out: &mut Vec<Found>,
    ) {
        let place = self.place.remove(id).and_then(|place| usize::try_from(place.checked_sub(self.first)?).ok());
        let Some(asked) = place.and_then(|place| self.waiting.get_mut(place)?.take()) else {
            return out.push(Found::Not(Reason::NoBody));
        };
        // The stamp of an answer is when its request began, where its head says how long it took.
        let took = took.or_else(|| asked.arrived.and_then(|start| start.until(&at?)));
        out.push(Found::Not(Reason::Joined));
        out.push(self.tell(asked, took, Some(answer)));
        while matches!(self.waiting.front(), Some(None)) {
            self.waiting.pop_front();
            self.first += 1;
        }
    }

    fn tell(&mut self, asked: Asked, took: Option<Duration>, answer: Option<&Message>) -> Found {
        self.bytes = self.bytes.saturating_sub(asked.message.body.len() + 256);
        let mut words = asked.message.start.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut draft = Draft { arrived: asked.arrived, ..Draft::default() };
        draft.exchange.id = asked.id;
        draft.exchange.latency = took;
        let answered = answer.map(|answer| Answered {
            status: answer.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
            body: &answer.body,
            is_cut: answer.is_cut,
        });
        http::call(draft, method, target, &asked.message.body, answered)
    }
}

/// The first line and the body of an HTTP message; chunks are put together and compression undone. `None` when it has no
/// end of its headers.
fn message(bytes: &[u8]) -> Option<Message> {
    let end = memmem::find(bytes, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let start = lines.next()?.to_owned();
    let header = |name: &str| {
        let own = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        own.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
    };
    let mut body = bytes[end + 4..].to_vec();
    let mut is_cut = false;
    if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        (body, is_cut) = unchunked(&body);
    } else if let Some(length) = header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        is_cut = body.len() < length;
        body.truncate(length);
    }
    if header("content-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("gzip")) {
        let mut plain = Vec::new();
        let read = flate2::read::MultiGzDecoder::new(body.as_slice()).take(INFLATED).read_to_end(&mut plain);
        is_cut |= read.is_err() || plain.len() as u64 == INFLATED;
        body = plain;
    }
    Some(Message { start, body, is_cut })
}

/// A body that was sent in chunks (RFC 9112, section 7.1), and whether its end is missing. GoReplay puts some together by
/// itself and leaves the header: what does not begin with a size is taken as it is.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let whole = bytes;
    let mut body = Vec::new();
    loop {
        let line = memmem::find(bytes, b"\r\n").and_then(|end| Some((std::str::from_utf8(&bytes[..end]).ok()?, end)));
        let size = line.and_then(|(line, end)| {
            let digits = line.split(';').next().unwrap_or_default().trim();
            Some((usize::from_str_radix(digits, 16).ok()?, end + 2))
        });
        match size {
            None if body.is_empty() => return (whole.to_vec(), false),
            None => return (body, true),
            Some((0, _)) => return (body, false),
            Some((size, start)) => {
                let Some(end) = start.checked_add(size).filter(|end| *end <= bytes.len()) else {
                    body.extend_from_slice(&bytes[start..]);
                    return (body, true);
                };
                body.extend_from_slice(&bytes[start..end]);
                bytes = bytes.get(end + 2..).unwrap_or_default();
            }
        }
    }
}

//! Amazon's binary event stream: bytes in any pieces to messages, after the published description of
//! `application/vnd.amazon.eventstream`. Pure.
//!
//! A message is a prelude (its length, the length of its headers, their CRC-32), headers, a payload, and the CRC-32 of
//! all before it; numbers are big-endian.

use std::ops::ControlFlow;

use crate::provider::sse::LONGEST;

/// Bytes before the headers, and after the payload.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Why bytes are no event stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event stream is damaged: {0}")]
pub struct Damaged(&'static str);

/// Takes the bytes of one stream, however they are split.
#[derive(Debug, Default)]
pub struct Parser {
    bytes: Vec<u8>,
}

/// The headers that matter: which kind of message it is, and of which type.
#[derive(Debug, Default)]
struct Headers {
    message_type: String,
    event_type: String,
    exception_type: String,
    error_code: String,
}

impl Parser {
    /// Takes the next bytes and hands on every message that they complete: its event type (or that of its exception) and
    /// its payload. When `take` breaks off, the rest is dropped.
    ///
    /// # Errors
    /// When a length or a checksum is wrong; the stream cannot be read on.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&str, &[u8]) -> ControlFlow<()>) -> Result<(), Damaged> {
        self.bytes.extend_from_slice(bytes);
        let mut read = 0;
        loop {
            let rest = &self.bytes[read..];
            let Some(prelude) = rest.first_chunk::<PRELUDE>() else { break };
            let (length, headers) = lengths(prelude)?;
            if rest.len() < length {
                break;
            }
            let (message, checksum) = rest[..length].split_at(length - CHECKSUM);
            if checksum != crc32fast::hash(message).to_be_bytes() {
                return Err(Damaged("a message has another checksum than it says"));
            }
            let (headers, payload) = message[PRELUDE..].split_at(headers);
            let headers = read_headers(headers)?;
            let event = match headers.message_type.as_str() {
                "exception" => &headers.exception_type,
                "error" => &headers.error_code,
                _ => &headers.event_type,
            };
            read += length;
            if take(event, payload).is_break() {
                break;
            }
        }
        self.bytes.drain(..read);
        Ok(())
    }
}

/// The lengths of a message and of its headers.
fn lengths(prelude: &[u8; PRELUDE]) -> Result<(usize, usize), Damaged> {
    let number = |at: usize| u32::from_be_bytes([prelude[at], prelude[at + 1], prelude[at + 2], prelude[at + 3]]);
    if crc32fast::hash(&prelude[..8]) != number(8) {
        return Err(Damaged("a message's prelude has another checksum than it says"));
    }
    let (length, headers) = (number(0) as usize, number(4) as usize);
    if length > LONGEST {
        return Err(Damaged("a message is too long"));
    }
    if length < PRELUDE + CHECKSUM || headers > length - PRELUDE - CHECKSUM {
        return Err(Damaged("a message is shorter than its headers"));
    }
    Ok((length, headers))
}

fn read_headers(mut bytes: &[u8]) -> Result<Headers, Damaged> {
    const CUT: Damaged = Damaged("a header is cut off");
    let mut headers = Headers::default();
    while let Some((&length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(length.into()).ok_or(CUT)?;
        let (&kind, rest) = rest.split_first().ok_or(CUT)?;
        let (size, rest) = match kind {
            // Booleans, then whole numbers of 1, 2, 4 and 8 bytes, a time, a UUID; texts and bytes carry their length.
            0 | 1 => (0, rest),
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            5 | 8 => (8, rest),
            9 => (16, rest),
            6 | 7 => {
                let (size, rest) = rest.split_at_checked(2).ok_or(CUT)?;
                (usize::from(u16::from_be_bytes([size[0], size[1]])), rest)
            }
            _ => return Err(Damaged("a header is of an unknown type")),
        };
        let (value, rest) = rest.split_at_checked(size).ok_or(CUT)?;
        let value = || String::from_utf8_lossy(value).into_owned();
        match name {
            b":message-type" => headers.message_type = value(),
            b":event-type" => headers.event_type = value(),
            b":exception-type" => headers.exception_type = value(),
            b":error-code" => headers.error_code = value(),
            _ => {}
        }
        bytes = rest;
    }
    Ok(headers)
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message with text headers.
    pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut head = Vec::new();
        for (name, value) in headers {
            head.push(name.len() as u8);
            head.extend_from_slice(name.as_bytes());
            head.push(7);
            head.extend_from_slice(&(value.len() as u16).to_be_bytes());
            head.extend_from_slice(value.as_bytes());
        }
        let mut out = Vec::new();
        out.extend_from_slice(&((PRELUDE + head.len() + payload.len() + CHECKSUM) as u32).to_be_bytes());
        out.extend_from_slice(&(head.len() as u32).to_be_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<(String, String)>, Damaged> {
        let mut parser = Parser::default();
        let mut frames = Vec::new();
        for piece in pieces {
            parser.feed(piece, |event, payload| {
                frames.push((event.to_owned(), String::from_utf8_lossy(payload).into_owned()));
                ControlFlow::Continue(())
            })?;
        }
        Ok(frames)
    }

    fn stream() -> Vec<u8> {
        let mut bytes = message(&[(":message-type", "event"), (":event-type", "first")], b"{}");
        bytes.extend(message(&[(":exception-type", "throttled"), (":message-type", "exception")], b"{\"message\":1}"));
        bytes
    }

    #[test]
    fn messages_come_out_however_the_bytes_are_split() {
        let bytes = stream();
        let wanted = vec![("first".into(), "{}".into()), ("throttled".into(), "{\"message\":1}".into())];
        assert_eq!(read(&[&bytes]), Ok(wanted.clone()));
        for at in 0..bytes.len() {
            assert_eq!(read(&[&bytes[..at], &bytes[at..]]), Ok(wanted.clone()));
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), Ok(wanted));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let bytes = stream();
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x10;
            let found = read(&[&broken]);
            assert!(found.is_err() || found.as_ref().is_ok_and(|frames| frames.len() < 2), "{at}: {found:?}");
        }
    }

    #[test]
    fn lengths_take_no_memory() {
        let mut huge = u32::MAX.to_be_bytes().to_vec();
        huge.extend_from_slice(&4_u32.to_be_bytes());
        huge.extend_from_slice(&crc32fast::hash(&huge).to_be_bytes());
        assert_eq!(read(&[&huge]), Err(Damaged("a message is too long")));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&[&bytes]);
            let _ = read_headers(&bytes);
        }
    }
}

//! How a stream is cut into frames. Pure.

use std::ops::ControlFlow;

use crate::provider::sse::{self, Frame, LONGEST};
use crate::provider::{Framing, event_stream};

/// Takes the bytes of one stream, however they are split, and gives its frames.
#[derive(Debug)]
pub enum Frames {
    /// Server-sent events.
    Events(sse::Parser),
    /// One JSON value a line.
    Lines(Vec<u8>),
    /// Amazon's messages.
    Amazon(event_stream::Parser),
    /// Server-sent events in the payloads of Amazon's messages.
    AmazonEvents(event_stream::Parser, sse::Parser),
}

impl Frames {
    /// For a stream cut in this way.
    pub fn new(framing: Framing) -> Frames {
        match framing {
            Framing::Events => Frames::Events(sse::Parser::default()),
            Framing::Lines => Frames::Lines(Vec::new()),
            Framing::Amazon => Frames::Amazon(event_stream::Parser::default()),
            Framing::AmazonEvents => Frames::AmazonEvents(event_stream::Parser::default(), sse::Parser::default()),
        }
    }

    /// Takes the next bytes and hands on every frame that they complete. When `take` breaks off, the rest is dropped.
    ///
    /// # Errors
    /// When the stream cannot be read on, in words.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Frame<'_>) -> ControlFlow<()>) -> Result<(), String> {
        match self {
            Frames::Events(parser) => parser.feed(bytes, take).map_err(|error| error.to_string()),
            Frames::Lines(begun) => lines(begun, bytes, take),
            Frames::Amazon(parser) => {
                let fed =
                    parser.feed(bytes, |event, payload| take(Frame { event, data: &String::from_utf8_lossy(payload) }));
                fed.map_err(|error| error.to_string())
            }
            Frames::AmazonEvents(outer, inner) => {
                let mut failed = None;
                let fed = outer.feed(bytes, |event, payload| {
                    if event != "PayloadPart" {
                        return take(Frame { event, data: &String::from_utf8_lossy(payload) });
                    }
                    let mut flow = ControlFlow::Continue(());
                    let fed = inner.feed(payload, |frame| {
                        flow = take(frame);
                        flow
                    });
                    if let Err(error) = fed {
                        failed = Some(error.to_string());
                        return ControlFlow::Break(());
                    }
                    flow
                });
                fed.map_err(|error| error.to_string())?;
                failed.map_or(Ok(()), Err)
            }
        }
    }

    /// Called when the bytes end: the data of a frame that was begun and not closed, if there is one that may be whole.
    pub fn unfinished(&mut self) -> Option<String> {
        match self {
            Frames::Events(parser) | Frames::AmazonEvents(_, parser) => parser.unfinished(),
            Frames::Lines(begun) => {
                let line = String::from_utf8_lossy(&std::mem::take(begun)).into_owned();
                (!line.trim().is_empty()).then_some(line)
            }
            // Its messages carry their length: what is not whole is cut.
            Frames::Amazon(_) => None,
        }
    }
}

fn lines(
    begun: &mut Vec<u8>,
    mut bytes: &[u8],
    mut take: impl FnMut(Frame<'_>) -> ControlFlow<()>,
) -> Result<(), String> {
    while let Some(end) = memchr::memchr(b'\n', bytes) {
        begun.extend_from_slice(&bytes[..end]);
        bytes = &bytes[end + 1..];
        let line = String::from_utf8_lossy(begun).into_owned();
        begun.clear();
        if !line.trim().is_empty() && take(Frame { event: "", data: &line }).is_break() {
            return Ok(());
        }
    }
    begun.extend_from_slice(bytes);
    if begun.len() > LONGEST {
        return Err(format!("a line is longer than {} MiB", LONGEST >> 20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::event_stream::tests::message;

    fn read(framing: Framing, bytes: &[u8], size: usize) -> (Vec<String>, Option<String>) {
        let mut frames = Frames::new(framing);
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            let fed = frames.feed(piece, |frame| {
                found.push(format!("{}|{}", frame.event, frame.data));
                ControlFlow::Continue(())
            });
            fed.unwrap();
        }
        (found, frames.unfinished())
    }

    #[test]
    fn lines_are_frames_whether_the_last_is_closed_or_not() {
        for size in [1, 3, 100] {
            let (found, rest) = read(Framing::Lines, "{\"a\":\"é\"}\r\n\n{\"b\":2}".as_bytes(), size);
            assert_eq!((found, rest.as_deref()), (vec!["|{\"a\":\"é\"}\r".to_owned()], Some("{\"b\":2}")));
        }
    }

    #[test]
    fn events_inside_amazons_messages() {
        let part = |text: &[u8]| message(&[(":message-type", "event"), (":event-type", "PayloadPart")], text);
        let text = "data: {\"a\":\"é\"}\n\ndata: x\n\n".as_bytes();
        // A piece may end in the middle of a character.
        let mut bytes = part(&text[..13]);
        bytes.extend(part(&text[13..]));
        bytes.extend(message(&[(":message-type", "exception"), (":exception-type", "ModelStreamError")], b"{}"));
        for size in [1, 7, 1000] {
            let (found, rest) = read(Framing::AmazonEvents, &bytes, size);
            assert_eq!(found, ["|{\"a\":\"é\"}", "|x", "ModelStreamError|{}"]);
            assert_eq!(rest, None);
        }
    }
}

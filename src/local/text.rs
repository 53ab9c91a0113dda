//! From tokens to text that may be sent: whole characters only, and nothing that could still become a stop text. Pure.

use std::collections::VecDeque;

/// A token of an answer with what is told about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Its bytes; they need not be whole characters.
    pub bytes: Vec<u8>,
    /// Its log-probability.
    pub logprob: f64,
    /// The likeliest tokens in its place, by their bytes.
    pub top: Vec<(Vec<u8>, f64)>,
}

/// Text that may be sent, and the tokens that it ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Its tokens, where log-probabilities were asked for.
    pub tokens: Vec<Said>,
}

impl Piece {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tokens.is_empty()
    }
}

/// The text of one answer as it grows.
#[derive(Debug, Default)]
pub struct Text {
    stops: Vec<String>,
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// Characters that have not been sent.
    held: String,
    /// How many bytes of text have been sent.
    sent: usize,
    /// Tokens that have not been sent, each with the place in the text where it begins.
    tokens: VecDeque<(usize, Said)>,
    is_stopped: bool,
}

impl Text {
    /// An empty text that ends before any of these.
    pub fn new(stops: Vec<String>) -> Text {
        Text { stops, ..Text::default() }
    }

    /// Whether a stop text has come; nothing is added after it.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Adds a token's bytes, and the token itself when it is to be told about; gives what may be sent now.
    pub fn push(&mut self, bytes: &[u8], said: Option<Said>) -> Piece {
        if self.is_stopped {
            return Piece::default();
        }
        if let Some(said) = said {
            self.tokens.push_back((self.sent + self.held.len(), said));
        }
        self.bytes.extend_from_slice(bytes);
        self.take_characters(false);
        let keep = match self.first_stop() {
            Some(at) => {
                self.is_stopped = true;
                self.held.truncate(at);
                0
            }
            None => self.could_stop(),
        };
        self.send(self.held.len() - keep)
    }

    /// What is left when no more tokens come. Bytes that are no character become U+FFFD.
    pub fn finish(&mut self) -> Piece {
        if !self.is_stopped {
            self.take_characters(true);
        }
        self.bytes.clear();
        let mut piece = self.send(self.held.len());
        if !self.is_stopped {
            piece.tokens.extend(self.tokens.drain(..).map(|(_, said)| said));
        }
        piece
    }

    /// Moves whole characters to the text; with `all`, what can no longer become one, too.
    fn take_characters(&mut self, all: bool) {
        let mut rest = self.bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.held.push_str(text);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.held.push_str(&String::from_utf8_lossy(valid));
                    match error.error_len() {
                        Some(length) => {
                            self.held.push(char::REPLACEMENT_CHARACTER);
                            rest = &after[length..];
                        }
                        None if all => {
                            self.held.push(char::REPLACEMENT_CHARACTER);
                            rest = &[];
                            break;
                        }
                        None => {
                            rest = after;
                            break;
                        }
                    }
                }
            }
        }
        let taken = self.bytes.len() - rest.len();
        self.bytes.drain(..taken);
    }

    /// Where the earliest stop text begins.
    fn first_stop(&self) -> Option<usize> {
        self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min()
    }

    /// Bytes at the end of the text that could be the beginning of a stop text.
    fn could_stop(&self) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).filter(|at| *at > 0).rev();
            ends.into_iter().find(|at| self.held.ends_with(&stop[..*at])).unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }

    fn send(&mut self, length: usize) -> Piece {
        let rest = self.held.split_off(length);
        let text = std::mem::replace(&mut self.held, rest);
        self.sent += text.len();
        let mut tokens = Vec::new();
        // A token without text of its own goes with what is before it.
        let is_all = self.held.is_empty() && self.bytes.is_empty() && !self.is_stopped;
        while self.tokens.front().is_some_and(|(start, _)| is_all || *start < self.sent) {
            tokens.extend(self.tokens.pop_front().map(|(_, said)| said));
        }
        Piece { text, tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &[u8]) -> Option<Said> {
        Some(Said { bytes: text.to_vec(), logprob: -1.0, top: Vec::new() })
    }

    /// The pieces that come of these tokens, the last one included.
    fn pieces(stops: &[&str], tokens: &[&[u8]]) -> Vec<(String, usize)> {
        let mut text = Text::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut pieces: Vec<Piece> = tokens.iter().map(|token| text.push(token, said(token))).collect();
        pieces.push(text.finish());
        pieces.into_iter().map(|piece| (piece.text, piece.tokens.len())).collect()
    }

    fn owned(pieces: &[(&str, usize)]) -> Vec<(String, usize)> {
        pieces.iter().map(|(text, tokens)| ((*text).to_owned(), *tokens)).collect()
    }

    #[test]
    fn text_goes_out_at_once() {
        assert_eq!(pieces(&[], &[b"a", b"bc"]), owned(&[("a", 1), ("bc", 1), ("", 0)]));
    }

    #[test]
    fn characters_are_never_cut() {
        let party = "🎉".as_bytes();
        let got = pieces(&[], &[&party[..1], &party[1..3], &[party[3], b'!'], b"x"]);
        assert_eq!(got, owned(&[("", 0), ("", 0), ("🎉!", 3), ("x", 1), ("", 0)]));
        // Bytes that can become nothing are shown as such, and the rest goes on.
        assert_eq!(pieces(&[], &[b"a\xff", b"b"]), owned(&[("a\u{fffd}", 1), ("b", 1), ("", 0)]));
        assert_eq!(pieces(&[], &[&party[..2]]), owned(&[("", 0), ("\u{fffd}", 1)]));
        assert_eq!(pieces(&[], &[&party[..2], b"a"]), owned(&[("", 0), ("\u{fffd}a", 2), ("", 0)]));
    }

    #[test]
    fn a_stop_text_ends_the_answer_wherever_tokens_cut_it() {
        assert_eq!(pieces(&["END"], &[b"ab", b"cE", b"N", b"D!", b"x"]), {
            owned(&[("ab", 1), ("c", 1), ("", 0), ("", 0), ("", 0), ("", 0)])
        });
        assert_eq!(pieces(&["END"], &[b"xEN", b"Ex"]), owned(&[("x", 1), ("ENEx", 1), ("", 0)]));
        assert_eq!(pieces(&["\n\n"], &[b"a\n", b"b\n"]), owned(&[("a", 1), ("\nb", 1), ("\n", 0)]));
        // The earliest of several, and one that is the beginning of another.
        assert_eq!(pieces(&["bc", "ab"], &[b"xabc"]), owned(&[("x", 1), ("", 0)]));
        assert_eq!(pieces(&["é!"], &["é".as_bytes(), b"!"]), owned(&[("", 0), ("", 0), ("", 0)]));
    }
}

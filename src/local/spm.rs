//! SentencePiece's way of splitting text: neighbours are joined as long as what they make is a token, best score first.
//!
//! As llama.cpp does it for GGUF files of the tokenizer model `llama` (`llm_tokenizer_spm`, ggml authors, MIT).

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// A vocabulary of pieces with scores.
#[derive(Debug)]
pub(super) struct Spm {
    /// Id and score of what can be made by joining.
    pieces: HashMap<String, (u32, f32)>,
    /// Ids of single bytes.
    byte_ids: [Option<u32>; 256],
    unknown: Option<u32>,
    /// Tokens that are found in a text before anything is split, the longest first.
    whole: Vec<(String, u32)>,
    /// Whether a text begins with a space that isn't there.
    adds_space: bool,
}

/// Two neighbours that make a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Pair) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

/// A stretch of the text, and its neighbours.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    length: usize,
    before: Option<usize>,
    after: Option<usize>,
}

impl Spm {
    pub fn new(
        pieces: HashMap<String, (u32, f32)>,
        byte_ids: [Option<u32>; 256],
        unknown: Option<u32>,
        mut whole: Vec<(String, u32)>,
        adds_space: bool,
    ) -> Spm {
        whole.retain(|(text, _)| !text.is_empty());
        whole.sort_by(|(one, _), (other, _)| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        Spm { pieces, byte_ids, unknown, whole, adds_space }
    }

    /// The tokens of a text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut rest = text;
        let mut is_first = true;
        while !rest.is_empty() {
            let next = self.next_whole(rest);
            let (plain, found) = match next {
                Some((at, length, id)) => (&rest[..at], Some((at + length, id))),
                None => (rest, None),
            };
            if !plain.is_empty() {
                let space = if self.adds_space && is_first { " " } else { "" };
                self.split(&format!("{space}{plain}").replace(' ', "\u{2581}"), &mut ids);
            }
            let Some((end, id)) = found else { break };
            ids.push(id);
            is_first = true;
            rest = &rest[end..];
        }
        ids
    }

    /// The first token that stands in a text as a whole: where, how long, and which.
    fn next_whole(&self, text: &str) -> Option<(usize, usize, u32)> {
        let found = self.whole.iter().filter_map(|(token, id)| text.find(token).map(|at| (at, token.len(), *id)));
        // Of those that begin at the same place the longest, which comes first.
        found.min_by_key(|(at, ..)| *at)
    }

    fn split(&self, text: &str, ids: &mut Vec<u32>) {
        let mut symbols: Vec<Symbol> = Vec::new();
        for (index, (start, sign)) in text.char_indices().enumerate() {
            let before = index.checked_sub(1);
            symbols.push(Symbol { start, length: sign.len_utf8(), before, after: Some(index + 1) });
        }
        if let Some(last) = symbols.last_mut() {
            last.after = None;
        }
        let mut heap = BinaryHeap::new();
        let offer = |heap: &mut BinaryHeap<Pair>, symbols: &[Symbol], left: usize, right: usize| {
            let length = symbols[left].length + symbols[right].length;
            if let Some((_, score)) = self.pieces.get(&text[symbols[left].start..][..length]) {
                heap.push(Pair { score: *score, left, right, length });
            }
        };
        for right in 1..symbols.len() {
            offer(&mut heap, &symbols, right - 1, right);
        }
        while let Some(Pair { left, right, length, .. }) = heap.pop() {
            let is_stale = symbols[left].length == 0
                || symbols[right].length == 0
                || symbols[left].length + symbols[right].length != length;
            if is_stale {
                continue;
            }
            let after = symbols[right].after;
            symbols[left].length = length;
            symbols[left].after = after;
            symbols[right].length = 0;
            if let Some(after) = after {
                symbols[after].before = Some(left);
                offer(&mut heap, &symbols, left, after);
            }
            if let Some(before) = symbols[left].before {
                offer(&mut heap, &symbols, before, left);
            }
        }
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            let piece = &text[symbol.start..][..symbol.length];
            match self.pieces.get(piece) {
                Some((id, _)) => ids.push(*id),
                None => {
                    ids.extend(piece.bytes().filter_map(|byte| self.byte_ids[usize::from(byte)].or(self.unknown)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spm(adds_space: bool) -> Spm {
        let tokens = ["\u{2581}", "a", "b", "c", "ab", "bc", "\u{2581}a", "\u{2581}ab", "abc"];
        let scores = [-9.0, -9.0, -9.0, -9.0, -3.0, -1.0, -4.0, -2.0, -5.0];
        let pieces = tokens.iter().zip(scores).enumerate();
        let pieces = pieces.map(|(id, (token, score))| ((*token).to_owned(), (id as u32, score))).collect();
        let mut bytes = [None; 256];
        bytes[usize::from(b'x')] = Some(100);
        Spm::new(pieces, bytes, Some(101), vec![("<s>".to_owned(), 50), ("<s>>".to_owned(), 51)], adds_space)
    }

    #[test]
    fn the_best_score_is_joined_first() {
        assert_eq!(spm(false).encode("abc"), [8]);
        assert_eq!(spm(true).encode("abc"), [6, 5]);
        assert_eq!(spm(false).encode("ab ab"), [4, 7]);
        assert_eq!(spm(false).encode("axé"), [1, 100, 101, 101]);
        assert!(spm(false).encode("").is_empty());
    }

    #[test]
    fn whole_tokens_are_found_first_and_the_longest_wins() {
        assert_eq!(spm(false).encode("<s>ab<s>>c"), [50, 4, 51, 3]);
        assert_eq!(spm(true).encode("<s>ab"), [50, 7]);
    }
}

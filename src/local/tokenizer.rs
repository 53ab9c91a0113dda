//! Text to tokens, and tokens to bytes.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::Tokenizer as Pieces;

use crate::local::spm::Spm;

/// No special token's name is longer, in bytes.
const LONGEST_SPECIAL: usize = 64;

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    core: Core,
    /// The bytes of all tokens, one after the other, and where each ends.
    bytes: Vec<u8>,
    bounds: Vec<usize>,
    is_special: Vec<bool>,
    ends: Vec<u32>,
    bos: Option<u32>,
}

#[derive(Debug)]
enum Core {
    /// The pipeline of a `tokenizer.json`, or one built like it.
    Pieces(Box<Pieces>),
    /// SentencePiece's pairs by score, out of a GGUF file.
    Spm(Box<Spm>),
}

/// One token of the vocabulary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Token {
    /// What it stands for.
    pub bytes: Vec<u8>,
    /// Whether it is a sign of the format rather than text.
    pub is_special: bool,
}

/// What the files beside `tokenizer.json` say.
#[derive(Debug, Default)]
pub(super) struct FolderTokens {
    /// Tokens that end an answer.
    pub ends: Vec<u32>,
    /// The same as text.
    pub end_text: Option<String>,
    /// What stands in front of a text.
    pub bos_text: Option<String>,
    /// Whether it does; `None`: as `tokenizer.json` has it.
    pub adds_bos: Option<bool>,
}

impl Tokenizer {
    /// A tokenizer from the bytes of `tokenizer.json`.
    pub(super) fn from_json(bytes: &[u8], tokens: FolderTokens) -> Result<Tokenizer, String> {
        let json: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
        let mut pieces = Pieces::from_bytes(bytes).map_err(|error| format!("it is no tokenizer: {error}"))?;
        pieces.with_padding(None);
        pieces.with_truncation(None).map_err(|error| format!("it is no tokenizer: {error}"))?;
        let is_byte_level =
            mentions(json.get("decoder"), "ByteLevel") || mentions(json.get("pre_tokenizer"), "ByteLevel");
        let mut ends = tokens.ends;
        ends.extend(tokens.end_text.and_then(|text| pieces.token_to_id(&text)));
        let bos = match tokens.adds_bos {
            Some(false) => None,
            Some(true) => tokens.bos_text.and_then(|text| pieces.token_to_id(&text)),
            None => added_in_front(&pieces),
        };
        Tokenizer::from_pieces(pieces, is_byte_level, ends, bos)
    }

    /// A tokenizer from a pipeline. Of a byte-level one the tokens are written in GPT-2's signs for bytes.
    pub(super) fn from_pieces(
        pieces: Pieces,
        is_byte_level: bool,
        ends: Vec<u32>,
        bos: Option<u32>,
    ) -> Result<Tokenizer, String> {
        let added = pieces.get_added_tokens_decoder();
        let most = pieces.get_vocab(true).into_values().max().ok_or("it has no tokens")?;
        if most as usize > 1 << 24 {
            return Err(format!("it has a token {most}"));
        }
        let signs = byte_signs();
        let token = |id: u32| {
            if let Some(added) = added.get(&id) {
                let bytes = if added.special { Vec::new() } else { added.content.clone().into_bytes() };
                return Token { bytes, is_special: added.special };
            }
            let Some(text) = pieces.id_to_token(id) else { return Token { bytes: Vec::new(), is_special: true } };
            let bytes = if is_byte_level { of_signs(&text, &signs) } else { of_piece(&text) };
            Token { bytes, is_special: false }
        };
        let tokens: Vec<Token> = (0..=most).map(token).collect();
        Ok(Tokenizer::new(Core::Pieces(Box::new(pieces)), tokens, ends, bos))
    }

    /// A tokenizer by SentencePiece's scores.
    pub(super) fn from_spm(spm: Spm, tokens: Vec<Token>, ends: Vec<u32>, bos: Option<u32>) -> Tokenizer {
        Tokenizer::new(Core::Spm(Box::new(spm)), tokens, ends, bos)
    }

    fn new(core: Core, tokens: Vec<Token>, mut ends: Vec<u32>, bos: Option<u32>) -> Tokenizer {
        ends.sort_unstable();
        ends.dedup();
        let mut bytes = Vec::new();
        let mut bounds = vec![0];
        for token in &tokens {
            bytes.extend_from_slice(&token.bytes);
            bounds.push(bytes.len());
        }
        let is_special = tokens.iter().map(|token| token.is_special).collect();
        Tokenizer { core, bytes, bounds, is_special, ends, bos }
    }

    /// The tokens of a text. Special tokens in it are recognised, none are added.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match &self.core {
            Core::Pieces(pieces) => encode(pieces, text),
            Core::Spm(spm) => spm.encode(text),
        }
    }

    /// Tokens that a text has at least: none stands for more bytes than the longest. Special tokens are counted as
    /// long as any are named.
    pub fn least(&self, text: &str) -> usize {
        let longest = self.bounds.windows(2).map(|ends| ends[1] - ends[0]).max();
        text.len().div_ceil(longest.unwrap_or_default().max(LONGEST_SPECIAL))
    }

    /// The token that the model wants in front of a text, if it wants one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Whether a token ends an answer.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// The tokens that end an answer, in order.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// What a token stands for: not always whole characters, and nothing for special ones and unknown ids.
    pub fn bytes(&self, id: u32) -> &[u8] {
        match self.bounds.get(id as usize..id as usize + 2) {
            Some([start, end]) => &self.bytes[*start..*end],
            _ => &[],
        }
    }

    /// Whether a token is a sign of the format rather than text. Ids that stand for nothing count as such.
    pub fn is_special(&self, id: u32) -> bool {
        self.is_special.get(id as usize).copied().unwrap_or(true)
    }

    /// One more than the highest id.
    pub fn len(&self) -> usize {
        self.is_special.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.is_special.is_empty()
    }
}

/// Encodes, and where the splitting expression gives up (on very long runs of one kind of sign), in two halves.
fn encode(pieces: &Pieces, text: &str) -> Vec<u32> {
    match pieces.encode_fast(text, false) {
        Ok(encoding) => encoding.get_ids().to_vec(),
        Err(_) => {
            let Some((middle, _)) = text.char_indices().nth(text.chars().count() / 2).filter(|(at, _)| *at > 0) else {
                return Vec::new();
            };
            let (one, other) = text.split_at(middle);
            let mut ids = encode(pieces, one);
            ids.extend(encode(pieces, other));
            ids
        }
    }
}

/// The one token that the pipeline puts in front of a text.
fn added_in_front(pieces: &Pieces) -> Option<u32> {
    let with = pieces.encode_fast("a", true).ok()?;
    let without = pieces.encode_fast("a", false).ok()?;
    let first = with.get_ids().first().copied()?;
    (with.get_ids().len() > without.get_ids().len() && without.get_ids().first() != Some(&first)).then_some(first)
}

/// Whether a part of `tokenizer.json` is, or holds, one of a type.
fn mentions(part: Option<&Value>, kind: &str) -> bool {
    match part {
        Some(Value::Object(fields)) => {
            fields.get("type").and_then(Value::as_str) == Some(kind)
                || fields.values().any(|value| mentions(Some(value), kind))
        }
        Some(Value::Array(items)) => items.iter().any(|item| mentions(Some(item), kind)),
        _ => false,
    }
}

/// The signs by which GPT-2 writes bytes: those that can be seen stand for themselves, the others for signs from 256 on
/// (Radford et al. 2019, `encoder.py`).
pub(super) fn byte_signs() -> HashMap<char, u8> {
    let is_seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 256_u32;
    let mut sign = |byte: u8| {
        if is_seen(byte) {
            return char::from(byte);
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or_default()
    };
    (0..=255).map(|byte| (sign(byte), byte)).collect()
}

/// The bytes of a token written in such signs.
pub(super) fn of_signs(text: &str, signs: &HashMap<char, u8>) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = text.chars().map(|sign| signs.get(&sign).copied()).collect();
    // What isn't written in them stands for itself.
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// The bytes of one of SentencePiece's tokens: `<0x0A>` is a byte, `▁` a space.
pub(super) fn of_piece(text: &str) -> Vec<u8> {
    let byte = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).filter(|digits| digits.len() == 2);
    match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => vec![byte],
        None => text.replace('\u{2581}', " ").into_bytes(),
    }
}

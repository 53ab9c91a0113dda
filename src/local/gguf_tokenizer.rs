//! A tokenizer from the metadata of a GGUF file.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer as Pieces};

use crate::local::gguf::{Gguf, Meta};
use crate::local::load::LoadError;
use crate::local::spm::Spm;
use crate::local::tokenizer::{Token, Tokenizer, of_piece};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The ways of splitting that are known: llama.cpp's name, expressions one after the other, whether text is brought
/// into NFC, and whether a piece that is a token stays whole.
const PRE: [(&str, &[&str], bool, bool); 13] = [
    ("gpt-2", &[GPT2], false, false),
    ("phi-2", &[GPT2], false, false),
    ("default", &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"], false, false),
    ("smollm", &[r"\p{N}", GPT2], false, false),
    ("llama-bpe", &[LLAMA3], false, true),
    ("llama-v3", &[LLAMA3], false, true),
    ("llama3", &[LLAMA3], false, true),
    ("smaug-bpe", &[LLAMA3], false, false),
    ("dbrx", &[LLAMA3], false, false),
    ("qwen2", &[QWEN2], true, false),
    ("deepseek-r1-qwen", &[QWEN2], true, false),
    ("gpt-4o", &[GPT4O], false, false),
    ("tekken", &[TEKKEN], false, true),
];

/// Tokens that end an answer by what they are called, where the file names only one.
const ENDS: [&str; 8] =
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<EOT>"];

/// What a token is, in the numbers of `tokenizer.ggml.token_type`.
const UNKNOWN: usize = 2;
const CONTROL: usize = 3;
const USER_DEFINED: usize = 4;
const UNUSED: usize = 5;
const BYTE: usize = 6;

struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<usize>,
}

/// Builds the tokenizer.
///
/// # Errors
/// When the file has none, or one that isn't known.
pub(super) fn build(gguf: &Gguf) -> Result<Tokenizer, LoadError> {
    let damaged = |what: &str| LoadError::damaged(gguf.path(), what);
    let Some(model) = gguf.metadata.get("tokenizer.ggml.model").and_then(Meta::text) else {
        return Err(damaged("it has no tokenizer (`tokenizer.ggml.model`)"));
    };
    let list = gguf.metadata.get("tokenizer.ggml.tokens").and_then(Meta::list).unwrap_or_default();
    let tokens: Option<Vec<String>> = list.iter().map(|token| token.text().map(str::to_owned)).collect();
    let Some(tokens) = tokens.filter(|tokens| !tokens.is_empty()) else {
        return Err(damaged("its tokenizer has no tokens (`tokenizer.ggml.tokens`)"));
    };
    let types = gguf.metadata.get("tokenizer.ggml.token_type").and_then(Meta::list).unwrap_or_default();
    let mut types: Vec<usize> = types.iter().map(|kind| kind.whole().unwrap_or(1)).collect();
    types.resize(tokens.len(), 1);
    let vocabulary = Vocabulary { tokens, types };
    let id = |name: &str| {
        let id = gguf.metadata.get(&format!("tokenizer.ggml.{name}_token_id"))?.whole()?;
        u32::try_from(id).ok().filter(|id| (*id as usize) < vocabulary.tokens.len())
    };
    let mut ends: Vec<u32> = ["eos", "eot", "eom"].into_iter().filter_map(id).collect();
    let kinds = vocabulary.tokens.iter().zip(&vocabulary.types).enumerate();
    let by_name =
        kinds.filter(|(_, (token, kind))| matches!(**kind, CONTROL | USER_DEFINED) && ENDS.contains(&token.as_str()));
    ends.extend(by_name.map(|(id, _)| id as u32));
    let flag = |name: &str| gguf.metadata.get(&format!("tokenizer.ggml.{name}")).and_then(Meta::flag);
    match model {
        "gpt2" => {
            let bos = id("bos").filter(|_| flag("add_bos_token").unwrap_or(false));
            let pieces = byte_level(gguf, &vocabulary)?;
            Tokenizer::from_pieces(pieces, true, ends, bos).map_err(|what| damaged(&what))
        }
        "llama" => {
            let bos = id("bos").filter(|_| flag("add_bos_token").unwrap_or(true));
            let spm = spm(gguf, &vocabulary, id("unknown"), flag("add_space_prefix").unwrap_or(true))?;
            let tokens = vocabulary.tokens.iter().zip(&vocabulary.types).map(|(text, kind)| match *kind {
                UNKNOWN | CONTROL | UNUSED => Token { bytes: Vec::new(), is_special: true },
                USER_DEFINED => Token { bytes: text.clone().into_bytes(), is_special: false },
                _ => Token { bytes: of_piece(text), is_special: false },
            });
            Ok(Tokenizer::from_spm(spm, tokens.collect(), ends, bos))
        }
        other => Err(LoadError::Unsupported {
            path: gguf.path().to_owned(),
            what: format!("tokenizer model `{other}`"),
            works: "`gpt2` and `llama`".to_owned(),
        }),
    }
}

/// Byte pairs by rank.
fn byte_level(gguf: &Gguf, vocabulary: &Vocabulary) -> Result<Pieces, LoadError> {
    let damaged = |what: String| LoadError::damaged(gguf.path(), what);
    let pre = gguf.metadata.get("tokenizer.ggml.pre").and_then(Meta::text).unwrap_or("default");
    let Some((_, expressions, is_composed, ignores_merges)) = PRE.iter().find(|known| known.0 == pre) else {
        return Err(LoadError::Unsupported {
            path: gguf.path().to_owned(),
            what: format!("tokenizer `{pre}` (`tokenizer.ggml.pre`)"),
            works: PRE.map(|known| known.0).join(", "),
        });
    };
    let list = gguf.metadata.get("tokenizer.ggml.merges").and_then(Meta::list).unwrap_or_default();
    let merges = list.iter().map(|merge| {
        // The first sign may be a space itself.
        let text = merge.text()?;
        let at = text.char_indices().skip(1).find(|(_, sign)| *sign == ' ')?.0;
        Some((text[..at].to_owned(), text[at + 1..].to_owned()))
    });
    let Some(merges) = merges.collect::<Option<Vec<_>>>() else {
        return Err(damaged("its tokenizer has a merge that is no pair".to_owned()));
    };
    let vocab: Vocab = vocabulary.tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
    let wrong = |error: tokenizers::Error| damaged(format!("its tokenizer cannot be built: {error}"));
    let builder = BPE::builder().vocab_and_merges(vocab, merges);
    let model = builder.ignore_merges(*ignores_merges).build().map_err(wrong)?;
    let mut pieces = Pieces::new(model);
    if *is_composed {
        pieces.with_normalizer(Some(NFC)).map_err(wrong)?;
    }
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for expression in *expressions {
        let pattern = SplitPattern::Regex((*expression).to_owned());
        steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(wrong)?.into());
    }
    steps.push(ByteLevel::new(false, false, false).into());
    pieces.with_pre_tokenizer(Some(Sequence::new(steps)));
    let of_kind = |wanted: &[usize], is_special: bool| -> Vec<AddedToken> {
        let kinds = vocabulary.tokens.iter().zip(&vocabulary.types).filter(|(_, kind)| wanted.contains(kind));
        kinds.map(|(token, _)| AddedToken::from(token.clone(), is_special).normalized(false)).collect()
    };
    pieces.add_special_tokens(of_kind(&[UNKNOWN, CONTROL], true)).map_err(wrong)?;
    pieces.add_tokens(of_kind(&[USER_DEFINED], false)).map_err(wrong)?;
    Ok(pieces)
}

/// Pairs by score.
fn spm(gguf: &Gguf, vocabulary: &Vocabulary, unknown: Option<u32>, adds_space: bool) -> Result<Spm, LoadError> {
    let scores = gguf.metadata.get("tokenizer.ggml.scores").and_then(Meta::list).unwrap_or_default();
    if scores.len() != vocabulary.tokens.len() {
        let what = format!("its tokenizer has {} tokens and {} scores", vocabulary.tokens.len(), scores.len());
        return Err(LoadError::damaged(gguf.path(), what));
    }
    let mut pieces = HashMap::new();
    let mut byte_ids = [None; 256];
    let mut whole = Vec::new();
    for (id, (token, kind)) in vocabulary.tokens.iter().zip(&vocabulary.types).enumerate() {
        let score = scores[id].number().unwrap_or(0.0) as f32;
        match *kind {
            BYTE => {
                if let [byte] = of_piece(token)[..] {
                    byte_ids[usize::from(byte)] = Some(id as u32);
                }
            }
            CONTROL | UNKNOWN | USER_DEFINED => whole.push((token.clone(), id as u32)),
            _ => {
                pieces.insert(token.clone(), (id as u32, score));
            }
        }
    }
    Ok(Spm::new(pieces, byte_ids, unknown, whole, adds_space))
}

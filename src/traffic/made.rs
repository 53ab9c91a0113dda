//! Texts of a given length for traces that have none. Each word is about one token of the usual vocabularies; how many
//! tokens a service will count is known when it has.

use crate::traffic::messages::text_message;
use crate::types::{Message, Role};

/// Tokens of a block that traces share as a whole.
pub const BLOCK_TOKENS: u64 = 512;

/// The longest text that is made, in tokens; traces with more are wrong.
pub const MAX_TOKENS: u64 = 4 << 20;

/// Common short words: with the blank before it each is one token in the vocabularies of the large families.
const WORDS: [&str; 64] = [
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not", "he",
    "his", "but", "at", "are", "this", "have", "from", "or", "had", "an", "they", "which", "one", "you", "were", "all",
    "her", "she", "there", "would", "their", "we", "him", "been", "has", "when", "who", "will", "no", "more", "if",
    "out", "so", "up", "said", "what", "its", "about", "than", "into", "them", "can", "only", "other", "time", "new",
    "some",
];

/// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators (2014), the mixing of SplitMix64.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Adds as many words as asked for; the same seed and block give the same words, so that a shorter text of a block is the
/// beginning of a longer one.
fn block(text: &mut String, seed: u64, block: u64, tokens: u64) {
    let start = mixed(seed ^ mixed(block.wrapping_add(0x9E37_79B9_7F4A_7C15)));
    let mut bits = 0;
    for token in 0..tokens {
        if token % 10 == 0 {
            bits = mixed(start.wrapping_add((token / 10).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        }
        if !text.is_empty() {
            text.push(' ');
        }
        // Six bits are one of 64 words.
        text.push_str(WORDS[usize::from(bits.to_le_bytes()[0] & 63)]);
        bits >>= 6;
    }
}

/// A question of so many tokens, made of blocks that are shared by their numbers. Without numbers the whole is one
/// block, of the number given, that nothing else shares.
pub fn question(seed: u64, own: u64, blocks: &[u64], tokens: u64) -> Vec<Message> {
    let tokens = tokens.min(MAX_TOKENS);
    let mut text = String::with_capacity(usize::try_from(tokens * 5).unwrap_or(0));
    let mut left = tokens;
    for number in blocks {
        let length = left.min(BLOCK_TOKENS);
        block(&mut text, seed, *number, length);
        left -= length;
    }
    // A number that no block of a trace has.
    block(&mut text, seed, own | 1 << 63, left);
    vec![text_message(Role::User, text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Content;

    fn words(blocks: &[u64], tokens: u64) -> Vec<String> {
        let messages = question(7, 1, blocks, tokens);
        let Content::Text(text) = &messages[0].content else { panic!() };
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn texts_have_their_length_and_share_what_the_trace_shares() {
        for tokens in [0, 1, 511, 512, 513, 6758] {
            assert_eq!(words(&[1, 2, 3], tokens).len() as u64, tokens);
        }
        let (one, two) = (words(&[1, 2], 1024), words(&[1, 3], 1000));
        assert_eq!(one[..512], two[..512]);
        assert_ne!(one[512..1000], two[512..]);
        assert_eq!(words(&[1, 2], 700), one[..700]);
        assert_eq!(words(&[], 40), words(&[], 40));
        let distinct: std::collections::BTreeSet<&String> = one.iter().collect();
        assert!(distinct.len() > 50, "{}", distinct.len());
    }
}

//! Base64 (RFC 4648), as logs, tokens and echoed keys have it.

/// The letters of the standard alphabet, by value.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes in base64, by the standard alphabet, without padding.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 3);
    for group in bytes.chunks(3) {
        let bits = group.iter().chain([&0, &0]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let letters = (0..=group.len()).map(|place| char::from(LETTERS[bits >> (18 - 6 * place) & 63]));
        text.extend(letters);
    }
    text
}

/// The bytes of a text in base64, by either alphabet, with or without padding. `None` for what is none.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for c in text.bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xFF_FFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(bits.checked_shr(count)?.to_le_bytes()[0]);
        }
    }
    // One letter alone is not a byte.
    (text.len() % 4 != 1).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes(), "{text}");
            assert_eq!(encode(bytes.as_bytes()), text.trim_end_matches('='), "{bytes}");
        }
        assert_eq!(encode(&[0xfb, 0xff]), "+/8");
        assert_eq!(decode("-_8").unwrap(), [0xfb, 0xff]);
        assert_eq!((decode("Zm9v!"), decode("Z")), (None, None));
    }
}

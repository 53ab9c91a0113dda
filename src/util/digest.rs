//! Content digests: the first 128 bits of BLAKE3.

use std::fmt;
use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// 128 bits of a BLAKE3 hash, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::default();
        hasher.hash.update(bytes);
        hasher.finish()
    }

    /// The digest of all that a reader gives.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of_reader(reader: impl io::Read) -> io::Result<Digest> {
        let mut hash = blake3::Hasher::new();
        hash.update_reader(reader)?;
        Ok(Hasher { hash }.finish())
    }

    /// The first 64 bits, as a well-mixed number.
    pub fn low64(&self) -> u64 {
        let mut low = [0; 8];
        low.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(low)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (index, byte) in self.0.iter().enumerate() {
            text[2 * index] = HEX[usize::from(byte >> 4)];
            text[2 * index + 1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom("a digest is 32 hexadecimal digits"))
    }
}

fn parse(text: &str) -> Option<Digest> {
    let text = text.as_bytes();
    if text.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(Digest(bytes))
}

/// Digests several parts, each with its length, so that no two lists of parts meet.
#[derive(Default, Clone)]
pub struct Hasher {
    hash: blake3::Hasher,
}

impl Hasher {
    /// Adds one part.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Hasher {
        self.hash.update(&(bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
        self
    }

    /// The digest of all parts so far.
    pub fn finish(&self) -> Digest {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.hash.finalize().as_bytes()[..16]);
        Digest(bytes)
    }
}

/// A reader that digests all that passes through it.
#[derive(Debug)]
pub struct Digesting<R> {
    reader: R,
    hash: blake3::Hasher,
}

impl<R> Digesting<R> {
    /// Digests what will be read from here on.
    pub fn new(reader: R) -> Digesting<R> {
        Digesting { reader, hash: blake3::Hasher::new() }
    }

    /// The digest of the bytes read so far: once the reader has ended, the same as [`Digest::of_reader`] gives.
    pub fn digest(&self) -> Digest {
        Hasher { hash: self.hash.clone() }.finish()
    }
}

impl<R: io::Read> io::Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_apart_and_text_comes_back() {
        let one = Hasher::default().part(b"ab").part(b"c").finish();
        let other = Hasher::default().part(b"a").part(b"bc").finish();
        assert_ne!(one, other);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(text.len(), 34);
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), one);
        assert!(serde_json::from_str::<Digest>("\"xyz\"").is_err());
    }

    #[test]
    fn a_digesting_reader_gives_the_digest_of_what_it_read() {
        let mut reader = Digesting::new(&b"abcdef"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.digest(), Digest::of(b"abcdef"));
    }

    #[test]
    fn of_bytes_is_the_head_of_the_published_blake3() {
        assert_eq!(Digest::of(b"").to_string(), "af1349b9f5f9a1a6a0404dea36dcc949");
    }
}

//! The fuzz targets, for some seconds each build: their seeds, and seeds that were changed at random.

use std::panic::catch_unwind;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

#[path = "../../fuzz/targets.rs"]
mod targets;

use targets::TARGETS;

/// Changed seeds of each target; `EVALCTL_FUZZED` sets another number.
const CHANGED: u64 = 400;

fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    usize::try_from(random.next_u64() % bound.max(1) as u64).unwrap()
}

/// Words that parsers stumble over.
const WORDS: [&[u8]; 16] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff\xff\xff\xff",
    b"\xef\xbb\xbf",
    b"{",
    b"}",
    b"[",
    b"\"",
    b"null",
    b"-1",
    b"1e999",
    b"{{",
    b"%}",
    b"9223372036854775807",
    b"\\ud800",
];

/// A seed with some bytes flipped, taken out, repeated, put in, or taken from another seed.
fn changed(random: &mut ChaCha8Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[below(random, seeds.len())].clone();
    for _ in 0..=below(random, 6) {
        let at = below(random, bytes.len() + 1);
        let length = below(random, 32).min(bytes.len() - at);
        match below(random, 6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(random, 8),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let piece = bytes[at..at + length].repeat(1 + below(random, 8));
                bytes.splice(at..at, piece);
            }
            3 => drop(bytes.splice(at..at + length, WORDS[below(random, WORDS.len())].iter().copied())),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let other = &seeds[below(random, seeds.len())];
                let from = below(random, other.len());
                let piece = other[from..(from + 64).min(other.len())].to_vec();
                bytes.splice(at..at + length, piece);
            }
        }
    }
    bytes
}

#[test]
fn seeds_and_changed_seeds_are_read_or_refused() {
    let number = std::env::var("EVALCTL_FUZZED").ok().and_then(|number| number.parse().ok()).unwrap_or(CHANGED);
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
        let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| target(seed));
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..number {
            let bytes = changed(&mut random, &seeds);
            let result = catch_unwind(|| target(&bytes));
            assert!(result.is_ok(), "{name} fails on {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

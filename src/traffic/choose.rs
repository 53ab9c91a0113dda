//! From many exchanges to a few that stand for them: near-duplicates are folded, and the rest is drawn by strata.
//!
//! Near-duplicates are found by MinHash (Broder, "On the resemblance and containment of documents", 1997) over runs of
//! three words of all messages but the instructions, banded into buckets (Leskovec, Rajaraman, Ullman, "Mining of Massive
//! Datasets", section 3.4). About 700 bytes are held for each exchange.

use std::collections::HashMap;

use serde_json::Value;

use crate::dataset::select::draw;
use crate::types::{Content, Exchange, Message, Role};
use crate::util::digest::Digest;

/// Values of a signature; bands of so many of them are compared as one.
const VALUES: usize = 64;
const BAND: usize = 8;

/// How much of two signatures must agree for one to stand for the other: an estimate of how much their texts share.
const ALIKE: f64 = 0.9;

/// Words of a run.
const RUN: usize = 3;

/// By what a draw is stratified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stratum {
    /// The model that was asked for.
    Model,
    /// Length of the question, by powers of four of its tokens.
    Length,
    /// Whether tools were offered, and whether one was called.
    Tools,
}

impl Stratum {
    /// The stratum of this name.
    pub fn named(name: &str) -> Option<Stratum> {
        match name {
            "model" => Some(Stratum::Model),
            "length" => Some(Stratum::Length),
            "tools" => Some(Stratum::Tools),
            _ => None,
        }
    }

    fn of(self, exchange: &Exchange) -> String {
        match self {
            Stratum::Model => exchange.model.clone().unwrap_or_default(),
            Stratum::Length => {
                let counted = exchange.answer.as_ref().and_then(|answer| answer.usage.input_tokens);
                let tokens =
                    counted.unwrap_or_else(|| asked(&exchange.messages).map(str::len).sum::<usize>() as u64 / 4);
                (tokens.max(1).ilog2() / 2).to_string()
            }
            Stratum::Tools => {
                let is_called = exchange.answer.as_ref().is_some_and(|answer| !answer.tool_calls.is_empty());
                format!("{}{is_called}", exchange.tools.is_some())
            }
        }
    }
}

/// What came of the choosing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// For each exchange, whether it was drawn.
    pub is_drawn: Vec<bool>,
    /// For each exchange, how many were folded into it.
    pub duplicates: Vec<u64>,
    /// Exchanges that were folded into others.
    pub folded: u64,
    /// Exchanges that stand for themselves and were not drawn.
    pub not_drawn: u64,
}

/// Finds near-duplicates among texts that come one after the other.
#[derive(Default)]
pub struct Folds {
    /// Signatures of the texts that stand for themselves.
    kept: Vec<[u32; VALUES]>,
    buckets: HashMap<(u8, u64), Vec<u32>>,
}

impl Folds {
    /// Looks at the next text: the number, from 0, of the text that stands for it, among those that stand for themselves.
    ///
    /// # Errors
    /// The number that the text itself has now, as it is like none before it.
    pub fn look(&mut self, text: &str) -> Result<usize, usize> {
        self.look_beside(text, 0)
    }

    /// The same, of a text with something beside it that is no text (pictures, calls of tools), as a digest: texts fold
    /// only where that is the same.
    ///
    /// # Errors
    /// As above.
    pub fn look_beside(&mut self, text: &str, beside: u64) -> Result<usize, usize> {
        let signature = signature(text);
        let bands: Vec<(u8, u64)> = signature
            .chunks(BAND)
            .enumerate()
            .map(|(band, values)| {
                let values = values.iter().flat_map(|value| value.to_le_bytes());
                let bytes: Vec<u8> = values.chain(beside.to_le_bytes()).collect();
                (u8::try_from(band).unwrap_or(u8::MAX), Digest::of(&bytes).low64())
            })
            .collect();
        let alike = bands.iter().filter_map(|band| self.buckets.get(band)).flatten().copied().find(|other| {
            let known = &self.kept[*other as usize];
            let same = known.iter().zip(signature.iter()).filter(|(a, b)| a == b).count();
            same as f64 >= ALIKE * VALUES as f64
        });
        if let Some(other) = alike {
            return Ok(other as usize);
        }
        let number = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
        for band in bands {
            // What many share tells little, and a bucket must not grow without bound.
            let bucket = self.buckets.entry(band).or_default();
            if bucket.len() < 64 {
                bucket.push(number);
            }
        }
        self.kept.push(*signature);
        Err(self.kept.len() - 1)
    }
}

/// Looks at exchanges one after the other, then draws.
#[derive(Default)]
pub struct Chooser {
    strata: Vec<Stratum>,
    codes: HashMap<String, u32>,
    folds: Folds,
    /// Of those that stand for themselves: their places and strata.
    kept: Vec<(usize, u32)>,
    duplicates: Vec<u64>,
    folded: u64,
    seen: usize,
}

impl Chooser {
    /// Draws by these strata.
    pub fn new(strata: Vec<Stratum>) -> Chooser {
        Chooser { strata, ..Chooser::default() }
    }

    /// Looks at the next exchange.
    pub fn look(&mut self, exchange: &Exchange) {
        let place = self.seen;
        self.seen += 1;
        self.duplicates.push(0);
        let text = asked(&exchange.messages).collect::<Vec<_>>().join("\n");
        if let Ok(other) = self.folds.look_beside(&text, beside(&exchange.messages)) {
            self.duplicates[self.kept[other].0] += 1;
            self.folded += 1;
            return;
        }
        let stratum: Vec<String> = self.strata.iter().map(|stratum| stratum.of(exchange)).collect();
        let next = u32::try_from(self.codes.len()).unwrap_or(u32::MAX);
        let code = *self.codes.entry(stratum.join("\0")).or_insert(next);
        self.kept.push((place, code));
    }

    /// Draws.
    pub fn draw(self, seed: u64, wanted: u64) -> Chosen {
        let strata: Vec<u32> = self.kept.iter().map(|(_, code)| *code).collect();
        let drawn = draw(seed, &strata, wanted);
        let mut is_drawn = vec![false; self.seen];
        for ((place, _), _) in self.kept.iter().zip(&drawn).filter(|(_, drawn)| **drawn) {
            is_drawn[*place] = true;
        }
        let not_drawn = drawn.iter().filter(|drawn| !**drawn).count() as u64;
        Chosen { is_drawn, duplicates: self.duplicates, folded: self.folded, not_drawn }
    }
}

/// Digest of what a question holds beside its texts; 0 for nothing.
fn beside(messages: &[Message]) -> u64 {
    let mut others = Vec::new();
    for message in messages {
        if let Content::Parts(parts) = &message.content {
            others.extend(parts.iter().filter(|part| part.get("text").is_none()).map(Value::to_string));
        }
        others.extend(message.more.get("tool_calls").and_then(Value::as_array).into_iter().flatten().map(|call| {
            // Ids differ from one time to the next.
            call.get("function").unwrap_or(call).to_string()
        }));
    }
    if others.is_empty() { 0 } else { Digest::of(others.join("\0").as_bytes()).low64() }
}

/// The texts of a question, without the instructions that all questions of an application share.
pub fn asked(messages: &[Message]) -> impl Iterator<Item = &str> {
    let asked = messages.iter().filter(|message| !matches!(message.role, Role::System | Role::Developer));
    asked.flat_map(|message| -> Vec<&str> {
        match &message.content {
            Content::Text(text) => vec![text],
            Content::Parts(parts) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
            Content::Empty(()) => Vec::new(),
        }
    })
}

/// The least value of each of many hash functions over the runs of words.
fn signature(text: &str) -> Box<[u32; VALUES]> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut least = Box::new([u32::MAX; VALUES]);
    let mut take = |run: &[&str]| {
        let hash = Digest::of(run.join(" ").as_bytes()).low64();
        for (index, value) in least.iter_mut().enumerate() {
            // Multiply and shift with an odd factor of its own (Dietzfelbinger and others, 1997).
            let factor = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mixed = (hash ^ (hash >> 29)).wrapping_mul(factor.wrapping_mul(0xD6E8_FEB8_6659_FD93));
            *value = (*value).min((mixed >> 32) as u32);
        }
    };
    if words.len() < RUN {
        take(&words);
    }
    words.windows(RUN).for_each(&mut take);
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::messages::text_message;

    fn exchange(text: &str, model: &str) -> Exchange {
        let system = text_message(Role::System, "You are the same for all, at some length, as such texts are.".into());
        Exchange {
            messages: vec![system, text_message(Role::User, text.to_owned())],
            model: Some(model.to_owned()),
            ..Exchange::default()
        }
    }

    fn question(topic: u64) -> String {
        (0..60)
            .map(|word| format!("w{}", Digest::of(format!("{topic} {word}").as_bytes()).low64() % 5000))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn near_duplicates_are_folded_and_others_are_not() {
        let mut chooser = Chooser::new(Vec::new());
        for topic in 0..200 {
            chooser.look(&exchange(&question(topic), "m"));
            chooser.look(&exchange(&format!("{}!", question(topic).to_uppercase()), "m"));
        }
        let chosen = chooser.draw(7, 1000);
        assert_eq!((chosen.folded, chosen.not_drawn), (200, 0));
        assert!(chosen.duplicates.iter().step_by(2).all(|count| *count == 1));
        let mut short = Chooser::new(Vec::new());
        for text in ["yes", "no", "Yes.", ""] {
            short.look(&exchange(text, "m"));
        }
        assert_eq!(short.draw(7, 9).is_drawn, [true, true, false, true]);
    }

    #[test]
    fn draws_keep_the_shares_of_strata_and_are_the_same_again() {
        let draw = || {
            let mut chooser = Chooser::new(vec![Stratum::Model, Stratum::Length, Stratum::Tools]);
            for topic in 0..100 {
                chooser.look(&exchange(&question(topic), if topic % 4 == 0 { "a" } else { "b" }));
            }
            chooser.draw(3, 20)
        };
        let chosen = draw();
        let of = |model: usize| (0..100).filter(|i| (i % 4 == 0) == (model == 0) && chosen.is_drawn[*i]).count();
        assert_eq!((of(0), of(1), chosen.not_drawn), (5, 15, 80));
        assert_eq!(chosen, draw());
    }
}

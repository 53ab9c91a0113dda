//! Decoding held to a JSON Schema: which tokens may come next, and a way to the end before the tokens run out.
//!
//! llguidance turns a schema into a grammar and the grammar into sets of tokens. What a grammar cannot rule out
//! (numbers, brackets and blanks without end, a key that comes twice) [`Shape`] rules out. When the tokens that are
//! left are hardly enough, the shortest way to the end that can be found is taken, so that an answer is whole whenever
//! its limit leaves room for any.

use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::{Map, Value};

use crate::local::endings::{Endings, is_known_format};
use crate::local::sample::Sampler;
use crate::local::shape::{Shape, Track};
use crate::local::{Model, Tokenizer};
use crate::util::digest::Digest;
use crate::util::text::shorten;

/// Grammars that are kept: whoever measures a model sends the same schema with every request.
const KEPT: usize = 32;

/// Tokens on the way to the end, at most.
const LONGEST_WAY: usize = 2048;

/// How often a way to the end is looked for.
const ATTEMPTS: u64 = 2;

/// Tokens that are tried as the last one of a number.
const LAST_DIGITS: usize = 128;

/// Longer tokens never stand in JSON, and the tree of tokens does not take them.
const LONGEST_TOKEN: usize = 512;

/// Blanks between two parts of the JSON: none, one, or a line break with an indent, so that a model may write as it is
/// used to and yet cannot write blanks for ever.
const BLANKS: &str = r" |\n {0,32}";

/// Why a schema or its grammar cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum GrammarError {
    /// The schema asks for what cannot be held to.
    #[error("{0}")]
    Schema(String),
    /// It became too complex on the way.
    #[error("the grammar cannot be followed any further: {0}")]
    Step(String),
}

/// What all grammars of a model share.
pub struct Grammars {
    factory: ParserFactory,
    words: Arc<Words>,
    kept: Mutex<Vec<(Digest, Arc<Grammar>)>>,
}

/// The bytes of every token, without those that are no text.
struct Words(TokEnv);

impl Words {
    fn of(&self, token: u32) -> &[u8] {
        self.0.tok_trie().token(token)
    }
}

/// A schema ready to be followed.
pub struct Grammar {
    start: Mutex<Matcher>,
    /// Tokens of the shortest answer that was found.
    least: Option<usize>,
    /// The beginning of an answer.
    shape: Shape,
    endings: Arc<Endings>,
}

impl Grammars {
    /// For a model's tokens.
    ///
    /// # Errors
    /// When its tokens cannot be arranged.
    pub fn new(model: &Model, tokenizer: &Tokenizer) -> Result<Grammars, GrammarError> {
        let word = |id: u32| {
            if (id as usize) >= tokenizer.len() || tokenizer.is_special(id) || tokenizer.is_end(id) {
                return Vec::new();
            }
            let bytes = tokenizer.bytes(id);
            // The mark by which llguidance knows special tokens; it is no part of any text either.
            if bytes.len() > LONGEST_TOKEN || bytes.contains(&0xff) { Vec::new() } else { bytes.to_vec() }
        };
        let count = u32::try_from(model.vocabulary()).unwrap_or(u32::MAX);
        let words: Vec<Vec<u8>> = (0..count).map(word).collect();
        let end = tokenizer.ends().first().copied().filter(|end| *end < count).unwrap_or(INVALID_TOKEN);
        let tree = TokTrie::from(&TokRxInfo::new(count, end), &words);
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(tree));
        let slices = llguidance::earley::SlicedBiasComputer::json_slices();
        let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)
            .map_err(|error| GrammarError::Schema(error.to_string()))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Grammars { factory, words: Arc::new(Words(tokens)), kept: Mutex::default() })
    }

    /// A walk along a schema's grammar, of `limit` tokens at most. The grammar is built once.
    ///
    /// # Errors
    /// When the schema asks for what cannot be held to.
    pub fn walk(&self, schema: &Value, limit: usize) -> Result<Walk, GrammarError> {
        let digest = Digest::of(schema.to_string().as_bytes());
        let known = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().find(|(of, _)| *of == digest).map(|(_, grammar)| Arc::clone(grammar))
        };
        let grammar = match known {
            Some(grammar) => grammar,
            None => {
                let grammar = Arc::new(self.build(schema)?);
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() >= KEPT {
                    kept.remove(0);
                }
                kept.push((digest, Arc::clone(&grammar)));
                grammar
            }
        };
        // Each walk has a lexer of its own, so that walks do not wait for each other.
        let matcher = grammar.start.lock().unwrap_or_else(PoisonError::into_inner).deep_clone();
        let start = Walk::new(matcher, grammar.shape, Arc::clone(&self.words), Arc::clone(&grammar.endings));
        Ok(Walk { least: grammar.least.filter(|least| *least <= limit), ..start })
    }

    fn build(&self, schema: &Value) -> Result<Grammar, GrammarError> {
        let mut schema = match schema {
            Value::Object(_) => schema.clone(),
            Value::Bool(true) => Value::Object(Map::new()),
            _ => return Err(GrammarError::Schema("nothing is valid against the schema".to_owned())),
        };
        refuse_inner_ids(&schema, true)?;
        let options = JsonCompileOptions {
            whitespace_pattern: Some(BLANKS.to_owned()),
            // Without \u, so that a key can be written in one way only.
            json_allowed_escapes: Some("nrbtf\\\"".to_owned()),
            ..JsonCompileOptions::default()
        };
        drop_unknown_formats(&mut schema);
        let shape = Shape::new(names_multiples(&schema));
        let endings = Arc::new(Endings::of(&schema));
        options.apply_to(&mut schema);
        let parser = self.factory.create_parser(TopLevelGrammar::from_json_schema(schema));
        let mut start = Matcher::new(parser);
        if let Some(error) = start.get_error() {
            return Err(GrammarError::Schema(reason(&error)));
        }
        let mask = start.compute_mask_or_eos().map_err(|error| GrammarError::Schema(reason(&error.to_string())))?;
        if mask.is_zero() {
            return Err(GrammarError::Schema("nothing is valid against the schema".to_owned()));
        }
        let walk = Walk::new(start.deep_clone(), shape, Arc::clone(&self.words), Arc::clone(&endings));
        let least = walk.way_out(LONGEST_WAY).map(|way| way.len());
        Ok(Grammar { start: Mutex::new(start), least, shape, endings })
    }
}

/// The first line of what llguidance says.
fn reason(error: &str) -> String {
    shorten(error.lines().next().unwrap_or(error), 300)
}

/// References are looked up from the root; an `$id` further down would move where they start from.
fn refuse_inner_ids(schema: &Value, is_root: bool) -> Result<(), GrammarError> {
    match schema {
        Value::Object(fields) => {
            if !is_root && fields.get("$id").is_some_and(Value::is_string) {
                return Err(GrammarError::Schema("`$id` below the root is not supported".to_owned()));
            }
            fields.values().try_for_each(|value| refuse_inner_ids(value, false))
        }
        Value::Array(items) => items.iter().try_for_each(|value| refuse_inner_ids(value, false)),
        _ => Ok(()),
    }
}

/// Takes out formats that the grammar does not know: what is no known format asserts nothing.
fn drop_unknown_formats(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("format").and_then(Value::as_str).is_some_and(|name| !is_known_format(name)) {
                fields.shift_remove("format");
            }
            for (name, value) in fields {
                // Values as such, not schemas.
                if !matches!(name.as_str(), "const" | "enum" | "default" | "examples") {
                    drop_unknown_formats(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unknown_formats),
        _ => {}
    }
}

/// Whether a number must be a multiple of another anywhere in a schema.
fn names_multiples(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(name, value)| name == "multipleOf" || names_multiples(value)),
        Value::Array(items) => items.iter().any(names_multiples),
        _ => false,
    }
}

/// What comes next on a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A token.
    Token(u32),
    /// The answer is whole.
    End,
}

/// One answer on its way along a grammar.
pub struct Walk {
    matcher: Matcher,
    track: Track,
    words: Arc<Words>,
    /// Tokens of the shortest answer; `None`: there is no room for one, and no way out is looked for.
    least: Option<usize>,
    /// Inside a string or a number, the next look ahead is when so many tokens are left.
    watch: usize,
    /// A way to the end from here, the next token last, where one is known.
    way: Option<Vec<u32>>,
    is_cut_short: bool,
    endings: Arc<Endings>,
}

impl Walk {
    fn new(matcher: Matcher, shape: Shape, words: Arc<Words>, endings: Arc<Endings>) -> Walk {
        let track = Track::new(shape);
        Walk { matcher, track, words, least: None, watch: usize::MAX, way: None, is_cut_short: false, endings }
    }

    /// Whether the shortest way to the end was taken because the tokens ran out.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// Whether nothing can be added any more.
    pub fn is_whole(&mut self) -> bool {
        self.matcher.is_stopped() || self.track.shape().is_closed() && self.is_accepting()
    }

    fn is_accepting(&mut self) -> bool {
        self.matcher.is_accepting().unwrap_or(false)
    }

    /// Chooses the next token and takes it. `left` is how many tokens the answer may still have, this one included.
    ///
    /// # Errors
    /// When the grammar has become too complex to follow.
    pub fn next(
        &mut self,
        sampler: &mut Sampler,
        logits: &[f32],
        ends: &[u32],
        left: usize,
    ) -> Result<Next, GrammarError> {
        let draw = sampler.draw();
        if self.is_whole() {
            return Ok(Next::End);
        }
        if self.is_cut_short {
            return self.follow();
        }
        let mask = self.matcher.compute_mask().map_err(step_error)?;
        let can_end = self.is_accepting();
        let mut allowed = vec![f32::NEG_INFINITY; logits.len()];
        mask.iter_set_entries(|id| {
            if let (Some(to), Some(from)) = (allowed.get_mut(id), logits.get(id)) {
                *to = *from;
            }
        });
        for end in ends {
            if let (Some(to), Some(from)) = (allowed.get_mut(*end as usize), logits.get(*end as usize)) {
                *to = if can_end { *from } else { f32::NEG_INFINITY };
            }
        }
        let Some(token) = self.pick(sampler, &mut allowed, draw, ends) else {
            // Every token that may come has a logit that is no number: none is better than another.
            let token = self.nearest(&mask).ok_or_else(|| step_error("no token may come next"))?;
            self.way = None;
            return self.take(token).map(|()| Next::Token(token));
        };
        if ends.contains(&token) {
            return Ok(Next::End);
        }
        self.step(token, left)
    }

    /// Takes a token if there is a way to the end after it; else the next one on the way from here.
    fn step(&mut self, token: u32, left: usize) -> Result<Next, GrammarError> {
        if self.way.as_ref().is_some_and(|way| way.last() == Some(&token)) {
            return self.follow();
        }
        let way = self.way.take();
        let shape = self.track.shape();
        let is_inside = shape.is_inside() && shape.after(self.words.of(token)).is_inside();
        // What a bracket, a comma or a key commits to is seldom longer than the shortest answer.
        let near = self.least.map_or(0, |least| (shape.depth() + 2) * least + 32);
        if left > near || is_inside && left > self.watch {
            return self.take(token).map(|()| Next::Token(token));
        }
        let mut ahead = self.fork();
        ahead.take(token)?;
        if let Some(way) = ahead.way_out(left - 1) {
            // Half of what would be left over can be used before the next look.
            self.watch = left - 1 - (left - 1 - way.len()).saturating_sub(8) / 2;
            (self.matcher, self.track) = (ahead.matcher, ahead.track);
            self.way = Some(way);
            return Ok(Next::Token(token));
        }
        match way.or_else(|| self.way_out(left)) {
            Some(way) => {
                (self.way, self.is_cut_short) = (Some(way), true);
                self.follow()
            }
            None => {
                // There is no room for any whole answer; it will end where its limit is.
                self.least = None;
                self.take(token).map(|()| Next::Token(token))
            }
        }
    }

    /// Goes on by the way that is known.
    fn follow(&mut self) -> Result<Next, GrammarError> {
        match self.way.as_mut().and_then(Vec::pop) {
            Some(token) => self.take(token).map(|()| Next::Token(token)),
            None => Ok(Next::End),
        }
    }

    /// The token that the sampler takes, unless it leads where no answer should go and there is another.
    fn pick(&self, sampler: &mut Sampler, allowed: &mut [f32], draw: f64, ends: &[u32]) -> Option<u32> {
        let first = sampler.pick(allowed, draw)?;
        let mut token = first;
        loop {
            if ends.contains(&token) {
                return Some(token);
            }
            let shape = self.track.shape();
            let exceeds = shape.exceeds(self.words.of(token));
            if exceeds {
                // Whatever does likewise, at once: there may be thousands of tokens of digits.
                for (id, logit) in allowed.iter_mut().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY) {
                    if shape.exceeds(self.words.of(id as u32)) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            } else if self.doubles(self.words.of(token)) {
                allowed[token as usize] = f32::NEG_INFINITY;
            } else {
                return Some(token);
            }
            match sampler.pick(allowed, draw) {
                Some(other) => token = other,
                None if exceeds => return self.last_digit().or(Some(first)),
                None => return Some(first),
            }
        }
    }

    /// A token after which a number that has digits enough may end; it may not now.
    fn last_digit(&self) -> Option<u32> {
        let mask = self.fork().matcher.compute_mask().ok()?;
        let may_end = |token: &u32| {
            let mut ahead = self.fork();
            let then = ahead.take(*token).ok().and_then(|()| ahead.matcher.compute_mask().ok());
            let shape = ahead.track.shape();
            ahead.is_whole() || then.is_some_and(|then| then.iter().any(|next| !shape.exceeds(ahead.words.of(next))))
        };
        mask.iter().take(LAST_DIGITS).find(may_end)
    }

    fn take(&mut self, token: u32) -> Result<(), GrammarError> {
        self.matcher.consume_token(token).map_err(step_error)?;
        self.track.push(self.words.of(token));
        Ok(())
    }

    fn fork(&self) -> Walk {
        let (words, endings) = (Arc::clone(&self.words), Arc::clone(&self.endings));
        let walk = Walk::new(self.matcher.clone(), self.track.shape(), words, endings);
        Walk { track: self.track.clone(), ..walk }
    }

    /// Tokens that make the answer whole, at most `limit` of them, the first one last. Not always the fewest: each is
    /// the one that leads most directly to the end by itself, and strings are ended by what their patterns ask for.
    /// Where that runs in circles, others are tried.
    fn way_out(&self, limit: usize) -> Option<Vec<u32>> {
        let limit = limit.min(LONGEST_WAY);
        (0..ATTEMPTS).find_map(|attempt| {
            let mut ahead = self.fork();
            let mut way = Vec::new();
            let mut random = Digest::of(&attempt.to_le_bytes()).low64();
            loop {
                if ahead.is_whole() || ahead.is_accepting() {
                    way.reverse();
                    return Some(way);
                }
                if way.len() >= limit {
                    return None;
                }
                let mask = ahead.matcher.compute_mask().ok()?;
                if let Some((then, tokens)) = ahead.end_string(&mask) {
                    ahead = then;
                    way.extend(tokens);
                    continue;
                }
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let token = if attempt > 0 && random >> 63 == 1 {
                    let set = mask.num_set().max(1);
                    mask.iter().nth((random >> 32) as usize % set)?
                } else {
                    ahead.nearest(&mask)?
                };
                ahead.take(token).ok()?;
                way.push(token);
            }
        })
    }

    /// Inside a string that may not end yet: what brings it to where it may, by one of the schema's patterns.
    fn end_string(&self, mask: &SimpleVob) -> Option<(Walk, Vec<u32>)> {
        let text = self.track.open_text()?;
        let tree = self.words.0.tok_trie();
        if tree.token_id(b"\"").is_some_and(|quote| mask.is_allowed(quote)) {
            return None;
        }
        self.endings.after(&text).into_iter().find_map(|ending| {
            let tokens = tree.greedy_tokenize(&ending);
            let mut ahead = self.fork();
            let is_allowed = ahead.matcher.validate_tokens(&tokens).is_ok_and(|valid| valid == tokens.len());
            let is_taken = is_allowed && tokens.iter().all(|token| ahead.take(*token).is_ok());
            (is_taken && !tokens.is_empty()).then_some((ahead, tokens))
        })
    }

    /// Of the tokens that may come, the one that leads most directly to the end.
    fn nearest(&self, mask: &SimpleVob) -> Option<u32> {
        let shape: Shape = self.track.shape();
        let mut best = None;
        mask.iter_set_entries(|id| {
            let token = id as u32;
            let bytes = self.words.of(token);
            let rank = shape.rank(bytes);
            if !bytes.is_empty() && best.is_none_or(|(least, _)| rank < least) && !self.doubles(bytes) {
                best = Some((rank, token));
            }
        });
        best.map(|(_, token)| token)
    }

    /// Whether these bytes would write a key twice.
    fn doubles(&self, bytes: &[u8]) -> bool {
        bytes.contains(&b'"') && {
            let mut ahead = self.track.clone();
            ahead.push(bytes);
            ahead.has_double() && !self.track.has_double()
        }
    }
}

fn step_error(error: impl std::fmt::Display) -> GrammarError {
    GrammarError::Step(reason(&error.to_string()))
}

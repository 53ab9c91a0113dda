//! The decoder: tokens in, logits out. One for all families, and for weights of every kind.

use crate::local::attention::{Cache, Shape, attend};
use crate::local::config::LayerConfig;
use crate::local::input::{Input, Rounded};
use crate::local::ops;
use crate::local::weights::{Layer, Linear, Weights};

/// Positions that are computed together while a prompt is read: enough to use each weight often, few enough to need
/// little room.
const CHUNK: usize = 64;

/// A decoder with its weights. Threads share it; each sequence keeps its own [`Sequence`].
#[derive(Debug)]
pub struct Model {
    weights: Weights,
    context: usize,
}

/// One sequence: what it has seen, and room to work in. It is always computed by itself, so that no other sequence can
/// change its answer.
#[derive(Debug)]
pub struct Sequence {
    caches: Vec<Cache>,
    length: usize,
    room: Room,
}

impl Sequence {
    /// How many positions it has.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Why a sequence could not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// There is no more room.
    #[error("the context is full: {asked} tokens, and it takes {most}")]
    Full {
        /// How many positions there would have been.
        asked: usize,
        /// How many there may be.
        most: usize,
    },
    /// A token that the model doesn't have.
    #[error("the model has no token {0}")]
    NoToken(u32),
    /// There was nothing to go on from.
    #[error("no tokens were given")]
    Nothing,
}

/// Buffers that are used again for each token.
#[derive(Debug, Default)]
struct Room {
    rows: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    heads: Vec<f32>,
    gate_up: Vec<f32>,
    inner: Vec<f32>,
    rounded: Rounded,
    spare: Vec<f32>,
    scores: Vec<f32>,
    /// Cosines and sines of each rope.
    angles: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Model {
    pub(super) fn new(weights: Weights, context: usize) -> Model {
        Model { weights, context }
    }

    /// An empty sequence.
    pub fn start(&self) -> Sequence {
        Sequence { caches: vec![Cache::default(); self.weights.layers.len()], length: 0, room: Room::default() }
    }

    /// How many logits there are: at least one per token of the tokenizer.
    pub fn vocabulary(&self) -> usize {
        self.weights.vocabulary()
    }

    /// Positions that a sequence may have.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Feeds tokens (a prompt, or the last token) and returns the logits after the last of them.
    ///
    /// Products large enough are shared among the threads of the rayon pool that this is called in.
    ///
    /// # Errors
    /// When the context would overflow, or a token isn't one; the sequence is then as it was.
    pub fn forward(&self, sequence: &mut Sequence, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        let asked = sequence.length + tokens.len();
        if asked > self.context {
            return Err(ModelError::Full { asked, most: self.context });
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.vocabulary()) {
            return Err(ModelError::NoToken(*token));
        }
        if tokens.is_empty() {
            return Err(ModelError::Nothing);
        }
        for chunk in tokens.chunks(CHUNK) {
            self.read(sequence, chunk);
        }
        Ok(self.logits(&mut sequence.room))
    }

    /// Takes a few tokens in, and leaves the rows after the last layer.
    fn read(&self, sequence: &mut Sequence, tokens: &[u32]) {
        let config = &self.weights.config;
        let Sequence { caches, length, room } = sequence;
        room.rows.resize(tokens.len() * config.hidden, 0.0);
        for (token, row) in tokens.iter().zip(room.rows.chunks_mut(config.hidden)) {
            self.weights.embedding.read_row(*token as usize, row);
            if config.embedding_scale != 1.0 {
                row.iter_mut().for_each(|value| *value *= config.embedding_scale);
            }
        }
        room.angles.resize(config.ropes.len(), Default::default());
        for (rope, (cosines, sines)) in config.ropes.iter().zip(&mut room.angles) {
            cosines.clear();
            sines.clear();
            for position in *length..*length + tokens.len() {
                rope.push_angles(position, cosines, sines);
            }
        }
        for (index, (layer, cache)) in self.weights.layers.iter().zip(caches).enumerate() {
            self.attention(index, layer, cache, room);
            self.feed_forward(layer, room);
        }
        *length += tokens.len();
    }

    fn attention(&self, index: usize, layer: &Layer, cache: &mut Cache, room: &mut Room) {
        let config = &self.weights.config;
        let (query, key) = (config.heads * config.head, config.kv_heads * config.head);
        let width = query + 2 * key;
        let LayerConfig { rope, window } = config.layers[index];
        room.norm(&layer.attention_norm, config.epsilon);
        multiply(&layer.qkv, config.hidden, &room.normed, &mut room.rounded, &mut room.qkv, &mut room.spare);
        let half = config.ropes[rope].half();
        let (cosines, sines) = &room.angles[rope];
        for (position, row) in room.qkv.chunks_mut(width).enumerate() {
            if let Some(weights) = &layer.query_norm {
                ops::norm_in_place(&mut row[..query], weights, config.epsilon);
            }
            if let Some(weights) = &layer.key_norm {
                ops::norm_in_place(&mut row[query..query + key], weights, config.epsilon);
            }
            let angles = position * half..(position + 1) * half;
            ops::rotate(&mut row[..query + key], config.head, &cosines[angles.clone()], &sines[angles]);
            cache.push(&row[query..query + key], &row[query + key..]);
        }
        let shape = Shape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            size: config.head,
            scale: config.attention_scale,
            cap: config.attention_cap,
            window,
        };
        room.heads.resize(room.qkv.len() / width * query, 0.0);
        attend(cache, shape, &room.qkv, width, &mut room.heads, &mut room.scores);
        multiply(&layer.out, query, &room.heads, &mut room.rounded, &mut room.normed, &mut room.spare);
        room.add_normed(layer.post_attention_norm.as_deref(), config.epsilon);
    }

    fn feed_forward(&self, layer: &Layer, room: &mut Room) {
        let config = &self.weights.config;
        let inner = config.intermediate;
        room.norm(&layer.ffn_norm, config.epsilon);
        multiply(&layer.gate_up, config.hidden, &room.normed, &mut room.rounded, &mut room.gate_up, &mut room.spare);
        room.inner.resize(room.gate_up.len() / 2, 0.0);
        ops::gate(&room.gate_up, inner, config.activation, &mut room.inner);
        multiply(&layer.down, inner, &room.inner, &mut room.rounded, &mut room.normed, &mut room.spare);
        room.add_normed(layer.post_ffn_norm.as_deref(), config.epsilon);
    }

    /// Logits of the last row.
    fn logits(&self, room: &mut Room) -> Vec<f32> {
        let config = &self.weights.config;
        let last = room.rows.len() - config.hidden;
        room.normed.resize(config.hidden, 0.0);
        ops::norm(&room.rows[last..], &self.weights.norm, config.epsilon, &mut room.normed);
        let head = self.weights.head.as_ref().unwrap_or(&self.weights.embedding);
        if head.takes_blocks() {
            room.rounded.fill(&room.normed);
        }
        let input = Input { columns: config.hidden, floats: &room.normed, rounded: &room.rounded };
        let mut logits = vec![0.0; head.rows()];
        head.multiply(&input, &mut logits, head.rows(), 0, &mut room.spare);
        if let Some(cap) = config.final_cap {
            ops::cap(&mut logits, cap);
        }
        logits
    }
}

impl Room {
    fn norm(&mut self, weights: &[f32], epsilon: f32) {
        self.normed.resize(self.rows.len(), 0.0);
        ops::norm(&self.rows, weights, epsilon, &mut self.normed);
    }

    /// Adds what a part of a layer made to the rows, normed where the family does so.
    fn add_normed(&mut self, weights: Option<&[f32]>, epsilon: f32) {
        if let Some(weights) = weights {
            ops::norm_in_place(&mut self.normed, weights, epsilon);
        }
        ops::add(&mut self.rows, &self.normed);
    }
}

/// Rows of `from`, which are `columns` long, times the matrices.
fn multiply(
    linear: &Linear,
    columns: usize,
    from: &[f32],
    rounded: &mut Rounded,
    out: &mut Vec<f32>,
    spare: &mut Vec<f32>,
) {
    if linear.parts.iter().any(|part| part.takes_blocks()) {
        rounded.fill(from);
    }
    let input = Input { columns, floats: from, rounded };
    let width = linear.rows();
    out.resize(input.rows() * width, 0.0);
    let mut offset = 0;
    for part in &linear.parts {
        part.multiply(&input, out, width, offset, spare);
        offset += part.rows();
    }
    if let Some(bias) = &linear.bias {
        for row in out.chunks_mut(width) {
            ops::add(row, bias);
        }
    }
}

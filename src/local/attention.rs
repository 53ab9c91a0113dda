//! What a sequence remembers, and how a position looks back at it.

use pulp::Simd;
use rayon::prelude::*;

use crate::local::ops::{cap, softmax};
use crate::local::simd::{dot, vectorised};

/// Multiplications from which it pays to share the heads among threads.
const SHARED_WORK: usize = 1 << 20;

/// Keys and values of one layer: rows of `heads × size`, one per position.
#[derive(Debug, Clone, Default)]
pub(super) struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Cache {
    /// Adds rows. The room doubles as it is used up.
    pub fn push(&mut self, key: &[f32], value: &[f32]) {
        self.keys.extend_from_slice(key);
        self.values.extend_from_slice(value);
    }
}

/// The shape of attention in one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads: as many, or fewer that several queries share.
    pub kv_heads: usize,
    /// Length of a head.
    pub size: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// What scores are capped by, softly.
    pub cap: Option<f32>,
    /// How many positions are seen, the own one included; `None`: all.
    pub window: Option<usize>,
}

/// The heads' outputs for queries at the last positions of the cache: rows of `heads × size`, written to `out`; the
/// queries are the first elements of rows that are `stride` long. `spare` is room to work in.
pub(super) fn attend(
    cache: &Cache,
    shape: Shape,
    queries: &[f32],
    stride: usize,
    out: &mut [f32],
    spare: &mut Vec<f32>,
) {
    let (width, kv_width) = (shape.heads * shape.size, shape.kv_heads * shape.size);
    let length = cache.keys.len() / kv_width;
    let count = out.len() / width;
    let group = shape.heads / shape.kv_heads;
    if rayon::current_num_threads() == 1 || count * length * width < SHARED_WORK {
        spare.resize(group * length, 0.0);
        for head in 0..shape.kv_heads {
            for (index, out) in out.chunks_mut(width).enumerate() {
                let position = length - count + index;
                let query = &queries[index * stride + head * group * shape.size..][..group * shape.size];
                let out = &mut out[head * group * shape.size..][..group * shape.size];
                look_back(cache, shape, head, position, query, spare, out);
            }
        }
        return;
    }
    // One share per group of heads and row, each with room of its own; rows are put together in their order.
    out.par_chunks_mut(group * shape.size).enumerate().for_each_init(
        || vec![0.0; group * length],
        |scores, (at, out)| {
            let (index, head) = (at / shape.kv_heads, at % shape.kv_heads);
            let query = &queries[index * stride + head * group * shape.size..][..group * shape.size];
            look_back(cache, shape, head, length - count + index, query, scores, out);
        },
    );
}

/// One position's queries of one group of heads.
fn look_back(
    cache: &Cache,
    shape: Shape,
    head: usize,
    position: usize,
    queries: &[f32],
    scores: &mut [f32],
    out: &mut [f32],
) {
    let width = shape.kv_heads * shape.size;
    let first = shape.window.map_or(0, |window| (position + 1).saturating_sub(window));
    let seen = position + 1 - first;
    let start = first * width + head * shape.size;
    let scores = &mut scores[..queries.len() / shape.size * seen];
    score(queries, shape.size, shape.scale, &cache.keys[start..], width, scores);
    if let Some(most) = shape.cap {
        cap(scores, most);
    }
    mix(scores, seen, &cache.values[start..], width, out, shape.size);
}

vectorised! {
    /// What each query makes of each key.
    fn score<'a>(simd: Simd, queries: &'a [f32], size: usize, scale: f32, keys: &'a [f32], width: usize, scores: &'a mut [f32]) {
        let seen = scores.len() / (queries.len() / size);
        for (query, scores) in queries.chunks_exact(size).zip(scores.chunks_exact_mut(seen)) {
            for (score, key) in scores.iter_mut().zip(keys.chunks(width)) {
                *score = dot(simd, query, &key[..size]) * scale;
            }
        }
    }
}

vectorised! {
    /// The values, weighted by the scores.
    fn mix<'a>(simd: Simd, scores: &'a mut [f32], seen: usize, values: &'a [f32], width: usize, out: &'a mut [f32], size: usize) {
        for (scores, out) in scores.chunks_exact_mut(seen).zip(out.chunks_exact_mut(size)) {
            softmax(simd, scores);
            let mut at = 0;
            while at + 4 * S::F32_LANES <= size {
                mix_strip::<S, 4>(simd, scores, &values[at..], width, &mut out[at..at + 4 * S::F32_LANES]);
                at += 4 * S::F32_LANES;
            }
            while at + S::F32_LANES <= size {
                mix_strip::<S, 1>(simd, scores, &values[at..], width, &mut out[at..at + S::F32_LANES]);
                at += S::F32_LANES;
            }
            for at in at..size {
                let products = scores.iter().zip(values[at..].iter().step_by(width));
                out[at] = products.map(|(weight, value)| weight * value).sum();
            }
        }
    }
}

/// Adds up the same few elements of each value, weighted, in registers.
#[inline(always)]
fn mix_strip<S: Simd, const N: usize>(simd: S, weights: &[f32], values: &[f32], width: usize, out: &mut [f32]) {
    let mut sums = [simd.splat_f32s(0.0); N];
    for (weight, value) in weights.iter().zip(values.chunks(width)) {
        let weight = simd.splat_f32s(*weight);
        let value = S::as_simd_f32s(&value[..out.len()]).0;
        for at in 0..N {
            sums[at] = simd.mul_add_e_f32s(weight, value[at], sums[at]);
        }
    }
    S::as_mut_simd_f32s(out).0.copy_from_slice(&sums);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        (0..count as u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) % 2000) as f32 / 1000.0 - 1.0)
            .collect()
    }

    #[test]
    fn attention_is_the_weighted_mean_of_what_is_in_the_window() {
        let shape = Shape { heads: 4, kv_heads: 2, size: 20, scale: 0.3, cap: Some(5.0), window: Some(3) };
        let mut cache = Cache::default();
        for position in 0..7 {
            cache.push(&numbers(40, position), &numbers(40, position + 100));
        }
        let queries = numbers(2 * 90, 7);
        let mut out = vec![0.0; 2 * 80];
        attend(&cache, shape, &queries, 90, &mut out, &mut Vec::new());
        for row in 0..2 {
            for head in 0..4 {
                let position = 5 + row;
                let kv = head / 2 * 20;
                let query = &queries[row * 90 + head * 20..][..20];
                let weights: Vec<f64> = (position - 2..=position)
                    .map(|at| {
                        let key = &cache.keys[at * 40 + kv..][..20];
                        let dot: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                        (5.0 * (dot * 0.3 / 5.0).tanh()).exp()
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                for element in 0..20 {
                    let expected: f64 = (0..3)
                        .map(|at| weights[at] / sum * f64::from(cache.values[(position - 2 + at) * 40 + kv + element]))
                        .sum();
                    let found = f64::from(out[row * 80 + head * 20 + element]);
                    assert!((found - expected).abs() < 1e-5, "row {row}, head {head}: {found} for {expected}");
                }
            }
        }
    }
}

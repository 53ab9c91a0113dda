//! The small steps between the matrix products, over rows of `f32`.

use pulp::Simd;

use crate::local::simd::{dot, most, sum, vectorised};

vectorised! {
/// The root-mean-square norm of each row, times `weights` (Zhang & Sennrich 2019, <https://arxiv.org/abs/1910.07467>).
/// Rows are as long as `weights`.
pub(super) fn norm<'a>(simd: Simd, from: &'a [f32], weights: &'a [f32], epsilon: f32, out: &'a mut [f32]) {
        for (from, out) in from.chunks_exact(weights.len()).zip(out.chunks_exact_mut(weights.len())) {
            let scale = norm_scale(simd, from, epsilon);
            for ((out, value), weight) in out.iter_mut().zip(from).zip(weights) {
                *out = value * scale * weight;
            }
        }
}
}

vectorised! {
/// The same, in place.
pub(super) fn norm_in_place<'a>(simd: Simd, rows: &'a mut [f32], weights: &'a [f32], epsilon: f32) {
        for row in rows.chunks_exact_mut(weights.len()) {
            let scale = norm_scale(simd, row, epsilon);
            for (value, weight) in row.iter_mut().zip(weights) {
                *value = *value * scale * weight;
            }
        }
}
}

#[inline(always)]
fn norm_scale<S: Simd>(simd: S, row: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(simd, row, row) / row.len() as f32 + epsilon).sqrt()
}

vectorised! {
/// Adds `other` to `rows`.
pub(super) fn add<'a>(_simd: Simd, rows: &'a mut [f32], other: &'a [f32]) {
        for (value, other) in rows.iter_mut().zip(other) {
            *value += other;
        }
}
}

/// What stands between the two halves of a feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// The tanh approximation of GELU (Hendrycks & Gimpel 2016, <https://arxiv.org/abs/1606.08415>).
    GeluTanh,
}

vectorised! {
/// `activation(gate) · up` for rows that hold the gates and then the ups.
pub(super) fn gate<'a>(_simd: Simd, rows: &'a [f32], width: usize, activation: Activation, out: &'a mut [f32]) {
        for (row, out) in rows.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gates, ups) = row.split_at(width);
            let rows = out.iter_mut().zip(gates.iter().zip(ups));
            match activation {
                Activation::Silu => {
                    for (out, (gate, up)) in rows {
                        *out = gate / (1.0 + exp(-gate)) * up;
                    }
                }
                Activation::GeluTanh => {
                    for (out, (gate, up)) in rows {
                        let inner = 0.797_884_6 * (gate + 0.044_715 * gate * gate * gate);
                        *out = 0.5 * gate * (1.0 + tanh(inner)) * up;
                    }
                }
            }
        }
}
}

/// `eˣ` to about one unit in the last place; below -87 it is about 1e-38, above 88 about 1.6e38.
///
/// Cephes's `expf` (Moshier): `2ⁿ · p(r)`. It has no branches, so that loops over it are vectorised.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4;
    let r = r + n * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // The low bits of the shifted number are n: moved into the exponent they are 2ⁿ.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    p * power
}

/// `tanh(x)` by way of [`exp`].
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    // Near 0 the difference would lose its digits: there the series is used.
    let e = exp(2.0 * x);
    let far = 1.0 - 2.0 / (e + 1.0);
    let square = x * x;
    let near = x * (1.0 - square * (0.333_333_34 - square * (0.133_333_34 - square * 0.053_968_254)));
    if square < 0.04 { near } else { far }
}

vectorised! {
/// `cap · tanh(x / cap)` in place.
pub(super) fn cap<'a>(_simd: Simd, values: &'a mut [f32], cap: f32) {
        for value in values.iter_mut() {
            *value = cap * tanh(*value / cap);
        }
}
}

/// Turns scores into weights that add up to 1.
#[inline(always)]
pub(super) fn softmax<S: Simd>(simd: S, scores: &mut [f32]) {
    let most = most(simd, scores);
    for score in scores.iter_mut() {
        *score = exp(*score - most);
    }
    let inverse = 1.0 / sum(simd, scores);
    for score in scores.iter_mut() {
        *score *= inverse;
    }
}

vectorised! {
/// Turns the pairs of each head by the position's angles: element `i` and `i + half` of the first `2 · half` elements
/// (Su et al. 2021, <https://arxiv.org/abs/2104.09864>, in the order that Hugging Face's weights have).
pub(super) fn rotate<'a>(_simd: Simd, row: &'a mut [f32], head: usize, cosines: &'a [f32], sines: &'a [f32]) {
    let half = cosines.len();
        for head in row.chunks_exact_mut(head) {
            let (low, high) = head[..2 * half].split_at_mut(half);
            for ((low, high), (cosine, sine)) in low.iter_mut().zip(high).zip(cosines.iter().zip(sines)) {
                let (x, y) = (*low, *high);
                *low = x * cosine - y * sine;
                *high = y * cosine + x * sine;
            }
        }
}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_tanh_are_right_to_a_few_units() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let (found, expected) = (exp(x), x.exp());
            assert!((found - expected).abs() <= 3e-7 * expected, "exp({x}) = {found}, not {expected}");
            let x = step as f32 / 1000.0;
            let (found, expected) = (tanh(x), x.tanh());
            assert!((found - expected).abs() <= 4e-7, "tanh({x}) = {found}, not {expected}");
        }
        assert!(exp(-1000.0) < 1e-37 && exp(1000.0) > 1e38 && exp(1000.0).is_finite());
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.0));
    }

    #[test]
    fn softmax_adds_up_to_one_and_keeps_ratios() {
        let mut scores: Vec<f32> = (0..37).map(|i| i as f32 / 10.0).collect();
        softmax(pulp::Scalar, &mut scores);
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((scores[36] / scores[26] - 1.0_f32.exp()).abs() < 1e-5);
    }
}

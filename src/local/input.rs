//! Activations as matrices take them: as `f32`, and rounded to 8 bits in blocks.

/// Elements of one block.
pub(super) const BLOCK: usize = 32;

/// Rows of activations.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// Length of a row.
    pub columns: usize,
    /// The rows.
    pub floats: &'a [f32],
    /// The same in 8-bit blocks; of no use when no matrix takes them.
    pub rounded: &'a Rounded,
}

impl Input<'_> {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.floats.len() / self.columns
    }
}

/// Activations rounded to 8 bits in blocks of 32, as ggml's Q8_0.
#[derive(Debug, Default)]
pub(super) struct Rounded {
    /// The whole numbers.
    pub quants: Vec<i8>,
    /// What those of each block are multiplied by.
    pub scales: Vec<f32>,
    /// Of each block, the sum of its values: for weights that have a constant added per group of 32.
    pub sums: Vec<f32>,
    /// The same of each half block.
    pub half_sums: Vec<f32>,
}

impl Rounded {
    /// Rounds rows whose length is a multiple of 32.
    pub fn fill(&mut self, floats: &[f32]) {
        let blocks = floats.len() / BLOCK;
        self.quants.resize(floats.len(), 0);
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, 0.0);
        self.half_sums.resize(2 * blocks, 0.0);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            return simd.vectorize(avx2::Round { simd, floats, to: self });
        }
        let from = floats.as_chunks::<BLOCK>().0.iter();
        for (index, (block, quants)) in from.zip(self.quants.as_chunks_mut::<BLOCK>().0).enumerate() {
            let most = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
            self.scales[index] = most / 127.0;
            for (quant, value) in quants.iter_mut().zip(block) {
                *quant = (value * inverse).round_ties_even() as i8;
            }
            for (half, quants) in quants.as_chunks::<16>().0.iter().enumerate() {
                let sum: i32 = quants.iter().map(|quant| i32::from(*quant)).sum();
                self.half_sums[2 * index + half] = self.scales[index] * sum as f32;
            }
            self.sums[index] = self.half_sums[2 * index] + self.half_sums[2 * index + 1];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{__m256, __m256i};

    use pulp::x86::V3;
    use pulp::{NullaryFnOnce, Simd};

    use super::{BLOCK, Rounded};

    pub(super) struct Round<'a> {
        pub simd: V3,
        pub floats: &'a [f32],
        pub to: &'a mut Rounded,
    }

    impl NullaryFnOnce for Round<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let Rounded { quants, scales, sums, half_sums } = self.to;
            let blocks = self.floats.as_chunks::<BLOCK>().0.iter().zip(quants.as_chunks_mut::<BLOCK>().0);
            let halves = half_sums.as_chunks_mut::<2>().0;
            let rest = scales.iter_mut().zip(sums.iter_mut().zip(halves));
            for ((block, quants), (scale, (sum, halves))) in blocks.zip(rest) {
                (*scale, *halves) = round(self.simd, block, quants);
                *sum = halves[0] + halves[1];
            }
        }
    }

    #[inline(always)]
    fn round(simd: V3, block: &[f32; BLOCK], quants: &mut [i8; BLOCK]) -> (f32, [f32; 2]) {
        let V3 { avx, avx2, .. } = simd;
        let parts: [__m256; 4] = pulp::cast(*block);
        let sign = avx._mm256_set1_ps(-0.0);
        let absolute = parts.map(|part| avx._mm256_andnot_ps(sign, part));
        let most =
            avx._mm256_max_ps(avx._mm256_max_ps(absolute[0], absolute[1]), avx._mm256_max_ps(absolute[2], absolute[3]));
        let most = simd.reduce_max_f32s(pulp::cast(most));
        let scale = most / 127.0;
        let inverse = avx._mm256_set1_ps(if most > 0.0 { 127.0 / most } else { 0.0 });
        let whole = parts.map(|part| avx._mm256_cvtps_epi32(avx._mm256_mul_ps(part, inverse)));
        let low = avx2._mm256_packs_epi32(whole[0], whole[1]);
        let high = avx2._mm256_packs_epi32(whole[2], whole[3]);
        // Packing works on each half by itself: the order is put right afterwards.
        let order: __m256i = pulp::cast([0_i32, 4, 1, 5, 2, 6, 3, 7]);
        let packed = avx2._mm256_permutevar8x32_epi32(avx2._mm256_packs_epi16(low, high), order);
        *quants = pulp::cast(packed);
        let sum = |one: __m256i, other: __m256i| {
            let sums: [i32; 8] = pulp::cast(avx2._mm256_add_epi32(one, other));
            scale * sums.iter().sum::<i32>() as f32
        };
        (scale, [sum(whole[0], whole[1]), sum(whole[2], whole[3])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_of_127_steps() {
        let floats: Vec<f32> = (0..96).map(|i| if i < 32 { 0.0 } else { (i as f32 * 1.7).sin() * i as f32 }).collect();
        let mut rounded = Rounded::default();
        rounded.fill(&floats);
        assert_eq!((rounded.scales[0], rounded.quants[5], rounded.sums[0]), (0.0, 0, 0.0));
        for (index, value) in floats.iter().enumerate() {
            let back = f32::from(rounded.quants[index]) * rounded.scales[index / 32];
            assert!((back - value).abs() <= rounded.scales[index / 32] * 0.5001, "{index}: {back} for {value}");
        }
        for half in 0..6 {
            let back = (0..16).map(|at| f32::from(rounded.quants[half * 16 + at]) * rounded.scales[half / 2]);
            assert!((rounded.half_sums[half] - back.sum::<f32>()).abs() < 1e-3);
        }
    }
}

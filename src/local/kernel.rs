//! Dot products of the rows of a weight matrix with activations, the one place where nearly all time goes.
//!
//! Weights are read as they are stored (32-bit or 16-bit floats, or whole numbers with a scale per group), activations
//! are `f32` for the former and 8-bit blocks for the latter, sums are `f32`. On x86-64 with AVX2 the processor's
//! instructions are used by way of `pulp`, whose functions are safe to call; elsewhere the same loops are left to the
//! compiler. Every output is one dot product, computed whole by one thread in one fixed order: it doesn't depend on how
//! many threads there are, nor on what else is running.

use crate::local::blocks::{Blocks, Quants, half};

/// Elements of one block of activations.
pub(super) const BLOCK: usize = 32;

/// Activations as the dot products take them.
pub(super) struct Input<'a> {
    /// Length of a row.
    pub columns: usize,
    /// Rows of `f32`.
    pub floats: &'a [f32],
    /// The same rows in 8-bit blocks; empty when no matrix needs them.
    pub blocks: &'a Rounded,
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
    quants: Vec<i8>,
    scales: Vec<f32>,
    /// Of each half block: the sum of its values, for weights that have a constant added per group.
    sums: Vec<f32>,
}

impl Rounded {
    /// Rounds rows whose length is a multiple of 32.
    pub fn fill(&mut self, floats: &[f32]) {
        self.quants.resize(floats.len(), 0);
        self.scales.resize(floats.len() / BLOCK, 0.0);
        self.sums.resize(floats.len() / BLOCK * 2, 0.0);
        let Rounded { quants, scales, sums } = self;
        vectorised(
            #[inline(always)]
            || round_blocks(floats, quants, scales, sums),
        );
    }
}

#[inline(always)]
fn round_blocks(floats: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [f32]) {
    let blocks = floats.as_chunks::<BLOCK>().0.iter().zip(quants.as_chunks_mut::<BLOCK>().0);
    for ((block, quants), (scale, sums)) in blocks.zip(scales.iter_mut().zip(sums.as_chunks_mut::<2>().0)) {
        let mut lanes = [0.0_f32; 8];
        for part in block.as_chunks::<8>().0 {
            for (lane, value) in lanes.iter_mut().zip(part) {
                let value = value.abs();
                *lane = if value > *lane { value } else { *lane };
            }
        }
        let most = lanes.iter().fold(0.0_f32, |most, lane| if *lane > most { *lane } else { most });
        *scale = most / 127.0;
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        for (quant, value) in quants.iter_mut().zip(block) {
            // Adding 1.5·2²³ rounds to the nearest whole number, whose low byte is then the mantissa's.
            *quant = (*value * inverse + 12_582_912.0).to_bits() as u8 as i8;
        }
        for (sum, half) in sums.iter_mut().zip(quants.as_chunks::<16>().0) {
            *sum = *scale * half.iter().map(|quant| i32::from(*quant)).sum::<i32>() as f32;
        }
    }
}

/// Runs a loop with the widest instructions that this processor has and `pulp` knows.
#[inline(always)]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(work);
    }
    work()
}

/// A float as weights are stored.
pub(super) trait Element: Copy + Send + Sync {
    /// Its value.
    fn value(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

/// The bits of an IEEE half.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Half(pub u16);

impl Element for Half {
    #[inline(always)]
    fn value(self) -> f32 {
        half(self.0)
    }
}

/// The bits of a bfloat16.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Brain(pub u16);

impl Element for Brain {
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// Whether multiplying and adding is one instruction without AVX2.
const FUSED: bool = cfg!(target_arch = "aarch64");

#[inline(always)]
fn multiply_add<const FUSED: bool>(one: f32, other: f32, sum: f32) -> f32 {
    if FUSED { one.mul_add(other, sum) } else { one * other + sum }
}

/// Products of rows of floats with every row of the input: `out` is rows of weights × rows of input.
pub(super) fn float_rows<W: Element>(weights: &[W], input: &Input<'_>, out: &mut [f32]) {
    let (columns, floats) = (input.columns, input.floats);
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(|| float_tiles::<true, W>(weights, floats, columns, out));
    }
    float_tiles::<FUSED, W>(weights, floats, columns, out);
}

#[inline(always)]
fn float_tiles<const FUSED: bool, W: Element>(weights: &[W], floats: &[f32], columns: usize, out: &mut [f32]) {
    let count = floats.len() / columns;
    let row = |at: usize| &weights[at * columns..(at + 1) * columns];
    let input = |at: usize| &floats[at * columns..(at + 1) * columns];
    let rows = weights.len() / columns;
    let mut at = 0;
    while at + 4 <= rows {
        let tile = [row(at), row(at + 1), row(at + 2), row(at + 3)];
        let mut column = 0;
        while column + 2 <= count {
            let sums = float_tile::<FUSED, 8, 4, 2, W>(tile, [input(column), input(column + 1)]);
            for (index, sums) in sums.iter().enumerate() {
                out[(at + index) * count + column..][..2].copy_from_slice(sums);
            }
            column += 2;
        }
        if column < count {
            let sums = float_tile::<FUSED, 16, 4, 1, W>(tile, [input(column)]);
            for (index, [sum]) in sums.into_iter().enumerate() {
                out[(at + index) * count + column] = sum;
            }
        }
        at += 4;
    }
    for at in at..rows {
        for column in 0..count {
            let [[sum]] = float_tile::<FUSED, 16, 1, 1, W>([row(at)], [input(column)]);
            out[at * count + column] = sum;
        }
    }
}

#[inline(always)]
fn float_tile<const FUSED: bool, const LANES: usize, const R: usize, const C: usize, W: Element>(
    rows: [&[W]; R],
    inputs: [&[f32]; C],
) -> [[f32; C]; R] {
    let mut lanes = [[[0.0_f32; LANES]; C]; R];
    let length = inputs[0].len();
    let steps = length / LANES;
    let row_steps = rows.map(|row| &row.as_chunks::<LANES>().0[..steps]);
    let input_steps = inputs.map(|input| &input.as_chunks::<LANES>().0[..steps]);
    for step in 0..steps {
        for r in 0..R {
            let weights = row_steps[r][step].map(Element::value);
            for c in 0..C {
                for lane in 0..LANES {
                    lanes[r][c][lane] =
                        multiply_add::<FUSED>(weights[lane], input_steps[c][step][lane], lanes[r][c][lane]);
                }
            }
        }
    }
    let mut sums = [[0.0; C]; R];
    for r in 0..R {
        for c in 0..C {
            let mut sum = add_up(&lanes[r][c]);
            for at in steps * LANES..length {
                sum = multiply_add::<FUSED>(rows[r][at].value(), inputs[c][at], sum);
            }
            sums[r][c] = sum;
        }
    }
    sums
}

/// The sum of lanes, in pairs.
#[inline(always)]
pub(super) fn add_up<const LANES: usize>(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Products of the rows of blocks from `first` on with every row of the input: as many rows as `out` has room for.
pub(super) fn block_rows(blocks: &Blocks, first: usize, input: &Input<'_>, out: &mut [f32]) {
    let rows = Rows { blocks, first, columns: input.columns, input: input.blocks, count: input.rows() };
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(|| match (&blocks.quants, blocks.group) {
            (Quants::Eight(quants), 32) => rows.tiles(out, Eight::<32>(simd, quants)),
            (Quants::Eight(quants), _) => rows.tiles(out, Eight::<16>(simd, quants)),
            (Quants::Four(quants), _) => rows.tiles(out, Four(simd, quants)),
        });
    }
    match &blocks.quants {
        Quants::Eight(quants) => rows.plain(out, |block| *block_of(quants, block)),
        Quants::Four(quants) => rows.plain(out, |block| {
            let bytes = &quants.as_chunks::<16>().0[block];
            std::array::from_fn(|at| if at < 16 { bytes[at] & 15 } else { bytes[at - 16] >> 4 } as i8)
        }),
    }
}

#[inline(always)]
fn block_of(quants: &[i8], block: usize) -> &[i8; BLOCK] {
    &quants.as_chunks::<BLOCK>().0[block]
}

#[derive(Clone, Copy)]
struct Rows<'a> {
    blocks: &'a Blocks,
    first: usize,
    columns: usize,
    input: &'a Rounded,
    count: usize,
}

impl Rows<'_> {
    /// What the constants added to each group come to.
    #[inline(always)]
    fn added(&self, row: usize, column: usize) -> f32 {
        if self.blocks.adds.is_empty() {
            return 0.0;
        }
        let groups = self.columns / self.blocks.group;
        let adds = &self.blocks.adds[(self.first + row) * groups..][..groups];
        let halves = self.columns / 16;
        let sums = &self.input.sums[column * halves..][..halves];
        let mut lanes = [0.0_f32; 8];
        if self.blocks.group == 16 {
            for (adds, sums) in adds.chunks(8).zip(sums.chunks(8)) {
                for ((lane, add), sum) in lanes.iter_mut().zip(adds).zip(sums) {
                    *lane += add * sum;
                }
            }
        } else {
            for (adds, sums) in adds.chunks(8).zip(sums.chunks(16)) {
                for ((lane, add), sums) in lanes.iter_mut().zip(adds).zip(sums.as_chunks::<2>().0) {
                    *lane += add * (sums[0] + sums[1]);
                }
            }
        }
        add_up(&lanes)
    }

    /// Without instructions of any one processor.
    fn plain(&self, out: &mut [f32], block_at: impl Fn(usize) -> [i8; BLOCK]) {
        let blocks = self.columns / BLOCK;
        let per_block = BLOCK / self.blocks.group;
        for (row, out) in out.chunks_mut(self.count).enumerate() {
            for (column, out) in out.iter_mut().enumerate() {
                let mut sum = 0.0;
                for block in 0..blocks {
                    let at = (self.first + row) * blocks + block;
                    let weights = block_at(at);
                    let values = block_of(&self.input.quants, column * blocks + block);
                    let scales = &self.blocks.scales[at * per_block..][..per_block];
                    let mut part = 0.0;
                    for (group, scale) in scales.iter().enumerate() {
                        let range = group * self.blocks.group..(group + 1) * self.blocks.group;
                        let products = weights[range.clone()].iter().zip(&values[range]);
                        let dot: i32 = products.map(|(weight, value)| i32::from(*weight) * i32::from(*value)).sum();
                        part += scale * dot as f32;
                    }
                    sum += part * self.input.scales[column * blocks + block];
                }
                *out = sum + self.added(row, column);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! The same with AVX2, several rows of weights and of input at a time.

    use std::arch::x86_64::{__m256, __m256i};

    use pulp::x86::V3;

    use super::{BLOCK, Rows, add_up};

    /// How blocks of one layout are multiplied.
    pub(super) trait Layout: Copy {
        /// A block made ready: what is the same for every row of the input.
        type Block: Copy;
        fn simd(&self) -> V3;
        fn block(&self, at: usize) -> Self::Block;
        /// Eight sums of four products each.
        fn products(&self, block: Self::Block, values: __m256i) -> __m256i;
        /// The scale of each of the eight sums.
        fn scale(&self, scales: &[f32], at: usize, other: f32) -> __m256;
    }

    /// Whole numbers of 8 bits with a sign, in groups of `GROUP`.
    #[derive(Clone, Copy)]
    pub(super) struct Eight<'a, const GROUP: usize>(pub V3, pub &'a [i8]);

    impl<const GROUP: usize> Layout for Eight<'_, GROUP> {
        type Block = (__m256i, __m256i);

        #[inline(always)]
        fn simd(&self) -> V3 {
            self.0
        }

        #[inline(always)]
        fn block(&self, at: usize) -> Self::Block {
            let block: __m256i = pulp::cast(self.1.as_chunks::<BLOCK>().0[at]);
            (block, self.0.avx2._mm256_abs_epi8(block))
        }

        #[inline(always)]
        fn products(&self, (block, absolute): Self::Block, values: __m256i) -> __m256i {
            let V3 { avx, avx2, .. } = self.0;
            // One factor has to be without sign: it is given to the other one.
            let pairs = avx2._mm256_maddubs_epi16(absolute, avx2._mm256_sign_epi8(values, block));
            avx2._mm256_madd_epi16(pairs, avx._mm256_set1_epi16(1))
        }

        #[inline(always)]
        fn scale(&self, scales: &[f32], at: usize, other: f32) -> __m256 {
            let V3 { sse, avx, .. } = self.0;
            if GROUP == 32 {
                avx._mm256_set1_ps(scales[at] * other)
            } else {
                let (low, high) = (scales[2 * at] * other, scales[2 * at + 1] * other);
                avx._mm256_set_m128(sse._mm_set1_ps(high), sse._mm_set1_ps(low))
            }
        }
    }

    /// Whole numbers of 4 bits without a sign.
    #[derive(Clone, Copy)]
    pub(super) struct Four<'a>(pub V3, pub &'a [u8]);

    impl Layout for Four<'_> {
        type Block = __m256i;

        #[inline(always)]
        fn simd(&self) -> V3 {
            self.0
        }

        #[inline(always)]
        fn block(&self, at: usize) -> __m256i {
            let V3 { sse2, avx, avx2, .. } = self.0;
            let bytes = pulp::cast(self.1.as_chunks::<16>().0[at]);
            let both = avx._mm256_set_m128i(sse2._mm_srli_epi16::<4>(bytes), bytes);
            avx2._mm256_and_si256(both, avx._mm256_set1_epi8(15))
        }

        #[inline(always)]
        fn products(&self, block: __m256i, values: __m256i) -> __m256i {
            let V3 { avx, avx2, .. } = self.0;
            avx2._mm256_madd_epi16(avx2._mm256_maddubs_epi16(block, values), avx._mm256_set1_epi16(1))
        }

        #[inline(always)]
        fn scale(&self, scales: &[f32], at: usize, other: f32) -> __m256 {
            self.0.avx._mm256_set1_ps(scales[at] * other)
        }
    }

    impl Rows<'_> {
        #[inline(always)]
        pub(super) fn tiles<L: Layout>(&self, out: &mut [f32], layout: L) {
            let rows = out.len() / self.count;
            let mut row = 0;
            while row + 4 <= rows {
                let mut column = 0;
                while column + 2 <= self.count {
                    self.tile::<4, 2, L>(row, column, layout, out);
                    column += 2;
                }
                if column < self.count {
                    self.tile::<4, 1, L>(row, column, layout, out);
                }
                row += 4;
            }
            for row in row..rows {
                for column in 0..self.count {
                    self.tile::<1, 1, L>(row, column, layout, out);
                }
            }
        }

        #[inline(always)]
        fn tile<const R: usize, const C: usize, L: Layout>(
            &self,
            row: usize,
            column: usize,
            layout: L,
            out: &mut [f32],
        ) {
            let V3 { avx, fma, .. } = layout.simd();
            let blocks = self.columns / BLOCK;
            let groups = self.columns / self.blocks.group;
            let mut sums = [[avx._mm256_setzero_ps(); C]; R];
            let quants = self.input.quants.as_chunks::<BLOCK>().0;
            let values: [&[[i8; BLOCK]]; C] = std::array::from_fn(|c| &quants[(column + c) * blocks..][..blocks]);
            let value_scales: [&[f32]; C] =
                std::array::from_fn(|c| &self.input.scales[(column + c) * blocks..][..blocks]);
            let scales: [&[f32]; R] =
                std::array::from_fn(|r| &self.blocks.scales[(self.first + row + r) * groups..][..groups]);
            for at in 0..blocks {
                for r in 0..R {
                    let block = layout.block((self.first + row + r) * blocks + at);
                    for c in 0..C {
                        let products = avx._mm256_cvtepi32_ps(layout.products(block, pulp::cast(values[c][at])));
                        let scale = layout.scale(scales[r], at, value_scales[c][at]);
                        sums[r][c] = fma._mm256_fmadd_ps(scale, products, sums[r][c]);
                    }
                }
            }
            for r in 0..R {
                for c in 0..C {
                    let lanes: [f32; 8] = pulp::cast(sums[r][c]);
                    out[(row + r) * self.count + column + c] = add_up(&lanes) + self.added(row + r, column + c);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
use avx2::{Eight, Four};

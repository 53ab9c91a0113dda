//! Products of rows of blocks with activations in 8-bit blocks.
//!
//! On x86-64 with AVX2 the processor's instructions for whole numbers are used; elsewhere the same sums are left to the
//! compiler.

use pulp::Simd;

use crate::local::blocks::{Blocks, Quants};
use crate::local::input::{BLOCK, Input, Rounded};
use crate::local::simd::dot;

/// Products of the rows of blocks from `first` on with every row of the input: as many rows as `out` has room for.
pub(super) fn block_rows(blocks: &Blocks, first: usize, input: &Input<'_>, out: &mut [f32]) {
    let rows = Rows { blocks, first, columns: input.columns, input: input.rounded, count: input.rows() };
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return match (&blocks.quants, blocks.group) {
            (Quants::Eight(quants), 32) => simd.vectorize(Tiles { rows, out, layout: Eight::<32>(simd, quants) }),
            (Quants::Eight(quants), _) => simd.vectorize(Tiles { rows, out, layout: Eight::<16>(simd, quants) }),
            (Quants::Four(quants), _) => simd.vectorize(Tiles { rows, out, layout: Four(simd, quants) }),
        };
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
    fn added<S: Simd>(&self, simd: S, row: usize, column: usize) -> f32 {
        if self.blocks.adds.is_empty() {
            return 0.0;
        }
        let groups = self.columns / self.blocks.group;
        let sums = if self.blocks.group == BLOCK { &self.input.sums } else { &self.input.half_sums };
        let adds = &self.blocks.adds[(self.first + row) * groups..][..groups];
        dot(simd, adds, &sums[column * groups..][..groups])
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
                *out = sum + self.added(pulp::Scalar, row, column);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! The same with AVX2, several rows of weights and of input at a time.

    use std::arch::x86_64::{__m256, __m256i};

    use pulp::Simd;
    use pulp::x86::V3;

    use super::{BLOCK, Rows};

    /// How blocks of one layout are multiplied.
    pub(super) trait Layout: Copy {
        /// A block as it is stored.
        type Stored: Copy;
        /// A block made ready: what is the same for every row of the input.
        type Block: Copy;
        fn simd(&self) -> V3;
        fn stored(&self) -> &[Self::Stored];
        fn block(&self, stored: Self::Stored) -> Self::Block;
        /// Eight sums of four products each.
        fn products(&self, block: Self::Block, values: __m256i) -> __m256i;
        /// The scale of each of the eight sums.
        fn scale(&self, scales: &[f32], at: usize) -> __m256;
    }

    /// Whole numbers of 8 bits with a sign, in groups of `GROUP`.
    #[derive(Clone, Copy)]
    pub(super) struct Eight<'a, const GROUP: usize>(pub V3, pub &'a [i8]);

    impl<const GROUP: usize> Layout for Eight<'_, GROUP> {
        type Stored = [i8; BLOCK];
        type Block = (__m256i, __m256i);

        #[inline(always)]
        fn stored(&self) -> &[[i8; BLOCK]] {
            self.1.as_chunks::<BLOCK>().0
        }

        #[inline(always)]
        fn simd(&self) -> V3 {
            self.0
        }

        #[inline(always)]
        fn block(&self, stored: [i8; BLOCK]) -> Self::Block {
            let block: __m256i = pulp::cast(stored);
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
        fn scale(&self, scales: &[f32], at: usize) -> __m256 {
            let V3 { sse, avx, .. } = self.0;
            if GROUP == 32 {
                avx._mm256_set1_ps(scales[at])
            } else {
                let pair = &scales.as_chunks::<2>().0[at];
                avx._mm256_set_m128(sse._mm_set1_ps(pair[1]), sse._mm_set1_ps(pair[0]))
            }
        }
    }

    /// Whole numbers of 4 bits without a sign.
    #[derive(Clone, Copy)]
    pub(super) struct Four<'a>(pub V3, pub &'a [u8]);

    impl Layout for Four<'_> {
        type Stored = [u8; 16];
        type Block = __m256i;

        #[inline(always)]
        fn stored(&self) -> &[[u8; 16]] {
            self.1.as_chunks::<16>().0
        }

        #[inline(always)]
        fn simd(&self) -> V3 {
            self.0
        }

        #[inline(always)]
        fn block(&self, stored: [u8; 16]) -> __m256i {
            let V3 { sse2, avx, avx2, .. } = self.0;
            let bytes = pulp::cast(stored);
            let both = avx._mm256_set_m128i(sse2._mm_srli_epi16::<4>(bytes), bytes);
            avx2._mm256_and_si256(both, avx._mm256_set1_epi8(15))
        }

        #[inline(always)]
        fn products(&self, block: __m256i, values: __m256i) -> __m256i {
            let V3 { avx, avx2, .. } = self.0;
            avx2._mm256_madd_epi16(avx2._mm256_maddubs_epi16(block, values), avx._mm256_set1_epi16(1))
        }

        #[inline(always)]
        fn scale(&self, scales: &[f32], at: usize) -> __m256 {
            self.0.avx._mm256_set1_ps(scales[at])
        }
    }

    /// All the tiles of some rows.
    pub(super) struct Tiles<'a, L> {
        pub rows: Rows<'a>,
        pub out: &'a mut [f32],
        pub layout: L,
    }

    impl<L: Layout> pulp::NullaryFnOnce for Tiles<'_, L> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            self.rows.tiles(self.out, self.layout);
        }
    }

    impl Rows<'_> {
        #[inline(always)]
        fn tiles<L: Layout>(&self, out: &mut [f32], layout: L) {
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
            // Loops, since the closures of `from_fn` would not be inlined; slices of the one length, so that it is
            // looked at once.
            let quants = self.input.quants.as_chunks::<BLOCK>().0;
            let mut values: [&[[i8; BLOCK]]; C] = [&[]; C];
            let mut value_scales: [&[f32]; C] = [&[]; C];
            for c in 0..C {
                values[c] = &quants[(column + c) * blocks..][..blocks];
                value_scales[c] = &self.input.scales[(column + c) * blocks..][..blocks];
            }
            let mut weights: [&[L::Stored]; R] = [&[]; R];
            let mut scales: [&[f32]; R] = [&[]; R];
            for r in 0..R {
                weights[r] = &layout.stored()[(self.first + row + r) * blocks..][..blocks];
                scales[r] = &self.blocks.scales[(self.first + row + r) * groups..][..groups];
            }
            for at in 0..blocks {
                for r in 0..R {
                    let block = layout.block(weights[r][at]);
                    let scale = layout.scale(scales[r], at);
                    for c in 0..C {
                        let products = avx._mm256_cvtepi32_ps(layout.products(block, pulp::cast(values[c][at])));
                        let scale = avx._mm256_mul_ps(scale, avx._mm256_set1_ps(value_scales[c][at]));
                        sums[r][c] = fma._mm256_fmadd_ps(scale, products, sums[r][c]);
                    }
                }
            }
            for r in 0..R {
                for c in 0..C {
                    let sum = layout.simd().reduce_sum_f32s(pulp::cast(sums[r][c]));
                    out[(row + r) * self.count + column + c] = sum + self.added(layout.simd(), row + r, column + c);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
use avx2::{Eight, Four, Tiles};

//! Products of rows of floats with activations.

use pulp::{Simd, WithSimd};

use crate::local::blocks::half;
use crate::local::input::Input;
use crate::local::simd;

/// A float as weights are stored.
pub(super) trait Element: Copy + Send + Sync {
    /// Its value.
    fn value(self) -> f32;

    /// The values of a row; `buffer` is room for them.
    #[inline(always)]
    fn values<'a>(from: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
        for (out, element) in buffer.iter_mut().zip(from) {
            *out = element.value();
        }
        &buffer[..from.len()]
    }

    /// How long a buffer has to be.
    fn room(columns: usize) -> usize {
        columns
    }
}

impl Element for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    fn values<'a>(from: &'a [f32], _: &'a mut [f32]) -> &'a [f32] {
        from
    }

    fn room(_: usize) -> usize {
        0
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

/// Products of some rows with every row of the input: `out` is rows of weights × rows of input.
pub(super) fn float_rows<W: Element>(weights: &[W], input: &Input<'_>, out: &mut [f32]) {
    simd::run(Rows { weights, floats: input.floats, columns: input.columns, count: input.rows(), out });
}

struct Rows<'a, W> {
    weights: &'a [W],
    floats: &'a [f32],
    columns: usize,
    count: usize,
    out: &'a mut [f32],
}

impl<W: Element> WithSimd for Rows<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = self.weights.len() / self.columns;
        let room = W::room(self.columns);
        let mut buffer = vec![0.0; 8 * room];
        let mut row = 0;
        while self.count == 1 && row + 8 <= rows {
            let weights = self.weights::<8>(row, room, &mut buffer);
            self.tile::<S, 8, 1>(simd, row, 0, weights);
            row += 8;
        }
        while row + 4 <= rows {
            let weights = self.weights::<4>(row, room, &mut buffer);
            let mut column = 0;
            while column + 2 <= self.count {
                self.tile::<S, 4, 2>(simd, row, column, weights);
                column += 2;
            }
            if column < self.count {
                self.tile::<S, 4, 1>(simd, row, column, weights);
            }
            row += 4;
        }
        for row in row..rows {
            let weights = self.weights::<1>(row, room, &mut buffer);
            for column in 0..self.count {
                self.tile::<S, 1, 1>(simd, row, column, weights);
            }
        }
    }
}

impl<'a, W: Element> Rows<'a, W> {
    /// The values of a few rows of weights.
    // Here and below loops fill arrays, since the closures of `from_fn` and `map` would not be inlined.
    #[inline(always)]
    fn weights<'b, const R: usize>(&self, row: usize, room: usize, mut buffer: &'b mut [f32]) -> [&'b [f32]; R]
    where
        'a: 'b,
    {
        let mut weights: [&[f32]; R] = [&[]; R];
        for (r, weights) in weights.iter_mut().enumerate() {
            let from = &self.weights[(row + r) * self.columns..][..self.columns];
            let (own, rest) = buffer.split_at_mut(room);
            buffer = rest;
            *weights = W::values(from, own);
        }
        weights
    }

    /// `R` rows of weights with `C` rows of input.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
        weights: [&[f32]; R],
    ) {
        let columns = self.columns;
        let steps = columns / S::F32_LANES;
        let mut wide_weights: [&[S::f32s]; R] = [&[]; R];
        for r in 0..R {
            wide_weights[r] = &S::as_simd_f32s(&weights[r][..columns]).0[..steps];
        }
        let mut inputs: [&[f32]; C] = [&[]; C];
        let mut wide_inputs: [&[S::f32s]; C] = [&[]; C];
        for c in 0..C {
            inputs[c] = &self.floats[(column + c) * columns..][..columns];
            wide_inputs[c] = &S::as_simd_f32s(inputs[c]).0[..steps];
        }
        let mut sums = [[simd.splat_f32s(0.0); C]; R];
        for step in 0..steps {
            for r in 0..R {
                for c in 0..C {
                    sums[r][c] = simd.mul_add_e_f32s(wide_weights[r][step], wide_inputs[c][step], sums[r][c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let mut sum = simd.reduce_sum_f32s(sums[r][c]);
                for at in steps * S::F32_LANES..columns {
                    sum += weights[r][at] * inputs[c][at];
                }
                self.out[(row + r) * self.count + column + c] = sum;
            }
        }
    }
}

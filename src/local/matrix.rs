//! Weight matrices, as they are stored, and their product with activations: where nearly all time goes.
//!
//! Every output is one dot product, computed whole by one thread in one fixed order. It doesn't depend on how many
//! threads there are, nor on what else is running.

use rayon::prelude::*;

use crate::local::block_rows::block_rows;
use crate::local::blocks::{Blocks, Kind, half};
use crate::local::float_rows::{Brain, Element, Half, float_rows};
use crate::local::input::{BLOCK, Input};

/// Multiplications from which it pays to share a product among threads.
const SHARED_WORK: usize = 1 << 20;

/// A matrix of weights: `rows` outputs of `columns` inputs each.
#[derive(Debug)]
pub(super) struct Matrix {
    rows: usize,
    columns: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    F16(Vec<Half>),
    Bf16(Vec<Brain>),
    Blocks(Blocks),
}

impl Matrix {
    /// A matrix from bytes as files hold them, `rows` × `columns` of `kind`, little-endian.
    ///
    /// The caller has looked that there are as many bytes as that takes.
    pub fn new(kind: Kind, rows: usize, columns: usize, bytes: &[u8]) -> Matrix {
        let halves = || bytes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
        let values = match kind {
            Kind::F32 => Values::F32(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            Kind::F16 => Values::F16(halves().map(Half).collect()),
            Kind::Bf16 => Values::Bf16(halves().map(Brain).collect()),
            Kind::Q4_0
            | Kind::Q4_1
            | Kind::Q5_0
            | Kind::Q5_1
            | Kind::Q8_0
            | Kind::Q2K
            | Kind::Q3K
            | Kind::Q4K
            | Kind::Q5K
            | Kind::Q6K => Values::Blocks(Blocks::new(kind, bytes)),
        };
        Matrix { rows, columns, values }
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether its products need the input in 8-bit blocks.
    pub fn takes_blocks(&self) -> bool {
        matches!(self.values, Values::Blocks(_))
    }

    /// Writes one row.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        let range = row * self.columns..(row + 1) * self.columns;
        fn read<W: Element>(from: &[W], out: &mut [f32]) {
            for (out, value) in out.iter_mut().zip(from) {
                *out = value.value();
            }
        }
        match &self.values {
            Values::F32(values) => out.copy_from_slice(&values[range]),
            Values::F16(values) => read(&values[range], out),
            Values::Bf16(values) => read(&values[range], out),
            Values::Blocks(blocks) => blocks.read(range.start, out),
        }
    }

    /// Writes the product with each row of the input into the rows of `out`, which are `width` long, from `offset` on.
    ///
    /// `spare` is room to work in.
    pub fn multiply(&self, input: &Input<'_>, out: &mut [f32], width: usize, offset: usize, spare: &mut Vec<f32>) {
        let count = input.rows();
        if count == 1 {
            self.products(input, &mut out[offset..offset + self.rows]);
            return;
        }
        spare.resize(self.rows * count, 0.0);
        self.products(input, spare);
        for (index, row) in out.chunks_mut(width).enumerate() {
            for (out, products) in row[offset..offset + self.rows].iter_mut().zip(spare.chunks(count)) {
                *out = products[index];
            }
        }
    }

    /// Writes rows of weights × rows of input.
    fn products(&self, input: &Input<'_>, out: &mut [f32]) {
        let count = input.rows();
        let threads = rayon::current_num_threads();
        if threads == 1 || self.rows * self.columns * count < SHARED_WORK {
            self.some_products(0, input, out);
            return;
        }
        // A few parts for each thread, so that one that is held up holds up less; whole tiles of four rows.
        let part = self.rows.div_ceil(threads * 4).next_multiple_of(4);
        out.par_chunks_mut(part * count).enumerate().for_each(|(index, out)| {
            self.some_products(index * part, input, out);
        });
    }

    fn some_products(&self, first: usize, input: &Input<'_>, out: &mut [f32]) {
        let range = first * self.columns..first * self.columns + out.len() / input.rows() * self.columns;
        match &self.values {
            Values::F32(values) => float_rows(&values[range], input, out),
            Values::F16(values) => float_rows(&values[range], input, out),
            Values::Bf16(values) => float_rows(&values[range], input, out),
            Values::Blocks(blocks) => block_rows(blocks, first, input, out),
        }
    }
}

/// Numbers from bytes as files hold them, as `f32`.
pub(super) fn floats(kind: Kind, bytes: &[u8]) -> Vec<f32> {
    match kind {
        Kind::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Kind::F16 => bytes.as_chunks::<2>().0.iter().map(|bytes| half(u16::from_le_bytes(*bytes))).collect(),
        Kind::Bf16 => bytes.as_chunks::<2>().0.iter().map(|bytes| Brain(u16::from_le_bytes(*bytes)).value()).collect(),
        Kind::Q4_0
        | Kind::Q4_1
        | Kind::Q5_0
        | Kind::Q5_1
        | Kind::Q8_0
        | Kind::Q2K
        | Kind::Q3K
        | Kind::Q4K
        | Kind::Q5K
        | Kind::Q6K => {
            let mut out = vec![0.0; bytes.len() / kind.block_bytes() * kind.block_elements()];
            Blocks::new(kind, bytes).read(0, &mut out);
            out
        }
    }
}

/// Whether rows of `columns` can be stored as `kind`, and multiplied.
pub(super) fn fits(kind: Kind, columns: usize) -> bool {
    columns.is_multiple_of(kind.block_elements()) && (kind.block_elements() == 1 || columns.is_multiple_of(BLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::input::Rounded;
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.7 + seed).sin() + 0.3 * (i as f32 * 0.13).cos()).collect()
    }

    /// Products as they should be, in `f64`.
    fn expected(weights: &[f32], inputs: &[f32], columns: usize) -> Vec<f32> {
        let dot = |row: &[f32], input: &[f32]| {
            row.iter().zip(input).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum::<f64>() as f32
        };
        let rows = |input| weights.chunks(columns).map(move |row| dot(row, input));
        inputs.chunks(columns).flat_map(rows).collect()
    }

    #[test]
    fn products_are_right_for_every_kind_and_any_number_of_rows() {
        for (kind, reference) in [
            (Kind::F32, GgmlDType::F32),
            (Kind::F16, GgmlDType::F16),
            (Kind::Bf16, GgmlDType::BF16),
            (Kind::Q4_0, GgmlDType::Q4_0),
            (Kind::Q4_1, GgmlDType::Q4_1),
            (Kind::Q5_0, GgmlDType::Q5_0),
            (Kind::Q5_1, GgmlDType::Q5_1),
            (Kind::Q8_0, GgmlDType::Q8_0),
            (Kind::Q2K, GgmlDType::Q2K),
            (Kind::Q3K, GgmlDType::Q3K),
            (Kind::Q4K, GgmlDType::Q4K),
            (Kind::Q5K, GgmlDType::Q5K),
            (Kind::Q6K, GgmlDType::Q6K),
        ] {
            for (rows, columns) in [(13, 256), (4, 512), (8, 768), (1, 256)] {
                let tensor = Tensor::from_vec(numbers(rows * columns, 1.0), (rows, columns), &Device::Cpu).unwrap();
                let stored = QTensor::quantize(&tensor, reference).unwrap();
                let weights: Vec<f32> =
                    stored.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let matrix = Matrix::new(kind, rows, columns, &stored.data().unwrap());
                let mut row = vec![0.0; columns];
                matrix.read_row(rows - 1, &mut row);
                for (found, expected) in row.iter().zip(&weights[(rows - 1) * columns..]) {
                    assert!((found - expected).abs() < 1e-5);
                }
                for count in [1, 2, 5] {
                    let mut floats = numbers(count * columns, 3.0);
                    let mut rounded = Rounded::default();
                    rounded.fill(&floats);
                    if matrix.takes_blocks() {
                        // What is right for blocks is the product with the rounded values.
                        for (index, value) in floats.iter_mut().enumerate() {
                            *value = f32::from(rounded.quants[index]) * rounded.scales[index / BLOCK];
                        }
                    }
                    let input = Input { columns, floats: &floats, rounded: &rounded };
                    let mut out = vec![0.0; count * (rows + 2)];
                    matrix.multiply(&input, &mut out, rows + 2, 1, &mut Vec::new());
                    let expected = expected(&weights, &floats, columns);
                    for (row, (out, expected)) in out.chunks(rows + 2).zip(expected.chunks(rows)).enumerate() {
                        assert_eq!((out[0], out[rows + 1]), (0.0, 0.0));
                        for (at, (found, expected)) in out[1..=rows].iter().zip(expected).enumerate() {
                            let is_near = (found - expected).abs() < 2e-3;
                            assert!(is_near, "{}: row {row}, output {at}: {found} for {expected}", kind.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn threads_change_nothing() {
        let (rows, columns) = (2051, 640);
        let bytes: Vec<u8> = numbers(rows * columns, 0.0).into_iter().flat_map(f32::to_le_bytes).collect();
        let matrix = Matrix::new(Kind::F32, rows, columns, &bytes);
        let (floats, rounded) = (numbers(3 * columns, 2.0), Rounded::default());
        let input = Input { columns, floats: &floats, rounded: &rounded };
        let products = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0.0; 3 * rows];
            pool.install(|| matrix.multiply(&input, &mut out, rows, 0, &mut Vec::new()));
            out
        };
        assert_eq!(products(1), products(3));
    }
}

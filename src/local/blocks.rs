//! ggml's quantised blocks, laid out anew for the dot products: whole numbers, and a scale per group of 16 or 32.
//!
//! Every type that llama.cpp's K- and legacy quantisations know becomes the same thing: an element is
//! `scale · q + add`, where `scale` and `add` are kept as `f32`, so that nothing is rounded a second time. The layouts
//! are those of `ggml-quants.c` (ggml authors, MIT).

use crate::local::input::BLOCK;

/// A type of weights that a GGUF file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// All of them: ggml's number, name, elements of a block, bytes of a block.
const KINDS: [(Kind, u32, &str, usize, usize); 13] = [
    (Kind::F32, 0, "f32", 1, 4),
    (Kind::F16, 1, "f16", 1, 2),
    (Kind::Bf16, 30, "bf16", 1, 2),
    (Kind::Q4_0, 2, "q4_0", 32, 18),
    (Kind::Q4_1, 3, "q4_1", 32, 20),
    (Kind::Q5_0, 6, "q5_0", 32, 22),
    (Kind::Q5_1, 7, "q5_1", 32, 24),
    (Kind::Q8_0, 8, "q8_0", 32, 34),
    (Kind::Q2K, 10, "q2_k", 256, 84),
    (Kind::Q3K, 11, "q3_k", 256, 110),
    (Kind::Q4K, 12, "q4_k", 256, 144),
    (Kind::Q5K, 13, "q5_k", 256, 176),
    (Kind::Q6K, 14, "q6_k", 256, 210),
];

impl Kind {
    /// The type with ggml's number, if it is one that can be read.
    pub fn from_number(number: u32) -> Option<Kind> {
        KINDS.iter().find(|kind| kind.1 == number).map(|kind| kind.0)
    }

    fn row(self) -> &'static (Kind, u32, &'static str, usize, usize) {
        // The table has every kind; the first is named only for the types' sake.
        KINDS.iter().find(|kind| kind.0 == self).unwrap_or(&KINDS[0])
    }

    /// `q8_0`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Elements of one block.
    pub fn block_elements(self) -> usize {
        self.row().3
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// The names of all of them, for messages.
    pub fn names() -> String {
        KINDS.map(|kind| kind.2).join(", ")
    }
}

/// The whole numbers of blocks.
#[derive(Debug)]
pub(super) enum Quants {
    /// One byte each.
    Eight(Vec<i8>),
    /// Half a byte each, none below 0: of 32 elements the first 16 are the low halves of 16 bytes.
    Four(Vec<u8>),
}

/// Quantised weights: rows of groups.
#[derive(Debug)]
pub(super) struct Blocks {
    /// The whole numbers.
    pub quants: Quants,
    /// Elements of a group: 16 or 32.
    pub group: usize,
    /// One scale per group.
    pub scales: Vec<f32>,
    /// What is added to each element of a group; empty when nothing is.
    pub adds: Vec<f32>,
}

impl Blocks {
    /// Lays blocks out anew.
    ///
    /// `bytes` has whole blocks, and `kind` isn't one of the floats: the caller has looked.
    pub fn new(kind: Kind, bytes: &[u8]) -> Blocks {
        let elements = bytes.len() / kind.block_bytes() * kind.block_elements();
        let (is_four, group, has_adds) = match kind {
            Kind::Q4_0 | Kind::Q4_1 | Kind::Q4K => (true, 32, true),
            Kind::Q5_1 | Kind::Q5K => (false, 32, true),
            Kind::Q2K => (false, 16, true),
            Kind::Q3K | Kind::Q6K => (false, 16, false),
            Kind::Q5_0 | Kind::Q8_0 | Kind::F32 | Kind::F16 | Kind::Bf16 => (false, 32, false),
        };
        let mut out = Writer {
            eight: Vec::with_capacity(if is_four { 0 } else { elements }),
            four: Vec::with_capacity(if is_four { elements / 2 } else { 0 }),
            scales: Vec::with_capacity(elements / group),
            adds: Vec::with_capacity(if has_adds { elements / group } else { 0 }),
        };
        for block in bytes.chunks_exact(kind.block_bytes()) {
            match kind {
                Kind::Q4_0 => out.q4_0(block),
                Kind::Q4_1 => out.q4_1(block),
                Kind::Q5_0 => out.q5(half_at(block, 0), None, &block[2..]),
                Kind::Q5_1 => out.q5(half_at(block, 0), Some(half_at(block, 2)), &block[4..]),
                Kind::Q8_0 => {
                    out.scales.push(half_at(block, 0));
                    out.eight.extend(block[2..].iter().map(|byte| *byte as i8));
                }
                Kind::Q2K => out.q2_k(block),
                Kind::Q3K => out.q3_k(block),
                Kind::Q4K => out.q4_k(block),
                Kind::Q5K => out.q5_k(block),
                Kind::Q6K => out.q6_k(block),
                Kind::F32 | Kind::F16 | Kind::Bf16 => {}
            }
        }
        let quants = if is_four { Quants::Four(out.four) } else { Quants::Eight(out.eight) };
        Blocks { quants, group, scales: out.scales, adds: out.adds }
    }

    /// Writes elements from `start` on, which begins a block, as `f32`.
    pub fn read(&self, start: usize, out: &mut [f32]) {
        for (index, value) in out.iter_mut().enumerate() {
            let at = start + index;
            let quant = match &self.quants {
                Quants::Eight(quants) => f32::from(quants[at]),
                Quants::Four(quants) => {
                    let byte = quants[at / BLOCK * 16 + at % 16];
                    f32::from(if at % BLOCK < 16 { byte & 15 } else { byte >> 4 })
                }
            };
            let group = at / self.group;
            *value = self.scales[group] * quant + self.adds.get(group).copied().unwrap_or(0.0);
        }
    }
}

/// A 16-bit float as `f32`, exactly.
#[inline(always)]
pub(super) fn half(bits: u16) -> f32 {
    // Shifted into place, with the sign on both sides of what is masked away, the number is 2¹¹² times too small, whether
    // normal or not. Infinities stay finite; weights have none.
    f32::from_bits((i32::from(bits as i16) << 13) as u32 & 0x8fff_e000) * f32::from_bits(0x7780_0000)
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    half(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// Scale and minimum of a group of Q4_K and Q5_K, 6 bits each.
fn scale_and_min(index: usize, packed: &[u8]) -> (f32, f32) {
    let (scale, min) = if index < 4 {
        (packed[index] & 63, packed[index + 4] & 63)
    } else {
        ((packed[index + 4] & 15) | (packed[index - 4] >> 6 << 4), (packed[index + 4] >> 4) | (packed[index] >> 6 << 4))
    };
    (f32::from(scale), f32::from(min))
}

struct Writer {
    eight: Vec<i8>,
    four: Vec<u8>,
    scales: Vec<f32>,
    adds: Vec<f32>,
}

impl Writer {
    fn q4_0(&mut self, block: &[u8]) {
        let scale = half_at(block, 0);
        self.scales.push(scale);
        self.adds.push(-8.0 * scale);
        self.four.extend_from_slice(&block[2..]);
    }

    fn q4_1(&mut self, block: &[u8]) {
        self.scales.push(half_at(block, 0));
        self.adds.push(half_at(block, 2));
        self.four.extend_from_slice(&block[4..]);
    }

    /// Q5_0 and Q5_1 after their scales: 32 high bits, then 32 low halves.
    fn q5(&mut self, scale: f32, add: Option<f32>, rest: &[u8]) {
        self.scales.push(scale);
        self.adds.extend(add);
        let high = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
        let zero = if add.is_some() { 0 } else { 16 };
        for at in 0..BLOCK {
            let byte = rest[4 + at % 16];
            let low = if at < 16 { byte & 15 } else { byte >> 4 };
            self.eight.push((low | ((high >> at & 1) << 4) as u8) as i8 - zero);
        }
    }

    fn q2_k(&mut self, block: &[u8]) {
        let (scales, quants) = (&block[..16], &block[16..80]);
        let (scale, min) = (half_at(block, 80), half_at(block, 82));
        for (group, both) in scales.iter().enumerate() {
            self.scales.push(scale * f32::from(both & 15));
            self.adds.push(-(min * f32::from(both >> 4)));
            // Of 128 elements, 32 share the bytes that hold two bits of each.
            let (from, shift) = (group / 8 * 32 + group % 2 * 16, group % 8 / 2 * 2);
            self.eight.extend(quants[from..from + 16].iter().map(|byte| (byte >> shift & 3) as i8));
        }
    }

    fn q3_k(&mut self, block: &[u8]) {
        let (high, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
        let scale = half_at(block, 108);
        for group in 0..16 {
            let low = if group < 8 { packed[group] & 15 } else { packed[group - 8] >> 4 };
            let six = low | (packed[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
            self.scales.push(scale * (f32::from(six) - 32.0));
            let (from, shift) = (group / 8 * 32 + group % 2 * 16, group % 8 / 2 * 2);
            for at in 0..16 {
                let is_high = high[group % 2 * 16 + at] >> (group / 2) & 1 == 1;
                self.eight.push((quants[from + at] >> shift & 3) as i8 - if is_high { 0 } else { 4 });
            }
        }
    }

    fn k_scales(&mut self, block: &[u8]) {
        let (scale, min) = (half_at(block, 0), half_at(block, 2));
        for group in 0..8 {
            let (group_scale, group_min) = scale_and_min(group, &block[4..16]);
            self.scales.push(scale * group_scale);
            self.adds.push(-(min * group_min));
        }
    }

    fn q4_k(&mut self, block: &[u8]) {
        self.k_scales(block);
        // 32 bytes hold the low halves of one group and the high halves of the next; here each group has its own 16.
        for pair in block[16..].chunks_exact(32) {
            self.four.extend((0..16).map(|at| pair[at] & 15 | pair[at + 16] << 4));
            self.four.extend((0..16).map(|at| pair[at] >> 4 | pair[at + 16] & 0xf0));
        }
    }

    fn q5_k(&mut self, block: &[u8]) {
        self.k_scales(block);
        let (high, quants) = (&block[16..48], &block[48..]);
        for group in 0..8 {
            for at in 0..32 {
                let byte = quants[group / 2 * 32 + at];
                let low = if group % 2 == 0 { byte & 15 } else { byte >> 4 };
                self.eight.push((low | (high[at] >> group & 1) << 4) as i8);
            }
        }
    }

    fn q6_k(&mut self, block: &[u8]) {
        let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
        let scale = half_at(block, 208);
        self.scales.extend(scales.iter().map(|byte| scale * f32::from(*byte as i8)));
        for at in 0..256 {
            let (side, quarter, index) = (at / 128, at % 128 / 32, at % 32);
            let byte = low[side * 64 + quarter % 2 * 32 + index];
            let four = if quarter < 2 { byte & 15 } else { byte >> 4 };
            let two = high[side * 32 + index] >> (quarter * 2) & 3;
            self.eight.push((four | two << 4) as i8 - 32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    #[test]
    fn every_kind_reads_as_the_reference_does() {
        let floats: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0 + (i as f32).sin()).collect();
        let tensor = Tensor::from_vec(floats, (2, 256), &Device::Cpu).unwrap();
        for (kind, reference) in [
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
            let quantised = QTensor::quantize(&tensor, reference).unwrap();
            assert_eq!((kind.block_elements(), kind.block_bytes()), (reference.block_size(), reference.type_size()));
            let expected: Vec<f32> =
                quantised.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let blocks = Blocks::new(kind, &quantised.data().unwrap());
            let mut found = vec![0.0; 512];
            blocks.read(0, &mut found);
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!((found - expected).abs() < 1e-5, "{}: element {at}: {found} for {expected}", kind.name());
            }
        }
    }

    #[test]
    fn halves_are_exact() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x8001, -5.960_464_5e-8),
            (0x3555, 0.333_251_95),
        ] {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
    }
}

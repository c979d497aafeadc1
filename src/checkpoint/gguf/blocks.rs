//! Quantized values: blocks of 32 or 256, each with its own scales.

use half::{bf16, f16};

/// How a tensor's values are stored; ggml's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// Values in a block of 256.
const SUPER: usize = 256;

impl Encoding {
    pub const NAMES: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K are";

    /// The encoding with ggml's type number `kind`.
    pub fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Values per block, and bytes per block.
    fn block(self) -> [usize; 2] {
        match self {
            Self::F32 => [1, 4],
            Self::F16 | Self::Bf16 => [1, 2],
            Self::Q4_0 => [32, 2 + 16],
            Self::Q4_1 => [32, 4 + 16],
            Self::Q5_0 => [32, 2 + 4 + 16],
            Self::Q5_1 => [32, 4 + 4 + 16],
            Self::Q8_0 => [32, 2 + 32],
            Self::Q4K => [SUPER, 4 + 12 + SUPER / 2],
            Self::Q5K => [SUPER, 4 + 12 + SUPER / 8 + SUPER / 2],
            Self::Q6K => [SUPER, SUPER / 2 + SUPER / 4 + 16 + 2],
        }
    }

    /// Bytes of `n_values` values, if they fill whole blocks.
    pub fn bytes(self, n_values: usize) -> Option<usize> {
        let [numbers, bytes] = self.block();
        n_values.is_multiple_of(numbers).then(|| (n_values / numbers).checked_mul(bytes))?
    }

    /// Decodes whole blocks.
    pub fn values(self, bytes: &[u8]) -> Vec<f32> {
        let [numbers, width] = self.block();
        let mut values = Vec::with_capacity(bytes.len() / width * numbers);
        for block in bytes.chunks_exact(width) {
            self.push(block, &mut values);
        }
        values
    }

    fn push(self, block: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::F32 => values.push(f32::from_le_bytes(block.try_into().expect("four bytes"))),
            Self::F16 => values.push(half_at(block, 0)),
            Self::Bf16 => values.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
            Self::Q4_0 => {
                let d = half_at(block, 0);
                values.extend(halves(&block[2..]).map(|q| d * (f32::from(q) - 8.0)));
            }
            Self::Q4_1 => {
                let [d, m] = [half_at(block, 0), half_at(block, 2)];
                values.extend(halves(&block[4..]).map(|q| d * f32::from(q) + m));
            }
            Self::Q5_0 => {
                let (d, fifth) = (half_at(block, 0), fifth_bits(&block[2..6]));
                values.extend(halves(&block[6..]).zip(fifth).map(|(q, high)| d * (f32::from(q | high) - 16.0)));
            }
            Self::Q5_1 => {
                let ([d, m], fifth) = ([half_at(block, 0), half_at(block, 2)], fifth_bits(&block[4..8]));
                values.extend(halves(&block[8..]).zip(fifth).map(|(q, high)| d * f32::from(q | high) + m));
            }
            Self::Q8_0 => {
                let d = half_at(block, 0);
                values.extend(block[2..].iter().map(|q| d * f32::from(*q as i8)));
            }
            Self::Q4K => push_k(block, &block[16..], |_, _| 0, values),
            Self::Q5K => {
                let high = &block[16..16 + SUPER / 8];
                push_k(block, &block[16 + SUPER / 8..], |part, i| (high[i] >> part & 1) << 4, values);
            }
            Self::Q6K => push_q6k(block, values),
        }
    }
}

/// Eight groups of 32, each with a six-bit scale and minimum; the low four bits of two groups share bytes.
fn push_k(block: &[u8], low: &[u8], high: impl Fn(usize, usize) -> u8, values: &mut Vec<f32>) {
    let [d, d_min] = [half_at(block, 0), half_at(block, 2)];
    let scales = &block[4..16];
    for part in 0..8 {
        let (scale, min) = if part < 4 {
            (scales[part] & 63, scales[part + 4] & 63)
        } else {
            let (low, both) = (scales[part - 4] >> 6, scales[part + 4]);
            ((both & 15) | low << 4, (both >> 4) | scales[part] >> 6 << 4)
        };
        let [scale, min] = [d * f32::from(scale), d_min * f32::from(min)];
        let bytes = &low[part / 2 * 32..][..32];
        let q = |i: usize| (if part % 2 == 0 { bytes[i] & 15 } else { bytes[i] >> 4 }) | high(part, i);
        values.extend((0..32).map(|i| scale * f32::from(q(i)) - min));
    }
}

/// Two halves of 128 with four groups of 32 each; one scale per 16 values.
fn push_q6k(block: &[u8], values: &mut Vec<f32>) {
    let (low, rest) = block.split_at(SUPER / 2);
    let (high, rest) = rest.split_at(SUPER / 4);
    let (scales, d) = rest.split_at(16);
    let d = half_at(d, 0);
    for half in 0..2 {
        for part in 0..4 {
            for i in 0..32 {
                let byte = low[half * 64 + part % 2 * 32 + i];
                let low = if part < 2 { byte & 15 } else { byte >> 4 };
                let high = high[half * 32 + i] >> (2 * part) & 3;
                let scale = scales[half * 8 + part * 2 + i / 16] as i8;
                values.push(d * f32::from(scale) * (f32::from(low | high << 4) - 32.0));
            }
        }
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The low halves of all bytes, then the high halves.
fn halves(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// The fifth bit of each of 32 values.
fn fifth_bits(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let bits = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    (0..32).map(move |i| ((bits >> i & 1) << 4) as u8)
}

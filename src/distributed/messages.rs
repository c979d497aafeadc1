//! Numbers as messages between ranks.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::settings::Wire;

/// Half precision holds numbers below 2^16.
const TOP: i32 = 15;

/// Bytes of the exponent before the numbers of a message in half precision.
const HEADER: usize = 4;

/// Numbers converted at a time, in the processor's nearest cache.
const BLOCK: usize = 1024;
/// Numbers that a thread takes at a time.
const TASK: usize = 64 * BLOCK;

impl Wire {
    /// Bytes of a message of `n` numbers.
    pub fn bytes(self, n: usize) -> usize {
        match self {
            _ if n == 0 => 0,
            Self::F32 => 4 * n,
            Self::F16 => HEADER + 2 * n,
        }
    }

    /// Writes numbers as a message of [`Wire::bytes`].
    pub fn encode(self, values: &[f32], message: &mut [u8]) {
        match self {
            _ if values.is_empty() => {}
            Self::F32 => message.copy_from_slice(bytemuck::cast_slice(values)),
            Self::F16 => {
                let largest = values.par_chunks(TASK).map(largest).reduce(|| 0.0, f32::max);
                let exponent = if largest > 0.0 { (TOP - 1 - exponent_of(largest)).clamp(-120, 120) } else { 0 };
                let factor = 2f32.powi(exponent);
                let (header, halves) = message.split_at_mut(HEADER);
                header.copy_from_slice(&exponent.to_le_bytes());
                let tasks = values.par_chunks(TASK).zip(halves.par_chunks_mut(2 * TASK));
                tasks.for_each(|(values, bytes)| {
                    let (mut scaled, mut halves) = ([0.0; BLOCK], [f16::ZERO; BLOCK]);
                    for (block, bytes) in values.chunks(BLOCK).zip(bytes.chunks_mut(2 * BLOCK)) {
                        let (scaled, halves) = (&mut scaled[..block.len()], &mut halves[..block.len()]);
                        scaled.iter_mut().zip(block).for_each(|(scaled, x)| *scaled = x * factor);
                        halves.convert_from_f32_slice(scaled);
                        bytes.copy_from_slice(bytemuck::cast_slice(halves));
                    }
                });
            }
        }
    }

    /// Reads a message's numbers.
    pub fn decode(self, message: &[u8], values: &mut [f32]) {
        values.par_chunks_mut(TASK).enumerate().for_each(|(task, values)| {
            for (block, values) in values.chunks_mut(BLOCK).enumerate() {
                self.read(message, task * TASK + block * BLOCK, values);
            }
        });
    }

    /// Sums the numbers of messages of equal length, in f64 and in their order.
    pub fn sum(self, messages: &[&[u8]], sums: &mut [f32]) {
        sums.par_chunks_mut(TASK).enumerate().for_each(|(task, sums)| {
            let (mut of_message, mut total) = ([0.0; BLOCK], [0.0f64; BLOCK]);
            for (block, sums) in sums.chunks_mut(BLOCK).enumerate() {
                let (of_message, total) = (&mut of_message[..sums.len()], &mut total[..sums.len()]);
                total.fill(0.0);
                for message in messages {
                    self.read(message, task * TASK + block * BLOCK, of_message);
                    total.iter_mut().zip(&*of_message).for_each(|(total, value)| *total += f64::from(*value));
                }
                sums.iter_mut().zip(&*total).for_each(|(sum, total)| *sum = *total as f32);
            }
        });
    }

    /// Reads at most [`BLOCK`] numbers of a message, those from `at` on.
    fn read(self, message: &[u8], at: usize, values: &mut [f32]) {
        match self {
            Self::F32 => {
                let bytes = &message[4 * at..4 * (at + values.len())];
                bytemuck::cast_slice_mut(values).copy_from_slice(bytes);
            }
            Self::F16 => {
                let (exponent, halves) = message.split_at(HEADER);
                let factor = 2f32.powi(-i32::from_le_bytes(exponent.try_into().expect("four bytes")));
                let mut block = [f16::ZERO; BLOCK];
                let block = &mut block[..values.len()];
                bytemuck::cast_slice_mut(block).copy_from_slice(&halves[2 * at..2 * (at + values.len())]);
                block.convert_to_f32_slice(values);
                values.iter_mut().for_each(|x| *x *= factor);
            }
        }
    }
}

/// The largest magnitude among finite numbers. Their bits are in the same order, and are compared several at a time.
fn largest(values: &[f32]) -> f32 {
    let infinite = f32::INFINITY.to_bits();
    let magnitudes = values.iter().map(|x| x.abs().to_bits());
    f32::from_bits(magnitudes.map(|bits| if bits < infinite { bits } else { 0 }).fold(0, u32::max))
}

/// ⌊log₂ x⌋ of a positive number; −127 for all subnormal ones.
fn exponent_of(x: f32) -> i32 {
    (x.to_bits() >> 23) as i32 - 127
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(wire: Wire, values: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0; wire.bytes(values.len())];
        wire.encode(values, &mut bytes);
        let [mut found, mut twice] = [(); 2].map(|()| vec![0.0; values.len()]);
        wire.decode(&bytes, &mut found);
        wire.sum(&[&bytes, &bytes], &mut twice);
        assert!(twice.iter().zip(&found).all(|(twice, found)| *twice == found + found || found.is_nan()));
        found
    }

    #[test]
    fn single_precision_loses_nothing() {
        let values = [0.0, -0.0, 1.5, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, -3e-45];
        let found = through(Wire::F32, &values);
        assert!(found.iter().zip(&values).all(|(found, value)| found.to_bits() == value.to_bits()), "{found:?}");
        assert!(through(Wire::F32, &[f32::NAN])[0].is_nan());
        assert!(through(Wire::F32, &[]).is_empty() && through(Wire::F16, &[]).is_empty());
    }

    #[test]
    fn half_precision_keeps_relative_errors_small_at_any_scale() {
        for scale in [1e-30f32, 1e-8, 1.0, 65_519.0, 1e30] {
            let values: Vec<f32> = (0..100_003).map(|at| scale * (at as f32 - 50_000.5) / 50_001.0).collect();
            for (found, value) in through(Wire::F16, &values).iter().zip(&values) {
                assert!((found - value).abs() <= value.abs() / 2048.0, "{found} for {value}");
            }
        }
        assert_eq!(through(Wire::F16, &[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(through(Wire::F16, &[1e-45, 0.0])[1], 0.0);
        let odd = through(Wire::F16, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0]);
        assert!(odd[0].is_nan() && odd[1] == f32::INFINITY && odd[2] == f32::NEG_INFINITY && odd[3] == 2.0, "{odd:?}");
    }
}

//! Sums over ranks in a fixed order.

use std::ops::Range;

use super::transport::Transport;
use crate::settings::Wire;

/// Sums one after the other, in the same memory.
#[derive(Default)]
pub(super) struct Summing {
    send: Vec<u8>,
    received: Vec<u8>,
    /// This rank's part of the sums.
    own: Vec<f32>,
    message: Vec<u8>,
    gathered: Vec<u8>,
}

impl Summing {
    /// Replaces `values` by their sum over all ranks, the same bits on each: every rank sums one part of the numbers in
    /// rank order, in f64, and the parts are gathered. Returns the bytes that this rank sent.
    pub fn sum(&mut self, transport: &dyn Transport, values: &mut [f32], wire: Wire) -> usize {
        let (size, rank) = (transport.size(), transport.rank());
        let parts = parts(values.len(), size);
        let bytes: Vec<usize> = parts.iter().map(|part| wire.bytes(part.len())).collect();
        let own_bytes = bytes[rank];
        let total: usize = bytes.iter().sum();

        let send: &[u8] = if wire == Wire::F32 {
            bytemuck::cast_slice(values)
        } else {
            self.send.resize(total, 0);
            let mut rest = &mut self.send[..];
            for (part, bytes) in parts.iter().zip(&bytes) {
                let (message, after) = rest.split_at_mut(*bytes);
                wire.encode(&values[part.clone()], message);
                rest = after;
            }
            &self.send
        };
        self.received.resize(own_bytes * size, 0);
        transport.all_to_all(send, &bytes, &vec![own_bytes; size], &mut self.received);
        let messages: Vec<&[u8]> = self.received.chunks(own_bytes.max(1)).collect();
        self.own.resize(parts[rank].len(), 0.0);
        wire.sum(&messages, &mut self.own);

        if wire == Wire::F32 {
            transport.all_gather(bytemuck::cast_slice(&self.own), &bytes, bytemuck::cast_slice_mut(values));
        } else {
            self.message.resize(own_bytes, 0);
            wire.encode(&self.own, &mut self.message);
            self.gathered.resize(total, 0);
            transport.all_gather(&self.message, &bytes, &mut self.gathered);
            let mut rest = &self.gathered[..];
            for (part, bytes) in parts.into_iter().zip(bytes) {
                let (message, after) = rest.split_at(bytes);
                wire.decode(message, &mut values[part]);
                rest = after;
            }
        }
        total - own_bytes + own_bytes * (size - 1)
    }
}

/// Divides `n` numbers into one range per rank, the longer ones first.
fn parts(n: usize, size: usize) -> Vec<Range<usize>> {
    let at = |rank: usize| rank * (n / size) + rank.min(n % size);
    (0..size).map(|rank| at(rank)..at(rank + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::threads::on_ranks;
    use super::*;

    /// A number of rank, index and nothing else, in [-1, 1].
    fn value(rank: usize, at: usize) -> f32 {
        ((rank * 7919 + at * 104_729) % 2003) as f32 / 1001.0 - 1.0
    }

    #[test]
    fn every_rank_has_the_same_sum_at_any_length() {
        for size in [1, 2, 3, 7] {
            for n in [0, 1, 2, 5, 64, 1001] {
                for (wire, most) in [(Wire::F32, 1e-7), (Wire::F16, 2e-3)] {
                    let found = on_ranks(size, move |transport| {
                        let mut values: Vec<f32> = (0..n).map(|at| value(transport.rank(), at)).collect();
                        Summing::default().sum(&transport, &mut values, wire);
                        values
                    });
                    let want = |at: usize| (0..size).map(|rank| f64::from(value(rank, at))).sum::<f64>();
                    for sums in &found {
                        assert_eq!(sums, &found[0], "{size} ranks, {n} numbers, {wire:?}");
                        let off = (0..n).map(|at| (f64::from(sums[at]) - want(at)).abs()).fold(0.0, f64::max);
                        assert!(sums.len() == n && off <= most * size as f64, "{size} ranks, {n}: off by {off}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for wire in [Wire::F32, Wire::F16] {
            let found = on_ranks(3, move |transport| {
                let first = if transport.rank() == 1 { f32::NAN } else { 1.0 };
                let mut values = [first, f32::INFINITY, 2.0, 3.0];
                Summing::default().sum(&transport, &mut values, wire);
                values
            });
            for sums in found {
                assert!(sums[0].is_nan() && sums[1] == f32::INFINITY && sums[2..] == [6.0, 9.0], "{sums:?}");
            }
        }
    }
}

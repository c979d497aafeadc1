//! Counter-based random numbers, the same on every device: no state, no order.

/// Four words of pcg4d (Jarzynski & Olano 2020, "Hash functions for GPU rendering", JCGT 9(3)).
pub fn pcg4d(v: [u32; 4]) -> [u32; 4] {
    let mut v = v.map(|x| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let mix = |v: &mut [u32; 4]| {
        v[0] = v[0].wrapping_add(v[1].wrapping_mul(v[3]));
        v[1] = v[1].wrapping_add(v[2].wrapping_mul(v[0]));
        v[2] = v[2].wrapping_add(v[0].wrapping_mul(v[1]));
        v[3] = v[3].wrapping_add(v[1].wrapping_mul(v[2]));
    };
    mix(&mut v);
    v = v.map(|x| x ^ (x >> 16));
    mix(&mut v);
    v
}

/// A standard normal number for index `at` of a stream, an epoch and a seed, by Box–Muller from two uniform numbers of
/// 24 bits.
pub fn normal(at: u32, stream: u32, epoch: u32, seed: u32) -> f64 {
    let [x, y, ..] = pcg4d([at, stream, epoch, seed]);
    let unit = 2f64.powi(-24);
    let above_0 = f64::from((x >> 8) + 1) * unit;
    let angle = std::f64::consts::TAU * f64::from(y >> 8) * unit;
    (-2.0 * above_0.ln()).sqrt() * angle.cos()
}

/// A run's seed as the 32 bits for [`pcg4d`]: the low half, with the high half mixed in by a bijection that maps 0 to 0
/// (MurmurHash3's finalizer). So a seed below 2³² maps to itself, and seeds with the same low half all map to different
/// words.
pub fn word_of_seed(seed: u64) -> u32 {
    let mut upper = (seed >> 32) as u32;
    upper = (upper ^ (upper >> 16)).wrapping_mul(0x85eb_ca6b);
    upper = (upper ^ (upper >> 13)).wrapping_mul(0xc2b2_ae35);
    seed as u32 ^ upper ^ (upper >> 16)
}

/// The stream of a name: FNV-1a.
pub fn stream(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_64_bits_of_a_seed_count() {
        for seed in [0, 1, 7, 0xffff_ffff] {
            assert_eq!(u64::from(word_of_seed(seed)), seed, "small seeds stay what they are");
        }
        let drawn = |seed: u64| [0, 1, 2].map(|at| normal(at, 1, 0, word_of_seed(seed)).to_bits());
        // Each high bit alone, and small numbers, which people choose.
        let uppers = (0..32).map(|bit| 1 << bit).chain(0..100).map(|upper: u64| upper << 32);
        let drawn: std::collections::HashMap<_, _> = uppers.map(|upper| (drawn(upper | 7), upper)).collect();
        let n_uppers = 32 + 100 - 7; // 1, 2, 4, …, 64 are in both
        assert_eq!(drawn.len(), n_uppers);
    }

    #[test]
    fn the_numbers_are_normal_and_streams_are_apart() {
        let n = 40_000;
        let moments = |numbers: &[f64]| {
            [1, 2, 3, 4].map(|power| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64)
        };
        let first: Vec<f64> = (0..n).map(|at| normal(at, stream("a"), 0, 7)).collect();
        let [mean, square, cube, fourth] = moments(&first);
        assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.03 && cube.abs() < 0.08, "{mean} {square} {cube}");
        assert!((fourth - 3.0).abs() < 0.2, "{fourth}");
        let others = [(stream("b"), 0, 7), (stream("a"), 1, 7), (stream("a"), 0, 8)];
        for (stream, epoch, seed) in others {
            let product = |at: u32| first[at as usize] * normal(at, stream, epoch, seed);
            let covariance = (0..n).map(product).sum::<f64>() / f64::from(n);
            assert!(covariance.abs() < 0.02, "{covariance}");
        }
        let neighbours = first.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / f64::from(n);
        assert!(neighbours.abs() < 0.02, "{neighbours}");
    }
}

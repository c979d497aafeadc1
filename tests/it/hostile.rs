//! Corrupted files: runs the fuzz targets on a few thousand inputs, the same ones each time. For millions, run
//! `cargo xtask fuzz`.

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use targets::TARGETS;

/// One way to corrupt bytes.
fn spoil(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    const NUMBERS: [&[u8]; 8] =
        [b"\xff\xff\xff\xff", b"\0\0\0\x80", b"99999999999999999999", b"-1", b"1e999", b"null", b"{}", b"[["];
    let at = random.random_range(0..=bytes.len());
    let length = random.random_range(0..=8).min(bytes.len() - at);
    match random.random_range(0..7) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..at + length)),
        2 => {
            let piece = bytes[at..at + length].to_vec();
            let to = random.random_range(0..=bytes.len());
            bytes.splice(to..to, piece);
        }
        3 => drop(bytes.splice(at..at + length, NUMBERS[random.random_range(0..NUMBERS.len())].iter().copied())),
        4 => bytes.splice(at..at, [random.next_u32() as u8]).for_each(drop),
        5 => bytes[at..at + length].fill(0),
        _ if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        _ => {}
    }
}

#[test]
fn spoiled_files_are_refused_or_read() {
    for target in &TARGETS {
        let mut random = ChaCha8Rng::seed_from_u64(17);
        for seed in (target.seeds)() {
            (target.run)(&seed);
            for _ in 0..200 {
                let mut bytes = seed.clone();
                (0..random.random_range(1..5)).for_each(|_| spoil(&mut bytes, &mut random));
                (target.run)(&bytes);
            }
        }
        (target.run)(b"");
        println!("{}: no panic", target.name);
    }
}

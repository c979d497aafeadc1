// Weights move to w + d and w - d and return bit-exactly: d is a multiple of QUANTUM, and w of the f32 spacing at
// |w| + REACH, so that both sums are exact while |w| + REACH < 2^24 QUANTUM.
override EPS: f32;
override QUANTUM: f32;  // a power of two, at most EPS / 16
override REACH: f32;    // a power of two, at least 16 EPS: no change is larger
override LR: f32;
override WEIGHT_DECAY: f32;

// How to move weights, the same for all; written by two_point.wgsl.
struct Move {
    along: f32,     // 1, -2, 1: to w + d, to w - d, and back
    gradient: f32,  // along the direction, for an update
    phase: f32,     // 0: first rounds w to a multiple of its spacing, then moves; 1: moves; 2: moves and updates
    decays: f32,    // 1 in the one update per step that decays the weight
}

// The nearest weight that returns exactly; huge or non-finite weights are unchanged.
fn settled(w: f32) -> f32 {
    let exponent = bitcast<u32>(abs(w) + REACH) & 0x7f800000u;
    if (exponent > 0x7e000000u) { return w; }
    let spacing = bitcast<f32>(exponent) * 1.1920929e-7;
    let inverse = bitcast<f32>(0x7f000000u - exponent) * 8388608.0;
    return round(w * inverse) * spacing;
}

// w + along d for the direction z, and then w - schedule LR (gradient d / EPS + WEIGHT_DECAY w).
fn moved(before: f32, z: f32, motion: Move, schedule: f32) -> f32 {
    let d = clamp(QUANTUM * round(z * (EPS / QUANTUM)), -REACH, REACH);
    var w = before;
    if (motion.phase == 0.0) { w = settled(w); }
    w += motion.along * d;
    if (motion.phase == 2.0) {
        w = settled(w - schedule * LR * (motion.gradient * (d / EPS) + motion.decays * WEIGHT_DECAY * w));
    }
    return w;
}

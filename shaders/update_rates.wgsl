// Factors on the rate and the update of Adafactor and related methods:
// rates[0] = on the rate: min(LR, 1/sqrt(t)) if RELATIVE, else LR; times max(LEAST_RMS, RMS(W)) if SCALED;
// rates[1] = on the update U: 1 / max(1, RMS(U) / THRESHOLD).
override LR: f32;
override THRESHOLD: f32;
override RELATIVE: bool;
override SCALED: bool;
override LEAST_RMS: f32;
@group(0) @binding(0) var<storage, read>       update: array<f32>;  // [1] 1 / RMS(U), 0 for a zero matrix
@group(0) @binding(1) var<storage, read>       weight: array<f32>;  // [1] 1 / RMS(W), 0 for a zero matrix
@group(0) @binding(2) var<storage, read_write> rates:  array<f32>;  // [2]
@group(0) @binding(3) var<uniform>             step:   Step;

@compute @workgroup_size(1)
fn update_rates() {
    var rate = LR;
    if (RELATIVE) { rate = min(LR, inverseSqrt(f32(step.number))); }
    if (SCALED) {
        var rms = 0.0;
        if (weight[0] > 0.0) { rms = 1.0 / weight[0]; }
        rate *= max(LEAST_RMS, rms);
    }
    rates[0] = rate;
    rates[1] = select(1.0, min(1.0, THRESHOLD * update[0]), update[0] > 0.0);
}

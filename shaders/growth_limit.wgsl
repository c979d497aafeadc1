// The norm-growth limiter (Fira, arXiv 2410.01623): an update may be at most GAMMA times as long as the last.
// rates[0] = LR; rates[1] = GAMMA / max(|X| / (last + EPS), GAMMA), or 1 at first; last becomes the limited |X|.
// If CORRECTED, rates[1] also has Adam's bias corrections sqrt(1 - beta2^t) / (1 - beta1^t).
override LR: f32;
override GAMMA: f32;
override EPS: f32;
override CORRECTED: bool;
override LOG_BETA1: f32;
override LOG_BETA2: f32;
@group(0) @binding(0) var<storage, read>       factor:     array<f32>;  // [1] 1 / |X|, 0 for a zero matrix
@group(0) @binding(1) var<storage, read>       statistics: array<f32>;  // [1] tells whether the run was halted
@group(0) @binding(2) var<storage, read_write> last:       array<f32>;  // [1], zero before the first step
@group(0) @binding(3) var<storage, read_write> rates:      array<f32>;  // [2]
@group(0) @binding(4) var<uniform>             step:       Step;

@compute @workgroup_size(1)
fn growth_limit() {
    if (halted(statistics[1])) { return; }
    var norm = 0.0;
    if (factor[0] > 0.0) { norm = 1.0 / factor[0]; }
    var share = 1.0;
    if (last[0] > 0.0) { share = GAMMA / max(norm / (last[0] + EPS), GAMMA); }
    last[0] = share * norm;
    if (CORRECTED) { share *= sqrt(one_minus_power(LOG_BETA2, step.number)) / one_minus_power(LOG_BETA1, step.number); }
    rates[0] = LR;
    rates[1] = share;
}

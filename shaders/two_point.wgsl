// Sets the next perturbation and, given both losses, the gradient along the direction: (plus - minus) / (2 EPS).
// A NaN or infinite loss halts the run: weights then return, and nothing moves them any more.
// EPS is that of lib/perturb.wgsl, whose other constants are not needed here.
override STAGE: u32;  // 0: to w + d; 1: to w - d; 2: back, and the update of the last direction; 3: of an earlier one
override MAX_NORM: f32;  // for the gradient along the direction; 0 does not clip
@group(0) @binding(0) var<storage, read>       plus:       array<f32>;  // [1] loss at w + d
@group(0) @binding(1) var<storage, read>       minus:      array<f32>;  // [1] loss at w - d
@group(0) @binding(2) var<storage, read_write> along:      array<f32>;  // [directions of a step] gradient along each
@group(0) @binding(3) var<storage, read_write> statistics: array<f32>;  // [3] loss, clip, RMS of the gradients along
@group(0) @binding(4) var<storage, read_write> motion:     Move;
@group(0) @binding(5) var<uniform>             step:       Step;

@compute @workgroup_size(1)
fn two_point() {
    let query = step.query & 0xffffu;
    let last = step.query >> 16u;
    let share = 1.0 / f32(last + 1u);
    if (STAGE == 2u) {
        let gradient = (plus[0] - minus[0]) * (0.5 / EPS);
        let first = query == 0u;
        statistics[0] = select(statistics[0], 0.0, first) + share * 0.5 * (plus[0] + minus[0]);
        let before = select(statistics[2], 0.0, first);
        statistics[2] = sqrt(before * before + share * gradient * gradient);
        let halt = statistics[1] < 0.0 || !is_finite(plus[0]) || !is_finite(minus[0]);
        statistics[1] = select(1.0, -1.0, halt);
        let factor = select(1.0, min(1.0, MAX_NORM / (abs(gradient) + 1e-6)), MAX_NORM > 0.0);
        along[query] = factor * gradient;
    }
    let still = halted(statistics[1]);
    let updates = !still && (STAGE == 3u || (STAGE == 2u && query == last));
    motion.along = select(select(0.0, -2.0, STAGE == 1u), 1.0, STAGE == 0u || STAGE == 2u);
    motion.gradient = select(0.0, share * along[query], updates);
    motion.phase = select(select(1.0, 0.0, STAGE == 0u), 2.0, updates);
    motion.decays = select(0.0, 1.0, query == last);
}

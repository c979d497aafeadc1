// baseline = (1 - 1/WINDOW) baseline + mean loss / WINDOW; the first step's baseline is its mean loss.
// Losses that are NaN or infinite are left out; without any other, the baseline stays.
override SAMPLES: u32;
override PITCH: u32;  // from one loss to the next
override WINDOW: f32;
@group(0) @binding(0) var<storage, read>       losses:   array<f32>;  // [SAMPLES, PITCH]: the first of each
@group(0) @binding(1) var<storage, read_write> baseline: array<f32>;  // [1]
@group(0) @binding(2) var<uniform>             step:     Step;

@compute @workgroup_size(1)
fn loss_baseline() {
    var sum = 0.0;
    var n = 0.0;
    for (var j = 0u; j < SAMPLES; j++) {
        if (is_finite(losses[j * PITCH])) {
            sum += losses[j * PITCH];
            n += 1.0;
        }
    }
    if (n > 0.0) {
        let before = select(baseline[0], sum / n, step.number == 1u);
        baseline[0] = before + (sum / n - before) / WINDOW;
    }
}

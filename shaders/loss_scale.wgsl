// The loss scale after a step: halved if a gradient overflowed and the step was skipped, doubled after GROWTH good
// steps in a row. Scales are powers of two. An overflow at the smallest scale has another cause, and halts the run.
override GROWTH: u32;
override LEAST: f32;
override MOST: f32;
override AT: u32;  // index in the statistics of the scale and the number of skipped steps
@group(0) @binding(0) var<storage, read_write> statistics: array<f32>;  // [AT + 2]; [1] is the clip factor
@group(0) @binding(1) var<storage, read_write> scale:      array<f32>;  // [1]
@group(0) @binding(2) var<storage, read_write> inverse:    array<f32>;  // [1] 1 / scale
@group(0) @binding(3) var<storage, read_write> counts:     array<f32>;  // [2] good steps since a change; skipped steps

@compute @workgroup_size(1)
fn loss_scale() {
    let factor = statistics[1];
    let before = scale[0];
    var after = before;
    var good = counts[0];
    if (is_skipped(factor)) {
        after = max(0.5 * before, LEAST);
        good = 0.0;
        counts[1] += 1.0;
        if (before <= LEAST) { statistics[1] = HALTED; }
    } else if (!is_halted(factor)) {
        good += 1.0;
        if (good >= f32(GROWTH)) {
            after = min(2.0 * before, MOST);
            good = 0.0;
        }
    }
    counts[0] = good;
    scale[0] = after;
    inverse[0] = 1.0 / after;
    statistics[AT] = after;
    statistics[AT + 1u] = counts[1];
}

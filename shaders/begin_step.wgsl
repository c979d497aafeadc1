// Undoes what a skipped step leaves behind: a step's number counts the updates up to it, and its factor is 1 until its
// gradients are known.
@group(0) @binding(0) var<storage, read>       counts:     array<f32>;  // [2]: the second counts skipped steps
@group(0) @binding(1) var<storage, read_write> statistics: array<f32>;  // [1] tells whether the last step was skipped
@group(0) @binding(2) var<storage, read_write> step:       array<u32>;  // [4]: shaders/lib/step.wgsl

@compute @workgroup_size(1)
fn begin_step() {
    step[1] -= u32(counts[1]);
    if (is_skipped(statistics[1])) { statistics[1] = 1.0; }
}

// Values that replace the clip factor and make updates do nothing (see halted in step.wgsl).
const HALTED: f32 = -1.0;   // in this and all later steps: a loss or a gradient was NaN or infinite
const SKIPPED: f32 = -0.5;  // only in this step: gradients overflowed half precision under the loss scale

fn is_halted(factor: f32) -> bool {
    return factor <= HALTED;
}

fn is_skipped(factor: f32) -> bool {
    return factor == SKIPPED;
}

// What stands where a clip factor would, and keeps updates from doing anything (halted in step.wgsl).
const HALTED: f32 = -1.0;   // in this step and in all later ones: a loss or a gradient was NaN or infinite
const SKIPPED: f32 = -0.5;  // in this step alone: gradients were too large for half precision under the loss scale

fn is_halted(factor: f32) -> bool {
    return factor <= HALTED;
}

fn is_skipped(factor: f32) -> bool {
    return factor == SKIPPED;
}

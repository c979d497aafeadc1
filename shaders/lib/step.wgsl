// What changes from one replay to the next: written by the host before each step.
struct Step {
    schedule: f32,  // factor on every learning rate
    number: u32,    // of this step, from 1
    seed: u32,
    unused: u32,
}

// The clip factor of a run that met a NaN or an infinity: weights and state stay as they were before that step.
fn halted(clip_factor: f32) -> bool {
    return clip_factor < 0.0;
}

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

// 1 - beta^t from ln(beta), without the cancellation of small t.
fn one_minus_power(log_beta: f32, t: u32) -> f32 {
    let x = log_beta * f32(t);
    if (x < -0.3) { return 1.0 - exp(x); }
    return -x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0 + x / 720.0)))));
}

// beta (1 - beta^(t-1)) / (1 - beta^t): a decay under which an average from 0 has no bias.
fn corrected_decay(beta: f32, log_beta: f32, t: u32) -> f32 {
    return beta * one_minus_power(log_beta, t - 1u) / one_minus_power(log_beta, t);
}

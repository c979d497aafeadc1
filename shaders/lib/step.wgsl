// What changes from one replay to the next: written by the host before each step.
struct Step {
    schedule: f32,  // factor on every learning rate
    number: u32,    // of this step, from 1
    seed: u32,
    unused: u32,
}

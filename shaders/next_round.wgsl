// Increments the round, so that all workgroups of the next dispatch read the same number.
@group(0) @binding(0) var<storage, read_write> round: array<u32>;  // [1]

@compute @workgroup_size(1)
fn next_round() { round[0] += 1u; }

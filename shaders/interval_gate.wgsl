// Lets the gated dispatches run once each in steps 1, 1 + INTERVAL, 1 + 2 INTERVAL, ... of a run that is not halted.
override INTERVAL: u32;
override DISPATCHES: u32;  // behind the gate
@group(0) @binding(0) var<storage, read>       statistics: array<f32>;  // [1] tells whether the run was halted
@group(0) @binding(1) var<uniform>             step:       Step;
@group(0) @binding(2) var<storage, read>       full:       array<u32>;  // [DISPATCHES, 3]: workgroups
@group(0) @binding(3) var<storage, read_write> open:       array<u32>;  // [DISPATCHES, 3]: the same, or zeros

@compute @workgroup_size(64)
fn interval_gate(@builtin(local_invocation_index) lane: u32) {
    let due = (step.number - 1u) % INTERVAL == 0u && (step.query & 0xffffu) == 0u && !halted(statistics[1]);
    for (var at = lane; at < 3u * DISPATCHES; at += 64u) { open[at] = select(0u, full[at], due); }
}

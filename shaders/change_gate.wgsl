// Lets the next iteration run if the last one changed X by more than a root mean square of TOLERANCE.
override BLOCKS: u32;
override LEN: u32;         // elements of X
override TOLERANCE: f32;
override DISPATCHES: u32;  // in the iteration
@group(0) @binding(0) var<storage, read>       partial: array<f32>;  // [BLOCKS]: sums of squared changes
@group(0) @binding(1) var<storage, read>       full:    array<u32>;  // [DISPATCHES, 3]: workgroups
@group(0) @binding(2) var<storage, read_write> open:    array<u32>;  // [DISPATCHES, 3]: the same, or zeros

@compute @workgroup_size(WG)
fn change_gate(@builtin(local_invocation_index) lane: u32) {
    var squares = 0.0;
    for (var block = lane; block < BLOCKS; block += WG) { squares += partial[block]; }
    let change = sqrt(workgroup_sum(squares, lane) / f32(LEN));
    for (var at = lane; at < 3u * DISPATCHES; at += WG) { open[at] = select(0u, full[at], change > TOLERANCE); }
}

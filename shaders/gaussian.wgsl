// out = SCALE times standard normal numbers, redrawn every INTERVAL steps: a random projection that is never stored.
override LEN: u32;
override SCALE: f32;
override STREAM: u32;
override INTERVAL: u32;
@group(0) @binding(0) var<storage, read_write> out:  array<Stored>;  // [LEN]
@group(0) @binding(1) var<uniform>             step: Step;

@compute @workgroup_size(64)
fn gaussian(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN) { return; }
    out[at] = stored(SCALE * normal(at, STREAM, (step.number - 1u) / INTERVAL, step.seed));
}

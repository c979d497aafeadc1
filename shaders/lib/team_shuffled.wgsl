// Sums over a team of lanes in registers, by subgroup operations.
// Teams are interleaved, so that adjacent lanes read the same address of workgroup memory. WGSL does not guarantee that
// lanes of a subgroup are consecutive in local_invocation_index, but for one-dimensional workgroups every known driver
// makes them so.
override LANES: u32;   // per team: a power of two
override STRIDE: u32;  // teams per set, and lanes from one part of a team to the next; a set fits in a subgroup
override BATCH: u32;   // sums at a time: at most 4
override TEAMS: u32;   // per workgroup: 64 / LANES

fn part_of(lane: u32) -> u32 { return lane / STRIDE % LANES; }

fn set_of(lane: u32) -> u32 { return lane / (STRIDE * LANES); }

fn team_of(lane: u32) -> u32 { return set_of(lane) * STRIDE + lane % STRIDE; }

// Bit-identical in all lanes of a team: each pair adds the same two numbers.
fn sum_over_team(sums: ptr<function, array<vec4<f32>, 4>>, lane: u32) {
    for (var i = 0u; i < BATCH; i++) {
        if (LANES > 1u) { (*sums)[i] += subgroupShuffleXor((*sums)[i], STRIDE); }
        if (LANES > 2u) { (*sums)[i] += subgroupShuffleXor((*sums)[i], 2u * STRIDE); }
        if (LANES > 4u) { (*sums)[i] += subgroupShuffleXor((*sums)[i], 4u * STRIDE); }
        if (LANES > 8u) { (*sums)[i] += subgroupShuffleXor((*sums)[i], 8u * STRIDE); }
    }
}

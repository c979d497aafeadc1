// Sums over a team of lanes in registers, by subgroup operations.
// Teams lie interleaved, so that lanes side by side read one address of workgroup memory. That lanes of a subgroup follow
// one another in local_invocation_index WGSL leaves open; for workgroups of one dimension every known driver has it so.
override LANES: u32;   // of a team: a power of two
override STRIDE: u32;  // teams of a set, and lanes from one part of a team to the next; a set lies within a subgroup
override BATCH: u32;   // sums at a time: at most 4
override TEAMS: u32;   // of a workgroup: 64 / LANES

fn part_of(lane: u32) -> u32 { return lane / STRIDE % LANES; }

fn set_of(lane: u32) -> u32 { return lane / (STRIDE * LANES); }

fn team_of(lane: u32) -> u32 { return set_of(lane) * STRIDE + lane % STRIDE; }

// The same bits in all lanes of a team: each pair adds the same two numbers.
fn sum_over_team(sums: ptr<function, array<vec4<f32>, 4>>, lane: u32) {
    for (var i = 0u; i < BATCH; i++) {
        if (LANES > 1u) { (*sums)[i] += subgroupShuffleXor((*sums)[i], STRIDE); }
        if (LANES > 2u) { (*sums)[i] += subgroupShuffleXor((*sums)[i], 2u * STRIDE); }
        if (LANES > 4u) { (*sums)[i] += subgroupShuffleXor((*sums)[i], 4u * STRIDE); }
        if (LANES > 8u) { (*sums)[i] += subgroupShuffleXor((*sums)[i], 8u * STRIDE); }
    }
}

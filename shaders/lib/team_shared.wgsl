// Sums over a team of lanes through workgroup memory: for adapters without subgroup operations.
// Teams are interleaved, so that adjacent lanes read adjacent addresses. All teams form one set.
override LANES: u32;   // per team: a power of two
override STRIDE: u32;  // teams per set, and lanes from one part of a team to the next: TEAMS
override BATCH: u32;   // sums at a time: at most 4
override TEAMS: u32;   // per workgroup: 64 / LANES
var<workgroup> team_parts: array<vec4<f32>, 256>;   // [BATCH, LANES, TEAMS]
var<workgroup> team_totals: array<vec4<f32>, 128>;  // [BATCH, TEAMS]; a team of one lane needs none

fn part_of(lane: u32) -> u32 { return lane / STRIDE; }

fn set_of(lane: u32) -> u32 { return 0u; }

fn team_of(lane: u32) -> u32 { return lane % STRIDE; }

// The lanes of a team share the sums, and each total is computed once. A call never overwrites what another lane may
// still be reading for the previous call: the previous call's second barrier, or this call's first, is in between.
fn sum_over_team(sums: ptr<function, array<vec4<f32>, 4>>, lane: u32) {
    if (LANES == 1u) { return; }
    let team = team_of(lane);
    for (var i = 0u; i < BATCH; i++) { team_parts[i * 64u + lane] = (*sums)[i]; }
    workgroupBarrier();
    for (var i = part_of(lane); i < BATCH; i += LANES) {
        var total = team_parts[i * 64u + team];
        for (var part = 1u; part < LANES; part++) { total += team_parts[i * 64u + part * TEAMS + team]; }
        team_totals[i * TEAMS + team] = total;
    }
    workgroupBarrier();
    for (var i = 0u; i < BATCH; i++) { (*sums)[i] = team_totals[i * TEAMS + team]; }
}

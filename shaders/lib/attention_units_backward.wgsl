// What both backward passes of attention on matrix units add to lib/attention_units.wgsl: a second set of the
// workgroup's own rows, multiplied with the second tile. Their scores replace the first ones, whose weights each lane
// has already kept.
var<private> held: array<coop_mat16x16<f16, A>, 8>;  // [DEPTHS]
var<private> weights: array<vec4<f32>, 4>;             // for this lane's half of a row

fn keep_beside(own_row: u32) {
    let at = own_row * PITCH;
    held[0] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at], PITCH);
    if (DEPTHS > 1u) { held[1] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 4u], PITCH); }
    if (DEPTHS > 2u) { held[2] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 8u], PITCH); }
    if (DEPTHS > 3u) { held[3] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 12u], PITCH); }
    if (DEPTHS > 4u) { held[4] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 16u], PITCH); }
    if (DEPTHS > 5u) { held[5] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 20u], PITCH); }
    if (DEPTHS > 6u) { held[6] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 24u], PITCH); }
    if (DEPTHS > 7u) { held[7] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 28u], PITCH); }
}

fn score_beside(own_row: u32, j: u32) {
    let at = (TILE + j) * PITCH;
    var sum = coop_mat16x16<f32, C>();
    sum = coopMultiplyAdd(held[0], coopLoad<coop_mat16x16<f16, B>>(&tiles[at], PITCH), sum);
    if (DEPTHS > 1u) { sum = coopMultiplyAdd(held[1], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 4u], PITCH), sum); }
    if (DEPTHS > 2u) { sum = coopMultiplyAdd(held[2], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 8u], PITCH), sum); }
    if (DEPTHS > 3u) { sum = coopMultiplyAdd(held[3], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 12u], PITCH), sum); }
    if (DEPTHS > 4u) { sum = coopMultiplyAdd(held[4], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 16u], PITCH), sum); }
    if (DEPTHS > 5u) { sum = coopMultiplyAdd(held[5], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 20u], PITCH), sum); }
    if (DEPTHS > 6u) { sum = coopMultiplyAdd(held[6], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 24u], PITCH), sum); }
    if (DEPTHS > 7u) { sum = coopMultiplyAdd(held[7], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 28u], PITCH), sum); }
    let found = sum;
    let place = own_row * STRIP + j / 4u;
    coopStoreT(found, &scores[place], STRIP);
}

// A lane's half of a row consists of vec4s lane % 2, lane % 2 + 2, ... at a position of the sequence. The kernel
// defines their weights and the resulting shares: weigh(row, position, first, i) and share(row, i, weights).
fn weigh_row(row: u32, position: u32, first: u32, lane: u32) {
    weights[0] = weigh(row, position, first, lane % 2u);
    weights[1] = weigh(row, position, first, lane % 2u + 2u);
    weights[2] = weigh(row, position, first, lane % 2u + 4u);
    weights[3] = weigh(row, position, first, lane % 2u + 6u);
}

fn share_row(row: u32, lane: u32) {
    share(row, lane % 2u, weights[0]);
    share(row, lane % 2u + 2u, weights[1]);
    share(row, lane % 2u + 4u, weights[2]);
    share(row, lane % 2u + 6u, weights[3]);
}

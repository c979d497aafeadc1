// What both backward passes of attention on matrix units have beside lib/attention_units.wgsl: other rows of the workgroup's own,
// which meet the second tile.
var<workgroup> dscores: array<vec4<f32>, STRIP_LEN>;  // [ROWS, STRIP]
var<private> beside: array<coop_mat16x16<f16, A>, 8>;  // [DEPTHS]

fn keep_beside(own_row: u32) {
    let at = own_row * PITCH;
    beside[0] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at], PITCH);
    if (DEPTHS > 1u) { beside[1] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 4u], PITCH); }
    if (DEPTHS > 2u) { beside[2] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 8u], PITCH); }
    if (DEPTHS > 3u) { beside[3] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 12u], PITCH); }
    if (DEPTHS > 4u) { beside[4] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 16u], PITCH); }
    if (DEPTHS > 5u) { beside[5] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 20u], PITCH); }
    if (DEPTHS > 6u) { beside[6] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 24u], PITCH); }
    if (DEPTHS > 7u) { beside[7] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 28u], PITCH); }
}

fn score_beside(own_row: u32, j: u32) {
    let at = (TILE + j) * PITCH;
    var sum = coop_mat16x16<f32, C>();
    sum = coopMultiplyAdd(beside[0], coopLoad<coop_mat16x16<f16, B>>(&tiles[at], PITCH), sum);
    if (DEPTHS > 1u) { sum = coopMultiplyAdd(beside[1], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 4u], PITCH), sum); }
    if (DEPTHS > 2u) { sum = coopMultiplyAdd(beside[2], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 8u], PITCH), sum); }
    if (DEPTHS > 3u) { sum = coopMultiplyAdd(beside[3], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 12u], PITCH), sum); }
    if (DEPTHS > 4u) { sum = coopMultiplyAdd(beside[4], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 16u], PITCH), sum); }
    if (DEPTHS > 5u) { sum = coopMultiplyAdd(beside[5], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 20u], PITCH), sum); }
    if (DEPTHS > 6u) { sum = coopMultiplyAdd(beside[6], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 24u], PITCH), sum); }
    if (DEPTHS > 7u) { sum = coopMultiplyAdd(beside[7], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 28u], PITCH), sum); }
    let found = sum;
    let place = own_row * STRIP + j / 4u;
    coopStoreT(found, &dscores[place], STRIP);
}

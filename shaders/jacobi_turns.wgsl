// A round of Jacobi rotations (Jacobi 1846), all pairs of rows at once (Brent & Luk 1985): pairs the rows, and finds
// the rotation that makes each pair orthogonal, from the gram matrix. One workgroup, which counts the rounds.
override ROWS: u32;
override WG: u32;
@group(0) @binding(0) var<storage, read>       gram:  array<f32>;        // [ROWS, ROWS]
@group(0) @binding(1) var<storage, read_write> round: array<u32>;        // [1]: number of earlier rounds
@group(0) @binding(2) var<storage, read_write> turns: array<vec4<f32>>;  // [PLAYERS / 2]: two rows, cosine and sine

override PLAYERS: u32 = (ROWS + 1u) / 2u * 2u;  // with an odd number of rows, one pair per round has a single row

// A tournament in which every two rows meet once.
fn pair_of(index: u32, number: u32) -> vec2<u32> {
    let circle = PLAYERS - 1u;
    if (index == 0u) { return vec2(number, circle); }
    return vec2((number + index) % circle, (number + circle - index) % circle);
}

// The cosine and sine that make rows with these squares and this product orthogonal.
fn turn_of(of_x: f32, of_y: f32, product: f32) -> vec2<f32> {
    let apart = !(abs(product) > 3e-7 * sqrt(max(of_x, 0.0)) * sqrt(max(of_y, 0.0)));
    let zeta = (of_y - of_x) / (2.0 * select(product, 1.0, apart));
    let size = abs(zeta);
    // The root of 1 + zeta^2 without computing the square, which may overflow.
    let root = select(sqrt(fma(zeta, zeta, 1.0)), size, size > 1e9);
    let tangent = select(-1.0, 1.0, zeta >= 0.0) / (size + root);
    // A Newton step: over thousands of consecutive rotations, small errors in length would accumulate.
    let square = fma(tangent, tangent, 1.0);
    let guess = inverseSqrt(square);
    let cosine = guess * fma(-0.5 * square * guess, guess, 1.5);
    return select(vec2(cosine, cosine * tangent), vec2(1.0, 0.0), apart);
}

@compute @workgroup_size(WG)
fn jacobi_turns(@builtin(local_invocation_index) lane: u32) {
    let before = round[0];
    storageBarrier();
    if (lane == 0u) { round[0] = before + 1u; }
    for (var index = lane; index < PLAYERS / 2u; index += WG) {
        let pair = pair_of(index, before % (PLAYERS - 1u));
        var turn = vec2(1.0, 0.0);
        if (max(pair.x, pair.y) < ROWS) {
            let of_x = gram[pair.x * ROWS + pair.x];
            turn = turn_of(of_x, gram[pair.y * ROWS + pair.y], gram[pair.x * ROWS + pair.y]);
        }
        turns[index] = vec4(vec2<f32>(pair), turn);
    }
}

// A round of Jacobi's rotations (Jacobi 1846), all pairs of rows at once (Brent & Luk 1985): who meets whom, and the turn
// that makes two rows orthogonal, from the gram matrix of all. One workgroup, which counts the rounds.
override ROWS: u32;
override WG: u32;
@group(0) @binding(0) var<storage, read>       gram:  array<f32>;        // [ROWS, ROWS]
@group(0) @binding(1) var<storage, read_write> round: array<u32>;        // [1]: those before this one
@group(0) @binding(2) var<storage, read_write> turns: array<vec4<f32>>;  // [PLAYERS / 2]: two rows, cosine and sine

override PLAYERS: u32 = (ROWS + 1u) / 2u * 2u;  // with an odd number of rows one pair of a round has a row alone

// A tournament in which every two meet once.
fn pair_of(index: u32, number: u32) -> vec2<u32> {
    let circle = PLAYERS - 1u;
    if (index == 0u) { return vec2(number, circle); }
    return vec2((number + index) % circle, (number + circle - index) % circle);
}

// Cosine and sine that make rows of these squares and this product orthogonal.
fn turn_of(of_x: f32, of_y: f32, product: f32) -> vec2<f32> {
    let apart = !(abs(product) > 3e-7 * sqrt(max(of_x, 0.0)) * sqrt(max(of_y, 0.0)));
    let zeta = (of_y - of_x) / (2.0 * select(product, 1.0, apart));
    let size = abs(zeta);
    // The root of 1 + zeta^2 without its square, which may leave the range.
    let root = select(sqrt(fma(zeta, zeta, 1.0)), size, size > 1e9);
    let tangent = select(-1.0, 1.0, zeta >= 0.0) / (size + root);
    // A step of Newton's: thousands of turns follow one another, and a length that is off by little each time would not stay.
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

// Jacobi's rotations (Jacobi 1846), all pairs of a round at once (Brent & Luk 1985): from the gram matrix of some rows to
// the rotation that makes these rows orthogonal. One workgroup; the rounds of one sweep after another, FIRST to LAST of them.
override ROWS: u32;
override FIRST: u32;
override LAST: u32;
override WG: u32;
@group(0) @binding(0) var<storage, read_write> gram:     array<f32>;  // [ROWS, ROWS], becomes diagonal
@group(0) @binding(1) var<storage, read_write> rotation: array<f32>;  // [ROWS, ROWS], of the rows; made in round 0

const PAIRS = 1024u;  // room for as many pairs, and twice as many rows
override PLAYERS: u32 = (ROWS + 1u) / 2u * 2u;  // with an odd number of rows one pair of a round has a row alone

var<workgroup> turns: array<vec2<f32>, PAIRS>;  // cosine and sine of each pair

// The rows of a pair in a round: a tournament in which every two meet once.
fn pair_of(index: u32, round: u32) -> vec2<u32> {
    let circle = PLAYERS - 1u;
    if (index == 0u) { return vec2(round, circle); }
    return vec2((round + index) % circle, (round + circle - index) % circle);
}

// Cosine and sine that make rows of these squares and this product orthogonal.
fn turn_of(of_x: f32, of_y: f32, product: f32) -> vec2<f32> {
    let turns = abs(product) > 3e-7 * sqrt(max(of_x, 0.0)) * sqrt(max(of_y, 0.0));
    let zeta = (of_y - of_x) / (2.0 * select(1.0, product, turns));
    let size = abs(zeta);
    // The root of 1 + zeta^2 without its square, which may leave the range.
    let root = select(sqrt(fma(zeta, zeta, 1.0)), size, size > 1e9);
    let tangent = select(-1.0, 1.0, zeta >= 0.0) / (size + root);
    // A step of Newton's: thousands of turns follow one another, and a length that is off by little each time would not stay.
    let square = fma(tangent, tangent, 1.0);
    let guess = inverseSqrt(square);
    let cosine = guess * fma(-0.5 * square * guess, guess, 1.5);
    return select(vec2(1.0, 0.0), vec2(cosine, cosine * tangent), turns);
}

@compute @workgroup_size(WG)
fn jacobi_gram(@builtin(local_invocation_index) lane: u32) {
    if (FIRST == 0u) {
        for (var at = lane; at < ROWS * ROWS; at += WG) { rotation[at] = select(0.0, 1.0, at / ROWS == at % ROWS); }
        storageBarrier();
    }
    for (var at = FIRST; at < LAST; at++) {
        let round = at % max(PLAYERS - 1u, 1u);
        for (var index = lane; index < PLAYERS / 2u; index += WG) {
            let pair = pair_of(index, round);
            var turn = vec2(1.0, 0.0);
            if (max(pair.x, pair.y) < ROWS) {
                let of_x = gram[pair.x * ROWS + pair.x];
                turn = turn_of(of_x, gram[pair.y * ROWS + pair.y], gram[pair.x * ROWS + pair.y]);
            }
            turns[index] = turn;
        }
        workgroupBarrier();
        // Pairs of rows, a lane for some columns.
        for (var index = 0u; index < PLAYERS / 2u; index++) {
            let turn = turns[index];
            if (turn.y == 0.0) { continue; }
            let pair = pair_of(index, round) * ROWS;
            for (var col = lane; col < ROWS; col += WG) {
                let x = gram[pair.x + col];
                let y = gram[pair.y + col];
                gram[pair.x + col] = turn.x * x - turn.y * y;
                gram[pair.y + col] = turn.y * x + turn.x * y;
                let p = rotation[pair.x + col];
                let q = rotation[pair.y + col];
                rotation[pair.x + col] = turn.x * p - turn.y * q;
                rotation[pair.y + col] = turn.y * p + turn.x * q;
            }
        }
        storageBarrier();
        // The same pairs of columns, a lane for some pairs.
        for (var index = lane; index < PLAYERS / 2u; index += WG) {
            let turn = turns[index];
            if (turn.y == 0.0) { continue; }
            let pair = pair_of(index, round);
            for (var row = 0u; row < ROWS; row++) {
                let x = gram[row * ROWS + pair.x];
                let y = gram[row * ROWS + pair.y];
                gram[row * ROWS + pair.x] = turn.x * x - turn.y * y;
                gram[row * ROWS + pair.y] = turn.y * x + turn.x * y;
            }
        }
        storageBarrier();
        workgroupBarrier();
    }
}

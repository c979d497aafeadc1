// pixels[p, q] = colour of the element of x that has the largest magnitude under the pixel, as a share of LIMIT times the
// root mean square of x. Zero is transparent, so that the map lies on any background.
override ROWS: u32;
override COLS: u32;
override HEIGHT: u32;
override WIDTH: u32;
override LIMIT: f32;
const POSITIVE: vec3<f32> = vec3<f32>(0.0, 0.447, 0.698);  // blue and vermilion of Okabe and Ito
const NEGATIVE: vec3<f32> = vec3<f32>(0.835, 0.369, 0.0);
@group(0) @binding(0) var<storage, read>       x:      array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       factor: array<f32>;  // [1] one over the root mean square, 0 for a zero matrix
@group(0) @binding(2) var<storage, read_write> pixels: array<u32>;  // [HEIGHT, WIDTH] rgba8, alpha multiplied in

@compute @workgroup_size(64)
fn heat_map(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= HEIGHT * WIDTH) { return; }
    let first_row = at / WIDTH * ROWS / HEIGHT;
    let first_col = at % WIDTH * COLS / WIDTH;
    let last_row = max(first_row + 1u, ((at / WIDTH + 1u) * ROWS + HEIGHT - 1u) / HEIGHT);
    let last_col = max(first_col + 1u, ((at % WIDTH + 1u) * COLS + WIDTH - 1u) / WIDTH);
    var largest = 0.0;
    for (var row = first_row; row < last_row; row++) {
        for (var col = first_col; col < last_col; col++) {
            let value = x[row * COLS + col] * factor[0] / LIMIT;
            if (abs(value) > abs(largest)) { largest = value; }
        }
    }
    let share = min(abs(largest), 1.0);
    pixels[at] = pack4x8unorm(vec4<f32>(share * select(NEGATIVE, POSITIVE, largest > 0.0), share));
}

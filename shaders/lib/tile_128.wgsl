// A 128x128 tile of a product, 16 deep, by 128 lanes with 8x16 sums each: 16 KiB of workgroup memory.
const TILE: u32 = 128u;
const LANES: u32 = 128u;
const LANES_DOWN: u32 = 16u;  // by 8 across
const VECS: u32 = 4u;         // vec4s per lane in each of its rows

// A 64x64 tile of a product, 16 deep, by 64 lanes with 8x8 sums each: 8 KiB of workgroup memory.
const TILE: u32 = 64u;
const LANES: u32 = 64u;
const LANES_DOWN: u32 = 8u;  // by 8 across
const VECS: u32 = 2u;        // vec4s per lane in each of its rows

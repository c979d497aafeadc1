// Depths of a tile on matrix units: with the sums on their way out the 16 KiB of workgroup memory that every adapter gives.
const DEPTH: u32 = 16u;

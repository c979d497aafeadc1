// Depths of a tile on matrix units: fits, with staged sums, in the 16 KiB of workgroup memory that every adapter has.
const DEPTH: u32 = 16u;

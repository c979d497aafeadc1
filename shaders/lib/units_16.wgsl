// Depths of a tile on matrix units, as many as fit the 16 KiB of workgroup memory that every adapter gives.
const DEPTH: u32 = 16u;

// Depths that four subgroups share, for a sum over the tokens of a small batch: 14 KiB of workgroup memory.
const DEPTH: u32 = 64u;

// Room for the vectors of one attention head in registers: HEAD_DIM is at most this.
const MAX_HEAD_DIM: u32 = 32u;

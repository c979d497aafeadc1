//! What a group needs of the network.

/// Moves bytes between the ranks of a group. Every rank calls the same methods in the same order, and each call returns
/// when this rank's part is done; a failure ends the process.
pub trait Transport {
    /// This process, from 0.
    fn rank(&self) -> usize;
    /// How many processes there are.
    fn size(&self) -> usize;
    /// This process among those of its host, from 0.
    fn local_rank(&self) -> usize;
    /// Sends the first `send_bytes[0]` bytes to rank 0, those after them to rank 1 and so on; writes what came from each
    /// rank, `receive_bytes` of them, to `received` in rank order.
    fn all_to_all(&self, send: &[u8], send_bytes: &[usize], receive_bytes: &[usize], received: &mut [u8]);
    /// Writes every rank's `own` bytes to `gathered` in rank order; `bytes` says how many each has.
    fn all_gather(&self, own: &[u8], bytes: &[usize], gathered: &mut [u8]);
    /// Overwrites the bytes, as many on each rank, with those of rank 0.
    fn broadcast(&self, bytes: &mut [u8]);
}

//! Bookkeeping for background computations: what was requested, what is in progress, and the results.

use std::time::Duration;

use multinorm::spectrum::{Cell, Map};
use multinorm::train::Direction;
use web_time::Instant;

use crate::platform::Pointed;

/// The singular vectors at the cursor, with one slot per optimizer shown.
#[derive(Default)]
pub struct Directions(Vec<Slot>);

#[derive(Clone, Default)]
struct Slot {
    known: Option<(Pointed, Direction)>,
    asked: Option<Pointed>,
    is_under_way: bool,
}

impl Directions {
    /// Whether to compute these vectors now; true if they were not requested yet and nothing is in progress.
    pub fn wants(&mut self, slot: usize, pointed: Pointed) -> bool {
        if self.0.len() <= slot {
            self.0.resize(slot + 1, Slot::default());
        }
        let slot = &mut self.0[slot];
        if slot.is_under_way || slot.asked == Some(pointed) {
            return false;
        }
        *slot = Slot { asked: Some(pointed), is_under_way: true, known: slot.known.take() };
        true
    }

    /// Stores an answer; `None` if the matrix has fewer singular values.
    pub fn take(&mut self, pointed: Pointed, direction: Option<Direction>) {
        if let Some(slot) = self.0.iter_mut().find(|slot| slot.asked == Some(pointed)) {
            slot.is_under_way = false;
            slot.known = direction.map(|direction| (pointed, direction));
        }
    }

    /// Notes that pending requests will not be answered.
    pub fn fail(&mut self) {
        self.0.iter_mut().for_each(|slot| slot.is_under_way = false);
    }

    /// These vectors, if they are known.
    pub fn get(&self, slot: usize, pointed: Pointed) -> Option<&Direction> {
        let (known, direction) = self.0.get(slot)?.known.as_ref()?;
        (*known == pointed).then_some(direction)
    }
}

/// The map of rates, with the cells computed so far.
pub struct RateMap {
    /// The cells, row by row.
    pub cells: Vec<Option<Cell>>,
    is_under_way: bool,
    has_failed: bool,
    asked: Instant,
}

impl Default for RateMap {
    fn default() -> Self {
        let cells = vec![None; Map::N_ASPECTS * Map::N_HEAVINESS];
        Self { cells, is_under_way: false, has_failed: false, asked: Instant::now() }
    }
}

impl RateMap {
    /// Column and row of the next cell to compute, at least `rest` after the last one. Coarse cells come first, so that
    /// the whole map soon takes shape.
    pub fn next(&mut self, rest: Duration) -> Option<(usize, usize)> {
        if self.is_under_way || self.has_failed || self.asked.elapsed() < rest {
            return None;
        }
        let missing = |stride: usize| {
            let rows = (0..Map::N_HEAVINESS).step_by(stride);
            let mut all =
                rows.flat_map(move |row| (0..Map::N_ASPECTS).step_by(stride).map(move |aspect| (aspect, row)));
            all.find(|(aspect, row)| self.cells[row * Map::N_ASPECTS + aspect].is_none())
        };
        let next = [4, 2, 1].into_iter().find_map(missing)?;
        (self.is_under_way, self.asked) = (true, Instant::now());
        Some(next)
    }

    /// Stores a cell.
    pub fn take(&mut self, aspect: usize, row: usize, cell: Cell) {
        // A matrix and its transpose have the same rate.
        self.cells[row * Map::N_ASPECTS + Map::mirrored(aspect)] = Some(cell.transposed());
        self.cells[row * Map::N_ASPECTS + aspect] = Some(cell);
        self.is_under_way = false;
    }

    /// Notes that the requested cell failed, and stops: it would fail again.
    pub fn fail(&mut self) {
        self.has_failed |= self.is_under_way;
        self.is_under_way = false;
    }

    /// Notes that the requested cell will not come; it can be requested again.
    pub fn forget(&mut self) {
        self.is_under_way = false;
    }

    /// The number of cells computed.
    pub fn n_known(&self) -> usize {
        self.cells.iter().flatten().count()
    }
}

/// Decides which matrix the atlas samples next.
#[derive(Default)]
pub struct AtlasQueue {
    under_way: usize,
    next: usize,
    /// The step after which it last sampled one.
    step: u64,
}

impl AtlasQueue {
    /// The next of `n_matrices` to sample in each of `n_runs`, after `step` steps. A training run gets one sample per
    /// `every` steps, a paused run samples all matrices in a row.
    pub fn next(&mut self, step: u64, every: u64, is_running: bool, n_matrices: usize, n_runs: usize) -> Option<usize> {
        if self.under_way > 0 || (is_running && step < self.step + every) {
            return None;
        }
        if self.next >= n_matrices {
            // A paused run has nothing new to show.
            if step == self.step {
                return None;
            }
            self.next = 0;
        }
        let next = self.next;
        *self = Self { under_way: n_runs, next: next + 1, step };
        (n_matrices > 0).then_some(next)
    }

    /// Notes that a tile has arrived.
    pub fn take(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Notes that pending requests will not be answered.
    pub fn fail(&mut self) {
        self.under_way = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointed(look: u64) -> Pointed {
        Pointed { look, half_step: 3, sigma: 0 }
    }

    #[test]
    fn one_direction_is_under_way_and_an_answer_is_never_shown_for_another() {
        let mut directions = Directions::default();
        assert!(
            directions.wants(1, pointed(7)) && !directions.wants(1, pointed(7)) && !directions.wants(1, pointed(8))
        );
        let found = Direction { sigma: 2.0, left: vec![1.0], right: vec![1.0] };
        directions.take(pointed(7), Some(found));
        assert!(directions.get(1, pointed(7)).is_some() && directions.get(1, pointed(8)).is_none());
        assert!(directions.get(0, pointed(7)).is_none());
        assert!(directions.wants(1, pointed(8)), "now the newer one");
        directions.fail();
        assert!(!directions.wants(1, pointed(8)), "what failed is not tried again and again");
        assert!(directions.wants(1, pointed(9)));
    }

    #[test]
    fn the_map_comes_coarse_first_and_a_failure_ends_it() {
        let mut map = RateMap::default();
        let cell = Map::default().cell(0, 0);
        let mut order = Vec::new();
        while let Some((aspect, row)) = map.next(Duration::ZERO) {
            assert_eq!(map.next(Duration::ZERO), None, "one at a time");
            order.push((aspect, row));
            map.take(aspect, row, cell.clone());
        }
        assert_eq!(map.n_known(), Map::N_ASPECTS * Map::N_HEAVINESS);
        assert_eq!(order.len(), Map::N_ASPECTS.div_ceil(2) * Map::N_HEAVINESS, "the other half is its mirror image");
        assert_eq!(order[1], (4, 0));
        let mut map = RateMap::default();
        map.next(Duration::ZERO);
        map.fail();
        assert_eq!(map.next(Duration::ZERO), None);
    }

    #[test]
    fn the_atlas_goes_round_while_steps_are_made_and_once_when_they_end() {
        let mut queue = AtlasQueue::default();
        let mut seen = Vec::new();
        for step in 1..20 {
            seen.extend(queue.next(step, 4, true, 3, 1));
            queue.take();
        }
        assert_eq!(seen, [0, 1, 2, 0], "at steps 4, 8, 12 and 16");
        let mut rest = Vec::new();
        while let Some(next) = queue.next(19, 4, false, 3, 2) {
            assert_eq!(queue.next(19, 4, false, 3, 2), None, "two runs answer");
            queue.take();
            queue.take();
            rest.push(next);
        }
        assert_eq!(rest, [1, 2]);
        assert_eq!(AtlasQueue::default().next(5, 1, false, 0, 1), None, "no matrices");
    }
}

//! Playback of the passes: automatic, or pass by pass.

/// Seconds to show one pass.
const PASS_SECS: f64 = 1.0;
/// Seconds of that for its animation.
const TWEEN_SECS: f64 = 0.45;
/// Seconds to show the end before playback starts over.
const HOLD_SECS: f64 = 3.0;

/// The state of playback.
#[derive(Default)]
pub struct Player {
    /// When playback started, or when the current pass was chosen.
    since: f64,
    /// The chosen pass; `None` while playing.
    chosen: Option<usize>,
    /// The pass shown before that.
    before: usize,
    /// The step whose gradient is playing; it only changes when playback starts over.
    pub step: Option<u64>,
}

/// What is shown at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Passes done; the last may still be in progress.
    pub pass: usize,
    /// The pass shown before.
    pub before: usize,
    /// Progress of the pass: 1 when done.
    pub done: f32,
    /// Seconds until something changes; `None` if nothing will.
    pub next: Option<f64>,
}

impl Moment {
    /// Without motion.
    fn still(pass: usize, next: Option<f64>) -> Self {
        Self { pass, before: pass, done: 1.0, next }
    }

    /// The cursor's position, between two passes while one is in progress.
    pub fn position(&self) -> f64 {
        let (from, to) = (self.before as f64, self.pass as f64);
        from + (to - from) * f64::from(self.done)
    }
}

impl Player {
    /// What to show `now`, in seconds, of passes up to `last`. `newest` is the step whose gradient plays next.
    pub fn moment(
        &mut self,
        now: f64,
        chosen: Option<usize>,
        last: usize,
        newest: Option<u64>,
        motion: bool,
    ) -> Moment {
        match chosen {
            Some(pass) => self.at_rest(now, pass.min(last), motion),
            None => self.playing(now, last, newest, motion),
        }
    }

    fn at_rest(&mut self, now: f64, pass: usize, motion: bool) -> Moment {
        if self.chosen != Some(pass) {
            self.before = self.chosen.unwrap_or(pass);
            (self.chosen, self.since) = (Some(pass), now);
        }
        let done = (now - self.since) / TWEEN_SECS;
        // Animate only between neighbours; the passes in between may never have been shown.
        if !motion || done >= 1.0 || self.before.abs_diff(pass) != 1 {
            return Moment::still(pass, None);
        }
        Moment { pass, before: self.before, done: eased(done), next: Some(0.0) }
    }

    fn playing(&mut self, now: f64, last: usize, newest: Option<u64>, motion: bool) -> Moment {
        let whole = last as f64 * PASS_SECS + HOLD_SECS;
        let ended = now - self.since >= whole || now < self.since;
        // The first gradient of a run is shown right away, later ones when playback starts over.
        if let Some(pass) = self.chosen.take() {
            let from = if pass < last { pass } else { 0 };
            (self.since, self.step) = (now - from as f64 * PASS_SECS, newest);
        } else if ended || (self.step.is_none() && newest.is_some()) {
            (self.since, self.step) = (now, newest);
        }
        let phase = now - self.since;
        let pass = ((phase / PASS_SECS).floor() as usize).min(last);
        let within = phase - pass as f64 * PASS_SECS;
        if pass > 0 && motion && within < TWEEN_SECS {
            return Moment { pass, before: pass - 1, done: eased(within / TWEEN_SECS), next: Some(0.0) };
        }
        let end = if pass == last { whole } else { (pass + 1) as f64 * PASS_SECS };
        Moment::still(pass, Some((end - phase).max(0.0)))
    }

    /// Starts playback over with the next gradient.
    pub fn restart(&mut self) {
        *self = Self::default();
    }
}

/// Slow at both ends.
fn eased(share: f64) -> f32 {
    let share = share.clamp(0.0, 1.0) as f32;
    share * share * (3.0 - 2.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_through_every_pass_and_begins_again_with_a_newer_gradient() {
        let mut player = Player::default();
        let mut seen = Vec::new();
        for tick in 0..259 {
            let moment = player.moment(100.0 + f64::from(tick) * 0.05, None, 10, Some(3 + tick as u64 / 200), true);
            assert_eq!(player.step, Some(3), "one walk, one gradient");
            assert!((0.0..=1.0).contains(&moment.done) && moment.position() <= 10.0);
            seen.push(moment.pass);
        }
        assert!(seen.is_sorted());
        seen.dedup();
        assert_eq!(seen, (0..=10).collect::<Vec<_>>());
        let again = player.moment(113.5, None, 10, Some(4), true);
        assert_eq!((again.pass, player.step), (0, Some(4)));
    }

    #[test]
    fn a_chosen_pass_is_run_to_from_its_neighbour_and_jumped_to_from_elsewhere() {
        let mut player = Player::default();
        assert_eq!(player.moment(0.0, Some(3), 10, None, true), Moment::still(3, None));
        let moving = player.moment(1.0, Some(4), 10, None, true);
        assert_eq!((moving.before, moving.pass, moving.done), (3, 4, 0.0));
        assert_eq!(player.moment(2.0, Some(4), 10, None, true), Moment::still(4, None));
        assert_eq!(player.moment(2.1, Some(9), 10, None, true), Moment::still(9, None));
        assert_eq!(player.moment(2.2, Some(8), 10, None, false), Moment::still(8, None), "less motion");
        assert_eq!(player.moment(2.3, Some(80), 2, None, true), Moment::still(2, None), "fewer passes");
    }

    #[test]
    fn a_walk_goes_on_from_the_pass_that_was_held_and_from_the_gradient_after_the_last() {
        let mut player = Player::default();
        player.moment(5.0, Some(3), 10, Some(1), false);
        assert_eq!(player.moment(6.0, None, 10, Some(2), false).pass, 3);
        assert_eq!(player.moment(7.1, None, 10, Some(2), false).pass, 4);
        player.moment(8.0, Some(10), 10, Some(3), false);
        assert_eq!(player.moment(9.0, None, 10, Some(3), false).pass, 0);
    }

    #[test]
    fn a_rule_without_passes_stands_still() {
        let mut player = Player::default();
        assert_eq!(player.moment(0.0, None, 0, None, true).pass, 0);
        assert_eq!(player.moment(2.0, None, 0, None, true).pass, 0);
    }
}

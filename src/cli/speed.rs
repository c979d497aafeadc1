//! Tokens per second as shown to a user: over the last seconds, not between two reports.

use std::collections::VecDeque;
use std::time::Duration;

use web_time::Instant;

/// Recent token counts and their times.
#[derive(Default)]
pub struct Throughput {
    seen: VecDeque<(Instant, u64)>,
}

/// The averaging window: reports come in bursts, and the last few of a run come together.
const WINDOW: Duration = Duration::from_secs(20);

impl Throughput {
    /// Records the number of tokens since the run began, and returns tokens per second over the window; `None` before
    /// the second report.
    pub fn per_sec(&mut self, tokens: u64) -> Option<f64> {
        self.per_sec_at(Instant::now(), tokens)
    }

    fn per_sec_at(&mut self, now: Instant, tokens: u64) -> Option<f64> {
        // A run that fell back to a checkpoint starts over.
        if self.seen.back().is_some_and(|(_, before)| *before > tokens) {
            self.seen.clear();
        }
        self.seen.push_back((now, tokens));
        while self.seen.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            self.seen.pop_front();
        }
        let (began, before) = self.seen.front()?;
        let secs = (now - *began).as_secs_f64();
        (secs > 0.0).then(|| (tokens - before) as f64 / secs)
    }

    /// Forgets everything before a pause.
    pub fn restart(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_no_speed() {
        let (mut speed, began) = (Throughput::default(), Instant::now());
        let at = |millis| began + Duration::from_millis(millis);
        assert_eq!(speed.per_sec_at(at(0), 1000), None);
        // A thousand tokens per second; every other report comes a millisecond after the one before.
        for second in 1..60 {
            let tokens = 1000 * (second + 1);
            speed.per_sec_at(at(1000 * second), tokens - 500);
            let rate = speed.per_sec_at(at(1000 * second + 1), tokens).unwrap();
            assert!((900.0..=1100.0).contains(&rate), "{rate} after {second} s");
        }
        // After falling back to a checkpoint.
        assert_eq!(speed.per_sec_at(at(61_000), 2000), None);
        assert_eq!(speed.per_sec_at(at(62_000), 3000), Some(1000.0));
    }
}

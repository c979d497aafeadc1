//! Rates as shown to a user: over the last seconds or minutes, not between two reports.

use std::collections::VecDeque;
use std::time::Duration;

use web_time::Instant;

/// Recent values of a growing count, and their times.
pub struct Recent {
    window: Duration,
    seen: VecDeque<(Instant, u64)>,
}

impl Recent {
    pub fn over(window: Duration) -> Self {
        Self { window, seen: VecDeque::new() }
    }

    pub fn push(&mut self, now: Instant, count: u64) {
        // A run that fell back to a checkpoint starts over.
        if self.seen.back().is_some_and(|(_, before)| *before >= count) {
            self.seen.clear();
        }
        self.seen.push_back((now, count));
        while self.seen.get(1).is_some_and(|(at, _)| now - *at >= self.window) {
            self.seen.pop_front();
        }
    }

    /// By how much the count grows per second; `None` before the second value.
    pub fn per_sec(&self) -> Option<f64> {
        let ((began, first), (ended, last)) = (self.seen.front()?, self.seen.back()?);
        let secs = (*ended - *began).as_secs_f64();
        (secs > 0.0).then(|| (last - first) as f64 / secs)
    }
}

/// Tokens per second.
pub struct Throughput(Recent);

/// The averaging window: reports come in bursts, and the last few of a run come together.
const WINDOW: Duration = Duration::from_secs(20);

impl Default for Throughput {
    fn default() -> Self {
        Self(Recent::over(WINDOW))
    }
}

impl Throughput {
    /// Records the number of tokens since the run began, and returns tokens per second over the window; `None` before
    /// the second report.
    pub fn per_sec(&mut self, tokens: u64) -> Option<f64> {
        self.per_sec_at(Instant::now(), tokens)
    }

    fn per_sec_at(&mut self, now: Instant, tokens: u64) -> Option<f64> {
        self.0.push(now, tokens);
        self.0.per_sec()
    }

    /// Forgets everything before a pause.
    pub fn restart(&mut self) {
        self.0.seen.clear();
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

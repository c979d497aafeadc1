//! What to show: which parameter's gradient, at which step, after which pass.

use multinorm::config::OptimizerConfig;
use multinorm::train::{Direction, Followed, GradientSample};

use super::run_view::{Look, RunView};
use super::{Lab, Moment, Status};
use crate::platform::{Job, Pointed, Source, Wanted};

impl Lab {
    /// The views to show: an open file, or the runs.
    pub fn views(&self) -> Vec<&RunView> {
        match &self.opened {
            Some(opened) => vec![&opened.view],
            None => self.runs.iter().collect(),
        }
    }

    /// The last half-step of the looks shown.
    pub fn last_half_step(&self) -> usize {
        self.shown().iter().map(|look| look.followed.record.passes.len().saturating_sub(1)).max().unwrap_or(0)
    }

    /// The look shown for each view: at the chosen step, else at the step being played, else the newest. A new file is
    /// shown once its first look is there, and the runs until then; runs without a look show the recorded gradient.
    pub fn shown(&self) -> Vec<&Look> {
        self.shown_with_runs().into_iter().map(|(_, look)| look).collect()
    }

    /// The same, each with its run; `None` for a file and for the recorded gradient.
    fn shown_with_runs(&self) -> Vec<(Option<usize>, &Look)> {
        // Playback sticks to its gradient; a held pass shows the newest.
        let of_walk = self.player.step.filter(|_| self.settings.half_step.is_none());
        let step = self.settings.step.or(of_walk);
        if let Some(look) = self.opened.as_ref().and_then(|opened| opened.view.looks.back()) {
            return vec![(None, look)];
        }
        let of_runs = self.runs.iter().enumerate().filter_map(|(run, view)| Some((Some(run), view.look_at(step)?)));
        let seen: Vec<_> = of_runs.collect();
        if seen.is_empty() { vec![(None, &self.recorded_look)] } else { seen }
    }

    /// Whether the recorded gradient is shown, because there is no other yet.
    pub fn shows_recorded(&self) -> bool {
        std::ptr::eq(self.shown()[0], &self.recorded_look)
    }

    /// The matrix still awaited while another is shown.
    pub fn awaited(&self) -> Option<&str> {
        let wanted = match &self.opened {
            Some(opened) => opened.matrices[opened.chosen].name(),
            None if self.shows_recorded() => return None,
            None => &self.settings.parameter,
        };
        let shows_file = self.opened.as_ref().is_none_or(|opened| !opened.view.looks.is_empty());
        let is_shown = self.shown().iter().all(|look| look.followed.record.parameter == wanted);
        (!is_shown || !shows_file).then_some(wanted)
    }

    /// The names of the optimizers whose looks are shown.
    pub fn seen_optimizers(&self) -> Vec<String> {
        let name = |(run, look): (Option<usize>, &Look)| match (run, &self.opened) {
            (Some(run), _) => self.runs[run].optimizer.clone(),
            (None, Some(opened)) if !std::ptr::eq(look, &self.recorded_look) => opened.view.optimizer.clone(),
            (None, _) => "sinkgd".into(),
        };
        self.shown_with_runs().into_iter().map(name).collect()
    }

    /// The current moment of playback.
    pub fn moment(&mut self, now: f64, motion: bool) -> Moment {
        let (last, chosen) = (self.last_half_step(), self.settings.half_step);
        let newest = self.views().first().and_then(|run| run.looks.back()).map(Look::step);
        self.player.moment(now, chosen, last, newest, motion)
    }

    /// Requests the vectors of the highlighted singular value after this many passes, unless they are known.
    pub fn point_at(&mut self, half_step: usize) {
        let Some(sigma) = self.settings.sigma else { return };
        for slot in 0..self.shown().len() {
            let (run, look) = self.shown_with_runs()[slot];
            let pointed = Pointed { look: look.id, half_step, sigma };
            if !self.directions.wants(slot, pointed) {
                continue;
            }
            let Some(sample) = self.shown()[slot].sample.clone() else {
                self.directions.take(pointed, None);
                continue;
            };
            let sets = self.built.sets(&self.seen_optimizers()[slot], self.dataset.vocab_size);
            let of = Source { run, generation: self.generation };
            self.follower.send(Job::Sample { of, sets, sample: Box::new(sample), wanted: Wanted::Direction(pointed) });
        }
    }

    /// The vectors of the highlighted singular value for one of the looks shown, if they are known.
    pub fn direction(&self, slot: usize, half_step: usize) -> Option<&Direction> {
        let (sigma, look) = (self.settings.sigma?, self.shown().get(slot)?.id);
        self.directions.get(slot, Pointed { look, half_step, sigma })
    }

    /// Whether every run has made this many steps and has a look; a recorded run does not need one.
    pub fn has_seen(&self, steps: u64) -> bool {
        let is_record = matches!(self.status, Status::Record { .. });
        let seen =
            |run: &RunView| run.last().is_some_and(|last| last.step >= steps) && (is_record || !run.looks.is_empty());
        self.runs.iter().all(seen)
    }
}

/// A gradient recorded in an earlier run, so that there is something to see before the model has one. Its SinkGD passes
/// are computed now.
pub(super) fn recorded_look() -> Look {
    let name = "model.layers.0.mlp.down_proj.weight".to_owned();
    let shape = [32, 88];
    let bytes = include_bytes!("../../page/recorded.bin");
    let gradient = bytes.as_chunks::<2>().0.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) / 32767.0).collect();
    let rule = OptimizerConfig::named("sinkgd").expect("the catalog has SinkGD").linear.rule;
    let sample = GradientSample { step: 60, parameter: name, shape, rule, gradient, clip: 1.0, states: Vec::new() };
    Look::new(Followed::of(&sample), Some(sample))
}

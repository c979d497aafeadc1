//! Handles what has happened since the last frame, and requests what is needed next.

use std::time::Duration;

use multinorm::Error;
use multinorm::config::Role;
use multinorm::train::GradientSample;

use super::{Lab, Look, RunView, Status};
use crate::engine::{Command, Event};
use crate::platform::{self, Done, Job, Question, QuestionAnswer, SampleAnswer, Source, Wanted};

/// Time between two cells of the map of rates when they take time away from training.
const MAP_REST: Duration = Duration::from_millis(250);

impl Lab {
    /// Requests the next cell of the map, unless one is in progress.
    pub fn ask_for_map(&mut self) {
        // A model's first step has priority; on a software adapter, so do the others.
        if self.status == Status::Building {
            return;
        }
        let is_busy = self.gpu.profile.software && self.status == Status::Running;
        if let Some((aspect, row)) = self.map.next(if is_busy { MAP_REST } else { Duration::ZERO }) {
            self.follower.send(Job::Question(Question::Cell { aspect, row }));
        }
    }

    /// Generates a matrix of independent entries, after the one in progress if there is one.
    pub fn make(&mut self, shape: [usize; 2], heaviness: f64) {
        self.wanted_matrix = Some((shape, heaviness));
        if !self.is_making {
            self.is_making = true;
            self.follower.send(Job::Question(Question::Make { shape, heaviness }));
        }
    }

    /// Requests the next tile of the atlas, if none is in progress and a step was made since.
    fn ask_for_tile(&mut self) {
        let step = self.runs.first().and_then(RunView::last).map_or(0, |last| last.step);
        let has_gradients = self.has_peeked || step > self.built_at;
        if self.opened.is_some() || !has_gradients || self.status == Status::Building || self.status.is_stuck() {
            return;
        }
        // On a software adapter training takes all the time there is; a tile every few steps costs little.
        let every = if self.gpu.profile.software { 4 } else { 1 };
        let is_running = self.status == Status::Running;
        if let Some(at) = self.atlas.next(step, every, is_running, self.matrices.len(), self.runs.len()) {
            self.send(Command::Sample(self.matrices[at].clone()));
        }
    }

    /// Handles what has happened since the last call; returns whether anything did.
    pub fn poll(&mut self) -> bool {
        let mut changed = false;
        while let Ok((generation, event)) = self.events.try_recv() {
            changed = true;
            if generation == self.generation_of_runs {
                self.take(event);
            }
        }
        for done in self.follower.take() {
            changed = true;
            match done {
                Ok(done) => self.take_done(done),
                Err(message) => {
                    self.looking = 0;
                    self.atlas.fail();
                    self.directions.fail();
                    self.map.fail();
                    self.is_making = false;
                    self.notice = format!("a background computation failed: {message}");
                }
            }
        }
        self.ask_for_tile();
        // The browser may report a lost device only after the failures it caused.
        if let (Status::Failed { device_lost: false, .. }, Err(error @ Error::DeviceLost { .. })) =
            (&self.status, self.gpu.check())
        {
            self.fail(error);
        }
        changed |= self.save_pictures();
        while let Ok(arrival) = self.arrivals.1.try_recv() {
            changed = true;
            self.open(arrival);
        }
        let is_shown =
            self.shown_link.as_ref().is_some_and(|(shown, built)| *shown == self.settings && *built == self.built);
        if !is_shown {
            platform::show_link(&self.link());
            self.shown_link = Some((self.settings.clone(), self.built.clone()));
        }
        changed
    }

    fn take_done(&mut self, done: Done) {
        match done {
            Done::Sample { of, sample, found } => self.take_found(of, *sample, found),
            Done::Question(QuestionAnswer::SyntheticMatrix(made)) => {
                self.is_making = false;
                // The ring may have been dragged further in the meantime.
                if let Some(wanted) = self.wanted_matrix.filter(|wanted| *wanted != (made.shape, made.heaviness)) {
                    self.make(wanted.0, wanted.1);
                }
                self.made = Some(made);
            }
            Done::Question(QuestionAnswer::Cell { aspect, row, cell }) => {
                self.map.take(aspect, row, cell);
            }
        }
    }

    fn take_found(&mut self, of: Source, sample: GradientSample, found: SampleAnswer) {
        let is_of_now = match (of.run, &self.opened) {
            (Some(_), _) => of.generation == self.generation_of_runs,
            (None, Some(opened)) => of.generation == opened.generation,
            (None, None) => false,
        };
        if matches!(found, SampleAnswer::Followed(_)) {
            self.looking = self.looking.saturating_sub(1);
        }
        match found {
            SampleAnswer::Direction(pointed, direction) => self.directions.take(pointed, direction),
            _ if !is_of_now => (),
            SampleAnswer::Followed(followed) => {
                let (view, wanted) = match (of.run, &mut self.opened) {
                    (None, Some(opened)) => (Some(&mut opened.view), opened.matrices[opened.chosen].name()),
                    (run, _) => (run.and_then(|run| self.runs.get_mut(run)), self.settings.parameter.as_str()),
                };
                if let Some(view) = view.filter(|_| followed.record.parameter == wanted) {
                    view.push_look(Look::new(*followed, Some(sample)));
                }
            }
            SampleAnswer::Summary(tile) => {
                self.atlas.take();
                if let Some(view) = of.run.and_then(|run| self.runs.get_mut(run)) {
                    view.push_tile(tile, &self.matrices);
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Ready { memory } => {
                for (run, memory) in self.runs.iter_mut().zip(memory) {
                    run.memory = Some(memory);
                }
                if self.status == Status::Building {
                    self.run(self.goes);
                }
            }
            Event::Run { run, event, secs } => {
                if let Some(view) = self.runs.get_mut(run) {
                    view.take(&event, secs);
                }
            }
            Event::Looked { run, sample } => {
                let Some(optimizer) = self.runs.get(run).map(|run| run.optimizer.clone()) else { return };
                // Do not flood a follower that lags behind: a live view wants the newest look.
                if self.looking < 2 * self.runs.len() {
                    self.looking += 1;
                    let sets = self.built.sets(&optimizer, self.dataset.vocab_size);
                    let of = Source { run: Some(run), generation: self.generation_of_runs };
                    self.follower.send(Job::Sample { of, sets, sample, wanted: Wanted::Followed });
                }
            }
            Event::Sampled { run, sample } => {
                let (Some(view), Some(config)) = (self.runs.get(run), self.configs.get(run)) else { return };
                let sets = self.built.sets(&view.optimizer, self.dataset.vocab_size);
                let specs = config.model.parameters();
                let role =
                    specs.iter().find(|spec| spec.name == sample.parameter).map_or(Role::Linear, |spec| spec.role);
                let rate = config.optimizer.recipe(role).lr / config.optimizer.linear.lr;
                let of = Source { run: Some(run), generation: self.generation_of_runs };
                self.follower.send(Job::Sample { of, sets, sample, wanted: Wanted::Summary { rate } });
            }
            Event::Wrote { run, step, text } => {
                if let Some(view) = self.runs.get_mut(run) {
                    view.texts.push((step, text));
                }
            }
            Event::Timed { run, times } => {
                if let Some(view) = self.runs.get_mut(run) {
                    view.times = times;
                }
            }
            Event::Saved { run, snapshot, asked } => {
                if asked && self.saving == Some(run) {
                    self.saving = None;
                    self.notice = match self.offer(run, &snapshot) {
                        Ok(words) => words,
                        Err(error) => error.to_string(),
                    };
                }
                if let Some(view) = self.runs.get_mut(run) {
                    view.snapshot = Some(*snapshot);
                }
            }
            Event::Finished => self.status = Status::Finished,
            Event::Failed(error) => self.fail(error),
        }
    }
}

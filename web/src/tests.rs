//! The lab on screen: nothing is cut off, and a simulated learner can work through the lesson.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eframe::egui::{Context, Pos2, RawInput, Rect, Role, Shape, Ui, Vec2, pos2, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use multinorm::gpu::{Gpu, GpuOptions};

use crate::app::draw;
use crate::lab::Lab;
use crate::panels::{Views, tasks_and_answers};
use crate::settings::{Panel, Settings};
use crate::{own_words, theme};

/// A paused lab with two runs whose gradients have been followed.
fn trained() -> Lab {
    #[expect(clippy::disallowed_methods, reason = "a test may block")]
    let gpu = Arc::new(pollster::block_on(Gpu::open(&GpuOptions::default())).expect("an adapter"));
    let link = "model=micro&sequence=16&batch=2&steps=60&every=1&optimizer=sinkgd,muon";
    let (settings, complaints) = Settings::from_query(link, &Settings::default_for(true));
    assert_eq!(complaints, Vec::<String>::new());
    let dataset = own_words().dataset().expect("enough words");
    let mut lab = Lab::new(gpu, dataset, settings, None, || ());
    let began = Instant::now();
    while !(lab.has_seen(3) && lab.runs.iter().all(|run| run.tiles.len() > 2)) {
        assert!(began.elapsed() < Duration::from_secs(300), "{:?}", lab.status);
        lab.poll();
        std::thread::sleep(Duration::from_millis(20));
    }
    lab.run(false);
    lab
}

/// Texts that are cut off on the left or right, or wrapped letter by letter, in a view of this size. Where nothing
/// scrolls, also those cut off at the top or bottom.
fn cut_off(ctx: &Context, views: &mut Views, lab: &mut Lab, size: [f32; 2]) -> Vec<String> {
    let screen = Rect::from_min_size(Pos2::ZERO, size.into());
    let mut output = None;
    // Some layout depends on sizes measured in the previous frame; it has settled by the fourth.
    for frame in 0..4 {
        let input = RawInput { screen_rect: Some(screen), time: Some(f64::from(frame)), ..RawInput::default() };
        output = Some(ctx.run_ui(input, |ui| draw(ui, lab, views)));
    }
    let whole = lab.settings.panel == Panel::Watch && size[0] > 640.0;
    let mut found = Vec::new();
    for clipped in output.expect("four frames").shapes {
        let Shape::Text(text) = &clipped.shape else { continue };
        let (words, place) = (text.galley.text(), clipped.shape.visual_bounding_rect());
        let seen = clipped.clip_rect.intersect(screen);
        // Text scrolled out of view is not cut off.
        if words.trim().is_empty() || !place.is_positive() || !seen.intersects(place) {
            continue;
        }
        let allowed = if whole { seen.expand(1.0) } else { seen.expand2(vec2(1.0, 1e6)) };
        let letters = text.galley.rows.len() > 2 && text.galley.rows.len() * 3 > words.chars().count();
        if !allowed.contains_rect(place) || letters {
            found.push(format!("{words:?} at {place:?} in {seen:?}"));
        }
    }
    found
}

#[test]
fn nothing_is_cut_off_in_any_view_of_any_size() {
    let mut lab = trained();
    let (ctx, mut views) = (Context::default(), Views::default());
    theme::apply(&ctx);
    for size in [[1280.0, 690.0], [1920.0, 1050.0], [390.0, 800.0]] {
        for &panel in Panel::ALL {
            lab.settings.panel = panel;
            let steps = if panel == Panel::Lesson { 0..10 } else { 0..1 };
            for lesson in steps {
                lab.settings.lesson = lesson;
                let found = cut_off(&ctx, &mut views, &mut lab, size);
                assert_eq!(found, Vec::<String>::new(), "{panel:?} {lesson} at {size:?}");
            }
        }
    }
}

/// A simulated user of the lab in a window.
struct Learner(Harness<'static, (Lab, Views)>);

impl Learner {
    fn at(lab: Lab, size: [f32; 2]) -> Self {
        let mut is_themed = false;
        let frame = move |ui: &mut Ui, (lab, views): &mut (Lab, Views)| {
            if is_themed {
                draw(ui, lab, views);
            } else {
                theme::apply(ui.ctx()); // for the next frame
                is_themed = true;
            }
        };
        let mut harness = Harness::builder().with_size(Vec2::from(size)).build_ui_state(frame, (lab, Views::default()));
        harness.run_steps(3);
        Self(harness)
    }

    fn lab(&self) -> &Lab {
        &self.0.state().0
    }

    fn press(&mut self, label: &str) {
        self.0.get_by_role_and_label(Role::Button, label).click();
        self.0.run_steps(3);
    }

    /// Presses at a fraction of a picture's width and height.
    fn press_in(&mut self, picture: &str, [x, y]: [f32; 2]) {
        let place = self.0.get_by_role_and_label(Role::Image, picture).rect();
        let at = pos2(place.left() + x * place.width(), place.top() + y * place.height());
        self.0.hover_at(at);
        self.0.run_steps(1);
        self.0.drag_at(at);
        self.0.run_steps(1);
        self.0.drop_at(at);
        self.0.run_steps(2);
    }

    /// Whether this text is entirely on the screen.
    fn sees(&self, words: &str) -> bool {
        let screen = self.0.ctx.content_rect();
        self.0.query_all_by_label(words).any(|node| screen.contains_rect(node.rect()))
    }
}

/// Solves the task of a lesson step.
fn solve(learner: &mut Learner, step: usize) {
    match step {
        0 => {
            learner.press("×10");
            // The last row's first entry, which is among the largest.
            (0..2).for_each(|_| learner.press_in("matrix of 4 rows and 6 columns", [0.05, 0.7]));
        }
        1 => learner.press("row"),
        2 | 5 => ["row", "column"].iter().for_each(|label| learner.press(label)),
        3 => {
            learner.press_in("Distance from balance, plot", [0.4, 0.5]);
            learner.press("5 rounds");
        }
        4 => ["one huge entry", "column"].iter().for_each(|label| learner.press(label)),
        6 => {
            for matrix in ["even entries", "heavy entries", "two blocks"] {
                learner.press(matrix);
                learner.press("Check");
            }
        }
        7 => {
            for matrix in ["no support", "triangular"] {
                [matrix, "5 rounds", "5 rounds"].iter().for_each(|label| learner.press(label));
            }
        }
        8 => ["sinkgd", "swan", "muon"].iter().for_each(|label| learner.press(label)),
        _ => learner.press("Open Watch"),
    }
}

#[test]
fn a_learner_walks_the_lesson_to_its_end() {
    let mut lab = trained();
    lab.settings.panel = Panel::Lesson;
    let mut learner = Learner::at(lab, [1280.0, 690.0]);
    let steps = tasks_and_answers();
    for (at, [task, answer]) in steps.iter().enumerate() {
        assert!(learner.sees(task), "step {}: the task is out of sight", at + 1);
        assert!(!learner.sees(answer), "step {}: answered before anything was done", at + 1);
        solve(&mut learner, at);
        if at + 1 < steps.len() {
            assert!(learner.sees(answer), "step {}: {answer}", at + 1);
            learner.press("Next ▶");
        }
    }
    assert_eq!(learner.lab().settings.panel, Panel::Watch);
    // The last task continues there: click tiles.
    for kind in ["down_proj", "q_proj"] {
        learner.0.get_all_by_label_contains(&format!("{kind} of layer 0,")).next().expect("a tile").click();
        learner.0.run_steps(3);
        assert!(learner.lab().settings.parameter.contains(kind), "{}", learner.lab().settings.parameter);
    }
}

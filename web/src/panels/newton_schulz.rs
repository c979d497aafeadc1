//! How the Newton–Schulz polynomials move a singular value.

use eframe::egui::{self, Ui};
use multinorm::config::SpectralVariant;
use multinorm::optim::sequence;
use multinorm::spectrum::{Arithmetic, newton_schulz_path};

use super::{caption, columns, half_height, reading, slider};
use crate::chart::{Axis, Chart, Curve, Mark, Rule, Scale, short};
use crate::lab::Lab;
use crate::theme::{ramp, series};

/// What to iterate, and how.
pub struct NewtonSchulzPanel {
    variant: SpectralVariant,
    steps: usize,
    arithmetic: Arithmetic,
    /// Powers of ten between the largest and the smallest singular value.
    decades: f64,
    /// Whether to start from the watched gradient's singular values.
    live: bool,
    path: Option<(Key, Vec<Vec<f64>>)>,
}

/// Everything a path depends on.
type Key = (SpectralVariant, usize, Arithmetic, Vec<u64>);

impl Default for NewtonSchulzPanel {
    fn default() -> Self {
        Self {
            variant: SpectralVariant::Muon,
            steps: 5,
            arithmetic: Arithmetic::F64,
            decades: 3.0,
            live: false,
            path: None,
        }
    }
}

const VARIANTS: [(SpectralVariant, &str, &str); 4] = [
    (SpectralVariant::Cubic, "cubic", "converges to 1 from any start, but slowly from small values"),
    (
        SpectralVariant::Muon,
        "Muon's quintic",
        "lifts small values fast, then keeps them between about 0.68 and 1.13; by design, it does not converge",
    ),
    (
        SpectralVariant::PolarExpress,
        "Polar Express",
        "different coefficients at each step, each minimizing the worst-case error",
    ),
    (SpectralVariant::MuonRefined, "8 + 2", "Muon's steps, then two that converge to 1"),
];

/// The maximum number of paths; a live gradient's spectrum is thinned to this many.
const PATHS: usize = 16;

impl NewtonSchulzPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &Lab) {
        self.controls(ui, lab);
        let sigmas = self.sigmas(lab);
        let bits = sigmas.iter().map(|sigma| sigma.to_bits()).collect();
        let key = (self.variant, self.steps, self.arithmetic, bits);
        if self.path.as_ref().is_none_or(|(known, _)| *known != key) {
            let path = newton_schulz_path(&sigmas, sequence(self.variant), self.steps, self.arithmetic);
            self.path = Some((key, path));
        }
        let Some((_, path)) = &self.path else { return };
        let last = path.last().map_or(&[][..], |values| &values[..]);
        columns(ui, 2, |ui, index| match index {
            0 => self.polynomial(ui, &sigmas, last),
            _ => paths(ui, path),
        });
        ui.horizontal_wrapped(|ui| {
            let largest = last.first().copied().unwrap_or(0.0);
            let smallest = last.last().copied().unwrap_or(0.0);
            let off = last.iter().map(|sigma| (sigma - 1.0).abs()).fold(0.0, f64::max);
            reading(ui, "largest at the end", short(largest), "the target is 1");
            reading(ui, "smallest at the end", short(smallest), "if it is far below 1, it needs more steps");
            reading(ui, "farthest from 1", short(off), "the largest |σ − 1|");
        });
    }

    fn controls(&mut self, ui: &mut Ui, lab: &Lab) {
        ui.horizontal_wrapped(|ui| {
            for (variant, name, about) in VARIANTS {
                if ui.selectable_label(self.variant == variant, name).on_hover_text(about).clicked() {
                    self.variant = variant;
                }
            }
            ui.separator();
            for arithmetic in Arithmetic::ALL {
                let words = "the format to which the matrix is rounded after every product";
                if ui.selectable_label(self.arithmetic == arithmetic, arithmetic.name()).on_hover_text(words).clicked()
                {
                    self.arithmetic = arithmetic;
                }
            }
        });
        ui.horizontal_wrapped(|ui| {
            slider(ui, "steps", true, egui::Slider::new(&mut self.steps, 1..=15));
            let decades = egui::Slider::new(&mut self.decades, 0.0..=8.0);
            slider(ui, "decades of singular values", !self.live, decades);
            let has = lab.views().iter().any(|run| !run.looks.is_empty());
            ui.add_enabled(has, egui::Checkbox::new(&mut self.live, "use the watched gradient's singular values"));
        });
        if let Some((.., about)) = VARIANTS.iter().find(|(variant, ..)| *variant == self.variant) {
            ui.weak(*about);
        }
    }

    /// The starting values, divided by the matrix's norm as in every variant.
    fn sigmas(&self, lab: &Lab) -> Vec<f64> {
        let gradient = lab
            .views()
            .into_iter()
            .find_map(|run| run.looks.back()?.followed.record.passes.first()?.quantities.spectrum.as_ref());
        let raw: Vec<f64> = match gradient.filter(|_| self.live) {
            Some(spectrum) => {
                let all = &spectrum.singular_values;
                let stride = all.len().div_ceil(PATHS);
                all.iter().step_by(stride.max(1)).copied().collect()
            }
            None => (0..PATHS).map(|at| 10f64.powf(-self.decades * at as f64 / (PATHS - 1) as f64)).collect(),
        };
        let norm = raw.iter().map(|sigma| sigma * sigma).sum::<f64>().sqrt();
        raw.into_iter().map(|sigma| if norm > 0.0 { sigma / norm } else { 0.0 }).collect()
    }

    /// The composed polynomial over [0, 1], and where each value ends up.
    fn polynomial(&self, ui: &mut Ui, sigmas: &[f64], last: &[f64]) {
        let sequence = sequence(self.variant);
        let curve = (0..=400).map(|at| f64::from(at) / 400.0).map(|x| [x, sequence.of_value(x, self.steps)]).collect();
        let mut landed: Vec<[f64; 2]> = sigmas.iter().map(|&x| [x, sequence.of_value(x, self.steps)]).collect();
        if self.arithmetic != Arithmetic::F64 {
            // With rounding only the set of final values is known, not which start each belongs to: match by rank.
            landed = last.iter().zip(sigmas).map(|(&y, &x)| [x, y]).collect();
        }
        let drawn = [
            Curve::line("all polynomials composed", series(ui, 0), curve),
            Curve::line("these singular values", series(ui, 1), landed).loose().marked(Mark::Diamond),
        ];
        let (x, y) = (Axis::new("σ before (÷ ‖X‖_F)", Scale::Linear), Axis::new("σ after all steps", Scale::Linear));
        let chart = Chart::new("polynomial", "All steps as one function", x, y, half_height(ui));
        Chart { rules: vec![Rule { y: 1.0, label: "1".into() }], ..chart }.show(ui, &drawn);
        caption(ui, "The curve's height is where a singular value ends up. Whitening wants it at 1 everywhere.");
    }
}

fn paths(ui: &mut Ui, path: &[Vec<f64>]) {
    let n = path.first().map_or(0, Vec::len);
    let curves: Vec<Curve> = (0..n)
        .map(|which| {
            let points = path.iter().enumerate().map(|(step, values)| [step as f64, values[which]]).collect();
            let color = ramp(ui, 1.0 - which as f64 / (n.max(2) - 1) as f64);
            Curve::line(format!("σ{}", which + 1), color, points).marked(Mark::Circle)
        })
        .collect();
    let (x, y) = (Axis::new("steps", Scale::Whole), Axis::new("σ", Scale::Log));
    let chart = Chart::new("paths", "Step by step", x, y, half_height(ui));
    Chart { legend: false, ..chart }.show(ui, &curves);
    caption(
        ui,
        "Each line is one singular value, by rank. In low precision the smallest hit rounding noise; from then on, the \
         steps lift noise.",
    );
}

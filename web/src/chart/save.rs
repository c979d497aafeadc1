//! Saving a plot as a picture or as CSV.

use eframe::egui::{Context, Id, Rect, RichText, Ui, UiBuilder, vec2};

use super::{Chart, Curve};
use crate::lab::is_taking;
use crate::theme;

/// A request to save a plot.
#[derive(Clone, Debug)]
pub enum SaveRequest {
    /// As a picture.
    Picture {
        /// The file's name, without its extension.
        name: String,
        /// Its rectangle, in points.
        place: Rect,
    },
    /// As numbers.
    Csv {
        /// The file's name, without its extension.
        name: String,
        /// One line per point: curve, x, y.
        csv: String,
    },
}

/// The requests made since the last call.
pub fn take_wishes(ctx: &Context) -> Vec<SaveRequest> {
    ctx.data_mut(|data| data.remove_temp(Id::unique(WISHES))).unwrap_or_default()
}

const WISHES: &str = "wishes of plots";

/// One line per point; names with a comma, quotation mark or line break are quoted.
fn csv(x: &str, y: &str, curves: &[Curve]) -> String {
    let quoted = |words: &str| match words.contains([',', '"', '\n']) {
        true => format!("\"{}\"", words.replace('"', "\"\"")),
        false => words.to_owned(),
    };
    let mut csv = format!("curve,{},{}\n", quoted(x), quoted(y));
    for Curve { name, points, .. } in curves {
        points.iter().for_each(|[x, y]| csv += &format!("{},{x},{y}\n", quoted(name)));
    }
    csv
}

impl Chart<'_> {
    /// A menu button at the upper right, for saving the plot.
    pub(super) fn save_menu(&self, ui: &mut Ui, place: Rect, curves: &[Curve]) {
        // On a phone the button would be too small to tap; the whole view can be saved there.
        if is_taking(ui.ctx()) || theme::is_narrow(ui) {
            return;
        }
        let corner = Rect::from_min_size(place.right_top() - vec2(26.0, 0.0), vec2(24.0, 22.0));
        let mut over = ui.new_child(UiBuilder::new().max_rect(corner).id_salt(self.id));
        let name = format!("multinorm-{}", self.id.replace(' ', "-"));
        let button = over.menu_button(RichText::new("↓").small(), |ui| {
            let wish = if ui.button("This plot as PNG").clicked() {
                SaveRequest::Picture { name, place }
            } else if ui.button("Its numbers as CSV").clicked() {
                SaveRequest::Csv { name, csv: csv(self.x.label, self.y.label, curves) }
            } else {
                return;
            };
            ui.data_mut(|data| data.get_temp_mut_or_default::<Vec<SaveRequest>>(Id::unique(WISHES)).push(wish));
            ui.close();
        });
        button.response.on_hover_text("save this plot as PNG, or its numbers as CSV");
    }
}

#[cfg(test)]
mod tests {
    use eframe::egui::Color32;

    use super::*;

    #[test]
    fn numbers_are_saved_as_they_are() {
        let color = Color32::BLACK;
        let curves =
            [Curve::line("adam", color, vec![[1.0, 5.5], [2.0, 0.0]]), Curve::line("a,b", color, vec![[0.5, 1e-7]])];
        let lines = "curve,steps,\"loss, \"\"nats\"\"\"\nadam,1,5.5\nadam,2,0\n\"a,b\",0.5,0.0000001\n";
        assert_eq!(csv("steps", "loss, \"nats\"", &curves), lines);
    }
}

//! Matrices as pictures, drawn from where they lie on the device.

use eframe::egui::{self, TextureId, Ui};
use eframe::egui_wgpu::RenderState;
use eframe::wgpu;

/// Two textures that the engine paints: the gradient, and the matrix after the chosen pass.
#[derive(Default)]
pub struct HeatMap {
    textures: Option<[TextureId; 2]>,
}

impl HeatMap {
    /// Takes new textures; those before are given back.
    pub fn set(&mut self, state: &RenderState, views: &[wgpu::TextureView; 2]) {
        let mut renderer = state.renderer.write();
        for old in self.textures.take().into_iter().flatten() {
            renderer.free_texture(&old);
        }
        let mut register = |view| renderer.register_native_texture(&state.device, view, wgpu::FilterMode::Nearest);
        self.textures = Some([register(&views[0]), register(&views[1])]);
    }

    /// One of the two, as wide as there is room and as high as the matrix is in proportion.
    pub fn show(&self, ui: &mut Ui, which: usize, shape: [usize; 2]) {
        let Some(textures) = self.textures else {
            ui.weak("the picture comes with the next look");
            return;
        };
        let width = ui.available_width().min(420.0);
        let height = (width * shape[0] as f32 / shape[1] as f32).clamp(60.0, 320.0);
        let (rect, _) = ui.allocate_exact_size(egui::vec2(width, height), egui::Sense::hover());
        let whole = egui::Rect::from_min_max(egui::pos2(0.0, 0.0), egui::pos2(1.0, 1.0));
        ui.painter().image(textures[which], rect, whole, egui::Color32::WHITE);
        let edge = ui.visuals().widgets.noninteractive.bg_stroke;
        ui.painter().rect_stroke(rect, 0.0, edge, egui::StrokeKind::Outside);
    }
}

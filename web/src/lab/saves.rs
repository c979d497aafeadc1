//! Output: pictures of the window and its plots, and weights.

use std::path::PathBuf;

use eframe::egui::{Color32, ColorImage, Context, Id, Rect, ScreenshotCallback, ViewportCommand};
use multinorm::checkpoint::model_files;
use multinorm::train::Snapshot;
use multinorm::{Error, Result};

use super::Lab;
use crate::engine::Command;
use crate::platform;

/// Width and height of a card, in pixels.
pub const CARD: [usize; 2] = [1200, 630];

/// A picture to take, and where it goes.
#[derive(Clone, Debug)]
pub enum Picture {
    /// The whole window, offered to the user.
    Window,
    /// One plot, offered to the user.
    Plot {
        /// The file's name, without its extension.
        name: String,
        /// Its rectangle, in points.
        place: Rect,
    },
    /// The card drawn for this picture, resized to [`CARD`] and offered to the user.
    Card {
        /// Its rectangle, in points.
        place: Rect,
    },
    /// The whole window, saved to a file; then the window closes.
    File(PathBuf),
}

/// Whether a picture is being taken; buttons on plots and the like are left out meanwhile.
pub fn is_taking(ctx: &Context) -> bool {
    ctx.data(|data| data.get_temp(Id::unique(TAKING))).unwrap_or(false)
}

const TAKING: &str = "a picture is being taken";

impl Lab {
    /// Takes a picture of the frame after the next, without the buttons that requested it.
    pub fn picture(&mut self, ctx: &Context, what: Picture) {
        ctx.data_mut(|data| data.insert_temp(Id::unique(TAKING), true));
        self.wanted_picture = Some(what);
        ctx.request_repaint();
    }

    /// Takes the picture requested in the previous frame.
    pub fn take_picture(&mut self, ctx: &Context) {
        let Some(what) = self.wanted_picture.take() else { return };
        let (sender, wake) = (self.screenshots.0.clone(), ctx.clone());
        let take = move |image| {
            wake.data_mut(|data| data.insert_temp(Id::unique(TAKING), false));
            let _ = sender.send((image, what, wake.clone())); // fails only if the window was closed
            wake.request_repaint();
        };
        ctx.send_viewport_cmd(ViewportCommand::Screenshot(ScreenshotCallback::new(take)));
    }

    /// Saves the pictures that were taken; returns whether there were any.
    pub(super) fn save_pictures(&mut self) -> bool {
        let mut any = false;
        while let Ok((image, what, ctx)) = self.screenshots.1.try_recv() {
            any = true;
            let saved = match what {
                Picture::Window => png(&image).and_then(|bytes| platform::save("multinorm-lab.png", &bytes)),
                Picture::Plot { name, place } => png(&image.region(&place, Some(ctx.pixels_per_point())))
                    .and_then(|bytes| platform::save(&format!("{name}.png"), &bytes)),
                Picture::Card { place } => {
                    self.wants_card = false;
                    let card = resized(&image.region(&place, Some(ctx.pixels_per_point())), CARD);
                    png(&card).and_then(|bytes| platform::save("multinorm-card.png", &bytes))
                }
                Picture::File(path) => png(&image).and_then(|bytes| {
                    multinorm::files::write_atomic(&path, &bytes)?;
                    ctx.send_viewport_cmd(ViewportCommand::Close);
                    Ok(format!("saved {}", path.display()))
                }),
            };
            self.notice = saved.unwrap_or_else(|error| error.to_string());
        }
        any
    }

    /// Requests a run's weights; the files are offered once they have been read.
    pub fn save_weights(&mut self, run: usize) {
        self.saving = Some(run);
        self.send(Command::Save);
        self.notice = "reading the weights back".into();
    }

    /// The weights as Hugging Face transformers and `multinorm generate` load them.
    pub(super) fn offer(&self, run: usize, snapshot: &Snapshot) -> Result<String> {
        let tokenizer = self.dataset.tokenizer.as_ref();
        let mut words = Vec::new();
        for (name, bytes) in model_files(&self.configs[run].model, &snapshot.parameters, tokenizer)? {
            words.push(platform::save(&name, &bytes)?);
        }
        Ok(words.join("; "))
    }
}

/// The image at another size. Each pixel is the mean of those it covers, or the nearest one if it covers less than one.
fn resized(image: &ColorImage, [width, height]: [usize; 2]) -> ColorImage {
    let [from_width, from_height] = image.size;
    let span = |at: usize, to: usize, from: usize| {
        let begin = at * from / to;
        begin..((at + 1) * from).div_ceil(to).clamp(begin + 1, from.max(begin + 1))
    };
    let pixel = |at: usize| {
        let (rows, columns) = (span(at / width, height, from_height), span(at % width, width, from_width));
        let mut sums = [0_usize; 4];
        let count = rows.len() * columns.len();
        for (row, column) in rows.flat_map(|row| columns.clone().map(move |column| (row, column))) {
            let color = image.pixels[row * from_width + column].to_array();
            sums.iter_mut().zip(color).for_each(|(sum, part)| *sum += usize::from(part));
        }
        let [r, g, b, a] = sums.map(|sum| (sum / count) as u8);
        Color32::from_rgba_premultiplied(r, g, b, a)
    };
    ColorImage::new([width, height], (0..width * height).map(pixel).collect())
}

fn png(image: &ColorImage) -> Result<Vec<u8>> {
    let [width, height] = image.size.map(|size| size as u32);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    let pixels: Vec<u8> = image.pixels.iter().flat_map(|pixel| pixel.to_srgba_unmultiplied()).collect();
    let mut writer =
        encoder.write_header().map_err(|error| Error::Data(format!("a picture cannot be written: {error}")))?;
    writer.write_image_data(&pixels).map_err(|error| Error::Data(format!("a picture cannot be written: {error}")))?;
    drop(writer);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_resized_by_means() {
        let checks = (0..16).map(|at| if (at / 4 + at % 4) % 2 == 0 { Color32::WHITE } else { Color32::BLACK });
        let image = ColorImage::new([4, 4], checks.collect());
        let small = resized(&image, [2, 2]);
        assert!(small.pixels.iter().all(|pixel| pixel.r() == 127), "{:?}", small.pixels);
        let large = resized(&image, [8, 8]);
        assert_eq!(
            (large.pixels[0], large.pixels[9], large.pixels[2]),
            (Color32::WHITE, Color32::WHITE, Color32::BLACK)
        );
        assert_eq!(resized(&image, [3, 5]).pixels.len(), 15);
    }
}

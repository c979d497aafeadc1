//! Pixels that a kernel wrote, as a texture that a window draws: nothing passes through the host.

use super::device::Gpu;
use super::tensor::Tensor;
use super::workspace::Workspace;

/// A texture for what a kernel writes as one `rgba8` word a pixel.
pub struct Picture {
    texture: wgpu::Texture,
    width: u32,
    height: u32,
}

impl Picture {
    /// The width is a multiple of this: WebGPU copies rows of 256 bytes.
    pub const ROW_PIXELS: usize = 64;

    /// An empty texture of `[height, width]`.
    ///
    /// Panics unless the width is a multiple of [`Picture::ROW_PIXELS`].
    pub fn new(gpu: &Gpu, [height, width]: [usize; 2]) -> Self {
        assert!(width.is_multiple_of(Self::ROW_PIXELS), "a picture {width} wide");
        let [width, height] = [width as u32, height as u32];
        let texture = gpu.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("picture"),
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        Self { texture, width, height }
    }

    /// Takes the pixels `[height, width]` of `workspace` as they are after everything submitted before.
    pub fn take(&self, gpu: &Gpu, workspace: &Workspace, pixels: &Tensor) {
        assert_eq!(pixels.shape, [self.height as usize, self.width as usize], "pixels of a picture");
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        encoder.copy_buffer_to_texture(
            wgpu::TexelCopyBufferInfo {
                buffer: workspace.buffer(pixels),
                layout: wgpu::TexelCopyBufferLayout {
                    offset: pixels.offset_bytes(),
                    bytes_per_row: Some(self.width * pixels.dtype.size() as u32),
                    rows_per_image: None,
                },
            },
            self.texture.as_image_copy(),
            self.texture.size(),
        );
        gpu.queue.submit([encoder.finish()]);
    }

    /// What a renderer on the same device draws.
    pub fn view(&self) -> wgpu::TextureView {
        self.texture.create_view(&wgpu::TextureViewDescriptor::default())
    }
}

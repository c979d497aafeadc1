//! An optimizer from the catalog on your own buffers: this program owns the device, the weights and the kernel that computes
//! their gradients, and SinkGD updates the weights.
#![expect(clippy::disallowed_methods, reason = "a main may block")]

use multinorm::config::Role;
use multinorm::gpu::Gpu;
use multinorm::optim::Optimizer;
use wgpu::util::{BufferInitDescriptor, DeviceExt};

const SHAPE: [usize; 2] = [64, 172];
const STEPS: u32 = 200;

/// The gradient of half the squared distance from a target.
const DISTANCE: &str = "
    @group(0) @binding(0) var<storage, read>       weight:   array<f32>;
    @group(0) @binding(1) var<storage, read>       goal:     array<f32>;
    @group(0) @binding(2) var<storage, read_write> gradient: array<f32>;
    @compute @workgroup_size(64)
    fn distance(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&weight)) { gradient[id.x] = weight[id.x] - goal[id.x]; }
    }";

#[pollster::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;
    let len = SHAPE[0] * SHAPE[1];
    let buffer = |label: &str, values: &[f32]| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let contents = bytemuck::cast_slice(values);
        device.create_buffer_init(&BufferInitDescriptor { label: Some(label), contents, usage })
    };
    let goals: Vec<f32> = (0..len).map(|i| (i as f32).sin()).collect();
    let [weight, gradient] = ["weight", "gradient"].map(|label| buffer(label, &vec![0.0; len]));
    let goal = buffer("goal", &goals);
    let (pipeline, bindings) = distance(&device, [&weight, &goal, &gradient]);

    // The optimizer: five lines here, and one in the loop.
    let gpu = Gpu::from_device(&adapter.get_info(), device.clone(), queue.clone());
    let optimizer = Optimizer::named("sinkgd")?;
    let mut sinkgd = optimizer.for_parameters(&gpu, &[("weight", &SHAPE, Role::Linear)]).await?;
    for step in 0..STEPS {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bindings, &[]);
            pass.dispatch_workgroups(len.div_ceil(64) as u32, 1, 1);
        }
        let lr_factor = 50.0 * (1.0 - f64::from(step) / f64::from(STEPS));
        sinkgd.step(&mut encoder, &[(&weight, &gradient)], lr_factor)?;
        queue.submit([encoder.finish()]);
        if step % 20 == 0 || step + 1 == STEPS {
            println!("step {:>3}: {:.6}", step + 1, root_mean_square(&device, &queue, &gradient).await?);
        }
    }
    Ok(())
}

fn distance(device: &wgpu::Device, buffers: [&wgpu::Buffer; 3]) -> (wgpu::ComputePipeline, wgpu::BindGroup) {
    let source = wgpu::ShaderSource::Wgsl(DISTANCE.into());
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source }),
        entry_point: Some("distance"),
        compilation_options: Default::default(),
        cache: None,
    });
    let entries =
        [0, 1, 2].map(|at| wgpu::BindGroupEntry { binding: at as u32, resource: buffers[at].as_entire_binding() });
    let layout = &pipeline.get_bind_group_layout(0);
    let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
    (pipeline, bindings)
}

async fn root_mean_square(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    buffer: &wgpu::Buffer,
) -> Result<f64, Box<dyn std::error::Error>> {
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("read-back"),
        size: buffer.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., Result::unwrap);
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let view = staging.get_mapped_range(..)?;
    let values: &[f32] = bytemuck::cast_slice(&view);
    Ok((values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
}

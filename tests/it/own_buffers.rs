//! The catalog's optimizers on weights and gradients in buffers that the caller created.

use multinorm::config::{OptimizerConfig, Role};
use multinorm::gpu::Gpu;
use multinorm::kernels::norms::Statistics;
use multinorm::optim::{Optimizer, ReferenceUpdate, StepTensors, Update, record, record_lookahead};
use pollster::block_on;
use wgpu::util::{BufferInitDescriptor, DeviceExt};

use crate::kernels::scaled::uneven;
use crate::kernels::sgd::schedule;
use crate::support::{Case, Form, assert_close, random, widen};

const SHAPE: [usize; 2] = [68, 30];
const SEED: u64 = 5;
const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// Name, shape and role of a parameter.
type Named<'a> = (&'a str, &'a [usize], Role);
/// A weight and its gradient.
type Pair<'a> = (&'a wgpu::Buffer, &'a wgpu::Buffer);

/// A caller's device, and the library's handle to it.
struct Caller {
    device: wgpu::Device,
    queue: wgpu::Queue,
    gpu: Gpu,
}

impl Caller {
    /// The adapter that MULTINORM_ADAPTER names, or any.
    fn new() -> Self {
        let wanted = std::env::var("MULTINORM_ADAPTER").unwrap_or_default().to_lowercase();
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        let is_it = |adapter: &wgpu::Adapter| adapter.get_info().name.to_lowercase().contains(&wanted);
        let adapter = adapters.iter().find(|adapter| is_it(adapter)).or(adapters.first()).expect("an adapter");
        let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
        let mut gpu = Gpu::from_device(&adapter.get_info(), device.clone(), queue.clone());
        gpu.profile.software = true;
        Self { device, queue, gpu }
    }

    fn buffer(&self, values: &[f32], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let contents = bytemuck::cast_slice(values);
        self.device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    fn submit(&self, encoder: wgpu::CommandEncoder) {
        self.queue.submit([encoder.finish()]);
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<f32> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
        self.submit(encoder);
        staging.map_async(wgpu::MapMode::Read, .., Result::unwrap);
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        bytemuck::cast_slice(&staging.get_mapped_range(..).unwrap()).to_vec()
    }
}

/// The settings, with a learning rate at which steps are as large as the weights; step n uses the n-th gradients.
fn config(name: &str) -> OptimizerConfig {
    let config = OptimizerConfig::named(name).unwrap();
    let lr = config.linear.lr;
    config.with_lr_factor(0.1 / lr)
}

fn gradient(number: u32) -> Vec<f32> {
    uneven(SHAPE[0], SHAPE[1], u64::from(100 * number))
}

/// Ten steps on the library's own tensors; the caller's buffers must end up bit-identical.
fn on_own_tensors(config: &OptimizerConfig) -> Vec<f32> {
    let mut case = Case::new(Form::Software);
    let (weight, _) = case.random(&SHAPE, 1);
    let gradients = case.output(&SHAPE);
    let mut numbers = [0.0f32; 4];
    numbers[Statistics::CLIP] = 1.0;
    let (statistics, step) = (case.input(&[4], &numbers), case.input(&[4], &[0u32; 4]));
    let update = Update { name: "w", role: Role::Linear, weight: &weight, gradient: &gradients, lookahead: None };
    let shared = StepTensors { statistics: &statistics, step: &step };
    let lookahead = record_lookahead(&mut case.rec, config, &update, shared);
    record(&mut case.rec, config, &Update { lookahead: lookahead.as_ref(), ..update }, shared).unwrap();
    let done = case.allocate();
    for number in 1..=10 {
        done.write(&gradients, &gradient(number));
        done.write(&step, &[schedule(number).to_bits(), number, SEED as u32, 0]);
        done.run();
    }
    done.read(&weight)
}

#[test]
fn ten_steps_on_a_callers_buffers_are_those_on_our_own() {
    let caller = Caller::new();
    for name in ["sinkgd", "adamw", "muon", "galore", "extrapolated-sgd", "apollo"] {
        let config = config(name);
        let parameters: [Named<'_>; 1] = [("w", &SHAPE, Role::Linear)];
        let optimizer = Optimizer::new(config.clone()).unwrap().with_seed(SEED);
        let mut stepper = block_on(optimizer.for_parameters(&caller.gpu, &parameters)).unwrap();
        let start = random(SHAPE[0] * SHAPE[1], 1);
        let weight = caller.buffer(&start, USAGE);
        // Alternate between two gradient buffers, with both steps in one submission.
        for first in (1..=10).step_by(2) {
            let gradients = [first, first + 1].map(|number| caller.buffer(&gradient(number), USAGE));
            let mut encoder = caller.encoder();
            for (number, gradient) in [first, first + 1].into_iter().zip(&gradients) {
                let factor = schedule(number).into();
                stepper.lookahead(&mut encoder, &[&weight], factor).unwrap();
                stepper.step(&mut encoder, &[(&weight, gradient)], factor).unwrap();
            }
            caller.submit(encoder);
        }
        let got = caller.read(&weight);
        assert_eq!(got, on_own_tensors(&config), "{name}");
        if name != "galore" {
            let mut reference = ReferenceUpdate::new(&config.linear.rule, &SHAPE, "w", SEED);
            let mut want = widen(&start);
            (1..=10).for_each(|number| {
                let lr = config.linear.lr;
                reference.step(&mut want, &widen(&gradient(number)), 1.0, lr, schedule(number).into());
            });
            assert_close(name, &got, &want, 1e-4);
        }
    }
}

#[test]
fn states_are_read_and_set_and_the_run_goes_on_from_them() {
    let caller = Caller::new();
    let parameters: [Named<'_>; 2] = [("w", &SHAPE, Role::Linear), ("b", &[12], Role::Norm)];
    let stepper =
        || block_on(Optimizer::new(config("adamw")).unwrap().for_parameters(&caller.gpu, &parameters)).unwrap();
    let buffers = |number: u64| [SHAPE[0] * SHAPE[1], 12].map(|len| caller.buffer(&random(len, number), USAGE));
    let step = |stepper: &mut multinorm::optim::Stepper<'_>, weights: &[wgpu::Buffer; 2], number: u64| {
        let gradients = buffers(number);
        let mut encoder = caller.encoder();
        let pairs = [(&weights[0], &gradients[0]), (&weights[1], &gradients[1])];
        stepper.step(&mut encoder, &pairs, 1.0).unwrap();
        caller.submit(encoder);
    };
    let (mut whole, weights) = (stepper(), buffers(1));
    (2..5).for_each(|number| step(&mut whole, &weights, number));
    let names: Vec<(String, Vec<usize>)> =
        whole.states().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    let shape = SHAPE.to_vec();
    let want = [("w.exp_avg", &shape), ("w.exp_avg_sq", &shape), ("b.exp_avg", &vec![12]), ("b.exp_avg_sq", &vec![12])];
    assert_eq!(names, want.map(|(name, shape)| (name.to_owned(), shape.clone())));
    let mut again = stepper();
    for (name, _) in &names {
        again.write_state(name, &block_on(whole.read_state(name)).unwrap()).unwrap();
    }
    again.resume_after(whole.steps());
    let copies = [0, 1].map(|index| caller.buffer(&caller.read(&weights[index]), USAGE));
    (5..8).for_each(|number| step(&mut whole, &weights, number));
    (5..8).for_each(|number| step(&mut again, &copies, number));
    for index in [0, 1] {
        assert_eq!(caller.read(&weights[index]), caller.read(&copies[index]));
    }
    let message = again.write_state("w.exp_avg", &[0.0]).unwrap_err().to_string();
    assert!(message.contains("w.exp_avg: has shape [68, 30], and 1 numbers are given"), "{message}");
    let message = block_on(again.read_state("w.momentum")).unwrap_err().to_string();
    assert!(
        message.contains("w.momentum: the optimizer keeps no such state; known: w.exp_avg, w.exp_avg_sq, b."),
        "{message}"
    );
}

#[test]
fn gradients_are_clipped_by_their_norm_and_a_bad_one_stops_all() {
    let caller = Caller::new();
    let parameters: [Named<'_>; 2] = [("v", &[2], Role::Norm), ("w", &[1, 2], Role::Linear)];
    let optimizer = Optimizer::from_toml("[optimizer]\nname = 'sgd'\nlr = 0.5").unwrap();
    let optimizer = optimizer.with_max_grad_norm(50.0).unwrap();
    let mut stepper = block_on(optimizer.for_parameters(&caller.gpu, &parameters)).unwrap();
    let weights = [[0.0, 1.0], [2.0, 3.0]].map(|values| caller.buffer(&values, USAGE));
    let mut step = |gradients: [[f32; 2]; 2]| {
        let [v, w] = gradients.map(|values| caller.buffer(&values, USAGE));
        let mut encoder = caller.encoder();
        stepper.step(&mut encoder, &[(&weights[0], &v), (&weights[1], &w)], 2.0).unwrap();
        caller.submit(encoder);
        let read = [0, 1].map(|index| caller.read(&weights[index]));
        (block_on(stepper.gradient_norm()).unwrap().unwrap(), read)
    };
    // The norm is 100, so clipping halves each gradient.
    let (norm, moved) = step([[0.0, 80.0], [60.0, 0.0]]);
    assert_close("norm", &[norm], &[100.0], 1e-6);
    assert_close("v and w", &moved.concat(), &[0.0, -39.0, -28.0, 3.0], 1e-6);
    for gradients in [[[0.0, f32::NAN], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]] {
        assert_eq!(step(gradients).1, moved);
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_remedy() {
    let refused = |result: multinorm::Result<Optimizer>| result.unwrap_err().to_string();
    for (message, expected) in [
        (refused(Optimizer::named("mezo")), "optimizer.name: mezo is a zeroth-order method: it takes losses"),
        (refused(Optimizer::named("sinkdg")), "did you mean `sinkgd`?"),
        (refused(Optimizer::from_toml("[optimizer]\nname = 'adam'\neps = 0")), "optimizer.eps: must be finite"),
        (refused(Optimizer::from_toml("[train]\nsteps = 1")), "train: only [optimizer] and the tables below it"),
        (refused(Optimizer::from_toml("optimizer = 1")), "expected a section [optimizer], got 1"),
        (refused(Optimizer::named("adam").unwrap().with_max_grad_norm(-1.0)), "max_grad_norm: must be finite"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let caller = Caller::new();
    let bound = |name: &str, parameters: &[Named<'_>]| {
        block_on(Optimizer::named(name).unwrap().for_parameters(&caller.gpu, parameters))
    };
    let parameters: [(&str, &[Named<'_>], &str); 5] = [
        ("adam", &[], "there are none to update"),
        ("adam", &[("w", &[2], Role::Norm), ("w", &[3], Role::Norm)], "w: two parameters have this name"),
        ("adam", &[("w", &[2, 3, 4], Role::Linear)], "w: has shape [2, 3, 4]: must be a matrix [m, n] or a vector"),
        ("adam", &[("w", &[2, 0], Role::Linear)], "w: has shape [2, 0]"),
        ("galore", &[("w", &[8], Role::Linear)], "GaLore projects a matrix; w of shape [8] is not a matrix"),
    ];
    for (name, parameters, expected) in parameters {
        let message = bound(name, parameters).err().expect(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }

    let mut stepper = bound("adam", &[("w", &[4, 4], Role::Linear)]).unwrap();
    let [weight, gradient] = [[1.0; 16]; 2].map(|values| caller.buffer(&values, USAGE));
    let small = caller.buffer(&[0.0; 15], USAGE);
    let no_storage = caller.buffer(&[0.0; 16], wgpu::BufferUsages::COPY_DST);
    let mut encoder = caller.encoder();
    let cases: [(&[Pair<'_>], f64, &str); 7] = [
        (&[], 1.0, "step: 0 pairs of weight and gradient are given, and the parameters are w"),
        (&[(&weight, &gradient), (&weight, &gradient)], 1.0, "2 pairs"),
        (&[(&small, &gradient)], 1.0, "the buffer for w holds 60 bytes, and [4, 4] numbers of type F32 take 64"),
        (&[(&weight, &small)], 1.0, "the buffer for the gradient of w holds 60 bytes"),
        (&[(&weight, &no_storage)], 1.0, "but kernels need STORAGE"),
        (&[(&weight, &weight)], 1.0, "one buffer is given for w and for the gradient of w"),
        (&[(&weight, &gradient)], f64::NAN, "lr_factor: must be finite and at least 0, got NaN"),
    ];
    for (pairs, factor, expected) in cases {
        let message = stepper.step(&mut encoder, pairs, factor).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }
    caller.submit(encoder);
    assert_eq!((stepper.steps(), caller.read(&weight)), (0, vec![1.0; 16]));

    let mut lookahead = bound("extrapolated-sgd", &[("w", &[4, 4], Role::Linear)]).unwrap();
    let message = lookahead.step(&mut caller.encoder(), &[(&weight, &gradient)], 1.0).unwrap_err().to_string();
    assert!(message.contains("step: the optimizer moves weights before"), "{message}");
}

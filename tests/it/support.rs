//! Shared test code: a device per form, random numbers, recorded cases, and the comparison with the reference.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use half::f16;
use multinorm::config::{Fira, OptimizerConfig, Rule, RunConfig, RunDefaults};
use multinorm::data::dataset::Dataset;
use multinorm::data::tokens::Tokens;
use multinorm::gpu::{AdapterChoice, Class, DType, Element, Gpu, GpuOptions, Profile, Recorder, Tensor, Workspace};
use multinorm::kernels::Output;
use multinorm::train::{StepReport, Trainer};
use pollster::block_on;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// The kind of adapter for which to choose variants, whatever the tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Products in register blocks, reductions with 8 lanes.
    Software,
    /// Products in tiles, reductions with 128 lanes.
    Gpu,
}

/// Both forms.
pub const FORMS: [Form; 2] = [Form::Software, Form::Gpu];

/// The profile of a form with WebGPU's default limits.
pub fn web_profile(form: Form) -> Profile {
    Profile { software: form == Form::Software, ..Profile::webgpu_default() }
}

/// The profile of a GPU with everything that any kernel needs, as an H100 reports it.
pub fn everything() -> Profile {
    Profile {
        f16: true,
        subgroup_lanes: Some(32),
        min_subgroup_lanes: Some(32),
        matrix_units: true,
        splits_f32: true,
        max_workgroup_bytes: 48 << 10,
        max_invocations: 1024,
        ..Profile::webgpu_default()
    }
}

/// Both ways to treat an output's old contents.
pub const OUTPUTS: [Output; 2] = [Output::Write, Output::Accumulate];

/// The device of a form, opened once, with a browser's limits, on the adapter that MULTINORM_ADAPTER names.
pub fn gpu(form: Form) -> &'static Gpu {
    device(form)
}

/// The same device, shared.
pub fn shared_gpu(form: Form) -> Arc<Gpu> {
    device(form).clone()
}

/// A separate device of a form, with all of the adapter's features, for a test that changes its profile.
pub fn own_gpu(form: Form) -> Gpu {
    Arc::into_inner(open(form, false)).expect("nobody else has it")
}

fn device(form: Form) -> &'static Arc<Gpu> {
    static SOFTWARE: LazyLock<Arc<Gpu>> = LazyLock::new(|| open(Form::Software, true));
    static GPU: LazyLock<Arc<Gpu>> = LazyLock::new(|| open(Form::Gpu, true));
    match form {
        Form::Software => &SOFTWARE,
        Form::Gpu => &GPU,
    }
}

/// The device of [`Form::Gpu`] with all of the adapter's features, for kernels that need more than a browser offers.
pub fn full_gpu() -> &'static Gpu {
    static FULL: LazyLock<Arc<Gpu>> = LazyLock::new(|| open(Form::Gpu, false));
    &FULL
}

/// The device of [`Form::Software`] with all of the adapter's features.
pub fn full_software_gpu() -> &'static Gpu {
    static FULL: LazyLock<Arc<Gpu>> = LazyLock::new(|| open(Form::Software, false));
    &FULL
}

/// A device of each form for each activation type.
pub fn devices_and_types() -> [(&'static Gpu, DType); 4] {
    let full = [full_software_gpu(), full_gpu()];
    assert!(full.iter().all(|gpu| gpu.profile.f16), "the tests of half precision want an adapter with shader-f16");
    let [software, tiles] = FORMS.map(|form| (gpu(form), DType::F32));
    let [software_half, tiles_half] = full.map(|gpu| (gpu, DType::F16));
    [software, tiles, software_half, tiles_half]
}

/// A separate device of a form with timestamps, an optional feature that the tests of timed steps need.
pub fn timed_gpu(form: Form) -> Arc<Gpu> {
    let gpu = open(form, false);
    assert!(gpu.profile.timestamps, "the tests of timed steps want an adapter with time stamps");
    gpu
}

fn open(form: Form, web_limits: bool) -> Arc<Gpu> {
    let software = Some(form == Form::Software);
    let options = GpuOptions { choice: AdapterChoice::from_env(), web_limits, software };
    Arc::new(block_on(Gpu::open(&options)).unwrap_or_else(|error| panic!("the kernel tests want an adapter: {error}")))
}

/// `len` normally distributed numbers, the same for the same seed on every machine.
pub fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| StandardNormal.sample(&mut rng)).collect()
}

/// The same numbers in f64.
pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

/// a + b, element by element.
pub fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    assert_eq!(a.len(), b.len(), "sum");
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Writes one tensor's contents.
type WriteContents = dyn FnOnce(&Gpu, &Workspace);

/// A plan being recorded, with the contents of its tensors.
pub struct Case {
    /// The recorder, with a plan started.
    pub rec: Recorder,
    gpu: &'static Gpu,
    contents: Vec<Box<WriteContents>>,
}

/// A case after its run.
pub struct Done {
    gpu: &'static Gpu,
    workspace: Workspace,
}

impl Case {
    /// Nothing recorded yet.
    pub fn new(form: Form) -> Self {
        Self::on(gpu(form))
    }

    /// The same on the caller's choice of device.
    pub fn on(gpu: &'static Gpu) -> Self {
        let mut rec = Recorder::new(&gpu.profile);
        rec.begin("case");
        Self { rec, gpu, contents: Vec::new() }
    }

    /// A tensor with these elements.
    pub fn input<T: Element>(&mut self, shape: &[usize], values: &[T]) -> Tensor {
        let tensor = self.rec.persistent(Class::Scratch, T::DTYPE, format!("input {}", self.contents.len()), shape);
        assert_eq!(tensor.len(), values.len(), "values for {shape:?}");
        let (written, values) = (tensor.clone(), values.to_vec());
        self.contents.push(Box::new(move |gpu, workspace| workspace.write(gpu, &written, &values)));
        tensor
    }

    /// A tensor of this type with these numbers, and the numbers as rounded to the type.
    pub fn numbers(&mut self, dtype: DType, shape: &[usize], values: &[f32]) -> (Tensor, Vec<f64>) {
        match dtype {
            DType::F16 => {
                let rounded: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
                (self.input(shape, &rounded), rounded.into_iter().map(f64::from).collect())
            }
            _ => (self.input(shape, values), widen(values)),
        }
    }

    /// A tensor of random elements of this type, and the elements.
    pub fn random_in(&mut self, dtype: DType, shape: &[usize], seed: u64) -> (Tensor, Vec<f64>) {
        self.numbers(dtype, shape, &random(shape.iter().product(), seed))
    }

    /// As [`Case::output`], of this type.
    pub fn output_in(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        self.numbers(dtype, shape, &vec![f32::NAN; shape.iter().product()]).0
    }

    /// As [`Case::target`], of this type.
    pub fn target_in(&mut self, dtype: DType, shape: &[usize], output: Output, seed: u64) -> (Tensor, Vec<f64>) {
        match output {
            Output::Write => (self.output_in(dtype, shape), vec![0.0; shape.iter().product()]),
            Output::Accumulate => self.random_in(dtype, shape, seed),
        }
    }

    /// A tensor of random elements, and the elements.
    pub fn random(&mut self, shape: &[usize], seed: u64) -> (Tensor, Vec<f64>) {
        let values = random(shape.iter().product(), seed);
        (self.input(shape, &values), widen(&values))
    }

    /// A tensor that a kernel must overwrite: it is filled with NaN, so that a skipped or accumulated element shows.
    pub fn output(&mut self, shape: &[usize]) -> Tensor {
        self.input(shape, &vec![f32::NAN; shape.iter().product()])
    }

    /// A tensor to overwrite or accumulate into, and its old contents to add: zeros, or random elements.
    pub fn target(&mut self, shape: &[usize], output: Output, seed: u64) -> (Tensor, Vec<f64>) {
        match output {
            Output::Write => (self.output(shape), vec![0.0; shape.iter().product()]),
            Output::Accumulate => self.random(shape, seed),
        }
    }

    /// Allocates all tensors and writes their contents.
    pub fn allocate(self) -> Done {
        let workspace = block_on(self.rec.allocate(self.gpu)).unwrap_or_else(|error| panic!("{error}"));
        for write in self.contents {
            write(self.gpu, &workspace);
        }
        Done { gpu: self.gpu, workspace }
    }

    /// Allocates all tensors and runs the plan once.
    pub fn run(self) -> Done {
        let done = self.allocate();
        done.run();
        done
    }
}

impl Done {
    /// Runs the plan (again).
    pub fn run(&self) {
        self.workspace.run(self.gpu, &["case"]);
    }

    /// Replaces a tensor's elements.
    pub fn write<T: Element>(&self, tensor: &Tensor, values: &[T]) {
        self.workspace.write(self.gpu, tensor, values);
    }

    /// A tensor's current elements, whatever their precision.
    pub fn read(&self, tensor: &Tensor) -> Vec<f32> {
        let values = block_on(self.workspace.read_numbers(self.gpu, tensor));
        values.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same for another type.
    pub fn read_as<T: Element>(&self, tensor: &Tensor) -> Vec<T> {
        let values = block_on(self.workspace.read(self.gpu, tensor));
        values.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Checks that every element of `got` is within `tolerance` of `want`, relative to the root mean square of `want`;
/// zeros must be exact.
#[track_caller]
pub fn assert_close(what: impl Display, got: &[f32], want: &[f64], tolerance: f64) {
    assert_close_in(DType::F32, what, got, want, tolerance);
}

/// The same for numbers rounded to this type: each may also be off by its own rounding.
#[track_caller]
pub fn assert_close_in(dtype: DType, what: impl Display, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let rms = (want.iter().map(|x| x * x).sum::<f64>() / want.len() as f64).sqrt();
    let rounding = |x: f64| if dtype == DType::F16 { rounding_to_half(x) } else { 0.0 };
    let error = |i: usize| {
        let error = ((f64::from(got[i]) - want[i]).abs() - rounding(want[i])).max(0.0);
        if (f64::from(got[i]) - want[i]).is_nan() { f64::INFINITY } else { error }
    };
    let worst = (0..got.len()).max_by(|&a, &b| error(a).total_cmp(&error(b))).expect("elements");
    // With --nocapture this prints the measurements from which tolerances are chosen.
    println!("{:.1e} of {tolerance:.0e}: {what}", error(worst) / rms);
    assert!(
        error(worst) <= tolerance * rms,
        "{what}[{worst}] of {}: got {:e}, the reference has {:e}; off by {:.2e}, and {tolerance:.0e} of the root mean \
         square {rms:.3e} is allowed",
        got.len(),
        got[worst],
        want[worst],
        error(worst),
    );
}

/// The largest change from rounding to half precision: half a unit in the last of 11 bits, or below 2^-14, half the
/// spacing of subnormal numbers.
pub fn rounding_to_half(x: f64) -> f64 {
    (x.abs() * 2.0_f64.powi(-11)).max(2.0_f64.powi(-25))
}

/// The settings of a small model for tokens below [`SMALL_VOCABULARY`], overridden by these.
pub fn small_run(sets: &[&str]) -> multinorm::Result<RunConfig> {
    let small = [
        "model.preset=tiny",
        "model.vocab_size=300",
        "model.hidden_size=32",
        "model.intermediate_size=44",
        "model.num_hidden_layers=3",
        "train.sequence_length=9",
        "eval.max_tokens=9",
        "eval.text_tokens=0",
    ];
    let sets: Vec<String> = small.iter().chain(sets).map(|&set| set.to_owned()).collect();
    RunConfig::load(None, &sets, RunDefaults::Software)
}

/// The vocabulary of [`small_run`]'s model.
pub const SMALL_VOCABULARY: u32 = 300;

/// A trainer on these tokens.
pub fn small_trainer(gpu: Arc<Gpu>, config: RunConfig, tokens: Vec<u32>) -> Trainer {
    let dataset = Dataset::unsplit("tokens", Tokens::Owned(tokens), SMALL_VOCABULARY as usize);
    block_on(Trainer::new(gpu, config, Arc::new(dataset))).unwrap()
}

/// Squares modulo [`SMALL_VOCABULARY`].
pub fn small_tokens() -> Vec<u32> {
    (0..400).map(|i| i * i % SMALL_VOCABULARY).collect()
}

/// The reports of this many steps.
pub fn train_steps(trainer: &mut Trainer, n: u64) -> Vec<StepReport> {
    let first = trainer.step_number();
    let mut reports = Vec::new();
    for _ in 0..n {
        reports.extend(block_on(trainer.step()).unwrap());
    }
    reports.extend(block_on(trainer.drain()).unwrap());
    let numbers: Vec<u64> = reports.iter().map(|report| report.step).collect();
    assert_eq!(numbers, (first + 1..=first + n).collect::<Vec<_>>());
    reports
}

/// Settings with which an optimizer's periodic work, if any, is done every other step.
pub fn every_other_step(optimizer: &str) -> &'static [&'static str] {
    let at_intervals = ["apollo", "apollo-mini", "fira", "galore"].contains(&optimizer);
    if at_intervals { &["optimizer.update_interval=2"] } else { &[] }
}

/// The optimizer described by an `[optimizer]` section and any sections after it, over a software adapter's defaults.
pub fn optimizer(section: &str) -> OptimizerConfig {
    let file = format!("[optimizer]\n{section}");
    RunConfig::load(Some((Path::new("any.toml"), &file)), &[], RunDefaults::Software).unwrap().optimizer
}

/// Limits the rank of linear layers' projections to what this shape allows, and for singular vectors to where their
/// search is exact. Also sets an eps so large that coordinates near zero, whose sign depends on rounding, hardly
/// matter.
pub fn fit_rank(config: &mut OptimizerConfig, [m, n]: [usize; 2]) {
    const EPS: f64 = 0.01;
    let small = m.min(n);
    match &mut config.linear.rule {
        Rule::Apollo(apollo) => (apollo.rank, apollo.eps) = (apollo.rank.min(small), EPS),
        Rule::Galore(galore) | Rule::Fira(Fira { galore, .. }) => {
            (galore.rank, galore.eps) = (galore.rank.clamp(small.saturating_sub(8).max(1), small), EPS);
        }
        Rule::Subzero(subzero) => subzero.rank = subzero.rank.min(small),
        _ => {}
    }
}

/// Runs a script of tests/oracle with a Python that has the packages it needs.
pub fn oracle(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = root.join(".multinorm/oracle-venv/bin/python");
    let python = std::env::var_os("MULTINORM_ORACLE_PYTHON").map(PathBuf::from);
    let python = python.or_else(|| installed.exists().then_some(installed));
    let mut oracle = Command::new(python.expect("a Python with PyTorch and transformers: run `cargo xtask test`"));
    oracle.arg(root.join("tests/oracle").join(script));
    oracle
}

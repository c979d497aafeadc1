//! One file per operation: its kernels, and the functions that record them.
//!
//! Every function takes the recorder first, then the tensors it reads, then those it writes. A wrong shape is the
//! caller's bug and panics with both shapes.
//!
//! ```no_run
//! use multinorm::gpu::{Class, DType, Gpu, GpuOptions, Recorder};
//! use multinorm::kernels::rms_norm::rms_norm;
//!
//! # async fn example() -> multinorm::Result<()> {
//! let gpu = Gpu::open(&GpuOptions::default()).await?;
//! let mut recorder = Recorder::new(&gpu.profile);
//! let [x, y] = ["x", "y"].map(|name| recorder.persistent(Class::Activations, DType::F32, name, &[1, 2]));
//! let weight = recorder.persistent(Class::Parameters, DType::F32, "weight", &[2]);
//! recorder.begin("norm");
//! rms_norm(&mut recorder, &x, &weight, &y, 1e-6);
//! let workspace = recorder.allocate(&gpu).await?;
//! workspace.write(&gpu, &x, &[3.0_f32, 4.0]);
//! workspace.write(&gpu, &weight, &[1.0_f32, 1.0]);
//! workspace.run(&gpu, &["norm"]);
//! let y: Vec<f32> = workspace.read(&gpu, &y).await?;
//! # Ok(())
//! # }
//! ```

pub mod adam_nonzero;
pub mod adamw;
pub mod adapter;
pub mod apollo;
pub mod attention;
#[cfg(not(target_arch = "wasm32"))]
pub mod bench;
pub mod bias;
pub mod columns;
pub mod cross_entropy;
pub mod effective_lr;
pub mod embedding;
pub mod extrapolated_sgd;
pub mod factored;
pub mod fill;
pub mod h_fac;
pub mod lion;
pub mod loss_scale;
pub mod matmul;
pub mod momentum;
pub mod newton_schulz;
pub mod norms;
pub mod prune;
pub mod racs;
pub mod random;
pub mod rms_norm;
pub mod rope;
pub mod scaled;
pub mod sgd;
pub mod subspace;
pub mod swiglu;
pub mod zeroth_order;

use crate::gpu::{DType, Kernel, Profile, Recorder, Tensor, grid};

/// Every kernel, in file order.
pub fn all() -> impl Iterator<Item = &'static Kernel> {
    FILES.iter().copied().flatten().copied().chain(matmul::kernels_of_tiles())
}

static FILES: &[&[&Kernel]] = &[
    adam_nonzero::KERNELS,
    adamw::KERNELS,
    adapter::KERNELS,
    apollo::KERNELS,
    attention::KERNELS,
    #[cfg(not(target_arch = "wasm32"))]
    bench::KERNELS,
    bias::KERNELS,
    columns::KERNELS,
    cross_entropy::KERNELS,
    embedding::KERNELS,
    extrapolated_sgd::KERNELS,
    factored::KERNELS,
    fill::KERNELS,
    h_fac::KERNELS,
    lion::KERNELS,
    loss_scale::KERNELS,
    matmul::KERNELS,
    momentum::KERNELS,
    newton_schulz::KERNELS,
    norms::KERNELS,
    #[cfg(not(target_arch = "wasm32"))]
    prune::KERNELS,
    racs::KERNELS,
    random::KERNELS,
    effective_lr::KERNELS,
    rms_norm::KERNELS,
    rope::KERNELS,
    scaled::KERNELS,
    sgd::KERNELS,
    subspace::KERNELS,
    swiglu::KERNELS,
    zeroth_order::KERNELS,
];

/// Workgroup size of kernels with one element per invocation, `@workgroup_size(64)`.
const WORKGROUP_SIZE: usize = 64;

/// Workgroup size of kernels with one `Real` per invocation, `@workgroup_size(256)`.
const REAL_LANES: usize = 256;

/// Workgroup size for reducing a row: one vector on a software adapter, whose barriers are expensive.
fn reduction_lanes(profile: &Profile) -> usize {
    if profile.software { 8 } else { 128 }
}

/// `Real`s of a row that a lane keeps in registers, at most `most`. Few on a software adapter, where longer unrolled
/// code takes longer to compile and the rest of the row is in the CPU cache.
fn kept(profile: &Profile, most: usize) -> f64 {
    if profile.software { most as f64 / 4.0 } else { most as f64 }
}

/// Iterations that llvmpipe of Mesa 22.3 allows for all loops of an invocation together; it silently skips the rest.
const MAX_LOOP_ITERATIONS: usize = 65_535;

/// Refuses more loop iterations than a software adapter allows; `advice` says what to choose instead.
fn check_rounds(rec: &mut Recorder, rounds: usize, what: impl FnOnce() -> String, advice: &str) {
    if rec.profile.software && rounds > MAX_LOOP_ITERATIONS {
        let what = what();
        rec.refuse(format!(
            "{what} takes {rounds} loop iterations in a kernel, but a software adapter may allow {MAX_LOOP_ITERATIONS}: choose {advice}"
        ));
    }
}

/// Workgroup size, doubled on a software adapter while a lane needs more iterations than allowed.
fn lanes_within(profile: &Profile, least: usize, rounds: impl Fn(usize) -> usize) -> usize {
    let most = if profile.software { 256 } else { least };
    std::iter::successors(Some(least), |lanes| Some(2 * lanes))
        .find(|&lanes| lanes >= most || rounds(lanes) <= MAX_LOOP_ITERATIONS)
        .expect("the sequence is infinite")
}

/// Rounds of a reduction over `lanes` lanes.
fn reduction_rounds(lanes: usize) -> usize {
    lanes.ilog2() as usize
}

/// Numbers per `Real` for rows of `row_len`, for a kernel with a vec4 form.
fn width(row_len: usize) -> usize {
    if row_len.is_multiple_of(4) { 4 } else { 1 }
}

/// The same for a kernel that is faster with one number per lane on a software adapter, which vectorizes across lanes.
fn lane_width(profile: &Profile, row_len: usize) -> usize {
    if profile.software { 1 } else { width(row_len) }
}

/// Selects the single- or half-precision form of a kernel by element type.
fn of_type<T>(dtype: DType, [single, half]: [T; 2]) -> T {
    match dtype {
        DType::F32 => single,
        DType::F16 => half,
        DType::U32 => panic!("activations are not integers"),
    }
}

/// Selects the form of a kernel, `[vec4, scalar]`, whose `Real` has `width` numbers.
fn of_width(width: usize, [vec4, scalar]: [&'static Kernel; 2]) -> &'static Kernel {
    if width == 4 { vec4 } else { scalar }
}

/// The form for rows of `row_len` numbers, and their length in its `Real`s.
fn widest(forms: [&'static Kernel; 2], row_len: usize) -> (&'static Kernel, usize) {
    let width = width(row_len);
    (of_width(width, forms), row_len / width)
}

/// Records a kernel with one Real per lane: `LEN` Reals, `len` numbers in all.
fn element_wise(
    rec: &mut Recorder,
    forms: [&'static Kernel; 2],
    bindings: &[&Tensor],
    len: usize,
    constants: &[(&'static str, f64)],
) {
    let width = lane_width(&rec.profile, len);
    let reals = len / width;
    let constants = [&[("LEN", reals as f64)], constants].concat();
    rec.dispatch(of_width(width, forms), bindings, &constants, grid(reals.div_ceil(WORKGROUP_SIZE)));
}

/// A boolean override.
fn flag(name: &'static str, value: bool) -> (&'static str, f64) {
    (name, f64::from(u8::from(value)))
}

/// ln β, from which a kernel computes βᵗ. ln 0 is −∞, so −100 replaces it: exp(−100) is 0 in f32.
fn log_decay(beta: f64) -> f64 {
    beta.ln().max(-100.0)
}

/// Whether a kernel writes its output or adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The output is overwritten.
    Write,
    /// The result is added to what the output holds.
    Accumulate,
}

/// Where a result goes: tensor (+)= factor · result.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The tensor to write or add to.
    pub tensor: &'a Tensor,
    /// Whether to write or to add.
    pub output: Output,
    /// `[1]`: the inverse loss scale for scaled gradients; `None` means 1.
    pub factor: Option<&'a Tensor>,
}

impl<'a> Target<'a> {
    /// With a factor of 1.
    pub fn new(tensor: &'a Tensor, output: Output) -> Self {
        Self { tensor, output, factor: None }
    }

    fn factor(&self, rec: &mut Recorder) -> Tensor {
        self.factor.cloned().unwrap_or_else(|| rec.one())
    }
}

impl Output {
    fn constant(self) -> (&'static str, f64) {
        flag("ACCUMULATE", self == Self::Accumulate)
    }
}

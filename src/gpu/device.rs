//! The device: capabilities, pipelines, errors.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(not(target_arch = "wasm32"))]
use std::task::{Context, Poll, Waker};

use super::adapter::{AdapterChoice, full_driver_name};
use super::kernel::Kernel;
use super::profile::{Profile, has_matrix_units, useful_features};
use crate::{Error, Result};

/// Polls a future that never has to wait: outside the browser, error scopes resolve at once.
#[cfg(not(target_arch = "wasm32"))]
fn resolve_now<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(end) = future.as_mut().poll(&mut context) {
            return end;
        }
        std::thread::yield_now();
    }
}

/// Opts in to features that wgpu calls experimental.
fn experimental_features() -> wgpu::ExperimentalFeatures {
    #[expect(
        unsafe_code,
        reason = "cooperative matrices are an experimental feature of wgpu; their kernels are tested"
    )]
    unsafe {
        wgpu::ExperimentalFeatures::enabled()
    }
}

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Which adapter.
    pub choice: AdapterChoice,
    /// WebGPU's default limits, no optional features and checked array accesses, as in a browser.
    pub web_limits: bool,
    /// Whether to choose kernels as for a software adapter; by default, according to what the adapter is.
    pub software: Option<bool>,
}

/// An open device with its pipelines, shared by all plans.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// What a recorder must know.
    pub profile: Profile,
    /// The adapter's name.
    pub adapter_name: String,
    /// Backend, driver and version.
    pub driver: String,
    /// `vulkan`, `metal`, `dx12`, `gl` or `webgpu`.
    pub backend: String,
    checked: bool,
    /// How it was opened; the default for a device created elsewhere.
    options: GpuOptions,
    modules: Mutex<HashMap<&'static Kernel, wgpu::ShaderModule>>,
    pipelines: Mutex<HashMap<PipelineKey, wgpu::ComputePipeline>>,
    compilation: Arc<Compilation>,
    failure: Arc<Mutex<Option<Failure>>>,
}

/// How many of a record's kernels are compiled; can be read from another thread while compilation blocks the device.
#[derive(Debug, Default)]
pub struct Compilation {
    done: AtomicUsize,
    total: AtomicUsize,
}

impl Compilation {
    /// Kernels compiled since the current record's allocation began, and how many it needs; `None` if no allocation is
    /// in progress.
    pub fn progress(&self) -> Option<(usize, usize)> {
        let [done, total] = [&self.done, &self.total].map(|count| count.load(Ordering::Relaxed));
        (done < total).then_some((done, total))
    }
}

/// A kernel with the constants of one use.
pub(super) type KernelUse = (&'static Kernel, Vec<(&'static str, f64)>);

/// Kernel and constants: everything that makes a pipeline.
type PipelineKey = (&'static Kernel, Vec<(&'static str, u64)>);

fn key(kernel: &'static Kernel, constants: &[(&'static str, f64)]) -> PipelineKey {
    (kernel, constants.iter().map(|&(name, value)| (name, value.to_bits())).collect())
}

/// Why a device became unusable, in the driver's words.
#[derive(Debug, PartialEq)]
enum Failure {
    Refused(String),
    Lost(String),
}

/// Keeps the first failure, but lets a device loss replace it: a browser may reject calls on a lost device before it
/// reports the loss.
fn note(known: &Mutex<Option<Failure>>, failure: Failure) {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    match (&*known, &failure) {
        (None, _) | (Some(Failure::Refused(_)), Failure::Lost(_)) => *known = Some(failure),
        _ => {}
    }
}

impl Gpu {
    /// Opens the adapter of `options.choice`.
    ///
    /// Errors: no such adapter, or the driver refuses to open a device.
    pub async fn open(options: &GpuOptions) -> Result<Self> {
        let (mut adapters, index) = options.choice.choose().await?;
        let adapter = adapters.swap_remove(index);
        let (features, limits) = if options.web_limits {
            (wgpu::Features::empty(), wgpu::Limits::default())
        } else {
            (adapter.features() & useful_features(), adapter.limits())
        };
        let info = adapter.get_info();
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("multinorm"),
                required_features: features,
                required_limits: limits,
                experimental_features: experimental_features(),
                ..Default::default()
            })
            .await
            .map_err(|error| Error::Gpu(format!("{} refused to open a device: {error}", info.name)))?;
        let mut gpu = Self::from_device(&info, device, queue);
        gpu.profile.matrix_units =
            features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) && has_matrix_units(&adapter);
        gpu.profile.software = options.software.unwrap_or(gpu.profile.software);
        gpu.checked = options.web_limits;
        gpu.options = options.clone();
        Ok(gpu)
    }

    /// Wraps a device created elsewhere, such as the one that draws the window. Its matrix units stay unused, because
    /// only an adapter reports their sizes.
    pub fn from_device(info: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let slot = failure.clone();
        device
            .on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&slot, Failure::Refused(error.to_string()))));
        let slot = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            match (reason, message.is_empty()) {
                (wgpu::DeviceLostReason::Destroyed, true) => {} // closed by its owner
                (_, true) => note(&slot, Failure::Lost(format!("{reason:?}"))),
                (_, false) => note(&slot, Failure::Lost(message)),
            }
        });
        Self {
            profile: Profile::of(info, &device.limits(), device.features()),
            // A browser does not reveal the name.
            adapter_name: if info.name.is_empty() {
                format!("the {} adapter", info.backend)
            } else {
                info.name.clone()
            },
            driver: full_driver_name(info),
            backend: info.backend.to_string(),
            device,
            queue,
            checked: false,
            options: GpuOptions::default(),
            modules: Mutex::default(),
            pipelines: Mutex::default(),
            compilation: Arc::default(),
            failure,
        }
    }

    /// The compilation progress of its kernels.
    pub fn compilation(&self) -> Arc<Compilation> {
        self.compilation.clone()
    }

    /// Returns the loss of the device ([`Error::DeviceLost`]) as an error, or else the first error it has reported.
    pub fn check(&self) -> Result<()> {
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(Failure::Refused(message)) => Err(Error::Gpu(format!("{}: {message}", self.adapter_name))),
            Some(Failure::Lost(message)) => {
                Err(Error::DeviceLost { adapter: self.adapter_name.clone(), message: message.clone() })
            }
        }
    }

    /// How it was opened.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn options(&self) -> &GpuOptions {
        &self.options
    }

    /// Whether the device is lost; from then on [`Gpu::check`] returns [`Error::DeviceLost`].
    pub fn is_lost(&self) -> bool {
        matches!(self.check(), Err(Error::DeviceLost { .. }))
    }

    /// The cause of a failure: the device's own first error if it reported one.
    pub(super) fn failed_to(&self, what: &str, error: &dyn std::fmt::Display) -> Error {
        let own = || Error::Gpu(format!("{}: cannot {what}: {error}", self.adapter_name));
        self.check().err().unwrap_or_else(own)
    }

    /// The loss of the device if it is lost, otherwise `error`.
    pub(super) fn lost_or(&self, error: Error) -> Error {
        match self.check() {
            Err(lost @ Error::DeviceLost { .. }) => lost,
            _ => error,
        }
    }

    /// Destroys the device as a driver reset would; for tests of recovery.
    pub fn destroy(&self) {
        note(&self.failure, Failure::Lost("destroyed on request".into()));
        self.device.destroy();
    }

    /// Runs the device's pending callbacks without waiting. In the browser the event loop does this.
    pub fn poll(&self) {
        if let Err(error) = self.device.poll(wgpu::PollType::Poll) {
            log::warn!("polling the device: {error}");
        }
    }

    /// Waits until all submitted work has run. In the browser the event loop does this.
    pub fn wait(&self) -> Result<()> {
        self.poll_until(wgpu::PollType::wait_indefinitely())
    }

    /// Waits until one submission has finished.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn wait_for(&self, submission: &wgpu::SubmissionIndex) -> Result<()> {
        self.poll_until(wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: None })
    }

    fn poll_until(&self, end: wgpu::PollType) -> Result<()> {
        match self.device.poll(end) {
            Ok(_) => self.check(),
            Err(error) => Err(self.failed_to("wait for the device", &error)),
        }
    }

    /// Compiles the missing pipelines of `uses` in parallel, because drivers take long over each.
    ///
    /// Errors: the first kernel that the driver rejects.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) async fn prepare(&self, uses: &[KernelUse]) -> Result<()> {
        let known = || self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let uses: Vec<&KernelUse> =
            uses.iter().filter(|(kernel, constants)| !known().contains_key(&key(kernel, constants))).collect();
        self.compilation.done.store(0, Ordering::Relaxed);
        self.compilation.total.store(uses.len(), Ordering::Relaxed);
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(uses.len());
        if threads < 2 {
            return Ok(()); // they are compiled on first use
        }
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((kernel, constants)) = uses.get(next.fetch_add(1, Ordering::Relaxed)) {
                resolve_now(self.pipeline(kernel, constants))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let mut ended = workers.into_iter().map(|worker| worker.join());
            ended.try_for_each(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    /// The browser decides when to compile.
    #[cfg(target_arch = "wasm32")]
    pub(super) async fn prepare(&self, _: &[KernelUse]) -> Result<()> {
        Ok(())
    }

    /// The pipeline of a kernel with its constants, compiled once and shared by all plans.
    pub(super) async fn pipeline(
        &self,
        kernel: &'static Kernel,
        constants: &[(&'static str, f64)],
    ) -> Result<wgpu::ComputePipeline> {
        let key = key(kernel, constants);
        if let Some(pipeline) = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(pipeline.clone());
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.module(kernel);
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: None,
            module: &module,
            entry_point: Some(kernel.file),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                // Every kernel writes its workgroup memory before reading it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        if let Some(error) = scope.pop().await {
            return Err(self.lost_or(Error::Gpu(format!("kernel {} with {constants:?}: {error}", kernel.name))));
        }
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).insert(key, pipeline.clone());
        self.compilation.done.fetch_add(1, Ordering::Relaxed);
        Ok(pipeline)
    }

    fn module(&self, kernel: &'static Kernel) -> wgpu::ShaderModule {
        if let Some(module) = self.modules.lock().unwrap_or_else(PoisonError::into_inner).get(kernel) {
            return module.clone();
        }
        let make = || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(kernel.name),
                source: wgpu::ShaderSource::Wgsl(kernel.source().into()),
            };
            if self.checked {
                return self.device.create_shader_module(descriptor);
            }
            let mut checks = wgpu::ShaderRuntimeChecks::checked();
            checks.bounds_checks = false;
            checks.force_loop_bounding = false;
            #[expect(
                unsafe_code,
                reason = "our own kernels test their indices, and the tests run them checked as well"
            )]
            unsafe {
                self.device.create_shader_module_trusted(descriptor, checks)
            }
        };
        let module = make(); // without holding the lock, so that others can compile meanwhile
        self.modules.lock().unwrap_or_else(PoisonError::into_inner).entry(kernel).or_insert(module).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_outranks_what_was_refused_before_it_was_told() {
        let [refused, lost] = [|n: &str| Failure::Refused(n.into()), |n: &str| Failure::Lost(n.into())];
        let first = |failures: Vec<Failure>| {
            let known = Mutex::default();
            failures.into_iter().for_each(|failure| note(&known, failure));
            known.into_inner().unwrap().unwrap()
        };
        assert_eq!(first(vec![refused("a"), refused("b")]), refused("a"));
        assert_eq!(first(vec![refused("a"), lost("b"), lost("c"), refused("d")]), lost("b"));
    }
}

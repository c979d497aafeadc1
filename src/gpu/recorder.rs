//! Recording: tensors and dispatches as data, before anything is allocated.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::dtype::DType;
use super::kernel::{Access, Binding, Kernel, Param};
use super::layout::{BufferLayout, BufferRecord, TensorRecord};
use super::ledger::{Class, Memory};
use super::plan::{Dispatch, DispatchInfo, PlanRecord, Repeat};
use super::profile::Profile;
use super::refusal::Refusal;
use super::tensor::Tensor;
use crate::Result;

/// Most workgroups per dimension of a dispatch under WebGPU's default limits.
pub const MAX_GROUPS: u32 = 65_535;

/// `groups` workgroups as a two-dimensional grid within [`MAX_GROUPS`]; a kernel computes its index as
/// `group.y * count.x + group.x` and exits if that is past the end.
pub fn grid(groups: usize) -> [u32; 3] {
    let rows = groups.div_ceil(MAX_GROUPS as usize);
    [groups.div_ceil(rows.max(1)) as u32, rows as u32, 1]
}

/// Collects tensors and dispatches; see the module documentation.
pub struct Recorder {
    /// What is known about the device.
    pub profile: Profile,
    pub(super) tensors: Vec<TensorRecord>,
    pub(super) plans: Vec<PlanRecord>,
    /// Initial contents of tensors; all others are zero.
    pub(super) initial: Vec<(Tensor, Vec<u32>)>,
    one: Option<Tensor>,
    staging_bytes: u64,
    derived: Derived,
    choices: BTreeMap<String, Choice>,
    /// Why the adapter cannot run what was recorded.
    refused: Option<String>,
}

/// Which variant of an operation was recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// Its name.
    pub variant: String,
    /// Floating-point operations of all its dispatches.
    pub flops: u64,
}

/// A cache of tensors derived from others, each valid until its source is written.
#[derive(Default)]
struct Derived {
    /// By source tensor and kernel: the number of writes to the source at that time, and the result.
    made: HashMap<(Tensor, &'static Kernel), (u64, Tensor)>,
    /// Dispatches of the plan that may have written each tensor.
    writes: HashMap<usize, u64>,
    /// Whether the dispatches being recorded are scheduled, gated or repeated.
    within_body: bool,
}

impl Recorder {
    /// An empty record for a device with this profile.
    pub fn new(profile: &Profile) -> Self {
        let (tensors, plans, initial) = (Vec::new(), Vec::new(), Vec::new());
        let (derived, choices) = (Derived::default(), BTreeMap::new());
        Self {
            profile: profile.clone(),
            tensors,
            plans,
            initial,
            one: None,
            staging_bytes: 0,
            derived,
            choices,
            refused: None,
        }
    }

    /// A tensor that keeps its contents between replays and may be used by every plan.
    pub fn persistent(&mut self, class: Class, dtype: DType, name: impl Into<String>, shape: &[usize]) -> Tensor {
        self.tensor(class, dtype, name.into(), shape, true)
    }

    /// A tensor of one plan, whose memory is reused outside its lifetime.
    pub fn transient(&mut self, class: Class, dtype: DType, name: impl Into<String>, shape: &[usize]) -> Tensor {
        self.tensor(class, dtype, name.into(), shape, false)
    }

    /// A `[1]` tensor that holds 1, for kernels that always bind a factor.
    pub fn one(&mut self) -> Tensor {
        if let Some(one) = &self.one {
            return one.clone();
        }
        let one = self.initialized(Class::Scratch, "one", &[1], &[1.0]);
        self.one.insert(one).clone()
    }

    /// A persistent f32 tensor with these initial values.
    pub fn initialized(&mut self, class: Class, name: impl Into<String>, shape: &[usize], values: &[f32]) -> Tensor {
        let tensor = self.persistent(class, DType::F32, name, shape);
        assert_eq!(tensor.len(), values.len(), "initial values of shape {shape:?}");
        self.initial.push((tensor.clone(), values.iter().map(|x| x.to_bits()).collect()));
        tensor
    }

    /// A tensor in caller-owned memory; the caller passes its buffer with every replay: see
    /// [`super::Workspace::encode`].
    pub fn lent(&mut self, class: Class, dtype: DType, name: impl Into<String>, shape: &[usize]) -> Tensor {
        let tensor = self.persistent(class, dtype, name, shape);
        self.tensors[tensor.id].lent = true;
        tensor
    }

    fn tensor(&mut self, class: Class, dtype: DType, name: String, shape: &[usize], persistent: bool) -> Tensor {
        let tensor = Tensor { id: self.tensors.len(), offset: 0, dtype, shape: shape.to_vec() };
        assert!(!tensor.is_empty(), "tensor {name} has shape {shape:?}");
        let bytes = tensor.words_bytes();
        let (lent, indirect, uniform, plan) = (false, false, false, None);
        self.tensors.push(TensorRecord { name, class, dtype, bytes, persistent, lent, indirect, uniform, plan });
        tensor
    }

    /// Begins a plan; the dispatches that follow belong to it.
    pub fn begin(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        assert!(self.plans.iter().all(|plan| plan.name != name), "plan {name} already exists");
        self.plans.push(PlanRecord { name, dispatches: Vec::new() });
        self.derived = Derived::default();
    }

    /// Records one dispatch. `bindings` are the tensors of the kernel's group 0, in order; `constants` are its
    /// overrides and parameters.
    ///
    /// A grid beyond WebGPU's limit is refused ([`Recorder::check_limits`]). Panics if there are no workgroups, because
    /// the dispatch would silently do nothing, or if a parameter is missing.
    pub fn dispatch(
        &mut self,
        kernel: &'static Kernel,
        bindings: &[&Tensor],
        constants: &[(&'static str, f64)],
        groups: [u32; 3],
    ) {
        assert!(groups.iter().all(|&n| n >= 1), "{}: grid {groups:?}", kernel.name);
        if let Some(most) = groups.into_iter().max().filter(|&most| most > MAX_GROUPS) {
            self.refuse(format!(
                "{} needs {most} workgroups in one dimension, but a dispatch has at most {MAX_GROUPS}: choose a smaller \
                 micro-batch, evaluation batch or sequence length",
                kernel.name
            ));
        }
        assert!(self.profile.runs(kernel), "{} needs {:?} of the adapter", kernel.name, kernel.needs);
        let plan = self.plans.len().checked_sub(1).expect("a plan was begun");
        let mut declared = kernel.bindings();
        for tensor in bindings {
            let Binding { name, access, dtype, .. } = declared
                .next()
                .unwrap_or_else(|| panic!("{} is given {} tensors, more than it binds", kernel.name, bindings.len()));
            assert!(
                dtype.is_none_or(|dtype| dtype == tensor.dtype),
                "{}: {name} is an array of {dtype:?}, and {} holds {:?}",
                kernel.name,
                self.tensors[tensor.id].name,
                tensor.dtype
            );
            let record = &mut self.tensors[tensor.id];
            if access == Access::ReadWrite {
                *self.derived.writes.entry(tensor.id).or_default() += 1;
            }
            if access == Access::Uniform {
                assert!(record.persistent, "{}: the uniform {name} is a transient tensor", kernel.name);
                record.uniform = true;
            }
            if !record.persistent {
                let owner = *record.plan.get_or_insert(plan);
                assert_eq!(owner, plan, "transient tensor {} is named by two plans", record.name);
            }
        }
        assert!(declared.next().is_none(), "{} binds more than {} tensors", kernel.name, bindings.len());
        self.plans[plan].dispatches.push(Dispatch {
            kernel,
            bindings: bindings.iter().map(|&tensor| tensor.clone()).collect(),
            constants: constants.to_vec(),
            params: words_of_params(kernel, constants),
            groups,
            flops: 0,
            gated: None,
            every: None,
            repeat: None,
        });
    }

    /// The tensor that `make` derives from `of` with `kernel`, reused until something writes `of`.
    ///
    /// In a scheduled, gated or repeated body it is derived anew each time.
    pub fn derived(&mut self, of: &Tensor, kernel: &'static Kernel, make: impl FnOnce(&mut Self) -> Tensor) -> Tensor {
        if self.derived.within_body {
            return make(self);
        }
        let writes = self.derived.writes.get(&of.id).copied().unwrap_or(0);
        let key = (of.clone(), kernel);
        match self.derived.made.get(&key) {
            Some((made_at, made)) if *made_at == writes => made.clone(),
            _ => {
                let made = make(self);
                self.derived.made.insert(key, (writes, made.clone()));
                made
            }
        }
    }

    /// Number of dispatches recorded so far in the current plan, each counted once.
    pub fn n_recorded(&self) -> usize {
        self.plans.last().map_or(0, |plan| plan.dispatches.len())
    }

    /// Notes which variant was chosen for an operation, and the floating-point operations of its dispatches.
    pub fn chose(&mut self, what: String, variant: String, flops: u64) {
        self.choices.entry(what).or_insert(Choice { variant, flops: 0 }).flops += flops;
    }

    /// The variants noted by [`Recorder::chose`].
    pub fn choices(&self) -> &BTreeMap<String, Choice> {
        &self.choices
    }

    /// Sets the floating-point operations of the last dispatch; `bench` divides them by its time.
    pub fn flops(&mut self, flops: u64) {
        self.begun().dispatches.last_mut().expect("a dispatch was recorded").flops = flops;
    }

    /// Records `body`, which runs only in steps 0, `interval`, 2·`interval`, …; a replay with
    /// [`Schedule::Step`](super::Schedule::Step) omits it in all other steps. Results that others use must be
    /// in persistent tensors.
    ///
    /// # Panics
    /// If the interval is 0 or nested in another; later, if a transient tensor is first used there and then elsewhere.
    pub fn every_n_steps(&mut self, interval: u32, body: impl FnOnce(&mut Self)) {
        assert!(interval > 0, "an interval of no steps");
        for dispatch in self.recorded(body) {
            assert!(dispatch.every.is_none(), "{}: an interval within an interval", dispatch.kernel.name);
            dispatch.every = Some(interval);
        }
    }

    /// Records `body` once, to run `times` times; its kernels track their progress in what they write.
    ///
    /// # Panics
    /// If the body contains another repetition or a gate.
    pub fn repeated(&mut self, times: usize, body: impl FnOnce(&mut Self)) {
        let before = self.begun().dispatches.len();
        for dispatch in self.recorded(body) {
            assert!(dispatch.repeat.is_none(), "{}: a repetition within a repetition", dispatch.kernel.name);
            assert!(dispatch.gated.is_none(), "{}: a gate within a repetition", dispatch.kernel.name);
            dispatch.repeat = Some(Repeat { before, times });
        }
    }

    /// The dispatches that `body` records.
    fn recorded(&mut self, body: impl FnOnce(&mut Self)) -> &mut [Dispatch] {
        let first = self.begun().dispatches.len();
        let outer = std::mem::replace(&mut self.derived.within_body, true);
        body(self);
        self.derived.within_body = outer;
        &mut self.begun().dispatches[first..]
    }

    fn begun(&mut self) -> &mut PlanRecord {
        self.plans.last_mut().expect("a plan was begun")
    }

    /// Records `body`, whose dispatches the device itself runs or skips at every replay.
    ///
    /// `gate` is dispatched first. It gets `bindings`, then the workgroup counts of the body's dispatches `[n, 3]`, and
    /// last a tensor to which it copies them, or writes zeros. The body must not contain another gate.
    pub fn gated(
        &mut self,
        gate: &'static Kernel,
        bindings: &[&Tensor],
        constants: &[(&'static str, f64)],
        body: impl FnOnce(&mut Self),
    ) {
        let groups: Vec<u32> = self.recorded(body).iter().flat_map(|dispatch| dispatch.groups).collect();
        let shape = [groups.len() / 3, 3];
        let full = self.persistent(Class::Scratch, DType::U32, "workgroups", &shape);
        let open = self.persistent(Class::Scratch, DType::U32, "workgroups behind a gate", &shape);
        self.tensors[open.id].indirect = true;
        self.initial.push((full.clone(), groups));
        let dispatches = &mut self.begun().dispatches;
        let first = dispatches.len() - shape[0];
        for (row, dispatch) in dispatches[first..].iter_mut().enumerate() {
            assert!(dispatch.gated.is_none(), "{}: a gate within a gate", dispatch.kernel.name);
            dispatch.gated = Some(open.rows(row..row + 1));
        }
        let constants = [constants, &[("DISPATCHES", shape[0] as f64)]].concat();
        self.dispatch(gate, &[bindings, &[&full, &open]].concat(), &constants, [1, 1, 1]);
        self.begun().dispatches[first..].rotate_right(1);
    }

    /// Counts read-back buffers under scratch.
    pub fn reserve_staging(&mut self, bytes: u64) {
        self.staging_bytes += bytes;
    }

    /// Replaces the kernel of every recorded dispatch, keeping bindings, constants and workgroup counts.
    ///
    /// Only for tests: on an adapter without matrix units they emulate what was recorded for one that has them.
    ///
    /// # Panics
    /// If the replacement has other bindings or parameters, or cannot run under the current profile.
    #[doc(hidden)]
    pub fn replace_kernels(&mut self, twin_of: impl Fn(&'static Kernel) -> &'static Kernel) {
        for dispatch in self.plans.iter_mut().flat_map(|plan| &mut plan.dispatches) {
            let (kernel, twin) = (dispatch.kernel, twin_of(dispatch.kernel));
            let declared = |kernel: &Kernel| {
                kernel.bindings().map(|binding| (binding.name, binding.access, binding.dtype)).collect::<Vec<_>>()
            };
            assert_eq!(declared(kernel), declared(twin), "bindings of {} and {}", kernel.name, twin.name);
            assert_eq!(kernel.params(), twin.params(), "parameters of {} and {}", kernel.name, twin.name);
            assert!(self.profile.runs(twin), "{} needs {:?} of the adapter", twin.name, twin.needs);
            dispatch.kernel = twin;
        }
    }

    /// Every distinct pair of kernel and overrides, one pipeline each.
    pub fn kernels(&self) -> Vec<(&'static Kernel, Vec<(&'static str, f64)>)> {
        let mut seen = HashSet::new();
        let uses = self.plans.iter().flat_map(|plan| &plan.dispatches);
        let uses = uses.map(|dispatch| (dispatch.kernel, dispatch.overrides()));
        uses.filter(|(kernel, overrides)| {
            let bits: Vec<(&str, u64)> = overrides.iter().map(|&(name, x)| (name, x.to_bits())).collect();
            seen.insert((std::ptr::from_ref(*kernel), bits))
        })
        .collect()
    }

    /// The kernel and tensors of every dispatch in a plan's longest replay.
    pub fn dispatches(&self, plan: &str) -> Vec<(&'static str, &[Tensor])> {
        self.dispatches_that(plan, |_| true)
    }

    /// The ungated, unscheduled dispatches, which run in every replay.
    pub fn ordinary_dispatches(&self, plan: &str) -> Vec<(&'static str, &[Tensor])> {
        self.dispatches_that(plan, Dispatch::is_ordinary)
    }

    /// Metadata of each of these dispatches.
    pub fn ordinary_infos(&self, plan: &str) -> Vec<DispatchInfo> {
        self.in_order(plan).filter(|dispatch| dispatch.is_ordinary()).map(Dispatch::info).collect()
    }

    /// Metadata of every dispatch of all plans, including gated ones.
    pub fn infos(&self) -> impl Iterator<Item = DispatchInfo> {
        self.plans.iter().flat_map(|plan| &plan.dispatches).map(Dispatch::info)
    }

    /// The plan names, in recording order.
    pub fn plans(&self) -> impl Iterator<Item = &str> {
        self.plans.iter().map(|plan| &*plan.name)
    }

    fn dispatches_that(&self, plan: &str, wanted: impl Fn(&Dispatch) -> bool) -> Vec<(&'static str, &[Tensor])> {
        self.in_order(plan).filter(|d| wanted(d)).map(|d| (d.kernel.name, &d.bindings[..])).collect()
    }

    fn in_order(&self, plan: &str) -> impl Iterator<Item = &Dispatch> {
        let plan = self.plans.iter().find(|p| p.name == plan);
        plan.into_iter().flat_map(|p| p.order().into_iter().map(|at| &p.dispatches[at]))
    }

    /// Number of dispatches in a plan's longest replay.
    pub fn n_dispatches(&self, plan: &str) -> usize {
        self.plans.iter().find(|p| p.name == plan).map_or(0, |p| p.order().len())
    }

    /// Bytes by class that [`Recorder::allocate`] will take: computed from the same layout, not estimated.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for buffer in BufferLayout::of(&self.tensors, &self.plans).buffers {
            memory.add(buffer.class, buffer.bytes);
        }
        memory.add(Class::Scratch, self.staging_bytes);
        memory
    }

    /// The same bytes by class and element type: `f32`, or `f16 and f32` for a buffer that tensors of both types share.
    pub fn memory_by_type(&self) -> BTreeMap<Class, BTreeMap<String, u64>> {
        let layout = BufferLayout::of(&self.tensors, &self.plans);
        let mut types_of = vec![BTreeSet::new(); layout.buffers.len()];
        for (tensor, place) in self.tensors.iter().zip(&layout.place) {
            if let Some(place) = *place {
                types_of[place].insert(tensor.dtype.name());
            }
        }
        let mut memory: BTreeMap<Class, BTreeMap<String, u64>> = BTreeMap::new();
        let mut add = |class, types: Vec<&str>, bytes| {
            *memory.entry(class).or_default().entry(types.join(" and ")).or_default() += bytes;
        };
        for (buffer, types) in layout.buffers.iter().zip(types_of) {
            // The parameter block belongs to no tensor; its elements are words of structs.
            let types = if types.is_empty() { vec![DType::U32.name()] } else { types.into_iter().collect() };
            add(buffer.class, types, buffer.bytes);
        }
        // Losses and norms are read back.
        add(Class::Scratch, vec![DType::F32.name()], self.staging_bytes);
        memory
    }

    /// Marks the record as unable to run on this adapter; [`Recorder::check_limits`] reports the first reason.
    pub fn refuse(&mut self, why: String) {
        self.refused.get_or_insert(why);
    }

    /// Checks that every buffer and binding fits the device and every kernel supports what it is used for; the message
    /// gives the tensor and both sizes.
    pub fn check_limits(&self) -> Result<()> {
        self.refusal().map_or(Ok(()), |refusal| Err(refusal.into_error()))
    }

    /// The reason why [`Recorder::check_limits`] fails, if it does.
    pub fn refusal(&self) -> Option<Refusal> {
        if let Some(why) = &self.refused {
            return Some(Refusal::Kernel(why.clone()));
        }
        let Profile { max_buffer_bytes, max_binding_bytes, .. } = self.profile;
        let mut buffers = BufferLayout::of(&self.tensors, &self.plans).buffers.into_iter();
        if let Some(BufferRecord { label, bytes, .. }) = buffers.find(|buffer| buffer.bytes > max_buffer_bytes) {
            return Some(Refusal::Buffer { label, bytes, largest: max_buffer_bytes });
        }
        let mut bound = self.plans.iter().flat_map(|plan| &plan.dispatches).flat_map(|dispatch| &dispatch.bindings);
        let beyond = bound.find(|tensor| tensor.bytes() > max_binding_bytes)?;
        Some(Refusal::Binding {
            tensor: self.tensors[beyond.id].name.clone(),
            shape: beyond.shape.clone(),
            bytes: beyond.bytes(),
            largest: max_binding_bytes,
        })
    }
}

/// A dispatch's parameters in the layout its kernel reads.
fn words_of_params(kernel: &Kernel, constants: &[(&'static str, f64)]) -> Vec<u32> {
    let word = |param: &Param| {
        let given = constants.iter().find(|(name, _)| param.is(name));
        let &(_, value) = given.unwrap_or_else(|| panic!("{}: no value of the parameter {}", kernel.name, param.name));
        match param.is_float {
            true => (value as f32).to_bits(),
            false => {
                let fits = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
                assert!(fits, "{}: {} is a u32, and {value} is given", kernel.name, param.name);
                value as u32
            }
        }
    };
    kernel.params().iter().map(word).collect()
}

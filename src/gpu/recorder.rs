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

/// Workgroups that one dimension of a dispatch can have under WebGPU's default limits.
pub const MAX_GROUPS: u32 = 65_535;

/// `groups` workgroups as a two-dimensional grid within [`MAX_GROUPS`]; a kernel finds its number as
/// `group.y * count.x + group.x` and ends where that is past the last.
pub fn grid(groups: usize) -> [u32; 3] {
    let rows = groups.div_ceil(MAX_GROUPS as usize);
    [groups.div_ceil(rows.max(1)) as u32, rows as u32, 1]
}

/// Collects tensors and dispatches; see the module's description.
pub struct Recorder {
    /// What is known of the device.
    pub profile: Profile,
    pub(super) tensors: Vec<TensorRecord>,
    pub(super) plans: Vec<PlanRecord>,
    /// What tensors hold from the beginning; all others are zero.
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
    /// Floating-point operations of all dispatches that it stands for.
    pub flops: u64,
}

/// What was made of tensors, as long as they hold what it was made of.
#[derive(Default)]
struct Derived {
    /// By the tensor, the kernel that made it, and the tensor's writes before.
    made: HashMap<(Tensor, &'static Kernel), (u64, Tensor)>,
    /// Dispatches of the plan that may have written each tensor.
    writes: HashMap<usize, u64>,
    /// Whether what is being recorded is made at times only, or several times over.
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

    /// A tensor that lives from one replay to the next and that every plan may name.
    pub fn persistent(&mut self, class: Class, dtype: DType, name: impl Into<String>, shape: &[usize]) -> Tensor {
        self.tensor(class, dtype, name.into(), shape, true)
    }

    /// A tensor of one plan, whose memory others take over outside its lifetime.
    pub fn transient(&mut self, class: Class, dtype: DType, name: impl Into<String>, shape: &[usize]) -> Tensor {
        self.tensor(class, dtype, name.into(), shape, false)
    }

    /// `[1]` that holds 1: for kernels that multiply by what is bound, and have nothing to multiply by.
    pub fn one(&mut self) -> Tensor {
        if let Some(one) = &self.one {
            return one.clone();
        }
        let one = self.initialized(Class::Scratch, "one", &[1], &[1.0]);
        self.one.insert(one).clone()
    }

    /// A persistent tensor in single precision that holds these numbers from the beginning.
    pub fn initialized(&mut self, class: Class, name: impl Into<String>, shape: &[usize], values: &[f32]) -> Tensor {
        let tensor = self.persistent(class, DType::F32, name, shape);
        assert_eq!(tensor.len(), values.len(), "initial values of shape {shape:?}");
        self.initial.push((tensor.clone(), values.iter().map(|x| x.to_bits()).collect()));
        tensor
    }

    /// A tensor whose memory is the caller's, who gives a buffer for it at every replay: see [`super::Workspace::encode`].
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

    /// Begins a plan: the dispatches that follow belong to it.
    pub fn begin(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        assert!(self.plans.iter().all(|plan| plan.name != name), "plan {name} is there already");
        self.plans.push(PlanRecord { name, dispatches: Vec::new() });
        self.derived = Derived::default();
    }

    /// Records one dispatch. `bindings` are those of the kernel's group 0, in order; `constants` its overrides and its
    /// parameters.
    ///
    /// A grid beyond WebGPU's limit is refused ([`Recorder::check_limits`]). Panics on one without workgroups, which would
    /// pass for work done, and on a parameter that is not given.
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
                "{} would need {most} workgroups in a row, and a dispatch has {MAX_GROUPS} at most: choose a smaller \
                 micro-batch, batch of an evaluation, or sequence length",
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

    /// What `make` records of a tensor by `kernel`, made once for as long as nothing writes the tensor.
    ///
    /// In a body that is made at times only, or several times over, it is made each time.
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

    /// Says which variant was chosen for what, for dispatches of so many floating-point operations.
    pub fn chose(&mut self, what: String, variant: String, flops: u64) {
        self.choices.entry(what).or_insert(Choice { variant, flops: 0 }).flops += flops;
    }

    /// What [`Recorder::chose`] was told.
    pub fn choices(&self) -> &BTreeMap<String, Choice> {
        &self.choices
    }

    /// Says how many floating-point operations the last dispatch makes: what `bench` divides by its time.
    pub fn flops(&mut self, flops: u64) {
        self.begun().dispatches.last_mut().expect("a dispatch was recorded").flops = flops;
    }

    /// Records `body`, which is wanted in the steps 0, `interval`, 2·`interval`, … alone: a replay that is told its step
    /// leaves it out in all others, as if it were not there. What it leaves to others is persistent.
    ///
    /// # Panics
    /// On an interval of 0 or within another; later, on a transient tensor that is first named there and then elsewhere.
    pub fn every_n_steps(&mut self, interval: u32, body: impl FnOnce(&mut Self)) {
        assert!(interval > 0, "an interval of no steps");
        for dispatch in self.recorded(body) {
            assert!(dispatch.every.is_none(), "{}: an interval within an interval", dispatch.kernel.name);
            dispatch.every = Some(interval);
        }
    }

    /// Records `body` once, to be made `times` times over: its kernels find out from what they wrote how far they are.
    ///
    /// # Panics
    /// On a body in a body, or one with a gate of its own.
    pub fn repeated(&mut self, times: usize, body: impl FnOnce(&mut Self)) {
        let before = self.begun().dispatches.len();
        for dispatch in self.recorded(body) {
            assert!(dispatch.repeat.is_none(), "{}: a repetition within a repetition", dispatch.kernel.name);
            assert!(dispatch.gated.is_none(), "{}: a gate within a repetition", dispatch.kernel.name);
            dispatch.repeat = Some(Repeat { before, times });
        }
    }

    /// What `body` records.
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

    /// Records `body`, whose dispatches the device itself runs or leaves out at every replay.
    ///
    /// `gate` is dispatched before them, with `bindings`, then the workgroups of every dispatch of the body `[n, 3]`, and
    /// last the same to be written: as they are, or zeros. The body holds no gate of its own.
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

    /// Counts buffers for read-back under scratch.
    pub fn reserve_staging(&mut self, bytes: u64) {
        self.staging_bytes += bytes;
    }

    /// Dispatches another kernel in the place of each that was recorded, with the same bindings, constants and workgroups.
    ///
    /// For tests alone: on an adapter without matrix units they emulate what was recorded for one that has them.
    ///
    /// # Panics
    /// On a kernel that binds or is told something else, and on one that cannot run under the profile as it is now.
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

    /// Each kernel with the overrides it is used with, once each: what pipelines are made of.
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

    /// The kernel and the tensors of every dispatch of a plan's longest replay.
    pub fn dispatches(&self, plan: &str) -> Vec<(&'static str, &[Tensor])> {
        self.dispatches_that(plan, |_| true)
    }

    /// Those that stand behind no gate and under no interval, and so are made in every replay.
    pub fn ordinary_dispatches(&self, plan: &str) -> Vec<(&'static str, &[Tensor])> {
        self.dispatches_that(plan, Dispatch::is_ordinary)
    }

    /// What there is to know of each of those.
    pub fn ordinary_infos(&self, plan: &str) -> Vec<DispatchInfo> {
        self.in_order(plan).filter(|dispatch| dispatch.is_ordinary()).map(Dispatch::info).collect()
    }

    /// What there is to know of every dispatch of all plans, gated ones among them.
    pub fn infos(&self) -> impl Iterator<Item = DispatchInfo> {
        self.plans.iter().flat_map(|plan| &plan.dispatches).map(Dispatch::info)
    }

    /// The names of the plans, in the order in which they were begun.
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

    /// Number of dispatches of a plan's longest replay.
    pub fn n_dispatches(&self, plan: &str) -> usize {
        self.plans.iter().find(|p| p.name == plan).map_or(0, |p| p.order().len())
    }

    /// Bytes by class that [`Recorder::allocate`] will take: the same layout, not an estimate.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for buffer in BufferLayout::of(&self.tensors, &self.plans).buffers {
            memory.add(buffer.class, buffer.bytes);
        }
        memory.add(Class::Scratch, self.staging_bytes);
        memory
    }

    /// The same bytes by class and by what the elements are: `f32`, or `f16 and f32` of a buffer that tensors of both types
    /// share in turn.
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
            // The parameters of dispatches are words of structs, and no tensor.
            let types = if types.is_empty() { vec![DType::U32.name()] } else { types.into_iter().collect() };
            add(buffer.class, types, buffer.bytes);
        }
        // What is read back are losses and norms.
        add(Class::Scratch, vec![DType::F32.name()], self.staging_bytes);
        memory
    }

    /// Says of what is being recorded that this adapter cannot run it: [`Recorder::check_limits`] tells the first of them.
    pub fn refuse(&mut self, why: String) {
        self.refused.get_or_insert(why);
    }

    /// Whether every buffer and binding fits the device, and every kernel can do what it is asked to; the message names the
    /// tensor and both sizes.
    pub fn check_limits(&self) -> Result<()> {
        self.refusal().map_or(Ok(()), |refusal| Err(refusal.into_error()))
    }

    /// What [`Recorder::check_limits`] fails for.
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

/// The parameters of a dispatch as its kernel reads them.
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

//! `multinorm kernels`: every kernel with its requirements, its uses and its translations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use multinorm::config::{OptimizerConfig, RunConfig, RunDefaults, optimizer_names};
use multinorm::gpu::{Access, Binding, Kernel, Need, Profile, Recorder, Touch};
use multinorm::kernels;
use multinorm::llama::{Gradients, Llama, record_decode};
use multinorm::train::record_training;
use multinorm::{Error, Result};
use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};
use serde_json::{Value, json};

use super::DeviceArgs;
use super::console::out;
use super::output::print_json;

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm kernels
  multinorm kernels rope --emit msl
  multinorm kernels rms_norm --json")]
pub struct KernelsArgs {
    /// The kernel to show [default: list all]
    name: Option<String>,
    /// Print the kernel's source, or its translation for a platform's driver
    #[arg(long, value_enum, requires = "name")]
    emit: Option<Language>,
    /// Write the --emit output to a file
    #[arg(long, value_name = "FILE", requires = "emit")]
    out: Option<PathBuf>,
    /// Override one pipeline constant: `--constant M=512`; repeatable. The others have their values from the default
    /// run
    #[arg(long = "constant", value_name = "NAME=VALUE", requires = "emit")]
    constants: Vec<String>,
    /// Print one JSON document
    #[arg(long, conflicts_with = "emit")]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    /// The source
    Wgsl,
    /// For Vulkan (binary)
    Spirv,
    /// For Metal
    Msl,
    /// For Direct3D
    Hlsl,
}

pub fn run(device: &DeviceArgs, args: &KernelsArgs) -> Result<()> {
    let kernel = args.name.as_deref().map(named).transpose()?;
    if let (Some(kernel), Some(language)) = (kernel, args.emit) {
        return emit(device, kernel, language, args);
    }
    let (profile, adapter) = profile(device)?;
    let listed: Vec<&'static Kernel> = kernel.map_or_else(|| kernels::all().collect(), |kernel| vec![kernel]);
    let used = used(&adapters(profile.clone(), adapter.as_deref()))?;
    if args.json {
        let of = |kernel: &&'static Kernel| as_json(kernel, adapter.is_some().then_some(&profile), &used);
        let listed: Vec<Value> = listed.iter().map(of).collect();
        return print_json(&json!({ "adapter": adapter, "kernels": listed }));
    }
    match kernel {
        Some(kernel) => print_one(kernel, &profile, adapter.as_deref(), &used),
        None => print_all(&listed, &profile, adapter.as_deref(), &used),
    }
    Ok(())
}

/// The profile and name of the chosen adapter; WebGPU's defaults if there is no adapter and none was asked for.
fn profile(device: &DeviceArgs) -> Result<(Profile, Option<String>)> {
    match device.open() {
        Ok(gpu) => Ok((gpu.profile.clone(), Some(gpu.adapter_name.clone()))),
        Err(Error::NoAdapter(_)) if device.adapter.is_none() && device.backend.is_none() => {
            Ok((Profile::webgpu_default(), None))
        }
        Err(error) => Err(error),
    }
}

/// An adapter to record kernels for, and the suffix for kernels that it uses and the adapters before it do not.
struct Adapter {
    profile: Profile,
    place: &'static str,
}

/// The adapter of this machine, if any, and one of each kind that chooses different kernels.
fn adapters(here: Profile, name: Option<&str>) -> Vec<Adapter> {
    let gpu = Profile::webgpu_default();
    let large = Profile {
        f16: true,
        subgroup_lanes: Some(32),
        min_subgroup_lanes: Some(32),
        matrix_units: true,
        max_workgroup_bytes: 48 << 10,
        max_invocations: 1024,
        ..gpu.clone()
    };
    let software = Profile { software: true, ..gpu.clone() };
    let kinds = [
        (gpu, " on a GPU in a browser"),
        (large, " on a GPU with matrix units"),
        (software, " on a software adapter in a browser"),
    ];
    let here = name.map(|_| (here, ""));
    here.into_iter().chain(kinds).map(|(profile, place)| Adapter { profile, place }).collect()
}

/// Finds a kernel by name. The error for an unknown name suggests the nearest.
fn named(name: &str) -> Result<&'static Kernel> {
    kernels::all().find(|kernel| kernel.name == name).ok_or_else(|| {
        let likeness = |kernel: &&Kernel| strsim::jaro_winkler(name, kernel.name);
        let nearest = kernels::all().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).expect("there are kernels");
        let message =
            format!("no kernel is called that; the nearest is `{}` (`multinorm kernels` lists all)", nearest.name);
        Error::config(name, message)
    })
}

fn print_all(listed: &[&'static Kernel], profile: &Profile, adapter: Option<&str>, used: &Uses) {
    match adapter {
        Some(name) => out!("✓ and ✗: whether {name} meets the requirement\n"),
        None => out!("no adapter found to check the requirements against\n"),
    }
    out!("{:<46}{:<18}{:<40}used by", "kernel", "translations", "needs");
    for kernel in listed {
        let needs = needs_in_words(kernel, adapter.map(|_| profile));
        let used = used.get(kernel.name).map_or_else(|| "other shapes or settings".into(), uses_in_words);
        out!("{:<46}{:<18}{needs:<40}{used}", kernel.name, names_of_translations(kernel).join(" "));
    }
}

/// Uses in alphabetical order; more than two optimizers are replaced by their number.
fn uses_in_words(used: &BTreeSet<String>) -> String {
    let is_optimizer = |name: &&String| name.starts_with("optimizer ");
    let n_optimizers = used.iter().filter(is_optimizer).count();
    let mut words: Vec<String> = used.iter().filter(|name| n_optimizers <= 2 || !is_optimizer(name)).cloned().collect();
    if n_optimizers > 2 {
        words.push(format!("{n_optimizers} optimizers"));
    }
    words.join(", ")
}

/// The languages that a kernel is translated to.
fn translations(kernel: &Kernel) -> &'static [Language] {
    // The matrix units of Metal and Direct3D are not 16×16.
    let only_vulkan = kernel.needs.contains(&Need::MatrixUnits);
    if only_vulkan { &[Language::Spirv] } else { &[Language::Spirv, Language::Msl, Language::Hlsl] }
}

/// Names of the translations, as `--emit` takes them.
fn names_of_translations(kernel: &Kernel) -> Vec<String> {
    translations(kernel).iter().map(|language| language.name()).collect()
}

impl Language {
    fn name(self) -> String {
        self.to_possible_value().expect("all are named").get_name().to_owned()
    }
}

fn print_one(kernel: &'static Kernel, profile: &Profile, adapter: Option<&str>, used: &Uses) {
    out!("kernel     {}", kernel.name);
    out!("file       shaders/{}.wgsl", kernel.file);
    out!("libraries  {}", if kernel.libraries.is_empty() { "none".into() } else { kernel.libraries.join(", ") });
    out!("module     {}", kernel.module);
    out!("needs      {}", needs_in_words(kernel, adapter.map(|_| profile)));
    match used.get(kernel.name) {
        Some(used) => out!("used by    {}", used.iter().cloned().collect::<Vec<_>>().join(", ")),
        None => out!("used by    no part of a default run: other shapes or settings use it"),
    }
    out!("bindings");
    for (number, binding) in kernel.bindings().enumerate() {
        let dtype = binding.dtype.map_or("struct", |dtype| dtype.name());
        let touched = touched_in_words(&binding);
        out!("  {number}  {:<12}{dtype:<8}{touched:<34}{}", binding.name, binding.shape);
    }
    if !kernel.params().is_empty() {
        out!("parameters {}", names_of_params(kernel).join(", "));
    }
    out!("\n{}", kernel.source().trim_end());
}

fn as_json(kernel: &'static Kernel, profile: Option<&Profile>, used: &Uses) -> Value {
    let binding = |binding: Binding<'_>| {
        json!({
            "name": binding.name,
            "type": binding.dtype.map(|dtype| dtype.name()),
            "uniform": binding.access == Access::Uniform,
            "reads": touch_in_words(binding.reads),
            "writes": touch_in_words(binding.writes),
            "shape": binding.shape,
        })
    };
    json!({
        "name": kernel.name,
        "file": format!("shaders/{}.wgsl", kernel.file),
        "libraries": kernel.libraries,
        "module": kernel.module,
        "needs": kernel.needs.iter().map(need_in_words).collect::<Vec<_>>(),
        "runs": profile.map(|profile| profile.runs(kernel)),
        "used_by": used.get(kernel.name),
        "bindings": kernel.bindings().map(binding).collect::<Vec<_>>(),
        "parameters": names_of_params(kernel),
        "translations": names_of_translations(kernel),
    })
}

fn names_of_params(kernel: &Kernel) -> Vec<&'static str> {
    kernel.params().iter().map(|param| param.name).collect()
}

fn touched_in_words(binding: &Binding<'_>) -> String {
    let of = |touch: Touch, verb: &str| match touch {
        Touch::Never => None,
        touch => Some(format!("{verb} {}", touch_in_words(touch)).replace(" always", "")),
    };
    let parts = [of(binding.reads, "read"), of(binding.writes, "written")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn touch_in_words(touch: Touch) -> String {
    match touch {
        Touch::Never => "never".into(),
        Touch::Always => "always".into(),
        Touch::If { constant, wanted, .. } => format!("if {}{constant}", if wanted { "" } else { "not " }),
    }
}

fn needs_in_words(kernel: &Kernel, profile: Option<&Profile>) -> String {
    if kernel.needs.is_empty() {
        return "WebGPU's default limits".into();
    }
    let words = |need: &Need| match profile.map(|profile| profile.has(*need)) {
        None => need_in_words(need),
        Some(has) => format!("{} {}", if has { "✓" } else { "✗" }, need_in_words(need)),
    };
    kernel.needs.iter().map(words).collect::<Vec<_>>().join(", ")
}

fn need_in_words(need: &Need) -> String {
    match need {
        Need::F16 => "f16".into(),
        Need::AnySubgroups => "subgroup operations".into(),
        Need::Subgroups(lanes) => format!("subgroups of {lanes}"),
        Need::MatrixUnits => "matrix units".into(),
        Need::WorkgroupBytes(bytes) => format!("{bytes} bytes of workgroup memory"),
        Need::Invocations(n) => format!("{n} invocations a workgroup"),
    }
}

/// The uses of each kernel, by its name.
type Uses = BTreeMap<&'static str, BTreeSet<String>>;

/// The plans of default runs that dispatch each kernel, generation, and the optimizers that use it, each on the first
/// adapter that uses it at all.
fn used(adapters: &[Adapter]) -> Result<Uses> {
    let mut used = Uses::new();
    for Adapter { profile, place } in adapters {
        for (kernel, uses) in used_on(profile)? {
            let placed = || uses.into_iter().map(|name| format!("{name}{place}")).collect();
            used.entry(kernel).or_insert_with(placed);
        }
    }
    for kernel in kernels::all().filter(|kernel| kernel.module.ends_with("::bench")) {
        used.entry(kernel.name).or_default().insert("bench".into());
    }
    Ok(used)
}

fn used_on(profile: &Profile) -> Result<Uses> {
    let mut used = Uses::new();
    let plain = recorded(profile, "sgd")?;
    for plan in plain.plans() {
        for (kernel, _) in plain.dispatches(plan) {
            used.entry(kernel).or_default().insert(plan.to_owned());
        }
    }
    let mut rec = Recorder::new(profile);
    let llama = Llama::new(&mut rec, &default_run(profile)?.model, Gradients::None);
    rec.begin("generate");
    record_decode(&mut rec, &llama, 64);
    for (kernel, _) in rec.dispatches("generate") {
        used.entry(kernel).or_default().insert("generate".into());
    }
    let of_all: BTreeSet<&str> = used.keys().copied().collect();
    for name in optimizer_names() {
        for (kernel, _) in recorded(profile, name)?.kernels() {
            if !of_all.contains(kernel.name) {
                used.entry(kernel.name).or_default().insert(format!("optimizer {name}"));
            }
        }
    }
    Ok(used)
}

fn default_run(profile: &Profile) -> Result<RunConfig> {
    RunConfig::load(None, &[], if profile.software { RunDefaults::Software } else { RunDefaults::Gpu })
}

fn recorded(profile: &Profile, optimizer: &str) -> Result<Recorder> {
    let config = default_run(profile)?.with_optimizer(OptimizerConfig::named(optimizer)?);
    Ok(record_training(&config, profile)?.recorder)
}

fn emit(device: &DeviceArgs, kernel: &'static Kernel, language: Language, args: &KernelsArgs) -> Result<()> {
    if language == Language::Spirv && args.out.is_none() && std::io::stdout().is_terminal() {
        let message = "SPIR-V is binary and standard output is a terminal: write to a file with --out, or pipe it";
        return Err(Error::config("--emit spirv", message));
    }
    let bytes = match language {
        Language::Wgsl if args.constants.is_empty() => kernel.source().into_bytes(),
        Language::Wgsl => {
            return Err(Error::config("--constant", "applies to translations only: WGSL keeps its overrides"));
        }
        _ => {
            let (profile, adapter) = profile(device)?;
            translated(kernel, language, &args.constants, &adapters(profile, adapter.as_deref()))?
        }
    };
    match &args.out {
        Some(path) => std::fs::write(path, bytes).map_err(Error::io("write", path)),
        None => std::io::stdout().write_all(&bytes).map_err(Error::io("write", "standard output")),
    }
}

fn translated(kernel: &'static Kernel, language: Language, given: &[String], adapters: &[Adapter]) -> Result<Vec<u8>> {
    let refused = |what: &dyn std::fmt::Display| {
        Error::Data(format!("kernel {} has no translation to {}: {what}", kernel.name, language.name()))
    };
    if !translations(kernel).contains(&language) {
        return Err(refused(&"16×16 matrix units are used on Vulkan only"));
    }
    let module = naga::front::wgsl::parse_str(&kernel.source()).map_err(|error| refused(&error))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| refused(&error.into_inner()))?;
    let constants = constants(kernel, &module, given, adapters)?.into_iter().collect();
    let entry = (ShaderStage::Compute, kernel.file);
    let (module, info) = process_overrides(&module, &info, Some(entry), &constants).map_err(|error| refused(&error))?;
    write(kernel, language, &module, &info).map_err(|error| refused(&error))
}

fn write(
    kernel: &Kernel,
    language: Language,
    module: &Module,
    info: &ModuleInfo,
) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
    let stage = ShaderStage::Compute;
    match language {
        Language::Wgsl => unreachable!("not a translation"),
        Language::Spirv => {
            let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: kernel.file.into() };
            let options = spv::Options { lang_version: (1, 3), ..Default::default() }; // has subgroup operations
            let words = spv::write_vec(module, info, &options, Some(&pipeline))?;
            Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
        }
        Language::Msl => {
            let options = msl::Options { lang_version: (2, 4), ..Default::default() };
            let entry_point = Some((stage, kernel.file.into()));
            let pipeline = msl::PipelineOptions { entry_point, ..Default::default() };
            Ok(msl::write_string(module, info, &options, &pipeline)?.0.into_bytes())
        }
        Language::Hlsl => {
            let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
            let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, kernel.file.into())) };
            let mut text = String::new();
            hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None)?;
            Ok(text.into_bytes())
        }
    }
}

/// A value for every override: the given one, or that of some run, or the shader's default, or a number with many
/// divisors.
fn constants(
    kernel: &'static Kernel,
    module: &Module,
    given: &[String],
    adapters: &[Adapter],
) -> Result<HashMap<String, f64>> {
    let overrides: Vec<&naga::Override> = module.overrides.iter().map(|(_, constant)| constant).collect();
    let name_of = |constant: &naga::Override| constant.name.clone().unwrap_or_default();
    let mut values: HashMap<String, f64> = typical(kernel, adapters)?;
    for constant in overrides.iter().filter(|constant| constant.init.is_none()) {
        let scalar = module.types[constant.ty].inner.scalar();
        let value = match scalar.map(|scalar| scalar.kind) {
            Some(naga::ScalarKind::Uint | naga::ScalarKind::Sint) => 64.0,
            Some(naga::ScalarKind::Bool) => 0.0,
            _ => 1.0,
        };
        values.entry(name_of(constant)).or_insert(value);
    }
    for word in given {
        let parsed = word.split_once('=').and_then(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)));
        let Some((name, value)) = parsed else {
            return Err(Error::config("--constant", format!("expected NAME=NUMBER, got `{word}`")));
        };
        if !overrides.iter().any(|constant| constant.name.as_deref() == Some(name)) {
            let names: Vec<String> = overrides.iter().map(|constant| name_of(constant)).collect();
            let message = format!("{} has no override {name}; it has {}", kernel.name, names.join(", "));
            return Err(Error::config("--constant", message));
        }
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

/// The constants of a kernel's first use in default runs: on this machine's adapter, or else on another kind.
fn typical(kernel: &'static Kernel, adapters: &[Adapter]) -> Result<HashMap<String, f64>> {
    for Adapter { profile, .. } in adapters {
        for name in optimizer_names() {
            let used = recorded(profile, name)?.kernels();
            if let Some((_, constants)) = used.into_iter().find(|(used, _)| *used == kernel) {
                return Ok(constants.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
            }
        }
    }
    Ok(HashMap::new())
}

//! The invariants of shaders/: each file is a kernel, stays within WebGPU's default limits, and works on every system.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use multinorm::config::rotary_frequencies;
use multinorm::config::{Pass, Role, optimizer_names};
use multinorm::gpu::{Access, Binding, Class, DType, Kernel, Need, Profile, Recorder, Tensor, Touch};
use multinorm::kernels::matmul::{self, Layout, Numbers, Product, Variant};
use multinorm::kernels::rms_norm::InputGradient;
use multinorm::kernels::zeroth_order::{Stage, TwoPoint, two_point};
use multinorm::kernels::{self, Output, Target};
use multinorm::optim::{Group, Iterate, Perturbed, StepTensors, Update};
use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};

use crate::support::{FORMS, OUTPUTS, everything, fit_rank, optimizer, oracle, web_profile};

/// A kernel with one set of constants.
type Use = (&'static Kernel, Vec<(&'static str, f64)>);

/// Each kernel with each set of constants that the launchers give it in either form, without duplicates.
static EVERY_USE: LazyLock<Vec<Use>> = LazyLock::new(|| {
    let mut uses: Vec<Use> = Vec::new();
    for one in every_use().iter().flat_map(Recorder::kernels) {
        if !uses.contains(&one) {
            uses.push(one);
        }
    }
    uses
});

/// Recorders in which every launcher was called with every argument that affects its choice of kernel or constants.
fn every_use() -> Vec<Recorder> {
    let mut all: Vec<Recorder> =
        FORMS.into_iter().map(|form| Recorder::new(&web_profile(form))).map(record_all).collect();
    for form in FORMS {
        let subgroups = |lanes| Profile { subgroup_lanes: lanes, min_subgroup_lanes: lanes, ..web_profile(form) };
        all.push(record_all(Recorder::new(&subgroups(Some(8)))));
        all.push(record_variants(Recorder::new(&Profile { f16: true, ..subgroups(Some(8)) })));
        for lanes in [None, Some(8)] {
            let half = Profile { f16: true, ..subgroups(lanes) };
            all.push(record_activations(Recorder::new(&half)));
        }
    }
    // Matrix units, with the workgroup memory of two different cards.
    for max_workgroup_bytes in [48 << 10, 32 << 10] {
        all.push(record_activations(Recorder::new(&Profile { max_workgroup_bytes, ..everything() })));
    }
    all.push(record_variants(Recorder::new(&everything())));
    all.push(record_ceilings(Recorder::new(&everything())));
    all
}

/// Every variant of a product, whichever would be selected.
fn record_variants(mut rec: Recorder) -> Recorder {
    rec.begin("all");
    for layout in Layout::ALL {
        for (mnk, parts) in
            [([16, 16, 16], 1), ([16, 16, 144], 2), ([16, 16, 150], 2), ([5, 5, 5], 1), ([1, 16, 16], 1)]
        {
            let [m, n, _] = mnk;
            for numbers in [Numbers::Single, Numbers::Half] {
                let product = Product { layout, mnk, matrices: 1, numbers };
                let ([a, b], [type_a, type_b, type_y]) = (layout.operands(mnk), numbers.dtypes(layout));
                let [a, b, y] = [(type_a, a), (type_b, b), (type_y, [m, n])]
                    .map(|(dtype, shape)| rec.persistent(Class::Scratch, dtype, "any", &shape));
                for tile in matmul::tiles(&rec.profile, &product) {
                    let variant = Variant { tile, parts: if tile.splits { parts } else { 1 } };
                    for output in OUTPUTS {
                        matmul::record(&mut rec, &product, variant, [&a, &b], Target::new(&y, output));
                    }
                }
            }
        }
    }
    // Large enough that the rule selects the tile whose kernel computes both products of a SwiGLU.
    let tensors = [(DType::F16, [4096, 64]), (DType::F32, [1024, 64]), (DType::F32, [1024, 64])];
    let [x, gate_weight, up_weight] = tensors.map(|(dtype, shape)| tensor_in(&mut rec, dtype, &shape));
    let [gate, up, y] = [(); 3].map(|()| tensor_in(&mut rec, DType::F16, &[4096, 1024]));
    kernels::swiglu::swiglu_of_products(&mut rec, &x, [&gate_weight, &up_weight], [&gate, &up, &y]);
    rec
}

fn record_ceilings(mut rec: Recorder) -> Recorder {
    rec.begin("ceilings");
    let [x, y] = [(); 2].map(|()| tensor(&mut rec, &[2, 4]));
    kernels::bench::copy(&mut rec, &x, &y);
    kernels::bench::fma(&mut rec, &x, &y, 3);
    let [a, b] = [2, 4].map(|n| rec.persistent(Class::Scratch, DType::F16, "any", &[n, 16, 16]));
    let sums = tensor(&mut rec, &[4, 2, 4, 16, 16]);
    kernels::bench::matrix_units(&mut rec, &a, &b, &sums, 3);
    rec
}

fn tensor(rec: &mut Recorder, shape: &[usize]) -> Tensor {
    rec.persistent(Class::Scratch, DType::F32, "any", shape)
}

fn record_all(mut rec: Recorder) -> Recorder {
    rec.begin("all");
    record_layers(&mut rec);
    record_attention(&mut rec);
    record_updates(&mut rec);
    record_pruning(&mut rec);
    rec
}

/// The kernels that exist in half precision, along with their single-precision versions.
fn record_activations(mut rec: Recorder) -> Recorder {
    rec.begin("all");
    for cols in [16, 5, 1376, 1373] {
        record_rows(&mut rec, 7, cols);
    }
    record_attention(&mut rec);
    let step = rec.persistent(Class::Scratch, DType::U32, "step", &[4]);
    let numbers = tensor_in(&mut rec, DType::F16, &[16]);
    kernels::random::gaussian(&mut rec, &numbers, &step, 1.0, 1, 1);
    rec
}

/// The types to record with: f32 everywhere, and f16 if the adapter has it.
fn types(rec: &Recorder) -> &'static [DType] {
    if rec.profile.f16 { &[DType::F32, DType::F16] } else { &[DType::F32] }
}

fn tensor_in(rec: &mut Recorder, dtype: DType, shape: &[usize]) -> Tensor {
    rec.persistent(Class::Scratch, dtype, "any", shape)
}

fn record_layers(rec: &mut Recorder) {
    let [x, y, z] = [(); 3].map(|()| tensor(rec, &[16, 16]));
    let [odd_x, odd_y, odd_z] = [(); 3].map(|()| tensor(rec, &[5, 5]));
    let [row_x, row_y] = [(); 2].map(|()| tensor(rec, &[1, 16]));
    for output in OUTPUTS {
        for product in [kernels::matmul::nt, kernels::matmul::nn, kernels::matmul::tn] {
            product(rec, &x, &y, &z, output);
            product(rec, &odd_x, &odd_y, &odd_z, output);
        }
        kernels::matmul::nt(rec, &row_x, &x, &row_y, output);
    }
    let bias = tensor(rec, &[16]);
    kernels::adapter::bias_relu(rec, &y, &bias);
    kernels::adapter::adapter_residual(rec, [&x, &y], &bias, &z, 2.0);
    // Widths divisible by 4 and not, as wide as a model's rows and wider than the registers hold.
    for cols in [16, 5, 1376, 1373, 32_000, 50_257] {
        record_rows(rec, 7, cols);
    }
    record_rows(rec, 3000, 16);
}

/// The kernels that work on rows of activations or logits.
fn record_rows(rec: &mut Recorder, rows: usize, cols: usize) {
    use kernels::{bias, cross_entropy, embedding, rms_norm};
    let [residual, dresidual, sum] = [(); 3].map(|()| tensor(rec, &[rows, cols]));
    let [weight, dweight, loss, losses] = [cols, cols, 1, rows].map(|len| tensor(rec, &[len]));
    let tokens = embedding::TokenBatch::new(rec, rows);
    kernels::fill::fill(rec, &sum, 0.5);
    embedding::embedding(rec, &tokens.ids, &sum, None, &residual);
    embedding::embedding_backward(rec, &tokens, &residual, None, Target::new(&sum, Output::Accumulate));
    for &dtype in types(rec) {
        let [x, y, z] = [(); 3].map(|()| tensor_in(rec, dtype, &[rows, cols]));
        kernels::swiglu::swiglu(rec, &x, &y, &z);
        kernels::columns::take_columns(rec, &x, 0, &y);
        kernels::swiglu::swiglu_backward(rec, &x, &y, &z);
        rms_norm::rms_norm(rec, &residual, &weight, &y, 1e-5);
        rms_norm::add_rms_norm(rec, &residual, &z, &weight, &sum, &y, 1e-5);
        bias::add_bias(rec, &y, &weight);
        cross_entropy::losses(rec, &x, &tokens.ids, &losses);
        cross_entropy::losses_and_gradient(rec, &x, &tokens.ids, &losses, 0.1, None);
        for (output, copy) in [(Output::Write, None), (Output::Accumulate, None), (Output::Accumulate, Some(&z))] {
            let dx = InputGradient { tensor: &dresidual, output, copy };
            rms_norm::rms_norm_backward(rec, &residual, &weight, &y, dx, Target::new(&dweight, output), 1e-5);
            bias::column_sum(rec, &y, Target::new(&dweight, output));
        }
    }
    for output in OUTPUTS {
        cross_entropy::sum(rec, &losses, &loss, 0.1, output);
    }
}

fn record_attention(rec: &mut Recorder) {
    use kernels::attention::{Cache, Shape, attention, attention_backward, attention_cached, cache_append};
    use kernels::rope::{RopeTables, Rotation, rope};
    let tables = RopeTables::new(rec, 70, rotary_frequencies(6, 10_000.0, None));
    for &dtype in types(rec) {
        let [q, k] = [24, 12].map(|cols| tensor_in(rec, dtype, &[140, cols]));
        rope(rec, [(&q, 4), (&k, 2)], &tables, 70, Rotation::Forward);
    }
    // One size for each number of registers and each team width.
    for head_dim in [16, 32, 64, 96, 128, 256] {
        let tables = RopeTables::new(rec, 70, rotary_frequencies(head_dim, 10_000.0, None));
        for &dtype in types(rec) {
            let shape = Shape { batch: 2, seq: 70, heads: 4, kv_heads: 2, head_dim };
            let [q, out, dout, dq] = [(); 4].map(|()| tensor_in(rec, dtype, &[140, 4 * head_dim]));
            let [k, v, dk, dv] = [(); 4].map(|()| tensor_in(rec, dtype, &[140, 2 * head_dim]));
            let lse = tensor(rec, &[140, 4]);
            attention(rec, [&q, &k, &v], &out, &lse, shape);
            attention_backward(rec, [&q, &k, &v], &out, &lse, &dout, [&dq, &dk, &dv], shape);
            rope(rec, [(&q, 4), (&k, 2)], &tables, 70, Rotation::Forward);
            rope(rec, [(&dq, 4), (&dk, 2)], &tables, 70, Rotation::Backward);
        }
        let shape = Shape { batch: 1, seq: 1, heads: 4, kv_heads: 2, head_dim };
        let [k, v] = [(); 2].map(|()| tensor(rec, &[140, 2 * head_dim]));
        let cache = Cache { k, v };
        let (one, token) = (tensor(rec, &[1, 4 * head_dim]), tensor(rec, &[1, 2 * head_dim]));
        let one_out = tensor(rec, &[1, 4 * head_dim]);
        cache_append(rec, &token, &tables.start, &cache.k);
        attention_cached(rec, &one, &cache, &tables.start, &one_out, shape);
    }
}

/// The optimizers' kernels: every name in the catalog, every pass, every wrapper.
fn record_pruning(rec: &mut Recorder) {
    let step = rec.persistent(Class::Scratch, DType::U32, "step", &[4]);
    let (masks, losses) = (tensor(rec, &[2, 66]), tensor(rec, &[2, 3]));
    let [scores, sums, x] = [&[66][..], &[66], &[7, 132]].map(|shape| tensor(rec, shape));
    let baseline = tensor(rec, &[1]);
    kernels::bias::column_squares(rec, &x.reshaped(&[14, 66]), &sums);
    kernels::prune::draw_mask(rec, &scores, &masks.rows(0..1), &step, 1);
    kernels::prune::mask_columns(rec, &scores, 66, &x);
    kernels::prune::loss_baseline(rec, &losses, &baseline, &step, 5.0);
    let trials = kernels::prune::Trials { masks: &masks, losses: &losses, baseline: &baseline };
    kernels::prune::score_step(rec, trials, &scores, &step, 0.1);
    kernels::prune::project_scores(rec, &scores, 2, 10.0);
}

fn record_updates(rec: &mut Recorder) {
    let statistics = tensor(rec, &[5]);
    let gradients = [(); 2].map(|()| tensor(rec, &[7, 13]));
    for max_norm in [0.0, 1.0] {
        kernels::norms::gradient_statistics(rec, &gradients, &statistics, max_norm);
    }
    let loss_scale = kernels::loss_scale::LossScale::new(rec, 64.0, 500);
    let step = rec.persistent(Class::Scratch, DType::U32, "step", &[4]);
    loss_scale.begin_step(rec, &statistics, &step);
    loss_scale.end_step(rec, &statistics);
    let norms = kernels::norms::GradientNorms::new(rec, 2, false);
    norms.measure(rec, 1, &gradients[1]);
    norms.check(rec, 1, &statistics);
    for len in [7, 8, 100_000] {
        let gradients = tensor(rec, &[2, len]);
        norms.measure_all(rec, 0, 2, &gradients);
    }
    record_groups(rec, &statistics);
    let (without_gradients, mut settings): (Vec<_>, Vec<_>) = optimizer_names()
        .iter()
        .map(|name| format!("name = '{name}'"))
        .partition(|setting| optimizer(setting).zeroth_order().is_some());
    record_moves(rec, &without_gradients);
    let lists = ["row", "column", "standardize", "spectral", "sign", "frobenius", "max", "column,standardize,row,sign"];
    settings.extend(lists.map(|list| format!("passes = '{list}'")));
    settings.extend(
        [
            "name = 'adafactor'\nrelative_step = false\nscale_parameter = false",
            "name = 'adam-nonzero'\nstart = 'random'",
            "name = 'sgd'\nmomentum = 0.9",
            "name = 'sgd'\nmomentum = 0.9\nnesterov = true",
            "momentum = 0.9\nmomentum_placement = 'after'",
            "momentum = 0.9\nnesterov = true\nmomentum_placement = 'after'\nweight_decay = 0.1",
            "scale_rule = 'gradient-norm'",
            "passes = 'column,sign'\nrow_threshold = 0.1",
            "passes = 'row,column'\ntolerance = 0.01",
            "passes = 'standardize,column'\ntolerance = 0.01",
        ]
        .map(String::from),
    );
    for setting in settings {
        for shape in [[7, 13], [13, 7], [3, kernels::scaled::MAX_COLS]] {
            let mut config = optimizer(&format!("{setting}\nrest.lr = 0.1"));
            fit_rank(&mut config, shape);
            for role in [Role::Linear, Role::Embedding, Role::Head, Role::Norm] {
                let shape = if role == Role::Norm { &shape[1..] } else { &shape };
                let [weight, gradient, step] = [shape, shape, &[4]].map(|shape| tensor(rec, shape));
                let update = Update { name: "any", role, weight: &weight, gradient: &gradient, lookahead: None };
                let shared = StepTensors { statistics: &statistics, step: &step };
                let lookahead = multinorm::optim::record_lookahead(rec, &config, &update, shared);
                let update = Update { lookahead: lookahead.as_ref(), ..update };
                multinorm::optim::record(rec, &config, &update, shared).unwrap();
            }
        }
    }
    let gradient = tensor(rec, &[7, 13]);
    for passes in [&[Pass::Row][..], &[Pass::Column], &[Pass::Sign]] {
        let mut iterate = Iterate::new(&gradient).unwrap();
        iterate.passes(rec, passes);
        iterate.materialize(rec);
    }
}

/// Several parameters at once, with lengths divisible by 4 and not.
fn record_groups(rec: &mut Recorder, statistics: &Tensor) {
    let settings = [
        "name = 'adamw'",
        "momentum = 0.9\nmomentum_placement = 'after'\nweight_decay = 0.1",
        "momentum = 0.9\nnesterov = true",
        "passes = 'column,frobenius,standardize,sign,max,row'\nrow_threshold = 0.1\nscale_rule = 'gradient-norm'",
    ];
    for setting in settings {
        for shape in [[7, 13], [20, 1032]] {
            let config = optimizer(&format!("{setting}\nrest.lr = 0.1"));
            let [weight, gradient] = [(); 2].map(|()| tensor(rec, &[&[3], &shape[..]].concat()));
            let step = tensor(rec, &[4]);
            let names = ["one", "two", "three"];
            let (names, shape) = ((&names[..]).into(), (&shape[..]).into());
            let group = Group { names, role: Role::Linear, shape, weight, gradient, lookahead: None };
            let shared = StepTensors { statistics, step: &step };
            multinorm::optim::record_group(rec, &config, &group, shared).unwrap();
        }
    }
}

/// The zeroth-order optimizers' kernels.
fn record_moves(rec: &mut Recorder, settings: &[String]) {
    let [plus, minus, along, statistics, how, numbers] = [1, 1, 2, 3, 4, 4].map(|len| tensor(rec, &[len]));
    let two = TwoPoint {
        losses: [&plus, &minus],
        along: &along,
        statistics: &statistics,
        how: &how,
        eps: 1e-3,
        max_norm: 1.0,
    };
    for stage in [Stage::Plus, Stage::Minus, Stage::Back, Stage::Along] {
        two_point(rec, &numbers, two, stage);
    }
    for setting in settings {
        let mut config = optimizer(setting);
        fit_rank(&mut config, [7, 13]);
        for shape in [&[7, 13][..], &[13]] {
            let weight = tensor(rec, shape);
            let step = StepTensors { statistics: &statistics, step: &numbers };
            let parameter = Perturbed { name: "any", role: Role::Linear, weight: &weight, first: 0, how: &how, step };
            let states = multinorm::optim::record_directions(rec, &config, &parameter).unwrap();
            multinorm::optim::record_perturbation(rec, &config, &parameter, &states);
        }
    }
}

fn all_kernels() -> impl Iterator<Item = &'static Kernel> {
    kernels::all()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders")
}

/// Stem and text of every WGSL file directly inside a folder.
fn wgsl_files(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert!(path.ends_with("shaders/lib"), "{} is no place for shaders", path.display());
            continue;
        }
        assert_eq!(path.extension().and_then(|x| x.to_str()), Some("wgsl"), "{} is no shader", path.display());
        let stem = path.file_stem().unwrap().to_str().unwrap().to_string();
        files.insert(stem, fs::read_to_string(&path).unwrap());
    }
    files
}

/// naga's name for what a kernel needs from an adapter.
pub fn capabilities(kernel: &Kernel) -> Capabilities {
    let of = |need: &Need| match need {
        Need::F16 => Capabilities::SHADER_FLOAT16,
        Need::Subgroups(_) | Need::AnySubgroups => Capabilities::SUBGROUP,
        Need::MatrixUnits => Capabilities::COOPERATIVE_MATRIX,
        Need::WorkgroupBytes(_) | Need::Invocations(_) => Capabilities::empty(),
    };
    kernel.needs.iter().map(of).collect()
}

/// Whether a kernel uses matrix units, which Metal and Direct3D expose differently.
fn has_matrices(kernel: &Kernel) -> bool {
    kernel.needs.contains(&Need::MatrixUnits)
}

/// Parses the text and validates it with WebGPU's own capabilities plus these.
pub fn validated_with(name: &str, source: &str, capabilities: Capabilities) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("shaders/{name}.wgsl: {}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("shaders/{name}.wgsl: {}", error.emit_to_string(source)));
    (module, info)
}

fn validated(kernel: &Kernel) -> (Module, ModuleInfo) {
    validated_with(kernel.name, &kernel.source(), capabilities(kernel))
}

/// Runs `check` on every use, as a module with its constants substituted.
fn for_every_use(check: impl Fn(&str, &'static Kernel, &Module, &ModuleInfo)) {
    for (kernel, constants) in EVERY_USE.iter() {
        let what = format!("{} with {constants:?}", kernel.name);
        let (module, info) = validated(kernel);
        let values: HashMap<String, f64> = constants.iter().map(|&(name, value)| (name.into(), value)).collect();
        let entry = Some((ShaderStage::Compute, kernel.file));
        let (module, info) = process_overrides(&module, &info, entry, &values.into_iter().collect())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&what, kernel, &module, &info);
    }
}

#[test]
fn every_file_is_a_registered_kernel_and_every_kernel_a_file() {
    let files: BTreeSet<String> = wgsl_files(&folder()).into_keys().collect();
    let registered: BTreeSet<String> = all_kernels().map(|kernel| kernel.file.to_string()).collect();
    assert_eq!(files, registered, "left the files of shaders/, right those of the kernels");
}

#[test]
fn a_kernels_source_is_its_file_and_then_libraries() {
    let (files, libraries) = (wgsl_files(&folder()), wgsl_files(&folder().join("lib")));
    let mut used = BTreeSet::new();
    for kernel in all_kernels() {
        let source = kernel.source();
        let own = &source[source.find(files[kernel.file].as_str()).expect("its own file")..];
        let enabled = &source[..source.len() - own.len()];
        assert!(enabled.split_terminator("; ").all(|line| line.starts_with("enable ")), "{}: {enabled}", kernel.name);
        let types: String = kernel.types.iter().map(|(name, ty)| format!("\nalias {name} = {ty};\n")).collect();
        let texts = own.strip_suffix(types.as_str());
        let mut rest = texts.and_then(|texts| texts.strip_prefix(files[kernel.file].as_str()));
        while let Some(text) = rest.filter(|text| !text.is_empty()) {
            let library = libraries.iter().find(|(_, library)| text[1..].starts_with(library.as_str()));
            rest = library.map(|(name, library)| {
                used.insert(name.clone());
                &text[1 + library.len()..]
            });
        }
        assert!(rest.is_some(), "{}: its source is not its file and then whole libraries", kernel.name);
    }
    assert_eq!(used, libraries.into_keys().collect(), "left the libraries that kernels use, right those there are");
}

#[test]
fn what_a_page_carries_of_a_kernel_means_the_same() {
    let words = |source: &str, (kernel, constants): &Use| {
        let (module, info) = validated_with(kernel.name, source, capabilities(kernel));
        let values: HashMap<String, f64> = constants.iter().map(|&(name, value)| (name.into(), value)).collect();
        let (module, info) = process_overrides(&module, &info, None, &values.into_iter().collect()).unwrap();
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        spv::write_vec(&module, &info, &options, None).unwrap()
    };
    let touched = |name, source: &'static str| {
        Kernel::new(name, source).bindings().map(|binding| Binding { shape: "", ..binding }).collect::<Vec<_>>()
    };
    for kernel in all_kernels() {
        let source: &'static str = kernel.source().leak();
        let mut stripped = vec![0; multinorm::gpu::strip(source.as_bytes(), &mut [])];
        multinorm::gpu::strip(source.as_bytes(), &mut stripped);
        let stripped: &'static str = String::from_utf8(stripped).unwrap().leak();
        assert!(!stripped.contains("//") && stripped.len() < source.len(), "{}", kernel.name);
        assert_eq!(touched(kernel.file, stripped), touched(kernel.file, source), "{}", kernel.name);
        let one = EVERY_USE.iter().find(|(used, _)| *used == kernel).expect("every kernel is used");
        assert!(words(stripped, one) == words(source, one), "{}", kernel.name);
    }
}

#[test]
fn every_kernel_has_one_entry_point_of_its_name_and_bindings_of_one_group() {
    for kernel in all_kernels() {
        let (module, _) = validated(kernel);
        let entries: Vec<&str> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(entries, [kernel.file], "entry points of shaders/{}.wgsl", kernel.file);
        assert_eq!(module.entry_points[0].stage, ShaderStage::Compute, "{}", kernel.name);

        let bound = || module.global_variables.iter().filter_map(|(_, variable)| Some((variable, variable.binding?)));
        let mut bindings: Vec<(u32, u32)> = bound().map(|(_, binding)| (binding.group, binding.binding)).collect();
        bindings.sort();
        let wanted: Vec<(u32, u32)> = (0..bindings.len() as u32).map(|number| (0, number)).collect();
        assert_eq!(bindings, wanted, "{}: bindings are numbered from 0 in group 0", kernel.name);
        let storage = bound().filter(|(variable, _)| matches!(variable.space, AddressSpace::Storage { .. })).count();
        assert!((1..=8).contains(&storage), "{}: {storage} storage buffers; WebGPU's default is 8", kernel.name);
    }
}

#[test]
fn bindings_are_what_naga_reads() {
    for kernel in all_kernels() {
        let (module, _) = validated(kernel);
        let of_naga = |number: u32| {
            let at = |variable: &naga::GlobalVariable| variable.binding.map(|b| b.binding) == Some(number);
            let (_, variable) = module.global_variables.iter().find(|(_, variable)| at(variable))?;
            let access = match variable.space {
                AddressSpace::Uniform => Access::Uniform,
                AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => Access::ReadWrite,
                _ => Access::Read,
            };
            let element = match module.types[variable.ty].inner {
                naga::TypeInner::Array { base, .. } => module.types[base].inner.scalar(),
                _ => None,
            };
            let dtype = element.map(|scalar| match (scalar.kind, scalar.width) {
                (naga::ScalarKind::Uint, 4) => DType::U32,
                (naga::ScalarKind::Float, 2) => DType::F16,
                (naga::ScalarKind::Float, 4) => DType::F32,
                other => panic!("{}: elements of {other:?}", kernel.name),
            });
            Some((variable.name.clone()?, access, dtype))
        };
        let bindings: Vec<_> = kernel.bindings().collect();
        for (number, binding) in bindings.iter().enumerate() {
            let read = (binding.name.to_owned(), binding.access, binding.dtype);
            assert_eq!(Some(read), of_naga(number as u32), "{}: binding {number}", kernel.name);
        }
        let after = of_naga(bindings.len() as u32);
        match kernel.params() {
            [] => assert_eq!(after, None, "{}: a binding that the host does not see", kernel.name),
            _ => {
                assert_eq!(after, Some(("params".to_owned(), Access::Uniform, None)), "{}: after tensors", kernel.name);
                let next = of_naga(bindings.len() as u32 + 1);
                assert_eq!(next, None, "{}: a binding that the host does not see", kernel.name);
            }
        }
    }
}

#[test]
fn parameters_are_the_members_that_naga_reads() {
    let mut kernels = 0;
    for kernel in all_kernels() {
        let (module, _) = validated(kernel);
        let of_naga = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Params"));
        let members = match of_naga.map(|(_, ty)| &ty.inner) {
            Some(naga::TypeInner::Struct { members, .. }) => &members[..],
            _ => &[],
        };
        let members = members.iter().enumerate().map(|(number, member)| {
            let scalar = module.types[member.ty].inner.scalar().expect("a number");
            assert_eq!(member.offset, 4 * number as u32, "{}: a word each", kernel.name);
            (member.name.clone().unwrap(), scalar.kind == naga::ScalarKind::Float)
        });
        let read: Vec<(String, bool)> = kernel.params().iter().map(|p| (p.name.to_owned(), p.is_float)).collect();
        assert_eq!(read, members.collect::<Vec<_>>(), "{}", kernel.name);
        kernels += usize::from(!read.is_empty());
    }
    assert!(kernels > 9, "{kernels} kernels have parameters");
}

#[test]
fn bindings_are_read_and_written_as_naga_finds() {
    let mut conditional = BTreeSet::new();
    for kernel in all_kernels() {
        let (module, info) = validated(kernel);
        let uses = info.get_entry_point(0);
        for (number, binding) in kernel.bindings().enumerate() {
            let of_number = |(_, variable): &(_, &naga::GlobalVariable)| {
                variable.binding.is_some_and(|bound| bound.binding == number as u32)
            };
            let (handle, variable) = module.global_variables.iter().find(of_number).expect("a binding of this number");
            assert_eq!(variable.name.as_deref(), Some(binding.name), "{}: binding {number}", kernel.name);
            let found = uses[handle];
            let (reads, writes) = (found.contains(GlobalUse::READ), found.contains(GlobalUse::WRITE));
            assert_eq!(
                (binding.reads.ever(), binding.writes.ever()),
                (reads, writes),
                "{}: left whether its text reads and writes {}, right what naga says",
                kernel.name,
                binding.name
            );
            // naga does not evaluate constants; we evaluate the conditions ourselves.
            for touch in [binding.reads, binding.writes] {
                if let Touch::If { constant, wanted, .. } = touch {
                    conditional.insert((kernel.name, binding.name, constant, wanted));
                }
            }
        }
    }
    for known in [
        ("matmul_nt_tile_64", "y", "ACCUMULATE", true),
        ("matvec", "y", "ACCUMULATE", true),
        ("drop_rows", "r", "BEGIN_ROWS", false),
        ("scale_rows", "partial", "COLUMN_SUMS", true),
        ("subspace_moments", "direction", "DIRECTION", true),
    ] {
        assert!(conditional.contains(&known), "{known:?} is not among {conditional:#?}");
    }
}

#[test]
fn libraries_have_neither_bindings_nor_entry_points() {
    for (name, source) in wgsl_files(&folder().join("lib")) {
        // Some libraries only make sense together with another one, so look at their text.
        assert!(!source.contains("@compute"), "lib/{name}.wgsl has an entry point");
        assert!(!source.contains("@binding"), "lib/{name}.wgsl has a binding");
    }
}

#[test]
fn the_launchers_use_every_registered_kernel() {
    for kernel in all_kernels() {
        let used = EVERY_USE.iter().any(|(used, _)| *used == kernel);
        assert!(used, "no launcher in every_use() dispatches {}", kernel.name);
    }
}

#[test]
fn constants_are_whole_where_the_kernel_wants_whole_numbers() {
    // naga silently truncates fractions for a u32.
    for (kernel, constants) in EVERY_USE.iter() {
        let (module, _) = validated(kernel);
        for (_, constant) in module.overrides.iter() {
            let name = constant.name.as_deref().expect("overrides have names");
            let Some(&(_, value)) = constants.iter().find(|(given, _)| *given == name) else { continue };
            let naga::TypeInner::Scalar(scalar) = module.types[constant.ty].inner else { panic!("{name}: a scalar") };
            let fits = match scalar.kind {
                naga::ScalarKind::Uint => value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value),
                naga::ScalarKind::Bool => value == 0.0 || value == 1.0,
                _ => value.is_finite() && (value == 0.0 || value as f32 != 0.0),
            };
            assert!(fits, "{}: {name} is {value}, and the kernel wants a {:?}", kernel.name, scalar.kind);
        }
    }
}

#[test]
fn workgroups_fit_webgpus_default_limits_or_what_the_kernel_needs() {
    for_every_use(|what, kernel, module, _| {
        let [x, y, z] = module.entry_points[0].workgroup_size;
        let most = kernel.needs.iter().find_map(|need| if let Need::Invocations(n) = need { Some(*n) } else { None });
        assert!(x * y * z <= most.unwrap_or(256) && z <= 64, "{what}: {x}x{y}x{z} invocations");
        let shared = module.global_variables.iter().filter(|(_, variable)| variable.space == AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx())).sum();
        let most =
            kernel.needs.iter().find_map(|need| if let Need::WorkgroupBytes(n) = need { Some(*n) } else { None });
        assert!(bytes <= most.unwrap_or(16 << 10), "{what}: {bytes} bytes of workgroup memory");
    });
}

/// With bounds checks as in a browser, and without as in a native build.
const CHECKS: [BoundsCheckPolicy; 2] = [BoundsCheckPolicy::Restrict, BoundsCheckPolicy::Unchecked];

fn policies(policy: BoundsCheckPolicy) -> BoundsCheckPolicies {
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy }
}

#[test]
fn every_use_translates_to_valid_spirv() {
    for_every_use(|what, kernel, module, info| {
        for policy in CHECKS {
            // Subgroup operations need SPIR-V 1.3, which Vulkan 1.1 accepts.
            let lang_version = if capabilities(kernel).is_empty() { (1, 0) } else { (1, 3) };
            let options = spv::Options { lang_version, bounds_check_policies: policies(policy), ..Default::default() };
            let entry = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: kernel.file.into() };
            let words = spv::write_vec(module, info, &options, Some(&entry))
                .unwrap_or_else(|error| panic!("{what} to SPIR-V: {error}"));
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            validate_spirv(&format!("{what}, {policy:?}"), &bytes, has_matrices(kernel));
        }
    });
}

/// The error that validators before 2023.4 give for SPV_KHR_cooperative_matrix, after which they stop.
const KNOWS_NO_MATRICES: &str = "Invalid capability operand: 6022";

pub fn validate_spirv(what: &str, bytes: &[u8], has_matrices: bool) {
    let mut validator = Command::new("spirv-val")
        .args(["--target-env", if has_matrices { "vulkan1.3" } else { "vulkan1.1" }, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("spirv-val does not start ({error}): `cargo xtask test` installs it (Debian: spirv-tools)")
        });
    validator.stdin.take().expect("a pipe").write_all(bytes).expect("spirv-val reads its input");
    let output = validator.wait_with_output().expect("spirv-val ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let too_old = has_matrices && said.contains(KNOWS_NO_MATRICES);
    assert!(output.status.success() || too_old, "{what}: {said}");
}

#[test]
fn every_use_translates_to_metal() {
    for_every_use(|what, kernel, module, info| {
        if has_matrices(kernel) {
            return; // never used there: that adapter's matrices are 8×8
        }
        for policy in CHECKS {
            let options =
                msl::Options { lang_version: (2, 0), bounds_check_policies: policies(policy), ..Default::default() };
            let entry = msl::PipelineOptions {
                entry_point: Some((ShaderStage::Compute, kernel.file.into())),
                ..Default::default()
            };
            let (text, _) = msl::write_string(module, info, &options, &entry)
                .unwrap_or_else(|error| panic!("{what} to MSL: {error}"));
            assert!(text.contains("kernel void"), "{what}: {text}");
        }
    });
}

#[test]
fn every_use_translates_to_direct3d() {
    for_every_use(|what, kernel, module, info| {
        if has_matrices(kernel) {
            return; // never used there, and naga has no HLSL for them
        }
        for restrict_indexing in [true, false] {
            let options = hlsl::Options { restrict_indexing, ..Default::default() };
            let entry = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, kernel.file.into())) };
            let mut text = String::new();
            hlsl::Writer::new(&mut text, &options, &entry)
                .write(module, info, None)
                .unwrap_or_else(|error| panic!("{what} to HLSL: {error}"));
            assert!(text.contains("[numthreads("), "{what}: {text}");
        }
    });
}

/// Microsoft's compiler accepts every kernel with the constants of its first use; DirectX 12 itself runs on Windows alone.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn every_kernel_compiles_for_direct3d() {
    let folder = tempfile::tempdir().unwrap();
    let written = RefCell::new(BTreeSet::new());
    for_every_use(|what, kernel, module, info| {
        if has_matrices(kernel) || !written.borrow_mut().insert(kernel.name) {
            return;
        }
        let options = hlsl::Options { restrict_indexing: true, ..Default::default() };
        let entry = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, kernel.file.into())) };
        let mut text = String::new();
        let reflected = hlsl::Writer::new(&mut text, &options, &entry).write(module, info, None).unwrap();
        let name = reflected.entry_point_names[0].as_ref().unwrap_or_else(|error| panic!("{what}: {error}"));
        let is_half = kernel.needs.contains(&Need::F16);
        let profile = if is_half { "cs_6_2" } else { "cs_6_0" };
        let header = format!("// entry={name} profile={profile} f16={}\n", u8::from(is_half));
        fs::write(folder.path().join(format!("{}.hlsl", kernel.name)), header + &text).unwrap();
    });
    let n_written = written.borrow().len();
    assert!(n_written > 150, "{n_written} kernels");
    let broken = "// entry=main profile=cs_6_0 f16=0\n[numthreads(1, 1, 1)] void main() { nowhere = 1; }\n";
    fs::write(folder.path().join("broken.hlsl"), broken).unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = root.join(".multinorm/dxc/libdxcompiler.so");
    assert!(library.exists(), "{} is missing: `cargo xtask test` installs it", library.display());
    let mut dxc = oracle("dxc.py");
    let output = dxc.arg("--library").arg(library).arg(folder.path()).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let failed = report["failed"].as_array().unwrap();
    let is_broken = |one: &serde_json::Value| one["file"] == "broken.hlsl";
    assert!(failed.iter().any(is_broken), "DXC finds nothing wrong with an unknown name");
    let others: Vec<_> = failed.iter().filter(|one| !is_broken(one)).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(report["compiled"], n_written);
}

//! Zeroth-order steps, which use losses and no gradients: entire runs compared with the f64 model.

use std::sync::Arc;

use multinorm::config::{
    AdapterConfig, ModelConfig, OptimizerConfig, ParameterSpec, Role, Rule, RunConfig, RunDefaults,
};
use multinorm::data::batches::Batches;
use multinorm::data::dataset::Dataset;
use multinorm::data::tokens::Tokens;
use multinorm::generate::Generator;
use multinorm::gpu::{Class, DType, Recorder};
use multinorm::optim::{Perturbed, ReferenceDirections, StepTensors, record_directions};
use multinorm::reference::adapter::{Adapter, Core, Layer};
use multinorm::reference::llama;
use multinorm::reference::zeroth_order::projected_gradient;
use multinorm::train::{Trainer, record_training};
use pollster::block_on;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use crate::support::{FORMS, Form, assert_close, optimizer, random, shared_gpu, web_profile, widen};

/// Large, so that the difference of two losses in single precision is mostly signal, not rounding.
const EPS: f64 = 0.02;

fn config(settings: &[&str]) -> RunConfig {
    let model = [
        "model.preset=tiny",
        "model.vocab_size=61",
        "model.hidden_size=32",
        "model.intermediate_size=44",
        "model.num_hidden_layers=2",
        "train.steps=10",
        "train.batch_size=4",
        "train.sequence_length=9",
        "train.seed=7",
        "train.max_grad_norm=0",
        "schedule.kind=constant",
        "schedule.warmup_fraction=0",
        "eval.max_tokens=9",
    ];
    let sets: Vec<String> = model.iter().chain(settings).map(|set| (*set).to_owned()).collect();
    RunConfig::load(None, &sets, RunDefaults::Software).unwrap()
}

fn dataset() -> Arc<Dataset> {
    let tokens = Tokens::Owned((0..400u32).map(|i| i * i % 61).collect());
    Arc::new(Dataset::unsplit("squares", tokens, 61))
}

fn trainer(form: Form, config: RunConfig) -> Trainer {
    block_on(Trainer::new(shared_gpu(form), config, dataset())).unwrap()
}

fn weights(trainer: &Trainer) -> Vec<Vec<f32>> {
    block_on(trainer.snapshot()).unwrap().parameters
}

/// The f64 model with a run's weights.
struct Model {
    config: llama::Config,
    parameters: Vec<llama::Parameter>,
    directions: Vec<Option<ReferenceDirections>>,
    lrs: Vec<f64>,
    rounding: Option<Rounding>,
}

/// Random errors of the size that a single-precision run may have relative to the f64 model.
///
/// A direction's entry z has a relative error of about 2⁻²³, or 2⁻²⁰ within a subspace of SubZero's, whose bases are
/// orthonormal to 1e-6. If that moves ε·z past the midpoint between two multiples of the quantum, the weight moves one
/// quantum more or less, a twentieth of ε. A loss has a relative error of about 2⁻²², and a difference of losses is
/// divided by 2ε.
struct Rounding {
    rng: ChaCha8Rng,
    /// The relative error of the entries of each parameter's directions.
    errors: Vec<f64>,
}

impl Rounding {
    fn direction(&mut self, changes: &mut [Vec<f64>]) {
        let quantum = (EPS.log2().floor() - 4.0).exp2();
        let changes =
            changes.iter_mut().zip(&self.errors).flat_map(|(all, error)| all.iter_mut().map(move |d| (d, error)));
        for (d, error) in changes {
            // The error in quanta, on either side of a midpoint.
            let beyond = 2.0 * error * d.abs() / quantum;
            if self.rng.random_bool(beyond.min(1.0)) {
                *d += if self.rng.random_bool(0.5) { quantum } else { -quantum };
            }
        }
    }

    fn loss(&mut self, loss: f64) -> f64 {
        let error: f64 = StandardNormal.sample(&mut self.rng);
        loss * (1.0 + 2f64.powi(-22) * error)
    }
}

impl Model {
    fn new(run: &RunConfig, weights: &[Vec<f32>]) -> Self {
        let ModelConfig { vocab_size, hidden_size, intermediate_size, num_hidden_layers, .. } = run.model;
        let config = llama::Config {
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads: run.model.num_attention_heads,
            num_key_value_heads: run.model.num_key_value_heads,
            head_dim: run.model.head_dim,
            rms_norm_eps: run.model.rms_norm_eps,
            rope_theta: run.model.rope_theta,
            rope_scaling: multinorm::reference::rope::Scaling::None,
            biases: [false; 7],
            tie_word_embeddings: run.model.tie_word_embeddings,
        };
        let specs = run.model.parameters();
        let of = |spec: &ParameterSpec| {
            let trained = run.model.adapter.is_none() || spec.role == Role::Adapter;
            let rule = &run.optimizer.recipe(spec.role).rule;
            trained.then(|| ReferenceDirections::new(rule, &spec.shape, &spec.name, run.train.seed))
        };
        let directions: Vec<_> = specs.iter().map(of).collect();
        let parameters = specs.iter().zip(weights).zip(&directions).map(|((spec, values), directions)| {
            let values = widen(values);
            let values = directions.as_ref().map_or(values.clone(), |directions| directions.settled(&values));
            llama::Parameter { name: spec.name.clone(), shape: spec.shape.clone(), values }
        });
        let parameters = parameters.collect();
        let lrs = specs.iter().map(|spec| run.optimizer.recipe(spec.role).lr).collect();
        Self { config, parameters, directions, lrs, rounding: None }
    }

    /// The same with simulated single-precision errors: see [`Rounding`].
    fn rounded(run: &RunConfig, weights: &[Vec<f32>], seed: u64) -> Self {
        let error = |spec: &ParameterSpec| match run.optimizer.recipe(spec.role).rule {
            Rule::Subzero(_) if spec.shape.len() == 2 => 2f64.powi(-20),
            _ => 2f64.powi(-23),
        };
        let errors = run.model.parameters().iter().map(error).collect();
        Self { rounding: Some(Rounding { rng: ChaCha8Rng::seed_from_u64(seed), errors }), ..Self::new(run, weights) }
    }

    fn changes(&self, t: u32, query: u32) -> Vec<Vec<f64>> {
        let change = |directions: &Option<ReferenceDirections>| match directions {
            Some(directions) => directions.change(t, query),
            None => Vec::new(), // untrained parameters do not move
        };
        self.directions.iter().map(change).collect()
    }

    /// The loss after moving the trained parameters by `along` times the changes.
    fn loss(&self, changes: &[Vec<f64>], along: f64, [ids, targets]: &[Vec<u32>; 2], run: &RunConfig) -> f64 {
        let mut moved = self.parameters.clone();
        for (parameter, change) in moved.iter_mut().zip(changes) {
            parameter.values.iter_mut().zip(change).for_each(|(w, d)| *w += along * d);
        }
        let (of_model, adapters) = parts(&moved, run);
        let (batch, seq) = (run.train.batch_size, run.train.sequence_length);
        llama::loss_with_adapters(&self.config, of_model, &adapters, [ids, targets], batch, seq)
    }

    /// One step. Returns the loss, and the root mean square of the gradient along the directions.
    fn step(&mut self, t: u32, run: &RunConfig) -> (f64, f64) {
        let eps = run.optimizer.zeroth_order().unwrap().eps;
        let queries = queries(run, t);
        let batch = batch(run, t);
        let mut directions: Vec<_> = (0..queries).map(|query| self.changes(t, query)).collect();
        let mut rounding = self.rounding.take();
        if let Some(rounding) = &mut rounding {
            directions.iter_mut().for_each(|changes| rounding.direction(changes));
        }
        let share = 1.0 / f64::from(queries);
        let (mut loss, mut square) = (0.0, 0.0);
        let mut gradients = Vec::new();
        for changes in &directions {
            let losses = [1.0, -1.0].map(|along| self.loss(changes, along, &batch, run));
            let [plus, minus] = losses.map(|loss| rounding.as_mut().map_or(loss, |rounding| rounding.loss(loss)));
            let gradient = projected_gradient(plus, minus, eps);
            loss += share * (plus + minus) / 2.0;
            square += share * gradient * gradient;
            gradients.push(share * gradient);
        }
        // The weights move back along the last direction first.
        for (at, (changes, gradient)) in directions.iter().zip(gradients).enumerate().rev() {
            let decays = at + 1 == directions.len();
            for (index, parameter) in self.parameters.iter_mut().enumerate() {
                let Some(own) = &self.directions[index] else { continue };
                own.step(&mut parameter.values, &changes[index], gradient, self.lrs[index], decays);
            }
        }
        self.rounding = rounding;
        (loss, square.sqrt())
    }
}

/// The number of directions in step t, starting at 1; an epoch is all windows of nine tokens.
fn queries(run: &RunConfig, t: u32) -> u32 {
    let windows = (dataset().train.len() - 9) / 9;
    let epochs = |steps: f64| steps * run.train.batch_size as f64 / windows as f64;
    run.optimizer.queries_at(epochs(f64::from(t - 1)) as u64, epochs(run.train.steps as f64))
}

/// The model's own parameters, and each layer's adapters.
fn parts<'a>(all: &'a [llama::Parameter], run: &RunConfig) -> (&'a [llama::Parameter], Vec<[Adapter; 3]>) {
    let (of_model, of_adapters) = all.split_at(run.model.parameters_of_model().len());
    let adapters: Vec<Adapter> =
        of_adapters.chunks(AdapterConfig::PARAMETERS).map(|parameters| adapter(parameters, run)).collect();
    (of_model, adapters.chunks(3).map(|three| std::array::from_fn(|place| three[place].clone())).collect())
}

/// An adapter from its fourteen parameters in order.
fn adapter(parameters: &[llama::Parameter], run: &RunConfig) -> Adapter {
    let layer = |parameters: &[llama::Parameter]| {
        let (bias, cores) = parameters.split_last().unwrap();
        let core =
            |core: &llama::Parameter| Core { shape: core.shape[..].try_into().unwrap(), values: core.values.clone() };
        Layer { cores: cores.iter().map(core).collect(), bias: bias.values.clone() }
    };
    let (down, up) = parameters.split_at(AdapterConfig::PARAMETERS / 2);
    Adapter { down: layer(down), up: layer(up), scale: run.model.adapter.unwrap().scale }
}

/// Ids and targets of step t, starting at 1.
fn batch(run: &RunConfig, t: u32) -> [Vec<u32>; 2] {
    let dataset = dataset();
    let train = &run.train;
    let batches = Batches::new(&dataset.train, train.batch_size, train.sequence_length, train.seed).unwrap();
    let n = train.batch_size * train.sequence_length;
    let [mut ids, mut targets] = [vec![0; n], vec![0; n]];
    batches.fill(u64::from(t - 1), &mut ids, &mut targets).unwrap();
    [ids, targets]
}

fn check(form: Form, settings: &[&str]) {
    let eps = format!("optimizer.eps={EPS}");
    let run = config(&[settings, &[&eps]].concat());
    let mut trainer = trainer(form, run.clone());
    let start = weights(&trainer);
    let mut model = Model::new(&run, &start);
    let mut rounded: Vec<Model> = (0..6).map(|seed| Model::rounded(&run, &start, seed)).collect();
    for t in 1..=10 {
        let mut reports = block_on(trainer.step()).unwrap();
        reports.extend(block_on(trainer.drain()).unwrap());
        let [report] = &reports[..] else { panic!("one report") };
        let (loss, gradient) = model.step(t, &run);
        let what = format!("{form:?} {settings:?} step {t}");
        // Allow four times the largest error of six models with simulated rounding: that is at about 1.5 standard
        // deviations, so this allows six.
        let others: Vec<_> = rounded.iter_mut().map(|model| model.step(t, &run)).collect();
        let farthest = |off: &dyn Fn(&(f64, f64)) -> f64| 4.0 * others.iter().map(off).fold(0.0, f64::max);
        let within = 2e-5 * loss + farthest(&|other| (other.0 - loss).abs());
        let off = (report.loss - loss).abs();
        assert!(off < within, "{what}: loss {} {loss}, {within:e} apart at most", report.loss);
        let within = 2e-3 * gradient.max(0.1) + farthest(&|other| (other.1 - gradient).abs());
        let off = (report.grad_norm - gradient).abs();
        assert!(off < within, "{what}: gradient {} {gradient}, {within:e} apart at most", report.grad_norm);
    }
    let start = Model::new(&run, &start);
    for (at, (got, want)) in weights(&trainer).iter().zip(&model.parameters).enumerate() {
        // Compare the changes from the steps, not the weights.
        let start = &start.parameters[at].values;
        let moved = |values: &[f64]| -> Vec<f64> { values.iter().zip(start).map(|(w, s)| w - s).collect() };
        let got: Vec<f32> = moved(&widen(got)).iter().map(|x| *x as f32).collect();
        let moved = moved(&want.values);
        let rms = (moved.iter().map(|x| x * x).sum::<f64>() / moved.len() as f64).sqrt();
        let off = |model: &Model| -> f64 {
            let values = model.parameters[at].values.iter().zip(&want.values);
            values.map(|(other, want)| (other - want).abs() / rms.max(1e-30)).fold(0.0, f64::max)
        };
        let within = 3e-2 + 4.0 * rounded.iter().map(off).fold(0.0, f64::max);
        assert_close(format!("{form:?} {settings:?} {}", want.name), &got, &moved, within);
    }
}

#[test]
fn mezo_is_its_reference_on_the_f64_model() {
    for form in FORMS {
        check(form, &["optimizer.name=mezo", "optimizer.lr=0.01"]);
    }
    let queries = ["optimizer.name=mezo", "optimizer.lr=0.01", "optimizer.queries=3", "optimizer.weight_decay=0.5"];
    check(FORMS[0], &queries);
    check(FORMS[1], &[&queries[..], &["train.micro_batch_size=2"]].concat());
}

#[test]
fn subzero_is_its_reference_on_the_f64_model() {
    let renewed = ["optimizer.name=subzero", "optimizer.rank=3", "optimizer.update_interval=2", "optimizer.lr=0.01"];
    for form in FORMS {
        check(form, &renewed);
    }
    check(FORMS[0], &[&renewed[..], &["optimizer.queries=2", "train.micro_batch_size=1"]].concat());
}

#[test]
fn adazeta_is_its_reference_on_the_f64_model() {
    let adazeta = ["optimizer.name=adazeta", "optimizer.lr=0.1", "optimizer.bottleneck=6", "optimizer.tensor_rank=3"];
    for form in FORMS {
        check(form, &adazeta);
    }
    // Fewer than three steps per epoch, and later steps use more directions.
    let growing = ["train.batch_size=16", "optimizer.query_factor=2", "optimizer.final_queries=5", "optimizer.scale=2"];
    let growing = [&adazeta[..], &growing].concat();
    assert_eq!([1, 4, 10].map(|t| queries(&config(&growing), t)), [1, 2, 4]);
    check(FORMS[1], &growing);
}

#[test]
fn directions_grow_from_epoch_to_epoch() {
    let sets = ["optimizer.name=adazeta", "train.steps=60", "train.batch_size=8", "train.micro_batch_size=8"];
    let run = config(&sets);
    let tokens = dataset().train.len();
    let windows = (tokens - 9) / 9;
    let want: u64 = (1..=60).map(|t| 2 * u64::from(queries(&run, t))).sum();
    assert_eq!(multinorm::train::forward_passes(&run, tokens), want);
    assert_eq!(queries(&run, 1), 1);
    assert_eq!(queries(&run, 60), 15, "{windows} windows");
    assert_eq!(multinorm::train::forward_passes(&config(&["optimizer.name=mezo"]), tokens), 20);
    assert_eq!(multinorm::train::forward_passes(&config(&["optimizer.name=sgd"]), tokens), 10);
}

#[test]
fn adapters_begin_with_the_model_as_it_is_and_leave_it_so() {
    let run = config(&["optimizer.name=adazeta", "optimizer.lr=0.1"]);
    let mut with = trainer(FORMS[0], run.clone());
    let mut without = trainer(FORMS[0], config(&["optimizer.name=mezo"]));
    let loss = |trainer: &mut Trainer| block_on(trainer.evaluate()).unwrap().loss;
    let begun = loss(&mut with);
    assert_eq!(begun, loss(&mut without));
    let before = weights(&with);
    for _ in 0..3 {
        block_on(with.step()).unwrap();
    }
    let (after, n) = (weights(&with), run.model.parameters_of_model().len());
    assert_eq!(before[..n], after[..n]);
    assert!(
        before[n..].iter().zip(&after[n..]).all(|(before, after)| before != after),
        "every part of an adapter moves"
    );
    assert_ne!(loss(&mut with), begun);
    let memory = with.memory();
    assert_eq!((memory.bytes(Class::Gradients), memory.bytes(Class::OptimizerState)), (0, 0));
}

#[test]
fn text_is_generated_with_the_adapters() {
    let settings = ["optimizer.name=adazeta", "optimizer.bottleneck=6", "optimizer.tensor_rank=3", "optimizer.scale=2"];
    let run = config(&settings);
    let ids: Vec<u32> = (0..9).map(|i| i * i % 61).collect();
    for form in FORMS {
        let mut weights = weights(&trainer(form, run.clone()));
        // The last cores start at zero.
        for (at, values) in weights.iter_mut().enumerate().skip(run.model.parameters_of_model().len()) {
            *values = random(values.len(), at as u64).iter().map(|x| 0.7 * x).collect();
        }
        let model = Model::new(&run, &weights);
        let as_they_are = |(parameter, values): (&llama::Parameter, &Vec<f32>)| llama::Parameter {
            values: widen(values),
            ..parameter.clone()
        };
        let parameters: Vec<_> = model.parameters.iter().zip(&weights).map(as_they_are).collect();
        let (of_model, adapters) = parts(&parameters, &run);
        let want = llama::logits_with_adapters(&model.config, of_model, &adapters, &ids, 1, ids.len());
        let without = llama::logits(&model.config, of_model, &ids, 1, ids.len());
        let apart = want.iter().zip(&without).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart > 0.1, "the adapters matter: {apart}");
        let gpu = shared_gpu(form);
        let mut generator = block_on(Generator::new(&gpu, &run.model, &weights, ids.len())).unwrap();
        let got: Vec<f32> = ids.iter().flat_map(|&id| block_on(generator.push(&gpu, id)).unwrap()).collect();
        assert_close(format!("{form:?}"), &got, &want, 1e-5);
    }
}

#[test]
fn weights_are_what_they_were_after_steps_that_learn_nothing() {
    for name in ["optimizer.name=mezo", "optimizer.name=subzero", "optimizer.name=adazeta"] {
        let run = config(&[name, "optimizer.lr=1e-30", "optimizer.queries=2"]);
        let mut trainer = trainer(FORMS[0], run.clone());
        let start = Model::new(&run, &weights(&trainer));
        for _ in 0..3 {
            block_on(trainer.step()).unwrap();
        }
        let same = |(got, want): (&Vec<f32>, &llama::Parameter)| widen(got) == want.values;
        assert!(weights(&trainer).iter().zip(&start.parameters).all(same), "{name}: to the last bit");
    }
}

#[test]
fn there_is_no_backward_pass_and_no_gradient() {
    let profile = web_profile(FORMS[0]);
    for name in ["optimizer.name=mezo", "optimizer.name=subzero", "optimizer.name=adazeta"] {
        let recorded = record_training(&config(&[name]), &profile).unwrap();
        assert_eq!(recorded.recorder.memory().bytes(Class::Gradients), 0);
        let kernels = recorded.recorder.kernels();
        assert!(kernels.iter().any(|(kernel, _)| kernel.name == "two_point"));
        let backward = kernels.iter().find(|(kernel, _)| kernel.name.contains("backward"));
        assert!(backward.is_none(), "{name}: {backward:?}");
    }
    let with_gradients = record_training(&config(&["optimizer.name=sgd"]), &profile).unwrap();
    assert!(with_gradients.recorder.kernels().iter().any(|(kernel, _)| kernel.name.contains("backward")));
}

#[test]
fn a_run_goes_on_to_the_same_bits() {
    let subzero = ["name=subzero", "rank=3", "lr=0.01", "queries=2", "update_interval=3"];
    // Two steps per epoch, with more directions in each.
    let adazeta = ["name=adazeta", "lr=0.1", "query_factor=2", "final_queries=5"];
    for (optimizer, train) in [(&subzero[..], "train.batch_size=4"), (&adazeta[..], "train.batch_size=16")] {
        let optimizer: Vec<String> = optimizer.iter().map(|set| format!("optimizer.{set}")).collect();
        let sets: Vec<&str> = optimizer.iter().map(String::as_str).chain([train]).collect();
        let run = config(&sets);
        let mut whole = trainer(FORMS[0], run.clone());
        let mut first = trainer(FORMS[0], run.clone());
        for _ in 0..2 {
            block_on(first.step()).unwrap();
        }
        let mut second = trainer(FORMS[0], run.clone());
        second.restore(&block_on(first.snapshot()).unwrap()).unwrap();
        for _ in 0..6 {
            block_on(whole.step()).unwrap();
        }
        for _ in 2..6 {
            block_on(second.step()).unwrap();
        }
        assert_eq!(weights(&whole), weights(&second));
        assert!(sets[0] != "optimizer.name=adazeta" || queries(&run, 1) < queries(&run, 6), "epochs differ");
    }
}

#[test]
fn a_loss_that_overflows_halts_the_run_and_leaves_the_weights() {
    let mut trainer = trainer(FORMS[0], config(&["optimizer.name=mezo", "optimizer.lr=0.01"]));
    let mut before = weights(&trainer);
    let last = before.len() - 1;
    before[last].iter_mut().enumerate().for_each(|(at, w)| *w = if at % 7 < 3 { 3e38 } else { -3e38 });
    trainer.set_weights(&before);
    let refused = block_on(async { trainer.step().await.and(trainer.drain().await) });
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("step 1: the loss is") && message.contains("the forward pass overflowed"), "{message}");
    assert_eq!(weights(&trainer)[last], before[last]);
}

#[test]
fn no_gradient_is_read_where_there_is_none() {
    let trainer = trainer(FORMS[0], config(&["optimizer.name=mezo"]));
    let message = block_on(trainer.gradient("model.norm.weight")).unwrap_err().to_string();
    assert!(message.contains("a zeroth-order method makes no gradients"), "{message}");
}

#[test]
fn settings_without_sense_are_refused_with_the_reason() {
    let cases: [(&[&str], &str); 15] = [
        (&["optimizer.name=mezo", "optimizer.eps=0"], "optimizer.eps: must lie between"),
        (&["optimizer.name=mezo", "optimizer.queries=0"], "optimizer.queries: must be from 1 to"),
        (&["optimizer.name=subzero", "optimizer.rank=0"], "optimizer.rank"),
        (&["optimizer.name=subzero", "optimizer.update_interval=0"], "optimizer.update_interval"),
        (&["optimizer.name=mezo", "train.fused_update=true"], "no backward pass to update in"),
        (&["optimizer.name=mezo", "spectra.every=5"], "makes no gradients to look into"),
        (
            &["optimizer.name=mezo", "optimizer.rest.name=adam"],
            "optimizer.rest: mezo updates all parameters itself, not some with adam",
        ),
        (&["optimizer.name=sgd", "optimizer.rest.name=mezo"], "must name it for all parameters, or none"),
        (&["optimizer.name=mezo", "optimizer.rest.eps=0.5"], "the same eps and queries"),
        (&["optimizer.name=adazeta", "optimizer.rest.lr=0.5"], "optimizer.rest: adazeta trains only adapters"),
        (&["optimizer.name=adazeta", "optimizer.norm.name=adam"], "optimizer.norm: adazeta trains only adapters"),
        (&["optimizer.name=adazeta", "optimizer.bottleneck=0"], "optimizer.bottleneck: must be from 1 to"),
        (&["optimizer.name=adazeta", "optimizer.tensor_rank=0"], "optimizer.tensor_rank: must be from 1 to"),
        (&["optimizer.name=adazeta", "optimizer.scale=0"], "optimizer.scale"),
        (&["optimizer.name=adazeta", "optimizer.final_queries=0.5"], "must be query_factor (0.85) or more"),
    ];
    for (settings, expected) in cases {
        let sets: Vec<String> = settings.iter().map(|set| (*set).to_owned()).collect();
        let refused = RunConfig::load(None, &sets, RunDefaults::Software).and_then(|config| config.validate());
        let message = refused.expect_err(expected).to_string();
        assert!(message.contains(expected), "{settings:?}: {message}");
    }
}

#[test]
fn what_a_zeroth_order_rule_cannot_move_is_refused() {
    let mut rec = Recorder::new(&web_profile(FORMS[0]));
    let [weight, how, statistics, step] =
        [&[8, 30][..], &[4], &[3], &[4]].map(|shape| rec.persistent(Class::Scratch, DType::F32, "any", shape));
    rec.begin("update");
    let shared = StepTensors { statistics: &statistics, step: &step };
    let parameter = Perturbed { name: "w", role: Role::Linear, weight: &weight, first: 0, how: &how, step: shared };
    let message = |rec: &mut Recorder, config: &OptimizerConfig| {
        record_directions(rec, config, &parameter).unwrap_err().to_string()
    };
    let above = message(&mut rec, &optimizer("name = 'subzero'\nrank = 9"));
    assert!(above.contains("optimizer.rank: is 9, above the smaller side of w"), "{above}");
    let other = message(&mut rec, &optimizer("name = 'sgd'"));
    assert!(other.contains("optimizer.name: takes a gradient"), "{other}");
}

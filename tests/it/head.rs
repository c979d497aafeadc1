//! Losses and gradients when the head processes the tokens in several chunks, against the f64 model.

use multinorm::config::{ModelConfig, Recompute};
use multinorm::gpu::{Class, DType, Recorder};
use multinorm::kernels::Output;
use multinorm::kernels::embedding::TokenBatch;
use multinorm::llama::{BatchInputs, Gradients, Llama, Loss, record_loss, record_micro_step};
use multinorm::reference::{llama, rope};
use pollster::block_on;

use crate::support::{FORMS, assert_close, gpu, random, widen};

const BATCH: usize = 4;
const SEQ: usize = 50;
/// For the whole model; the worst seen is 3.1e-5, for the embedding.
const TOLERANCE: f64 = 1e-4;
/// Space for a third of the logits: chunks of 64 tokens, and a last one of 8.
const BINDING_BYTES: u64 = 300 << 10;

fn model(vocab_size: usize, tie_word_embeddings: bool) -> ModelConfig {
    let sizes = ModelConfig { vocab_size, tie_word_embeddings, ..ModelConfig::preset("tiny").unwrap() };
    ModelConfig {
        hidden_size: 32,
        intermediate_size: 44,
        num_hidden_layers: 1,
        head_dim: 8,
        rms_norm_eps: 0.1,
        ..sizes
    }
}

fn reference_config(model: &ModelConfig) -> llama::Config {
    llama::Config {
        vocab_size: model.vocab_size,
        hidden_size: model.hidden_size,
        intermediate_size: model.intermediate_size,
        num_hidden_layers: model.num_hidden_layers,
        num_attention_heads: model.num_attention_heads,
        num_key_value_heads: model.num_key_value_heads,
        head_dim: model.head_dim,
        rms_norm_eps: model.rms_norm_eps,
        rope_theta: model.rope_theta,
        tie_word_embeddings: model.tie_word_embeddings,
        rope_scaling: rope::Scaling::None,
        biases: [false; 7],
    }
}

#[test]
fn chunks_of_tokens_add_up_to_the_whole_batch() {
    let n = BATCH * SEQ;
    for (vocab, tied) in [(1000, true), (1003, false)] {
        let config = model(vocab, tied);
        let ids: Vec<u32> = (0..n).map(|at| (at * at % vocab) as u32).collect();
        let targets: Vec<u32> = (0..n).map(|at| (at * 41 % vocab) as u32).collect();
        let values = |at: usize, len: usize| random(len, at as u64).iter().map(|x| 0.5 * x).collect::<Vec<f32>>();
        let shapes = llama::parameter_shapes(&reference_config(&config)).into_iter().enumerate();
        let parameters: Vec<llama::Parameter> = shapes
            .map(|(at, (name, shape))| {
                let values = widen(&values(at, shape.iter().product()));
                llama::Parameter { name, shape, values }
            })
            .collect();
        let reference = reference_config(&config);
        let (want_loss, want) = llama::loss_and_gradients(&reference, &parameters, &ids, &targets, BATCH, SEQ);

        for form in FORMS {
            let gpu = gpu(form);
            let mut profile = gpu.profile.clone();
            profile.max_binding_bytes = BINDING_BYTES;
            let mut rec = Recorder::new(&profile);
            let model = Llama::new(&mut rec, &config, Gradients::Persistent);
            let inputs = BatchInputs::new(&mut rec, &model, BATCH, SEQ);
            let [loss, loss_alone] =
                ["loss", "loss alone"].map(|name| rec.persistent(Class::Scratch, DType::F32, name, &[1]));
            let scale = 1.0 / n as f64;
            for (plan, output) in [("first", Output::Write), ("next", Output::Accumulate)] {
                rec.begin(plan);
                let loss = Loss { sum: &loss, scale, output };
                record_micro_step(&mut rec, &model, &inputs, loss, Recompute::None, None, &mut |_, _| Ok(())).unwrap();
                let logits =
                    rec.dispatches(plan).iter().filter(|(kernel, _)| kernel.starts_with("cross_entropy_back")).count();
                assert_eq!(logits, 4, "chunks");
            }
            rec.begin("alone");
            record_loss(&mut rec, &model, &inputs, Loss { sum: &loss_alone, scale, output: Output::Write });
            let workspace = block_on(rec.allocate(gpu)).unwrap();
            for (at, parameter) in model.parameters.iter().enumerate() {
                workspace.write(gpu, &parameter.weight, &values(at, parameter.weight.len()));
            }
            let (order, starts) = TokenBatch::sorted(&ids);
            workspace.write(gpu, &inputs.tokens.ids, &ids);
            workspace.write(gpu, &inputs.tokens.order, &order);
            workspace.write(gpu, &inputs.tokens.starts, &starts);
            workspace.write(gpu, &inputs.targets, &targets);
            let (cos, sin) = inputs.rope.values();
            workspace.write(gpu, &inputs.rope.cos, &cos);
            workspace.write(gpu, &inputs.rope.sin, &sin);
            workspace.run(gpu, &["alone", "first", "next"]);

            let what = |name: &str| format!("{form:?}, vocabulary {vocab}, tied {tied}: {name}");
            let read = |tensor| block_on(workspace.read::<f32>(gpu, tensor)).unwrap();
            assert_close(what("loss alone"), &read(&loss_alone), &[want_loss], TOLERANCE);
            assert_close(what("loss"), &read(&loss), &[2.0 * want_loss], TOLERANCE);
            for (parameter, want) in model.parameters.iter().zip(&want) {
                // The same batch twice; the second is accumulated onto the first.
                let want: Vec<f64> = want.values.iter().map(|x| 2.0 * x).collect();
                assert_close(what(&parameter.spec.name), &read(parameter.gradient()), &want, TOLERANCE);
            }
        }
    }
}

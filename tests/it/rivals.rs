//! Ten steps of the memory-efficient optimizers against their authors' own code: tests/oracle/updates.py.

use multinorm::checkpoint::{NamedTensor, read_tensors, write_tensors};
use multinorm::config::{Recipe, Role};
use multinorm::optim::{StepTensors, Update};
use multinorm::reference::random::{normal, stream};
use serde_json::{Value, json};

use crate::kernels::scaled::uneven;
use crate::support::{Case, FORMS, Form, assert_close, optimizer, oracle, random, widen};

const STEPS: usize = 10;
const SEED: u32 = 11;
const NAME: &str = "model.layers.0.mlp.down_proj.weight";
/// Relative to the largest element; the worst seen is 2e-6.
const TOLERANCE: f64 = 2e-5;
const SHAPES: [[usize; 2]; 3] = [[7, 13], [21, 10], [12, 12]];

/// Our settings, and the name in their code.
struct Rival {
    ours: &'static str,
    theirs: Value,
    /// Rank and interval of random projections; rank 0 for one number per matrix element.
    projection: Option<[usize; 2]>,
}

fn gradients([m, n]: [usize; 2]) -> Vec<Vec<f32>> {
    (0..STEPS).map(|step| uneven(m, n, 40 + 10 * step as u64)).collect()
}

/// The weight after the last step according to the authors' code.
fn theirs(rival: &Rival, shape @ [m, n]: [usize; 2], weight: &[f32]) -> Vec<f64> {
    let dir = tempfile::tempdir().unwrap();
    let [given, after, settings] =
        ["given.safetensors", "after.safetensors", "settings.json"].map(|name| dir.path().join(name));
    let tensor = |name: &str, shape: &[usize], values| NamedTensor { name: name.into(), shape: shape.into(), values };
    let mut tensors =
        vec![tensor("weight", &shape, weight.to_vec()), tensor("gradients", &[STEPS, m, n], gradients(shape).concat())];
    if let Some([rank, interval]) = rival.projection {
        let (small, epochs) = (m.min(n), STEPS.div_ceil(interval));
        let rank = if rank == 0 { m.max(n) } else { rank };
        let of =
            |epoch: usize| (0..small * rank).map(move |at| normal(at as u32, stream(NAME), epoch as u32, SEED) as f32);
        tensors.push(tensor("normals", &[epochs, small, rank], (0..epochs).flat_map(of).collect()));
    }
    write_tensors(&given, &tensors).unwrap();
    std::fs::write(&settings, rival.theirs.to_string()).unwrap();
    let done = oracle("updates.py").args([&given, &after, &settings]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let [after] = &read_tensors(&after).unwrap()[..] else { panic!("one tensor") };
    assert_eq!(after.shape, [STEPS, m, n]);
    widen(&after.values[(STEPS - 1) * m * n..])
}

fn ours(form: Form, rival: &Rival, shape: [usize; 2], weight: &[f32]) -> Vec<f32> {
    let config = optimizer(rival.ours);
    let mut case = Case::new(form);
    let [w, g] = [case.input(&shape, weight), case.output(&shape)];
    let (statistics, step) = (case.input(&[4], &[0.0f32, 1.0, 0.0, 0.0]), case.input(&[4], &[0u32; 4]));
    let update = Update { name: NAME, role: Role::Linear, weight: &w, gradient: &g, lookahead: None };
    let shared = StepTensors { statistics: &statistics, step: &step };
    multinorm::optim::record(&mut case.rec, &config, &update, shared).unwrap();
    let done = case.allocate();
    for (number, gradient) in (1..).zip(gradients(shape)) {
        done.write(&g, &gradient);
        done.write(&step, &[1.0f32.to_bits(), number, SEED, 0]);
        done.run();
    }
    done.read(&w)
}

fn check(rival: &Rival) {
    let Recipe { rule, .. } = optimizer(rival.ours).linear;
    for shape in SHAPES {
        let weight = random(shape[0] * shape[1], 3);
        let want = theirs(rival, shape, &weight);
        for form in FORMS {
            let got = ours(form, rival, shape, &weight);
            assert_close(format!("{form:?} {} {shape:?}", rule.describe()), &got, &want, TOLERANCE);
        }
    }
}

#[test]
fn adafactor_is_that_of_transformers() {
    check(&Rival {
        ours: "name = 'adafactor'",
        theirs: json!({
            "optimizer": "adafactor", "lr": null, "relative_step": true, "scale_parameter": true, "warmup_init": false
        }),
        projection: None,
    });
    check(&Rival {
        ours: "name = 'adafactor'\nlr = 0.3\nrelative_step = false\nscale_parameter = false\nclip_threshold = 0.5\n\
               decay_rate = 0.6",
        theirs: json!({
            "optimizer": "adafactor", "lr": 0.3, "relative_step": false, "scale_parameter": false,
            "clip_threshold": 0.5, "decay_rate": -0.6
        }),
        projection: None,
    });
}

#[test]
fn adam_nonzero_is_pytorch_s_adam_whose_state_was_filled() {
    check(&Rival {
        ours: "name = 'adam-nonzero'\nlr = 0.1\nstart_batches = 3\nstart_scale = 2",
        theirs: json!({ "optimizer": "adam-nonzero", "lr": 0.1, "batches": 3, "scale": 2.0 }),
        projection: None,
    });
    check(&Rival {
        ours: "name = 'adam-nonzero'\nlr = 0.1\nstart = 'random'\nbetas = [0.5, 0.9]",
        theirs: json!({ "optimizer": "adam-nonzero", "lr": 0.1, "batches": 0, "scale": 1.0, "betas": [0.5, 0.9] }),
        projection: Some([0, STEPS]),
    });
}

#[test]
fn adalomo_is_that_of_its_authors() {
    check(&Rival {
        ours: "name = 'adalomo'\nlr = 0.05",
        theirs: json!({ "optimizer": "adalomo", "lr": 0.05 }),
        projection: None,
    });
}

#[test]
fn apollo_is_that_of_its_authors() {
    check(&Rival {
        ours: "name = 'apollo'\nlr = 0.1\nrank = 3\nupdate_interval = 4\nscale = 4\neps = 0.01",
        theirs: json!({
            "optimizer": "apollo", "lr": 0.1, "rank": 3, "update_proj_gap": 4, "scale": 4.0, "eps": 0.01,
            "scale_type": "channel"
        }),
        projection: Some([3, 4]),
    });
    check(&Rival {
        ours: "name = 'apollo-mini'\nlr = 0.1",
        theirs: json!({
            "optimizer": "apollo", "lr": 0.1, "rank": 1, "update_proj_gap": 200, "scale": 128.0, "scale_type": "tensor"
        }),
        projection: Some([1, 200]),
    });
}

#[test]
fn galore_is_that_of_its_authors() {
    check(&Rival {
        ours: "name = 'galore'\nlr = 0.1\nrank = 4\nupdate_interval = 4\nscale = 0.5\neps = 0.01",
        theirs: json!({ "optimizer": "galore", "lr": 0.1, "rank": 4, "update_proj_gap": 4, "scale": 0.5, "eps": 0.01 }),
        projection: None,
    });
}

#[test]
fn fira_is_that_of_its_authors() {
    check(&Rival {
        ours: "name = 'fira'\nlr = 0.1\nrank = 4\nupdate_interval = 4\nscale = 0.5\neps = 0.01",
        theirs: json!({ "optimizer": "fira", "lr": 0.1, "rank": 4, "update_proj_gap": 4, "alpha": 0.5, "eps": 0.01 }),
        projection: None,
    });
}

use multinorm::config::TensorTrain;
use multinorm::kernels::adapter::{adapter_residual, bias_relu, tensor_train};
use multinorm::reference::adapter::{Adapter, Core, Layer};

use crate::support::{Case, FORMS, Form, assert_close, random, widen};

/// For ten small products in sequence; the worst seen is 6e-7.
const TOLERANCE: f64 = 5e-6;

/// A tensor train of random cores with a bias, and the values of both.
fn layer(train: &TensorTrain, seed: u64) -> (Layer, Vec<Vec<f32>>) {
    let numbers = |at: usize, len: usize| random(len, seed + at as u64);
    let mut values: Vec<Vec<f32>> =
        train.cores().iter().enumerate().map(|(at, core)| numbers(at, core.iter().product())).collect();
    let cores = train.cores().into_iter().zip(&values).map(|(shape, values)| Core { shape, values: widen(values) });
    let cores = cores.collect();
    let bias = numbers(9, train.outputs());
    values.push(bias.clone());
    (Layer { cores, bias: widen(&bias) }, values)
}

fn check(form: Form, rows: usize, [hidden, narrow]: [usize; 2], rank: usize) {
    const SCALE: f64 = 0.5;
    let trains = [TensorTrain::new(hidden, narrow, rank), TensorTrain::new(narrow, hidden, rank)];
    let [(down, down_values), (up, up_values)] = [layer(&trains[0], 20), layer(&trains[1], 40)];
    let mut case = Case::new(form);
    let (x, x_values) = case.random(&[rows, hidden], 3);
    let mut tensors = |train: &TensorTrain, values: &[Vec<f32>]| {
        let cores: Vec<_> = train.cores().iter().zip(values).map(|(shape, values)| case.input(shape, values)).collect();
        (cores, case.input(&[train.outputs()], values.last().unwrap()))
    };
    let (down_cores, down_bias) = tensors(&trains[0], &down_values);
    let (up_cores, up_bias) = tensors(&trains[1], &up_values);
    let y = case.output(&[rows, hidden]);
    let inner = tensor_train(&mut case.rec, &x, &down_cores.iter().collect::<Vec<_>>());
    bias_relu(&mut case.rec, &inner, &down_bias);
    let wide = tensor_train(&mut case.rec, &inner, &up_cores.iter().collect::<Vec<_>>());
    adapter_residual(&mut case.rec, [&x, &wide], &up_bias, &y, SCALE);
    let done = case.run();
    let want = Adapter { down, up, scale: SCALE }.forward(&x_values);
    assert_close(format!("{form:?} [{rows}, {hidden}] through {narrow}"), &done.read(&y), &want, TOLERANCE);
}

#[test]
fn adapters_agree_with_the_reference() {
    for form in FORMS {
        check(form, 1, [1, 1], 1);
        check(form, 7, [13, 5], 3);
        check(form, 65, [24, 64], 5);
        check(form, 5, [64, 12], 7);
        check(form, 67, [30, 8], 1);
    }
}

#[test]
fn a_bias_and_a_relu_in_place() {
    for form in FORMS {
        for [rows, cols] in [[1, 1], [7, 13], [65, 67]] {
            let mut case = Case::new(form);
            let (x, x_values) = case.random(&[rows, cols], 1);
            let (bias, bias_values) = case.random(&[cols], 2);
            bias_relu(&mut case.rec, &x, &bias);
            let done = case.run();
            let want: Vec<f64> =
                x_values.iter().enumerate().map(|(at, x)| (x + bias_values[at % cols]).max(0.0)).collect();
            assert_close(format!("{form:?} [{rows}, {cols}]"), &done.read(&x), &want, 1e-6);
        }
    }
}

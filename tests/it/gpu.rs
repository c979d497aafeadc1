//! The guarantees of the `gpu` layer: memory as planned, named limits, grids, views, bit-identical replays.

use multinorm::Error;
use multinorm::gpu::{
    AdapterChoice, Class, DType, Gpu, GpuOptions, MAX_GROUPS, ReadbackRing, Recorder, Schedule, Tensor, Throttle, grid,
};
use multinorm::kernels::{self, Output, fill::fill, matmul, rms_norm};
use multinorm::reference;
use pollster::block_on;

use crate::support::{Case, FORMS, Form, assert_close, gpu, random, web_profile};

/// A recorder without a device.
fn recorder() -> Recorder {
    let mut rec = Recorder::new(&web_profile(Form::Software));
    rec.begin("case");
    rec
}

#[test]
fn a_grid_holds_all_groups_within_the_limit() {
    for groups in [1, 2, 65_534, 65_535, 65_536, 131_071, 1_000_003, 65_535 * 65_535] {
        let [x, y, z] = grid(groups);
        assert!(x <= MAX_GROUPS && y <= MAX_GROUPS && z == 1, "{groups} groups as {x}x{y}x{z}");
        let room = x as usize * y as usize;
        assert!(room >= groups && room < groups + y as usize, "{groups} groups in {room}");
    }
}

#[test]
fn views_of_rows_are_read_and_written_in_place() {
    // 64 columns: every row starts at a multiple of 256 bytes, as WebGPU requires.
    let [rows, cols] = [9, 64];
    for form in FORMS {
        let mut case = Case::new(form);
        let (x, x_values) = case.random(&[rows, cols], 1);
        let (weight, weight_values) = case.random(&[cols], 2);
        let (y, before) = case.random(&[rows, cols], 3);
        rms_norm::rms_norm(&mut case.rec, &x.rows(3..5), &weight, &y.rows(6..8), 0.1);
        let view = x.rows(2..8).rows(1..3);
        assert_eq!((view.shape.as_slice(), &view), (&[2, cols][..], &x.rows(3..5)), "a view of a view");
        let done = case.run();
        let mut want = before;
        let normalized = reference::rms_norm::forward(&x_values[3 * cols..5 * cols], &weight_values, 2, cols, 0.1);
        want[6 * cols..8 * cols].copy_from_slice(&normalized);
        assert_close(format!("{form:?} y"), &done.read(&y), &want, 2e-6);
        assert_close(format!("{form:?} view of y"), &done.read(&y.rows(6..8)), &normalized, 2e-6);
    }
}

#[test]
fn a_view_off_the_alignment_is_an_error_that_names_the_kernel() {
    let gpu = gpu(Form::Software);
    let mut rec = Recorder::new(&gpu.profile);
    rec.begin("case");
    let y = rec.persistent(Class::Scratch, DType::F32, "y", &[3, 5]);
    fill(&mut rec, &y.rows(1..2), 1.0);
    let error = block_on(rec.allocate(gpu)).err().expect("an offset of 20 bytes is refused").to_string();
    assert!(error.contains("kernel fill"), "{error}");
}

/// Records a chain of products and norms whose intermediate results share memory, and returns the last result.
fn chain(rec: &mut Recorder, x: &Tensor, weight: &Tensor) -> Tensor {
    let y = rec.persistent(Class::Activations, DType::F32, "chain result", &[33, 20]);
    let norm_weight = rec.persistent(Class::Parameters, DType::F32, "chain norm", &[20]);
    fill(rec, &norm_weight, 1.5);
    let mut hidden = x.clone();
    for layer in 0..4 {
        let normed = rec.transient(Class::Activations, DType::F32, format!("normed {layer}"), &[33, 20]);
        rms_norm::rms_norm(rec, &hidden, &norm_weight, &normed, 1e-5);
        let next = rec.transient(Class::Activations, DType::F32, format!("hidden {layer}"), &[33, 20]);
        matmul::nt(rec, &normed, weight, &next, Output::Write);
        hidden = next;
    }
    rms_norm::rms_norm(rec, &hidden, &norm_weight, &y, 1e-5);
    y
}

#[test]
fn a_replay_repeats_every_bit() {
    for form in FORMS {
        let mut runs: Vec<Vec<u32>> = Vec::new();
        for budget_secs in [f64::INFINITY, 0.0] {
            let (gpu, mut throttle) = (gpu(form), Throttle::new(budget_secs));
            let mut rec = Recorder::new(&gpu.profile);
            rec.begin("case");
            let x = rec.persistent(Class::Activations, DType::F32, "x", &[33, 20]);
            let weight = rec.persistent(Class::Parameters, DType::F32, "weight", &[20, 20]);
            let y = chain(&mut rec, &x, &weight);
            let workspace = block_on(rec.allocate(gpu)).unwrap();
            workspace.write(gpu, &x, &random(33 * 20, 1));
            workspace.write(gpu, &weight, &random(20 * 20, 2));
            for _ in 0..2 {
                workspace.write(gpu, &y, &[f32::NAN; 33 * 20]);
                if budget_secs.is_infinite() {
                    workspace.run(gpu, &["case"]);
                } else {
                    // No budget: every dispatch is submitted separately.
                    block_on(throttle.run(gpu, &workspace, &["case"], Schedule::All)).unwrap();
                }
                let values: Vec<f32> = block_on(workspace.read(gpu, &y)).unwrap();
                runs.push(values.into_iter().map(f32::to_bits).collect());
            }
        }
        assert!(runs[0].iter().all(|&bits| f32::from_bits(bits).is_finite()), "{form:?}: the chain runs");
        assert!(runs.iter().all(|run| *run == runs[0]), "{form:?}: twice, in one submission and in many");
    }
}

#[test]
fn memory_is_the_sum_of_what_is_allocated() {
    let gpu = gpu(Form::Software);
    let mut rec = Recorder::new(&gpu.profile);
    rec.begin("case");
    let x = rec.persistent(Class::Activations, DType::F32, "x", &[33, 20]);
    let weight = rec.persistent(Class::Parameters, DType::F32, "weight", &[20, 20]);
    chain(&mut rec, &x, &weight);
    rec.reserve_staging(96);
    let planned = rec.memory();
    assert_eq!(planned.bytes(Class::Parameters), 4 * (20 * 20 + 20));
    // x, the result, and memory for two of the eight transients: each lives until the next is written.
    assert_eq!(planned.bytes(Class::Activations), 4 * 33 * 20 * 4);
    let params = 3 * 4; // M, N and K, the same for all four products
    let one = 4; // their factor
    assert_eq!(planned.bytes(Class::Scratch), 96 + params + one);
    assert_eq!(planned.total(), 4 * (20 * 20 + 20) + 4 * 33 * 20 * 4 + 96 + params + one);
    let workspace = block_on(rec.allocate(gpu)).unwrap();
    assert_eq!(workspace.memory, planned, "what was planned is what was allocated");
}

#[test]
fn a_tensor_beyond_a_binding_or_a_buffer_is_an_error_that_names_it() {
    let limits = |max_binding_bytes, max_buffer_bytes| {
        let mut rec = recorder();
        rec.profile.max_binding_bytes = max_binding_bytes;
        rec.profile.max_buffer_bytes = max_buffer_bytes;
        let logits = rec.persistent(Class::Activations, DType::F32, "logits of a chunk", &[16, 1000]);
        fill(&mut rec, &logits, 0.0);
        rec.check_limits().map_err(|error| error.to_string())
    };
    assert_eq!(limits(64_000, 64_000), Ok(()));
    let error = limits(63_999, 64_000).unwrap_err();
    for part in ["logits of a chunk", "[16, 1000]", "64000", "63999"] {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
    let error = limits(64_000, 63_999).unwrap_err();
    for part in ["logits of a chunk", "64000", "63999"] {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
}

#[test]
fn the_read_back_ring_returns_copies_in_order() {
    let gpu = gpu(Form::Software);
    let mut rec = Recorder::new(&gpu.profile);
    rec.begin("one");
    let y = rec.persistent(Class::Scratch, DType::F32, "y", &[3]);
    fill(&mut rec, &y, 1.0);
    rec.begin("two");
    fill(&mut rec, &y, 2.0);
    let workspace = block_on(rec.allocate(gpu)).unwrap();
    let mut ring = block_on(ReadbackRing::new(gpu, &y, 2)).unwrap();
    assert_eq!(block_on(ring.take(gpu)).unwrap(), None);
    for (tag, plan) in [(7, "one"), (8, "two")] {
        workspace.run(gpu, &[plan]);
        ring.send(gpu, &workspace, tag);
    }
    assert!(!ring.has_room() && ring.pending() == 2);
    assert_eq!(block_on(ring.take(gpu)).unwrap(), Some((7, vec![1.0; 3])));
    gpu.wait().unwrap();
    assert_eq!(ring.try_take(gpu).unwrap(), Some((8, vec![2.0; 3])));
    assert!(ring.has_room() && ring.pending() == 0);
}

#[test]
#[should_panic(expected = "fill: grid [0, 1, 1]")]
fn a_dispatch_without_workgroups_panics() {
    let mut rec = recorder();
    let y = rec.persistent(Class::Scratch, DType::F32, "y", &[1]);
    rec.dispatch(fill_kernel(), &[&y], &[], [0, 1, 1]);
}

#[test]
fn a_dispatch_beyond_the_limit_is_refused() {
    for (groups, is_refused) in [(65_535, false), (65_536, true)] {
        let mut rec = recorder();
        let y = rec.persistent(Class::Scratch, DType::F32, "y", &[1]);
        rec.dispatch(fill_kernel(), &[&y], &[], [1, groups, 1]);
        assert_eq!(rec.check_limits().is_err(), is_refused);
        if let Err(error) = rec.check_limits() {
            let message = error.to_string();
            assert!(message.starts_with("fill needs 65536 workgroups in one dimension"), "{message}");
            assert!(block_on(rec.allocate(gpu(Form::Software))).is_err(), "it would pass for work done");
        }
    }
}

/// Records a kernel that has the parameters `len` and `parts`, with these constants.
fn record_sum_of_parts(constants: &[(&'static str, f64)]) {
    let kernel = kernels::all().find(|kernel| kernel.name == "sum_parts").expect("a kernel with parameters");
    let mut rec = recorder();
    let [parts, y] = [[2, 8], [1, 8]].map(|shape| rec.persistent(Class::Scratch, DType::F32, "x", &shape));
    let one = rec.one();
    rec.dispatch(kernel, &[&parts, &y, &one], constants, [1, 1, 1]);
}

#[test]
#[should_panic(expected = "sum_parts: no value of the parameter parts")]
fn a_parameter_that_is_not_given_panics() {
    record_sum_of_parts(&[("LEN", 2.0)]);
}

#[test]
#[should_panic(expected = "sum_parts: parts is a u32, and 1.5 is given")]
fn a_fraction_for_a_whole_parameter_panics() {
    record_sum_of_parts(&[("LEN", 2.0), ("PARTS", 1.5)]);
}

fn fill_kernel() -> &'static multinorm::gpu::Kernel {
    kernels::all().find(|kernel| kernel.name == "fill").expect("a kernel fill")
}

#[test]
#[should_panic(expected = "tensor nothing has shape [3, 0]")]
fn a_tensor_without_elements_panics() {
    recorder().persistent(Class::Scratch, DType::F32, "nothing", &[3, 0]);
}

#[test]
#[should_panic(expected = "transient tensor y is named by two plans")]
fn a_transient_tensor_in_two_plans_panics() {
    let mut rec = recorder();
    let y = rec.transient(Class::Scratch, DType::F32, "y", &[1]);
    fill(&mut rec, &y, 0.0);
    rec.begin("another");
    fill(&mut rec, &y, 0.0);
}

#[test]
#[should_panic(expected = "transient tensor y is not made in every step")]
fn a_transient_tensor_that_is_made_at_times_and_named_always_panics() {
    let mut rec = recorder();
    let y = rec.transient(Class::Scratch, DType::F32, "y", &[1]);
    rec.every_n_steps(2, |rec| fill(rec, &y, 0.0));
    fill(&mut rec, &y, 0.0);
    rec.memory();
}

#[test]
#[should_panic(expected = "fill_scalar: an interval within an interval")]
fn an_interval_within_an_interval_panics() {
    let mut rec = recorder();
    let y = rec.transient(Class::Scratch, DType::F32, "y", &[1]);
    rec.every_n_steps(2, |rec| rec.every_n_steps(3, |rec| fill(rec, &y, 0.0)));
}

#[test]
#[should_panic(expected = "fill_scalar: a repetition within a repetition")]
fn a_repetition_within_a_repetition_panics() {
    let mut rec = recorder();
    let y = rec.transient(Class::Scratch, DType::F32, "y", &[1]);
    rec.repeated(2, |rec| rec.repeated(3, |rec| fill(rec, &y, 0.0)));
}

#[test]
#[should_panic(expected = "fill_scalar: a gate within a repetition")]
fn a_gate_within_a_repetition_panics() {
    let mut rec = recorder();
    let [y, partial] = ["y", "partial"].map(|name| rec.persistent(Class::Scratch, DType::F32, name, &[1]));
    rec.repeated(2, |rec| kernels::scaled::while_changing(rec, &partial, 1, 0.0, |rec| fill(rec, &y, 0.0)));
}

#[test]
#[should_panic(expected = "rows 2..4 of a tensor [3, 5]")]
fn rows_beyond_a_tensor_panic() {
    recorder().persistent(Class::Scratch, DType::F32, "y", &[3, 5]).rows(2..4);
}

#[test]
fn what_stands_behind_a_closed_gate_is_left_out() {
    for (changes, want) in [([0.0f32, 0.0], 0.0f32), ([3.0, 1.0], 5.0), ([0.0, 0.4], 0.0)] {
        let gpu = gpu(Form::Software);
        let mut rec = Recorder::new(&gpu.profile);
        let [partial, y] = [2, 3].map(|len| rec.persistent(Class::Scratch, DType::F32, "numbers", &[len]));
        rec.begin("case");
        // The gate is open while the change √(sum / 10) is above 0.25.
        kernels::scaled::while_changing(&mut rec, &partial, 10, 0.25, |rec| {
            fill(rec, &y, 4.0);
            fill(rec, &y, 5.0);
        });
        let workspace = block_on(rec.allocate(gpu)).unwrap();
        workspace.write(gpu, &partial, &changes);
        workspace.run(gpu, &["case"]);
        assert_eq!(block_on(workspace.read::<f32>(gpu, &y)).unwrap(), [want; 3], "{changes:?}");
    }
}

#[test]
fn what_is_due_at_times_is_left_out_otherwise() {
    let gpu = gpu(Form::Software);
    let mut rec = Recorder::new(&gpu.profile);
    let [always, at_times] = [0, 1].map(|_| rec.persistent(Class::Scratch, DType::F32, "numbers", &[3]));
    rec.begin("case");
    rec.every_n_steps(3, |rec| {
        fill(rec, &at_times, 2.0);
        kernels::scaled::while_changing(rec, &always, 10, -1.0, |rec| fill(rec, &at_times, 4.0));
    });
    fill(&mut rec, &always, 5.0);
    assert_eq!((rec.n_dispatches("case"), rec.ordinary_dispatches("case").len()), (4, 1));
    let workspace = block_on(rec.allocate(gpu)).unwrap();
    let mut throttle = Throttle::new(0.0);
    for (due, want) in [
        (Schedule::All, 4.0),
        (Schedule::None, 0.0),
        (Schedule::Step(0), 4.0),
        (Schedule::Step(1), 0.0),
        (Schedule::Step(2), 0.0),
        (Schedule::Step(3), 4.0),
    ] {
        for paced in [false, true] {
            [&always, &at_times].into_iter().for_each(|y| workspace.write(gpu, y, &[0.0f32; 3]));
            match paced {
                true => block_on(throttle.run(gpu, &workspace, &["case"], due)).unwrap(),
                false => workspace.run_scheduled(gpu, &["case"], due),
            }
            let read = |y: &Tensor| block_on(workspace.read::<f32>(gpu, y)).unwrap();
            assert_eq!((read(&always), read(&at_times)), (vec![5.0; 3], vec![want; 3]), "{due:?}, paced: {paced}");
        }
    }
}

#[test]
fn a_repetition_begins_with_what_the_last_one_left() {
    let gpu = gpu(Form::Software);
    let mut rec = Recorder::new(&gpu.profile);
    let [one, y, other] = [0; 3].map(|_| rec.persistent(Class::Scratch, DType::F32, "numbers", &[3]));
    rec.begin("case");
    fill(&mut rec, &one, 1.0);
    // Last used within the repetitions, and carried over from one to the next.
    let [carried, passing] = [0; 2].map(|_| rec.transient(Class::Activations, DType::F32, "numbers", &[3]));
    fill(&mut rec, &carried, 0.0);
    rec.repeated(2000, |rec| {
        kernels::subspace::subtract(rec, &one, &carried, -1.0);
        kernels::subspace::subtract(rec, &carried, &y, 0.0);
        fill(rec, &passing, 9.0);
        kernels::subspace::subtract(rec, &passing, &other, 0.0);
    });
    assert_eq!(rec.n_dispatches("case"), 8002, "more than one submission");
    let workspace = block_on(rec.allocate(gpu)).unwrap();
    let mut throttle = Throttle::new(0.0);
    for paced in [false, true] {
        match paced {
            true => block_on(throttle.run(gpu, &workspace, &["case"], Schedule::All)).unwrap(),
            false => workspace.run(gpu, &["case"]),
        }
        assert_eq!(block_on(workspace.read::<f32>(gpu, &y)).unwrap(), [2000.0; 3], "paced: {paced}");
    }
}

#[test]
fn a_lost_device_is_an_error() {
    let gpu = block_on(Gpu::open(&GpuOptions { choice: AdapterChoice::from_env(), ..Default::default() })).unwrap();
    let mut rec = Recorder::new(&gpu.profile);
    let y = rec.persistent(Class::Scratch, DType::F32, "y", &[3]);
    rec.begin("case");
    fill(&mut rec, &y, 1.0);
    let workspace = block_on(rec.allocate(&gpu)).unwrap();
    gpu.destroy();
    workspace.run(&gpu, &["case"]);
    let error = block_on(workspace.read::<f32>(&gpu, &y)).unwrap_err();
    assert!(matches!(&error, Error::DeviceLost { adapter, .. } if *adapter == gpu.adapter_name), "{error:?}");
    assert!(error.to_string().starts_with(&format!("{}: the device was lost: ", gpu.adapter_name)), "{error}");
}

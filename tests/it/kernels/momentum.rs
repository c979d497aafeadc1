use multinorm::kernels::momentum::{Average, average};
use multinorm::reference;

use super::sgd::{clipped, halted, statistics};
use crate::support::{Case, FORMS, assert_close, random};

/// The worst seen is 2e-7.
const TOLERANCE: f64 = 2e-6;

#[test]
fn averages_and_looks_ahead() {
    for form in FORMS {
        for (shape, nesterov) in [([1, 1], false), ([7, 13], false), ([65, 67], true)] {
            let hyper = Average { beta: 0.75, nesterov };
            let len = shape[0] * shape[1];
            let mut case = Case::new(form);
            let (buffer, mut want) = case.random(&shape, 1);
            let [gradient, lookahead] = [(); 2].map(|()| case.output(&shape));
            let statistics = statistics(&mut case);
            average(&mut case.rec, &gradient, &buffer, &lookahead, &statistics, hyper);
            let done = case.allocate();
            for number in 1..=3 {
                let values = random(len, 10 + number);
                done.write(&gradient, &values);
                done.run();
                let goes_on = reference::momentum::average(&mut want, &clipped(&values), hyper.beta, nesterov);
                let what = format!("{form:?} {shape:?} {nesterov} at {number}");
                assert_close(format!("{what}: ahead"), &done.read(&lookahead), &goes_on, TOLERANCE);
                assert_close(format!("{what}: buffer"), &done.read(&buffer), &want, TOLERANCE);
            }
        }
    }
}

#[test]
fn a_halted_run_leaves_the_buffer_alone() {
    for form in FORMS {
        let mut case = Case::new(form);
        let (buffer, before) = case.random(&[7, 13], 1);
        let (gradient, _) = case.random(&[7, 13], 2);
        let lookahead = case.output(&[7, 13]);
        let halted = halted(&mut case);
        average(&mut case.rec, &gradient, &buffer, &lookahead, &halted, Average { beta: 0.5, nesterov: true });
        assert_close(format!("{form:?} buffer"), &case.run().read(&buffer), &before, 0.0);
    }
}

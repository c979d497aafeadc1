use multinorm::kernels::random::gaussian;
use multinorm::reference::random::normal;

use super::sgd::step;
use crate::support::{Case, FORMS, assert_close};

#[test]
fn the_numbers_are_the_references_and_change_every_interval() {
    let (stream, seed) = (0xdead_beef, 77);
    for form in FORMS {
        let mut case = Case::new(form);
        let (out, numbers) = (case.output(&[5001]), step(&mut case));
        gaussian(&mut case.rec, &out, &numbers, 0.5, stream, 3);
        let done = case.allocate();
        for number in [1u32, 3, 4, 300] {
            done.write(&numbers, &[1.0f32.to_bits(), number, seed, 0]);
            done.run();
            let want: Vec<f64> = (0..5001).map(|at| 0.5 * normal(at, stream, (number - 1) / 3, seed)).collect();
            assert_close(format!("{form:?} {number}"), &done.read(&out), &want, 1e-5);
        }
    }
}

use multinorm::kernels::bench;

use crate::support::{Case, FORMS, assert_close};

#[test]
fn a_copy_is_the_same_everywhere() {
    for form in FORMS {
        for len in [4, 1020, 1024, 65_535 * 1024 / 64 + 12] {
            let mut case = Case::new(form);
            let (x, want) = case.random(&[len], 1);
            let y = case.output(&[len]);
            bench::copy(&mut case.rec, &x, &y);
            assert_close(format!("{form:?} copy of {len}"), &case.run().read(&y), &want, 0.0);
        }
    }
}

#[test]
fn every_lane_makes_all_its_multiply_adds() {
    let [a, b]: [[f32; 4]; 2] = [[0.5, -0.75, 0.9375, 1.0], [1.0, 2.0, -3.0, 0.25]];
    for form in FORMS {
        for (len, rounds) in [(1, 1), (256, 2), (300, 7)] {
            let mut case = Case::new(form);
            let x = case.input(&[2, 4], &[a, b].concat());
            let y = case.output(&[len, 4]);
            bench::fma(&mut case.rec, &x, &y, rounds);
            let of = |at: usize| {
                let [a, b] = [a, b].map(|vec4| f64::from(vec4[at % 4]));
                let begin = (at / 4 % 8) as f64;
                let sum = |s: f64| (0..4 * rounds).fold(s, |s, _| s * a + b);
                (0..8).map(|number| sum(b * (begin + f64::from(number)))).sum()
            };
            let want: Vec<f64> = (0..4 * len).map(of).collect();
            assert_close(format!("{form:?} {len} of {rounds} rounds"), &case.run().read(&y), &want, 1e-6);
        }
    }
}

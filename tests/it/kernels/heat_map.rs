use multinorm::kernels::heat_map::heat_map;
use multinorm::reference;

use crate::support::{Case, FORMS, random, widen};

/// What a pixel says: its alpha, with the sign of its colour.
fn share(pixel: u32) -> f64 {
    let [red, _, blue, alpha] = pixel.to_le_bytes();
    let sign = if blue >= red { 1.0 } else { -1.0 };
    sign * f64::from(alpha) / 255.0
}

#[test]
fn every_pixel_shows_the_extreme_under_it() {
    for form in FORMS {
        for shape @ [m, n] in [[1, 1], [2, 3], [37, 61], [300, 130]] {
            for (scale, height) in [(1.0, 48), (1e-12, 7)] {
                let mut case = Case::new(form);
                let values: Vec<f32> = random(m * n, 3).iter().map(|x| x * scale).collect();
                let x = case.input(&shape, &values);
                let pixels = case.input(&[height, 64], &vec![u32::MAX; height * 64]);
                heat_map(&mut case.rec, &x, &pixels, 2.5);
                let got: Vec<f64> = case.run().read_as(&pixels).into_iter().map(share).collect();
                let want = reference::heat_map::shares(&widen(&values), shape, [height, 64], 2.5);
                for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                    // A pixel has 255 steps.
                    assert!((got - want).abs() < 0.6 / 255.0, "{form:?} {shape:?} pixel {at}: {got}, not {want}");
                }
            }
        }
        let mut case = Case::new(form);
        let zeros = case.input(&[3, 4], &[0.0f32; 12]);
        let pixels = case.input(&[4, 64], &[u32::MAX; 4 * 64]);
        heat_map(&mut case.rec, &zeros, &pixels, 2.5);
        assert!(case.run().read_as::<u32>(&pixels).iter().all(|&pixel| pixel == 0), "a zero matrix is transparent");
    }
}

use multinorm::kernels::fill;

use crate::support::{Case, FORMS};

#[test]
fn every_element_has_the_value() {
    for form in FORMS {
        // The last one needs more than 65 535 workgroups, hence a second row of the grid.
        for len in [1, 63, 64, 1023, 1024, 1028, 65_535 * 256 + 101] {
            let mut case = Case::new(form);
            let y = case.output(&[len]);
            fill::fill(&mut case.rec, &y, -1.25);
            let values = case.run().read(&y);
            assert_eq!(values.iter().position(|&value| value != -1.25), None, "{form:?} fill of {len}");
        }
    }
}

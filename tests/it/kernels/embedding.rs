use multinorm::kernels::embedding::{self, TokenBatch};
use multinorm::kernels::{Output, Target};
use multinorm::reference;

use crate::support::{Case, FORMS, assert_close, sum};

const VOCAB: usize = 11;
/// For a sequential sum of 70 rows; the worst seen is 1.7e-6.
const TOLERANCE: f64 = 6e-6;

/// Lists of ids: a single one, all equal, all different, and with scattered repetitions.
fn batches() -> Vec<Vec<u32>> {
    vec![vec![10], vec![4; 70], (0..11).rev().collect(), (0..131).map(|place| place * place % 10).collect()]
}

#[test]
fn look_up_is_exact() {
    for form in FORMS {
        for (ids, cols) in batches().into_iter().flat_map(|ids| [1, 5, 64, 130, 260].map(|cols| (ids.clone(), cols))) {
            let mut case = Case::new(form);
            let (table, values) = case.random(&[VOCAB, cols], 1);
            let (y, tokens) = (case.output(&[ids.len(), cols]), case.input(&[ids.len()], &ids));
            embedding::embedding(&mut case.rec, &tokens, &table, None, &y);
            let want = reference::embedding::forward(&ids, &values, cols);
            assert_close(format!("{form:?} {} ids of {cols}", ids.len()), &case.run().read(&y), &want, 0.0);
        }
    }
}

#[test]
fn gradients_add_up_over_repeated_ids() {
    for form in FORMS {
        for (ids, cols) in batches().into_iter().flat_map(|ids| [1, 5, 64, 130, 260].map(|cols| (ids.clone(), cols))) {
            let mut case = Case::new(form);
            let (dy, dy_values) = case.random(&[ids.len(), cols], 1);
            // Rows of ids that do not occur must not change.
            let (dtable, before) = case.random(&[VOCAB, cols], 2);
            let tokens = TokenBatch::new(&mut case.rec, ids.len());
            let factor = case.input(&[1], &[0.5f32]);
            let target = Target { factor: Some(&factor), ..Target::new(&dtable, Output::Accumulate) };
            embedding::embedding_backward(&mut case.rec, &tokens, &dy, None, target);
            let done = case.allocate();
            let (order, starts) = TokenBatch::sorted(&ids);
            done.write(&tokens.ids, &ids);
            done.write(&tokens.order, &order);
            done.write(&tokens.starts, &starts);
            done.run();
            let found = reference::embedding::backward(&ids, &dy_values, VOCAB, cols);
            let want = sum(&before, &found.iter().map(|x| 0.5 * x).collect::<Vec<_>>());
            assert_close(format!("{form:?} {} ids of {cols}", ids.len()), &done.read(&dtable), &want, TOLERANCE);
        }
    }
}

#[test]
fn a_table_in_parts_is_read_and_written_as_the_whole() {
    let ids: Vec<u32> = (0..131).map(|place| place * place % 10).collect();
    for (form, cols) in FORMS.into_iter().flat_map(|form| [5, 64].map(|cols| (form, cols))) {
        let mut case = Case::new(form);
        let (dy, dy_values) = case.random(&[ids.len(), cols], 1);
        let y = case.output(&[ids.len(), cols]);
        let tokens = TokenBatch::new(&mut case.rec, ids.len());
        let (mut dtables, mut values, mut before) = (Vec::new(), Vec::new(), Vec::new());
        // No id falls into the last part.
        for (part, rows) in [0..4, 4..10, 10..VOCAB].into_iter().enumerate() {
            let (table, of_table) = case.random(&[rows.len(), cols], 2 + part as u64);
            let (dtable, of_dtable) = case.random(&[rows.len(), cols], 7 + part as u64);
            embedding::embedding(&mut case.rec, &tokens.ids, &table, Some(&rows), &y);
            let target = Target::new(&dtable, Output::Accumulate);
            embedding::embedding_backward(&mut case.rec, &tokens, &dy, Some(&rows), target);
            values.extend(of_table);
            before.extend(of_dtable);
            dtables.push(dtable);
        }
        let done = case.allocate();
        let (order, starts) = TokenBatch::sorted(&ids);
        done.write(&tokens.ids, &ids);
        done.write(&tokens.order, &order);
        done.write(&tokens.starts, &starts);
        done.run();
        assert_close(
            format!("{form:?} y of {cols}"),
            &done.read(&y),
            &reference::embedding::forward(&ids, &values, cols),
            0.0,
        );
        let want = sum(&before, &reference::embedding::backward(&ids, &dy_values, VOCAB, cols));
        let found: Vec<f32> = dtables.iter().flat_map(|part| done.read(part)).collect();
        assert_close(format!("{form:?} table of {cols}"), &found, &want, TOLERANCE);
    }
}

#[test]
fn sorted_places_are_runs_of_equal_ids_in_ascending_order() {
    let (order, starts) = TokenBatch::sorted(&[7, 2, 7, 2, 9, 7]);
    assert_eq!(order, [1, 3, 0, 2, 5, 4]);
    assert_eq!(starts, [0, 2, 5, 6, 6, 6, 6]);
}

//! Runs kernels for matrix units on an adapter without them: the same WGSL, with matrices replaced by numbers in each
//! lane.
//!
//! This catches wrong indices in staging, loading, splitting and storing. It cannot show how a card's units round, or
//! whether its driver accepts the kernel.

mod attention;
mod functions;
mod lowering;
mod own;
mod products;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use multinorm::gpu::{Kernel, Need, Profile};

use crate::shaders::{capabilities, validated_with};
use crate::support::{Case, Done, everything, full_gpu};

/// A case recorded as for a card with matrix units.
fn case() -> Case {
    let mut case = Case::on(full_gpu());
    assert!(case.rec.profile.f16, "the emulation of matrix units wants an adapter with half precision");
    case.rec.profile = everything();
    case
}

/// Runs the case with emulated units.
fn run(mut case: Case) -> Done {
    case.rec.profile = Profile { splits_f32: false, ..full_gpu().profile.clone() };
    case.rec.replace_kernels(emulated);
    case.run()
}

/// The emulation of a kernel for matrix units; any other kernel unchanged.
fn emulated(kernel: &'static Kernel) -> &'static Kernel {
    static EMULATED: LazyLock<Mutex<HashMap<&'static Kernel, &'static Kernel>>> = LazyLock::new(Mutex::default);
    if !kernel.needs.contains(&Need::MatrixUnits) {
        return kernel;
    }
    let mut emulated = EMULATED.lock().unwrap_or_else(PoisonError::into_inner);
    emulated.entry(kernel).or_insert_with(|| emulation(kernel))
}

fn emulation(kernel: &'static Kernel) -> &'static Kernel {
    let text = text(kernel);
    validated_with(kernel.name, text, capabilities(kernel));
    // The emulation leaves the same types open.
    let alias = |line: &&str| !kernel.types.iter().any(|(open, _)| line.starts_with(&format!("alias {open} =")));
    let without_types: String = text.lines().filter(alias).flat_map(|line| [line, "\n"]).collect();
    let lowered = lowering::lowered(kernel.name, &without_types).leak();
    let name = format!("{}, emulated", kernel.name).leak();
    let mut emulation = Kernel::new(name, lowered);
    (emulation.file, emulation.types) = (kernel.file, kernel.types);
    // The emulation needs no subgroups: lowering rejects all other uses of them.
    let keeps = |need: &Need| !matches!(need, Need::MatrixUnits | Need::Subgroups(_) | Need::AnySubgroups);
    emulation.needs = kernel.needs.iter().copied().filter(keeps).collect::<Vec<_>>().leak();
    validated_with(name, &emulation.source(), capabilities(&emulation));
    Box::leak(Box::new(emulation))
}

/// The full text of a kernel.
fn text(kernel: &Kernel) -> &'static str {
    kernel.source().leak()
}

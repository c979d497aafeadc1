//! The test that `cargo xtask mutants` runs on a build with seeded faults.
#![cfg(feature = "mutants")]

use std::collections::BTreeSet;

use multinorm::kernels;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Fails if a fault does not even compile, because such a fault says nothing about the other tests.
#[test]
fn every_shader_is_valid() {
    for kernel in kernels::all() {
        let source = kernel.source();
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}: {error}", kernel.name));
        let valid = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
        valid.unwrap_or_else(|error| panic!("{}: {error}", kernel.name));
    }
}

#[test]
fn modules_of_shaders() {
    let mut pairs = BTreeSet::new();
    for kernel in kernels::all() {
        let module = kernel.module.rsplit("::").next().unwrap();
        pairs.insert((kernel.file.to_owned(), module.to_owned()));
        pairs.extend(kernel.libraries.iter().map(|library| (format!("lib/{library}"), module.to_owned())));
    }
    for (stem, module) in pairs {
        println!("shader {stem} {module}");
    }
}

//! How things are printed.

use multinorm::Result;
use multinorm::gpu::{Class, Memory, bytes_in_words};
use serde::Serialize;

/// One JSON document on standard output.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("our own values can be written as JSON");
    println!("{text}");
    Ok(())
}

/// A table of activations and of all memory, one row for each kind of recomputation.
pub fn recompute_table(kinds: &[(&str, Memory)]) -> String {
    let mut table = format!("{:<18}{:>28}{:>28}", "recompute", "activations", "total");
    for (name, memory) in kinds {
        table += &format!("\n{name:<18}{}{}", cell(memory.bytes(Class::Activations)), cell(memory.total()));
    }
    table
}

/// A table of memory by class, one column for each of `columns`.
pub fn memory_table(columns: &[(&str, &Memory)]) -> String {
    let mut table = format!("{:<18}", "memory");
    for (name, _) in columns {
        table += &format!("{name:>28}");
    }
    for class in Class::ALL {
        table += &format!("\n{:<18}", class.name());
        for (_, memory) in columns {
            table += &cell(memory.bytes(class));
        }
    }
    table += &format!("\n{:<18}", "total");
    for (_, memory) in columns {
        table += &cell(memory.total());
    }
    table
}

fn cell(n: u64) -> String {
    format!("{n:>15} {:>12}", bytes_in_words(n))
}

//! How things are printed.

use multinorm::Result;
use multinorm::gpu::{Class, Memory};
use serde::Serialize;

/// One JSON document on standard output.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("our own values can be written as JSON");
    println!("{text}");
    Ok(())
}

/// `1.25 GiB`, `3.0 MiB`, `512 B`.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (n.max(1).ilog2() / 10).min(4);
    match unit {
        0 => format!("{n} B"),
        _ => format!("{:.2} {}", n as f64 / 1024f64.powi(unit as i32), units[unit as usize]),
    }
}

/// A table of memory by class, one column for each of `columns`.
pub fn memory_table(columns: &[(&str, &Memory)]) -> String {
    let mut table = format!("{:<18}", "memory");
    for (name, _) in columns {
        table += &format!("{name:>28}");
    }
    let cell = |n: u64| format!("{:>15} {:>12}", n, bytes(n));
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

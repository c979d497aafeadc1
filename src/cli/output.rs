//! Printing.

use std::collections::BTreeMap;
use std::fmt::Display;

use multinorm::Result;
use multinorm::config::{Precision, Recompute, RecomputePolicy};
use multinorm::gpu::{Class, Memory, bytes_in_words};
use serde::Serialize;

use super::console::out;

/// One JSON document on standard output.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("our own values can be written as JSON");
    out!("{text}");
    Ok(())
}

/// The kind of recomputation, and if it was chosen automatically, why.
pub fn recompute_in_words(policy: RecomputePolicy, kind: Recompute) -> String {
    match (policy, kind) {
        (RecomputePolicy::Always(_), kind) => kind.name().into(),
        (RecomputePolicy::Auto, Recompute::None) => "none (auto: more if the adapter runs out of memory)".into(),
        (RecomputePolicy::Auto, kind) => format!("{} (auto: with less the adapter ran out of memory)", kind.name()),
    }
}

/// A table of activations and total memory: one row per kind of recomputation, two columns per precision.
pub fn recompute_table(precisions: &[(Precision, Vec<(Recompute, Memory)>)]) -> String {
    let mut table = format!("{:<12}", "recompute");
    for (precision, _) in precisions {
        let name = precision.name();
        table += &format!("{:>22}{:>16}", format!("{name} activations"), format!("{name} total"));
    }
    for kind in Recompute::ALL {
        table += &format!("\n{:<12}", kind.name());
        for (_, kinds) in precisions {
            let memory = &kinds.iter().find(|(other, _)| *other == kind).expect("every kind").1;
            let [activations, total] = [memory.bytes(Class::Activations), memory.total()].map(bytes_in_words);
            table += &format!("{activations:>22}{total:>16}");
        }
    }
    table
}

/// A table of memory by class and element type.
pub fn type_table(classes: &BTreeMap<Class, BTreeMap<String, u64>>) -> String {
    let mut table = "this run by type".to_owned();
    for (class, types) in classes {
        for (number, (types, bytes)) in types.iter().enumerate() {
            let class = if number == 0 { class.name() } else { "" };
            table += &format!("\n{class:<18}{}  {types}", cell(*bytes));
        }
    }
    table
}

/// A table of memory by class, with one column for each of `columns`.
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

/// Quotes a word for pasting into a shell.
pub fn shell_quoted(word: impl Display) -> String {
    let word = word.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    let is_word = !word.is_empty() && word.chars().all(is_plain);
    if is_word { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_can_be_pasted() {
        assert_eq!(shell_quoted("runs/0001"), "runs/0001");
        assert_eq!(shell_quoted("my run's"), r"'my run'\''s'");
        assert_eq!(shell_quoted(""), "''");
    }
}

//! The named optimizers: catalog.toml, parsed like a user's CONFIG.toml.

use std::sync::LazyLock;

use toml::{Table, Value};

use super::Rule;
use crate::settings::{Origin, Pass, Section, did_you_mean};

static CATALOG: LazyLock<Table> =
    LazyLock::new(|| include_str!("catalog.toml").parse().expect("src/optim/catalog.toml is TOML"));

/// The tables under `[optimizer]`: `rest` is shorthand for the other three.
pub(super) const ROLES: [&str; 4] = ["rest", "embedding", "head", "norm"];

/// The defaults of a section before its own keys are read.
pub(super) struct Base {
    pub rule: Rule,
    pub lr: Option<f64>,
    /// Its name in messages.
    pub title: String,
}

/// Every name, in alphabetical order.
pub fn names() -> Vec<&'static str> {
    CATALOG.keys().map(String::as_str).collect()
}

/// The source of this name's defaults, in Markdown; `None` if the catalog does not have the name.
pub fn source(name: &str) -> Option<&'static str> {
    CATALOG.get(name)?.get("source")?.as_str()
}

/// The rule of this name and its learning rate; the error message suggests the nearest known name.
pub(super) fn base(name: &str) -> Result<Base, String> {
    let entry = entry(name)?;
    Ok(read(name, entry).unwrap_or_else(|error| panic!("src/optim/catalog.toml, {name}: {error}")))
}

fn read(name: &str, entry: &Table) -> crate::Result<Base> {
    let mut section = Section::new("catalog");
    for (key, value) in entry.iter().filter(|(key, _)| !ROLES.contains(&key.as_str())) {
        section.put(key.clone(), value.clone(), Origin::Defaults);
    }
    section.require::<String>("source")?; // for readers
    let mut rule = match section.get::<String>("rule")? {
        Some(method) => Rule::of_method(&method).ok_or_else(|| section.error("rule", "no such method"))?,
        None => {
            let words = section.require::<Vec<String>>("passes")?;
            Rule::bare(Pass::parse_list(&words).map_err(|message| section.error("passes", message))?)
        }
    };
    rule.method_mut().read_keys(&mut section)?;
    let lr = section.get("lr")?;
    section.finish("unknown key")?;
    Ok(Base { rule, lr, title: name.to_owned() })
}

/// What an entry specifies for a role.
pub(super) enum OfRole {
    /// The section itself, with the user's keys.
    Same,
    /// A separate table.
    Table(&'static Table),
}

/// What the entry of this name specifies for `embedding`, `head` or `norm`, or else for `rest`.
pub(super) fn role(name: &str, role: &str) -> Option<OfRole> {
    let entry = entry(name).ok()?;
    match entry.get(role).or_else(|| entry.get("rest"))? {
        Value::Table(table) => Some(OfRole::Table(table)),
        Value::String(same) if same == "same" => Some(OfRole::Same),
        other => panic!("src/optim/catalog.toml, {name}.{role}: {other}"),
    }
}

/// The defaults of an `[optimizer]` without a name.
pub(super) fn sinkgd() -> Base {
    base("sinkgd").expect("the catalog has sinkgd")
}

fn entry(name: &str) -> Result<&'static Table, String> {
    CATALOG.get(name).and_then(Value::as_table).ok_or_else(|| {
        let mut message = format!("no optimizer is called `{name}`; the optimizers are {}", names().join(", "));
        let nearest = did_you_mean(name, &names());
        if nearest.ends_with('?') {
            message = format!("{message}; {nearest}");
        }
        message
    })
}

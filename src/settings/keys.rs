//! Reads one section of CONFIG.toml: each value remembers where it was written, for error messages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use toml::{Table, Value};

use crate::{Error, Result};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// One of the two default runs.
    Defaults,
    /// The user's file, as named on the command line.
    File(String),
    /// A `--set` on the command line.
    Set,
}

impl Origin {
    /// `my.toml: [train] steps` or `--set train.steps`.
    pub(crate) fn place(&self, section: &str, key: &str) -> String {
        match self {
            Self::Defaults => format!("default run: [{section}] {key}"),
            Self::File(file) => format!("{file}: [{section}] {key}"),
            Self::Set => format!("--set {section}.{key}"),
        }
    }

    /// The values of a section, which may be a nested table: `optimizer.rest`.
    ///
    /// Errors: the value is not a table.
    pub(crate) fn table(&self, section: &str, value: Value) -> Result<Table> {
        match (value, section.rsplit_once('.')) {
            (Value::Table(values), _) => Ok(values),
            (other, at) => {
                let message = format!("expected a section [{section}], got {}", described(&other));
                let (outer, key) = at.unwrap_or(("", section));
                Err(Error::config(self.place(outer, key), message))
            }
        }
    }
}

/// The merged values of one section.
///
/// Reading a key makes it known; [`Section::finish`] rejects the keys that were never read, so that the list of known
/// keys is not repeated anywhere.
#[derive(Debug)]
pub(crate) struct Section {
    name: &'static str,
    entries: BTreeMap<String, (Value, Origin)>,
    known: Vec<&'static str>,
}

impl Section {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, entries: BTreeMap::new(), known: Vec::new() }
    }

    pub(crate) fn put(&mut self, key: String, value: Value, origin: Origin) {
        self.entries.insert(key, (value, origin));
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.entries.remove(key);
    }

    pub(crate) fn get<T: FromToml>(&mut self, key: &'static str) -> Result<Option<T>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let Some((value, origin)) = self.entries.get(key) else { return Ok(None) };
        let wrong_type = || {
            Error::config(origin.place(self.name, key), format!("expected {}, got {}", T::EXPECTED, described(value)))
        };
        T::from_toml(value).map(Some).ok_or_else(wrong_type)
    }

    pub(crate) fn require<T: FromToml>(&mut self, key: &'static str) -> Result<T> {
        self.get(key)?.ok_or_else(|| self.error(key, "missing"))
    }

    /// Overwrites `slot` if the section has the key.
    pub(crate) fn set<T: FromToml>(&mut self, key: &'static str, slot: &mut T) -> Result<()> {
        if let Some(value) = self.get(key)? {
            *slot = value;
        }
        Ok(())
    }

    /// The same for a word that names one of a few values.
    pub(crate) fn set_word<T: FromStr<Err = String>>(&mut self, key: &'static str, slot: &mut T) -> Result<()> {
        if let Some(word) = self.get::<String>(key)? {
            *slot = word.parse().map_err(|message: String| self.error(key, message))?;
        }
        Ok(())
    }

    /// The keys that were written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether both keys are in one file, or both on the command line.
    pub(crate) fn written_together(&self, key: &str, other: &str) -> bool {
        let origin = |key| self.entries.get(key).map(|(_, origin)| origin);
        self.has(key) && origin(key) == origin(other)
    }

    /// Whether the key's value is the default run's and not the user's.
    pub(crate) fn is_default(&self, key: &str) -> bool {
        matches!(self.entries.get(key), Some((_, Origin::Defaults)))
    }

    /// An error with the place where `key` was written.
    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> Error {
        let place = match self.entries.get(key) {
            Some((_, origin)) => origin.place(self.name, key),
            None => format!("{}.{key}", self.name),
        };
        Error::config(place, message)
    }

    /// Rejects every key that was never read, with the message `complaint`: "unknown key".
    pub(crate) fn finish(&self, complaint: &str) -> Result<()> {
        match self.entries.keys().find(|key| !self.known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(self.error(key, format!("{complaint}; {}", did_you_mean(key, &self.known)))),
        }
    }
}

/// "did you mean `steps`?", or if nothing is close, the list of all.
pub(crate) fn did_you_mean(wrong: &str, known: &[&str]) -> String {
    let likeness = |word: &str| strsim::jaro_winkler(wrong, word);
    match known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(nearest) if likeness(nearest) > 0.75 => format!("did you mean `{nearest}`?"),
        _ => format!("known: {}", known.join(", ")),
    }
}

/// The type of a key's value, and its description.
pub(crate) trait FromToml: Sized {
    /// As in "wants a whole number".
    const EXPECTED: &'static str;
    fn from_toml(value: &Value) -> Option<Self>;
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl FromToml for $number {
            const EXPECTED: &'static str = "a whole number that is not negative";
            fn from_toml(value: &Value) -> Option<Self> {
                value.as_integer()?.try_into().ok()
            }
        }
    )*};
}
whole_numbers!(u32, u64, usize);

impl FromToml for f64 {
    const EXPECTED: &'static str = "a number";
    fn from_toml(value: &Value) -> Option<Self> {
        value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
    }
}

impl FromToml for [f64; 2] {
    const EXPECTED: &'static str = "a list of two numbers";
    fn from_toml(value: &Value) -> Option<Self> {
        let [a, b] = value.as_array()?.as_slice() else { return None };
        Some([f64::from_toml(a)?, f64::from_toml(b)?])
    }
}

impl FromToml for bool {
    const EXPECTED: &'static str = "true or false";
    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromToml for String {
    const EXPECTED: &'static str = "a string";
    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FromToml for PathBuf {
    const EXPECTED: &'static str = "a path in quotes";
    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str().map(PathBuf::from)
    }
}

impl FromToml for Vec<String> {
    const EXPECTED: &'static str = "a string or a list of strings";
    fn from_toml(value: &Value) -> Option<Self> {
        match value {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(many) => many.iter().map(String::from_toml).collect(),
            _ => None,
        }
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {text:?}"),
        Value::Array(_) => format!("the list {value}"),
        Value::Table(_) => "a table".to_owned(),
        _ => value.to_string(),
    }
}

//! Which settings may change when a run is resumed.

use std::fmt;

use serde_json::Value;

#[cfg(not(target_arch = "wasm32"))]
pub(super) use compare::setting_changes;

/// A setting that differs from the run's previous value.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingChange {
    /// As the user writes it: `train.steps`.
    pub key: String,
    /// Its previous value; null if it was not set.
    pub before: Value,
    /// Its new value.
    pub now: Value,
}

/// `train.steps is 800, it was 600`.
impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |value: &Value| if value.is_null() { "not set".to_owned() } else { value.to_string() };
        write!(f, "{} is {}, it was {}", self.key, words(&self.now), words(&self.before))
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod compare {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::SettingChange;
    use crate::config::RunConfig;
    use crate::{Error, Result};

    /// Fixed after the first step: the model, and what determines the batches already seen.
    const FIXED: [&str; 4] = ["model", "train.seed", "train.batch_size", "train.sequence_length"];

    /// The settings that changed before a run was resumed.
    ///
    /// Errors: a changed setting that must stay the same.
    pub(in super::super) fn setting_changes(before: &RunConfig, now: &RunConfig) -> Result<Vec<SettingChange>> {
        let mut changes = Vec::new();
        collect("", &json!(before), &json!(now), &mut changes);
        for SettingChange { key, before, now } in &changes {
            if FIXED
                .iter()
                .any(|fixed| key == fixed || key.strip_prefix(fixed).is_some_and(|rest| rest.starts_with('.')))
            {
                let message = format!(
                    "is {now} now, and the run was trained with {before}: it cannot change in a run; leave it as it was, or \
                     begin another run with `--from`"
                );
                return Err(Error::config(key, message));
            }
        }
        Ok(changes)
    }

    fn collect(key: &str, before: &Value, now: &Value, changes: &mut Vec<SettingChange>) {
        if let (Value::Object(old), Value::Object(new)) = (before, now) {
            for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let value = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                collect(&key, &value(old), &value(new), changes);
            }
        } else if before != now {
            changes.push(SettingChange { key: key.to_owned(), before: before.clone(), now: now.clone() });
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::config::RunDefaults;

        fn config(sets: &[&str]) -> RunConfig {
            let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
            RunConfig::load(None, &sets, RunDefaults::Software).unwrap()
        }

        #[test]
        fn changes_are_told_and_what_the_run_is_made_of_is_refused() {
            let run = config(&["train.steps=600"]);
            assert_eq!(setting_changes(&run, &run).unwrap(), []);
            let changes = setting_changes(&run, &config(&["train.steps=800", "optimizer.lr=0.5"])).unwrap();
            let words: Vec<String> = changes.iter().map(SettingChange::to_string).collect();
            assert!(words.iter().any(|line| line.starts_with("optimizer.lr is 0.5, it was")), "{words:?}");
            assert!(words.contains(&"train.steps is 800, it was 600".to_owned()), "{words:?}");
            for set in ["model.num_hidden_layers=3", "train.seed=7", "train.batch_size=2", "train.sequence_length=16"] {
                let refusal = setting_changes(&run, &config(&[set])).unwrap_err().to_string();
                let key = set.split_once('=').unwrap().0;
                assert!(refusal.starts_with(key) && refusal.contains("cannot change in a run"), "{refusal}");
            }
        }
    }
}

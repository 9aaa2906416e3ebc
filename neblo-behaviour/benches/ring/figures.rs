//! Named figures, and the statistics of many.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

/// Figures by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub(crate) fn set(&mut self, name: impl Into<String>, value: f64) {
        self.0.insert(name.into(), value);
    }

    /// Not a number if it was not measured.
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(f64::NAN)
    }

    /// Takes over figures under names that begin with `prefix`.
    pub(crate) fn extend(&mut self, prefix: &str, other: Self) {
        self.0.extend(other.0.into_iter().map(|(name, value)| (format!("{prefix}.{name}"), value)));
    }

    pub(crate) fn to_json(&self) -> Value {
        Value::Object(self.0.iter().map(|(name, value)| (name.clone(), (*value).into())).collect())
    }

    pub(crate) fn from_json(text: &str) -> Option<Self> {
        let all: Map<String, Value> = serde_json::from_str(text).ok()?;
        Some(Self(all.into_iter().map(|(name, value)| (name, value.as_f64().unwrap_or(f64::NAN))).collect()))
    }

    /// The median of each figure over several runs.
    pub(crate) fn medians(runs: &[Self]) -> Self {
        let Some(first) = runs.first() else { return Self::default() };
        let of = |name: &String| median(runs.iter().map(|run| run.get(name)).collect());
        Self(first.0.keys().map(|name| (name.clone(), of(name))).collect())
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// Milliseconds that a share of the durations does not exceed.
pub(crate) fn percentile(durations: &mut [Duration], share: f64) -> f64 {
    durations.sort();
    let at = ((durations.len() as f64 * share).ceil() as usize).saturating_sub(1);
    durations.get(at).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1_000.0)
}

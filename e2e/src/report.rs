//! Counts of many calls, and waiting for a condition.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

/// What `sample-curl load` counted.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Calls made.
    pub sent: u64,
    /// Calls answered with 2xx and without forbidden text.
    pub ok: u64,
    /// Answers by status.
    pub statuses: BTreeMap<String, u64>,
    /// Calls without a usable answer, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Answers that hold a text, by text.
    pub tally: BTreeMap<String, u64>,
    /// Longest call.
    pub slowest: Duration,
}

impl Load {
    /// Reads the JSON that `sample-curl load` prints.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text.trim())?;
        let number = |key: &str| {
            value
                .get(key)
                .and_then(Value::as_u64)
                .with_context(|| format!("no {key}"))
        };
        let counts = |key: &str| {
            let object = value
                .get(key)
                .and_then(Value::as_object)
                .into_iter()
                .flatten();
            object
                .map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0)))
                .collect()
        };
        Ok(Self {
            sent: number("sent")?,
            ok: number("ok")?,
            statuses: counts("statuses"),
            errors: counts("errors"),
            tally: counts("tally"),
            slowest: Duration::from_millis(number("slowest_ms")?),
        })
    }

    /// How many answers held `text`.
    pub fn of(&self, text: &str) -> u64 {
        self.tally.get(text).copied().unwrap_or(0)
    }

    /// How many answers had `status`.
    pub fn status(&self, status: u16) -> u64 {
        self.statuses.get(&status.to_string()).copied().unwrap_or(0)
    }
}

/// Asks again until `condition` gives a value or `limit` is over; the last reason is the error.
pub fn eventually<T>(limit: Duration, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("not so within {limit:?}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

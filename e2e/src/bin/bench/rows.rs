//! The table of results.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

/// Results so far; each is printed when it comes.
#[derive(Default)]
pub(crate) struct Rows(Vec<Value>);

impl Rows {
    /// Adds and prints one result: Lateen's and Envoy's number, and how they compare.
    pub(crate) fn add(&mut self, setup: &str, what: &str, [ours, theirs]: [f64; 2]) {
        let ratio = ours / theirs.max(f64::MIN_POSITIVE);
        let mut out = std::io::stdout().lock();
        if self.0.is_empty() {
            let _ = writeln!(
                out,
                "{:<23}{:<33}{:>10}{:>10}{:>8}",
                "SETUP", "WHAT", "LATEEN", "ENVOY", "RATIO"
            );
        }
        let number = |value: f64| format!("{value:.*}", usize::from(value.abs() < 1000.0));
        let _ = writeln!(
            out,
            "{setup:<23}{what:<33}{:>10}{:>10}{ratio:>8.2}",
            number(ours),
            number(theirs),
        );
        self.0.push(
            json!({"setup": setup, "what": what, "lateen": ours, "envoy": theirs, "ratio": ratio}),
        );
    }

    /// Writes `target/bench/proxy.json`.
    pub(crate) fn save(&self) -> Result<()> {
        let folder = lateen_e2e::workspace().join("target/bench");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(
            folder.join("proxy.json"),
            serde_json::to_string_pretty(&self.0)?,
        )?;
        Ok(())
    }
}

//! One test made of many named checks that share what is slow to start.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};

/// A name and what is checked.
pub type Check<T> = (&'static str, fn(&T) -> Result<()>);

/// Runs every check, also after one has failed or panicked; the error holds all failures. With `LATEEN_CHECK` in the
/// environment only those run whose name contains it.
pub fn run_checks<T>(subject: &T, checks: &[Check<T>]) -> Result<()> {
    let wanted = std::env::var("LATEEN_CHECK").unwrap_or_default();
    let mut failures = Vec::new();
    for (name, check) in checks.iter().filter(|(name, _)| name.contains(&wanted)) {
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| check(subject)))
            .unwrap_or_else(|panic| Err(anyhow!("panicked: {}", text_of(panic.as_ref()))));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        eprintln!("check {name} ... {verdict} ({:.1?})", begun.elapsed());
        if let Err(error) = result {
            failures.push(format!("{name}: {error:?}"));
        }
    }
    ensure!(
        failures.is_empty(),
        "{} of {} checks failed\n\n{}",
        failures.len(),
        checks.len(),
        failures.join("\n\n")
    );
    Ok(())
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use anyhow::{bail, ensure};

    use super::run_checks;

    #[test]
    fn all_checks_run_and_all_failures_are_told() {
        let error = run_checks(
            &7,
            &[
                ("holds", |number| {
                    ensure!(*number == 7);
                    Ok(())
                }),
                ("fails", |_| bail!("as it must")),
                ("panics", |number| {
                    assert_eq!(*number, 8, "by {number}");
                    Ok(())
                }),
            ],
        );
        let error = error.map_err(|error| error.to_string());
        let told = error.err().unwrap_or_default();
        assert!(told.starts_with("2 of 3 checks failed"), "{told}");
        assert!(told.contains("fails: as it must"), "{told}");
        assert!(told.contains("by 7"), "{told}");
    }
}

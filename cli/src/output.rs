//! What commands print: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// A form of structured output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Structured {
    Json,
    Yaml,
}

/// A form of output with a table as the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Short,
    Json,
    Yaml,
}

impl Format {
    /// The structured form that is asked for; `None` for the table.
    pub(crate) const fn structured(self) -> Option<Structured> {
        match self {
            Self::Short => None,
            Self::Json => Some(Structured::Json),
            Self::Yaml => Some(Structured::Yaml),
        }
    }
}

/// The value as text.
pub(crate) fn render(value: &Value, form: Structured) -> String {
    match form {
        // Values that were read from JSON can always be written as JSON.
        Structured::Json => serde_json::to_string_pretty(value).unwrap_or_default() + "\n",
        Structured::Yaml => lateen_api::yaml::to_text(value),
    }
}

/// Writes a result.
///
/// # Errors
/// When standard output is closed or full; a reader that has enough (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::other(format!(
            "standard output cannot be written: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Writes a line for people to standard error.
pub(crate) fn note(text: &str) {
    // There is nobody to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes an error, its first word red on a terminal; an empty one not at all.
pub(crate) fn error(text: &str) {
    if text.is_empty() {
        return;
    }
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (red, plain) = if colour {
        ("\u{1b}[1;31m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    note(&format!("{red}Error:{plain} {text}"));
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub(crate) fn read_file(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        let mut text = String::new();
        return match io::stdin().lock().read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Failure::data(format!(
                "standard input cannot be read: {error}"
            ))),
        };
    }
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::other(format!(
            "open {}: no such file or directory",
            path.display()
        )),
        _ => Failure::other(format!("open {}: {error}", path.display())),
    })
}

/// Sends the log to standard error; `LATEEN_LOG` says how much of it, for example `debug` or `lateen_local=trace`. What goes wrong with a
/// Kubernetes cluster is said by the command.
pub(crate) fn start_logging() {
    let wanted =
        std::env::var("LATEEN_LOG").unwrap_or_else(|_| "warn,kube_client=error".to_owned());
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second start is no harm: the first one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
}

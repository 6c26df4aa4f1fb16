//! Short-lived children of the same program, for work whose memory must not stay.
//!
//! Proto JSON takes the descriptors of all messages, megabytes that an allocator keeps for good once it had them. A child
//! reads its input whole, writes its output whole and ends. Where none can be started the work is done in this process.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use lateen_proxy_sync::{Bootstrap, resources_from_text};
use prost::Message;

/// This program.
pub(crate) const PROGRAM: &str = "/proc/self/exe";
/// Hidden sub-command that turns a configuration snapshot into a page.
pub(crate) const RENDER_DUMP: &str = "render-config-dump";
/// Hidden sub-command that turns a bootstrap file into its message.
pub(crate) const READ_BOOTSTRAP: &str = "read-bootstrap";

/// Hidden sub-command that turns a file of resources into its message.
pub(crate) const READ_RESOURCES: &str = "read-resources";

/// Runs a sub-command of `program` on `input`; `None` where no process can be started.
///
/// # Errors
/// What the child wrote to standard error, or what its pipes said.
pub(crate) fn run(program: &str, command: &str, input: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let child = Command::new(program)
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            tracing::debug!(%error, program, command, "no child process; the work is done in this one");
            return Ok(None);
        }
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A child that ends early says why itself.
        let _ = stdin.write_all(input);
    }
    let output = child
        .wait_with_output()
        .with_context(|| command.to_owned())?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.trim();
    Err(anyhow!(
        "{}",
        message
            .strip_prefix("Error: ")
            .unwrap_or(message)
            .to_owned()
    ))
}

/// Reads a bootstrap's text into its encoded message.
///
/// # Errors
/// Names the field that is unknown or malformed.
pub(crate) fn bootstrap(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(match run(PROGRAM, READ_BOOTSTRAP, text.as_bytes())? {
        Some(bytes) => bytes,
        None => Bootstrap::message(text)?.encode_to_vec(),
    })
}

/// The child's side of [`READ_BOOTSTRAP`].
///
/// # Errors
/// As [`bootstrap`].
pub(crate) fn read_bootstrap() -> anyhow::Result<Vec<u8>> {
    let text = String::from_utf8(input()?).context("bootstrap")?;
    Ok(Bootstrap::message(&text)?.encode_to_vec())
}

/// Reads the text of a file of resources.
///
/// # Errors
/// Names the field that is unknown or malformed.
pub(crate) fn resources(text: &str) -> Result<Vec<u8>, String> {
    match run(PROGRAM, READ_RESOURCES, text.as_bytes()) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => resources_from_text(text),
        Err(error) => Err(error.to_string()),
    }
}

/// The child's side of [`READ_RESOURCES`].
///
/// # Errors
/// As [`resources`].
pub(crate) fn read_resources() -> anyhow::Result<Vec<u8>> {
    let text = String::from_utf8(input()?).context("resources")?;
    resources_from_text(&text).map_err(|error| anyhow!(error))
}

/// The child's side of [`RENDER_DUMP`].
///
/// # Errors
/// When the snapshot is malformed or a resource does not write.
pub(crate) fn render_dump() -> anyhow::Result<Vec<u8>> {
    Ok(crate::admin::render(input()?)?)
}

fn input() -> anyhow::Result<Vec<u8>> {
    let mut input = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut input)
        .context("standard input")?;
    Ok(input)
}

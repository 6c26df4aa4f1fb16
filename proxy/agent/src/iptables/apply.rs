//! Runs `iptables-save` and `iptables-restore`.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use thiserror::Error;

use super::options::{Mode, Options};
use super::rules::{Family, restore_input};

/// Rules that could not be set.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// None of the tools is installed.
    #[error("none of {0} can be run; the package iptables has them")]
    NoTool(&'static str),
    /// A tool refused.
    #[error("{tool} failed: {message}{hint}")]
    Failed {
        /// Program.
        tool: &'static str,
        /// What it wrote.
        message: String,
        /// What may help.
        hint: &'static str,
    },
    /// A tool could not be run.
    #[error("{tool}: {source}")]
    Run {
        /// Program.
        tool: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Tools of one family, the nft variant first: it needs no lock file and works in user namespaces.
struct Tools {
    save: [&'static str; 2],
    restore: [&'static str; 2],
    names: &'static str,
}

const TOOLS_V4: Tools = Tools {
    save: ["iptables-nft-save", "iptables-save"],
    restore: ["iptables-nft-restore", "iptables-restore"],
    names: "iptables-nft-restore, iptables-restore",
};

const TOOLS_V6: Tools = Tools {
    save: ["ip6tables-nft-save", "ip6tables-save"],
    restore: ["ip6tables-nft-restore", "ip6tables-restore"],
    names: "ip6tables-nft-restore, ip6tables-restore",
};

/// Sets the rules for IPv4, and for IPv6 where the pod has it; returns what was given to `iptables-restore`. With `dry_run`
/// nothing is run and nothing that exists is looked at.
///
/// # Errors
/// When a tool is missing or refuses; its own words are in the text.
pub fn apply(options: &Options, dry_run: bool) -> Result<String, ApplyError> {
    let mut done = String::new();
    if options.mode == Mode::None {
        return Ok(done);
    }
    for (family, tools) in [(Family::V4, &TOOLS_V4), (Family::V6, &TOOLS_V6)] {
        if family == Family::V6 && !has_ipv6() {
            continue;
        }
        let existing = if dry_run { String::new() } else { save(tools)? };
        let Some(input) = restore_input(options, family, &existing) else {
            continue;
        };
        if !dry_run {
            restore(tools, &input)?;
        }
        done.push_str(&input);
    }
    Ok(done)
}

/// True where this network namespace has IPv6 at all.
fn has_ipv6() -> bool {
    std::fs::read_to_string(Path::new("/proc/net/if_inet6"))
        .is_ok_and(|text| !text.trim().is_empty())
}

fn save(tools: &Tools) -> Result<String, ApplyError> {
    for tool in tools.save {
        match Command::new(tool).args(["-t", "nat"]).output() {
            Ok(output) if output.status.success() => {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            Ok(output) => return Err(failed(tool, &output.stderr)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ApplyError::Run { tool, source }),
        }
    }
    Err(ApplyError::NoTool(tools.names))
}

fn restore(tools: &Tools, input: &str) -> Result<(), ApplyError> {
    for tool in tools.restore {
        let child = Command::new(tool)
            .arg("--noflush")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(ApplyError::Run { tool, source }),
        };
        if let Some(mut stdin) = child.stdin.take() {
            // A tool that ends early says why itself.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|source| ApplyError::Run { tool, source })?;
        return if output.status.success() {
            Ok(())
        } else {
            Err(failed(tool, &output.stderr))
        };
    }
    Err(ApplyError::NoTool(tools.names))
}

fn failed(tool: &'static str, stderr: &[u8]) -> ApplyError {
    let message = String::from_utf8_lossy(stderr).trim().to_owned();
    let hint = if message.contains("Permission denied") || message.contains("not permitted") {
        "; redirect rules need the capabilities NET_ADMIN and NET_RAW in the pod's network namespace"
    } else {
        ""
    };
    ApplyError::Failed {
        tool,
        message,
        hint,
    }
}

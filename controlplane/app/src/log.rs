//! The log, with levels given as Istio does: `default:info,ads:debug`.

use anyhow::{Context, bail};
use tracing_subscriber::EnvFilter;

/// Scopes with the crates they stand for.
const SCOPES: &[(&str, &[&str])] = &[
    ("ads", &["lateen_controlplane_serve"]),
    ("ca", &["lateen_controlplane_issue"]),
    ("config", &["lateen_controlplane_watch"]),
    (
        "model",
        &["lateen_controlplane_index", "lateen_controlplane_translate"],
    ),
];

/// Starts to log to stdout.
///
/// # Errors
/// When a scope or a level is unknown.
pub(crate) fn start(levels: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(directives(levels)?).context("--log_output_level")?;
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stdout());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .init();
    Ok(())
}

/// Our own crates follow the levels; what we build on warns only.
fn directives(levels: &str) -> anyhow::Result<String> {
    let mut directives = vec!["warn".to_owned()];
    let mut by_scope = Vec::new();
    let mut default = "info";
    for part in levels.split(',').filter(|part| !part.is_empty()) {
        let (scope, name) = part.split_once(':').unwrap_or(("default", part));
        let level = level(name).with_context(|| {
            format!(
                "--log_output_level: unknown level {name:?}; use none, error, warn, info or debug"
            )
        })?;
        match SCOPES.iter().find(|(known, _)| *known == scope) {
            _ if scope == "default" || scope == "all" => default = level,
            Some((_, crates)) => {
                by_scope.extend(crates.iter().map(|name| format!("{name}={level}")))
            }
            None => bail!(
                "--log_output_level: unknown scope {scope:?}; use default, ads, ca, config or model"
            ),
        }
    }
    let ours = SCOPES
        .iter()
        .flat_map(|(_, crates)| crates.iter().copied())
        .chain(["lateend", "lateen_api", "lateen_xds"]);
    directives.extend(ours.map(|name| format!("{name}={default}")));
    directives.extend(by_scope);
    Ok(directives.join(","))
}

fn level(name: &str) -> Option<&'static str> {
    Some(match name {
        "none" => "off",
        "fatal" | "error" => "error",
        "warn" => "warn",
        "info" => "info",
        "debug" => "debug",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_override_the_default() {
        let text = directives("default:warn,ads:debug").expect("valid");
        assert!(
            text.contains("lateend=warn") && text.ends_with("lateen_controlplane_serve=debug"),
            "{text}"
        );
        assert!(directives("default:loud").is_err() && directives("nonsense:info").is_err());
        assert!(directives("").expect("valid").contains("lateend=info"));
    }
}

//! `lateenctl version`: of the client, the control plane and the proxies (contract/cli.md §2).

use std::collections::BTreeMap;

use clap::{ArgAction, Args};
use serde_json::{Value, json};

use super::proxy_status::{self, Proxy};
use crate::args::Scope;
use crate::failure::Failure;
use crate::mesh::Mesh;
use crate::output::{self, Structured};

const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Print the versions of the client, the control plane and the proxies
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lateenctl version\n  \
    lateenctl version --remote=false -o json")]
pub(crate) struct VersionArgs {
    /// Print the version number only
    #[arg(short, long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    short: bool,
    /// Ask the mesh too
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    remote: bool,
    /// The form of the output
    #[arg(short, long, value_enum)]
    output: Option<Structured>,
    /// Not supported yet: a revision of the control plane
    #[arg(short, long, value_name = "REVISION", hide = true)]
    revision: Option<String>,
}

/// What a mesh runs.
#[derive(Debug, Default)]
struct Remote {
    /// Component and version.
    control_plane: Vec<(String, String)>,
    /// Version and number of proxies.
    data_plane: BTreeMap<String, usize>,
}

/// Prints the versions.
pub(crate) async fn run(args: &VersionArgs, scope: &Scope) -> Result<(), Failure> {
    if args.revision.is_some() {
        return Err(Failure::usage(
            "--revision: only the control plane of a local mesh can be asked yet (--mesh NAME)",
        ));
    }
    let remote = if args.remote {
        remote(scope).await
    } else {
        None
    };
    output::print(&match args.output {
        Some(form) => output::render(&structured(remote.as_ref()), form),
        None => text(remote.as_ref(), args.short),
    })
}

/// What the local mesh says; `None` when there is none.
async fn remote(scope: &Scope) -> Option<Remote> {
    let mesh = Mesh::find(scope).ok()?;
    let versions = async {
        let (name, version) = mesh.control_plane("version").await?;
        let (istiod, answer) = mesh.control_plane("debug/syncz").await?;
        Ok::<_, Failure>((name, version, proxy_status::read(&answer, &istiod)?))
    };
    match versions.await {
        Err(failure) => {
            output::note(&failure.to_string());
            None
        }
        Ok((_, version, clients)) => {
            let mut data_plane = BTreeMap::new();
            for client in &clients {
                *data_plane.entry(Proxy::of(client, "").version).or_default() += 1;
            }
            Some(Remote {
                control_plane: vec![("control plane".to_owned(), number(&version))],
                data_plane,
            })
        }
    }
}

/// The version in an answer of `/version`: JSON with a field `version`, or the text itself.
fn number(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer).trim().to_owned();
    let parsed: Option<Value> = serde_json::from_str(&text).ok();
    let field = parsed.as_ref().and_then(|value| {
        ["version", "Version"]
            .into_iter()
            .find_map(|name| value.get(name)?.as_str())
    });
    field.map_or(text.clone(), str::to_owned)
}

fn text(remote: Option<&Remote>, short: bool) -> String {
    let client = if short {
        CLIENT.to_owned()
    } else {
        format!(
            "{CLIENT} ({}, {})",
            std::env::consts::OS,
            std::env::consts::ARCH
        )
    };
    let mut lines = vec![format!("client version: {client}")];
    if let Some(remote) = remote {
        lines.extend(
            remote
                .control_plane
                .iter()
                .map(|(component, version)| format!("{component} version: {version}")),
        );
        let counted = |(version, count): (&String, &usize)| {
            let plural = if *count == 1 { "proxy" } else { "proxies" };
            format!("{version} ({count} {plural})")
        };
        let data: Vec<String> = remote.data_plane.iter().map(counted).collect();
        let data = if data.is_empty() {
            "none".to_owned()
        } else {
            data.join(", ")
        };
        lines.push(format!("data plane version: {data}"));
    }
    lines.join("\n") + "\n"
}

fn structured(remote: Option<&Remote>) -> Value {
    let mut shown = json!({"clientVersion": {"version": CLIENT, "os": std::env::consts::OS, "architecture": std::env::consts::ARCH}});
    if let Some(remote) = remote {
        let control = remote
            .control_plane
            .iter()
            .map(|(_, version)| json!({"Component": "pilot", "Info": {"version": version}}));
        shown["meshVersion"] = control.collect();
        let data = remote
            .data_plane
            .iter()
            .map(|(version, count)| json!({"IstioVersion": version, "Proxies": count}));
        shown["dataPlaneVersion"] = data.collect();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_counted() {
        let remote = Remote {
            control_plane: vec![(
                "control plane".to_owned(),
                number(b"{\"version\": \"0.1.0\"}"),
            )],
            data_plane: BTreeMap::from([("0.1.0".to_owned(), 3), ("1.28.0".to_owned(), 1)]),
        };
        assert_eq!(
            text(Some(&remote), true),
            format!(
                "client version: {CLIENT}\ncontrol plane version: 0.1.0\ndata plane version: 0.1.0 (3 proxies), 1.28.0 (1 proxy)\n"
            )
        );
        assert!(text(Some(&Remote::default()), true).ends_with("data plane version: none\n"));
        assert_eq!(text(None, true), format!("client version: {CLIENT}\n"));
        assert_eq!(number(b"1.2.3-abc\n"), "1.2.3-abc");
        assert_eq!(
            structured(Some(&remote))["dataPlaneVersion"][0]["Proxies"],
            3
        );
    }
}

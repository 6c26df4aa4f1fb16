//! The walls between crates, read from `cargo metadata`: who may import whom.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Houses, their ground floor, and their binary, which alone knows every room.
const HOUSES: [(&str, &[&str], &str); 2] = [
    (
        "proxy/",
        &[
            "lateen-proxy-model",
            "lateen-proxy-state",
            "lateen-proxy-telemetry",
            "lateen-proxy-tls",
        ],
        "lateen-proxy",
    ),
    ("controlplane/", &["lateen-controlplane-model"], "lateend"),
];
const API: [&str; 2] = ["lateen-api", "lateen-xds"];
/// What the command line and the local mesh may import beside the API.
const CLI: [&str; 4] = [
    "lateen-controlplane-model",
    "lateen-controlplane-inject",
    "lateen-controlplane-analyze",
    "lateen-local",
];
/// Crates whose types cross our walls exist in one version.
const SINGLE: [&str; 8] = [
    "http",
    "hyper",
    "tokio",
    "prost",
    "rustls",
    "k8s-openapi",
    "tonic",
    "bytes",
];

struct Crates {
    /// Crate to its folder, relative to the workspace.
    folders: BTreeMap<String, String>,
    /// Crate to the crates of ours it imports, tests left out.
    imports: BTreeMap<String, BTreeSet<String>>,
}

fn crates() -> Crates {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let mut folders = BTreeMap::new();
    let mut imports = BTreeMap::new();
    for package in metadata.workspace_packages() {
        let folder = package
            .manifest_path
            .parent()
            .unwrap()
            .strip_prefix(&metadata.workspace_root)
            .unwrap();
        folders.insert(package.name.to_string(), format!("{folder}/"));
        let ours = package
            .dependencies
            .iter()
            .filter(|dependency| {
                dependency.path.is_some() && dependency.kind != DependencyKind::Development
            })
            .map(|dependency| dependency.name.clone())
            .collect();
        imports.insert(package.name.to_string(), ours);
    }
    Crates { folders, imports }
}

#[test]
fn rooms_import_their_ground_floor_and_the_api_alone() {
    let crates = crates();
    for (folder, ground, binary) in HOUSES {
        for (name, imports) in &crates.imports {
            if !crates.folders[name].starts_with(folder) || name == binary {
                continue;
            }
            for import in imports {
                let allowed = API.contains(&import.as_str()) || ground.contains(&import.as_str());
                assert!(
                    allowed,
                    "{name} imports {import}, which is neither the API nor the ground floor of {folder}"
                );
            }
        }
    }
}

#[test]
fn the_api_imports_no_house_and_the_wire_never_leaks_back() {
    let crates = crates();
    assert!(
        crates.imports["lateen-api"].is_empty(),
        "lateen-api stands on nothing of ours"
    );
    assert!(
        crates.imports["lateen-xds"]
            .iter()
            .all(|import| import == "lateen-api"),
        "lateen-xds imports more than the API"
    );
}

#[test]
fn the_command_line_imports_what_it_may() {
    let crates = crates();
    for name in ["lateenctl", "lateen-local"] {
        for import in &crates.imports[name] {
            let allowed = API.contains(&import.as_str()) || CLI.contains(&import.as_str());
            assert!(allowed, "{name} imports {import}");
        }
    }
}

#[test]
fn nobody_imports_a_binary() {
    let crates = crates();
    for (name, imports) in &crates.imports {
        for (_, _, binary) in HOUSES {
            assert!(!imports.contains(binary), "{name} imports {binary}");
        }
    }
}

#[test]
fn crates_that_cross_walls_exist_once() {
    let metadata = MetadataCommand::new().exec().unwrap();
    for single in SINGLE {
        let versions: BTreeSet<_> = metadata
            .packages
            .iter()
            .filter(|package| package.name == single)
            .map(|package| &package.version)
            .collect();
        assert!(
            versions.len() <= 1,
            "{single} exists in several versions: {versions:?}"
        );
    }
}

#[test]
fn every_crate_obeys_the_workspace_lints() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    for package in metadata.workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        let obeys = manifest
            .split("[lints]")
            .nth(1)
            .is_some_and(|rest| rest.trim_start().starts_with("workspace = true"));
        assert!(
            obeys,
            "{} does not take over the workspace's lints",
            package.manifest_path
        );
    }
    let root = std::fs::read_to_string(metadata.workspace_root.join("Cargo.toml")).unwrap();
    assert!(root.contains("unsafe_code = \"forbid\""));
}

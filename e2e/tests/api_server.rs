//! The mesh API on a real API server: its definitions are accepted, refuse what they should, keep what they are given; and `analyze` of
//! the live cluster says what `analyze` of the files says.
//!
//! Each check is a line in `CHECKS`; `LATEEN_CHECK=analyze cargo test -p lateen-e2e --test api_server` runs those with "analyze" in
//! their name. They need what `make cluster-build` makes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lateen_api::object::{Kind, ReadOptions, read_text};
use lateen_api::yaml;
use lateen_e2e::{Check, Cluster, eventually, run_checks, workspace};
use serde_json::Value;

#[path = "../../api/tests/crd_cases/read.rs"]
mod crd_cases;

const SOON: Duration = Duration::from_secs(60);
const DEFINITIONS: &str = "charts/base/files/crd-all.gen.yaml";
const SHOP: &str = "e2e/fixtures/analyze/shop.yaml";

/// A cluster with the mesh's definitions, and a second one that it reaches.
struct Clusters {
    first: Cluster,
    second: Cluster,
    both: PathBuf,
}

const CHECKS: &[Check<Clusters>] = &[
    ("every definition is established", definitions),
    ("the schema refuses what it should and nothing else", cases),
    (
        "objects of every served version come back equal",
        round_trips,
    ),
    (
        "analyze says of the cluster what it says of the files",
        analyze_live,
    ),
    (
        "analyze lets files stand before the cluster's objects",
        analyze_mixed,
    ),
    ("analyze compares services of two clusters", analyze_remote),
    (
        "analyze ends with a code and a message where it cannot read",
        analyze_failures,
    ),
];

#[test]
fn on_two_clusters() {
    let first = Cluster::start("api").unwrap();
    let second = first.join("other").unwrap();
    let both = first.kubeconfig_with(&second).unwrap();
    let definitions = workspace().join(DEFINITIONS);
    for cluster in [&first, &second] {
        cluster.apply(&definitions).unwrap();
    }
    let clusters = Clusters {
        first,
        second,
        both,
    };
    run_checks(&clusters, CHECKS).unwrap();
}

fn definitions(clusters: &Clusters) -> Result<()> {
    for cluster in [&clusters.first, &clusters.second] {
        let wait = cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "customresourcedefinitions",
            "--all",
        ])?;
        let count = wait.lines().count();
        ensure!(count == 15, "{count} definitions:\n{wait}");
    }
    Ok(())
}

/// The server judges all cases in one call; it names each object that it refuses.
fn cases(clusters: &Clusters) -> Result<()> {
    let mut cases = crd_cases::cases(&workspace().join("api/tests/crd_cases"));
    ensure!(cases.len() > 1000, "only {} cases", cases.len());
    let list: Vec<Value> = cases
        .iter_mut()
        .enumerate()
        .map(|(number, case)| {
            case.object["metadata"]["name"] = format!("case-{number}").into();
            case.object["metadata"]["namespace"] = "default".into();
            case.object.clone()
        })
        .collect();
    let file = clusters.first.folder().join("cases.json");
    let manifest = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": list});
    std::fs::write(&file, serde_json::to_vec(&manifest)?)?;
    let file = file.display().to_string();
    let asked = clusters.first.try_kubectl(&[
        "create",
        "--dry-run=server",
        // What no field takes is dropped, as it is for clients that are not strict.
        "--validate=ignore",
        "--output=name",
        "-f",
        &file,
    ])?;
    let accepted: BTreeSet<&str> = asked
        .stdout
        .lines()
        .filter_map(|line| line.rsplit('/').next())
        .collect();
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let name = format!("case-{number}");
        let was_refused = !accepted.contains(name.as_str());
        let said = asked
            .stderr
            .split("Error from server")
            .find(|part| part.contains(&format!("\"{name}\"")))
            .unwrap_or_default();
        if was_refused != case.refused {
            wrong.push(format!("{}: refused {was_refused}: {said}", case.name));
        } else if case.cel && !said.contains(&case.message) {
            wrong.push(format!(
                "{}: does not say `{}`: {said}",
                case.name, case.message
            ));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    Ok(())
}

fn round_trips(clusters: &Clusters) -> Result<()> {
    let cluster = &clusters.first;
    let mut seen = BTreeSet::new();
    for path in files_of("api/tests/crd_samples")? {
        let text = std::fs::read_to_string(&path)?;
        let options = ReadOptions {
            namespace: "default",
            strict: true,
        };
        let parsed = read_text(&path.display().to_string(), &text.as_str().into(), options);
        ensure!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        for object in &parsed.objects {
            let kind = object.key.kind;
            seen.insert(kind);
            let source = object.source.as_ref().context("a source")?;
            let sample: Value = yaml::read(&source.node())?;
            for version in kind.versions() {
                round_trip(cluster, kind, version, &sample)
                    .with_context(|| format!("{kind} {version} of {}", path.display()))?;
            }
        }
    }
    let missing: Vec<Kind> = Kind::all()
        .filter(|kind| kind.is_istio() && !seen.contains(kind))
        .collect();
    ensure!(missing.is_empty(), "no samples of {missing:?}");
    Ok(())
}

/// Stores an object as one version and reads it as each of the others.
fn round_trip(cluster: &Cluster, kind: Kind, version: &str, sample: &Value) -> Result<()> {
    let mut object = sample.clone();
    // A kind may have several samples; laid over one another they would be merged.
    let own = sample["metadata"]["name"].as_str().unwrap_or_default();
    let name = format!("round-trip-{own}-{version}");
    object["apiVersion"] = format!("{}/{version}", kind.group()).into();
    object["metadata"]["name"] = name.clone().into();
    object["metadata"]["namespace"] = "default".into();
    cluster.apply_text(&serde_json::to_string(&object)?)?;
    let resource = kind.as_str().to_lowercase();
    for other in kind.versions() {
        let full = format!("{resource}.{other}.{}", kind.group());
        let read = cluster.kubectl(&["get", &full, &name, "-n=default", "-o=json"])?;
        let read: Value = serde_json::from_str(&read)?;
        ensure!(
            read["spec"] == object["spec"],
            "as {other}:\n{}\nwas\n{}",
            read["spec"],
            object["spec"]
        );
    }
    // What stays would be part of what `analyze` sees.
    let full = format!("{resource}.{version}.{}", kind.group());
    cluster.kubectl(&["delete", &full, &name, "-n=default", "--wait=false"])?;
    Ok(())
}

/// What `analyze` says of a namespace, as code, object and text.
fn said(cluster: &Cluster, arguments: &[&str]) -> Result<BTreeSet<(String, String, String)>> {
    let mut all = vec!["analyze", "-o=json"];
    all.extend(arguments);
    let asked = cluster.lateenctl(&all)?;
    let messages: Value = serde_json::from_str(&asked.stdout)
        .with_context(|| format!("{arguments:?} gave {asked:?}"))?;
    let text = |message: &Value, key: &str| message[key].as_str().unwrap_or_default().to_owned();
    Ok(messages
        .as_array()
        .into_iter()
        .flatten()
        .map(|message| {
            (
                text(message, "code"),
                text(message, "origin"),
                text(message, "message"),
            )
        })
        .collect())
}

fn shop(cluster: &Cluster) -> Result<String> {
    let file = workspace().join(SHOP);
    // Pods are refused until the namespace's service account is there.
    eventually(SOON, || cluster.apply(&file))?;
    Ok(file.display().to_string())
}

fn analyze_live(clusters: &Clusters) -> Result<()> {
    let cluster = &clusters.first;
    let file = shop(cluster)?;
    for namespace in ["shop", "plain", "multi"] {
        let live = said(cluster, &["-n", namespace])?;
        let files = said(cluster, &["-n", namespace, "--use-kube=false", &file])?;
        ensure!(!files.is_empty(), "nothing is said of {namespace}");
        let only = |one: &BTreeSet<_>, two: &BTreeSet<_>| -> String {
            one.difference(two)
                .map(|entry| format!("  {entry:?}\n"))
                .collect()
        };
        ensure!(
            live == files,
            "{namespace}, live alone:\n{}files alone:\n{}",
            only(&live, &files),
            only(&files, &live)
        );
    }
    let codes: BTreeSet<String> = said(cluster, &["-A"])?
        .into_iter()
        .map(|(code, ..)| code)
        .collect();
    for code in [
        "IST0002", "IST0101", "IST0102", "IST0103", "IST0106", "IST0108", "IST0109", "IST0111",
        "IST0118", "IST0123", "IST0127", "IST0128", "IST0133", "IST0151", "IST0157", "IST0173",
        "IST0174",
    ] {
        ensure!(codes.contains(code), "{code} is not among {codes:?}");
    }
    Ok(())
}

fn analyze_mixed(clusters: &Clusters) -> Result<()> {
    let cluster = &clusters.first;
    shop(cluster)?;
    let better = cluster.folder().join("better.yaml");
    std::fs::write(
        &better,
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\n\
         spec:\n  selector: {app: web}\n  servers:\n  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}\n",
    )?;
    let about_edge = |messages: BTreeSet<(String, String, String)>| {
        let edge = |(code, origin, _): &(String, String, String)| {
            code == "IST0101" && origin == "Gateway shop/edge"
        };
        messages.iter().any(edge)
    };
    ensure!(
        about_edge(said(cluster, &["-n=shop"])?),
        "the cluster's gateway selects nothing"
    );
    let better = better.display().to_string();
    let mixed = said(cluster, &["-n=shop", &better])?;
    ensure!(
        !about_edge(mixed.clone()),
        "the file's gateway selects a pod: {mixed:?}"
    );
    Ok(())
}

fn analyze_remote(clusters: &Clusters) -> Result<()> {
    let service = |ports: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: span}}\n---\napiVersion: v1\nkind: Service\n\
             metadata: {{name: api, namespace: span}}\nspec: {{selector: {{app: api}}, ports: [{ports}]}}\n"
        )
    };
    clusters
        .first
        .apply_text(&service("{name: http, port: 80}"))?;
    clusters
        .second
        .apply_text(&service("{name: http, port: 8080}"))?;
    let both = clusters.both.display().to_string();
    let arguments = [
        "-n=span",
        "--kubeconfig",
        &both,
        "--remote-contexts",
        clusters.second.name(),
    ];
    let messages = said(&clusters.first, &arguments)?;
    let about = messages
        .iter()
        .find(|(code, ..)| code == "IST0170")
        .with_context(|| format!("no IST0170 in {messages:?}"))?;
    ensure!(about.2.contains(clusters.second.name()), "{about:?}");
    let alone = said(&clusters.first, &["-n=span"])?;
    ensure!(
        alone.iter().all(|(code, ..)| code != "IST0170"),
        "{alone:?}"
    );
    Ok(())
}

fn analyze_failures(clusters: &Clusters) -> Result<()> {
    let cluster = &clusters.first;
    shop(cluster)?;
    let expect = |arguments: &[&str], code: i32, words: &[&str]| -> Result<()> {
        let mut all = vec!["analyze"];
        all.extend(arguments);
        let asked = cluster.lateenctl(&all)?;
        ensure!(asked.code == code, "{arguments:?} ended with {asked:?}");
        for word in words {
            ensure!(
                asked.stderr.contains(word),
                "{arguments:?} does not say `{word}`: {asked:?}"
            );
        }
        Ok(())
    };
    expect(&["-n=shop"], 79, &["shop"])?;
    expect(&["-n=shop", "-o=json"], 79, &[])?;
    expect(&["-n=shop", "-o=json", "--istio-compatible"], 0, &[])?;
    expect(&["-n=absent"], 0, &["absent", "not found"])?;
    expect(&["--context=absent"], 1, &["absent"])?;
    let away = away(cluster)?;
    expect(
        &["--kubeconfig", &away, "--timeout=10s"],
        1,
        &["127.0.0.1:1"],
    )?;
    cluster.kubectl(&["create", "serviceaccount", "reader", "-n=default"])?;
    let nobody = cluster
        .kubeconfig_of("default/reader")?
        .display()
        .to_string();
    expect(&["--kubeconfig", &nobody, "-A"], 1, &["forbidden"])?;
    Ok(())
}

/// A kubeconfig whose server does not answer.
fn away(cluster: &Cluster) -> Result<String> {
    let text = std::fs::read_to_string(cluster.kubeconfig())?;
    let Some(at) = text.find("https://") else {
        bail!("a kubeconfig without server: {text}")
    };
    let end = text[at..]
        .find(['"', '\n', ','])
        .map_or(text.len(), |length| at + length);
    let path = cluster.folder().join("away.conf");
    std::fs::write(
        &path,
        format!("{}https://127.0.0.1:1{}", &text[..at], &text[end..]),
    )?;
    Ok(path.display().to_string())
}

fn files_of(folder: &str) -> Result<Vec<PathBuf>> {
    let folder: PathBuf = workspace().join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "{} is empty", Path::display(&folder));
    Ok(files)
}

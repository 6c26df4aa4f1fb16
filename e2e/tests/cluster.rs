//! A real Kubernetes API server: what only it can show, and that it starts, ends and is cleaned up.
//!
//! What needs one cluster is a line in `CHECKS`: each check uses names of its own, and all run on the same cluster, which
//! takes four seconds to start. `LATEEN_CHECK=cel cargo test -p lateen-e2e --test cluster on_one_cluster` runs those that
//! have "cel" in their name. They need what `make cluster-build` makes.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lateen_e2e::{Check, Cluster, eventually, run_checks, workspace};

const SOON: Duration = Duration::from_secs(60);

const CHECKS: &[Check<Cluster>] = &[
    (
        "a cel rule refuses with its message and lets the near miss pass",
        cel_rule,
    ),
    (
        "a new namespace gets its default service account",
        default_account,
    ),
    (
        "a service account without rights is refused by name",
        missing_rights,
    ),
];

const WIDGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.test.lateen.invalid}
spec:
  group: test.lateen.invalid
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              x-kubernetes-validations:
                - {rule: "self.low <= self.high", message: "low must not be above high"}
              properties: {low: {type: integer}, high: {type: integer}}
              required: [low, high]
"#;

#[test]
fn on_one_cluster() {
    let cluster = Cluster::start("checks").unwrap();
    run_checks(&cluster, CHECKS).unwrap();
}

fn cel_rule(cluster: &Cluster) -> Result<()> {
    cluster.apply_text(WIDGETS)?;
    cluster.await_definition("widgets.test.lateen.invalid")?;
    let widget = |low: u8, high: u8| {
        format!(
            "apiVersion: test.lateen.invalid/v1\nkind: Widget\nmetadata: {{name: one, namespace: default}}\n\
             spec: {{low: {low}, high: {high}}}\n"
        )
    };
    let refused = cluster.try_apply_text(&widget(4, 3))?;
    ensure!(refused.code != 0, "stored: {refused:?}");
    let message = "low must not be above high";
    ensure!(refused.stderr.contains(message), "{refused:?}");
    cluster.apply_text(&widget(3, 3))
}

fn default_account(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "fresh"])?;
    eventually(SOON, || {
        cluster.kubectl(&["get", "serviceaccount", "default", "-n", "fresh"])
    })?;
    Ok(())
}

fn missing_rights(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "serviceaccount", "nobody", "-n", "default"])?;
    let kubeconfig = cluster.kubeconfig_of("default/nobody")?;
    let kubeconfig = kubeconfig.display().to_string();
    let asked = cluster.try_kubectl(&["--kubeconfig", &kubeconfig, "get", "secrets"])?;
    ensure!(asked.code != 0, "{asked:?}");
    let user = "system:serviceaccount:default:nobody";
    ensure!(asked.stderr.contains(user), "{asked:?}");
    Ok(())
}

#[test]
fn two_clusters_are_reached_from_one_place_and_leave_nothing() {
    let first = Cluster::start("first").unwrap();
    let second = first.join("second").unwrap();
    let both = first.kubeconfig_with(&second).unwrap();
    let both = both.display().to_string();
    for cluster in [&first, &second] {
        cluster
            .kubectl(&["create", "namespace", cluster.name()])
            .unwrap();
    }
    for cluster in [&first, &second] {
        let names = first
            .kubectl(&[
                "--kubeconfig",
                &both,
                "--context",
                cluster.name(),
                "get",
                "namespaces",
                "-o=name",
            ])
            .unwrap();
        let found: Vec<_> = [&first, &second]
            .into_iter()
            .filter(|other| {
                let line = format!("namespace/{}", other.name());
                names.lines().any(|name| name == line)
            })
            .map(Cluster::name)
            .collect();
        assert_eq!(found, [cluster.name()], "{names}");
    }
    let folders = [first.folder().to_owned(), second.folder().to_owned()];
    drop(second);
    drop(first);
    for folder in folders {
        assert_eq!(left_of(&folder).unwrap(), Vec::<PathBuf>::new());
    }
}

#[test]
fn an_interrupted_start_is_cleaned_up() {
    let kept = Cluster::start("kept").unwrap();
    if kept.namespace().is_none() {
        return; // kind cleans up after itself
    }
    // Its owner ends: the cluster's watcher sees it.
    let mut watched = Interrupted::begin("cut-a").unwrap();
    watched.end_owner().unwrap();
    eventually(SOON, || watched.is_gone()).unwrap();
    // The watcher is gone too: the next start sees it.
    let mut unwatched = Interrupted::begin("cut-b").unwrap();
    unwatched.kill_noted("watcher").unwrap();
    unwatched.end_owner().unwrap();
    let next = kept.join("next").unwrap();
    unwatched.is_gone().unwrap();
    // What lives is left alone.
    for cluster in [&kept, &next] {
        cluster.kubectl(&["get", "namespaces"]).unwrap();
    }
}

/// A cluster whose start was killed halfway, and the process that owns it.
struct Interrupted {
    owner: Child,
    folder: PathBuf,
}

impl Interrupted {
    fn begin(label: &str) -> Result<Self> {
        // A name's last character is a letter.
        let name = format!("{label}-{}x", std::process::id() % 10_000);
        let owner = Command::new("sleep").arg("600").spawn()?;
        let folder = Path::new("/run/lateen-cluster").join(&name);
        let interrupted = Self { owner, folder };
        let mut start = Command::new(workspace().join("e2e/cluster/up.sh"))
            .args(["--quiet", "--name", &name])
            .args(["--owner", &interrupted.owner.id().to_string()])
            .stdout(Stdio::null())
            .spawn()?;
        let begun = eventually(SOON, || interrupted.noted("kube-apiserver"));
        start.kill()?;
        start.wait()?;
        begun?;
        Ok(interrupted)
    }

    /// The id of a process that the cluster has noted.
    fn noted(&self, program: &str) -> Result<String> {
        let processes = std::fs::read_to_string(self.folder.join("processes"))?;
        let line = processes
            .lines()
            .find(|line| line.ends_with(&format!(" {program}")));
        let line = line.with_context(|| format!("{program} is not noted"))?;
        Ok(line.split(' ').next().unwrap_or_default().to_owned())
    }

    fn kill_noted(&self, program: &str) -> Result<()> {
        let id = self.noted(program)?;
        let status = Command::new("kill").args(["-KILL", &id]).status()?;
        ensure!(status.success(), "kill {id}: {status}");
        Ok(())
    }

    fn end_owner(&mut self) -> Result<()> {
        self.owner.kill()?;
        self.owner.wait()?;
        Ok(())
    }

    fn is_gone(&self) -> Result<()> {
        let left = left_of(&self.folder)?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        let _ = self.end_owner();
    }
}

/// What is left of the cluster with this folder: the folder, namespaces named after it, processes that name it.
fn left_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.context("no name")?;
    let namespaces =
        ["0", "1"].map(|number| Path::new("/run/netns").join(format!("{name}{number}")));
    let mut left: Vec<_> = namespaces
        .into_iter()
        .chain([folder.to_owned()])
        .filter(|path| path.exists())
        .collect();
    for process in std::fs::read_dir("/proc")? {
        let process = process?.path();
        let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&arguments).contains(name) {
            left.push(process);
        }
    }
    Ok(left)
}

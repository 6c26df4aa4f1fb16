//! A real Kubernetes API server for tests: the cluster of `make cluster`, owned by the test's process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::mesh::{lateenctl, run};
use crate::{Output, eventually, workspace};

/// Proxies of this machine lead nowhere from a cluster's network.
const PROXIES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];

/// A running Kubernetes cluster: API server, etcd and controllers, no nodes. Taken down when dropped, and when this process
/// ends without that. Dropping one that others joined takes those down too.
///
/// Made of parts it lives in network namespaces of its own, which clients enter through [`Cluster::command`]; made by kind
/// it is reached from the machine itself, and [`Cluster::command`] hides the difference.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    folder: PathBuf,
    kubeconfig: PathBuf,
    namespace: Option<PathBuf>,
    programs: Option<PathBuf>,
}

impl Cluster {
    /// Starts a cluster. `name` is up to seven letters and tells the clusters of one test program apart; other processes
    /// may use the same.
    pub fn start(name: &str) -> Result<Self> {
        Self::up(name, &[])
    }

    /// Starts a second cluster that clients of this one reach as well.
    pub fn join(&self, name: &str) -> Result<Self> {
        Self::up(name, &["--join", &self.name])
    }

    fn up(name: &str, extra: &[&str]) -> Result<Self> {
        ensure!(
            name.len() <= 7,
            "the cluster name {name} is longer than seven letters"
        );
        let name = format!("{name}-{}", letters(std::process::id()));
        let owner = std::process::id().to_string();
        let output = run(Command::new(script("up.sh"))
            .args(["--quiet", "--name", &name, "--owner", &owner])
            .args(extra))?
        .ok()
        .with_context(|| format!("the cluster {name} did not come up"))?;
        let folder = PathBuf::from(output.stdout.trim());
        let noted = |file: &str| {
            let text = std::fs::read_to_string(folder.join(file)).ok()?;
            Some(text.trim().to_owned())
        };
        let parts = noted("engine").as_deref() == Some("parts");
        let outside = noted("outside").filter(|_| parts);
        Ok(Self {
            name,
            kubeconfig: folder.join("kubeconfig"),
            namespace: outside.map(|outside| PathBuf::from(format!("/run/netns/{outside}0"))),
            programs: noted("path").map(PathBuf::from),
            folder,
        })
    }

    /// The cluster's name, which is also that of its context in the kubeconfig.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Administrator's access, with the one context [`Cluster::name`].
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The cluster's own folder; gone with the cluster, so tests may put files there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The network namespace that clients must be in, if it is not the machine's own.
    pub fn namespace(&self) -> Option<&Path> {
        self.namespace.as_deref()
    }

    /// Writes a kubeconfig with the contexts of both clusters, this one's being the current one.
    pub fn kubeconfig_with(&self, other: &Self) -> Result<PathBuf> {
        let mut both = self.kubeconfig.clone().into_os_string();
        both.push(":");
        both.push(&other.kubeconfig);
        let merged = run(self.command("kubectl").env("KUBECONFIG", both).args([
            "config",
            "view",
            "--flatten",
        ]))?
        .ok()?;
        let path = self.folder.join(format!("kubeconfig-{}", other.name));
        std::fs::write(&path, merged.stdout)?;
        Ok(path)
    }

    /// Writes a kubeconfig for a service account, given as `NAMESPACE/NAME`, instead of the administrator.
    pub fn kubeconfig_of(&self, service_account: &str) -> Result<PathBuf> {
        let (namespace, account) = service_account
            .split_once('/')
            .context("not NAMESPACE/NAME")?;
        let token = self.kubectl(&["create", "token", account, "-n", namespace])?;
        let path = self
            .folder
            .join(format!("kubeconfig-{namespace}-{account}"));
        std::fs::copy(&self.kubeconfig, &path)?;
        let token = format!("--token={}", token.trim());
        for change in [
            ["config", "set-credentials", account, token.as_str()],
            [
                "config",
                "set-context",
                "--current",
                &format!("--user={account}"),
            ],
        ] {
            run(self
                .command("kubectl")
                .env("KUBECONFIG", &path)
                .args(change))?
            .ok()?;
        }
        Ok(path)
    }

    /// A command that will run where the cluster is reached, with `KUBECONFIG` set. kubectl is of the cluster's release.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut enter = Command::new("nsenter");
                enter.arg(format!("--net={}", namespace.display()));
                enter.arg(program);
                enter
            }
        };
        if let Some(programs) = &self.programs {
            let mut path = programs.clone().into_os_string();
            path.push(":");
            path.push(std::env::var_os("PATH").unwrap_or_default());
            command.env("PATH", path);
        }
        for proxy in PROXIES {
            command.env_remove(proxy);
        }
        // Every cluster has the same address, and kubectl remembers by it what an API server offers.
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.folder.join("kubectl"));
        command
    }

    /// What kubectl says, whether it succeeds or not.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<Output> {
        run(self.command("kubectl").args(arguments))
    }

    /// What kubectl prints; its failure is an error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.try_kubectl(arguments)?.ok();
        let output = output.with_context(|| format!("kubectl {}", arguments.join(" ")))?;
        Ok(output.stdout)
    }

    /// Applies a file or a folder of manifests, server-side.
    pub fn apply(&self, path: &Path) -> Result<()> {
        let path = path.display().to_string();
        self.kubectl(&["apply", "--server-side", "-f", &path])
            .map(drop)
    }

    /// What applying manifests given as text ends with.
    pub fn try_apply_text(&self, manifests: &str) -> Result<Output> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), manifests)?;
        let path = file.path().display().to_string();
        self.try_kubectl(&["apply", "--server-side", "-f", &path])
    }

    /// Applies manifests given as text.
    pub fn apply_text(&self, manifests: &str) -> Result<()> {
        self.try_apply_text(manifests)?.ok().map(drop)
    }

    /// Waits until the API server serves the custom resource definition `name`, such as `widgets.example.org`.
    pub fn await_definition(&self, name: &str) -> Result<()> {
        let definition = format!("crd/{name}");
        self.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            &definition,
        ])?;
        let resource = format!("--api-group={}", name.split_once('.').map_or("", |n| n.1));
        // Established comes before the API server has told its clients.
        eventually(Duration::from_secs(30), || {
            let known = self.kubectl(&["api-resources", "--cached=false", "-o=name", &resource])?;
            ensure!(known.lines().any(|line| line == name), "no {name} yet");
            Ok(())
        })
    }

    /// Runs `lateenctl` where the cluster is reached.
    pub fn lateenctl(&self, arguments: &[&str]) -> Result<Output> {
        run(self.command(lateenctl()?).args(arguments))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = run(Command::new(script("down.sh")).args(["--quiet", "--name", &self.name]));
        if let Err(error) = down.and_then(Output::ok) {
            eprintln!("the cluster {} is still there: {error:#}", self.name);
        }
    }
}

fn script(name: &str) -> PathBuf {
    workspace().join("e2e/cluster").join(name)
}

/// A number in letters: what a cluster is called ends with one, because a number follows in its namespaces' names.
fn letters(mut number: u32) -> String {
    let mut text = String::new();
    loop {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn the_largest_process_id_fits_a_name() {
        assert_eq!(letters(0), "a");
        assert_eq!(letters(27), "bb");
        assert!(letters(4_194_304).len() <= 5);
    }
}

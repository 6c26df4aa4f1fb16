//! Bringing a mesh up, changing it, calling through it and taking it down.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::Load;

/// What a mesh is made of.
#[derive(Debug, Default)]
pub struct MeshOptions {
    /// Name; tests that run at the same time use different ones.
    pub name: String,
    /// Manifests.
    pub files: Vec<String>,
    /// Further arguments of `lateenctl local up`.
    pub arguments: Vec<String>,
}

/// A running local mesh; taken down when dropped.
#[derive(Debug)]
pub struct Mesh {
    name: String,
    lateenctl: PathBuf,
    kept: bool,
}

/// What a command gave.
#[derive(Debug)]
pub struct Output {
    /// Exit code; -1 when ended by a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Fails with everything the command said unless it exited with 0.
    pub fn ok(self) -> Result<Self> {
        ensure!(
            self.code == 0,
            "exit code {}\n{}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }
}

impl Mesh {
    /// Starts a mesh in the background and waits until every pod is ready.
    pub fn up(options: &MeshOptions) -> Result<Self> {
        let mesh = Self {
            name: options.name.clone(),
            lateenctl: lateenctl()?,
            kept: false,
        };
        let mut arguments = vec!["up", "--detach"];
        for file in &options.files {
            arguments.extend(["-f", file]);
        }
        arguments.extend(options.arguments.iter().map(String::as_str));
        mesh.local(&arguments)?
            .ok()
            .context("the mesh did not come up")?;
        Ok(mesh)
    }

    /// Leaves the mesh up when this value is dropped.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.kept = true;
        self
    }

    /// Takes a mesh down by its name, whoever started it.
    pub fn down_named(name: &str) -> Result<()> {
        let mesh = Self {
            name: name.to_owned(),
            lateenctl: lateenctl()?,
            kept: true,
        };
        mesh.down()
    }

    /// The mesh's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `lateenctl local ARGUMENTS --name NAME`.
    pub fn local(&self, arguments: &[&str]) -> Result<Output> {
        let (command, rest) = arguments.split_first().context("no command")?;
        run(Command::new(&self.lateenctl)
            .args(["local", command, "--name", &self.name])
            .args(rest))
    }

    /// Runs `lateenctl ARGUMENTS` with `--mesh NAME`, so that commands outside `local` find this mesh.
    pub fn lateenctl(&self, arguments: &[&str]) -> Result<Output> {
        run(Command::new(&self.lateenctl)
            .args(arguments)
            .env("LATEEN_MESH", &self.name))
    }

    /// Runs a command in the first container of a Deployment's pod.
    pub fn exec(&self, deployment: &str, command: &[&str]) -> Result<Output> {
        let workload = format!("deployment/{deployment}");
        let mut arguments = vec!["exec", &workload, "--"];
        arguments.extend(command);
        self.local(&arguments)
    }

    /// Calls `url` from a pod with curl: the status (0 without an answer) and the body.
    pub fn curl(&self, pod: &str, url: &str, extra: &[&str]) -> Result<(u16, String)> {
        let mut command = vec!["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}"];
        command.extend(extra);
        command.push(url);
        let output = self.exec(pod, &command)?;
        let (body, status) = output.stdout.rsplit_once('\n').unwrap_or(("", "0"));
        Ok((status.trim().parse().unwrap_or(0), body.to_owned()))
    }

    /// Calls `url` from a pod many times; `arguments` are those of `sample-curl load`.
    pub fn load(&self, pod: &str, url: &str, arguments: &[&str]) -> Result<Load> {
        let mut command = vec!["sample-curl", "load", url];
        command.extend(arguments);
        let output = self.exec(pod, &command)?;
        Load::parse(&output.stdout)
            .with_context(|| format!("sample-curl said: {}{}", output.stdout, output.stderr))
    }

    /// Applies manifests given as text.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.with_stdin(&["apply", "-f", "-"], manifests)
    }

    /// Applies a manifest file.
    pub fn apply_file(&self, path: &str) -> Result<()> {
        self.local(&["apply", "-f", path])?.ok().map(drop)
    }

    /// Deletes what manifests given as text name.
    pub fn delete(&self, manifests: &str) -> Result<()> {
        self.with_stdin(&["delete", "-f", "-"], manifests)
    }

    /// Deletes what a manifest file names.
    pub fn delete_file(&self, path: &str) -> Result<()> {
        self.local(&["delete", "-f", path])?.ok().map(drop)
    }

    /// The status as `lateenctl local status -o json` gives it.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.local(&["status", "-o", "json"])?.ok()?.stdout,
        )?)
    }

    /// The URL at which the ingress gateway is reached from this machine.
    pub fn ingress(&self) -> Result<String> {
        let status = self.status()?;
        let address = status
            .get("ingress")
            .and_then(Value::as_str)
            .context("the status names no ingress")?;
        Ok(format!("http://{address}"))
    }

    /// A pod whose name begins so, as `pod/NAME`.
    pub fn pod(&self, beginning: &str) -> Result<String> {
        let status = self.status()?;
        let pods = status
            .get("pods")
            .and_then(Value::as_array)
            .context("the status names no pods")?;
        let mut names = pods
            .iter()
            .filter_map(|pod| pod.get("name").and_then(Value::as_str));
        let name = names.find(|name| name.starts_with(beginning));
        Ok(format!(
            "pod/{}",
            name.with_context(|| format!("no pod is named {beginning}…"))?
        ))
    }

    /// Starts a command in the mesh's own network namespace, where its bridge is.
    pub fn on_node(&self, command: &[&str]) -> Result<Child> {
        let mut lateenctl = Command::new(&self.lateenctl);
        lateenctl
            .args(["local", "exec", "--name", &self.name, "--node", "--"])
            .args(command);
        Ok(lateenctl
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?)
    }

    /// Takes the mesh down.
    pub fn down(&self) -> Result<()> {
        self.local(&["down"])?.ok().map(drop)
    }

    fn with_stdin(&self, arguments: &[&str], text: &str) -> Result<()> {
        let mut command = Command::new(&self.lateenctl);
        let (first, rest) = arguments.split_first().context("no command")?;
        command
            .args(["local", first, "--name", &self.name])
            .args(rest);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_bytes())?;
        }
        convert(child.wait_with_output()?).ok().map(drop)
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.down();
        }
    }
}

/// Runs a command to its end without input.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?} cannot be run"))?;
    Ok(convert(output))
}

fn convert(output: std::process::Output) -> Output {
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// `lateenctl` beside this executable, or one folder up where tests live.
pub(crate) fn lateenctl() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    for folder in here.ancestors().skip(1).take(2) {
        let candidate = folder.join("lateenctl");
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!(
        "no lateenctl beside {}: build the workspace's binaries first (cargo build --workspace --bins)",
        here.display()
    )
}

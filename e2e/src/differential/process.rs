//! The two proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::tls::certificates::Certificates;
use super::upstream::Script;
use crate::eventually;

/// Lines of the access log begin with who called.
const ACCESS_LOG: &str = r#"[{ name: log, typed_config: { "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: "@LOG@", log_format: { text_format_source: { inline_string: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%|%REQ(:PATH)%|%REQ(:METHOD)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %BYTES_RECEIVED% %BYTES_SENT%\n" } } } }]"#;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Envoy,
    Lateen,
}

/// Where the two binaries are.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) envoy: PathBuf,
    pub(super) lateen: PathBuf,
}

/// A running proxy with its upstreams.
pub(super) struct Proxy {
    child: Child,
    folder: PathBuf,
    pub(super) script: Script,
    pub(super) certificates: Arc<Certificates>,
    /// Ports of the listeners by name.
    pub(super) listeners: BTreeMap<String, u16>,
    /// What each port is.
    pub(super) ports: BTreeMap<u16, String>,
    /// Ports of listeners that speak QUIC.
    quic: BTreeSet<u16>,
    /// Ports that called before the first case.
    pub(super) used: BTreeSet<u16>,
}

impl Proxy {
    /// Starts a proxy with a configuration whose places are filled in, and waits until it listens.
    pub(super) fn start(
        engine: Engine,
        binaries: &Binaries,
        template: &str,
        (folder, certificates): (&Path, &Arc<Certificates>),
    ) -> Result<Self> {
        let folder = folder.join(format!("{engine:?}"));
        fs::create_dir_all(&folder)?;
        let script = Script::default();
        let (mut listeners, mut ports) = (BTreeMap::new(), BTreeMap::new());
        let mut quic = BTreeSet::new();
        let text = template
            .replace("@ACCESS_LOG@", ACCESS_LOG)
            .replace("@LOG@", &log_path(&folder).display().to_string());
        let text = filled(&text, |kind, name| {
            let port = match kind {
                "UPSTREAM" => script.serve(name, certificates)?,
                "QUIC" => free_udp_port()?,
                _ => free_port()?,
            };
            if matches!(kind, "LISTEN" | "QUIC") {
                listeners.insert(name.to_owned(), port);
            }
            if kind == "QUIC" {
                quic.insert(port);
            }
            ports.insert(port, format!("{kind} {name}").to_lowercase());
            Ok(port)
        })?;
        let path = folder.join("bootstrap.yaml");
        fs::write(&path, text)?;
        let mut command = engine.command(binaries);
        command.arg("-c").arg(&path).stdin(Stdio::null());
        let output = File::create(folder.join("output.txt"))?;
        command.stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut proxy = Self {
            child,
            folder,
            script,
            certificates: Arc::clone(certificates),
            listeners,
            ports,
            quic,
            used: BTreeSet::new(),
        };
        proxy.wait().with_context(|| format!("{engine:?}"))?;
        Ok(proxy)
    }

    fn wait(&mut self) -> Result<()> {
        for port in self.listeners.values() {
            let (child, folder, used) = (&mut self.child, &self.folder, &mut self.used);
            let quic = &self.quic;
            let up = eventually(Duration::from_secs(30), || match child.try_wait()? {
                Some(_) => Ok(false),
                None if quic.contains(port) => {
                    // Nobody else can bind it then.
                    ensure!(UdpSocket::bind(("127.0.0.1", *port)).is_err(), "not bound");
                    Ok(true)
                }
                None => {
                    let stream = TcpStream::connect(("127.0.0.1", *port))?;
                    used.insert(stream.local_addr()?.port());
                    Ok(true)
                }
            });
            if !up.unwrap_or(false) {
                let output = fs::read_to_string(folder.join("output.txt"))?;
                bail!("does not listen; it says:\n{output}");
            }
        }
        Ok(())
    }

    /// Ends it and gives the lines of its access log by the port of the caller.
    pub(super) fn stop(mut self) -> Result<BTreeMap<u16, Vec<String>>> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(id, Signal::SIGTERM)?;
        eventually(Duration::from_secs(10), || {
            self.child.try_wait()?.context("still runs")
        })?;
        let mut lines: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        for line in fs::read_to_string(log_path(&self.folder))?.lines() {
            let mut fields = line.splitn(3, '|');
            let caller = fields.next().and_then(|text| text.rsplit(':').next());
            let Some(port) = caller.and_then(|text| text.parse().ok()) else {
                bail!("a line of the access log without a caller: {line}");
            };
            if fields.next() != Some(super::PROBE) {
                let text = fields.next().unwrap_or_default().to_owned();
                lines.entry(port).or_default().push(text);
            }
        }
        Ok(lines)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine {
    fn command(self, binaries: &Binaries) -> Command {
        let mut command = match self {
            Self::Envoy => Command::new(&binaries.envoy),
            Self::Lateen => Command::new(&binaries.lateen),
        };
        command.args([
            "--concurrency",
            "1",
            "--log-level",
            "warning",
            "--drain-time-s",
            "1",
        ]);
        match self {
            Self::Envoy => {
                command.args(["--use-dynamic-base-id", "--file-flush-interval-msec", "100"])
            }
            Self::Lateen => command.env_remove("RUST_LOG"),
        };
        if self == Self::Lateen {
            let mut arguments: Vec<_> = vec!["envoy".into()];
            arguments.extend(command.get_args().map(ToOwned::to_owned));
            command = Command::new(&binaries.lateen);
            command.args(arguments);
        }
        command
    }
}

/// Replaces `@KIND:name@` by a port, the same one for the same place.
fn filled(text: &str, mut port: impl FnMut(&str, &str) -> Result<u16>) -> Result<String> {
    let mut known: BTreeMap<String, u16> = BTreeMap::new();
    let mut made = String::with_capacity(text.len());
    // A place takes both of its signs; any other sign stays.
    let mut after_place = true;
    for part in text.split('@') {
        let place = part.split_once(':').filter(|(kind, _)| {
            matches!(*kind, "LISTEN" | "QUIC" | "UPSTREAM" | "CLOSED" | "ADMIN")
        });
        let Some((kind, name)) = place else {
            if !after_place {
                made.push('@');
            }
            made.push_str(part);
            after_place = false;
            continue;
        };
        let number = match known.get(part) {
            Some(number) => *number,
            None => {
                let number = port(kind, name)?;
                known.insert(part.to_owned(), number);
                number
            }
        };
        made.push_str(&number.to_string());
        after_place = true;
    }
    Ok(made)
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("access.log")
}

/// A port that no other place of this run was given, and below those that the system gives to connections: one of them
/// could take it before its proxy has bound it.
fn free_port() -> Result<u16> {
    const FIRST: u16 = 12_000;
    const LAST: u16 = 32_000;
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut port = FIRST + u16::try_from(std::process::id() % 20_000).unwrap_or_default();
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in FIRST..LAST {
        port = if port + 1 < LAST { port + 1 } else { FIRST };
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("no port is free")
}

/// The same for UDP.
fn free_udp_port() -> Result<u16> {
    for _ in 0..100 {
        let port = free_port()?;
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

//! A proxy and an upstream for the tests that send what no honest client sends.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{eventually, workspace};

/// The body of every answer of the upstream.
pub const ANSWER: &str = "hello, world";
/// Bytes of a body that `/big` asks for.
pub const BIG: usize = 1 << 20;

/// A running proxy; it ends with the value.
pub struct Running {
    child: Child,
    /// Where it listens, in the order in which the places were named.
    pub ports: Vec<u16>,
}

/// An upstream that keeps what each of its connections got.
#[derive(Clone)]
pub struct RawUpstream {
    /// Its port.
    pub port: u16,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// The debug binary, or the one that `LATEEN_PROXY` names.
pub fn lateen() -> PathBuf {
    let built = || workspace().join("target/debug/lateen-proxy");
    std::env::var_os("LATEEN_PROXY").map_or_else(built, Into::into)
}

impl Running {
    /// Starts `command -c` a bootstrap, in which each of `places` (`@name@`) becomes a free port, and waits until it
    /// listens.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(
        command: &mut Command,
        template: &str,
        places: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        let mut ports = Vec::new();
        let mut text = template.replace("@DIR@", &folder.display().to_string());
        for place in places {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            text = text.replace(&format!("@{place}@"), &port.to_string());
            ports.push(port);
        }
        let path = folder.join("bootstrap.yaml");
        fs::write(&path, text)?;
        let log = folder.join("output.txt");
        let output = File::create(&log)?;
        command.arg("-c").arg(&path).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut running = Self { child, ports };
        for port in running.ports.clone() {
            let child = &mut running.child;
            let up = eventually(Duration::from_secs(30), || match child.try_wait()? {
                Some(_) => Ok(false),
                None => Ok(TcpStream::connect(("127.0.0.1", port)).map(|_| true)?),
            });
            if !up.unwrap_or(false) {
                bail!("does not listen; it says:\n{}", fs::read_to_string(log)?);
            }
        }
        Ok(running)
    }

    /// `lateen-proxy envoy` with one worker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn lateen(template: &str, places: &[&str], folder: &Path) -> Result<Self> {
        let start = || {
            let mut command = Command::new(lateen());
            command.args(["envoy", "--concurrency", "1"]);
            Self::start(&mut command, template, places, folder)
        };
        // Somebody else may take a port between its choice and its use.
        start().or_else(|_| start()).or_else(|_| start())
    }

    /// Where the first listener is.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.first().copied().unwrap_or(0)))
    }

    /// Asks the process to end.
    ///
    /// # Errors
    /// When it is gone.
    pub fn terminate(&self) -> Result<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?);
        Ok(kill(id, Signal::SIGTERM)?)
    }

    /// Resident memory, bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn memory(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: u64 = kib.context("no VmRSS")?.parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RawUpstream {
    /// Serves on a free port until the process ends.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let upstream = Self {
            port: listener.local_addr()?.port(),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&upstream.connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connections = Arc::clone(&connections);
                thread::spawn(move || serve(stream, &connections));
            }
        });
        Ok(upstream)
    }

    /// What connections got since the last call, each by itself.
    pub fn take(&self) -> Vec<Vec<u8>> {
        let mut all = lock(&self.connections);
        let taken = all.iter_mut().map(std::mem::take);
        taken.filter(|bytes| !bytes.is_empty()).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: TcpStream, connections: &Mutex<Vec<Vec<u8>>>) {
    let index = {
        let mut all = lock(connections);
        all.push(Vec::new());
        all.len() - 1
    };
    let mut got = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let new = &buffer[..count];
        got.extend_from_slice(new);
        if let Some(bytes) = lock(connections).get_mut(index) {
            bytes.extend_from_slice(new);
        }
        while let Some(length) = message(&got) {
            let head: Vec<u8> = got.drain(..length).collect();
            let body = match head.windows(5).any(|part| part == b" /big") {
                true => "x".repeat(BIG),
                false => ANSWER.to_owned(),
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let sent = stream.write_all((head + &body).as_bytes());
            if sent.is_err() {
                return;
            }
        }
    }
}

/// Length of the request that `bytes` begin with, if it is whole.
fn message(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    let rest = bytes.get(end..)?;
    if head.contains("transfer-encoding: chunked") {
        let last = rest.windows(5).position(|part| part == b"0\r\n\r\n");
        return Some(end + last? + 5);
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    (rest.len() >= length).then_some(end + length)
}

//! The processes of a run: nginx behind, one or two proxies before it. All end with the value that holds them.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lateen_e2e::eventually;

use crate::bootstrap::{Bootstrap, Ports};

/// Core of the proxies; everything else runs on the other.
const PROXY_CORE: &str = "1";
/// Core of everything else.
pub(crate) const OTHER_CORE: &str = "0";

/// A folder with certificates and configurations.
pub(crate) struct Places {
    pub(crate) folder: PathBuf,
}

/// The web server behind the proxies.
pub(crate) struct Backend {
    /// Where it speaks HTTP/1.1.
    pub(crate) http1: u16,
    /// Where it speaks HTTP/2.
    pub(crate) http2: u16,
    _process: Process,
}

/// A proxy to measure.
pub(crate) struct Engine {
    binary: PathBuf,
    arguments: &'static [&'static str],
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) process: Process,
}

/// Ended when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Places {
    /// Makes a root and two leaf certificates with openssl.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let script = "\
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /O=bench \
            && for side in client server; do \
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $side.key -out $side.csr -subj / \
            && printf 'subjectAltName=URI:spiffe://cluster.local/ns/default/sa/%s\\n' $side > $side.ext \
            && openssl x509 -req -in $side.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 -extfile $side.ext -out $side.crt \
            || exit 1; done";
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(folder)
            .output()?;
        ensure!(
            output.status.success(),
            "openssl: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Self {
            folder: folder.to_owned(),
        })
    }
}

impl Backend {
    /// nginx with one worker that answers every request with a small body.
    pub(crate) fn start(places: &Places) -> Result<Self> {
        let (http1, http2) = (free_port()?, free_port()?);
        let folder = places.folder.display();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit; events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}; proxy_temp_path {folder};\n\
             fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
             server {{ listen 127.0.0.1:{http1}; location / {{ return 200 'ok'; }} }}\n\
             server {{ listen 127.0.0.1:{http2} http2; location / {{ return 200 'ok'; }} }} }}"
        );
        let path = places.folder.join("nginx.conf");
        std::fs::write(&path, config)?;
        let process = spawn(
            OTHER_CORE,
            Path::new("nginx"),
            &["-c", &path.display().to_string()],
        )?;
        wait_for(http1)?;
        Ok(Self {
            http1,
            http2,
            _process: process,
        })
    }
}

impl Engine {
    /// `lateen-proxy` beside this executable.
    pub(crate) fn lateen() -> Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("lateen-proxy");
        ensure!(
            binary.is_file(),
            "{} is missing: make build",
            binary.display()
        );
        Ok(Self {
            binary,
            arguments: &["envoy", "--concurrency", "1"],
        })
    }

    /// Envoy.
    pub(crate) fn envoy(binary: PathBuf) -> Self {
        Self {
            binary,
            arguments: &[
                "--concurrency",
                "1",
                "--log-level",
                "error",
                "--use-dynamic-base-id",
            ],
        }
    }

    /// Starts it, with connections to the port `backend`, and waits until it listens.
    pub(crate) fn start(
        &self,
        places: &Places,
        bootstrap: Bootstrap,
        backend: u16,
    ) -> Result<Proxy> {
        let ports = Ports {
            admin: free_port()?,
            listen: free_port()?,
            backend,
        };
        let path = places.folder.join(format!("{}.json", ports.listen));
        std::fs::write(&path, bootstrap.text(ports, &places.folder))?;
        let path = path.display().to_string();
        let mut arguments = self.arguments.to_vec();
        arguments.extend(["-c", &path]);
        let process = spawn(PROXY_CORE, &self.binary, &arguments)?;
        wait_for(ports.listen)
            .with_context(|| format!("{} with {bootstrap:?}", self.binary.display()))?;
        Ok(Proxy {
            port: ports.listen,
            process,
        })
    }
}

fn spawn(core: &str, binary: &Path, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new("taskset");
    command
        .args(["-c", core])
        .arg(binary)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Ok(Process(
        command.spawn().with_context(|| format!("{command:?}"))?,
    ))
}

fn wait_for(port: u16) -> Result<()> {
    eventually(Duration::from_secs(60), || {
        TcpStream::connect(("127.0.0.1", port))
            .map(drop)
            .with_context(|| format!("nothing listens on port {port}"))
    })
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

//! How commands reach a running mesh: over its control socket.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::http::{HttpError, exchange};
use crate::plan::{ISTIOD, SYSTEM};
use crate::protocol::{Answer, Frame, MeshStatus, Request};
use crate::source::SourceFile;
use crate::state::{MeshName, StateDir, StateError};

/// Port of a proxy's admin pages, on its pod's loopback.
const PROXY_ADMIN: u16 = 15000;
/// Port of lateend's debug pages, on its pod's loopback.
const CONTROL_PLANE_DEBUG: u16 = 8080;
/// Largest page that is read, in bytes.
const MAX_PAGE: usize = 256 << 20;
/// Looks at the folder of a mesh that nobody holds any more before it is taken for gone.
const DOWN_REST: u32 = 50;
/// Time a page gets.
const PAGE_LIMIT: Duration = Duration::from_secs(30);

/// A running mesh.
#[derive(Debug, Clone)]
pub struct Mesh {
    state: StateDir,
}

/// A connection into the mesh.
pub type Stream = BufReader<UnixStream>;

/// Why a running mesh did not do what was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no such mesh.
    #[error(transparent)]
    State(#[from] StateError),
    /// The socket broke.
    #[error("connection to mesh \"{0}\": {1}")]
    Socket(String, std::io::Error),
    /// The mesh refused.
    #[error("{0}")]
    Refused(String),
    /// The mesh's answer was not understood.
    #[error("answer of the mesh not understood (is it of another version?): {0}")]
    Answer(String),
    /// A page could not be read.
    #[error("{0}: {1}")]
    Page(String, HttpError),
    /// A page answered with a failure.
    #[error("{0} answered {1}: {2}")]
    Status(String, http::StatusCode, String),
}

impl Mesh {
    /// Finds a running mesh of this user by its name.
    ///
    /// # Errors
    /// [`ClientError::State`] when the name is not valid or no such mesh runs.
    pub fn find(name: &str) -> Result<Self, ClientError> {
        Self::in_state(StateDir::of(MeshName::new(name)?))
    }

    /// Finds a running mesh whose state lies under a given runtime folder.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_under(runtime: &std::path::Path, name: &str) -> Result<Self, ClientError> {
        Self::in_state(StateDir::under(runtime, MeshName::new(name)?))
    }

    fn in_state(state: StateDir) -> Result<Self, ClientError> {
        if state.is_claimed() && state.control_socket().exists() {
            Ok(Self { state })
        } else {
            let root = state
                .root()
                .parent()
                .unwrap_or_else(|| state.root())
                .to_owned();
            Err(StateError::Absent(state.name().as_str().to_owned(), root).into())
        }
    }

    /// The mesh whose state lies in a folder.
    pub(crate) const fn at(state: StateDir) -> Self {
        Self { state }
    }

    /// Folder with the mesh's state.
    #[must_use]
    pub const fn state(&self) -> &StateDir {
        &self.state
    }

    /// Process of the supervisor as this machine numbers it; its network namespace holds the mesh's bridge.
    ///
    /// # Errors
    /// [`ClientError::Socket`] when the mesh does not answer.
    pub async fn supervisor_process(&self) -> Result<i32, ClientError> {
        let stream = UnixStream::connect(self.state.control_socket())
            .await
            .map_err(|e| self.socket(e))?;
        let peer = stream.peer_cred().map_err(|e| self.socket(e))?;
        peer.pid()
            .ok_or_else(|| ClientError::Answer("no process id".to_owned()))
    }

    /// State of the mesh and its pods.
    ///
    /// # Errors
    /// [`ClientError`] when the mesh does not answer.
    pub async fn status(&self) -> Result<MeshStatus, ClientError> {
        self.ask(&Request::Status).await
    }

    /// Adds or changes objects; a line an object says what was done.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with every problem, a line each; nothing is changed then.
    pub async fn apply(&self, files: Vec<SourceFile>) -> Result<Vec<String>, ClientError> {
        self.ask(&Request::Apply { files }).await
    }

    /// Takes objects away; a line an object says what was done.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when one of them is not there; nothing is changed then.
    pub async fn delete(&self, files: Vec<SourceFile>) -> Result<Vec<String>, ClientError> {
        self.ask(&Request::Delete { files }).await
    }

    /// Ends a pod in order; its workload starts another one.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such pod.
    pub async fn delete_pod(&self, pod: &str) -> Result<Vec<String>, ClientError> {
        self.ask(&Request::DeletePod {
            pod: pod.to_owned(),
        })
        .await
    }

    /// Replaces the pods of a workload (`deployment/NAME`) one by one.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such workload.
    pub async fn restart(&self, workload: &str) -> Result<Vec<String>, ClientError> {
        self.ask(&Request::Restart {
            workload: workload.to_owned(),
        })
        .await
    }

    /// Sends a signal, such as `KILL`, to the first process of a container.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the container is not there or does not run.
    pub async fn signal(
        &self,
        pod: &str,
        container: Option<&str>,
        signal: &str,
    ) -> Result<(), ClientError> {
        let container = container.map(str::to_owned);
        self.ask(&Request::Signal {
            pod: pod.to_owned(),
            container,
            signal: signal.to_owned(),
        })
        .await
    }

    /// A token of a service account, good for an hour, signed with the mesh's key.
    ///
    /// # Errors
    /// [`ClientError`] when the mesh does not answer.
    pub async fn token(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
    ) -> Result<String, ClientError> {
        self.ask(&Request::Token {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            audience: audience.to_owned(),
        })
        .await
    }

    /// Ends the mesh and waits until everything is gone.
    ///
    /// # Errors
    /// [`ClientError`] when the mesh does not answer.
    pub async fn down(&self) -> Result<(), ClientError> {
        self.ask::<Value>(&Request::Down).await?;
        // The lock goes a moment before the folder.
        let mut rest = DOWN_REST;
        while self.state.root().exists() && rest > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            rest = if self.state.is_claimed() {
                DOWN_REST
            } else {
                rest - 1
            };
        }
        Ok(())
    }

    /// Opens a connection to a port of a pod's loopback.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such pod or nothing listens.
    pub async fn dial(&self, pod: &str, port: u16) -> Result<Stream, ClientError> {
        self.open(&Request::Dial {
            pod: pod.to_owned(),
            port,
        })
        .await
    }

    /// Opens a connection to a port of a Service.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such Service or no pod behind it is ready.
    pub async fn dial_service(
        &self,
        name: &str,
        namespace: &str,
        port: u16,
    ) -> Result<Stream, ClientError> {
        self.open(&Request::DialService {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            port,
        })
        .await
    }

    /// A page of a proxy's admin interface (15000), such as `/config_dump`.
    ///
    /// # Errors
    /// [`ClientError`] when the proxy cannot be reached or answers with a failure.
    pub async fn proxy_admin(
        &self,
        pod: &str,
        method: Method,
        path: &str,
    ) -> Result<Bytes, ClientError> {
        self.page(pod, PROXY_ADMIN, method, path).await
    }

    /// A debug page of lateend (8080), such as `/debug/syncz`.
    ///
    /// # Errors
    /// [`ClientError`] when lateend cannot be reached or answers with a failure.
    pub async fn istiod_http(&self, path: &str) -> Result<Bytes, ClientError> {
        self.page(
            &format!("{ISTIOD}.{SYSTEM}"),
            CONTROL_PLANE_DEBUG,
            Method::GET,
            path,
        )
        .await
    }

    /// Runs a command in a container (the pod's first app container unless named), or with no pod in the mesh's own network
    /// namespace. Gives its exit code.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it cannot be started.
    pub async fn exec(
        &self,
        (pod, container): (Option<&str>, Option<&str>),
        command: Vec<String>,
        stdin: Option<impl AsyncRead + Unpin + Send>,
        mut stdout: impl AsyncWrite + Unpin,
        mut stderr: impl AsyncWrite + Unpin,
    ) -> Result<i32, ClientError> {
        let request = Request::Exec {
            pod: pod.map(str::to_owned),
            container: container.map(str::to_owned),
            command,
        };
        let (mut reader, mut writer) = tokio::io::split(self.open(&request).await?);
        let input = async {
            if let Some(stdin) = stdin {
                feed(stdin, &mut writer).await
            } else {
                send(&mut writer, &Frame::StdinEnd).await
            }
        };
        let output = async {
            let mut lines = BufReader::new(&mut reader).lines();
            while let Some(line) = lines.next_line().await? {
                match serde_json::from_str(&line)? {
                    Frame::Stdout(data) => write(&mut stdout, &data).await?,
                    Frame::Stderr(data) => write(&mut stderr, &data).await?,
                    Frame::Exit(code) => return Ok(code),
                    Frame::Stdin(_) | Frame::StdinEnd => {}
                }
            }
            Err(std::io::ErrorKind::UnexpectedEof.into())
        };
        tokio::pin!(input, output);
        let code = tokio::select! {
            code = &mut output => code,
            _ = &mut input => output.await,
        };
        code.map_err(|e| self.socket(e))
    }

    /// Output of a container, line by line; with `follow` it goes on until the stream is dropped.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such container.
    pub async fn logs(
        &self,
        pod: &str,
        container: Option<&str>,
        follow: bool,
        tail: Option<usize>,
    ) -> Result<Stream, ClientError> {
        self.open(&Request::Logs {
            pod: pod.to_owned(),
            container: container.map(str::to_owned),
            follow,
            tail,
        })
        .await
    }

    /// A page that a port of a pod's loopback serves over HTTP.
    ///
    /// # Errors
    /// [`ClientError`] when nothing answers there, or with a failure.
    pub async fn page(
        &self,
        pod: &str,
        port: u16,
        method: Method,
        path: &str,
    ) -> Result<Bytes, ClientError> {
        let stream = self.dial(pod, port).await?;
        let name = format!("{pod}:{port}{path}");
        let headers = [("host".to_owned(), format!("localhost:{port}"))];
        let answer = tokio::time::timeout(
            PAGE_LIMIT,
            exchange(stream, method, path, &headers, MAX_PAGE),
        )
        .await;
        let answer = answer.map_err(|_| {
            ClientError::Refused(format!(
                "{name}: no answer within {} s",
                PAGE_LIMIT.as_secs()
            ))
        })?;
        let (status, body) = answer.map_err(|e| ClientError::Page(name.clone(), e))?;
        if status.is_success() {
            return Ok(body);
        }
        let text: String = String::from_utf8_lossy(&body).chars().take(500).collect();
        Err(ClientError::Status(name, status, text))
    }

    async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ClientError> {
        let (_, value) = self.send(request).await?;
        serde_json::from_value(value).map_err(|e| ClientError::Answer(e.to_string()))
    }

    async fn open(&self, request: &Request) -> Result<Stream, ClientError> {
        self.send(request).await.map(|(stream, _)| stream)
    }

    async fn send(&self, request: &Request) -> Result<(Stream, Value), ClientError> {
        let mut stream = UnixStream::connect(self.state.control_socket())
            .await
            .map_err(|e| self.socket(e))?;
        let mut line =
            serde_json::to_vec(request).map_err(|e| ClientError::Answer(e.to_string()))?;
        line.push(b'\n');
        stream.write_all(&line).await.map_err(|e| self.socket(e))?;
        let mut stream = BufReader::new(stream);
        let mut answer = String::new();
        stream
            .read_line(&mut answer)
            .await
            .map_err(|e| self.socket(e))?;
        match serde_json::from_str(&answer) {
            Ok(Answer::Ok(value)) => Ok((stream, value)),
            Ok(Answer::Error(message)) => Err(ClientError::Refused(message)),
            Err(error) => Err(ClientError::Answer(error.to_string())),
        }
    }

    fn socket(&self, error: std::io::Error) -> ClientError {
        ClientError::Socket(self.state.name().as_str().to_owned(), error)
    }
}

async fn feed(
    mut stdin: impl AsyncRead + Unpin,
    writer: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = stdin.read(&mut buffer).await?;
        if length == 0 {
            return send(writer, &Frame::StdinEnd).await;
        }
        let data = STANDARD.encode(buffer.get(..length).unwrap_or_default());
        send(writer, &Frame::Stdin(data)).await?;
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(frame)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

async fn write(out: &mut (impl AsyncWrite + Unpin), data: &str) -> std::io::Result<()> {
    let bytes = STANDARD.decode(data).map_err(std::io::Error::other)?;
    out.write_all(&bytes).await?;
    out.flush().await
}

//! The control socket: one request a connection.

use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use lateen_api::object::Problem;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::{Supervisor, exec, find, lines};
use crate::protocol::{Answer, MAX_LINE, Request};
use crate::tokens::Subject;

/// Life of a token for an operator, in seconds.
const OPERATOR_TOKEN: u64 = 3600;

type Halves = (BufReader<OwnedReadHalf>, OwnedWriteHalf);

/// Serves the socket until the process ends. Its folder lets nobody else in.
pub(super) async fn serve(supervisor: Arc<Supervisor>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let supervisor = Arc::clone(&supervisor);
                tokio::spawn(async move {
                    if let Err(error) = connection(supervisor, stream).await {
                        tracing::debug!(%error, "control connection");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(supervisor: Arc<Supervisor>, stream: UnixStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    (&mut reader)
        .take(MAX_LINE as u64)
        .read_line(&mut line)
        .await?;
    match serde_json::from_str::<Request>(&line) {
        Ok(request) => supervisor.handle(request, (reader, writer)).await,
        Err(error) => {
            answer(
                &mut writer,
                &Answer::Error(format!("request not understood: {error}")),
            )
            .await
        }
    }
}

impl Supervisor {
    async fn handle(
        self: Arc<Self>,
        request: Request,
        (reader, mut writer): Halves,
    ) -> std::io::Result<()> {
        let result = match request {
            Request::Exec {
                pod,
                container,
                command,
                ..
            } => {
                return self
                    .exec(
                        pod.as_deref(),
                        container.as_deref(),
                        command,
                        (reader, writer),
                    )
                    .await;
            }
            Request::Logs {
                pod,
                container,
                follow,
                tail,
            } => {
                return self
                    .logs(&pod, container.as_deref(), (follow, tail), writer)
                    .await;
            }
            Request::Dial { pod, port } => {
                let dialled = match self.pod(&pod) {
                    Ok(pod) => self
                        .context
                        .dial(&pod, port)
                        .await
                        .map_err(|e| e.to_string()),
                    Err(error) => Err(error),
                };
                return splice(dialled, (reader, writer)).await;
            }
            Request::DialService {
                name,
                namespace,
                port,
            } => {
                let dialled = self.dial_service(&name, &namespace, port).await;
                return splice(dialled, (reader, writer)).await;
            }
            Request::Status => Ok(serde_json::to_value(self.status()).unwrap_or_default()),
            Request::Apply { files } => self.change(|desired| desired.apply(&files)),
            Request::Delete { files } => self.change(|desired| desired.delete(&files)),
            Request::DeletePod { pod } => self.delete_pod(&pod),
            Request::Restart { workload } => self.restart(&workload),
            Request::Signal {
                pod,
                container,
                signal,
            } => self.signal(&pod, container.as_deref(), &signal),
            Request::Token {
                namespace,
                service_account,
                audience,
            } => self.token(namespace, service_account, audience),
            Request::Down => {
                self.down.send_replace(true);
                let mut ended = self.ended.subscribe();
                let _ = ended.wait_for(|ended| *ended).await;
                Ok(Value::Null)
            }
        };
        answer(&mut writer, &result.map_or_else(Answer::Error, Answer::Ok)).await
    }

    fn change(
        &self,
        change: impl FnOnce(&mut super::Desired) -> Result<Vec<String>, Vec<Problem>>,
    ) -> Result<Value, String> {
        let said = change(&mut crate::lock(&self.desired)).map_err(|problems| lines(&problems))?;
        self.changed.notify_one();
        Ok(json!(said))
    }

    fn delete_pod(self: &Arc<Self>, pod: &str) -> Result<Value, String> {
        let pod = self.pod(pod)?;
        let said = json!([format!("pod/{} deleted", pod.key().name)]);
        self.end_pod(pod);
        Ok(said)
    }

    fn restart(&self, workload: &str) -> Result<Value, String> {
        let key = self.workload(workload)?;
        let now = Timestamp::now().to_string();
        self.change(|desired| {
            desired.restart(&key, now).map(|()| {
                vec![format!(
                    "{}/{} restarted",
                    key.kind.to_ascii_lowercase(),
                    key.name
                )]
            })
        })
    }

    fn signal(&self, pod: &str, container: Option<&str>, signal: &str) -> Result<Value, String> {
        let pod = self.pod(pod)?;
        let container = find::container(&pod, container)?;
        let process = pod.container(&container).and_then(|c| c.process());
        let process = process.and_then(|p| i32::try_from(p).ok()).ok_or_else(|| {
            format!(
                "container \"{container}\" of pod {} is not running",
                pod.key()
            )
        })?;
        let name = format!("SIG{}", signal.trim_start_matches("SIG"));
        let signal: Signal = name.parse().map_err(|_| format!("{signal} is no signal"))?;
        kill(Pid::from_raw(process), signal).map_err(|e| e.to_string())?;
        Ok(Value::Null)
    }

    fn token(
        &self,
        namespace: String,
        service_account: String,
        audience: String,
    ) -> Result<Value, String> {
        let subject = Subject {
            namespace,
            service_account,
            pod: None,
        };
        let token =
            self.context
                .issuer
                .issue(&subject, &[audience], OPERATOR_TOKEN, SystemTime::now());
        token.map(Value::from).map_err(|e| e.to_string())
    }

    async fn dial_service(
        &self,
        name: &str,
        namespace: &str,
        port: u16,
    ) -> Result<TcpStream, String> {
        let plan = crate::lock(&self.desired).plan();
        let found = plan.declared.services.iter().find(|s| {
            s.metadata.name.as_deref() == Some(name)
                && s.metadata.namespace.as_deref() == Some(namespace)
        });
        let address = found
            .and_then(crate::endpoints::address)
            .ok_or_else(|| format!("no Service {namespace}/{name} with an address"))?;
        TcpStream::connect((address, port))
            .await
            .map_err(|e| format!("Service {namespace}/{name} port {port}: {e}"))
    }

    async fn exec(
        &self,
        pod: Option<&str>,
        container: Option<&str>,
        command: Vec<String>,
        (reader, mut writer): Halves,
    ) -> std::io::Result<()> {
        match self.start_command(pod, container, command) {
            Err(error) => answer(&mut writer, &Answer::Error(error)).await,
            Ok(child) => {
                answer(&mut writer, &Answer::Ok(Value::Null)).await?;
                exec::carry(child, reader, writer).await
            }
        }
    }

    async fn logs(
        &self,
        pod: &str,
        container: Option<&str>,
        (follow, tail): (bool, Option<usize>),
        mut writer: OwnedWriteHalf,
    ) -> std::io::Result<()> {
        let found = self.pod(pod).and_then(|pod| {
            let name = find::container(&pod, container)?;
            pod.logs
                .get(&name)
                .cloned()
                .ok_or_else(|| format!("container \"{name}\" has no log"))
        });
        let log = match found {
            Ok(log) => log,
            Err(error) => return answer(&mut writer, &Answer::Error(error)).await,
        };
        answer(&mut writer, &Answer::Ok(Value::Null)).await?;
        let mut changes = log.watch();
        changes.mark_changed();
        let (mut first, mut next) = (tail, 0);
        while changes.changed().await.is_ok() {
            let (mut lines, after) = log.read_from(next);
            next = after;
            if let Some(count) = first.take() {
                lines.drain(..lines.len().saturating_sub(count));
            }
            let mut text = lines.join("\n");
            if !lines.is_empty() {
                text.push('\n');
            }
            writer.write_all(text.as_bytes()).await?;
            if !follow {
                break;
            }
        }
        Ok(())
    }
}

async fn splice<S>(dialled: Result<S, String>, (reader, mut writer): Halves) -> std::io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut server = match dialled {
        Ok(server) => server,
        Err(error) => return answer(&mut writer, &Answer::Error(error)).await,
    };
    answer(&mut writer, &Answer::Ok(Value::Null)).await?;
    // Bytes that came right behind the request line are in the reader's buffer.
    let mut client = tokio::io::join(reader, writer);
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn answer(writer: &mut OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

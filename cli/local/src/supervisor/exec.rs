//! A command in a container, its streams carried over the control socket.

use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use super::{Supervisor, find};
use crate::pod::{PodEnvironment, Streams, exec_spec, spawn};
use crate::protocol::Frame;

/// Bytes of output in one frame.
const CHUNK: usize = 32 << 10;

impl Supervisor {
    /// Starts a command in a pod's container, or in the mesh's own network namespace.
    pub(super) fn start_command(
        &self,
        pod: Option<&str>,
        container: Option<&str>,
        command: Vec<String>,
    ) -> Result<Child, String> {
        let Some(pod) = pod else {
            let (program, arguments) = command.split_first().ok_or("no command")?;
            let mut child = Command::new(program);
            child
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true);
            return child.spawn().map_err(|e| format!("{program}: {e}"));
        };
        let pod = self.pod(pod)?;
        let container = find::container(&pod, container)?;
        let environment = PodEnvironment::new(Arc::clone(&pod), &self.state);
        let settings = Arc::clone(&self.context.settings.borrow());
        let spec = exec_spec(&environment, &container, command, &settings)?;
        spawn(
            &self.context.executable,
            environment.folder(),
            &spec,
            Streams::All,
        )
        .map_err(|e| e.to_string())
    }
}

/// Carries the streams until the command has ended or the caller has gone, which ends the command.
pub(super) async fn carry(
    mut child: Child,
    reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
) -> std::io::Result<()> {
    let (frames, mut outgoing) = mpsc::channel(16);
    let out = child
        .stdout
        .take()
        .map(|s| tokio::spawn(pump(s, frames.clone(), Frame::Stdout)));
    let err = child
        .stderr
        .take()
        .map(|s| tokio::spawn(pump(s, frames.clone(), Frame::Stderr)));
    let mut gone = tokio::spawn(feed(reader, child.stdin.take()));
    let ended = async move {
        // All output comes before the exit code.
        for stream in [out, err].into_iter().flatten() {
            let _ = stream.await;
        }
        let code = match child.wait().await {
            Ok(status) => {
                use std::os::unix::process::ExitStatusExt;
                status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
            }
            Err(_) => 255,
        };
        let _ = frames.send(Frame::Exit(code)).await;
    };
    let ended = tokio::spawn(ended);
    let carried = async {
        while let Some(frame) = outgoing.recv().await {
            let mut line = serde_json::to_vec(&frame)?;
            line.push(b'\n');
            writer.write_all(&line).await?;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = carried => result,
        // Nobody listens any more.
        _ = &mut gone => Ok(()),
    };
    ended.abort();
    gone.abort();
    result
}

async fn pump(
    mut stream: impl AsyncRead + Unpin,
    frames: mpsc::Sender<Frame>,
    frame: fn(String) -> Frame,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => {
                let data = STANDARD.encode(buffer.get(..length).unwrap_or_default());
                if frames.send(frame(data)).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Passes input on; ends when the caller has gone.
async fn feed(mut reader: BufReader<OwnedReadHalf>, mut stdin: Option<ChildStdin>) {
    let mut line = String::new();
    // Each line is one frame of bounded size; the caller is lateenctl itself.
    while reader
        .read_line(&mut line)
        .await
        .is_ok_and(|length| length > 0)
    {
        let bytes = match serde_json::from_str(&line) {
            Ok(Frame::Stdin(data)) => STANDARD.decode(data).ok(),
            _ => None,
        };
        let written = match (&mut stdin, bytes) {
            (Some(stdin), Some(bytes)) => stdin.write_all(&bytes).await.is_ok(),
            _ => false,
        };
        if !written {
            // The end of the input, or a command that reads no more.
            stdin = None;
        }
        line.clear();
    }
}

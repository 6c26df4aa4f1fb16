//! A process takes the place of another while clients call: none of them notices.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn bootstrap(port: u16, text: &str) -> String {
    format!(
        r#"static_resources:
  listeners:
  - name: answering
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: direct
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config
          response: {{ inline_string: {text} }}
"#
    )
}

fn start(folder: &Path, base_id: u32, epoch: u32, text: &str, port: u16) -> Child {
    let path = folder.join(format!("{epoch}.yaml"));
    std::fs::write(&path, bootstrap(port, text)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_lateen-proxy"))
        .args([
            "envoy",
            "--concurrency",
            "2",
            "--log-level",
            "warning",
            "-c",
        ])
        .arg(&path)
        .args(["--base-id", &base_id.to_string()])
        .args(["--restart-epoch", &epoch.to_string()])
        .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "1"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the proxy answers; `None` when it does not.
fn ask(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn no_connection_is_lost_when_a_process_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let base_id = std::process::id();
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut old = start(folder.path(), base_id, 0, "old", address.port());
    wait("the first process serves", || ask(address).is_some());

    let (stop, lost) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, lost) = (Arc::clone(&stop), Arc::clone(&lost));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if !matches!(ask(address).as_deref(), Some("old" | "new")) {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let mut new = start(folder.path(), base_id, 1, "new", address.port());
    let ended = || old.try_wait().unwrap().is_some();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait("the first process ends", ended);
        assert_eq!(ask(address).as_deref(), Some("new"));
    }));
    stop.store(true, Ordering::Relaxed);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let _ = (old.kill(), new.kill());
    let _ = (old.wait(), new.wait());
    outcome.unwrap();
    assert_eq!(lost.load(Ordering::Relaxed), 0);
}

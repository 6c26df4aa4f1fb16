//! Holds a pod's network, host name and IPC namespaces, and carries connections to the pod's loopback.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use super::spec::PauseSpec;

/// Connections carried at the same time.
const MAX_STREAMS: usize = 128;
/// Longest request line: a port number.
const MAX_LINE: usize = 16;

/// Makes the namespaces, says `ready` on standard output, and serves connections until it is killed.
pub(crate) fn main(spec: &Path) -> ExitCode {
    match hold(spec) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lateenctl: cannot make the pod's sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn hold(path: &Path) -> io::Result<()> {
    let spec: PauseSpec = serde_json::from_slice(&fs::read(path)?)?;
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(own)?;
    sethostname(&spec.hostname)?;
    for (name, value) in &spec.sysctls {
        let path = sysctl_path(name);
        fs::write(&path, value)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    }
    let listener = UnixListener::bind(&spec.dial)?;
    println_ready()?;
    serve(&listener);
    Ok(())
}

fn println_ready() -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(b"ready\n")?;
    out.flush()
}

fn sysctl_path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name.replace('.', "/"))
}

fn serve(listener: &UnixListener) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_STREAMS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let open = Arc::clone(&open);
        std::thread::spawn(move || {
            // Both ends see the close; there is no one else to tell.
            let _ = carry(stream);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// One connection: a line with the port, the answer `ok` or the error, then bytes both ways.
fn carry(mut client: UnixStream) -> io::Result<()> {
    let port = read_port(&mut client)?;
    let server = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        Ok(server) => server,
        Err(error) => return client.write_all(format!("error {error}\n").as_bytes()),
    };
    client.write_all(b"ok\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let mut server = server;
    let _ = io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = up.join();
    Ok(())
}

fn read_port(client: &mut UnixStream) -> io::Result<u16> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < MAX_LINE {
        client.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        line.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&line);
    text.parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("port {text:?}")))
}

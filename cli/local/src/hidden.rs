//! Commands of lateenctl that only its own processes use. They must run before any thread is started.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tracing_subscriber::EnvFilter;

use crate::container::{pause_main, shim_main};
use crate::{host, supervisor};

/// First process of a mesh's process namespace.
pub const INIT: &str = "__local-init";
/// Runs the mesh.
pub const SUPERVISE: &str = "__local-supervise";
/// Starts a mesh in the background.
pub const DETACHED: &str = "__local-detached";
/// Holds a pod's namespaces.
pub const PAUSE: &str = "__local-pause";
/// Becomes a container's process.
pub const CONTAINER: &str = "__local-container";

/// Runs a hidden command when the arguments, after the program's name, are one; a `main` calls this before all else.
#[must_use]
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let [command, path] = arguments else {
        return None;
    };
    let path = Path::new(path);
    match command.to_str()? {
        INIT => Some(init(path)),
        SUPERVISE => Some(supervisor::main(path)),
        DETACHED => Some(host::detached_main()),
        PAUSE => Some(pause_main(path)),
        CONTAINER => Some(shim_main(path)),
        _ => None,
    }
}

/// Logs of the mesh's own processes, as `RUST_LOG` says, else warnings and worse.
pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // A process that logs already keeps its way.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .try_init();
}

/// Starts the supervisor and collects all processes that end without a parent. When this process ends, so does every other one
/// of the mesh.
fn init(path: &Path) -> ExitCode {
    let started =
        std::env::current_exe().and_then(|exe| Command::new(exe).arg(SUPERVISE).arg(path).spawn());
    let child = match started {
        Ok(child) => child,
        Err(error) => {
            eprintln!("lateenctl: the supervisor cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        let (pid, code) = match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, u8::try_from(code).unwrap_or(1)),
            Ok(WaitStatus::Signaled(pid, ..)) => (pid, 137),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => return ExitCode::FAILURE,
        };
        if u32::try_from(pid.as_raw()).is_ok_and(|pid| pid == child.id()) {
            return ExitCode::from(code);
        }
    }
}

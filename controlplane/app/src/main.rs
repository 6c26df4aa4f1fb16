//! The control plane binary: `lateend discovery` serves the mesh, `lateend version` says which build this is.

mod address;
mod log;
mod mesh_file;
mod options;
mod pages;
mod pipeline;
mod ports;
mod run;

use std::io::{self, Write};
use std::process::ExitCode;

use options::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads that serve; translation and encoding run on them too.
const WORKERS: usize = 4;

fn main() -> ExitCode {
    let done = match options::parse() {
        Ok(Command::Version(version)) => {
            writeln!(io::stdout(), "{}", version.text()).map_err(Into::into)
        }
        Ok(Command::Discovery(options)) => discovery(*options),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without stderr there is nobody to tell.
            let _ = writeln!(
                io::stderr(),
                "Error: {}",
                lateen_api::causes(error.as_ref())
            );
            ExitCode::FAILURE
        }
    }
}

fn discovery(options: options::Discovery) -> anyhow::Result<()> {
    log::start(&options.log_output_level)?;
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()?;
    let done = runtime.block_on(run::run(options));
    // Threads that still read files are left behind.
    runtime.shutdown_background();
    done
}

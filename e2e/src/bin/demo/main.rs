//! The tour: bookinfo as a local mesh, and what the mesh does for it.
//!
//! Without `--check` the mesh stays up afterwards until Ctrl-C. With it every point is asserted and the exit code tells.

mod tour;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use lateen_e2e::{Mesh, MeshOptions, sample};

#[derive(Parser)]
#[command(
    version,
    about = "Bookinfo on a local mesh, with a tour of what the mesh does"
)]
struct Arguments {
    /// Exit after the tour, with 1 if a point does not hold.
    #[arg(long)]
    check: bool,
    /// Name of the mesh.
    #[arg(long, default_value = "demo")]
    name: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let begin = Instant::now();
    // A demo that was killed leaves nothing running but may leave its records: the next run starts clean.
    let mesh = Mesh::up(&MeshOptions {
        name: arguments.name.clone(),
        files: vec![
            sample("bookinfo/platform/kube/bookinfo.yaml"),
            sample("bookinfo/networking/bookinfo-gateway.yaml"),
            sample("bookinfo/networking/destination-rule-all.yaml"),
            sample("curl/curl.yaml"),
            sample("curl/legacy.yaml"),
            sample("httpbin/httpbin.yaml"),
        ],
        arguments: Vec::new(),
    })?;
    say(&mesh.local(&["status"])?.ok()?.stdout);
    let url = format!("{}/productpage", mesh.ingress()?);
    say(&format!("Product page: {url}\n\n"));
    let held = tour::walk(&mesh, &url);
    say(&format!(
        "\n{} in {:.0} s\n",
        if held {
            "Every point holds"
        } else {
            "NOT every point holds"
        },
        begin.elapsed().as_secs_f32()
    ));
    if !arguments.check {
        say(&format!(
            "The mesh stays up; open {url} or try `lateenctl local status --name {}`. Ctrl-C takes it down.\n",
            mesh.name()
        ));
        wait_for_interrupt()?;
    }
    mesh.down().context("the mesh did not come down")?;
    Ok(held)
}

fn wait_for_interrupt() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            outcome = tokio::signal::ctrl_c() => outcome?,
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = std::io::Write::write_all(&mut out, text.as_bytes());
    let _ = std::io::Write::flush(&mut out);
}

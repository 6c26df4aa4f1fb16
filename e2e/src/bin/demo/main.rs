//! The tour: bookinfo as a local mesh, and what the mesh does for it.
//!
//! Without `--check` the mesh stays up afterwards until Ctrl-C. With it every point is asserted and the exit code tells.

mod tour;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use lateen_e2e::{Mesh, MeshOptions, sample};
use tokio::signal::unix::{SignalKind, signal};

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
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Walks the tour and waits, both until somebody interrupts; takes the mesh down whatever happened.
fn run(arguments: &Arguments) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (name, check) = (arguments.name.clone(), arguments.check);
    let outcome: Result<bool> = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let interrupted = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let tour = tokio::task::spawn_blocking(move || tour(&name, check));
        tokio::pin!(interrupted);
        tokio::select! {
            held = tour => {
                let held = held??;
                if !check {
                    interrupted.await;
                }
                Ok(held)
            }
            () = &mut interrupted => Ok(!check),
        }
    });
    // A tour that was interrupted ends with the mesh it walks through.
    let down = Mesh::down_named(&arguments.name);
    runtime.shutdown_background();
    let held = outcome?;
    down.context("the mesh did not come down")?;
    Ok(held)
}

/// Brings the mesh up and walks through it; it stays up.
fn tour(name: &str, check: bool) -> Result<bool> {
    // A demo that was killed may have left its mesh running.
    let _ = Mesh::down_named(name);
    let begin = Instant::now();
    let mesh = Mesh::up(&MeshOptions {
        name: name.to_owned(),
        files: vec![
            sample("bookinfo/platform/kube/bookinfo.yaml"),
            sample("bookinfo/networking/bookinfo-gateway.yaml"),
            sample("bookinfo/networking/destination-rule-all.yaml"),
            sample("curl/curl.yaml"),
            sample("curl/legacy.yaml"),
            sample("httpbin/httpbin.yaml"),
        ],
        arguments: Vec::new(),
    })?
    .kept();
    say(&mesh.local(&["status"])?.ok()?.stdout);
    let url = format!("{}/productpage", mesh.ingress()?);
    say(&format!("Product page: {url}\n\n"));
    let held = tour::walk(&mesh, &url);
    let verdict = if held {
        "Every point holds"
    } else {
        "NOT every point holds"
    };
    say(&format!(
        "\n{verdict}, after {:.0} s.\n",
        begin.elapsed().as_secs_f32()
    ));
    if !check {
        let hint = format!("open {url}, or try `lateenctl local status --name {name}`");
        say(&format!("The mesh is up: {hint}. Ctrl-C takes it down.\n"));
    }
    Ok(held)
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = std::io::Write::write_all(&mut out, text.as_bytes());
    let _ = std::io::Write::flush(&mut out);
}

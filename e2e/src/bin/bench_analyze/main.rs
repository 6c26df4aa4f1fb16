//! How long `lateenctl analyze` and `validate` take over a large repository, and how much memory.
//!
//! Each service has a Deployment, a Service, a VirtualService, a DestinationRule and an AuthorizationPolicy; 20 services are in a
//! namespace. Istio's own analyzer takes 2.6 s and 160 MiB for 10,100 such objects on two cores, 35 s and 1.0 GiB for 101,000.

#![allow(clippy::print_stdout)]

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::json;

/// Services in one namespace.
const PER_NAMESPACE: usize = 20;

#[derive(Parser)]
#[command(version, about = "Time and memory of analyze and validate")]
struct Arguments {
    /// The program to measure.
    #[arg(long, default_value = "target/release/lateenctl")]
    lateenctl: PathBuf,
    /// Rounds of each row; the median time counts, the highest memory.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// One measurement and what it is held against.
struct Row {
    title: &'static str,
    services: usize,
    arguments: &'static [&'static str],
    /// Longest time that is fine, ms.
    time: u64,
    /// Most memory that is fine, MiB.
    memory: u64,
    istio: &'static str,
}

/// In the order of the memory they take, since the system tells the highest of all children only.
const ROWS: [Row; 3] = [
    Row {
        title: "validate, 10,100 objects",
        services: 2_000,
        arguments: &["validate", "-f"],
        time: 300,
        memory: 100,
        istio: "1.2 s",
    },
    Row {
        title: "analyze, 10,100 objects",
        services: 2_000,
        arguments: &["analyze", "--use-kube=false", "-A"],
        time: 500,
        memory: 100,
        istio: "2.6 s, 160 MiB",
    },
    Row {
        title: "analyze, 101,000 objects",
        services: 20_000,
        arguments: &["analyze", "--use-kube=false", "-A"],
        time: 5_000,
        memory: 700,
        istio: "35 s, 1.0 GiB",
    },
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all rows; whether each held its numbers.
fn run(arguments: &Arguments) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    println!(
        "{:<26} {:>10} {:>10} {:>12} {:>12}  Istio",
        "", "time", "at most", "memory", "at most"
    );
    let mut results = Vec::new();
    let mut held = true;
    for row in &ROWS {
        let file = folder.path().join(format!("{}.yaml", row.services));
        if !file.exists() {
            generate(&file, row.services)?;
        }
        let mut times = (0..arguments.rounds)
            .map(|_| once(&arguments.lateenctl, row.arguments, &file))
            .collect::<Result<Vec<_>>>()?;
        times.sort_unstable();
        let time = times.get(times.len() / 2).copied().unwrap_or_default();
        let memory = peak_of_children()?;
        println!(
            "{:<26} {:>7} ms {:>7} ms {:>8} MiB {:>8} MiB  {}",
            row.title,
            time.as_millis(),
            row.time,
            memory,
            row.memory,
            row.istio
        );
        held &= time <= Duration::from_millis(row.time) && memory <= row.memory;
        results.push(json!({
            "row": row.title, "milliseconds": time.as_millis(), "mebibytes": memory,
            "milliseconds_at_most": row.time, "mebibytes_at_most": row.memory, "istio": row.istio,
        }));
    }
    std::fs::create_dir_all("target/bench")?;
    std::fs::write(
        "target/bench/analyze.json",
        serde_json::to_vec_pretty(&results)?,
    )?;
    Ok(held)
}

/// One run of the program over a file.
fn once(program: &Path, arguments: &[&str], file: &Path) -> Result<Duration> {
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let time = start.elapsed();
    let command = arguments.join(" ");
    ensure!(status.success(), "lateenctl {command} ended with {status}");
    Ok(time)
}

/// The most memory that any child so far has taken, MiB.
fn peak_of_children() -> Result<u64> {
    let kibibytes = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(u64::try_from(kibibytes)? / 1024)
}

/// Writes the objects of so many services.
fn generate(path: &Path, services: usize) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for number in 0..services {
        let namespace = format!("team-{}", number / PER_NAMESPACE);
        if number % PER_NAMESPACE == 0 {
            writeln!(
                out,
                "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels: {{istio-injection: enabled}}\n---"
            )?;
        }
        let text = SERVICE
            .replace("SERVICE", &format!("service-{number}"))
            .replace("NAMESPACE", &namespace);
        out.write_all(text.as_bytes())?;
    }
    out.flush()?;
    Ok(())
}

const SERVICE: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: SERVICE
  namespace: NAMESPACE
spec:
  selector: {matchLabels: {app: SERVICE}}
  template:
    metadata:
      labels: {app: SERVICE, version: v1}
    spec:
      serviceAccountName: SERVICE
      containers:
      - name: app
        image: example.com/SERVICE:v1
        ports:
        - containerPort: 8080
---
apiVersion: v1
kind: Service
metadata:
  name: SERVICE
  namespace: NAMESPACE
spec:
  selector: {app: SERVICE}
  ports:
  - name: http
    port: 8080
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: SERVICE
  namespace: NAMESPACE
spec:
  hosts:
  - SERVICE
  http:
  - match:
    - uri: {prefix: /api}
    route:
    - destination:
        host: SERVICE
        subset: v1
    timeout: 10s
  - route:
    - destination:
        host: SERVICE
        subset: v1
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: SERVICE
  namespace: NAMESPACE
spec:
  host: SERVICE
  trafficPolicy:
    loadBalancer: {simple: LEAST_REQUEST}
  subsets:
  - name: v1
    labels: {version: v1}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: SERVICE
  namespace: NAMESPACE
spec:
  selector: {matchLabels: {app: SERVICE}}
  action: ALLOW
  rules:
  - from:
    - source:
        namespaces: [NAMESPACE]
    to:
    - operation:
        methods: [GET, POST]
---
";

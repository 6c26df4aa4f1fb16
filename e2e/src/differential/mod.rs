//! The differential suite: Envoy and `lateen-proxy` start from the same bootstrap and get the same requests; what they
//! answer, what their upstreams see and what they log must be the same.

mod admin;
mod authorizer;
mod case;
mod client;
mod http2;
mod http3;
mod log_service;
mod names;
mod observation;
mod process;
mod processor;
mod rate_limiter;
mod service;
mod spans;
mod tls;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, Socket, Type};

pub use admin::admin_shapes;
use case::{Case, Difference};
use observation::Observation;
use process::{Binaries, Engine, Proxy};
use tls::certificates::Certificates;
use tls::client::ClientStream;

/// Path of the request that finds out if a connection is still usable.
const PROBE: &str = "/.probe";

/// How a run went.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases in which all agreed.
    pub agreed: usize,
    /// Cases with an allowed difference.
    pub allowed: usize,
    /// Differences that are not allowed.
    pub differences: Vec<String>,
    /// Entries of the list that no case needs.
    pub stale: Vec<String>,
}

/// A case by its full name, `file/case`.
type Named<'a> = (String, &'a Case, &'a str);

/// Parts of an observation by name.
type Parts = [(&'static str, String); 10];

/// Runs the cases below `folder` whose name holds `only`.
///
/// # Errors
/// When a file cannot be read or a proxy does not start.
pub fn run(folder: &Path, envoy: &Path, lateen: &Path, only: &str) -> Result<Report> {
    let binaries = Binaries {
        envoy: envoy.to_owned(),
        lateen: lateen.to_owned(),
    };
    let files = case::read_cases(&folder.join("cases"))?;
    let allowed = case::read_differences(&folder.join("differences.yaml"))?;
    let mut by_config: BTreeMap<&str, Vec<Named<'_>>> = BTreeMap::new();
    for (name, file) in &files {
        for case in &file.cases {
            let full = format!("{name}/{}", case.name);
            if full.contains(only) {
                let cases = by_config.entry(&file.config).or_default();
                cases.push((full, case, &file.listener));
            }
        }
    }
    let certificates = Arc::new(Certificates::make()?);
    let mut report = Report::default();
    let mut needed = BTreeSet::new();
    for (config, cases) in &by_config {
        let template = folder.join("configs").join(format!("{config}.yaml"));
        let pairs = compare(&binaries, &template, cases, &certificates)
            .with_context(|| format!("config {config}"))?;
        for ((name, ..), (wanted, got)) in cases.iter().zip(pairs) {
            judge(name, &wanted, &got, &allowed, &mut needed, &mut report);
        }
    }
    if only.is_empty() {
        let unused = (0..allowed.len()).filter(|index| !needed.contains(index));
        report.stale = unused
            .filter_map(|index| allowed.get(index))
            .map(|entry| entry.case.clone())
            .collect();
    }
    Ok(report)
}

/// Both proxies' view of all cases of a configuration.
fn compare(
    binaries: &Binaries,
    template: &Path,
    cases: &[Named<'_>],
    certificates: &Arc<Certificates>,
) -> Result<Vec<(Parts, Parts)>> {
    let text = fs::read_to_string(template).with_context(|| template.display().to_string())?;
    let folder = tempfile::tempdir()?;
    let side = |engine| -> Result<Vec<Parts>> {
        let text = text.replace("@DIR@", &folder.path().display().to_string());
        let text = certificates.fill(&text);
        // Somebody else may take a port between its choice and its use.
        let start = || Proxy::start(engine, binaries, &text, (folder.path(), certificates));
        let proxy = start().or_else(|_| start()).or_else(|_| start())?;
        observe(proxy, cases).with_context(|| format!("{engine:?}"))
    };
    let (envoy, lateen) = thread::scope(|scope| {
        let envoy = scope.spawn(|| side(Engine::Envoy));
        let lateen = side(Engine::Lateen);
        (envoy.join(), lateen)
    });
    let envoy = envoy.map_err(|_| anyhow!("the client of Envoy failed"))??;
    Ok(envoy.into_iter().zip(lateen?).collect())
}

fn observe(proxy: Proxy, cases: &[Named<'_>]) -> Result<Vec<Parts>> {
    let mut seen = Vec::with_capacity(cases.len());
    let mut used = proxy.used.clone();
    for (name, case, listener) in cases {
        seen.push(one(&proxy, case, listener, &mut used).with_context(|| name.clone())?);
    }
    let ports = proxy.ports.clone();
    let mut log = proxy.stop()?;
    let parts = seen.into_iter().map(|(port, mut observation)| {
        observation.log = log.remove(&port).unwrap_or_default();
        let mut ports = ports.clone();
        ports.insert(port, "client".to_owned());
        observation.parts(&ports)
    });
    Ok(parts.collect())
}

fn one(
    proxy: &Proxy,
    case: &Case,
    listener: &str,
    used: &mut BTreeSet<u16>,
) -> Result<(u16, Observation)> {
    let listener = if case.listener.is_empty() {
        listener
    } else {
        &case.listener
    };
    let case = &case.with_ports(&proxy.ports);
    thread::sleep(Duration::from_millis(case.wait_ms));
    let port = proxy.listeners.get(listener);
    let port = *port.with_context(|| format!("no listener {listener}"))?;
    let mut observation = Observation::default();
    proxy.script.begin(&case.upstream);
    let own_port = if case.http == 3 {
        http3::run(case, &proxy.certificates, port, used, &mut observation)?
    } else {
        over_tcp(proxy, case, port, used, &mut observation)?
    };
    observation.upstream = match proxy.script.seen(case.seen, Duration::from_secs(15)) {
        Ok(seen) => seen,
        Err(error) => vec![error.to_string()],
    };
    if let Some(filter) = &case.stats {
        observation.upstream.extend(stats(proxy, filter)?);
    }
    Ok((own_port, observation))
}

/// Runs a case of HTTP/1 or HTTP/2; gives the client's port.
fn over_tcp(
    proxy: &Proxy,
    case: &Case,
    port: u16,
    used: &mut BTreeSet<u16>,
    observation: &mut Observation,
) -> Result<u16> {
    let (stream, own_port) = connect(port, used)?;
    match case.http {
        2 => http2::run(case, &proxy.certificates, stream, observation)?,
        _ => {
            let stream = match &case.tls {
                None => Some(ClientStream::Plain(stream)),
                Some(own) => tls::client::connect(own, &proxy.certificates, stream, observation)?,
            };
            if let Some(stream) = stream {
                client::run(case, stream, observation)?;
            }
        }
    }
    Ok(own_port)
}

/// Statistics whose names match, once they do not change any more; ports have their names.
fn stats(proxy: &Proxy, filter: &str) -> Result<Vec<String>> {
    let admin = proxy.ports.iter().find(|(_, name)| *name == "admin admin");
    let (admin, _) = admin.context("no admin")?;
    let ask = || -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", *admin))?;
        let head = format!(
            "GET /stats?filter={filter} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        body.context("no answer")
    };
    let mut last = ask()?;
    for _ in 0..30 {
        thread::sleep(Duration::from_millis(200));
        let now = ask()?;
        if now == last {
            break;
        }
        last = now;
    }
    // Sizes of chunks have no colon.
    let lines = last.lines().filter(|line| line.contains(": "));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    for (port, name) in &proxy.ports {
        let port = format!("_{port}.");
        for line in &mut lines {
            *line = line.replace(&port, &format!("_<{name}>."));
        }
    }
    lines.sort();
    Ok(lines)
}

/// Connects from a port that no case had before: lines of the log are told apart by it.
fn connect(port: u16, used: &mut BTreeSet<u16>) -> Result<(TcpStream, u16)> {
    let mut again = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let own = socket.local_addr()?.as_socket().map_or(0, |it| it.port());
        if used.insert(own) {
            socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
            socket.set_tcp_nodelay(true)?;
            return Ok((socket.into(), own));
        }
        // Held, so that the next port is another.
        again.push(socket);
    }
}

fn judge(
    name: &str,
    wanted: &Parts,
    got: &Parts,
    allowed: &[Difference],
    needed: &mut BTreeSet<usize>,
    report: &mut Report,
) {
    let mut text = String::new();
    let mut excused = false;
    for ((part, wanted), (_, got)) in wanted.iter().zip(got) {
        if wanted == got {
            continue;
        }
        let entry = allowed.iter().position(|entry| {
            matches(&entry.case, name) && entry.parts.iter().any(|own| own == part)
        });
        if let Some(index) = entry {
            needed.insert(index);
            excused = true;
        } else {
            let _ = write!(text, "\n  {part}\n{}", lines(wanted, got));
        }
    }
    match (text.is_empty(), excused) {
        (false, _) => report.differences.push(format!("{name}{text}")),
        (true, true) => report.allowed += 1,
        (true, false) => report.agreed += 1,
    }
}

/// The lines that only one side has.
fn lines(wanted: &str, got: &str) -> String {
    let one_sided = |own: &str, other: &str, sign: &str| -> String {
        let others: Vec<_> = other.lines().collect();
        own.lines()
            .filter(|line| !others.contains(line))
            .fold(String::new(), |text, line| {
                text + "    " + sign + " " + line + "\n"
            })
    };
    let text = one_sided(wanted, got, "envoy: ") + &one_sided(got, wanted, "lateen:");
    if text.is_empty() {
        return format!("    envoy:  {wanted:?}\n    lateen: {got:?}\n");
    }
    text
}

/// Whether a name is of a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|at| name.get(at..).is_some_and(|name| matches(rest, name)))
        }),
    }
}

/// Where `e2e/differential/envoy.sh` has put Envoy.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn envoy_binary(folder: &Path) -> Result<PathBuf> {
    let output = std::process::Command::new(folder.join("envoy.sh")).output()?;
    let path = String::from_utf8(output.stdout)?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(PathBuf::from(path.trim()))
}

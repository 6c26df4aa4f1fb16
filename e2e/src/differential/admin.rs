//! The admin pages of both proxies have the same shape: statuses, types, and in JSON the fields and their kinds, whatever
//! the values are.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::process::{Binaries, Engine, Proxy};
use super::tls::certificates::Certificates;
use crate::eventually;

/// What is asked of both: method and target.
const PAGES: [&str; 41] = [
    "GET /ready",
    "GET /help",
    "GET /server_info",
    "GET /memory",
    "GET /certs",
    "GET /runtime",
    "GET /init_dump",
    "GET /init_dump?mask=listener",
    "GET /listeners",
    "GET /listeners?format=json",
    "GET /clusters",
    "GET /clusters?format=json",
    "GET /config_dump",
    "GET /config_dump?include_eds",
    "GET /config_dump?resource=static_clusters",
    "GET /config_dump?resource=dynamic_active_clusters",
    "GET /config_dump?resource=dynamic_listeners",
    "GET /config_dump?resource=static_listeners",
    "GET /config_dump?resource=dynamic_route_configs",
    "GET /config_dump?resource=static_secrets",
    "GET /config_dump?resource=dynamic_endpoint_configs&include_eds",
    "GET /config_dump?resource=nothing",
    "GET /config_dump?mask=bootstrap",
    "GET /config_dump?mask=static_clusters.cluster.name",
    "GET /config_dump?resource=static_clusters&mask=cluster.name",
    "GET /config_dump?name_regex=back.*",
    "GET /config_dump?resource=dynamic_listeners&name_regex=none",
    "GET /config_dump?name_regex=(",
    "GET /stats",
    "GET /stats?filter=cluster.backend.upstream_cx_total&format=json",
    "GET /stats/prometheus",
    "GET /hot_restart_version",
    "GET /no_such_page",
    "GET /logging",
    "GET /quitquitquit",
    "GET /reset_counters",
    "GET /drain_listeners",
    "GET /healthcheck/fail",
    "POST /healthcheck/fail",
    "POST /healthcheck/ok",
    "POST /reset_counters",
];

/// An allowed difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    /// Pages, where `*` at the end stands for any text.
    page: String,
    /// Beginning of what differs.
    what: String,
    reason: String,
}

/// An answer.
struct Page {
    status: u16,
    kind: String,
    body: String,
}

/// Differences that are not allowed, and entries of the list that nothing needs.
///
/// # Errors
/// When a file cannot be read, or a proxy does not start or answer.
pub fn admin_shapes(folder: &Path, envoy: &Path, lateen: &Path) -> Result<Vec<String>> {
    let binaries = Binaries {
        envoy: envoy.to_owned(),
        lateen: lateen.to_owned(),
    };
    let folder = folder.join("admin");
    let allowed: Vec<Allowed> = super::case::read(&folder.join("differences.yaml"))?;
    let certificates = Arc::new(Certificates::make()?);
    let envoy = shapes(Engine::Envoy, &binaries, &folder, &certificates)?;
    let lateen = shapes(Engine::Lateen, &binaries, &folder, &certificates)?;
    let mut needed = BTreeSet::new();
    let mut found = Vec::new();
    for (page, (theirs, ours)) in PAGES.iter().zip(envoy.iter().zip(&lateen)) {
        // Envoy counts more (docs/roadmap.md): nothing may be counted under a name that it does not have.
        let counted = |it: &&String| it.starts_with("name ") || it.starts_with("# TYPE");
        let missing = theirs.difference(ours).filter(|it| !counted(it));
        let missing = missing.map(|it| format!("lacks {it}"));
        let more = ours.difference(theirs).map(|it| format!("has {it}"));
        for what in missing.chain(more) {
            let entry = allowed.iter().position(|entry| entry.covers(page, &what));
            match entry {
                Some(entry) => drop(needed.insert(entry)),
                None => found.push(format!("{page}: {what}")),
            }
        }
    }
    for (place, entry) in allowed.iter().enumerate() {
        if entry.reason.is_empty() || !needed.contains(&place) {
            found.push(format!("no page needs {:?}, or it has no reason", entry));
        }
    }
    Ok(found)
}

impl Allowed {
    fn covers(&self, page: &str, what: &str) -> bool {
        let page = match self.page.strip_suffix('*') {
            Some(start) => page.starts_with(start),
            None => page == self.page,
        };
        page && what.starts_with(&self.what)
    }
}

/// What each page of a proxy has.
fn shapes(
    engine: Engine,
    binaries: &Binaries,
    templates: &Path,
    certificates: &Arc<Certificates>,
) -> Result<Vec<BTreeSet<String>>> {
    let folder = tempfile::tempdir()?;
    let fill = |name: &str| -> Result<String> {
        let path = templates.join(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = text.replace("@DIR@", &folder.path().display().to_string());
        Ok(certificates.fill(&text))
    };
    for name in ["clusters", "endpoints", "listeners", "routes"] {
        let file = format!("{name}.yaml");
        fs::write(folder.path().join(&file), fill(&file)?)?;
    }
    let text = fill("bootstrap.yaml")?;
    // Somebody else may take a port between its choice and its use.
    let start = || Proxy::start(engine, binaries, &text, (folder.path(), certificates));
    let proxy = start().or_else(|_| start()).or_else(|_| start())?;
    let admin = proxy.ports.iter().find(|(_, what)| *what == "admin admin");
    let (admin, _) = admin.context("no port of the admin pages")?;
    let web = proxy.listeners.get("web").context("no listener")?;
    // A request, so that what it is counted by is there.
    ask(*web, "GET /")?;
    eventually(Duration::from_secs(10), || {
        let dump = ask(*admin, "GET /config_dump")?.body;
        match dump.contains("\"table\"") && ask(*admin, "GET /ready")?.status == 200 {
            true => Ok(()),
            false => bail!("the dynamic listener is not there"),
        }
    })?;
    PAGES
        .iter()
        .map(|page| shape(page, ask(*admin, page)?).with_context(|| format!("{engine:?} {page}")))
        .collect()
}

fn ask(port: u16, request: &str) -> Result<Page> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let head = format!(
        "{request} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let head = head.to_ascii_lowercase();
    let value = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let body = match value("transfer-encoding") {
        Some("chunked") => dechunked(body)?,
        _ => body.to_owned(),
    };
    Ok(Page {
        status: head.split(' ').nth(1).context("no status")?.parse()?,
        kind: value("content-type").unwrap_or_default().to_owned(),
        body,
    })
}

fn dechunked(mut body: &str) -> Result<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").context("no chunk")?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(whole);
        }
        whole.push_str(rest.get(..size).context("half a chunk")?);
        body = rest.get(size + 2..).context("half a chunk")?;
    }
}

fn shape(page: &str, answer: Page) -> Result<BTreeSet<String>> {
    let mut has = BTreeSet::from([
        format!("status {}", answer.status),
        format!("type {:?}", answer.kind),
    ]);
    let path = page.split([' ', '?']).nth(1).unwrap_or_default();
    if let Ok(value) = serde_json::from_str::<Value>(&answer.body) {
        fields("", &value, &mut has);
        return Ok(has);
    }
    match path {
        "/clusters" => has.extend(answer.body.lines().map(cluster_line)),
        "/listeners" => has.extend(answer.body.lines().map(words::<2>)),
        "/stats" => has.extend(answer.body.lines().map(|line| {
            let name = line.split(": ").next().unwrap_or_default();
            format!("name {}", without_ports(name))
        })),
        "/stats/prometheus" => {
            let families = answer
                .body
                .lines()
                .filter(|line| line.starts_with("# TYPE"));
            has.extend(families.map(ToOwned::to_owned));
        }
        "/help" | "/no_such_page" => has.extend(answer.body.lines().filter_map(help_line)),
        "/logging" | "/hot_restart_version" => {}
        _ => drop(has.insert(format!("text {:?}", answer.body))),
    }
    Ok(has)
}

/// A page in a list of pages: its indented name, or the name of a parameter.
fn help_line(line: &str) -> Option<String> {
    let name = line.trim_start().split([' ', ':', ';']).next()?;
    line.trim_start()
        .starts_with('/')
        .then(|| format!("page {name}"))
}

/// `cluster::[address::]name::value` without its value, and without ports.
fn cluster_line(line: &str) -> String {
    let (start, _) = line.rsplit_once("::").unwrap_or((line, ""));
    format!("line {}", without_ports(start))
}

fn words<const COUNT: usize>(line: &str) -> String {
    let parts: Vec<&str> = line.split("::").take(COUNT).collect();
    format!("line {}", without_ports(&parts.join("::")))
}

fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.strip_prefix([':', '_']).unwrap_or(part);
        out.push_str("127.0.0.1:");
        out.push_str(rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

/// Each field's path and kind; types and the entries of lists by their type.
fn fields(path: &str, value: &Value, has: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            for item in items {
                let name = item["@type"]
                    .as_str()
                    .and_then(|name| name.rsplit('.').next());
                fields(&format!("{path}[{}]", name.unwrap_or_default()), item, has);
            }
            "list"
        }
        Value::Object(members) => {
            for (name, member) in members {
                fields(&format!("{path}.{name}"), member, has);
                if name == "@type" {
                    has.insert(format!("{path} of type {member}"));
                }
            }
            "object"
        }
    };
    has.insert(format!("{path} {kind}"));
}

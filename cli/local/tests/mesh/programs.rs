//! The stand-ins.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode};

/// Runs a stand-in by the name it was called by.
pub(crate) fn run(name: &str, arguments: &[String]) -> Option<ExitCode> {
    match name {
        "lateend" => Some(lateend(arguments)),
        "lateen-proxy" | "pilot-agent" => Some(proxy(arguments)),
        "app" => Some(app(arguments)),
        _ => None,
    }
}

fn lateend(arguments: &[String]) -> ExitCode {
    assert_eq!(
        arguments.first().map(String::as_str),
        Some("discovery"),
        "{arguments:?}"
    );
    let root = std::path::Path::new("/var/lib/lateen/ca/root-cert.pem");
    if !root.exists() {
        std::fs::write(
            "/var/lib/lateen/ca/.tmp",
            format!("root {}", std::process::id()),
        )
        .expect("writable");
        std::fs::rename("/var/lib/lateen/ca/.tmp", root).expect("renamed");
    }
    serve(&[8080], |path, _| match path {
        "/ready" => "ok".to_owned(),
        "/jwt" => std::env::var("JWT_RULE").unwrap_or_default(),
        path => {
            let mut text = String::new();
            for entry in std::fs::read_dir(format!("/etc/lateen/config{path}"))
                .expect("config")
                .flatten()
            {
                let content = std::fs::read_to_string(entry.path()).unwrap_or_default();
                text.push_str(&format!(
                    "== {}\n{content}\n",
                    entry.file_name().to_string_lossy()
                ));
            }
            text
        }
    })
}

fn proxy(arguments: &[String]) -> ExitCode {
    let first = arguments.first().map(String::as_str);
    match (first, arguments.get(1).map(String::as_str)) {
        // Needs the pod's own network and the right to change it.
        (Some("istio-iptables"), _) => {
            let rule = [
                "-t",
                "nat",
                "-A",
                "PREROUTING",
                "-p",
                "tcp",
                "--dport",
                "7777",
                "-j",
                "REDIRECT",
                "--to-ports",
                "15021",
            ];
            let done = Command::new("iptables")
                .args(rule)
                .status()
                .expect("iptables");
            ExitCode::from(u8::try_from(done.code().unwrap_or(1)).unwrap_or(1))
        }
        (Some("proxy"), Some("sidecar")) => serve(&[15021, 15020, 15000], proxy_page),
        (Some("proxy"), Some("router")) => serve(&[15021, 15020, 15000, 8080], proxy_page),
        (Some("wait" | "request"), _) => ExitCode::SUCCESS,
        _ => panic!("unexpected call of the proxy: {arguments:?}"),
    }
}

fn proxy_page(path: &str, _: &BTreeMap<String, String>) -> String {
    match path {
        "/whoami" => {
            let file = |path: &str| std::fs::read_to_string(path).unwrap_or_else(|e| e.to_string());
            let status = file("/proc/self/status");
            let uid = status
                .lines()
                .find(|l| l.starts_with("Uid:"))
                .unwrap_or_default();
            format!(
                "{uid}\nip={}\nroot={}\ntoken={}\nlabels={}",
                std::env::var("INSTANCE_IP").unwrap_or_default(),
                file("/var/run/secrets/istio/root-cert.pem"),
                file("/var/run/secrets/tokens/istio-token"),
                file("/etc/istio/pod/labels"),
            )
        }
        // The agent runs the app's probes in a real pod.
        path if path.starts_with("/app-health/") => {
            fetch("127.0.0.1:9080", "/health").map_or("down".to_owned(), |_| "ok".to_owned())
        }
        path => format!("proxy {path}"),
    }
}

fn app(arguments: &[String]) -> ExitCode {
    if let [command, url] = arguments
        && command == "get"
    {
        let rest = url.trim_start_matches("http://");
        let (host, path) = rest
            .split_once('/')
            .map_or((rest, "/".to_owned()), |(h, p)| (h, format!("/{p}")));
        return match fetch(host, &path) {
            Ok(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(7)
            }
        };
    }
    println!(
        "app {} starts",
        std::env::var("VERSION").unwrap_or_default()
    );
    let code: Option<u8> = arguments
        .first()
        .and_then(|a| a.strip_prefix("exit="))
        .map(|c| c.parse().expect("code"));
    if let Some(code) = code {
        return ExitCode::from(code);
    }
    serve(&[9080], |path, _| match path {
        "/env" => std::env::vars()
            .map(|(k, v)| format!("{k}={v}\n"))
            .collect(),
        "/hosts" => {
            std::fs::read_to_string("/etc/hosts").expect("hosts")
                + &std::fs::read_to_string("/etc/resolv.conf").expect("resolv")
        }
        "/die" => std::process::exit(3),
        _ => format!(
            "app {} on {}",
            std::env::var("VERSION").unwrap_or_default(),
            std::env::var("HOSTNAME").unwrap_or_default()
        ),
    })
}

/// One request; the body.
pub(crate) fn fetch(host: &str, path: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(host).map_err(|e| format!("{host}: {e}"))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    text.split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .ok_or_else(|| format!("{host}: no answer"))
}

fn serve(
    ports: &[u16],
    page: impl Fn(&str, &BTreeMap<String, String>) -> String + Copy + Send + 'static,
) -> ExitCode {
    let threads: Vec<_> = ports
        .iter()
        .map(|port| {
            let listener = TcpListener::bind(("0.0.0.0", *port)).expect("free port");
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    std::thread::spawn(move || answer(stream, page));
                }
            })
        })
        .collect();
    for thread in threads {
        let _ = thread.join();
    }
    ExitCode::SUCCESS
}

fn answer(stream: TcpStream, page: impl Fn(&str, &BTreeMap<String, String>) -> String) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let mut headers = BTreeMap::new();
    for line in lines.take_while(|l| !l.is_empty()) {
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let body = page(request.split(' ').nth(1).unwrap_or("/"), &headers);
    let head = if body == "down" {
        "HTTP/1.1 503 Down"
    } else {
        "HTTP/1.1 200 OK"
    };
    let _ = write!(
        &stream,
        "{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

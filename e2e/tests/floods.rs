//! What costs a client nothing may not cost the proxy, or its other clients, much: after each flood the proxy's memory has
//! grown by less than 100 times what was sent, and another client was answered nearly as fast as before.
//!
//! `LATEEN_FLOODS=full` (`make e2e`) opens 9,000 idle connections and sends ten times as much. `LATEEN_FLOOD=text` sends
//! those floods alone whose name holds the text.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lateen_e2e::hostile::{RawUpstream, Running};
use lateen_e2e::workspace;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Memory that a proxy may take for buffers whatever is sent.
const FLOOR: u64 = 24 << 20;
/// Requests of the other client in a round.
const ROUND: usize = 100;
/// A time under which answers are fast enough on any machine.
const FAST: Duration = Duration::from_millis(20);

/// The same; a head costs a debug build five times what it costs a release (`LATEEN_PROXY` names one), and floods have up
/// to ten times as many.
fn fast() -> Duration {
    match scale() {
        _ if std::env::var_os("LATEEN_PROXY").is_some() => FAST,
        1 => FAST * 5,
        _ => FAST * 15,
    }
}

fn scale() -> usize {
    match std::env::var("LATEEN_FLOODS").as_deref() {
        Ok("full") => 10,
        _ => 1,
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a step of the test")
        .to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// GET / of `a`, uncompressed.
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![
        0x82,
        0x86,
        0x04,
        u8::try_from(path.len()).expect("a step of the test"),
    ];
    block.extend(path.as_bytes());
    block.extend([0x01, 0x01, b'a']);
    block
}

fn opened() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[])].concat()
}

/// Sends until the other side has enough, reading what comes; bytes that were taken.
fn send(proxy: &Running, bytes: &[u8]) -> u64 {
    let mut stream = TcpStream::connect(proxy.address()).expect("a step of the test");
    let mut reader = stream.try_clone().expect("a step of the test");
    let drain = thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(1..) = reader.read(&mut buffer) {}
    });
    stream
        .set_write_timeout(Some(Duration::from_secs(2)))
        .expect("a step of the test");
    let mut sent = 0;
    for part in bytes.chunks(16 * 1024) {
        if stream.write_all(part).is_err() {
            break;
        }
        sent += part.len() as u64;
    }
    thread::sleep(Duration::from_millis(50));
    let _ = stream.shutdown(std::net::Shutdown::Both);
    drain.join().expect("a step of the test");
    sent
}

/// Frames for each of `count` streams, after the preface.
fn streams(count: usize, each: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let ids = (0..count).map(|index| u32::try_from(index * 2 + 1).expect("a step of the test"));
    opened().into_iter().chain(ids.flat_map(each)).collect()
}

fn repeated(count: usize, first: &[u8], frame: &[u8]) -> Vec<u8> {
    [&opened(), first, &frame.repeat(count)].concat()
}

type Flood = (&'static str, Vec<u8>);

/// The floods of HTTP/2 (S15, S16, S17).
#[expect(clippy::too_many_lines, reason = "a table")]
fn http2_floods() -> Vec<Flood> {
    let scale = scale();
    let open = frame(1, 4, 1, &get("/"));
    let headers = |stream| frame(1, 5, stream, &get("/"));
    let reset = |stream| frame(3, 0, stream, &[0, 0, 0, 8]);
    // A table entry of 4,000 bytes, named by single bytes from then on.
    let mut entry = vec![0x40, 0x01, b'x', 0x7f, 0xa1, 0x1e];
    entry.extend(vec![b'y'; 4000]);
    let bomb = [get("/"), entry].concat();
    let references = [get("/"), vec![0xbe; 8000]].concat();
    let crumbs = [get("/"), [0x0f, 0x11, 0x01, b'c'].repeat(4000)].concat();
    vec![
        (
            "rapid reset",
            streams(3000 * scale, |id| [headers(id), reset(id)].concat()),
        ),
        (
            "made you reset",
            streams(3000 * scale, |id| {
                [headers(id), frame(8, 0, id, &[0, 0, 0, 0])].concat()
            }),
        ),
        (
            "continuation",
            [
                opened(),
                frame(1, 0, 1, &get("/")),
                frame(9, 0, 1, &[0x00; 8000]).repeat(200 * scale),
            ]
            .concat(),
        ),
        (
            "empty continuation",
            [
                opened(),
                frame(1, 0, 1, &get("/")),
                frame(9, 0, 1, &[]).repeat(20_000 * scale),
            ]
            .concat(),
        ),
        (
            "ping",
            repeated(20_000 * scale, &[], &frame(6, 0, 0, &[7; 8])),
        ),
        (
            "settings",
            repeated(20_000 * scale, &[], &frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ),
        (
            "empty data",
            repeated(20_000 * scale, &open, &frame(0, 0, 1, &[])),
        ),
        (
            "padded empty data",
            repeated(5_000 * scale, &open, &frame(0, 8, 1, &[0])),
        ),
        (
            "window update",
            repeated(100_000 * scale, &open, &frame(8, 0, 0, &[0, 0, 0, 1])),
        ),
        (
            "priority",
            repeated(20_000 * scale, &[], &frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ),
        (
            "metadata",
            repeated(5_000 * scale, &[], &frame(0x4d, 4, 1, &[])),
        ),
        (
            "header bomb",
            [
                streams(1, |id| frame(1, 5, id, &bomb)),
                streams(200 * scale, |id| frame(1, 5, id + 2, &references))[opened().len()..]
                    .to_vec(),
            ]
            .concat(),
        ),
        (
            "cookie crumbs",
            streams(100 * scale, |id| frame(1, 5, id, &crumbs)),
        ),
        (
            "no window",
            [
                PREFACE.to_vec(),
                frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]),
                streams(100, |id| frame(1, 5, id, &get("/big")))[opened().len()..].to_vec(),
            ]
            .concat(),
        ),
    ]
}

/// Times of one client's requests, in order of length.
fn round(proxy: &Running) -> Vec<Duration> {
    let mut stream = TcpStream::connect(proxy.address()).expect("a step of the test");
    stream.set_nodelay(true).expect("a step of the test");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a step of the test");
    let mut times = Vec::with_capacity(ROUND);
    for _ in 0..ROUND {
        let begun = Instant::now();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: honest\r\n\r\n")
            .expect("a step of the test");
        let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
        while !got.ends_with(b"hello, world") {
            let count = stream.read(&mut buffer).expect("a step of the test");
            assert!(count > 0, "the honest client was cut off");
            got.extend_from_slice(&buffer[..count]);
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times
}

fn slowest_of_most(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100 - 1]
}

/// The median of some rounds' slowest times: one bad moment of a busy machine does not count.
fn typical(proxy: &Running, rounds: usize) -> Duration {
    let mut slowest: Vec<_> = (0..rounds)
        .map(|_| slowest_of_most(&round(proxy)))
        .collect();
    slowest.sort_unstable();
    slowest[rounds / 2]
}

/// Runs an attack until three rounds of another client are over; bytes sent, and the client's typical slowest time.
fn attacked(proxy: &Running, attack: &(dyn Fn() -> u64 + Sync)) -> (u64, Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let mut sent = attack();
            for _ in 0..20 {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                sent += attack();
            }
            sent
        });
        let time = typical(proxy, 3);
        over.store(true, Ordering::Relaxed);
        (attacker.join().expect("a step of the test"), time)
    })
}

fn judge(proxy: &Running, name: &str, attack: &(dyn Fn() -> u64 + Sync)) -> Option<String> {
    if std::env::var("LATEEN_FLOOD").is_ok_and(|only| !name.contains(&only)) {
        return None;
    }
    let mut verdict = None;
    // A machine with other work on it is asked again.
    for _ in 0..4 {
        let before = proxy.memory().expect("a step of the test");
        let normal = typical(proxy, 3);
        let (sent, time) = attacked(proxy, attack);
        let grown = proxy
            .memory()
            .expect("a step of the test")
            .saturating_sub(before);
        eprintln!("{name}: sent {sent}, grown by {grown}, {normal:?} became {time:?}");
        if grown > FLOOR + 100 * sent {
            return Some(format!("{name}: {sent} bytes cost {grown} bytes of memory"));
        }
        if time <= (3 * normal).max(fast()) {
            return None;
        }
        verdict = Some(format!("{name}: {normal:?} became {time:?}"));
    }
    verdict
}

fn start() -> (Running, tempfile::TempDir) {
    let upstream = RawUpstream::start().expect("a step of the test");
    let template = std::fs::read_to_string(workspace().join("e2e/protocol/hostile.yaml"))
        .expect("a step of the test");
    let template = template.replace("@UPSTREAM@", &upstream.port.to_string());
    let scratch = tempfile::tempdir().expect("a step of the test");
    let proxy = Running::lateen(&template, &["plain"], scratch.path()).expect("a step of the test");
    (proxy, scratch)
}

#[test]
fn floods_cost_their_sender_more() {
    let (proxy, _scratch) = start();
    round(&proxy);
    let mut wrong = Vec::new();
    for (name, bytes) in http2_floods() {
        wrong.extend(judge(&proxy, name, &|| send(&proxy, &bytes)));
    }
    wrong.extend(judge(&proxy, "long line", &|| {
        send(&proxy, &[b"GET /".to_vec(), vec![b'a'; 1 << 20]].concat())
    }));
    wrong.extend(judge(&proxy, "many empty lines", &|| {
        send(&proxy, &b"\r\n".repeat(1 << 18))
    }));
    wrong.extend(judge(&proxy, "byte by byte", &|| byte_by_byte(&proxy)));
    wrong.extend(judge(&proxy, "slow read", &|| slow_read(&proxy)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A head of one byte a packet.
fn byte_by_byte(proxy: &Running) -> u64 {
    let mut stream = TcpStream::connect(proxy.address()).expect("a step of the test");
    stream.set_nodelay(true).expect("a step of the test");
    let head = format!("GET / HTTP/1.1\r\nx: {}", "a\n".repeat(2000 * scale()));
    let mut sent = 0;
    for byte in head.as_bytes() {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        sent += 1;
    }
    sent
}

/// Asks for much and reads nothing.
fn slow_read(proxy: &Running) -> u64 {
    let request = b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n";
    let held: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(proxy.address()).expect("a step of the test");
            stream.write_all(request).expect("a step of the test");
            stream
        })
        .collect();
    thread::sleep(Duration::from_millis(100));
    (held.len() * request.len()) as u64
}

#[test]
fn slow_heads_are_answered_408() {
    let (proxy, _scratch) = start();
    let mut held: Vec<_> = (0..50 * scale())
        .map(|_| {
            let mut stream = TcpStream::connect(proxy.address()).expect("a step of the test");
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
                .expect("a step of the test");
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .expect("a step of the test");
            stream
        })
        .collect();
    for stream in &mut held {
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("a step of the test");
        assert!(
            answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
            "{answer}"
        );
    }
}

#[test]
fn idle_connections_are_cheap() {
    let count = match scale() {
        1 => 500,
        _ => 9_000,
    };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a step of the test");
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    let (proxy, _scratch) = start();
    let normal = typical(&proxy, 5);
    let before = proxy.memory().expect("a step of the test");
    let held: Vec<_> = (0..count)
        .map(|_| TcpStream::connect(proxy.address()).expect("a step of the test"))
        .collect();
    let limit = (3 * normal).max(FAST);
    let times: Vec<_> = (0..6).map(|_| typical(&proxy, 3)).collect();
    let time = times.iter().min().copied().expect("a step of the test");
    let grown = proxy
        .memory()
        .expect("a step of the test")
        .saturating_sub(before);
    let each = grown / count;
    println!("{count} idle connections: {each} bytes each, {normal:?} became {time:?}");
    assert!(each < 24 * 1024, "{each} bytes for an idle connection");
    assert!(time <= limit, "{normal:?} became {time:?}");
    drop(held);
}

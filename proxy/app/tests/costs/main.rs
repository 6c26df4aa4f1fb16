//! What a request and a connection cost: allocations of a request on a warm connection, bytes of an idle connection, and
//! sizes of the futures on the path, each held by a cap. Client and upstream allocate nothing here, so that what is
//! counted is the proxy's; a debug build's futures are larger than those of a release.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../src/http/admission.rs"]
mod admission;
#[path = "../../src/http/bodies.rs"]
mod bodies;
#[path = "../../src/http/ext_authz.rs"]
mod ext_authz;
#[path = "../../src/http/ext_proc/mod.rs"]
mod ext_proc;
#[path = "../../src/http/filters.rs"]
mod filters;
#[path = "../../src/http/forward_proxy.rs"]
mod forward_proxy;
#[path = "../../src/http/internal_redirect.rs"]
mod internal_redirect;
#[allow(dead_code, reason = "what only listeners start")]
#[path = "../../src/http/jwt.rs"]
mod jwt;
#[allow(dead_code, reason = "what other tests use")]
#[path = "../http/mesh.rs"]
mod mesh;
#[path = "../../src/http/rate_limits.rs"]
mod rate_limits;
#[path = "../../src/http/request.rs"]
mod request;

use std::alloc::System;
use std::future::Future;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use lateen_proxy_balance::Balancer;
use lateen_proxy_dial::Pools;
use lateen_proxy_model::{Cluster, HttpProtocol};
use lateen_proxy_relay::http::{Connection, DrainSignal, RequestBody, Upstreams, serve_connection};
use lateen_proxy_relay::tcp;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use mesh::{Mesh, cluster, route, run, slot, to};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] =
    b"GET /a/path?q=1 HTTP/1.1\r\nhost: app\r\nuser-agent: test\r\naccept: */*\r\n\r\n";
const POST: &[u8] = b"POST /a/path HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello";
/// Requests that are counted.
const COUNTED: usize = 200;
/// Connections that are counted.
const IDLE: usize = 100;

/// An upstream that answers each read with [`ANSWER`].
async fn upstream() -> Cluster {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                let mut space = [0; 4096];
                while let Ok(1..) = stream.read(&mut space).await {
                    stream.write_all(ANSWER).await.unwrap();
                }
            });
        }
    });
    Cluster {
        http: HttpProtocol::Http1,
        ..cluster(&[address])
    }
}

async fn ask(stream: &mut TcpStream, request: &[u8], space: &mut [u8]) {
    stream.write_all(request).await.unwrap();
    let mut have = 0;
    while !space[..have].ends_with(b"\r\n\r\nhello") {
        let count = stream.read(&mut space[have..]).await.unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&space[..have]));
        have += count;
    }
}

fn live(region: &Region<'_, System>) -> isize {
    let change = region.change();
    let freed = change.bytes_deallocated.cast_signed();
    change.bytes_allocated.cast_signed() - freed
}

/// Costs that do not fit their caps.
static UNFIT: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn hold(what: &str, cost: f64, most: f64) {
    let text = format!("{what}: {cost:.1} of {most}");
    eprintln!("{text}");
    // A cap much larger than needed holds nothing.
    if cost > most || cost * 2.0 < most {
        UNFIT.lock().unwrap().push(text);
    }
}

/// One after the other: all count on the same heap.
#[test]
fn what_requests_and_connections_cost() {
    futures();
    run(requests);
    run(connections);
    let unfit = UNFIT.lock().unwrap();
    assert!(unfit.is_empty(), "{unfit:#?}");
}

async fn requests() {
    let mesh = Mesh::start(vec![route(to(slot(upstream().await)))], |_| {}).await;
    let mut stream = TcpStream::connect(mesh.address).await.unwrap();
    let mut space = [0; 4096];
    for (what, request, allocations, bytes) in [
        ("HTTP/1 GET", REQUEST, 20.0, 32_000.0),
        ("HTTP/1 POST with a body", POST, 22.0, 32_000.0),
    ] {
        for _ in 0..20 {
            ask(&mut stream, request, &mut space).await;
        }
        let region = Region::new(HEAP);
        for _ in 0..COUNTED {
            ask(&mut stream, request, &mut space).await;
        }
        let change = region.change();
        let each = |count: usize| count as f64 / COUNTED as f64;
        let all = change.allocations + change.reallocations;
        hold(&format!("{what}, allocations"), each(all), allocations);
        hold(
            &format!("{what}, bytes allocated"),
            each(change.bytes_allocated),
            bytes,
        );
        let kept = live(&region) as f64 / COUNTED as f64;
        // A line of the access log waits to be written.
        assert!(kept < 160.0, "{what}: each request keeps {kept} bytes");
    }
}

async fn connections() {
    let mesh = Mesh::start(vec![route(to(slot(upstream().await)))], |_| {}).await;
    let mut space = [0; 4096];
    let mut first = TcpStream::connect(mesh.address).await.unwrap();
    ask(&mut first, REQUEST, &mut space).await;
    let mut held = Vec::with_capacity(IDLE);
    let region = Region::new(HEAP);
    for _ in 0..IDLE {
        let mut stream = TcpStream::connect(mesh.address).await.unwrap();
        ask(&mut stream, REQUEST, &mut space).await;
        held.push(stream);
    }
    let each = || live(&region) as f64 / IDLE as f64;
    hold("a connection that has just served, bytes", each(), 28_000.0);
    // After a while what hyper keeps for requests is given back.
    while each() > 5_000.0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hold("a connection that rests, bytes", each(), 5_000.0);
    drop(held);
}

/// The size of what an asynchronous function makes, without calling it.
fn future<A, F: Future>(_: impl FnOnce(A) -> F) -> f64 {
    size_of::<F>() as f64
}

struct Never;

impl DrainSignal for Never {
    async fn draining(&mut self) {
        std::future::pending().await
    }

    async fn closing(&mut self) {
        std::future::pending().await
    }
}

type Way = Upstreams<Balancer, Pools<RequestBody>>;

fn futures() {
    let connection = future(
        |(stream, connection, way): (TcpStream, Rc<Connection>, Way)| {
            serve_connection(stream, connection, Never, move |connection, request| {
                request::handle(way.clone(), connection, request)
            })
        },
    );
    hold("the future of a connection, bytes", connection, 768.0);
    let request = future(
        |(way, connection, request): (Way, Rc<Connection>, Request<Incoming>)| {
            request::handle(way, connection, request)
        },
    );
    hold("the future of a request, bytes", request, 768.0);
    let transferred = tcp::Transferred::default();
    let copied = |(mut down, mut up): (TcpStream, TcpStream)| async move {
        tcp::copy(&mut down, &mut up, None, &transferred).await
    };
    hold("the future of a TCP copy, bytes", future(copied), 1_024.0);
}

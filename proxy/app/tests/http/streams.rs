//! Bodies, trailers, HTTP/2 and upgrades.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::TokioIo;
use lateen_proxy_model::HttpProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::mesh::{Mesh, Upstream, boxed, collect, route, run, slot, text, to};

#[test]
fn large_bodies_pass_both_ways() {
    run(|| async {
        let upstream = Upstream::start(false, |request, _| {
            Box::pin(async move { Response::new(boxed(request.into_body())) })
        })
        .await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |_| {}).await;
        let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
        let chunks = std::iter::repeat_n(chunk, 128);
        let frames =
            futures_util::stream::iter(chunks).map(|it| Ok::<_, std::io::Error>(Frame::data(it)));
        let request = Request::post("/")
            .header("host", "app")
            .body(StreamBody::new(frames))
            .unwrap();
        let mut sender = mesh.http1().await;
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame.unwrap().into_data().map_or(0, |data| data.len());
        }
        assert_eq!(received, 8 * 1024 * 1024);
        assert_eq!(mesh.log(1).await, ["200 - via_upstream 8388608 8388608"]);
    });
}

#[test]
fn a_reader_that_stops_stops_the_upstream() {
    run(|| async {
        let (sent, mut progress) = tokio::sync::watch::channel(0usize);
        let upstream = Upstream::start(false, move |_, _| {
            let sent = sent.clone();
            let frames = futures_util::stream::iter(0..4096).map(move |_| {
                sent.send_modify(|count| *count += 1);
                Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![0; 64 * 1024])))
            });
            Box::pin(async move { Response::new(boxed(StreamBody::new(frames))) })
        })
        .await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |_| {}).await;
        let request = Request::get("/")
            .header("host", "app")
            .body(Full::<Bytes>::default())
            .unwrap();
        let mut sender = mesh.http1().await;
        let response = sender.send_request(request).await.unwrap();
        // Nothing is read: the upstream must come to rest long before its 256 MiB are gone.
        let settled = async {
            loop {
                let quiet = tokio::time::timeout(Duration::from_millis(300), progress.changed());
                if quiet.await.is_err() {
                    return *progress.borrow();
                }
            }
        };
        let chunks = settled.await;
        assert!(chunks < 1024, "{chunks} chunks of 64 KiB were taken");
        drop(response);
        drop(sender);
        let log = mesh.log(1).await;
        assert!(log[0].starts_with("200 DC"), "{log:?}");
    });
}

#[test]
fn grpc_passes_with_its_trailers_over_http2() {
    run(|| async {
        let upstream = Upstream::start(true, |request, _| {
            Box::pin(async move {
                let te = request.headers().get(header::TE).cloned();
                assert_eq!(
                    te.as_ref().map(HeaderValue::as_bytes),
                    Some(&b"trailers"[..])
                );
                let body = request.into_body().collect().await.unwrap();
                let data = body.to_bytes();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("5"));
                let frames =
                    [Frame::data(data), Frame::trailers(trailers)].map(Ok::<_, std::io::Error>);
                let mut response =
                    Response::new(boxed(StreamBody::new(futures_util::stream::iter(frames))));
                response
                    .headers_mut()
                    .insert("content-type", HeaderValue::from_static("application/grpc"));
                response
            })
        })
        .await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |_| {}).await;
        let message = Bytes::from_static(&[0, 0, 0, 0, 2, 1, 2]);
        let mut sender = mesh.http2().await;
        for _ in 0..3 {
            let request = Request::post("http://app/pkg.Service/Call")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::new(message.clone()))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            let collected = response.into_body().collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["grpc-status"], "5");
            assert_eq!(collected.to_bytes(), message);
        }
        assert_eq!(upstream.connections.get(), 1, "streams share a connection");
        mesh.log(3).await;
        let counted = mesh.metrics.render();
        assert!(counted.contains("request_protocol=\"grpc\""), "{counted}");
        assert!(counted.contains("grpc_response_status=\"5\""), "{counted}");
        assert!(
            counted.contains("istio_request_messages_total"),
            "{counted}"
        );
    });
}

#[test]
fn http1_and_http2_meet() {
    run(|| async {
        let old = Upstream::statuses(&[200]).await;
        let mut spoken = old.cluster();
        spoken.http = HttpProtocol::Http1;
        let mesh = Mesh::start(vec![route(to(slot(spoken)))], |_| {}).await;
        let request = Request::get("http://app/x")
            .body(Full::<Bytes>::default())
            .unwrap();
        let answer = collect(mesh.http2().await.send_request(request).await.unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(old.header(0, "host").as_deref(), Some("app"));

        let new = Upstream::start(true, |_, _| Box::pin(async { text(200, "new") })).await;
        let mut spoken = new.cluster();
        spoken.http = HttpProtocol::Http2;
        let mesh = Mesh::start(vec![route(to(slot(spoken)))], |_| {}).await;
        assert_eq!(mesh.get("/y?z", &[]).await.body(), "new");
        let seen = new.seen.borrow();
        assert_eq!(seen[0].uri.to_string(), "http://app/y?z");
        assert!(!seen[0].headers.contains_key("host"));
    });
}

#[test]
fn an_upgrade_carries_bytes_both_ways() {
    run(|| async {
        let upstream = Upstream::start(false, |mut request, _| {
            Box::pin(async move {
                tokio::task::spawn_local(async move {
                    let io = hyper::upgrade::on(&mut request).await.unwrap();
                    let (mut read, mut write) = tokio::io::split(TokioIo::new(io));
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                });
                let mut response = text(101, "");
                response
                    .headers_mut()
                    .insert("connection", HeaderValue::from_static("upgrade"));
                response
                    .headers_mut()
                    .insert("upgrade", HeaderValue::from_static("websocket"));
                response
            })
        })
        .await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |_| {}).await;
        let request = Request::get("/")
            .header("host", "app")
            .header("connection", "Upgrade")
            .header("upgrade", "WebSocket")
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = mesh.http1().await.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["upgrade"], "websocket");
        let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        io.write_all(b"echo").await.unwrap();
        let mut heard = [0; 4];
        io.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"echo");
        drop(io);
        assert_eq!(mesh.log(1).await, ["101 - via_upstream 4 4"]);
    });
}

#[test]
fn head_answers_keep_their_length() {
    run(|| async {
        let upstream = Upstream::start(false, |_, _| {
            Box::pin(async {
                let mut response = text(200, "");
                response
                    .headers_mut()
                    .insert("content-length", HeaderValue::from_static("42"));
                response
            })
        })
        .await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |_| {}).await;
        let mut sender = mesh.http1().await;
        for _ in 0..2 {
            let request = Request::head("/")
                .header("host", "app")
                .body(Full::<Bytes>::default())
                .unwrap();
            let answer = collect(sender.send_request(request).await.unwrap()).await;
            assert_eq!(answer.headers()["content-length"], "42");
        }
        assert_eq!(mesh.log(2).await, ["200 - via_upstream 0 0"; 2]);
        assert_eq!(upstream.connections.get(), 1);
    });
}

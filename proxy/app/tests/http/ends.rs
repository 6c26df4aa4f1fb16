//! How exchanges and connections end when they do not end by themselves.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::mesh::{Mesh, Upstream, cluster, route, run, slot, text, to};

#[test]
fn an_answer_cut_short_is_never_passed_off_as_whole() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let half = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
                stream.write_all(half.as_bytes()).await.unwrap();
            }
        });
        let mesh = Mesh::start(vec![route(to(slot(cluster(&[address]))))], |_| {}).await;
        let request = Request::get("/")
            .header("host", "app")
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = mesh.http1().await.send_request(request).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
        let request = Request::get("http://app/")
            .body(Full::<Bytes>::default())
            .unwrap();
        // HTTP/2 needs its own upstream protocol here: the cluster follows the downstream.
        let mut spoken = cluster(&[address]);
        spoken.http = lateen_proxy_model::HttpProtocol::Http1;
        let second = Mesh::start(vec![route(to(slot(spoken)))], |_| {}).await;
        let response = second.http2().await.send_request(request).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
        let wanted = "200 UPE upstream_reset_after_response_started{protocol_error} 0 4";
        assert_eq!(mesh.log(1).await, [wanted]);
        assert_eq!(second.log(1).await, [wanted]);
    });
}

#[test]
fn a_client_that_goes_away_resets_the_upstream() {
    run(|| async {
        let (gone, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let upstream = Upstream::start(false, move |_, _| {
            struct Tell(tokio::sync::mpsc::UnboundedSender<()>);
            impl Drop for Tell {
                fn drop(&mut self) {
                    let _ = self.0.send(());
                }
            }
            let tell = Tell(gone.clone());
            Box::pin(async move {
                let _tell = tell;
                std::future::pending::<()>().await;
                text(200, "")
            })
        })
        .await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |_| {}).await;
        let request = Request::get("/")
            .header("host", "app")
            .body(Full::<Bytes>::default())
            .unwrap();
        let mut sender = mesh.http1().await;
        let answer = sender.send_request(request);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), answer)
                .await
                .is_err()
        );
        drop(sender);
        ended.recv().await.unwrap();
        assert_eq!(mesh.log(1).await, ["0 DC downstream_remote_disconnect 0 0"]);
    });
}

#[test]
fn an_upstream_that_closes_an_idle_connection_is_reached_by_a_new_one() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await
                    .unwrap();
            }
        });
        let mesh = Mesh::start(vec![route(to(slot(cluster(&[address]))))], |_| {}).await;
        for _ in 0..5 {
            assert_eq!(mesh.get("/", &[]).await.status(), StatusCode::OK);
            // The end of the connection must have been seen, as it will have been in time.
            while mesh.pools.open() > 0 {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn a_silent_stream_ends() {
    run(|| async {
        let upstream = Upstream::start(false, |_, turn| {
            Box::pin(async move {
                if turn == 0 {
                    std::future::pending::<()>().await;
                }
                let first = [Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(
                    b"1",
                )))];
                let frames = futures_util::StreamExt::chain(
                    futures_util::stream::iter(first),
                    futures_util::stream::pending(),
                );
                http::Response::new(crate::mesh::boxed(StreamBody::new(frames)))
            })
        })
        .await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |manager| {
            manager.stream_idle_timeout = Some(Duration::from_millis(50));
        })
        .await;
        let answer = mesh.get("/", &[]).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (504, &b"stream timeout"[..])
        );
        let request = Request::get("/")
            .header("host", "app")
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = mesh.http1().await.send_request(request).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
        let log = mesh.log(2).await;
        assert_eq!(
            log,
            [
                "504 SI stream_idle_timeout 0 14",
                "200 SI stream_idle_timeout 0 1"
            ]
        );
    });
}

#[test]
fn a_drain_lets_requests_end_and_loses_none() {
    run(|| async {
        let upstream = Upstream::start(false, |_, _| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                text(200, "done")
            })
        })
        .await;
        let mut spoken = upstream.cluster();
        spoken.http = lateen_proxy_model::HttpProtocol::Http1;
        let mesh = Mesh::start(vec![route(to(slot(spoken)))], |_| {}).await;
        let request = || {
            Request::get("/")
                .header("host", "app")
                .body(Full::<Bytes>::default())
                .unwrap()
        };
        let absolute = || {
            Request::get("http://app/")
                .body(Full::<Bytes>::default())
                .unwrap()
        };
        let (mut busy, mut idle, mut h2) =
            (mesh.http1().await, mesh.http1().await, mesh.http2().await);
        assert!(
            idle.send_request(request())
                .await
                .unwrap()
                .headers()
                .get("connection")
                .is_none()
        );
        idle.ready().await.unwrap();
        let running = busy.send_request(request());
        let mut second = h2.clone();
        let stream = h2.send_request(absolute());
        let stream = tokio::task::spawn_local(stream);
        tokio::time::sleep(Duration::from_millis(10)).await;
        mesh.drain.send(1).unwrap();
        let (busy, stream) = tokio::join!(running, stream);
        assert_eq!(busy.unwrap().headers()["connection"], "close");
        assert_eq!(stream.unwrap().unwrap().status(), StatusCode::OK);
        // A request that was on its way on an idle connection is served, and told that it is the last.
        let late = idle.send_request(request()).await.unwrap();
        assert_eq!(
            (late.status(), &late.headers()["connection"]),
            (StatusCode::OK, &"close".parse().unwrap())
        );
        // GOAWAY was said.
        assert!(second.send_request(absolute()).await.is_err());
        let quiet = mesh.http1::<Full<Bytes>>().await;
        mesh.drain.send(2).unwrap();
        while mesh.served.get() < 4 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(quiet.is_closed());
    });
}

#[test]
fn early_resets_end_the_connection() {
    run(|| async {
        let upstream = Upstream::start(false, |_, _| Box::pin(std::future::pending())).await;
        let mut spoken = upstream.cluster();
        spoken.http = lateen_proxy_model::HttpProtocol::Http1;
        spoken.limits.max_connections = 1;
        let mesh = Mesh::start(vec![route(to(slot(spoken)))], |_| {}).await;
        let mut sender = mesh.http2().await;
        for _ in 0..2000 {
            if sender.is_closed() {
                break;
            }
            let request = Request::get("http://app/")
                .body(Full::<Bytes>::default())
                .unwrap();
            let answer = sender.send_request(request);
            let _ = tokio::time::timeout(Duration::from_millis(1), answer).await;
        }
        while mesh.served.get() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}

#[test]
fn connections_to_an_endpoint_that_left_are_closed() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let towards = upstream.cluster();
        let endpoints = std::sync::Arc::clone(towards.endpoints().unwrap());
        let mesh = Mesh::start(vec![route(to(slot(towards)))], |_| {}).await;
        mesh.get("/", &[]).await;
        assert_eq!(mesh.pools.open(), 1);
        endpoints.store(Some(std::sync::Arc::default()));
        while mesh.pools.open() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

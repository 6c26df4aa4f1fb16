//! Services over gRPC without TLS that proxies ask: each call is answered by a function.

use std::net::TcpListener;

use anyhow::Result;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::Request;

use super::upstream::Script;

/// Starts a service and gives its port.
pub(super) fn serve<F>(
    script: Script,
    one: fn(Request<RecvStream>, SendResponse<Bytes>, Script) -> F,
) -> Result<u16>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || runtime.block_on(accept(listener, script, one)));
    Ok(port)
}

async fn accept<F>(
    listener: TcpListener,
    script: Script,
    one: fn(Request<RecvStream>, SendResponse<Bytes>, Script) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let script = script.clone();
        tokio::spawn(async move {
            let mut connection = server::handshake(stream).await?;
            while let Some(call) = connection.accept().await {
                let (request, answer) = call?;
                let called = one(request, answer, script.clone());
                tokio::spawn(async move { called.await.ok() });
            }
            anyhow::Ok(())
        });
    }
}

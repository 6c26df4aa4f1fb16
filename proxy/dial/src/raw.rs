//! Bodies that go to an endpoint as they are, over a connection of their own.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use lateen_proxy_model::{
    ActiveRequest, RawUpstream, ResetReason, SendFailure, Target, UpstreamConnection,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use crate::body::ResponseBody;
use crate::guard::ConnectionGuard;
use crate::proxy_protocol;
use crate::stream::UpstreamStream;
use crate::tcp::connect_tcp;

type Answer<B> = (Response<ResponseBody<B>>, Arc<UpstreamConnection>);

/// What comes back from an endpoint, and what counts its connection.
pub(crate) struct RawBody {
    reader: ReadHalf<UpstreamStream>,
    buffer: BytesMut,
    ended: bool,
    _guard: ConnectionGuard,
    _active: ActiveRequest,
}

/// Bytes read at a time.
const PIECE: usize = 16 * 1024;

/// Connects, and answers with a success as soon as that is done.
pub(crate) async fn send<B>(
    target: Target<'_>,
    request: Request<B>,
    raw: RawUpstream,
) -> Result<Answer<B>, SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
{
    let mut upstream = connect_tcp(target).await?;
    let connection = Arc::clone(&upstream.connection);
    if let (Some(version), Some((client, destination))) =
        (raw.proxy_protocol, target.downstream_addresses)
    {
        let header = proxy_protocol::header(version, client, destination);
        let sent = upstream.stream.write_all(&header).await;
        sent.map_err(|_| SendFailure {
            reason: ResetReason::ConnectionTermination,
            transport: None,
            started: false,
            connection: Some(Arc::clone(&connection)),
        })?;
    }
    let (reader, writer) = split(upstream.stream);
    tokio::task::spawn_local(pump(request.into_body(), writer));
    let body = RawBody {
        reader,
        buffer: BytesMut::new(),
        ended: false,
        _guard: upstream.guard,
        _active: upstream.active,
    };
    Ok((Response::new(ResponseBody::raw(body)), connection))
}

/// Writes a body until its end; the endpoint's own end is seen by the reader.
async fn pump<B>(body: B, mut writer: WriteHalf<UpstreamStream>)
where
    B: Body + Unpin,
{
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return;
        };
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if writer.write_all_buf(&mut data).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    // The other side may be gone already.
    let _ = writer.shutdown().await;
}

impl RawBody {
    /// The next bytes; `None` at the end.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ResetReason>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.buffer.reserve(PIECE);
        let done = ready!(pin!(self.reader.read_buf(&mut self.buffer)).poll(cx));
        Poll::Ready(match done {
            Err(_) => {
                self.ended = true;
                Some(Err(ResetReason::ConnectionTermination))
            }
            Ok(0) => {
                self.ended = true;
                None
            }
            Ok(_) => Some(Ok(self.buffer.split().freeze())),
        })
    }

    /// Whether the end was reached.
    pub(crate) fn is_end(&self) -> bool {
        self.ended
    }
}

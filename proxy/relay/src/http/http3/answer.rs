//! The answer on its way to the client's stream.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use quinn::{SendStream, WriteError};

use super::frame::{DATA, HEADERS, put_head};
use super::{code, qpack};

/// Sends an answer's head; `Some` is the body that follows, if one may.
pub(super) async fn head<B>(
    send: &mut SendStream,
    response: Response<B>,
    method: &Method,
) -> Result<Option<B>, WriteError>
where
    B: Body<Data = Bytes>,
{
    let (mut parts, body) = response.into_parts();
    let headers = &mut parts.headers;
    headers.remove(header::CONNECTION);
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, date());
    }
    let bodiless = method == Method::HEAD
        || matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let empty = body.is_end_stream();
    if !bodiless
        && !empty
        && let Some(length) = body.size_hint().exact()
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    fields(send, Some(parts.status), headers).await?;
    Ok((!bodiless && !empty).then_some(body))
}

/// Sends a body and its trailers; the stream is not finished yet.
pub(super) async fn body<B>(send: &mut SendStream, body: B) -> Result<bool, WriteError>
where
    B: Body<Data = Bytes> + 'static,
{
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Ok(false);
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                let mut head = BytesMut::with_capacity(9);
                put_head(DATA, data.len(), &mut head);
                send.write_all_chunks(&mut [head.freeze(), data]).await?;
            }
            Err(other) => {
                if let Ok(trailers) = other.into_trailers() {
                    fields(send, None, &trailers).await?;
                }
            }
        }
    }
    Ok(true)
}

async fn fields(
    send: &mut SendStream,
    status: Option<StatusCode>,
    headers: &HeaderMap,
) -> Result<(), WriteError> {
    let mut block = BytesMut::with_capacity(256);
    qpack::encode(status, headers, &mut block);
    let mut head = BytesMut::with_capacity(9);
    put_head(HEADERS, block.len(), &mut head);
    send.write_all_chunks(&mut [head.freeze(), block.freeze()])
        .await
}

/// Gives the client's stream up.
pub(super) fn reset(send: &mut SendStream) {
    let _ = send.reset(code::INTERNAL_ERROR);
}

/// Now, as answers tell it; made once a second.
fn date() -> HeaderValue {
    thread_local! {
        static DATE: RefCell<(u64, HeaderValue)> =
            const { RefCell::new((0, HeaderValue::from_static(""))) };
    }
    let now = SystemTime::now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|known| {
        if known.0 != second {
            let text = httpdate::fmt_http_date(now);
            if let Ok(made) = HeaderValue::try_from(text) {
                *known = (second, made);
            }
        }
        known.1.clone()
    })
}

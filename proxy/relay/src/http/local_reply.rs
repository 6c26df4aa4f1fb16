//! Changes of answers made here, as the connection manager says.

use http::header::{self, HeaderMap};
use lateen_proxy_model::{BodyFormat, LocalReplies, ReplyFilter, ReplyMapper, RequestView};
use lateen_proxy_telemetry::Flags;

use super::exchange::Exchange;
use super::reply::LocalReply;

/// Applies the first change whose condition holds, and writes the body. `request` are the request's headers.
pub(crate) fn apply(
    rules: &LocalReplies,
    exchange: &mut Exchange,
    request: &HeaderMap,
    reply: &mut LocalReply,
) {
    exchange.note_status(reply.status);
    let mapper = rules
        .mappers
        .iter()
        .find(|mapper| holds(&mapper.filter, exchange, request));
    if let Some(mapper) = mapper {
        change(mapper, exchange, request, reply);
    }
    let format = mapper.and_then(|mapper| mapper.format.as_ref());
    if let Some(format) = format.or(rules.format.as_ref()) {
        write(format, exchange, request, reply);
    }
}

fn change(
    mapper: &ReplyMapper,
    exchange: &mut Exchange,
    request: &HeaderMap,
    reply: &mut LocalReply,
) {
    if let Some(body) = &mapper.body {
        reply.body = body.clone();
    }
    let mut headers = std::mem::take(&mut reply.headers);
    mapper
        .headers
        .apply(&mut headers, &exchange.expander(Some(request)));
    reply.headers = headers;
    if let Some(status) = mapper.status {
        reply.status = status;
        exchange.note_status(status);
    }
}

fn write(format: &BodyFormat, exchange: &Exchange, request: &HeaderMap, reply: &mut LocalReply) {
    let (text, kind) = exchange.formatted(format, request, &reply.headers, &reply.body);
    reply.body = text.into();
    // A type that a change gave stays.
    if let Some(kind) = kind
        && !reply.headers.contains_key(header::CONTENT_TYPE)
    {
        reply.headers.insert(header::CONTENT_TYPE, kind);
    }
}

fn holds(filter: &ReplyFilter, exchange: &Exchange, request: &HeaderMap) -> bool {
    match filter {
        ReplyFilter::Status(how, wanted) => how.holds(u64::from(exchange.status.get()), *wanted),
        ReplyFilter::Duration(how, wanted) => {
            let passed = exchange.begun.elapsed().as_millis();
            how.holds(u64::try_from(passed).unwrap_or(u64::MAX), *wanted)
        }
        ReplyFilter::Header(matcher) => {
            let path = exchange.path();
            let method = exchange.method.as_str();
            matcher.matches(&RequestView::of_head(
                method,
                exchange.authority(),
                path,
                request,
            ))
        }
        ReplyFilter::Flags(names) if names.is_empty() => !exchange.flags.is_empty(),
        ReplyFilter::Flags(names) => names.iter().any(|name| {
            let flag: Option<Flags> = Flags::from_short(name);
            flag.is_some_and(|flag| exchange.flags.intersects(flag))
        }),
        ReplyFilter::All(filters) => filters.iter().all(|it| holds(it, exchange, request)),
        ReplyFilter::Any(filters) => filters.iter().any(|it| holds(it, exchange, request)),
    }
}

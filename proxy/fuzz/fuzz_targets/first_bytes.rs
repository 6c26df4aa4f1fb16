//! The first bytes of a connection: a PROXY protocol header with TLVs, a ClientHello, HTTP, or none of them.
#![no_main]

use std::sync::Arc;

use lateen_proxy_detect::detect;
use lateen_proxy_model::{
    ListenerFilter, ListenerFilterEntry, ListenerFilters, ProxyProtocolRules, TlvRule,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (mode, bytes) = input;
    let tlv = |kind| TlvRule {
        kind,
        namespace: "fuzz".into(),
        key: "key".into(),
    };
    let rules = ProxyProtocolRules {
        optional: mode & 1 != 0,
        refuse_v1: mode & 2 != 0,
        refuse_v2: mode & 4 != 0,
        rules: vec![tlv(2), tlv(0x20), tlv(0xea)],
        stat_prefix: "".into(),
    };
    let mut filters = Vec::new();
    if mode & 8 != 0 {
        filters.push(ListenerFilter::ProxyProtocol(Arc::new(rules)));
    }
    if mode & 16 != 0 {
        filters.push(ListenerFilter::TlsInspector {
            max_hello: 16 * 1024,
            close_on_error: mode & 32 != 0,
        });
    }
    filters.push(ListenerFilter::HttpInspector);
    let entry = |filter| ListenerFilterEntry {
        disabled: None,
        filter,
    };
    let filters = ListenerFilters {
        entries: filters.into_iter().map(entry).collect(),
        ..ListenerFilters::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let find = |cut: usize| {
        let mut stream = Cut { bytes, cut };
        let found = runtime.block_on(detect(&mut stream, &filters, 443)).ok()?;
        let rest = stream.bytes;
        assert!(bytes.ends_with(rest), "what was not read is still there");
        let read = &bytes[..bytes.len() - rest.len()];
        assert!(read.ends_with(&found.head), "what was read is given back");
        let name = found.server_name().map(ToOwned::to_owned);
        let http = format!("{:?}", found.http);
        Some((found.application, found.proxied, found.metadata, name, http))
    };
    assert_eq!(find(usize::MAX), find(1), "however the bytes are cut");
});

/// Bytes that come in pieces.
struct Cut<'b> {
    bytes: &'b [u8],
    cut: usize,
}

impl tokio::io::AsyncRead for Cut<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let count = self.cut.min(self.bytes.len()).min(buf.remaining());
        let (now, rest) = self.bytes.split_at(count);
        buf.put_slice(now);
        self.bytes = rest;
        std::task::Poll::Ready(Ok(()))
    }
}

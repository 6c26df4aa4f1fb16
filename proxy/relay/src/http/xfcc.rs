//! `x-forwarded-client-cert`: who the client of a mutual TLS connection is, for the application.

use http::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::{CertificateChain, ForwardClientCert};

use super::connection::Connection;

static XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Does with the header what the connection manager says.
pub(crate) fn apply(conn: &Connection, headers: &mut HeaderMap) {
    let mode = conn.chain.manager.forward_client_cert;
    let mutual = conn.facts.peer.is_some();
    match (mode, mutual) {
        (ForwardClientCert::AlwaysForwardOnly, _) | (ForwardClientCert::ForwardOnly, true) => {}
        (ForwardClientCert::Sanitize, _) | (_, false) => {
            headers.remove(&XFCC);
        }
        (ForwardClientCert::SanitizeSet, true) => {
            headers.remove(&XFCC);
            if let Some(own) = element(conn) {
                headers.insert(&XFCC, own);
            }
        }
        (ForwardClientCert::AppendForward, true) => append(conn, headers),
    }
}

fn append(conn: &Connection, headers: &mut HeaderMap) {
    let Some(own) = element(conn) else {
        return;
    };
    let before: Vec<&[u8]> = headers
        .get_all(&XFCC)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let value = match before.is_empty() {
        true => Some(own),
        false => {
            HeaderValue::from_bytes(&[&before.join(&b','), &b","[..], own.as_bytes()].concat()).ok()
        }
    };
    if let Some(value) = value {
        headers.insert(&XFCC, value);
    }
}

/// The element of this hop: the same for all requests of a connection.
fn element(conn: &Connection) -> Option<HeaderValue> {
    let text = conn
        .certificate_text
        .get_or_init(|| HeaderValue::try_from(write(conn)?).ok());
    text.clone()
}

fn write(conn: &Connection) -> Option<String> {
    let peer = conn.facts.peer.as_ref()?;
    let details = conn.chain.manager.xfcc;
    let own = conn.facts.handshake.as_ref().and_then(|it| it.own_leaf());
    let mut parts: Vec<String> = own
        .into_iter()
        .flat_map(|leaf| &leaf.uris)
        .map(|uri| format!("By={}", quoted(uri)))
        .collect();
    parts.push(format!("Hash={}", peer.sha256));
    if details.cert {
        parts.push(format!("Cert=\"{}\"", peer.shown.pem(false)));
    }
    if details.chain {
        parts.push(format!("Chain=\"{}\"", peer.shown.pem(true)));
    }
    if details.subject {
        // Quotes and backslashes have been escaped as RFC 2253 says.
        parts.push(format!("Subject=\"{}\"", peer.subject));
    }
    if details.uri {
        match peer.uris.is_empty() {
            true => parts.push("URI=".to_owned()),
            false => parts.extend(peer.uris.iter().map(|uri| format!("URI={}", quoted(uri)))),
        }
    }
    if details.dns {
        parts.extend(peer.dns.iter().map(|name| format!("DNS={}", quoted(name))));
    }
    Some(parts.join(";"))
}

/// A name with a separator in it is quoted, so that it cannot pass for more than one element.
fn quoted(name: &str) -> String {
    if name.contains([',', ';', '=', '"']) {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        name.to_owned()
    }
}

/// What a fuzzer gives names of certificates.
pub fn fuzz(name: &str) -> String {
    quoted(name)
}

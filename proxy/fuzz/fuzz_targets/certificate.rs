//! A client's certificate, and its names in `x-forwarded-client-cert`.
#![no_main]

use lateen_proxy_model::CertificateChain;
use lateen_proxy_relay::http::fuzzing::xfcc_value;
use lateen_proxy_tls::PeerCertificate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (name, der) = input;
    stays_one(&xfcc_value(name));
    let Some(peer) = PeerCertificate::parse(&der.into()) else {
        return;
    };
    for name in peer.uris.iter().chain(peer.dns.iter()) {
        stays_one(&xfcc_value(name));
    }
    stays_one(&format!("\"{}\"", peer.subject));
    let _ = (peer.shown.pem(false), peer.shown.pem(true));
});

/// Outside of quotes there is no separator, and quotes end.
fn stays_one(value: &str) {
    let (mut quoted, mut escaped) = (false, false);
    for letter in value.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' | ';' | '=' => assert!(quoted, "{value:?}"),
            _ => {}
        }
    }
    assert!(!quoted && !escaped, "{value:?}");
}

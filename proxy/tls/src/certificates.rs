//! Which of several certificates a client is shown.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::peer::Names;

/// Certificates by server name. Envoy's rules: an exact name before a wildcard of one label; among those that fit the
/// first ECDSA one where the client can verify it, else the first one that it can; the first of the list where no name
/// fits, or the best of all where the configuration asks for that or the client names no server.
#[derive(Debug)]
pub(crate) struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    by_name: HashMap<Box<str>, Vec<usize>>,
    all: Vec<usize>,
    full_scan: bool,
}

impl Certificates {
    pub(crate) fn new(keys: Vec<Arc<CertifiedKey>>, full_scan: bool) -> Self {
        let mut by_name: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (place, key) in keys.iter().enumerate() {
            for name in key.cert.first().map(names).unwrap_or_default() {
                let known = by_name.entry(name).or_default();
                if known.last() != Some(&place) {
                    known.push(place);
                }
            }
        }
        Self {
            all: (0..keys.len()).collect(),
            keys,
            by_name,
            full_scan,
        }
    }

    fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        let Some(name) = name else {
            return self.best(&self.all, schemes);
        };
        let wildcard = || {
            self.by_name
                .get(name.split_once('.')?.1.wildcard().as_str())
        };
        let fitting = self.by_name.get(name).or_else(wildcard);
        match fitting {
            Some(places) => {
                let best = self.best(places, schemes);
                let usable = best.is_some_and(|key| key.key.choose_scheme(schemes).is_some());
                match usable || !self.full_scan {
                    true => best,
                    false => self.best(&self.all, schemes),
                }
            }
            None if self.full_scan => self.best(&self.all, schemes),
            None => self.keys.first(),
        }
    }

    fn best(&self, places: &[usize], schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let keys = || places.iter().filter_map(|place| self.keys.get(*place));
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let ecdsa = |key: &&Arc<CertifiedKey>| key.key.algorithm() == SignatureAlgorithm::ECDSA;
        keys()
            .find(|key| ecdsa(key) && usable(key))
            .or_else(|| keys().find(usable))
            .or_else(|| keys().next())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls gives the name in lower case.
        self.choose(hello.server_name(), hello.signature_schemes())
            .cloned()
    }
}

trait Wildcard {
    fn wildcard(&self) -> String;
}

impl Wildcard for str {
    fn wildcard(&self) -> String {
        format!("*.{self}")
    }
}

/// The DNS names of a certificate; its common name where it has none.
fn names(leaf: &CertificateDer<'_>) -> Vec<Box<str>> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let own = Names::of(&certificate).dns;
    let lower = |name: &str| name.to_ascii_lowercase().into_boxed_str();
    if !own.is_empty() {
        return own.iter().map(|name| lower(name)).collect();
    }
    let common = certificate.subject().iter_common_name().next();
    common
        .and_then(|name| name.as_str().ok())
        .map(lower)
        .into_iter()
        .collect()
}

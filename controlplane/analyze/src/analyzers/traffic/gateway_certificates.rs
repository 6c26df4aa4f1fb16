//! Certificates that several Gateways of the same pods use.

use std::collections::{BTreeMap, BTreeSet};

use lateen_api::labels::selects;
use lateen_api::networking::{Gateway, ServerTlsSettings};
use lateen_api::object::{Kind, Object};

use super::full_name;
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::GATEWAY_DUPLICATE_CERTIFICATE;
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "gateway.CertificateAnalyzer",
    description: "Finds Gateways of the same pods that use the same certificate",
    inputs: &[Input::Kind(Kind::Gateway)],
    run: |cluster, _, messages| run(cluster, messages),
};

/// What two servers have in common: a secret, or the files of certificate and key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Certificate<'a> {
    Secret(&'a str),
    Files(&'a str, &'a str),
}

type Entry<'a> = (usize, &'a Object, &'a Gateway);

fn run(cluster: &Cluster, messages: &mut Messages) {
    let mut users: BTreeMap<Certificate<'_>, Vec<(Entry<'_>, &ServerTlsSettings)>> =
        BTreeMap::new();
    let gateways = cluster.of(Kind::Gateway);
    for (number, object) in gateways.enumerate() {
        let Some(gateway) = object.spec.as_gateway() else {
            continue;
        };
        for tls in gateway
            .servers
            .iter()
            .filter_map(|server| server.tls.as_ref())
        {
            for certificate in certificates(tls) {
                let entry = ((number, object, &**gateway), tls);
                users.entry(certificate).or_default().push(entry);
            }
        }
    }
    let mut reported = BTreeSet::new();
    for entries in users.into_values() {
        for ((current, object, gateway), tls) in &entries {
            for ((other, other_object, other_gateway), other_tls) in &entries {
                let same = other != current
                    && selects(&gateway.selector, &other_gateway.selector)
                    && is_same(tls, other_tls);
                if same && reported.insert((*current, *other)) {
                    report(object, other_object, messages);
                }
            }
        }
    }
}

fn certificates(tls: &ServerTlsSettings) -> impl Iterator<Item = Certificate<'_>> {
    let secret =
        (!tls.credential_name.is_empty()).then(|| Certificate::Secret(&tls.credential_name));
    let files = (!tls.server_certificate.is_empty() && !tls.private_key.is_empty())
        .then(|| Certificate::Files(&tls.server_certificate, &tls.private_key));
    secret.into_iter().chain(files)
}

/// Where both name a secret, only that counts.
fn is_same(one: &ServerTlsSettings, two: &ServerTlsSettings) -> bool {
    if !one.credential_name.is_empty() && !two.credential_name.is_empty() {
        return one.credential_name == two.credential_name;
    }
    one.server_certificate == two.server_certificate && one.private_key == two.private_key
}

fn report(object: &Object, other: &Object, messages: &mut Messages) {
    let text = format!(
        "the Gateways {} and {} use the same certificate on the same pods, so that browsers may reuse a connection for the other's hosts \
         and get 404; put the servers into one Gateway or use certificates of their own",
        full_name(object),
        full_name(other)
    );
    messages.scalar(GATEWAY_DUPLICATE_CERTIFICATE, object, "metadata.name", text);
}

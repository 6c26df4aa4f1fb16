//! Credentials to a caller: the client certificate first, then the bearer token.

use lateen_api::identity::SpiffeId;
use lateen_controlplane_model::caller::{
    AuthError, Authenticate, Caller, CallerSource, Connection,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::token::TokenRule;

/// Authenticates callers of the control plane.
pub struct Authenticator {
    tokens: Option<TokenRule>,
    trust_domains: Vec<String>,
}

impl Authenticator {
    /// Accepts certificates of the given trust domains (the mesh's own first), and tokens by a rule if there is one.
    #[must_use]
    pub fn new(tokens: Option<TokenRule>, trust_domains: Vec<String>) -> Self {
        Self {
            tokens,
            trust_domains,
        }
    }

    fn by_certificate(&self, leaf: &[u8]) -> Result<Caller, AuthError> {
        let id: SpiffeId = spiffe_id(leaf)?.parse()?;
        if self
            .trust_domains
            .iter()
            .any(|domain| domain == id.trust_domain())
        {
            return Ok(Caller {
                id,
                source: CallerSource::Certificate,
            });
        }
        Err(AuthError::Certificate(format!(
            "trust domain {:?} is not of this mesh",
            id.trust_domain()
        )))
    }

    fn by_token(&self, authorization: &str) -> Result<Caller, AuthError> {
        let token = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = token
            .ok_or_else(|| AuthError::Token("the authorization header is not Bearer".to_owned()))?;
        let rule = self
            .tokens
            .as_ref()
            .ok_or_else(|| AuthError::Token("no JWT rule is set (JWT_RULE)".to_owned()))?;
        rule.caller(token.trim())
    }
}

impl Authenticate for Authenticator {
    fn authenticate(
        &self,
        connection: &Connection,
        authorization: Option<&str>,
    ) -> Result<Caller, AuthError> {
        let mut error = AuthError::Missing;
        if let Some(leaf) = connection.certificates.first() {
            match self.by_certificate(leaf) {
                Ok(caller) => return Ok(caller),
                Err(e) => error = e,
            }
        }
        match authorization {
            Some(header) => self.by_token(header),
            None => Err(error),
        }
    }
}

/// The one URI of a certificate. Several, or names of other kinds beside it, leave open who it is for.
fn spiffe_id(leaf: &[u8]) -> Result<String, AuthError> {
    let wrong = |reason: &str| AuthError::Certificate(reason.to_owned());
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| wrong("malformed"))?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| wrong("malformed subject alternative name"))?;
    let names = names.ok_or_else(|| wrong("has no subject alternative name"))?;
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Ok(uri.to_owned()),
        (None, _) => Err(wrong("has no URI in its subject alternative name")),
        (Some(_), Some(_)) => Err(wrong(
            "has more than one URI in its subject alternative name",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;
    use crate::token::tests::Signer;

    fn connection(uris: &[&str], dns: &[&str]) -> Connection {
        let mut params =
            CertificateParams::new(dns.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
                .expect("params");
        params.subject_alt_names.extend(
            uris.iter()
                .map(|uri| SanType::URI((*uri).try_into().expect("uri"))),
        );
        let certificate = params
            .self_signed(&KeyPair::generate().expect("key"))
            .expect("certificate");
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Connection {
            remote,
            encrypted: true,
            certificates: Arc::new([certificate.der().to_vec()]),
        }
    }

    fn plain() -> Connection {
        Connection::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
    }

    #[test]
    fn certificates_and_tokens() {
        let signer = Signer::new();
        let rule = TokenRule::parse(&signer.rule(), "cluster.local").expect("rule");
        let authenticator = Authenticator::new(
            Some(rule),
            vec!["cluster.local".to_owned(), "old.domain".to_owned()],
        );
        let reviews = "spiffe://cluster.local/ns/default/sa/reviews";
        let by = |connection: &Connection, header: Option<&str>| {
            authenticator
                .authenticate(connection, header)
                .map(|c| c.to_string())
        };
        assert_eq!(
            by(&connection(&[reviews], &[]), None).as_deref(),
            Ok(reviews)
        );
        assert_eq!(
            by(&connection(&["spiffe://old.domain/ns/a/sa/b"], &[]), None).as_deref(),
            Ok("spiffe://old.domain/ns/a/sa/b")
        );
        let token = format!("Bearer {}", signer.token(&Signer::claims("shop", "web")));
        assert_eq!(
            by(&plain(), Some(&token)).as_deref(),
            Ok("spiffe://cluster.local/ns/shop/sa/web")
        );
        assert_eq!(
            by(&connection(&["spiffe://x/ns/a/sa/b"], &[]), Some(&token)).as_deref(),
            Ok("spiffe://cluster.local/ns/shop/sa/web")
        );
    }

    #[test]
    fn nothing_is_trusted_for_its_address() {
        let authenticator = Authenticator::new(None, vec!["cluster.local".to_owned()]);
        assert_eq!(
            authenticator.authenticate(&plain(), None),
            Err(AuthError::Missing)
        );
        assert!(
            authenticator
                .authenticate(&plain(), Some("Bearer x.y.z"))
                .is_err()
        );
        assert!(
            authenticator
                .authenticate(&plain(), Some("Basic eA=="))
                .is_err()
        );
    }

    #[test]
    fn certificates_that_leave_open_who_it_is() {
        let authenticator = Authenticator::new(None, vec!["cluster.local".to_owned()]);
        let good = "spiffe://cluster.local/ns/default/sa/a";
        for (uris, dns) in [
            (&[][..], &["reviews.default"][..]),
            (&[good, "spiffe://cluster.local/ns/default/sa/b"], &[]),
            (&["spiffe://other/ns/default/sa/a"], &[]),
            (&["spiffe://cluster.local/ns/default/sa/a\0.evil"], &[]),
            (&["spiffe://cluster.local.evil/ns/default/sa/a"], &[]),
        ] {
            assert!(
                authenticator
                    .authenticate(&connection(uris, dns), None)
                    .is_err(),
                "{uris:?}"
            );
        }
    }
}

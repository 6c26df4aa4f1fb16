//! Workload identities: SPIFFE ids of the form `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
//!
//! Identities decide who may do what, so they are compared on exact bytes: no case folding, no percent decoding, no normalising.

use std::fmt;
use std::str::FromStr;

/// The scheme that an id begins with.
pub const SCHEME: &str = "spiffe://";

/// The identity of a workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: String,
    namespace: String,
    service_account: String,
}

/// A text that is no identity of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The text is not of the form of an id.
    #[error(
        "`{0}` is not a workload identity: expected spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
    )]
    Malformed(String),
    /// A part has a character that identities do not have.
    #[error("`{part}` is not a {what}")]
    Part {
        /// Which part.
        what: &'static str,
        /// Its text.
        part: String,
    },
}

impl SpiffeId {
    /// The identity of a service account.
    ///
    /// # Errors
    /// When a part is empty or has a character that would make another identity of the text.
    pub fn new(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, IdentityError> {
        let wrong = |what, part: &str| IdentityError::Part {
            what,
            part: part.to_owned(),
        };
        if !is_trust_domain(trust_domain) {
            return Err(wrong("trust domain", trust_domain));
        }
        if !is_part(namespace) {
            return Err(wrong("namespace", namespace));
        }
        if !is_part(service_account) {
            return Err(wrong("service account", service_account));
        }
        let (trust_domain, namespace) = (trust_domain.to_owned(), namespace.to_owned());
        Ok(Self {
            trust_domain,
            namespace,
            service_account: service_account.to_owned(),
        })
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// The identity as policies write it, without the scheme.
    #[must_use]
    pub fn principal(&self) -> String {
        format!(
            "{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }

    /// The same workload in another trust domain.
    #[must_use]
    pub fn in_trust_domain(&self, trust_domain: &str) -> Option<Self> {
        Self::new(trust_domain, &self.namespace, &self.service_account).ok()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{SCHEME}{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let parts: Option<Vec<&str>> = text
            .strip_prefix(SCHEME)
            .map(|rest| rest.split('/').collect());
        match parts.as_deref() {
            Some([trust_domain, "ns", namespace, "sa", service_account]) => {
                Self::new(trust_domain, namespace, service_account)
            }
            _ => Err(IdentityError::Malformed(text.to_owned())),
        }
    }
}

/// Whether a text can be a trust domain: labels of letters, digits, `-` and `_` with dots between, at most 255 bytes.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let fits = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 255 && name.split('.').all(fits)
}

/// A trust domain as certificates bear it: Google's `project@…` form has its `@` replaced by a dot.
#[must_use]
pub fn normalized_trust_domain(trust_domain: &str) -> String {
    trust_domain.replace('@', ".")
}

/// All identities that mean the same workload: a principal of one of the mesh's trust domains, in each of them. A principal of a
/// foreign trust domain stays alone.
#[must_use]
pub fn aliases<'a>(
    id: &SpiffeId,
    trust_domains: impl IntoIterator<Item = &'a str>,
) -> Vec<SpiffeId> {
    let domains: Vec<&str> = trust_domains.into_iter().collect();
    if !domains.contains(&id.trust_domain()) {
        return vec![id.clone()];
    }
    let mut all = vec![id.clone()];
    all.extend(
        domains
            .iter()
            .filter(|domain| **domain != id.trust_domain())
            .filter_map(|domain| id.in_trust_domain(domain)),
    );
    all
}

fn is_part(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_written_as_it_is_read() {
        let text = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";
        let id: SpiffeId = text.parse().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            (id.trust_domain(), id.namespace(), id.service_account()),
            ("cluster.local", "default", "bookinfo-reviews")
        );
        assert_eq!(id.to_string(), text);
        assert_eq!(
            id.principal(),
            "cluster.local/ns/default/sa/bookinfo-reviews"
        );
    }

    #[test]
    fn only_the_exact_form_is_an_identity() {
        for text in [
            "",
            "spiffe://",
            "SPIFFE://cluster.local/ns/a/sa/b",
            "spiffe://cluster.local/NS/a/sa/b",
            "spiffe://cluster.local/ns/a/sa/b/",
            "spiffe://cluster.local/ns/a/sa/b/c",
            "spiffe://cluster.local//ns/a/sa/b",
            "spiffe:///ns/a/sa/b",
            "spiffe://cluster.local/ns//sa/b",
            "spiffe://cluster.local/ns/a/sa/",
            "spiffe://cluster.local/ns/a%2fsa%2fx/sa/b",
            "spiffe://cluster.local/ns/a/sa/b?x",
            "spiffe://cluster.local/ns/a/sa/b#x",
            "spiffe://user@cluster.local/ns/a/sa/b",
            "spiffe://cluster.local:443/ns/a/sa/b",
            " spiffe://cluster.local/ns/a/sa/b",
            "spiffe://cluster.local/ns/a/sa/b\0",
            "https://cluster.local/ns/a/sa/b",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn case_tells_identities_apart() {
        let lower = SpiffeId::new("cluster.local", "a", "b");
        assert_ne!(lower, SpiffeId::new("Cluster.local", "a", "b"));
    }

    #[test]
    fn aliases_hold_within_the_mesh_only() {
        let own = SpiffeId::new("td1", "a", "b").unwrap_or_else(|e| panic!("{e}"));
        let foreign = SpiffeId::new("other", "a", "b").unwrap_or_else(|e| panic!("{e}"));
        let texts = |id| {
            aliases(id, ["td1", "td2"])
                .iter()
                .map(SpiffeId::principal)
                .collect::<Vec<_>>()
        };
        assert_eq!(texts(&own), ["td1/ns/a/sa/b", "td2/ns/a/sa/b"]);
        assert_eq!(texts(&foreign), ["other/ns/a/sa/b"]);
    }
}

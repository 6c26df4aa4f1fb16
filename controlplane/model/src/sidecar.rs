//! Sidecar resources: which one holds for a proxy, and which hosts its egress listeners import.

use std::sync::Arc;

use lateen_api::host;
use lateen_api::networking::Sidecar;

use crate::proxy::Labels;
use crate::rule::Rule;
use crate::service::covers;

/// All Sidecar objects, oldest first.
#[derive(Debug, Default)]
pub struct Sidecars {
    rules: Vec<Arc<Rule<Sidecar>>>,
    root: Arc<str>,
}

/// Hosts that an egress listener imports: `<namespace>/<host>` patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imports {
    included: Vec<Pattern>,
    excluded: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// `None` for any namespace.
    namespace: Option<Arc<str>>,
    host: String,
}

impl Sidecars {
    /// Keeps Sidecars in the order in which they are asked.
    #[must_use]
    pub fn new(mut rules: Vec<Arc<Rule<Sidecar>>>, root_namespace: &str) -> Self {
        rules.sort_by(|a, b| a.order(b));
        Self {
            rules,
            root: root_namespace.into(),
        }
    }

    /// The Sidecar of a proxy: the oldest in its namespace whose selector matches, else the one without selector there, else the one
    /// without selector in the root namespace.
    #[must_use]
    pub fn select(&self, namespace: &str, labels: &Labels) -> Option<&Arc<Rule<Sidecar>>> {
        let own = || {
            self.rules
                .iter()
                .filter(|rule| &*rule.namespace == namespace)
        };
        own()
            .find(|rule| selector(&rule.spec).is_some_and(|wanted| covers(labels, wanted)))
            .or_else(|| own().find(|rule| selector(&rule.spec).is_none()))
            .or_else(|| {
                self.rules
                    .iter()
                    .find(|rule| rule.namespace == self.root && selector(&rule.spec).is_none())
            })
    }
}

impl Sidecars {
    /// Every Sidecar, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule<Sidecar>>> {
        self.rules.iter()
    }

    /// The Sidecar of a namespace and name.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> Option<&Arc<Rule<Sidecar>>> {
        self.rules
            .iter()
            .find(|rule| *rule.namespace == *namespace && *rule.name == *name)
    }
}

impl Imports {
    /// Imports of everything that is visible.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            included: vec![Pattern {
                namespace: None,
                host: "*".into(),
            }],
            excluded: Vec::new(),
        }
    }

    /// Reads egress hosts of a Sidecar as seen from `namespace`: `./host`, `*/host`, `ns/host`; `~/*` imports nothing and `~ns/host`
    /// takes something out again.
    #[must_use]
    pub fn parse(hosts: &[String], namespace: &str) -> Self {
        let mut imports = Self {
            included: Vec::new(),
            excluded: Vec::new(),
        };
        for entry in hosts {
            let (place, name) = entry.split_once('/').unwrap_or(("*", entry));
            let (list, place) = match place.strip_prefix('~') {
                Some("") => continue,
                Some(place) => (&mut imports.excluded, place),
                None => (&mut imports.included, place),
            };
            let place = match place {
                "*" => None,
                "." => Some(Arc::from(namespace)),
                other => Some(Arc::from(other)),
            };
            list.push(Pattern {
                namespace: place,
                host: name.to_owned(),
            });
        }
        imports
    }

    /// True when a service of this namespace and host is imported.
    #[must_use]
    pub fn service(&self, namespace: &str, host: &str) -> bool {
        let covered = |p: &Pattern| p.admits(namespace) && host::is_subset_of(host, &p.host);
        self.included.iter().any(covered) && !self.excluded.iter().any(covered)
    }

    /// True when a VirtualService of this namespace with these hosts is imported.
    #[must_use]
    pub fn rule<'a>(&self, namespace: &str, mut hosts: impl Iterator<Item = &'a str>) -> bool {
        hosts.any(|name| {
            self.included
                .iter()
                .any(|p| p.admits(namespace) && host::overlap(&p.host, name))
                && !self
                    .excluded
                    .iter()
                    .any(|p| p.admits(namespace) && host::is_subset_of(name, &p.host))
        })
    }

    /// True when something of this host pattern may be imported, from `namespace` or, when it is `None`, from anywhere.
    #[must_use]
    pub fn may_concern(&self, namespace: Option<&str>, pattern: &str) -> bool {
        self.included
            .iter()
            .any(|p| namespace.is_none_or(|ns| p.admits(ns)) && host::overlap(&p.host, pattern))
    }
}

impl Pattern {
    fn admits(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

fn selector(spec: &Sidecar) -> Option<&Labels> {
    spec.workload_selector
        .as_ref()
        .map(|selector| &selector.labels)
        .filter(|labels| !labels.is_empty())
}

#[cfg(test)]
mod tests {
    use lateen_api::networking::WorkloadSelector;

    use super::*;
    use crate::service::Visibility;

    fn rule(ns: &str, name: &str, selector: Option<(&str, &str)>) -> Arc<Rule<Sidecar>> {
        let workload_selector = selector.map(|(key, value)| WorkloadSelector {
            labels: Labels::from([(key.into(), value.into())]),
        });
        let spec = Sidecar {
            workload_selector,
            ..Default::default()
        };
        Arc::new(Rule {
            namespace: ns.into(),
            name: name.into(),
            created: 0,
            export_to: Visibility::Public,
            spec,
        })
    }

    #[test]
    fn selection() {
        let sidecars = Sidecars::new(
            vec![
                rule("root", "r", None),
                rule("root", "s", Some(("app", "web"))),
                rule("a", "all", None),
                rule("a", "web", Some(("app", "web"))),
            ],
            "root",
        );
        let web = Labels::from([("app".into(), "web".into())]);
        let pick = |ns: &str, labels: &Labels| sidecars.select(ns, labels).map(|r| r.full_name());
        assert_eq!(pick("a", &web).as_deref(), Some("a/web"));
        assert_eq!(pick("a", &Labels::new()).as_deref(), Some("a/all"));
        assert_eq!(pick("b", &web).as_deref(), Some("root/r"));
        assert_eq!(Sidecars::new(vec![], "root").select("a", &web), None);
    }

    #[test]
    fn egress_hosts() {
        let hosts: Vec<String> = ["./*", "other/*.x.com", "~other/bad.x.com"]
            .map(String::from)
            .to_vec();
        let imports = Imports::parse(&hosts, "own");
        assert!(imports.service("own", "a.own.svc"));
        assert!(!imports.service("third", "a.third.svc"));
        assert!(imports.service("other", "good.x.com"));
        assert!(!imports.service("other", "bad.x.com"));
        assert!(imports.rule("other", ["*.com"].into_iter()));
        assert!(
            imports.may_concern(None, "z.x.com") && !imports.may_concern(Some("third"), "z.x.com")
        );
        assert!(!Imports::parse(&["~/*".into()], "own").service("own", "a"));
    }
}

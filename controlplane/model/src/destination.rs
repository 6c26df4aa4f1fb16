//! DestinationRules: merging those of one host and finding the one that a client uses for a service.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lateen_api::host;
use lateen_api::networking::DestinationRule;

use crate::proxy::Labels;
use crate::rule::Rule;
use crate::service::{Service, covers};

/// A rule as clients use it: one object, or several of a namespace for one host, merged.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// The merged rule under the name of its oldest part.
    pub rule: Rule<DestinationRule>,
    /// `(namespace, name)` of every part.
    pub parts: Vec<(Arc<str>, Arc<str>)>,
}

/// Rules of one namespace.
#[derive(Debug, Default)]
pub struct Row {
    exact: HashMap<Arc<str>, Vec<Arc<Destination>>>,
    /// Longest first.
    wildcards: Vec<(Arc<str>, Vec<Arc<Destination>>)>,
}

/// All DestinationRules, ready for look-up.
#[derive(Debug, Default, Clone)]
pub struct Destinations {
    rows: BTreeMap<Arc<str>, Arc<Row>>,
}

impl Row {
    /// Every merged rule.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Destination>> {
        self.exact
            .values()
            .flatten()
            .chain(self.wildcards.iter().flat_map(|(_, rules)| rules))
    }
}

impl Destinations {
    /// The rules of one namespace.
    #[must_use]
    pub fn row(&self, namespace: &str) -> Arc<Row> {
        self.rows.get(namespace).cloned().unwrap_or_default()
    }

    /// Every merged rule.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Destination>> {
        self.rows.values().flat_map(|row| row.rules())
    }

    /// Replaces the rules of one namespace.
    pub fn replace(&mut self, namespace: &Arc<str>, mut rules: Vec<Arc<Rule<DestinationRule>>>) {
        if rules.is_empty() {
            self.rows.remove(namespace);
            return;
        }
        rules.sort_by(|a, b| {
            (selector(&b.spec).is_some(), a.created, &a.name).cmp(&(
                selector(&a.spec).is_some(),
                b.created,
                &b.name,
            ))
        });
        let mut by_host: BTreeMap<Arc<str>, Vec<Destination>> = BTreeMap::new();
        for rule in rules {
            let host: Arc<str> = rule.spec.host.as_str().into();
            merge(by_host.entry(host).or_default(), &rule);
        }
        let mut row = Row::default();
        for (name, merged) in by_host {
            let merged = merged.into_iter().map(Arc::new).collect();
            if host::is_wildcard(&name) {
                row.wildcards.push((name, merged));
            } else {
                row.exact.insert(name, merged);
            }
        }
        row.wildcards
            .sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        self.rows.insert(Arc::clone(namespace), Arc::new(row));
    }

    /// The rule that a client in `namespace` with these labels uses for a service: the client's namespace, the service's, then the root
    /// namespace. The first level with a match ends the search.
    #[must_use]
    pub fn lookup(
        &self,
        namespace: &str,
        labels: &Labels,
        service: &Service,
        root: &str,
    ) -> Option<&Arc<Destination>> {
        let own = |rule: &Destination| namespace != root || rule.rule.export_to.is_private_to(root);
        let exported = |rule: &Destination| {
            selector(&rule.rule.spec).is_none() && rule.rule.export_to.admits(namespace)
        };
        self.find(namespace, &service.host, labels, own)
            .or_else(|| self.find(&service.namespace, &service.host, labels, exported))
            .or_else(|| self.find(root, &service.host, labels, exported))
    }

    /// True when some rule of the namespace holds for part of its pods only.
    #[must_use]
    pub fn depends_on_labels(&self, namespace: &str) -> bool {
        self.rows
            .get(namespace)
            .is_some_and(|row| row.rules().any(|rule| selector(&rule.rule.spec).is_some()))
    }

    fn find(
        &self,
        level: &str,
        host: &str,
        labels: &Labels,
        admit: impl Fn(&Destination) -> bool,
    ) -> Option<&Arc<Destination>> {
        let row = self.rows.get(level)?;
        let pick = |rules: &'_ [Arc<Destination>]| -> Option<usize> {
            // Rules with a selector come first in each list, so a matching one is preferred.
            rules.iter().position(|rule| {
                selector(&rule.rule.spec).is_none_or(|wanted| covers(labels, wanted)) && admit(rule)
            })
        };
        if let Some(rules) = row.exact.get(host)
            && let Some(at) = pick(rules)
        {
            return rules.get(at);
        }
        row.wildcards
            .iter()
            .filter(|(pattern, _)| host::is_subset_of(host, pattern))
            .find_map(|(_, rules)| pick(rules).and_then(|at| rules.get(at)))
    }
}

/// The pods a rule holds for; `None` for all.
fn selector(spec: &DestinationRule) -> Option<&Labels> {
    spec.workload_selector
        .as_ref()
        .map(|selector| &selector.match_labels)
        .filter(|labels| !labels.is_empty())
}

/// Adds a rule to those of its host, oldest first: it is merged into the first one with the same selector that nobody sees who does not
/// see the new one too, and kept on its own as well where it is seen by more.
fn merge(list: &mut Vec<Destination>, rule: &Rule<DestinationRule>) {
    let part = (Arc::clone(&rule.namespace), Arc::clone(&rule.name));
    let mut standalone = true;
    for older in list.iter_mut() {
        if selector(&older.rule.spec) != selector(&rule.spec)
            || !rule.export_to.covers(&older.rule.export_to)
        {
            continue;
        }
        if rule.export_to == older.rule.export_to {
            standalone = false;
        }
        older.parts.push(part.clone());
        merge_into(&mut older.rule.spec, &rule.spec);
    }
    if standalone {
        list.push(Destination {
            rule: rule.clone(),
            parts: vec![part],
        });
    }
}

fn merge_into(older: &mut DestinationRule, newer: &DestinationRule) {
    let known: BTreeSet<String> = older
        .subsets
        .iter()
        .map(|subset| subset.name.clone())
        .collect();
    older.subsets.extend(
        newer
            .subsets
            .iter()
            .filter(|subset| !known.contains(&subset.name))
            .cloned(),
    );
    if older.traffic_policy.is_none() {
        older.traffic_policy.clone_from(&newer.traffic_policy);
    }
}

#[cfg(test)]
mod tests {
    use lateen_api::networking::{Subset, TrafficPolicy};

    use super::*;
    use crate::service::Visibility;
    use crate::testing::service;

    fn rule(
        ns: &str,
        created: i64,
        host: &str,
        export: Visibility,
        subsets: &[&str],
        policy: bool,
    ) -> Arc<Rule<DestinationRule>> {
        Arc::new(Rule {
            namespace: ns.into(),
            name: format!("r{created}").into(),
            created,
            export_to: export,
            spec: DestinationRule {
                host: host.into(),
                traffic_policy: policy.then(TrafficPolicy::default),
                subsets: subsets
                    .iter()
                    .map(|name| Subset {
                        name: (*name).into(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            },
        })
    }

    fn found(rules: &Destinations, client: &str, service: &Service) -> Option<String> {
        rules
            .lookup(client, &Labels::new(), service, "istio-system")
            .map(|d| d.rule.full_name())
    }

    #[test]
    fn levels_and_specificity() {
        let reviews = service("reviews.shop.svc.cluster.local", "shop");
        let mut rules = Destinations::default();
        let host = "reviews.shop.svc.cluster.local";
        rules.replace(
            &"istio-system".into(),
            vec![rule(
                "istio-system",
                1,
                "*.local",
                Visibility::Public,
                &[],
                false,
            )],
        );
        assert_eq!(
            found(&rules, "web", &reviews).as_deref(),
            Some("istio-system/r1")
        );
        rules.replace(
            &"shop".into(),
            vec![
                rule(
                    "shop",
                    2,
                    "*.shop.svc.cluster.local",
                    Visibility::Public,
                    &[],
                    false,
                ),
                rule(
                    "shop",
                    3,
                    host,
                    Visibility::parse(&[".".into()], &[], "shop"),
                    &[],
                    false,
                ),
            ],
        );
        assert_eq!(
            found(&rules, "shop", &reviews).as_deref(),
            Some("shop/r3"),
            "exact beats wildcard"
        );
        assert_eq!(
            found(&rules, "web", &reviews).as_deref(),
            Some("shop/r2"),
            "the private one is invisible"
        );
        rules.replace(
            &"web".into(),
            vec![rule("web", 4, host, Visibility::Public, &[], false)],
        );
        assert_eq!(
            found(&rules, "web", &reviews).as_deref(),
            Some("web/r4"),
            "an empty rule of the client's namespace hides others"
        );
        assert_eq!(
            found(&rules, "istio-system", &reviews).as_deref(),
            Some("shop/r2"),
            "root clients ask the service's namespace first"
        );
    }

    #[test]
    fn same_host_is_merged() {
        let host = "reviews.shop.svc.cluster.local";
        let mut rules = Destinations::default();
        rules.replace(
            &"shop".into(),
            vec![
                rule("shop", 2, host, Visibility::Public, &["v2", "v1"], true),
                rule("shop", 1, host, Visibility::Public, &["v1"], false),
            ],
        );
        let merged = rules
            .lookup(
                "shop",
                &Labels::new(),
                &service(host, "shop"),
                "istio-system",
            )
            .expect("found");
        let names: Vec<&str> = merged
            .rule
            .spec
            .subsets
            .iter()
            .map(|s| s.name.as_str())
            .collect();
        assert_eq!(names, ["v1", "v2"]);
        assert!(merged.rule.spec.traffic_policy.is_some());
        assert_eq!((merged.parts.len(), &*merged.rule.name), (2, "r1"));
    }
}

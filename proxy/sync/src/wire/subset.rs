//! Subsets of clusters, and the metadata by which routes name them.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::cluster::LbSubsetConfig;
use envoy_types::pb::envoy::config::cluster::v3::cluster::lb_subset_config::{
    LbSubsetFallbackPolicy, LbSubsetSelector, lb_subset_selector::LbSubsetSelectorFallbackPolicy,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf as wkt;
use envoy_types::pb::google::protobuf::value::Kind;
use lateen_proxy_model::{
    LabelValue, Labels, SelectorFallback, SubsetCriteria, SubsetFallback, SubsetRef,
    SubsetSelector, Subsets,
};

use super::at::{At, Refused, nothing_left};

/// The namespace of metadata that balancing looks at.
const NAMESPACE: &str = "envoy.lb";
/// Values inside values.
const DEPTH: usize = 8;

/// The labels of a struct.
pub(super) fn labels(fields: &wkt::Struct) -> BTreeMap<Box<str>, LabelValue> {
    let one = |(key, value): (&String, &wkt::Value)| ((&**key).into(), label(value, DEPTH));
    fields.fields.iter().map(one).collect()
}

fn label(value: &wkt::Value, depth: usize) -> LabelValue {
    match &value.kind {
        _ if depth == 0 => LabelValue::Null,
        None | Some(Kind::NullValue(_)) => LabelValue::Null,
        Some(Kind::BoolValue(on)) => LabelValue::Bool(*on),
        Some(Kind::NumberValue(number)) => LabelValue::Number(number.to_bits()),
        Some(Kind::StringValue(text)) => LabelValue::from(&**text),
        Some(Kind::ListValue(list)) => LabelValue::List(
            list.values
                .iter()
                .map(|one| label(one, depth - 1))
                .collect(),
        ),
        Some(Kind::StructValue(fields)) => {
            let mut all: Vec<(Box<str>, LabelValue)> = fields
                .fields
                .iter()
                .map(|(key, value)| ((&**key).into(), label(value, depth - 1)))
                .collect();
            all.sort();
            LabelValue::Struct(all.into())
        }
    }
}

/// Labels that endpoints are looked for by; `None` when there are none.
pub(super) fn wanted(message: Option<core::Metadata>) -> Option<Labels> {
    let message = message?;
    let fields = message.filter_metadata.get(NAMESPACE)?;
    let labels = Labels(labels(fields).into_iter().collect());
    (!labels.0.is_empty()).then_some(labels)
}

/// `metadata_match`: other namespaces mean nothing to balancing.
pub(super) fn criteria(message: Option<core::Metadata>) -> Option<SubsetRef> {
    let message = message?;
    let fields = message.filter_metadata.get(NAMESPACE)?;
    Some(Arc::new(SubsetCriteria::new(labels(fields))))
}

/// The criteria of a weighted cluster, with those of its route below them.
pub(super) fn merged(outer: Option<&SubsetRef>, inner: Option<SubsetRef>) -> Option<SubsetRef> {
    match (outer, inner) {
        (Some(outer), Some(inner)) => Some(Arc::new(outer.merged(&inner))),
        (outer, inner) => inner.or_else(|| outer.cloned()),
    }
}

/// `lb_subset_config`; `None` when it divides nothing.
pub(super) fn read(
    at: &At<'_>,
    message: Option<LbSubsetConfig>,
) -> Result<Option<Arc<Subsets>>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    let fallback = match message.fallback_policy() {
        LbSubsetFallbackPolicy::NoFallback => SubsetFallback::None,
        LbSubsetFallbackPolicy::AnyEndpoint => SubsetFallback::Any,
        LbSubsetFallbackPolicy::DefaultSubset => SubsetFallback::Default,
    };
    message.fallback_policy = 0;
    let default = message.default_subset.take().unwrap_or_default();
    let selectors = take(&mut message.subset_selectors);
    if selectors.is_empty() {
        // Envoy divides nothing then.
        return Ok(None);
    }
    let list = at.field("subset_selectors");
    let selectors = selectors
        .into_iter()
        .enumerate()
        .map(|(index, one)| selector(&list.item(index), one))
        .collect::<Result<_, _>>()?;
    let locality_weight_aware = take(&mut message.locality_weight_aware);
    let scale = take(&mut message.scale_locality_weight);
    if scale && !locality_weight_aware {
        let text = "needs locality_weight_aware";
        return Err(at.field("scale_locality_weight").refuse(text));
    }
    let made = Subsets {
        selectors,
        fallback,
        default: SubsetCriteria::new(labels(&default)),
        locality_weight_aware,
        scale_locality_weight: scale,
        panic_mode_any: take(&mut message.panic_mode_any),
        list_as_any: take(&mut message.list_as_any),
    };
    nothing_left(at, &message)?;
    Ok(Some(Arc::new(made)))
}

fn selector(at: &At<'_>, mut message: LbSubsetSelector) -> Result<SubsetSelector, Refused> {
    let keys = sorted(take(&mut message.keys));
    let inner = sorted(take(&mut message.fallback_keys_subset));
    let place = at.field("fallback_keys_subset");
    let policy = message.fallback_policy();
    message.fallback_policy = 0;
    let fallback = match policy {
        LbSubsetSelectorFallbackPolicy::NotDefined => None,
        LbSubsetSelectorFallbackPolicy::NoFallback => {
            Some(SelectorFallback::As(SubsetFallback::None))
        }
        LbSubsetSelectorFallbackPolicy::AnyEndpoint => {
            Some(SelectorFallback::As(SubsetFallback::Any))
        }
        LbSubsetSelectorFallbackPolicy::DefaultSubset => {
            Some(SelectorFallback::As(SubsetFallback::Default))
        }
        LbSubsetSelectorFallbackPolicy::KeysSubset => {
            let fewer = !inner.is_empty() && inner.len() < keys.len();
            if !fewer || inner.iter().any(|key| !keys.contains(key)) {
                return Err(place.refuse("must be some of the keys, not all"));
            }
            Some(SelectorFallback::Keys(inner.clone()))
        }
    };
    if policy != LbSubsetSelectorFallbackPolicy::KeysSubset && !inner.is_empty() {
        return Err(place.refuse("belongs to KEYS_SUBSET alone"));
    }
    let single_host = take(&mut message.single_host_per_subset);
    if single_host && keys.len() != 1 {
        let place = at.field("single_host_per_subset");
        return Err(place.refuse("needs a single key"));
    }
    nothing_left(at, &message)?;
    Ok(SubsetSelector {
        keys,
        single_host,
        fallback,
    })
}

fn sorted(keys: Vec<String>) -> Box<[Box<str>]> {
    let mut keys: Vec<Box<str>> = keys.into_iter().map(Into::into).collect();
    keys.sort();
    keys.dedup();
    keys.into()
}

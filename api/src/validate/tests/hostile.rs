//! VirtualServices at random: none makes the reader or the rules panic, and what is read is written back as it was.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::validate;
use crate::networking::VirtualService;
use crate::object::{ReadOptions, read_text};

/// Texts at the edges of what the rules take.
const TEXTS: [&str; 26] = [
    "",
    "a",
    "*",
    "*.a.com",
    "a.com",
    "x.a.com",
    "10.0.0.1",
    "fe80::1%e",
    "n/g",
    "g.n.svc",
    "mesh",
    ".",
    "~",
    "outbound_.80_._.a.b",
    "%REQ(x)%",
    "%",
    "(a|b)*",
    "[",
    "/a",
    "/a/b",
    "5xx,503",
    "GET",
    "https",
    "é\u{0}\n",
    ":path",
    "@request.auth.claims[a]",
];

fn text() -> BoxedStrategy<Value> {
    prop_oneof![
        9 => proptest::sample::select(TEXTS.as_slice()).prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
    ]
    .boxed()
}

fn number() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(0_u32),
        Just(80),
        Just(600),
        0..70_000_u32,
        any::<u32>()
    ]
    .prop_map(Value::from)
    .boxed()
}

fn signed() -> BoxedStrategy<Value> {
    prop_oneof![Just(0), Just(200), any::<i32>()]
        .prop_map(Value::from)
        .boxed()
}

fn flag() -> BoxedStrategy<Value> {
    any::<bool>().prop_map(Value::from).boxed()
}

fn span() -> BoxedStrategy<Value> {
    proptest::sample::select(["0s", "1s", "0.000001s", "-1s", "3600.500s"].as_slice())
        .prop_map(Value::from)
        .boxed()
}

fn share() -> BoxedStrategy<Value> {
    // In hundredths, since the JSON reader rounds long fractions.
    prop_oneof![
        (-100..10_100).prop_map(|share| f64::from(share) / 100.0),
        Just(0.00001)
    ]
    .prop_map(|value| json!({"value": value}))
    .boxed()
}

fn list(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    vec(item, 0..4).prop_map(Value::from).boxed()
}

fn map(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    vec((text(), item), 0..3)
        .prop_map(|entries| {
            let key = |key: Value| key.as_str().unwrap_or_default().to_owned();
            entries
                .into_iter()
                .map(|(name, value)| (key(name), value))
                .collect::<Map<_, _>>()
                .into()
        })
        .boxed()
}

/// An object with some of the fields.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| {
            prop_oneof![3 => Just(None), 2 => value.prop_map(Some)]
                .prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        })
        .collect();
    fields
        .prop_map(|fields| fields.into_iter().flatten().collect::<Map<_, _>>().into())
        .boxed()
}

/// An object with at most one of the fields.
fn choice(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| value.prop_map(move |value| json!({name: value})).boxed())
        .chain([Just(json!({})).boxed()])
        .collect();
    proptest::strategy::Union::new(fields).boxed()
}

fn condition() -> BoxedStrategy<Value> {
    choice(vec![
        ("exact", text()),
        ("prefix", text()),
        ("regex", text()),
    ])
}

fn destination() -> BoxedStrategy<Value> {
    let port = object(vec![("number", number())]);
    object(vec![("host", text()), ("subset", text()), ("port", port)])
}

fn changes() -> BoxedStrategy<Value> {
    let operations = || {
        object(vec![
            ("set", map(text())),
            ("add", map(text())),
            ("remove", list(text())),
        ])
    };
    object(vec![("request", operations()), ("response", operations())])
}

fn connections() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    vec![
        ("destinationSubnets", list(text())),
        ("port", number()),
        ("sourceLabels", map(text())),
        ("gateways", list(text())),
        ("sourceNamespace", text()),
    ]
}

fn requests() -> BoxedStrategy<Value> {
    object(vec![
        ("name", text()),
        ("uri", condition()),
        ("method", condition()),
        ("authority", condition()),
        ("headers", map(condition())),
        ("withoutHeaders", map(condition())),
        ("queryParams", map(condition())),
        ("port", number()),
        ("gateways", list(text())),
        ("ignoreUriCase", flag()),
    ])
}

fn http_route() -> BoxedStrategy<Value> {
    let to = object(vec![
        ("destination", destination()),
        ("weight", signed()),
        ("headers", changes()),
    ]);
    let copy = object(vec![
        ("destination", destination()),
        ("percentage", share()),
    ]);
    let regex = object(vec![("match", text()), ("rewrite", text())]);
    let delay = choice(vec![
        ("fixedDelay", span()),
        ("exponentialDelay", span()),
        ("percentage", share()),
    ]);
    let abort = choice(vec![
        ("httpStatus", signed()),
        ("grpcStatus", text()),
        ("percentage", share()),
    ]);
    let body = choice(vec![
        ("string", text()),
        ("bytes", Just(json!("YWI=")).boxed()),
    ]);
    object(vec![
        ("name", text()),
        ("match", list(requests())),
        ("route", list(to)),
        (
            "redirect",
            object(vec![
                ("uri", text()),
                ("scheme", text()),
                ("port", number()),
                ("redirectCode", number()),
            ]),
        ),
        (
            "directResponse",
            object(vec![("status", number()), ("body", body)]),
        ),
        ("delegate", object(vec![("name", text())])),
        (
            "rewrite",
            object(vec![
                ("uri", text()),
                ("authority", text()),
                ("uriRegexRewrite", regex),
            ]),
        ),
        ("timeout", span()),
        (
            "retries",
            object(vec![
                ("attempts", signed()),
                ("retryOn", text()),
                ("perTryTimeout", span()),
            ]),
        ),
        ("fault", object(vec![("delay", delay), ("abort", abort)])),
        ("mirror", destination()),
        ("mirrors", list(copy)),
        ("mirrorPercent", number()),
        (
            "corsPolicy",
            object(vec![
                ("allowOrigins", list(condition())),
                ("allowMethods", list(text())),
                ("maxAge", span()),
            ]),
        ),
        ("headers", changes()),
    ])
}

/// The content of a VirtualService.
fn spec() -> BoxedStrategy<Value> {
    let to = || {
        list(object(vec![
            ("destination", destination()),
            ("weight", signed()),
        ]))
    };
    let mut by_name = connections();
    by_name.push(("sniHosts", list(text())));
    let mut by_address = connections();
    by_address.push(("sourceSubnet", text()));
    let tls = object(vec![("match", list(object(by_name))), ("route", to())]);
    let tcp = object(vec![("match", list(object(by_address))), ("route", to())]);
    object(vec![
        ("hosts", list(text())),
        ("gateways", list(text())),
        ("http", list(http_route())),
        ("tls", list(tls)),
        ("tcp", list(tcp)),
        ("exportTo", list(text())),
    ])
}

/// A change of one value somewhere below to something that is out of place.
fn broken() -> impl Strategy<Value = Value> {
    let odd = prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!(1.5)),
        Just(json!(-1)),
        Just(json!("NaN")),
        text(),
    ];
    (spec(), vec((any::<prop::sample::Index>(), odd), 0..4)).prop_map(|(mut spec, changes)| {
        for (place, value) in changes {
            replace(&mut spec, place, value);
        }
        spec
    })
}

fn replace(value: &mut Value, place: prop::sample::Index, with: Value) {
    let inner: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    match inner.len() {
        0 => *value = with,
        count => {
            if let Some(next) = inner.into_iter().nth(place.index(count)) {
                replace(next, place, with);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_reads_as_it_was(spec in spec()) {
        let read: VirtualService = serde_json::from_value(spec).expect("a VirtualService");
        let written = serde_json::to_string(&read).expect("JSON");
        let again: VirtualService = serde_json::from_str(&written).expect("the same");
        prop_assert_eq!(read, again);
    }

    #[test]
    fn no_object_makes_the_rules_panic(spec in broken()) {
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}, "spec": spec,
        });
        for strict in [false, true] {
            let options = ReadOptions { namespace: "shop", strict };
            for object in read_text("a.json", &object.to_string().into(), options).objects {
                for fault in validate(&object) {
                    prop_assert!(!fault.message.is_empty());
                    // Each fault is at a place of the object, or at one where something is missing.
                    prop_assert!(fault.field.starts_with("spec"), "{fault:?}");
                }
            }
        }
    }

    #[test]
    fn no_text_makes_the_rules_of_expressions_and_values_panic(text in any::<String>()) {
        let _ = super::super::regex::check(&text);
        let _ = super::super::headers::check_value(&text);
        let _ = super::super::values::is_ip_or_range(&text);
        let _ = crate::host::is_wildcard_domain(&text);
    }
}

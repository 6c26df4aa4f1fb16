use super::definition::{DEFINITIONS, Definition};
use super::rule::Rule;
use super::tree::{Form, Place, Tree};
use crate::object::Kind;

#[test]
fn each_of_istios_kinds_has_a_definition_in_the_order_of_the_kinds() {
    let defined: Vec<Kind> = DEFINITIONS
        .iter()
        .map(|definition| definition.kind)
        .collect();
    let kinds: Vec<Kind> = Kind::all().filter(|kind| kind.is_istio()).collect();
    assert_eq!(defined, kinds);
    for definition in &DEFINITIONS {
        assert!(definition.kind.versions().contains(&definition.storage));
    }
}

#[test]
fn every_rule_has_a_place_that_it_fits() {
    for definition in &DEFINITIONS {
        let misfits = Tree::of(definition).misfits;
        assert_eq!(misfits, Vec::<String>::new(), "{}", definition.kind);
    }
}

#[test]
fn each_kind_has_the_number_of_cel_rules_that_the_api_has() {
    let cel = |rule: &&&'static Rule| matches!(rule, Rule::Cel(_));
    let numbers: Vec<(&str, usize)> = DEFINITIONS
        .iter()
        .map(|definition| {
            (
                definition.kind.as_str(),
                rules_of(definition).iter().filter(cel).count(),
            )
        })
        .collect();
    assert_eq!(
        numbers,
        [
            ("VirtualService", 6),
            ("DestinationRule", 47),
            ("Gateway", 3),
            ("ServiceEntry", 15),
            ("WorkloadEntry", 6),
            ("Sidecar", 18),
            ("WorkloadGroup", 9),
            ("EnvoyFilter", 4),
            ("ProxyConfig", 3),
            ("PeerAuthentication", 5),
            ("AuthorizationPolicy", 7),
            ("RequestAuthentication", 10),
            ("Telemetry", 9),
            ("WasmPlugin", 8),
            ("TrafficExtension", 8),
        ]
    );
}

#[test]
fn every_place_is_described() {
    fn bare(place: &Place, path: &str, out: &mut Vec<String>) {
        match &place.form {
            Form::Object { fields, .. } => {
                for (name, field) in fields {
                    let path = format!("{path}.{name}");
                    if field.description.is_empty() {
                        out.push(path.clone());
                    }
                    bare(field, &path, out);
                }
            }
            Form::List(inner) | Form::Map(inner) => bare(inner, path, out),
            _ => {}
        }
    }
    let mut out = Vec::new();
    for definition in &DEFINITIONS {
        bare(
            &Tree::of(definition).spec,
            definition.kind.as_str(),
            &mut out,
        );
    }
    assert_eq!(out, Vec::<String>::new());
}

fn rules_of(definition: &Definition) -> Vec<&'static Rule> {
    fn collect(place: &Place, out: &mut Vec<&'static Rule>) {
        out.extend(&place.rules);
        match &place.form {
            Form::Object { fields, .. } => {
                fields.iter().for_each(|(_, field)| collect(field, out));
            }
            Form::List(inner) | Form::Map(inner) => collect(inner, out),
            _ => {}
        }
    }
    let mut out = Vec::new();
    collect(&Tree::of(definition).spec, &mut out);
    out
}

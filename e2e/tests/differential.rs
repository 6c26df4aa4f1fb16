//! Envoy and `lateen-proxy` do the same. `LATEEN_CASE=text` runs the cases whose name holds the text.

use lateen_e2e::{differential, workspace};

#[test]
fn the_proxy_does_what_envoy_does() {
    let folder = workspace().join("e2e/differential");
    let envoy = differential::envoy_binary(&folder).expect("Envoy");
    let lateen = std::env::var_os("LATEEN_PROXY")
        .map_or_else(|| workspace().join("target/debug/lateen-proxy"), Into::into);
    let only = std::env::var("LATEEN_CASE").unwrap_or_default();
    let report = differential::run(&folder, &envoy, &lateen, &only).expect("the run");
    println!(
        "{} cases agree, {} more but for allowed differences, {} differ",
        report.agreed,
        report.allowed,
        report.differences.len()
    );
    assert!(
        report.differences.is_empty() && report.stale.is_empty(),
        "{}\nentries of differences.yaml that no case needs: {:?}",
        report.differences.join("\n"),
        report.stale
    );
}

//! The admin pages of `lateen-proxy` have the shape of Envoy's.

use lateen_e2e::{differential, workspace};

#[test]
fn the_admin_pages_are_shaped_as_those_of_envoy() {
    let folder = workspace().join("e2e/differential");
    let envoy = differential::envoy_binary(&folder).expect("Envoy");
    let lateen = lateen_e2e::hostile::lateen();
    let found = differential::admin_shapes(&folder, &envoy, &lateen).expect("the pages");
    assert!(
        found.is_empty(),
        "{} differences\n{}",
        found.len(),
        found.join("\n")
    );
}

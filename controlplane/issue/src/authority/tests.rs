use std::fs;
use std::os::unix::fs::PermissionsExt;

use x509_parser::extensions::GeneralName;

use super::*;
use crate::{request, testing};

const ID: &str = "spiffe://cluster.local/ns/default/sa/reviews";

fn config(state: Option<&Path>, plugged: Option<&Path>) -> Config {
    Config {
        plugged: plugged.map(Path::to_owned),
        state: state.map(Path::to_owned),
        trust_domain: "cluster.local".to_owned(),
        default_life: Duration::from_secs(24 * 3600),
        max_life: Duration::from_secs(90 * 24 * 3600),
    }
}

fn sign(authority: &Authority, life: Option<Duration>) -> Signed {
    let key = KeyPair::generate().expect("key");
    let csr = testing::request(&key, &["spiffe://cluster.local/ns/kube-system/sa/admin"]);
    let key = request::public_key(&csr).expect("request");
    authority
        .sign(
            &key,
            &Subject::Workload(ID.to_owned()),
            life,
            SystemTime::now(),
        )
        .expect("signed")
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("pem")
}

#[test]
fn a_leaf_carries_the_given_identity_alone() {
    let authority = Authority::open(&config(None, None)).expect("authority");
    let signed = sign(&authority, None);
    assert_eq!(signed.chain.len(), 2);
    let (leaf, root) = (der(&signed.chain[0]), der(&signed.chain[1]));
    let (leaf, root) = (parse(&leaf).expect("leaf"), parse(&root).expect("root"));
    leaf.verify_signature(Some(root.public_key()))
        .expect("signed by the root");
    root.verify_signature(None).expect("self-signed");
    let names = leaf
        .subject_alternative_name()
        .expect("one")
        .expect("there")
        .value
        .general_names
        .clone();
    assert!(
        matches!(names.as_slice(), [GeneralName::URI(uri)] if *uri == ID),
        "{names:?}"
    );
    let usage = leaf
        .extended_key_usage()
        .expect("one")
        .expect("there")
        .value;
    assert!(usage.server_auth && usage.client_auth && !usage.any && !leaf.is_ca());
    assert!(
        leaf.raw_serial().len() == 16
            && leaf.serial
                != parse(&der(&sign(&authority, None).chain[0]))
                    .expect("leaf")
                    .serial
    );
    let life = root.validity().not_after.timestamp() - root.validity().not_before.timestamp();
    assert_eq!(
        life,
        i64::try_from(ROOT_LIFE.as_secs()).expect("fits") + 120
    );
}

#[test]
fn life_is_capped() {
    let authority = Authority::open(&config(None, None)).expect("authority");
    let hours = |life: Option<u64>| {
        let signed = sign(
            &authority,
            life.map(|hours| Duration::from_secs(hours * 3600)),
        );
        let left = signed
            .not_after
            .duration_since(SystemTime::now())
            .expect("later")
            .as_secs();
        (left + 60) / 3600
    };
    assert_eq!(
        [
            hours(None),
            hours(Some(0)),
            hours(Some(1)),
            hours(Some(1_000_000))
        ],
        [24, 24, 1, 90 * 24]
    );
}

#[test]
fn the_root_survives_a_restart() {
    let dir = tempfile::tempdir().expect("tempdir");
    let state = dir.path().join("ca");
    let first = Authority::open(&config(Some(&state), None)).expect("made");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join(KEY))), (0o700, 0o600));
    let second = Authority::open(&config(Some(&state), None)).expect("loaded");
    assert_eq!(first.roots(), second.roots());
    let signed = sign(&second, None);
    assert_eq!(
        signed.chain.len(),
        2,
        "a self-signed root is no intermediate of its own"
    );
    let (leaf, root) = (der(&signed.chain[0]), der(first.roots()));
    parse(&leaf)
        .expect("leaf")
        .verify_signature(Some(parse(&root).expect("root").public_key()))
        .expect("same key");

    fs::set_permissions(state.join(KEY), fs::Permissions::from_mode(0o644)).expect("chmod");
    let error = Authority::open(&config(Some(&state), None))
        .err()
        .expect("refused")
        .to_string();
    assert!(error.contains("readable by other users"), "{error}");
}

#[test]
fn a_plugged_in_intermediate_signs() {
    let dir = tempfile::tempdir().expect("tempdir");
    let root_key = KeyPair::generate().expect("key");
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "root");
    let root_pem = root.self_signed(&root_key).expect("root").pem();
    let root = Issuer::new(root, root_key);
    let key = KeyPair::generate().expect("key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(DnType::CommonName, "intermediate");
    let ca_pem = ca.signed_by(&key, &root).expect("ca").pem();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    write(CERT, &ca_pem);
    write(KEY, &key.serialize_pem());
    write(ROOT, &root_pem);
    write(CHAIN, &format!("{ca_pem}{root_pem}"));
    let authority = Authority::open(&config(None, Some(dir.path()))).expect("loaded");
    let signed = sign(&authority, None);
    assert_eq!(signed.chain.len(), 3);
    assert_eq!(
        (der(&signed.chain[1]), der(&signed.chain[2])),
        (der(&ca_pem), der(&root_pem))
    );
    let leaf = der(&signed.chain[0]);
    parse(&leaf)
        .expect("leaf")
        .verify_signature(Some(parse(&der(&ca_pem)).expect("ca").public_key()))
        .expect("signed");

    let open = || {
        Authority::open(&config(None, Some(dir.path())))
            .err()
            .expect("refused")
            .to_string()
    };
    write(KEY, &KeyPair::generate().expect("key").serialize_pem());
    assert!(
        open().ends_with("its key is not the one in ca-key.pem"),
        "{}",
        open()
    );
    write(KEY, &key.serialize_pem());
    write(
        ROOT,
        &CertificateParams::default()
            .self_signed(&key)
            .expect("other")
            .pem(),
    );
    assert!(
        open().contains("no root in it leads to ca-cert.pem"),
        "{}",
        open()
    );
    write(ROOT, "");
    assert!(
        open().contains("root-cert.pem: holds no certificate"),
        "{}",
        open()
    );
    fs::remove_file(dir.path().join(ROOT)).expect("removed");
    assert!(open().contains("root-cert.pem: "), "{}", open());
}

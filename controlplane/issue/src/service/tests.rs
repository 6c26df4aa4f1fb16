use std::net::{Ipv4Addr, SocketAddr};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::authenticate::Authenticator;
use crate::authority::Config;
use crate::testing;
use crate::token::TokenRule;
use crate::token::tests::Signer;

struct Bench {
    service: CertificateService,
    signer: Signer,
}

fn bench() -> Bench {
    let day = Duration::from_secs(24 * 3600);
    let config = Config {
        plugged: None,
        state: None,
        trust_domain: "cluster.local".into(),
        default_life: day,
        max_life: day,
    };
    let authority = Arc::new(Authority::open(&config).expect("authority"));
    let signer = Signer::new();
    let rule = TokenRule::parse(&signer.rule(), "cluster.local").expect("rule");
    let authenticator = Arc::new(Authenticator::new(Some(rule), vec!["cluster.local".into()]));
    Bench {
        service: CertificateService::new(authority, authenticator, Arc::default()),
        signer,
    }
}

fn request(csr: &str, token: Option<&str>, encrypted: bool) -> Request<IstioCertificateRequest> {
    let mut request = Request::new(IstioCertificateRequest {
        csr: csr.to_owned(),
        validity_duration: 3600,
        metadata: None,
    });
    let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    request.extensions_mut().insert(Connection {
        remote,
        encrypted,
        certificates: Arc::new([]),
    });
    if let Some(token) = token {
        request.metadata_mut().insert(
            "authorization",
            format!("Bearer {token}").parse().expect("header"),
        );
    }
    request
}

fn csr() -> String {
    testing::request(
        &rcgen::KeyPair::generate().expect("key"),
        &["spiffe://cluster.local/ns/istio-system/sa/istiod"],
    )
}

#[tokio::test]
async fn the_certificate_is_for_the_caller() {
    let bench = bench();
    let token = bench.signer.token(&Signer::claims("default", "reviews"));
    let response = bench
        .service
        .create_certificate(request(&csr(), Some(&token), true))
        .await
        .expect("issued");
    let chain = response.into_inner().cert_chain;
    let leaf = CertificateDer::from_pem_slice(chain[0].as_bytes()).expect("pem");
    let (_, leaf) = X509Certificate::from_der(&leaf).expect("leaf");
    let names = &leaf
        .subject_alternative_name()
        .expect("one")
        .expect("there")
        .value
        .general_names;
    assert!(
        matches!(
            names.as_slice(),
            [GeneralName::URI(
                "spiffe://cluster.local/ns/default/sa/reviews"
            )]
        ),
        "{names:?}"
    );
    assert_eq!(
        leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp(),
        3600 + 120
    );
    assert_eq!(bench.service.counts.issued.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_is_refused() {
    let bench = bench();
    let good = bench.signer.token(&Signer::claims("default", "reviews"));
    let stranger = Signer::new().token(&Signer::claims("default", "reviews"));
    for (token, encrypted) in [
        (None, true),
        (Some(stranger.as_str()), true),
        (Some(good.as_str()), false),
    ] {
        let status = bench
            .service
            .create_certificate(request(&csr(), token, encrypted))
            .await
            .expect_err("refused");
        assert_eq!(
            (status.code() as i32, status.message()),
            (16, "request authenticate failure")
        );
    }
    let status = bench
        .service
        .create_certificate(request("nonsense", Some(&good), true))
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    let mut impersonating = request(&csr(), Some(&good), true);
    let fields = [("ImpersonatedIdentity".to_owned(), Default::default())].into();
    impersonating.get_mut().metadata = Some(envoy_types::pb::google::protobuf::Struct { fields });
    assert!(
        bench
            .service
            .create_certificate(impersonating)
            .await
            .is_err()
    );
}

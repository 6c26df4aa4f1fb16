//! Secrets of Gateways. The certificate is valid from 2026-11-21 for ten years.

use super::support::{Case, codes, files, run};

const SECRETS: Case<'static> = Case {
    analyzer: "gateway.SecretAnalyzer",
    object: "Gateway default/edge",
    own_line: true,
    ..Case::NEW
};

const GATEWAY: &str = r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ['*']
    tls:
      mode: SIMPLE
      credentialName: cert #!
---
";

const CERTIFICATE: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: istio-system}
stringData:
  tls.key: key
  tls.crt: |
    -----BEGIN CERTIFICATE-----
    MIIBkjCCATmgAwIBAgIUISCUmwAFfPQl9IRTyT0YE3/gKc0wCgYIKoZIzj0EAwIw
    HzEdMBsGA1UEAwwUYm9va2luZm8uZXhhbXBsZS5jb20wHhcNMjYxMTIxMTU0NTU4
    WhcNMzYxMTE4MTU0NTU4WjAfMR0wGwYDVQQDDBRib29raW5mby5leGFtcGxlLmNv
    bTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBreuFvtNJWYCQejydaGmuGczRbl
    120SBK1LiV25NmrqbiZN14gEPO153RmCSsFZxbl0DOXGybwzuOG9WBPPdy+jUzBR
    MB0GA1UdDgQWBBS6Ju2DDmithMrNZnlyr8iBUiwINjAfBgNVHSMEGDAWgBS6Ju2D
    DmithMrNZnlyr8iBUiwINjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cA
    MEQCIHdmp0xPJNyOdQNB6/79lw94ypEEF8JGPiPl5vcgTau0AiA7edtza8G09YTp
    eHb+fYMdAzU9W2LOX9UylW26sI8zgg==
    -----END CERTIFICATE-----
";

fn with_gateway(secret: &str) -> &'static str {
    Box::leak(format!("{GATEWAY}{secret}").into_boxed_str())
}

#[test]
fn a_gateway_s_pods_and_secret_are_looked_up() {
    Case {
        code: "IST0101",
        raises: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector:
    app: none #!
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {credentialName: cert}}]
",
        text: &["selector \"app=none\""],
        near: GATEWAY,
        ..SECRETS
    }
    .check();
    // The Secret has to be where the gateway runs.
    Case {
        code: "IST0101",
        raises: with_gateway("{apiVersion: v1, kind: Secret, metadata: {name: cert}}"),
        text: &["credentialName \"cert\""],
        near: with_gateway(
            "{apiVersion: v1, kind: Secret, metadata: {name: cert, namespace: istio-system}}",
        ),
        ..SECRETS
    }
    .check();
}

#[test]
fn the_gateway_of_the_files_comes_before_the_default_one() {
    let deployment = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge, namespace: edges}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  template: {metadata: {labels: {istio: ingressgateway}}, spec: {containers: [{name: istio-proxy, image: auto}]}}
---
{apiVersion: v1, kind: Secret, metadata: {name: cert, namespace: istio-system}}
";
    let messages = run(SECRETS.analyzer, files(with_gateway(deployment), ""));
    assert_eq!(codes(&messages), ["IST0101 Gateway default/edge"]);
    assert!(messages[0].text.contains("edges"));
}

#[test]
fn a_secret_holds_key_and_valid_certificate() {
    let valid = |at: &str| {
        let mut input = files(with_gateway(CERTIFICATE), "");
        input.now = at.parse().expect("time");
        run(SECRETS.analyzer, input)
    };
    assert_eq!(valid("2030-01-01T00:00:00Z"), Vec::new());
    for (at, text) in [
        ("2026-11-20T00:00:00Z", "not valid before 2026-11-21"),
        ("2036-12-01T00:00:00Z", "expired at 2036-11-1"),
    ] {
        let messages = valid(at);
        assert_eq!(codes(&messages), ["IST0161 Gateway default/edge"]);
        assert!(messages[0].text.contains(text), "{}", messages[0].text);
    }
    for (data, text) in [
        ("data: {}", "neither tls.crt and tls.key"),
        ("data: {tls.crt: aGk=}", "neither tls.crt and tls.key"),
        (
            "stringData: {tls.crt: '', tls.key: k}",
            "neither tls.crt and tls.key",
        ),
        (
            "data: {tls.crt: aGk=, tls.key: aGk=}",
            "tls.crt is not a PEM certificate",
        ),
        (
            "data: {cert: aGk=, key: aGk=}",
            "cert is not a PEM certificate",
        ),
        (
            "stringData: {key: k, cert: \"-----BEGIN CERTIFICATE-----\\naGk=\\n-----END CERTIFICATE-----\\n\"}",
            "cert is not an X.509 certificate",
        ),
    ] {
        let secret = format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: cert, namespace: istio-system}}, {data}}}"
        );
        let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
        Case {
            code: "IST0161",
            raises: with_gateway(&secret),
            text: &["Gateway edge", "namespace istio-system"],
            near: GATEWAY,
            ..SECRETS
        }
        .check();
        let messages = run(SECRETS.analyzer, files(with_gateway(&secret), ""));
        assert!(messages[0].text.contains(text), "{}", messages[0].text);
    }
}

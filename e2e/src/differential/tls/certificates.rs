//! The certificates of a run: made once, the same for both proxies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    OtherNameValue, PublicKeyData, RevokedCertParams, RsaKeySize, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Certificates by name, and the folder that has them as `NAME.pem` and `NAME.key`; `ca.pem`, `other-ca.pem` and
/// `crl.pem` are there too.
pub(in super::super) struct Certificates {
    folder: tempfile::TempDir,
    made: BTreeMap<&'static str, Made>,
}

/// A chain with its key.
struct Made {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    public_key: String,
    hash: String,
}

/// What is special about a certificate.
#[derive(Clone, Copy)]
struct Wanted {
    name: &'static str,
    sans: &'static [(&'static str, &'static str)],
    subject: &'static [(&'static str, &'static str)],
    by: &'static str,
    rsa: bool,
    expired: bool,
    server: bool,
}

const PLAIN: Wanted = Wanted {
    name: "",
    sans: &[],
    subject: &[],
    by: "ca",
    rsa: false,
    expired: false,
    server: false,
};

const ALL: [Wanted; 18] = [
    server("server-a", &[("dns", "a.test")]),
    Wanted {
        rsa: true,
        ..server("server-a-rsa", &[("dns", "a.test")])
    },
    server("server-b", &[("dns", "b.test")]),
    server("server-wild", &[("dns", "*.w.test")]),
    server(
        "server-uri",
        &[
            ("uri", "spiffe://td/ns/x/sa/server"),
            ("dns", "server.test"),
        ],
    ),
    server("server-ip", &[("ip", "127.0.0.1")]),
    server("server-named", &[]),
    Wanted {
        expired: true,
        ..server("server-expired", &[("dns", "a.test")])
    },
    Wanted {
        by: "other-ca",
        ..server("server-other", &[("dns", "a.test")])
    },
    Wanted {
        subject: &[
            ("c", "DE"),
            ("o", "Acme, \"Inc\"."),
            ("ou", "a+b;c<d>=\\ \u{e4}"),
            ("cn", " client #1 "),
        ],
        ..client(
            "client",
            &[
                ("uri", "spiffe://td/ns/a/sa/client"),
                ("uri", "https://client.test/x,y"),
                ("dns", "client.test"),
                ("dns", "alt.client.test"),
                ("email", "me@client.test"),
                ("ip", "10.1.2.3"),
                ("ip", "2001:db8::1"),
            ],
        )
    },
    Wanted {
        rsa: true,
        ..client("client-rsa", &[("dns", "rsa.client.test")])
    },
    Wanted {
        by: "other-ca",
        ..client("client-other", &[("uri", "spiffe://td/ns/a/sa/other")])
    },
    Wanted {
        expired: true,
        ..client("client-expired", &[("dns", "client.test")])
    },
    client("client-revoked", &[("dns", "client.test")]),
    Wanted {
        by: "middle",
        ..client("client-chain", &[("uri", "spiffe://td/ns/a/sa/chain")])
    },
    client("client-plain", &[]),
    client("client-name", &[("other", "user@corp")]),
    Wanted {
        server: true,
        ..client("client-misused", &[("dns", "client.test")])
    },
];

const fn server(name: &'static str, sans: &'static [(&'static str, &'static str)]) -> Wanted {
    Wanted {
        name,
        sans,
        server: true,
        ..PLAIN
    }
}

const fn client(name: &'static str, sans: &'static [(&'static str, &'static str)]) -> Wanted {
    Wanted {
        name,
        sans,
        ..PLAIN
    }
}

/// Who signs, with the certificates that go behind a leaf.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    behind: Vec<CertificateDer<'static>>,
}

impl Certificates {
    pub(in super::super) fn make() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut authorities = BTreeMap::new();
        for (name, common) in [("ca", "Test Root"), ("other-ca", "Other Root")] {
            let key = KeyPair::generate()?;
            let params = authority(common, 1);
            let certificate = params.self_signed(&key)?;
            fs::write(folder.path().join(format!("{name}.pem")), certificate.pem())?;
            let issuer = Issuer::new(params, key);
            let behind = Vec::new();
            authorities.insert(name, Authority { issuer, behind });
        }
        let (key, params) = (KeyPair::generate()?, authority("Test Middle", 2));
        let root = &authorities.get("ca").context("ca")?.issuer;
        let certificate = params.signed_by(&key, root)?;
        fs::write(folder.path().join("middle.pem"), certificate.pem())?;
        fs::write(folder.path().join("crl.pem"), revoked(root)?)?;
        let issuer = Issuer::new(params, key);
        let behind = vec![certificate.der().clone()];
        authorities.insert("middle", Authority { issuer, behind });
        let mut certificates = Self {
            folder,
            made: BTreeMap::new(),
        };
        for (index, wanted) in ALL.iter().enumerate() {
            let by = authorities.get(wanted.by).context(wanted.by)?;
            certificates.add(wanted, serial(index), by)?;
        }
        Ok(certificates)
    }

    /// Fills in `@CERTS@`, `@SPKI:name@` and `@HASH:name@`.
    pub(in super::super) fn fill(&self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let mut text = text.replace("@CERTS@", &folder);
        for (name, made) in &self.made {
            text = text.replace(&format!("@SPKI:{name}@"), &made.public_key);
            text = text.replace(&format!("@HASH:{name}@"), &made.hash);
        }
        text
    }

    /// The chain and key of this name.
    pub(in super::super) fn identity(
        &self,
        name: &str,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let made = self.made.get(name);
        let made = made.with_context(|| format!("no certificate {name}"))?;
        let key = PrivatePkcs8KeyDer::from(made.key.clone());
        Ok((made.chain.clone(), key.into()))
    }

    /// The name of a certificate, as a peer showed it.
    pub(in super::super) fn name(&self, leaf: &CertificateDer<'_>) -> &'static str {
        let mut all = self.made.iter();
        all.find(|(_, made)| made.chain.first() == Some(leaf))
            .map_or("unknown", |(name, _)| name)
    }

    fn add(&mut self, wanted: &Wanted, serial: u64, by: &Authority) -> Result<()> {
        let key = if wanted.rsa {
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)?
        } else {
            KeyPair::generate()?
        };
        let params = leaf(wanted, serial)?;
        let certificate = params.signed_by(&key, &by.issuer)?;
        let path =
            |end: &str| -> PathBuf { self.folder.path().join(format!("{}.{end}", wanted.name)) };
        let mut pem = certificate.pem();
        for more in &by.behind {
            let text = STANDARD.encode(more);
            let _ = write!(
                pem,
                "-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"
            );
        }
        fs::write(path("pem"), pem)?;
        fs::write(path("key"), key.serialize_pem())?;
        let mut chain = vec![certificate.der().clone()];
        chain.extend(by.behind.iter().cloned());
        let mut hash = String::new();
        for byte in digest(&SHA256, certificate.der()).as_ref() {
            let _ = write!(hash, "{byte:02x}");
        }
        let made = Made {
            chain,
            public_key: STANDARD.encode(digest(&SHA256, &key.subject_public_key_info())),
            key: key.serialize_der(),
            hash,
        };
        self.made.insert(wanted.name, made);
        Ok(())
    }
}

fn serial(index: usize) -> u64 {
    0x00c0_ffee_0000_0000 + index as u64
}

fn authority(common: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Test, Inc.");
    params.distinguished_name.push(DnType::CommonName, common);
    params.serial_number = Some(SerialNumber::from(serial));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}

fn leaf(wanted: &Wanted, serial: u64) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in wanted.subject {
        let kind = match *kind {
            "c" => DnType::CountryName,
            "o" => DnType::OrganizationName,
            "ou" => DnType::OrganizationalUnitName,
            _ => DnType::CommonName,
        };
        params.distinguished_name.push(kind, *value);
    }
    if wanted.subject.is_empty() {
        params
            .distinguished_name
            .push(DnType::CommonName, wanted.name);
    }
    for (kind, value) in wanted.sans {
        params.subject_alt_names.push(match *kind {
            "uri" => SanType::URI((*value).try_into()?),
            "dns" => SanType::DnsName((*value).try_into()?),
            "email" => SanType::Rfc822Name((*value).try_into()?),
            "ip" => SanType::IpAddress(value.parse()?),
            _ => SanType::OtherName((
                vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3],
                OtherNameValue::Utf8String((*value).to_owned()),
            )),
        });
    }
    params.serial_number = Some(SerialNumber::from(serial));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![if wanted.server {
        ExtendedKeyUsagePurpose::ServerAuth
    } else {
        ExtendedKeyUsagePurpose::ClientAuth
    }];
    if wanted.name == "server-uri" {
        // A proxy shows it on both sides.
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = if wanted.expired {
        date_time_ymd(2024, 2, 1)
    } else {
        date_time_ymd(2049, 12, 1)
    };
    Ok(params)
}

/// The list of revoked certificates of the root.
fn revoked(root: &Issuer<'static, KeyPair>) -> Result<String> {
    let index = ALL.iter().position(|it| it.name == "client-revoked");
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2049, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(serial(index.context("client-revoked")?)),
            revocation_time: date_time_ymd(2024, 6, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(root)?.pem()?)
}

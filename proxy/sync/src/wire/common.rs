//! Small values that many messages share.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, Percent};
use envoy_types::pb::google::protobuf as wkt;
use lateen_proxy_model::Percentage;
use lateen_xds::any;
use prost::{Message, Name};

use super::at::{At, Refused};

/// The message in an `Any`.
pub(crate) fn unpack<M: Message + Name + Default>(
    at: &At<'_>,
    packed: &wkt::Any,
) -> Result<M, Refused> {
    any::unpack(packed).map_err(|error| at.refuse(error.to_string()))
}

/// A duration; negative ones are refused.
pub(crate) fn duration(
    at: &At<'_>,
    value: Option<wkt::Duration>,
) -> Result<Option<Duration>, Refused> {
    let Some(value) = value else {
        return Ok(None);
    };
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
            Ok(Some(Duration::new(seconds, nanos)))
        }
        _ => Err(at.refuse("a duration must not be negative")),
    }
}

/// A limit in time where zero is none, with Envoy's default for an absent value.
pub(crate) fn limit(
    at: &At<'_>,
    value: Option<wkt::Duration>,
    default: Option<Duration>,
) -> Result<Option<Duration>, Refused> {
    Ok(match duration(at, value)? {
        None => default,
        Some(Duration::ZERO) => None,
        Some(limit) => Some(limit),
    })
}

/// A wrapped number.
pub(crate) fn number(value: Option<wkt::UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

/// A wrapped flag.
pub(crate) fn flag(value: Option<wkt::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

/// A flag that may only be off.
pub(crate) fn must_be_off(at: &At<'_>, value: bool) -> Result<(), Refused> {
    if value { Err(at.unsupported()) } else { Ok(()) }
}

/// A flag whose unset value is off and that may only be off.
pub(crate) fn must_be_unset(at: &At<'_>, value: Option<wkt::BoolValue>) -> Result<(), Refused> {
    must_be_off(at, flag(value, false))
}

/// A port.
pub(crate) fn port(at: &At<'_>, value: u32) -> Result<u16, Refused> {
    u16::try_from(value).map_err(|_| at.refuse(format!("{value} is no port")))
}

/// A share of requests; more than all is refused.
pub(crate) fn fraction(at: &At<'_>, value: FractionalPercent) -> Result<Percentage, Refused> {
    let per_million = match value.denominator() {
        DenominatorType::Hundred => value.numerator.saturating_mul(10_000),
        DenominatorType::TenThousand => value.numerator.saturating_mul(100),
        DenominatorType::Million => value.numerator,
    };
    if per_million > 1_000_000 {
        return Err(at.refuse("more than 100 percent"));
    }
    Ok(Percentage(per_million))
}

/// The default of a runtime fraction; there is no runtime that could change it, so the key means nothing.
pub(crate) fn runtime_fraction(
    at: &At<'_>,
    value: core::RuntimeFractionalPercent,
) -> Result<Percentage, Refused> {
    match value.default_value {
        Some(share) => fraction(&at.field("default_value"), share),
        None => Err(at.field("default_value").refuse("missing")),
    }
}

/// A percentage as a whole number, for thresholds.
pub(crate) fn percent(at: &At<'_>, value: Option<Percent>, default: u32) -> Result<u32, Refused> {
    let Some(value) = value else {
        return Ok(default);
    };
    if !(0.0..=100.0).contains(&value.value) {
        return Err(at.refuse("not between 0 and 100"));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 100"
    )]
    Ok(value.value.round() as u32)
}

/// The IP address and port of a socket address.
pub(crate) fn socket_address(
    at: &At<'_>,
    value: Option<core::Address>,
) -> Result<SocketAddr, Refused> {
    let (host, port) = host_port(at, value)?;
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, port)),
        Err(_) => Err(at.refuse(format!("{host:?} is no IP address"))),
    }
}

/// Host text and port of a socket address.
pub(crate) fn host_port(
    at: &At<'_>,
    value: Option<core::Address>,
) -> Result<(String, u16), Refused> {
    match value.and_then(|value| value.address) {
        Some(AddressKind::SocketAddress(socket)) => {
            host_port_of(&at.field("socket_address"), socket)
        }
        Some(AddressKind::Pipe(_)) => Err(at.field("pipe").unsupported()),
        Some(AddressKind::EnvoyInternalAddress(_)) => {
            Err(at.field("envoy_internal_address").unsupported())
        }
        None => Err(at.refuse("missing")),
    }
}

/// Host text and port.
pub(crate) fn host_port_of(
    at: &At<'_>,
    socket: core::SocketAddress,
) -> Result<(String, u16), Refused> {
    let core::SocketAddress {
        protocol,
        address,
        resolver_name,
        // Read by listeners, where it means something.
        ipv4_compat: _,
        network_namespace_filepath,
        port_specifier,
    } = socket;
    if protocol != core::socket_address::Protocol::Tcp as i32 {
        return Err(at.field("protocol").refuse("only TCP is supported"));
    }
    must_be_off(&at.field("resolver_name"), !resolver_name.is_empty())?;
    must_be_off(
        &at.field("network_namespace_filepath"),
        !network_namespace_filepath.is_empty(),
    )?;
    let value = match port_specifier {
        Some(PortSpecifier::PortValue(value)) => port(&at.field("port_value"), value)?,
        Some(PortSpecifier::NamedPort(_)) => return Err(at.field("named_port").unsupported()),
        None => 0,
    };
    Ok((address, value))
}

/// Largest file that is read for a data source, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The bytes of a regular file: devices and pipes may have no end, or nothing to say.
pub(crate) fn file(path: &str) -> std::io::Result<Vec<u8>> {
    let facts = fs::metadata(path)?;
    if !facts.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    if facts.len() > MAX_FILE {
        let text = format!("larger than {MAX_FILE} bytes");
        return Err(std::io::Error::other(text));
    }
    fs::read(path)
}

/// The bytes of a data source; files are read now.
pub(crate) fn data(at: &At<'_>, source: &core::DataSource) -> Result<Vec<u8>, Refused> {
    match &source.specifier {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.clone()),
        Some(Specifier::InlineString(text)) => Ok(text.clone().into_bytes()),
        Some(Specifier::Filename(path)) => {
            let at = at.field("filename");
            file(path).map_err(|error| at.refuse(format!("{path}: {error}")))
        }
        Some(Specifier::EnvironmentVariable(name)) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|error| at.field("environment_variable").refuse(error.to_string())),
        None => Err(at.refuse("empty")),
    }
}

/// The texts of a struct, for metadata that is compared as text; other values do not count.
pub(crate) fn texts(fields: &wkt::Struct) -> impl Iterator<Item = (&str, &str)> {
    fields
        .fields
        .iter()
        .filter_map(|(key, value)| match &value.kind {
            Some(wkt::value::Kind::StringValue(text)) => Some((&**key, &**text)),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::file;

    #[test]
    fn devices_and_folders_are_no_files() {
        for path in ["/dev/zero", "/dev", "/nothing/there"] {
            assert!(file(path).is_err(), "{path}");
        }
        let own = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(
            file(own.path().to_str().expect("text")).ok(),
            Some(Vec::new())
        );
    }
}

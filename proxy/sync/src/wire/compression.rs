//! The compressor and the decompressor.

use std::mem::take;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::compression::brotli::compressor::v3 as brotli;
use envoy_types::pb::envoy::extensions::compression::brotli::decompressor::v3 as unbrotli;
use envoy_types::pb::envoy::extensions::compression::gzip::compressor::v3 as gzip;
use envoy_types::pb::envoy::extensions::compression::gzip::decompressor::v3 as gunzip;
use envoy_types::pb::envoy::extensions::compression::zstd::compressor::v3 as zstd;
use envoy_types::pb::envoy::extensions::compression::zstd::decompressor::v3 as unzstd;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::compressor_per_route::Override;
use envoy_types::pb::envoy::extensions::filters::http::decompressor::v3 as dewire;
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use http::StatusCode;
use lateen_proxy_model::{
    BrotliMode, Coding, CompressDirection, Compressor, CompressorRoute, Decoding,
    DecompressDirection, Decompressor,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{flag, unpack};
use super::matcher::string;

/// Least length where nothing is said, in bytes.
const MIN_LENGTH: u32 = 30;
/// Types that are compressed where nothing is said.
const TYPES: [&str; 9] = [
    "application/javascript",
    "application/json",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/plain",
    "text/xml",
    "application/wasm",
];

/// Reads the compressor.
pub(super) fn compressor(
    at: &At<'_>,
    mut message: wire::Compressor,
) -> Result<Compressor, Refused> {
    let place = at.field("compressor_library");
    let (library, packed) = library(&place, message.compressor_library.take())?;
    let coding = coding(&place.field("typed_config"), &packed)?;
    let request = at.field("request_direction_config");
    let request = match message.request_direction_config.take() {
        None => None,
        Some(wanted) => Some(direction(&request, wanted.common_config)?),
    };
    // The fields of the filter itself are older names of those of the answers.
    let older = wire::compressor::ResponseDirectionConfig {
        common_config: Some(wire::compressor::CommonDirectionConfig {
            enabled: message.runtime_enabled.take(),
            min_content_length: message.content_length.take(),
            content_type: take(&mut message.content_type),
            content_type_matcher: Vec::new(),
        }),
        disable_on_etag_header: take(&mut message.disable_on_etag_header),
        remove_accept_encoding_header: take(&mut message.remove_accept_encoding_header),
        ..Default::default()
    };
    let response_named = message.response_direction_config.is_some();
    let mut response = message.response_direction_config.take().unwrap_or(older);
    let choose_first = take(&mut message.choose_first);
    nothing_left(at, &message)?;
    let at = at.field("response_direction_config");
    let common = direction(&at, response.common_config.take())?;
    let list = at.field("uncompressible_response_codes");
    let never = take(&mut response.uncompressible_response_codes);
    let never = never.into_iter().enumerate().map(|(index, code)| {
        let status = u16::try_from(code).ok();
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        status.ok_or_else(|| list.item(index).refuse(format!("{code} is no HTTP status")))
    });
    let made = Compressor {
        library,
        coding,
        request,
        response: common,
        response_named,
        etag_disables: take(&mut response.disable_on_etag_header),
        weaken_etag: take(&mut response.weaken_etag_on_compress),
        remove_accept_encoding: take(&mut response.remove_accept_encoding_header),
        never: never.collect::<Result<_, _>>()?,
        choose_first,
    };
    nothing_left(&at, &response)?;
    Ok(made)
}

/// Reads what a route says of a compressor.
pub(super) fn per_route(
    at: &At<'_>,
    message: wire::CompressorPerRoute,
) -> Result<CompressorRoute, Refused> {
    let overrides = match message.r#override {
        Some(Override::Disabled(true)) => {
            return Ok(CompressorRoute {
                response: Some(false),
                ..CompressorRoute::default()
            });
        }
        Some(Override::Disabled(false)) => return Err(at.field("disabled").refuse("not true")),
        Some(Override::Overrides(overrides)) => overrides,
        None => return Err(at.field("override").refuse("missing")),
    };
    let at = at.field("overrides");
    let place = at.field("compressor_library");
    let own = match overrides.compressor_library {
        None => None,
        named => {
            let (_, packed) = library(&place, named)?;
            Some(coding(&place.field("typed_config"), &packed)?)
        }
    };
    let response = overrides.response_direction_config;
    Ok(CompressorRoute {
        response: response.as_ref().map(|_| true),
        remove_accept_encoding: response
            .and_then(|it| it.remove_accept_encoding_header)
            .map(|it| it.value),
        coding: own,
    })
}

/// Reads the decompressor.
pub(super) fn decompressor(
    at: &At<'_>,
    message: dewire::Decompressor,
) -> Result<Decompressor, Refused> {
    let place = at.field("decompressor_library");
    let (library, packed) = library(&place, message.decompressor_library)?;
    let decoding = decoding(&place.field("typed_config"), &packed)?;
    let advertise = message
        .request_direction_config
        .as_ref()
        .and_then(|it| it.advertise_accept_encoding);
    let side = |common: Option<dewire::decompressor::CommonDirectionConfig>| {
        let common = common.unwrap_or_default();
        DecompressDirection {
            enabled: feature(common.enabled),
            ignore_no_transform: common.ignore_no_transform_header,
        }
    };
    let request = message.request_direction_config;
    let response = message.response_direction_config;
    Ok(Decompressor {
        library,
        decoding,
        request: side(request.and_then(|it| it.common_config)),
        response: side(response.and_then(|it| it.common_config)),
        advertise: flag(advertise, true),
    })
}

/// There is no runtime: the default counts.
fn feature(wanted: Option<core::RuntimeFeatureFlag>) -> bool {
    flag(wanted.and_then(|wanted| wanted.default_value), true)
}

fn library(
    at: &At<'_>,
    message: Option<core::TypedExtensionConfig>,
) -> Result<(Arc<str>, Any), Refused> {
    let message = message.ok_or_else(|| at.refuse("missing"))?;
    let place = at.field("typed_config");
    let packed = message
        .typed_config
        .ok_or_else(|| place.refuse("missing"))?;
    if message.name.is_empty() {
        return Err(at.field("name").refuse("empty"));
    }
    Ok((message.name.into(), packed))
}

fn direction(
    at: &At<'_>,
    message: Option<wire::compressor::CommonDirectionConfig>,
) -> Result<CompressDirection, Refused> {
    let message = message.unwrap_or_default();
    let at = at.field("common_config");
    let list = at.field("content_type_matcher");
    let matchers = message.content_type_matcher.iter().enumerate();
    let matchers = matchers
        .map(|(index, matcher)| string(&list.item(index), matcher))
        .collect::<Result<Box<[_]>, _>>()?;
    let types = match message.content_type.is_empty() && matchers.is_empty() {
        true => TYPES.map(Box::from).into(),
        false => message.content_type.into_iter().map(Box::from).collect(),
    };
    let least = message.min_content_length.map(|it| it.value);
    Ok(CompressDirection {
        enabled: feature(message.enabled),
        min_length: least.unwrap_or(MIN_LENGTH).into(),
        types,
        matchers,
    })
}

fn coding(at: &At<'_>, packed: &Any) -> Result<Coding, Refused> {
    if any::holds::<gzip::Gzip>(packed) {
        let mut message: gzip::Gzip = unpack(at, packed)?;
        super::ignored::gzip(&mut message);
        let level = match message.compression_level() {
            gzip::gzip::CompressionLevel::DefaultCompression => 6,
            named => named as u32,
        };
        message.compression_level = 0;
        let window = number(
            &at.field("window_bits"),
            message.window_bits.take(),
            (12, 9..=15),
        )?;
        nothing_left(at, &message)?;
        return Ok(Coding::Gzip {
            level,
            window_bits: window,
        });
    }
    if any::holds::<brotli::Brotli>(packed) {
        let mut message: brotli::Brotli = unpack(at, packed)?;
        super::ignored::brotli(&mut message);
        let mode = match message.encoder_mode() {
            brotli::brotli::EncoderMode::Text => BrotliMode::Text,
            brotli::brotli::EncoderMode::Font => BrotliMode::Font,
            _ => BrotliMode::Generic,
        };
        let block = at.field("input_block_bits");
        return Ok(Coding::Brotli {
            quality: number(&at.field("quality"), message.quality, (3, 0..=11))?,
            window_bits: number(&at.field("window_bits"), message.window_bits, (18, 10..=24))?,
            block_bits: number(&block, message.input_block_bits, (24, 16..=24))?,
            mode,
            plain_literals: message.disable_literal_context_modeling,
        });
    }
    if any::holds::<zstd::Zstd>(packed) {
        let mut message: zstd::Zstd = unpack(at, packed)?;
        super::ignored::zstd(&mut message);
        let place = at.field("compression_level");
        let level = number(&place, message.compression_level.take(), (3, 0..=22))?;
        let checksum = take(&mut message.enable_checksum);
        nothing_left(at, &message)?;
        return Ok(Coding::Zstd { level, checksum });
    }
    Err(unknown(at, packed))
}

fn decoding(at: &At<'_>, packed: &Any) -> Result<Decoding, Refused> {
    if any::holds::<gunzip::Gzip>(packed) {
        let message: gunzip::Gzip = unpack(at, packed)?;
        let ratio = message.max_inflate_ratio.map_or(100, |it| it.value);
        if !(1..=1032).contains(&ratio) {
            return Err(at
                .field("max_inflate_ratio")
                .refuse("not between 1 and 1032"));
        }
        return Ok(Decoding::Gzip {
            window_bits: number(&at.field("window_bits"), message.window_bits, (15, 9..=15))?,
            max_ratio: ratio,
        });
    }
    if any::holds::<unbrotli::Brotli>(packed) {
        let _: unbrotli::Brotli = unpack(at, packed)?;
        return Ok(Decoding::Brotli);
    }
    if any::holds::<unzstd::Zstd>(packed) {
        let mut message: unzstd::Zstd = unpack(at, packed)?;
        message.chunk_size = None;
        nothing_left(at, &message)?;
        return Ok(Decoding::Zstd);
    }
    Err(unknown(at, packed))
}

fn unknown(at: &At<'_>, packed: &Any) -> Refused {
    let kind = any::full_name(&packed.type_url);
    at.refuse(format!("{kind} is not supported"))
}

fn number(
    at: &At<'_>,
    value: Option<UInt32Value>,
    (default, range): (u8, std::ops::RangeInclusive<u8>),
) -> Result<u8, Refused> {
    let Some(value) = value else {
        return Ok(default);
    };
    let number = u8::try_from(value.value).ok();
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            at.refuse(format!("{} is not between {least} and {most}", value.value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(library: &impl PackedLibrary) -> wire::Compressor {
        wire::Compressor {
            compressor_library: Some(core::TypedExtensionConfig {
                name: "x".into(),
                typed_config: Some(library.packed()),
            }),
            ..wire::Compressor::default()
        }
    }

    trait PackedLibrary {
        fn packed(&self) -> Any;
    }

    impl<M: prost::Message + prost::Name> PackedLibrary for M {
        fn packed(&self) -> Any {
            any::pack(self)
        }
    }

    #[test]
    fn settings_that_are_not_given_are_those_of_envoy() {
        let made = compressor(&At::ROOT, message(&gzip::Gzip::default())).expect("supported");
        let gzip = Coding::Gzip {
            level: 6,
            window_bits: 12,
        };
        assert!(made.coding == gzip && !made.response_named && made.request.is_none());
        assert!(made.response.enabled && made.response.min_length == 30);
        assert!(
            made.response
                .types
                .iter()
                .any(|kind| &**kind == "text/html")
        );
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let dictionary = zstd::Zstd {
            dictionary: Some(core::DataSource::default()),
            ..zstd::Zstd::default()
        };
        let window = brotli::Brotli {
            window_bits: Some(UInt32Value { value: 9 }),
            ..brotli::Brotli::default()
        };
        let mut told = message(&gzip::Gzip::default());
        told.response_direction_config = Some(wire::compressor::ResponseDirectionConfig {
            status_header_enabled: true,
            ..Default::default()
        });
        let library = "compressor_library.typed_config";
        for (message, path) in [
            (message(&dictionary), format!("{library}.dictionary")),
            (message(&window), format!("{library}.window_bits")),
            (
                told,
                "response_direction_config.status_header_enabled".to_owned(),
            ),
        ] {
            let refused = compressor(&At::ROOT, message).map_err(|refused| refused.path);
            assert_eq!(refused.err(), Some(path));
        }
    }
}

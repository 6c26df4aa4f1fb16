//! Which packages of Envoy's API are not developed further, by the option that their files carry.

use std::collections::BTreeSet;

use prost::Message;

/// Parts of a descriptor set; prost-types knows no extensions of options.
#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    file: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, optional, tag = "8")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, Message)]
struct Options {
    /// `udpa.annotations.file_status`.
    #[prost(message, optional, tag = "222707719")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "2")]
    package_version_status: i32,
}

const FROZEN: i32 = 1;

/// A constant with the frozen packages.
pub(crate) fn source(types: &[u8]) -> Result<String, prost::DecodeError> {
    let frozen: BTreeSet<String> = Files::decode(types)?
        .file
        .into_iter()
        .filter(|file| {
            let status = file
                .options
                .as_ref()
                .and_then(|options| options.status.as_ref());
            status.is_some_and(|status| status.package_version_status == FROZEN)
        })
        .map(|file| file.package)
        .collect();
    Ok(format!(
        "/// Packages that are not developed further.\nconst FROZEN_PACKAGES: &[&str] = &{frozen:?};\n"
    )
    .replace('{', "[")
    .replace('}', "]"))
}

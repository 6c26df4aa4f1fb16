//! Bytes: base64 text in JSON.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;

use super::schema::{Schema, Shape};
use super::value::Value;

/// A `bytes` field: base64 in JSON, standard or URL alphabet, padding optional when read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Value for Bytes {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("base64 text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
                [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
                    .iter()
                    .find_map(|engine| engine.decode(text).ok())
                    .map(Bytes)
                    .ok_or_else(|| E::custom("not base64 text"))
            }
        }
        input.deserialize_str(Text)
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&STANDARD.encode(&self.0))
    }

    fn is_unset(&self) -> bool {
        self.0.is_empty()
    }

    fn schema() -> Schema {
        Schema::new("", Shape::Bytes)
    }
}

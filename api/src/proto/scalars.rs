//! Text, booleans and numbers as message fields.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

use super::schema::{Schema, Shape};
use super::value::Value;

impl Value for String {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = String;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("text (put it in quotes)")
            }

            fn visit_str<E>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }

            fn visit_string<E>(self, text: String) -> Result<String, E> {
                Ok(text)
            }
        }
        input.deserialize_string(Text)
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(self)
    }

    fn is_unset(&self) -> bool {
        self.is_empty()
    }

    fn schema() -> Schema {
        Schema::new("", Shape::Text)
    }
}

impl Value for bool {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Flag;
        impl Visitor<'_> for Flag {
            type Value = bool;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("true or false")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<bool, E> {
                Ok(flag)
            }
        }
        input.deserialize_bool(Flag)
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_bool(*self)
    }

    fn is_unset(&self) -> bool {
        !self
    }

    fn schema() -> Schema {
        Schema::new("", Shape::Bool)
    }
}

/// A whole number of either sign, before it is fitted into a field's type.
struct Whole;

impl Visitor<'_> for Whole {
    type Value = i128;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a whole number")
    }

    fn visit_i64<E>(self, number: i64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<i128, E> {
        // Proto JSON takes 1.0 and 1e3 for whole numbers; beyond 2^53 a float no longer names one number.
        if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
            #[allow(clippy::cast_possible_truncation)]
            return Ok(number as i128);
        }
        Err(E::custom(format_args!("{number} is not a whole number")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i128, E> {
        text.parse()
            .map_err(|_| E::custom(format_args!("`{text}` is not a whole number")))
    }
}

macro_rules! whole_number {
    ($($kind:ident $write:ident),*) => {$(
        impl Value for $kind {
            fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let number = input.deserialize_any(Whole)?;
                $kind::try_from(number).map_err(|_| {
                    D::Error::custom(format_args!("{number} is outside of {}..{}", $kind::MIN, $kind::MAX))
                })
            }

            fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.$write(*self)
            }

            fn is_unset(&self) -> bool {
                *self == 0
            }

            fn schema() -> Schema {
                Schema::new("", Shape::Whole { min: $kind::MIN.into(), max: $kind::MAX.into() })
            }
        }
    )*};
}

whole_number!(i32 serialize_i32, u32 serialize_u32);

macro_rules! wide_number {
    ($($kind:ident),*) => {$(
        impl Value for $kind {
            fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let number = input.deserialize_any(Whole)?;
                $kind::try_from(number).map_err(|_| {
                    D::Error::custom(format_args!("{number} is outside of {}..{}", $kind::MIN, $kind::MAX))
                })
            }

            // Proto JSON writes 64-bit numbers as text, since a JavaScript number cannot hold them.
            fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.collect_str(self)
            }

            fn is_unset(&self) -> bool {
                *self == 0
            }

            fn schema() -> Schema {
                Schema::new("", Shape::Wide { signed: $kind::MIN != 0 })
            }
        }
    )*};
}

wide_number!(i64, u64);

impl Value for f64 {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = f64;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number")
            }

            #[allow(clippy::cast_precision_loss)]
            fn visit_i64<E>(self, number: i64) -> Result<f64, E> {
                Ok(number as f64)
            }

            #[allow(clippy::cast_precision_loss)]
            fn visit_u64<E>(self, number: u64) -> Result<f64, E> {
                Ok(number as f64)
            }

            fn visit_f64<E>(self, number: f64) -> Result<f64, E> {
                Ok(number)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
                text.parse()
                    .map_err(|_| E::custom(format_args!("`{text}` is not a number")))
            }
        }
        input.deserialize_any(Number)
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        // `5` rather than `5.0`, as Go writes it.
        #[allow(clippy::cast_possible_truncation)]
        if self.fract() == 0.0 && self.abs() < 1e15 {
            return output.serialize_i64(*self as i64);
        }
        output.serialize_f64(*self)
    }

    fn is_unset(&self) -> bool {
        *self == 0.0
    }

    fn schema() -> Schema {
        Schema::new("", Shape::Double)
    }
}

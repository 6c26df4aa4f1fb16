//! What message fields can do, and lists, maps and optional fields.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use super::names::name_matches;
use super::schema::{Schema, SchemaField, Shape};

/// A value of a message field in its JSON form.
pub trait Value: Sized + Default {
    /// Reads a value that is not `null`.
    ///
    /// # Errors
    /// When the input is not of the kind that the field takes.
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error>;

    /// Writes the value.
    ///
    /// # Errors
    /// Only those of the output.
    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error>;

    /// Whether the field is left out when its message is written.
    fn is_unset(&self) -> bool;

    /// What the JSON form looks like.
    fn schema() -> Schema;
}

/// A message, which can be laid over another.
pub trait Message: Value {
    /// Reads a message over `base`: a field that is given replaces the one of `base` as a whole, all others stay.
    ///
    /// # Errors
    /// When the input is not such a message.
    fn read_onto<'de, D: Deserializer<'de>>(base: Self, input: D) -> Result<Self, D::Error>;
}

/// A group of fields of which at most one is set.
pub trait OneOf: Sized {
    /// The names of the fields as the proto file spells them.
    const FIELDS: &'static [&'static str];

    /// Whether `key` names one of the fields, in either spelling.
    fn has(key: &str) -> bool {
        Self::FIELDS.iter().any(|field| name_matches(key, field))
    }

    /// Reads the value of the field that `key` names; `None` when it is `null`.
    ///
    /// # Errors
    /// When the value is not of the field's kind.
    fn read_entry<'de, A: MapAccess<'de>>(key: &str, map: &mut A)
    -> Result<Option<Self>, A::Error>;

    /// Writes the field that is set.
    ///
    /// # Errors
    /// Only those of the output.
    fn write_entry<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;

    /// What the fields look like.
    fn schema_fields() -> Vec<SchemaField>;
}

/// Reads a field: `null` gives the default.
pub(crate) struct Seed<T>(pub(crate) PhantomData<T>);

impl<T> Seed<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Value> DeserializeSeed<'de> for Seed<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<T, D::Error> {
        Ok(input
            .deserialize_option(Nullable(PhantomData))?
            .unwrap_or_default())
    }
}

/// Reads a field of a oneof: `null` gives nothing.
pub(crate) struct OptionSeed<T>(pub(crate) PhantomData<T>);

impl<T> OptionSeed<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Value> DeserializeSeed<'de> for OptionSeed<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Option<T>, D::Error> {
        input.deserialize_option(Nullable(PhantomData))
    }
}

struct Nullable<T>(PhantomData<T>);

impl<'de, T: Value> Visitor<'de> for Nullable<T> {
    type Value = Option<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value or null")
    }

    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<Option<T>, D::Error> {
        T::read(input).map(Some)
    }
}

/// Lends a value to a serializer.
pub(crate) struct Written<'a, T>(pub(crate) &'a T);

impl<T: Value> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        self.0.write(output)
    }
}

impl<T: Value> Value for Option<T> {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        T::read(input).map(Some)
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.write(output),
            None => output.serialize_none(),
        }
    }

    fn is_unset(&self) -> bool {
        self.is_none()
    }

    fn schema() -> Schema {
        let inner = T::schema();
        let nullable = inner.shape.is_scalar();
        Schema { nullable, ..inner }
    }
}

impl<T: Value> Value for Box<T> {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        T::read(input).map(Box::new)
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        (**self).write(output)
    }

    fn is_unset(&self) -> bool {
        (**self).is_unset()
    }

    fn schema() -> Schema {
        T::schema()
    }
}

/// Room that is taken for a list before its items are read; a hint may come from a text that lies.
const MOST_AT_ONCE: usize = 256;

impl<T: Value> Value for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Value> Visitor<'de> for Items<T> {
            type Value = Vec<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
                // A list that grows takes room for four at once, which for most lists is three too many.
                let mut read = Vec::with_capacity(items.size_hint().unwrap_or(0).min(MOST_AT_ONCE));
                while let Some(item) = items.next_element_seed(Seed::new())? {
                    read.push(item);
                }
                Ok(read)
            }
        }
        input.deserialize_seq(Items(PhantomData))
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut items = output.serialize_seq(Some(self.len()))?;
        for item in self {
            items.serialize_element(&Written(item))?;
        }
        items.end()
    }

    fn is_unset(&self) -> bool {
        self.is_empty()
    }

    fn schema() -> Schema {
        Schema::new("", Shape::List(Box::new(T::schema())))
    }
}

/// A key of a map field.
pub trait MapKey: Ord + Sized + fmt::Display {
    /// Parses the key; `None` when it is not one.
    fn parse_key(text: String) -> Option<Self>;
    /// What a key is, for error texts.
    const WHAT: &'static str;
}

impl MapKey for String {
    const WHAT: &'static str = "text";

    fn parse_key(text: String) -> Option<Self> {
        Some(text)
    }
}

impl MapKey for u32 {
    const WHAT: &'static str = "a number";

    fn parse_key(text: String) -> Option<Self> {
        text.parse().ok()
    }
}

impl<K: MapKey, T: Value> Value for BTreeMap<K, T> {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Entries<K, T>(PhantomData<(K, T)>);
        impl<'de, K: MapKey, T: Value> Visitor<'de> for Entries<K, T> {
            type Value = BTreeMap<K, T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BTreeMap<K, T>, A::Error> {
                let mut read = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let Some(key) = K::parse_key(key.clone()) else {
                        return Err(serde::de::Error::custom(format_args!(
                            "the key `{key}` is not {}",
                            K::WHAT
                        )));
                    };
                    read.insert(key, map.next_value_seed(Seed::new())?);
                }
                Ok(read)
            }
        }
        input.deserialize_map(Entries(PhantomData))
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut map = output.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            map.serialize_entry(&key.to_string(), &Written(value))?;
        }
        map.end()
    }

    fn is_unset(&self) -> bool {
        self.is_empty()
    }

    fn schema() -> Schema {
        Schema::new("", Shape::Map(Box::new(T::schema())))
    }
}

/// A free-form JSON object (`google.protobuf.Struct`).
pub type Struct = serde_json::Map<String, serde_json::Value>;

impl Value for Struct {
    fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::deserialize(input)
    }

    fn write<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        self.serialize(output)
    }

    fn is_unset(&self) -> bool {
        self.is_empty()
    }

    fn schema() -> Schema {
        Schema::new("", Shape::Struct)
    }
}

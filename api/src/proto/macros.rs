//! The macros that declare messages, oneofs and enums.

/// Declares a message: a struct whose fields all may be absent.
///
/// `message! { /// What it is. Name { /// A field. field: Type, /// Another. odd as "oDD": Type } oneof { /// One of them. kind: Kind } }`
///
/// A field is public, named as in the proto file; `as "name"` gives the proto name where Rust needs another. A oneof's field holds
/// `Option<Kind>`, and its members stand beside the message's own fields in JSON. With `custom_default` before its documentation
/// the type's `Default` is written by hand.
macro_rules! message {
    (custom_default $($rest:tt)*) => {
        $crate::proto::macros::message_type!([] $($rest)*);
    };
    ($($rest:tt)*) => {
        $crate::proto::macros::message_type!([Default] $($rest)*);
    };
}

/// The type and the traits of a message, see `message!`.
macro_rules! message_type {
    (
        [$($default:ident)?]
        $(#[doc = $doc:literal])*
        $name:ident {
            $( $(#[doc = $field_doc:literal])* $field:ident $(as $proto:literal)? : $kind:ty ),* $(,)?
        }
        $( oneof { $( $(#[doc = $group_doc:literal])* $group:ident : $group_kind:ty ),+ $(,)? } )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq $(, $default)?)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $kind, )*
            $( $( $(#[doc = $group_doc])* pub $group: Option<$group_kind>, )+ )?
        }

        impl $crate::proto::Value for $name {
            fn read<'de, D: serde::de::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                $crate::proto::Message::read_onto(Self::default(), input)
            }

            #[allow(unused_mut)]
            fn write<S: serde::ser::Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = output.serialize_map(None)?;
                $(
                    if !$crate::proto::Value::is_unset(&self.$field) {
                        let name = $crate::proto::json_name($crate::proto::macros::proto_name!($field $($proto)?));
                        map.serialize_entry(&name, &$crate::proto::Written(&self.$field))?;
                    }
                )*
                $( $(
                    if let Some(set) = &self.$group {
                        $crate::proto::OneOf::write_entry(set, &mut map)?;
                    }
                )+ )?
                map.end()
            }

            fn is_unset(&self) -> bool {
                *self == Self::default()
            }

            fn schema() -> $crate::proto::Schema {
                $crate::proto::Schema::message(
                    concat!($($doc, "\n"),*),
                    vec![$(
                        $crate::proto::SchemaField {
                            name: $crate::proto::macros::proto_name!($field $($proto)?),
                            docs: concat!($($field_doc, "\n"),*),
                            schema: <$kind as $crate::proto::Value>::schema(),
                        }
                    ),*],
                    vec![$( $( <$group_kind as $crate::proto::OneOf>::schema_fields() ),+ )?],
                )
            }
        }

        impl $crate::proto::Message for $name {
            #[allow(clippy::too_many_lines, clippy::cognitive_complexity, unused_mut, unused_variables)]
            fn read_onto<'de, D: serde::de::Deserializer<'de>>(base: Self, input: D) -> Result<Self, D::Error> {
                struct Fields($name);
                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name;

                    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        out.write_str(concat!("a mapping (", stringify!($name), ")"))
                    }

                    #[allow(clippy::too_many_lines, clippy::cognitive_complexity)]
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        // The outer option says whether the key was there, the inner one whether its value was other than null.
                        $( let mut $field: Option<Option<$kind>> = None; )*
                        $( $( let mut $group: Option<$group_kind> = None; )+ )?
                        while let Some(key) = map.next_key::<String>()? {
                            $(
                                if $crate::proto::name_matches(&key, $crate::proto::macros::proto_name!($field $($proto)?)) {
                                    if $field.is_some() {
                                        return Err(serde::de::Error::custom(format_args!("`{key}` is given twice, in two spellings")));
                                    }
                                    $field = Some(map.next_value_seed($crate::proto::OptionSeed::<$kind>::new())?);
                                    continue;
                                }
                            )*
                            $( $(
                                if <$group_kind as $crate::proto::OneOf>::has(&key) {
                                    let read = <$group_kind as $crate::proto::OneOf>::read_entry(&key, &mut map)?;
                                    if read.is_some() && $group.is_some() {
                                        return Err(serde::de::Error::custom(format_args!(
                                            "only one of {} may be set", $crate::proto::macros::listed(<$group_kind as $crate::proto::OneOf>::FIELDS)
                                        )));
                                    }
                                    $group = read.or($group);
                                    continue;
                                }
                            )+ )?
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                        Ok($name {
                            $( $field: $field.flatten().unwrap_or(self.0.$field), )*
                            $( $( $group: $group.or(self.0.$group), )+ )?
                        })
                    }
                }
                input.deserialize_map(Fields(base))
            }
        }

        $crate::proto::macros::serde_by_value!($name);
    };
}

/// Declares a oneof: an enum whose variants are fields of the message that holds it.
///
/// `oneof! { /// What it is. Kind { /// A field. field: Variant(Type) } }`
macro_rules! oneof {
    (
        $(#[doc = $doc:literal])*
        $name:ident {
            $( $(#[doc = $field_doc:literal])* $field:ident $(as $proto:literal)? : $variant:ident ( $kind:ty ) ),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $( $(#[doc = $field_doc])* $variant($kind), )+
        }

        impl $crate::proto::OneOf for $name {
            const FIELDS: &'static [&'static str] = &[$( $crate::proto::macros::proto_name!($field $($proto)?) ),+];

            fn read_entry<'de, A: serde::de::MapAccess<'de>>(key: &str, map: &mut A) -> Result<Option<Self>, A::Error> {
                $(
                    if $crate::proto::name_matches(key, $crate::proto::macros::proto_name!($field $($proto)?)) {
                        return Ok(map.next_value_seed($crate::proto::OptionSeed::<$kind>::new())?.map(Self::$variant));
                    }
                )+
                map.next_value::<serde::de::IgnoredAny>()?;
                Ok(None)
            }

            fn write_entry<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self {
                    $(
                        Self::$variant(value) => map.serialize_entry(
                            &$crate::proto::json_name($crate::proto::macros::proto_name!($field $($proto)?)),
                            &$crate::proto::Written(value),
                        ),
                    )+
                }
            }

            fn schema_fields() -> Vec<$crate::proto::SchemaField> {
                vec![$(
                    $crate::proto::SchemaField {
                        name: $crate::proto::macros::proto_name!($field $($proto)?),
                        docs: concat!($($field_doc, "\n"),*),
                        schema: <$kind as $crate::proto::Value>::schema(),
                    }
                ),+]
            }
        }
    };
}

/// Declares an enum; the first variant is the default and means unset.
///
/// `proto_enum! { /// What it is. Kind { /// A value. Variant = "NAME" 0, } }`; `| "OTHER"` after the number is one more name to read.
macro_rules! proto_enum {
    (
        $(#[doc = $doc:literal])*
        $name:ident {
            $(#[doc = $first_doc:literal])* $first:ident = $first_text:literal $first_number:literal
            $( , $(#[doc = $variant_doc:literal])* $variant:ident = $text:literal $number:literal $(| $alias:literal)* )* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $first_doc])*
            #[default]
            $first,
            $( $(#[doc = $variant_doc])* $variant, )*
        }

        impl $name {
            /// The value's name in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::$first => $first_text,
                    $( Self::$variant => $text, )*
                }
            }

            /// The names of all values.
            pub const NAMES: &'static [&'static str] = &[$first_text $(, $text)*];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.as_str())
            }
        }

        impl $crate::proto::Value for $name {
            fn read<'de, D: serde::de::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                struct Name;
                impl serde::de::Visitor<'_> for Name {
                    type Value = $name;

                    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(out, "one of {}", $name::NAMES.join(", "))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        match text {
                            $first_text => Ok($name::$first),
                            $( $text $(| $alias)* => Ok($name::$variant), )*
                            _ => Err(E::custom(format_args!("unknown value `{text}`, expected one of {}", $name::NAMES.join(", ")))),
                        }
                    }

                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$name, E> {
                        match number {
                            $first_number => Ok($name::$first),
                            $( $number => Ok($name::$variant), )*
                            _ => Err(E::custom(format_args!("unknown value {number}, expected one of {}", $name::NAMES.join(", ")))),
                        }
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$name, E> {
                        match u64::try_from(number) {
                            Ok(number) => self.visit_u64(number),
                            Err(_) => Err(E::custom(format_args!("unknown value {number}"))),
                        }
                    }
                }
                input.deserialize_any(Name)
            }

            fn write<S: serde::ser::Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.serialize_str(self.as_str())
            }

            fn is_unset(&self) -> bool {
                *self == Self::$first
            }

            fn schema() -> $crate::proto::Schema {
                $crate::proto::Schema::new(concat!($($doc, "\n"),*), $crate::proto::Shape::Enum(&[
                    ($first_text, concat!($($first_doc, "\n"),*))
                    $( , ($text, concat!($($variant_doc, "\n"),*)) )*
                ]))
            }
        }

        $crate::proto::macros::serde_by_value!($name);
    };
}

/// Serde's traits by way of [`crate::proto::Value`].
macro_rules! serde_by_value {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::ser::Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                $crate::proto::Value::write(self, output)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::de::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                $crate::proto::Value::read(input)
            }
        }
    };
}

/// The proto name of a field: the literal if one is given, else the field's own name.
macro_rules! proto_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $proto:literal) => {
        $proto
    };
}

pub(crate) use {message, message_type, oneof, proto_enum, proto_name, serde_by_value};

/// The JSON names of a oneof's fields, for an error text.
pub(crate) fn listed(fields: &[&str]) -> String {
    fields
        .iter()
        .map(|field| super::names::json_name(field))
        .collect::<Vec<_>>()
        .join(", ")
}

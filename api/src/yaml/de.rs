//! Serde's reading from a tree: errors know the place and the path, and keys that a type does not know are collected.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use super::resolve::{Resolved, old_boolean};
use super::tree::{Content, Entry, Mark, Node, key_step};

/// A key that the type does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Where the key stands.
    pub at: Mark,
    /// Its path from the value that was read.
    pub path: String,
}

/// A value that the type does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}{separator}{message}", separator = if path.is_empty() { "" } else { ": " })]
pub struct ReadError {
    /// Where the value stands.
    pub at: Mark,
    /// Its path from the value that was read; empty for that value itself.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
    located: bool,
}

/// Reads a value; keys that the type does not know are skipped.
///
/// # Errors
/// When a value is not of its field's kind.
pub fn read<'de, T: Deserialize<'de>>(node: &'de Node) -> Result<T, ReadError> {
    read_with(node, |input| T::deserialize(input)).map(|(value, _)| value)
}

/// Reads a value and lists the keys that the type does not know.
///
/// # Errors
/// When a value is not of its field's kind.
pub fn read_strict<'de, T: Deserialize<'de>>(
    node: &'de Node,
) -> Result<(T, Vec<Ignored>), ReadError> {
    read_with(node, |input| T::deserialize(input))
}

/// Reads a value by a function of one's own and lists the keys that it skipped.
///
/// # Errors
/// When the function fails.
pub fn read_with<'de, T>(
    node: &'de Node,
    with: impl FnOnce(Reader<'de, '_>) -> Result<T, ReadError>,
) -> Result<(T, Vec<Ignored>), ReadError> {
    let ignored = RefCell::new(Vec::new());
    let value = with(Reader {
        node,
        path: &Path::Root,
        ignored: &ignored,
    })
    .map_err(|error| error.at(node.at, &Path::Root))?;
    Ok((value, ignored.into_inner()))
}

impl ReadError {
    /// Adds the place, unless a value further in has done so.
    fn at(mut self, at: Mark, path: &Path<'_>) -> Self {
        if !self.located {
            self.at = at;
            self.path = path.to_string();
            self.located = true;
        }
        self
    }
}

impl Error for ReadError {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self {
            at: Mark::default(),
            path: String::new(),
            message: message.to_string(),
            located: false,
        }
    }
}

/// The way to a value, kept on the stack.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) if !key.contains(['.', '[']) => out.write_str(key),
            Path::Key(parent, key) => write!(out, "{parent}{}", key_step(key)),
            Path::Index(parent, index) => write!(out, "{parent}[{index}]"),
        }
    }
}

/// A [`Deserializer`] over a tree.
#[derive(Clone, Copy)]
pub struct Reader<'de, 'a> {
    node: &'de Node,
    path: &'a Path<'a>,
    ignored: &'a RefCell<Vec<Ignored>>,
}

impl fmt::Debug for Reader<'_, '_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Reader({})", self.node.at)
    }
}

impl<'de> Reader<'de, '_> {
    fn map<V: Visitor<'de>>(
        self,
        entries: &'de [Entry],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_map(Entries {
            entries: entries.iter(),
            current: None,
            reader: self,
        })
    }

    fn list<V: Visitor<'de>>(self, items: &'de [Node], visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_seq(Items {
            items: items.iter(),
            index: 0,
            reader: self,
        })
    }
}

macro_rules! as_any {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match (&self.node.content, self.node.resolved()) {
            (Content::List(items), _) => self.list(items, visitor),
            (Content::Map(entries), _) => self.map(entries, visitor),
            (_, Some(Resolved::Bool(flag))) => visitor.visit_bool(flag),
            (_, Some(Resolved::Int(number))) => visitor.visit_i64(number),
            (_, Some(Resolved::UInt(number))) => visitor.visit_u64(number),
            (_, Some(Resolved::Float(number))) => visitor.visit_f64(number),
            (_, Some(Resolved::Text(text))) => visitor.visit_borrowed_str(text),
            (_, Some(Resolved::Null) | None) => visitor.visit_unit(),
        }
    }

    as_any! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.content {
            Content::Scalar(scalar) if !scalar.is_text => match old_boolean(&scalar.text) {
                Some(flag) => visitor.visit_bool(flag),
                None => self.deserialize_any(visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    // Go takes null for an empty list or mapping, and manifests rely on it.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.node.is_null() {
            self.list(&[], visitor)
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.node.is_null() {
            self.map(&[], visitor)
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match (self.node.text(), self.node.entries()) {
            (Some(text), _) => visitor
                .visit_enum(<&str as IntoDeserializer<'_, ReadError>>::into_deserializer(text)),
            (None, [entry]) => visitor.visit_enum(Variant {
                entry,
                reader: self,
            }),
            (None, _) => Err(ReadError::custom(format_args!(
                "expected a name, found {}",
                self.node.what()
            ))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.ignored.borrow_mut().push(Ignored {
            at: self.node.at,
            path: self.path.to_string(),
        });
        visitor.visit_unit()
    }
}

struct Entries<'de, 'a> {
    entries: std::slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
    reader: Reader<'de, 'a>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        self.current = self.entries.next();
        match self.current {
            Some(entry) => seed
                .deserialize(BorrowedStrDeserializer::new(&entry.key))
                .map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some(entry) = self.current.take() else {
            return Err(ReadError::custom("a value was asked for before its key"));
        };
        let path = Path::Key(self.reader.path, &entry.key);
        let before = self.reader.ignored.borrow().len();
        let read = seed
            .deserialize(Reader {
                node: &entry.value,
                path: &path,
                ignored: self.reader.ignored,
            })
            .map_err(|error| error.at(entry.value.at, &path));
        // A skipped value is named by its key's place, where the eye looks for it.
        if let Some(skipped) = self.reader.ignored.borrow_mut().get_mut(before)
            && skipped.at == entry.value.at
            && skipped.path == path.to_string()
        {
            skipped.at = entry.key_at;
        }
        read
    }
}

struct Items<'de, 'a> {
    items: std::slice::Iter<'de, Node>,
    index: usize,
    reader: Reader<'de, 'a>,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        let path = Path::Index(self.reader.path, self.index);
        self.index += 1;
        seed.deserialize(Reader {
            node,
            path: &path,
            ignored: self.reader.ignored,
        })
        .map(Some)
        .map_err(|error| error.at(node.at, &path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// A mapping of one entry as an enum's variant with content.
struct Variant<'de, 'a> {
    entry: &'de Entry,
    reader: Reader<'de, 'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'de, 'a> {
    type Error = ReadError;
    type Variant = Reader<'de, 'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), ReadError> {
        let name: StrDeserializer<'_, ReadError> = self.entry.key.as_str().into_deserializer();
        let value = seed.deserialize(name)?;
        Ok((
            value,
            Reader {
                node: &self.entry.value,
                ..self.reader
            },
        ))
    }
}

impl<'de> VariantAccess<'de> for Reader<'de, '_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        if self.node.is_null() {
            Ok(())
        } else {
            Err(ReadError::custom("expected nothing here"))
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_map(visitor)
    }
}

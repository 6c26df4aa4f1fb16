//! What messages look like from outside: their fields, the fields' types and the words that describe them.
//!
//! A description is made when it is asked for, from the same declarations as the types; nothing of it exists before.

/// What a value looks like in its JSON form.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// What the type's documentation says, a line for each line; empty for types without documentation of their own.
    pub docs: &'static str,
    /// Whether `null` is told apart from an absent field: the wrappers of scalars.
    pub nullable: bool,
    /// What it is.
    pub shape: Shape,
}

/// A field of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaField {
    /// Its name as the proto file spells it; see [`super::json_name`].
    pub name: &'static str,
    /// What its documentation says, a line for each line.
    pub docs: &'static str,
    /// What it looks like.
    pub schema: Schema,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Text.
    Text,
    /// True or false.
    Bool,
    /// A whole number.
    Whole {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A whole number of 64 bits, which proto JSON writes as text.
    Wide {
        /// Whether it may be less than zero.
        signed: bool,
    },
    /// A number.
    Double,
    /// A span of time as text.
    Duration,
    /// Bytes as base64 text.
    Bytes,
    /// One of these names, each with what it means.
    Enum(&'static [(&'static str, &'static str)]),
    /// A list.
    List(Box<Schema>),
    /// A mapping from keys to values of one kind.
    Map(Box<Schema>),
    /// A message.
    Message {
        /// Its fields, those of oneofs among them.
        fields: Vec<SchemaField>,
        /// The names of fields that exclude each other.
        one_of: Vec<Vec<&'static str>>,
    },
    /// A free-form JSON object.
    Struct,
}

impl Schema {
    /// A value that is never `null`.
    #[must_use]
    pub const fn new(docs: &'static str, shape: Shape) -> Self {
        Self {
            docs,
            nullable: false,
            shape,
        }
    }

    /// A message of its own fields and those of its oneofs.
    #[must_use]
    pub fn message(
        docs: &'static str,
        mut fields: Vec<SchemaField>,
        groups: Vec<Vec<SchemaField>>,
    ) -> Self {
        let one_of = groups
            .iter()
            .map(|group| group.iter().map(|field| field.name).collect())
            .collect();
        fields.extend(groups.into_iter().flatten());
        Self::new(docs, Shape::Message { fields, one_of })
    }
}

impl Shape {
    /// Whether the value is a number, a boolean or text that proto files wrap where absence has a meaning of its own.
    #[must_use]
    pub const fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Text | Self::Bool | Self::Whole { .. } | Self::Wide { .. } | Self::Double
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networking::{ConsistentHash, LoadBalancerSettings, OutlierDetection};
    use crate::proto::Value;

    #[test]
    fn a_message_describes_its_fields_in_the_words_of_its_documentation() {
        let schema = OutlierDetection::schema();
        let Shape::Message { fields, one_of } = schema.shape else {
            panic!("a message");
        };
        assert!(schema.docs.starts_with(" When an endpoint is left out"));
        assert!(one_of.is_empty());
        let field = |name: &str| {
            fields
                .iter()
                .find(|field| field.name == name)
                .map(|field| (field.schema.nullable, field.schema.shape.clone()))
        };
        let unsigned = Shape::Whole {
            min: 0,
            max: u32::MAX.into(),
        };
        assert_eq!(field("consecutive_5xx_errors"), Some((true, unsigned)));
        assert_eq!(field("interval"), Some((false, Shape::Duration)));
    }

    #[test]
    fn fields_of_a_oneof_are_fields_that_exclude_each_other() {
        let Shape::Message { fields, one_of } = ConsistentHash::schema().shape else {
            panic!("a message");
        };
        assert_eq!(one_of.len(), 2);
        assert_eq!(one_of[1], ["ring_hash", "maglev"]);
        assert_eq!(fields.len(), 7);
        let Shape::Message { fields, .. } = LoadBalancerSettings::schema().shape else {
            panic!("a message");
        };
        let simple = fields.iter().find(|field| field.name == "simple");
        assert!(matches!(
            simple.map(|field| &field.schema.shape),
            Some(Shape::Enum(values)) if values[1].0 == "LEAST_CONN" && values[1].1.contains("Deprecated")
        ));
    }
}

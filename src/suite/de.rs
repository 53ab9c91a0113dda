//! Reads plain structs from a [`Node`] tree. An error keeps its structure and the way to the value it is about, so that
//! `mend` can say what is wrong and go on.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::suite::node::{Entry, Kind, Node};

/// What serde did not like, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wrong {
    /// Positions from the innermost outwards while the error travels up; [`Wrong::way`] turns them round.
    path: Vec<usize>,
    pub what: What,
}

/// What serde did not like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// The entry at the path has a key that is not known.
    UnknownKey { known: &'static [&'static str] },
    /// The value at the path is not one of the known words.
    UnknownWord { known: &'static [&'static str] },
    /// The mapping at the path lacks a key.
    MissingKey { key: &'static str },
    /// The value at the path is of the wrong type or out of range: what was expected, in serde's words.
    Expected(String),
    /// A mapping with these keys was expected.
    ExpectedMap { known: &'static [&'static str] },
    /// A mapping with exactly one of these keys was expected.
    ExpectedOne { known: &'static [&'static str] },
    /// The only entry of a one-entry mapping was pruned: nothing new is wrong.
    Hollow,
    /// In the words of the type.
    Other(String),
}

impl Wrong {
    fn new(what: What) -> Wrong {
        Wrong { path: Vec::new(), what }
    }

    fn inside(mut self, position: usize) -> Wrong {
        self.path.push(position);
        self
    }

    /// Positions from the root.
    pub fn way(&self) -> Vec<usize> {
        self.path.iter().rev().copied().collect()
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Wrong {
        Wrong::new(What::Other(message.to_string()))
    }
    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Wrong {
        Wrong::new(What::Expected(expected.to_string()))
    }
    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Wrong {
        Wrong::new(What::Expected(expected.to_string()))
    }
    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Wrong {
        Wrong::new(What::Expected(expected.to_string()))
    }
    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Wrong {
        Wrong::new(What::UnknownWord { known })
    }
    fn unknown_field(_: &str, known: &'static [&'static str]) -> Wrong {
        Wrong::new(What::UnknownKey { known })
    }
    fn missing_field(key: &'static str) -> Wrong {
        Wrong::new(What::MissingKey { key })
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(truth) => visitor.visit_bool(*truth),
            Kind::Int(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (Err(_), Ok(number)) => visitor.visit_i64(number),
                (Err(_), Err(_)) => visitor.visit_i128(*number),
            },
            // A value that takes anything would quietly make null of it.
            Kind::Float(number) if !number.is_finite() => Err(Wrong::new(What::Expected("a finite number".to_owned()))),
            Kind::Float(number) => visitor.visit_f64(*number),
            Kind::String(text) => visitor.visit_borrowed_str(text),
            Kind::Seq(items) => visitor.visit_seq(Items { items, next: 0 }),
            Kind::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.kind {
            Kind::Null => visitor.visit_none(),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) | Kind::Seq(_) | Kind::Map(_) => {
                visitor.visit_some(self)
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    /// A key without a value is an empty list.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.kind {
            Kind::Null => visitor.visit_seq(Items { items: &[], next: 0 }),
            Kind::Seq(items) => visitor.visit_seq(Items { items, next: 0 }),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) | Kind::Map(_) => {
                Err(Wrong::new(What::Expected("a list".to_owned())))
            }
        }
    }

    /// A key without a value is an empty mapping.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.kind {
            Kind::Null => visitor.visit_map(Entries { entries: &[], next: 0 }),
            Kind::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) | Kind::Seq(_) => {
                Err(Wrong::new(What::Expected("a mapping".to_owned())))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match &self.kind {
            Kind::Null | Kind::Map(_) => self.deserialize_map(visitor),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) | Kind::Seq(_) => {
                Err(Wrong::new(What::ExpectedMap { known }))
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match &self.kind {
            Kind::String(_) => visitor.visit_enum(Chosen { node: self, known, entry: None }),
            Kind::Map(entries) => {
                let mut live = entries.iter().enumerate().filter(|(_, entry)| entry.value.is_live());
                match (live.next(), live.next()) {
                    (Some((position, entry)), None) => {
                        visitor.visit_enum(Chosen { node: self, known, entry: Some((position, entry)) })
                    }
                    (None, _) if !entries.is_empty() => Err(Wrong::new(What::Hollow)),
                    (_, _) => Err(Wrong::new(What::ExpectedOne { known })),
                }
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Seq(_) => {
                Err(Wrong::new(What::ExpectedOne { known }))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

struct Items<'de> {
    items: &'de [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        while let Some(item) = self.items.get(self.next) {
            let position = self.next;
            self.next += 1;
            if item.is_live() {
                return seed.deserialize(item).map(Some).map_err(|wrong| wrong.inside(position));
            }
        }
        Ok(None)
    }
}

struct Entries<'de> {
    entries: &'de [Entry],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        while let Some(entry) = self.entries.get(self.next) {
            if entry.value.is_live() {
                let position = self.next;
                let key = entry.key.as_str().into_deserializer();
                return seed.deserialize(key).map(Some).map_err(|wrong: Wrong| wrong.inside(position));
            }
            self.next += 1;
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Wrong> {
        let position = self.next;
        self.next += 1;
        let entry = self.entries.get(position).expect("serde asks for a value after its key only");
        seed.deserialize(&entry.value).map_err(|wrong| wrong.inside(position))
    }
}

/// A choice: a word, or the one entry of a mapping.
struct Chosen<'de> {
    node: &'de Node,
    known: &'static [&'static str],
    entry: Option<(usize, &'de Entry)>,
}

impl<'de> EnumAccess<'de> for Chosen<'de> {
    type Error = Wrong;
    type Variant = Chosen<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Chosen<'de>), Wrong> {
        let value = match self.entry {
            Some((position, entry)) => {
                let key = entry.key.as_str().into_deserializer();
                seed.deserialize(key).map_err(|wrong: Wrong| {
                    let what = match wrong.what {
                        What::UnknownWord { known } => What::UnknownKey { known },
                        what => what,
                    };
                    Wrong::new(what).inside(position)
                })?
            }
            None => seed.deserialize(self.node)?,
        };
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Chosen<'de> {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        match self.entry {
            None => Ok(()),
            Some(_) => {
                let words = self.known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
                Err(Wrong::new(What::Expected(format!("one of the words {words}"))))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Wrong> {
        match self.entry {
            Some((position, entry)) => seed.deserialize(&entry.value).map_err(|wrong| wrong.inside(position)),
            None => Err(Wrong::new(What::ExpectedOne { known: self.known })),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        match self.entry {
            Some((position, entry)) => entry.value.deserialize_seq(visitor).map_err(|wrong| wrong.inside(position)),
            None => Err(Wrong::new(What::ExpectedOne { known: self.known })),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, known: &'static [&'static str], visitor: V) -> Result<V::Value, Wrong> {
        match self.entry {
            Some((position, entry)) => {
                entry.value.deserialize_struct("", known, visitor).map_err(|wrong| wrong.inside(position))
            }
            None => Err(Wrong::new(What::ExpectedOne { known: self.known })),
        }
    }
}

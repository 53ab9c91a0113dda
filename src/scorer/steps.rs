//! JSON that counts how often a validator looks at it, so that no schema keeps one busy without end.
//!
//! Keywords that apply other schemas can double the work at every level (`anyOf` twice over the same `$ref`), and the
//! validator has no limit of its own. It reads an instance through a trait, though: each look is a step here, and when
//! none are left the validation is unwound. Steps, unlike seconds, are the same on every machine.

use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, Node, NodeIdentity, Object, SerdeJson};
use serde_json::{Map, Number, Value};

/// Bytes of a text that are read in one step.
const BYTES: usize = 8;

thread_local! {
    /// Steps that are left to the validation of this thread, and what looks cost.
    static LEFT: Cell<(u64, Prices)> = const { Cell::new((u64::MAX, Prices { look: 0, text: 0 })) };
}

/// What a look costs, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// At any value.
    pub look: u64,
    /// At a text or the name of a member, more: a pattern may be applied to it.
    pub text: u64,
}

/// What a validation that takes too many steps is unwound with.
struct Spent;

/// What comes of `validate`; `None` when it takes more than `steps`.
pub fn within<T>(steps: u64, prices: Prices, validate: impl FnOnce() -> T) -> Option<T> {
    LEFT.set((steps, prices));
    // Validators change nothing but caches of their own, each made for one validation.
    let result = catch_unwind(AssertUnwindSafe(validate));
    LEFT.set((u64::MAX, Prices { look: 0, text: 0 }));
    match result {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Spent>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// Counts looks.
fn look(times: usize) {
    take(|prices| prices.look.saturating_mul(times as u64));
}

/// Counts a look at a text.
fn look_at(text: &str) {
    take(|prices| prices.look.saturating_mul((text.len() / BYTES) as u64).saturating_add(prices.text));
}

fn take(cost: impl FnOnce(Prices) -> u64) {
    let (left, prices) = LEFT.get();
    match left.checked_sub(cost(prices)) {
        Some(left) => LEFT.set((left, prices)),
        // No panic: nothing is printed.
        None => resume_unwind(Box::new(Spent)),
    }
}

/// What comparing a value as a whole takes, counted as it is walked.
fn look_through(value: &Value) {
    look(1);
    match value {
        Value::String(text) => look(text.len() / BYTES),
        Value::Array(items) => items.iter().for_each(look_through),
        Value::Object(members) => members.values().for_each(look_through),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The representation, for the validator.
pub struct Counted;

/// A value, each look at which is counted.
#[derive(Clone, Copy)]
pub struct Seen<'a>(pub &'a Value);

/// The members of an object.
pub struct Members<'a>(&'a Map<String, Value>);

/// The elements of an array.
pub struct Elements<'a>(&'a [Value]);

/// Goes over parts, and counts each.
pub struct Each<I>(I);

impl Json for Counted {
    type Node<'a> = Seen<'a>;
    type PreparedKey = String;
    type StringBuffer = Value;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(buffer: &mut Value, string: &str, f: impl FnOnce(Seen<'_>) -> T) -> T {
        SerdeJson::with_string_node(buffer, string, |value| f(Seen(value)))
    }
}

impl<'a> Node<'a, Counted> for Seen<'a> {
    type Object = Members<'a>;
    type Array = Elements<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Members<'a>> {
        look(1);
        Node::as_object(&self.0).map(Members)
    }

    fn as_array(&self) -> Option<Elements<'a>> {
        look(1);
        Node::as_array(&self.0).map(Elements)
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        look(1);
        let text = Node::as_string(&self.0)?;
        look_at(&text);
        Some(text)
    }

    fn as_number(&self) -> Option<&'a Number> {
        look(1);
        Node::as_number(&self.0)
    }

    fn as_boolean(&self) -> Option<bool> {
        look(1);
        Node::as_boolean(&self.0)
    }

    fn is_null(&self) -> bool {
        look(1);
        Node::is_null(&self.0)
    }

    fn json_type(&self) -> JsonType {
        look(1);
        Node::json_type(&self.0)
    }

    fn string_length(&self) -> Option<u64> {
        look(1);
        let text = Node::as_string(&self.0)?;
        look(text.len() / BYTES);
        Node::string_length(&self.0)
    }

    fn equals_value(&self, expected: &Value) -> bool {
        look(1);
        // Values of different kinds are told apart at once.
        if std::mem::discriminant(self.0) == std::mem::discriminant(expected) {
            look_through(self.0);
        }
        Node::equals_value(&self.0, expected)
    }

    fn to_value(&self) -> Cow<'a, Value> {
        look(1);
        Cow::Borrowed(self.0)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        look(1);
        Node::identity(&self.0)
    }
}

impl<'a> Object<'a, Counted> for Members<'a> {
    type Node = Seen<'a>;
    type MemberName = &'a str;
    type MembersIter = Each<serde_json::map::Iter<'a>>;

    fn len(&self) -> usize {
        look(1);
        self.0.len()
    }

    fn get(&self, key: &String) -> Option<Seen<'a>> {
        look(1);
        self.0.get(key).map(Seen)
    }

    fn members(&self) -> Each<serde_json::map::Iter<'a>> {
        look(1);
        Each(self.0.iter())
    }
}

impl<'a> Array<'a, Counted> for Elements<'a> {
    type Node = Seen<'a>;
    type ElementsIter = Each<std::slice::Iter<'a, Value>>;

    fn len(&self) -> usize {
        look(1);
        self.0.len()
    }

    fn elements(&self) -> Each<std::slice::Iter<'a, Value>> {
        look(1);
        Each(self.0.iter())
    }

    fn is_unique(&self) -> bool {
        self.0.iter().for_each(look_through);
        Array::is_unique(&self.0)
    }
}

impl<'a> Iterator for Each<serde_json::map::Iter<'a>> {
    type Item = (&'a str, Seen<'a>);

    fn next(&mut self) -> Option<(&'a str, Seen<'a>)> {
        let (key, value) = self.0.next()?;
        look(1);
        look_at(key);
        Some((key, Seen(value)))
    }
}

impl<'a> Iterator for Each<std::slice::Iter<'a, Value>> {
    type Item = Seen<'a>;

    fn next(&mut self) -> Option<Seen<'a>> {
        let value = self.0.next()?;
        look(1);
        Some(Seen(value))
    }
}

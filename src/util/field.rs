//! Fields of a row, by a plain name or a JSON pointer.

use serde_json::{Map, Value};

/// The value that `field` names: a key of the object, or, when it begins with `/`, an RFC 6901 pointer from the object.
pub fn get<'a>(row: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    if let Some(value) = row.get(field) {
        return Some(value);
    }
    let pointer = field.strip_prefix('/')?;
    let (head, tail) = pointer.split_once('/').map_or((pointer, None), |(head, tail)| (head, Some(tail)));
    let value = row.get(&head.replace("~1", "/").replace("~0", "~"))?;
    match tail {
        None => Some(value),
        Some(tail) => value.pointer(&format!("/{tail}")),
    }
}

/// A scalar as text, as joins, tags and ids compare it; `None` for null, lists and objects.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_pointers() {
        let row = serde_json::json!({"a": {"b": [1, {"c/d": "x"}]}, "/odd": 2});
        let row = row.as_object().unwrap();
        assert_eq!(get(row, "/a/b/1/c~1d"), Some(&Value::from("x")));
        assert_eq!(get(row, "/odd"), Some(&Value::from(2)));
        assert_eq!(get(row, "a").and_then(text), None);
        assert_eq!(get(row, "/a/b/0").and_then(text).as_deref(), Some("1"));
        assert_eq!(get(row, "/nope/x"), None);
    }
}

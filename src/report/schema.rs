//! The JSON Schema of `report.json`.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::report::Report;

/// The JSON Schema (draft 2020-12) of `report.json`, as `evalctl schema --report` publishes it.
///
/// It names every field and asks for all that are always written, but allows others: under one format number fields
/// may be added, and a reader that checks against an older schema must not break by that. Our own tests check against
/// a stricter form that allows no other field, so that none is written without standing here.
pub fn report_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Report>().to_value();
    if let Value::Object(fields) = &mut schema {
        // What it is comes before what is in it.
        for field in ["title", "$schema"] {
            if let Some(value) = fields.shift_remove(field) {
                fields.shift_insert(0, field.to_owned(), value);
            }
        }
    }
    // Gates are strict where people write them, in suites; in reports they are open like the rest.
    each_object(&mut schema, &mut |object| {
        if object.get("additionalProperties") == Some(&Value::Bool(false)) {
            object.remove("additionalProperties");
        }
    });
    schema
}

fn each_object(value: &mut Value, change: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|value| each_object(value, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schema with no room for fields that it does not name.
#[cfg(test)]
pub(crate) fn strict_schema() -> Value {
    let mut schema = report_schema();
    each_object(&mut schema, &mut |object| {
        if object.contains_key("properties") {
            object.insert("additionalProperties".into(), false.into());
        }
    });
    schema
}

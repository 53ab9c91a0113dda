//! The JSON Schema of suite files, for editors that complete and check. It says what may be written where; what must
//! hold between the parts is in `rules`.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::suite::spec::Suite;

/// The schema of suite files, JSON Schema draft 2020-12.
pub fn suite_schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Suite>();
    schema.insert("title".to_owned(), Value::from("evalctl suite"));
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_accepts_suites_and_refuses_unknown_keys_and_wrong_types() {
        let schema = suite_schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["title"], "evalctl suite");
        let validator = jsonschema::validator_for(&schema).unwrap();
        let good = json!({
            "name": "support-triage",
            "decision": "May ticket triage move?",
            "dataset": {
                "path": "data.jsonl", "id": "id", "target": "expected", "cluster": "customer",
                "tags": ["language", "channel"],
                "select": { "where": "language == 'en'", "sample": 200, "seed": 7, "stratify": "channel" }
            },
            "prompt": { "system": "You route tickets.", "user": "{{ subject }}" },
            "output": { "schema": "schemas/triage.json" },
            "candidates": [
                { "id": "current", "openai": { "model": "gpt-5-mini", "api_key_env": "OPENAI_API_KEY" } },
                {
                    "id": "open", "openai": { "base_url": "http://127.0.0.1:8000/v1", "model": "Qwen3-32B" },
                    "params": { "temperature": 0, "max_output_tokens": 256, "seed": 1 },
                    "structured": "json_schema", "is_batch": true,
                    "price": {
                        "per_hour_usd": 3.13, "input_per_mtok_usd": "0.15", "cache_write_1h_per_mtok_usd": 1,
                        "tiers": [{ "above_input_tokens": 200000, "input_per_mtok_usd": 0.3 }], "batch_factor": 0.5
                    },
                    "timeout": "120s", "retries": 3, "in_flight": 8, "headers": { "x-team": "a" }
                }
            ],
            "baseline": "current",
            "scorers": [
                { "label": { "field": "/intent" } }, { "schema": {} },
                { "number": { "field": "/priority", "tolerance": 0 } },
                { "exact": { "extract": { "regex": "A: *(.+)", "group": 1, "which": "last" } } }
            ],
            "gates": [
                { "metric": "label", "non_inferior": { "margin": 0.02 } }, { "metric": "schema", "at_least": 0.99 },
                { "metric": "latency_ms.p95", "at_most": 1500 }, { "metric": "cost_usd", "at_most_ratio": 0.5 }
            ],
            "prices": "prices.yaml",
            "price_max_age": "90d",
            "repeats": 1,
            "pacing": { "closed": { "in_flight": 16 } },
            "limits": { "max_failures": "5%", "deadline": "30m" },
            "seed": 7
        });
        let faults: Vec<String> = validator.iter_errors(&good).map(|error| error.to_string()).collect();
        assert_eq!(faults, Vec::<String>::new());
        assert!(serde_json::from_value::<Suite>(good.clone()).is_ok(), "the schema and the type agree");

        for (pointer, key, value) in [
            ("", "scorer", json!([])),
            ("/dataset", "pth", json!("x")),
            ("/dataset", "tags", json!("language")),
            ("/candidates/0/openai", "modle", json!("x")),
            ("/candidates/1/params", "temprature", json!(1)),
            ("/candidates/1/price", "per_mile", json!(1)),
            ("/candidates/1", "structured", json!("tools")),
            ("/candidates/1", "timeout", json!(120)),
            ("/scorers/0", "lable", json!({})),
            ("/scorers/0/label", "weight", json!(1)),
            ("/gates/0/non_inferior", "by", json!("x")),
            ("/gates/1", "metric", json!(7)),
            ("/limits", "max_failures", json!("many")),
            ("/pacing", "open", json!({})),
        ] {
            let mut bad = good.clone();
            bad.pointer_mut(pointer).unwrap()[key] = value.clone();
            assert!(!validator.is_valid(&bad), "{pointer}/{key}: {value}");
        }
        let mut bad = good.clone();
        bad["candidates"][0].as_object_mut().unwrap().remove("id");
        assert!(!validator.is_valid(&bad));
    }
}

//! What recorded answers of real services cost: the price book and `price::cost` against a second price source and a
//! second calculation. Runs when `EVALCTL_CONFORMANCE_DATA` names the folder with the data, which is not part of this
//! repository.

use std::collections::BTreeMap;

use evalctl::price::{NoCost, book, cost};
use evalctl::types::{Price, Usage};
use regex::Regex;
use rust_decimal::Decimal;
use serde_json::Value;

/// Bodies that must be compared at least; fewer would mean that the book has lost models or the data its bodies.
const LEAST: usize = 700;

/// Tokens of an answer in parts that do not overlap, as the services mean their counts.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    plain: u64,
    read: u64,
    written: u64,
    written_1h: u64,
    sound: u64,
    out: u64,
    thought: u64,
}

impl Parts {
    fn of(usage: &Value) -> Option<Parts> {
        let count = |path: &str| usage.pointer(path).and_then(Value::as_u64);
        let or_none = |path: &str| count(path).unwrap_or(0);
        if let Some(prompt) = count("/promptTokenCount") {
            // Gemini: thoughts are counted beside the answer, what is cached inside the prompt.
            let read = or_none("/cachedContentTokenCount");
            let thought = or_none("/thoughtsTokenCount");
            let details = usage.pointer("/promptTokensDetails").and_then(Value::as_array);
            let sound = details.into_iter().flatten().filter(|part| part["modality"] == "AUDIO");
            let sound = sound.filter_map(|part| part["tokenCount"].as_u64()).sum();
            let prompt = prompt + or_none("/toolUsePromptTokenCount");
            let out = or_none("/candidatesTokenCount") + thought;
            return Some(Parts {
                plain: prompt.checked_sub(read + sound)?,
                read,
                sound,
                out,
                thought,
                ..Parts::default()
            });
        }
        if let Some(plain) = count("/inputTokens") {
            // Bedrock: what is cached is counted beside the input.
            let (read, written) = (or_none("/cacheReadInputTokens"), or_none("/cacheWriteInputTokens"));
            return Some(Parts { plain, read, written, out: count("/outputTokens")?, ..Parts::default() });
        }
        if let Some(prompt) = count("/prompt_tokens") {
            // OpenAI's chat completions and those who speak like them: everything inside the two sums.
            let read = count("/prompt_tokens_details/cached_tokens").or(count("/num_cached_tokens")).unwrap_or(0);
            let sound = or_none("/prompt_tokens_details/audio_tokens");
            let thought = or_none("/completion_tokens_details/reasoning_tokens");
            let has_spoken = or_none("/completion_tokens_details/audio_tokens") > 0;
            let written = or_none("/prompt_tokens_details/cache_write_tokens");
            let out = count("/completion_tokens").filter(|_| !has_spoken)?;
            let plain = prompt.checked_sub(read + sound + written)?;
            return Some(Parts { plain, read, written, sound, out, thought, ..Parts::default() });
        }
        let input = count("/input_tokens")?;
        let out = count("/output_tokens")?;
        if usage.get("input_tokens_details").is_some() {
            // OpenAI's responses: as above, under other names.
            let read = or_none("/input_tokens_details/cached_tokens");
            let written = or_none("/input_tokens_details/cache_write_tokens");
            let thought = or_none("/output_tokens_details/reasoning_tokens");
            return Some(Parts {
                plain: input.checked_sub(read + written)?,
                read,
                written,
                out,
                thought,
                ..Parts::default()
            });
        }
        // Anthropic: reads and writes are counted beside the input.
        let written_1h = or_none("/cache_creation/ephemeral_1h_input_tokens");
        let written = or_none("/cache_creation_input_tokens").checked_sub(written_1h)?;
        Some(Parts {
            plain: input,
            read: or_none("/cache_read_input_tokens"),
            written,
            written_1h,
            out,
            ..Parts::default()
        })
    }

    fn input(&self) -> u64 {
        self.plain + self.read + self.written + self.written_1h + self.sound
    }

    /// The same as evalctl counts it: the parts inside the sums.
    fn normalised(&self) -> Usage {
        Usage {
            input_tokens: Some(self.input()),
            cached_input_tokens: Some(self.read),
            cache_write_tokens: Some(self.written + self.written_1h),
            cache_write_1h_tokens: Some(self.written_1h),
            audio_input_tokens: Some(self.sound),
            output_tokens: Some(self.out),
            reasoning_tokens: Some(self.thought),
            audio_output_tokens: None,
            total_tokens: None,
        }
    }
}

/// Dollars per million tokens in units of 10⁻⁹, for an amount written as a decimal number; `None` for what somebody rounded
/// at its sixteenth digit.
fn nano(text: &str) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    (part.len() <= 9).then(|| format!("{whole}{part:0<9}").parse().unwrap())
}

/// The kinds of tokens that a source may name a price for.
const KINDS: [&str; 5] = ["input", "read", "write", "sound", "output"];

/// Prices of one source by kind, in 10⁻⁹ dollars per million tokens.
type Rates = BTreeMap<&'static str, i128>;

/// genai-prices, read and matched as that project says.
struct Genai(Vec<Value>);

impl Genai {
    fn read(folder: &str) -> Genai {
        let text = std::fs::read_to_string(format!("{folder}/prices/genai-prices/prices_data.json")).unwrap();
        Genai(serde_json::from_str(&text).unwrap())
    }

    fn matches(clause: &Value, model: &str) -> bool {
        let (key, value) = clause.as_object().unwrap().iter().next().unwrap();
        let text = || value.as_str().unwrap().to_lowercase();
        let mut clauses = value.as_array().into_iter().flatten();
        match key.as_str() {
            "equals" => model == text(),
            "starts_with" => model.starts_with(&text()),
            "ends_with" => model.ends_with(&text()),
            "contains" => model.contains(&text()),
            "regex" => Regex::new(value.as_str().unwrap()).unwrap().is_match(model),
            "or" => clauses.any(|clause| Genai::matches(clause, model)),
            "and" => clauses.all(|clause| Genai::matches(clause, model)),
            other => panic!("{other}"),
        }
    }

    /// The prices for a request with so many input tokens, after all changes that are announced.
    fn rates(&self, provider: &str, model: &str, input: u64) -> Option<Rates> {
        let provider = self.0.iter().find(|known| known["id"] == provider)?;
        let model = model.to_lowercase();
        let row = provider["models"].as_array()?.iter().find(|row| Genai::matches(&row["match"], &model))?;
        let prices = match &row["prices"] {
            Value::Array(dated) => {
                if dated.iter().any(|entry| entry.pointer("/constraint/start_time").is_some()) {
                    return None;
                }
                // As the book does: by the last change that the table announces, however the other source stands.
                let holds = |entry: &&Value| entry.pointer("/constraint/start_date").is_some();
                &dated.iter().rfind(holds)?["prices"]
            }
            prices => prices,
        };
        let named = [("input_mtok", "input"), ("cache_read_mtok", "read"), ("cache_write_mtok", "write")];
        let named = named.into_iter().chain([("input_audio_mtok", "sound"), ("output_mtok", "output")]);
        let mut rates = Rates::new();
        for (key, kind) in named {
            let Some(price) = prices.get(key) else { continue };
            let mut amount = price.get("base").unwrap_or(price);
            for tier in price.get("tiers").and_then(Value::as_array).into_iter().flatten() {
                if input > tier["start"].as_u64().unwrap() {
                    amount = &tier["price"];
                }
            }
            rates.extend(nano(&amount.to_string().replace('"', "")).map(|amount| (kind, amount)));
        }
        Some(rates)
    }
}

/// litellm's price map: dollars per token, with other keys above a bound.
struct Litellm(Value);

impl Litellm {
    fn read(folder: &str) -> Litellm {
        let name = "model_prices_and_context_window.full.2026-07-24.json";
        let text = std::fs::read_to_string(format!("{folder}/prices/litellm/{name}")).unwrap();
        Litellm(serde_json::from_str(&text).unwrap())
    }

    fn rates(&self, key: &str, input: u64) -> Option<Rates> {
        let row = self.0.get(key)?.as_object()?;
        let bound = |name: &str| -> Option<u64> {
            let thousands = name.strip_prefix("input_cost_per_token_above_")?.strip_suffix("k_tokens")?;
            thousands.parse::<u64>().ok().filter(|bound| input > bound * 1000)
        };
        let above = row.keys().filter_map(|name| bound(name)).max();
        let ending = above.map_or(String::new(), |bound| format!("_above_{bound}k_tokens"));
        let named = [
            ("input_cost_per_token", "input"),
            ("cache_read_input_token_cost", "read"),
            ("cache_creation_input_token_cost", "write"),
            ("input_cost_per_audio_token", "sound"),
            ("output_cost_per_token", "output"),
        ];
        let mut rates = Rates::new();
        for (name, kind) in named {
            let Some(amount) = row.get(&format!("{name}{ending}")).and_then(Value::as_f64) else { continue };
            // The shortest decimal is what was written; a million tokens are six places.
            let exact = Decimal::from_str_exact(&amount.to_string()).unwrap() * Decimal::from(1_000_000);
            rates.extend(nano(&exact.normalize().to_string()).map(|amount| (kind, amount)));
        }
        Some(rates)
    }
}

/// How the data, the book and the two sources call a service.
const SERVICES: [(&str, &str, &str, &str); 11] = [
    ("openai", "openai", "openai", ""),
    ("anthropic", "anthropic", "anthropic", ""),
    ("google_gemini", "gemini", "google", "gemini/"),
    ("google_vertex", "vertex", "google", ""),
    ("aws_bedrock", "bedrock", "aws", ""),
    ("groq", "groq", "groq", "groq/"),
    ("mistral", "mistral", "mistral", "mistral/"),
    ("deepseek", "deepseek", "deepseek", "deepseek/"),
    ("cerebras", "cerebras", "cerebras", "cerebras/"),
    ("openrouter", "openrouter", "openrouter", "openrouter/"),
    ("azure_openai", "azure", "azure", "azure/"),
];

/// Service, model and usage of every recorded answer that reports one.
fn bodies(folder: &str) -> Vec<(String, String, Value)> {
    let lines = |name: &str| {
        let text = std::fs::read_to_string(format!("{folder}/api_fixtures/{name}")).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<Value>>()
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut bodies = Vec::new();
    for line in lines("interactions.jsonl") {
        let response = &line["response_json"];
        let usage = [&response["usage"], &response["usageMetadata"]].into_iter().find(|usage| usage.is_object());
        let Some(usage) = usage else { continue };
        let uri = line["uri"].as_str().unwrap();
        let of_uri = uri
            .split_once("/model/")
            .and_then(|(_, rest)| rest.split('/').next())
            .map(|model| model.replace("%3A", ":"));
        let model = of_uri.or_else(|| text(&response["model"])).or_else(|| text(&response["modelVersion"]));
        let Some(model) = model.or_else(|| text(&line["request_json"]["model"])) else { continue };
        bodies.push((text(&line["provider"]).unwrap(), model, usage.clone()));
    }
    for line in lines("expected_streams.jsonl") {
        let provider = line["file"].as_str().unwrap().split('/').next().unwrap().to_owned();
        if let (true, Some(model)) = (line["usage"].is_object(), text(&line["model"])) {
            bodies.push((provider, model, line["usage"].clone()));
        }
    }
    bodies
}

#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn costs_of_recorded_answers_agree_with_a_second_source() {
    let data = std::env::var("EVALCTL_CONFORMANCE_DATA").expect("EVALCTL_CONFORMANCE_DATA names the folder");
    let (genai, litellm) = (Genai::read(&data), Litellm::read(&data));
    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    let mut with: BTreeMap<&str, usize> = BTreeMap::new();
    for (provider, model, usage) in bodies(&data) {
        let mut leave = |why: String| *left.entry(why).or_default() += 1;
        let Some((_, service, of_genai, prefix)) = SERVICES.iter().find(|(name, ..)| *name == provider) else {
            leave(format!("{provider}: a service that only one source prices"));
            continue;
        };
        let Some(row) = book().find(service, &model) else {
            leave(format!("{service} {model}: not in the book"));
            continue;
        };
        let Some(parts) = Parts::of(&usage) else {
            leave(format!("{service} {model}: no counts, or sound in the answer"));
            continue;
        };
        let input = parts.input();
        let sources = genai.rates(of_genai, &model, input).zip(litellm.rates(&format!("{prefix}{model}"), input));
        let Some((one, other)) = sources else {
            leave(format!("{service} {model}: in one source only"));
            continue;
        };
        // Only prices that tokens were used of; what only one source prices apart is no disagreement if nothing was used.
        let counts = [parts.plain, parts.read, parts.written, parts.sound, parts.out];
        let used: Vec<(&str, u64)> = KINDS.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect();
        if parts.written_1h > 0 || used.iter().any(|(kind, _)| one.get(kind) != other.get(kind)) {
            leave(format!("{service} {model}: the sources disagree"));
            continue;
        }
        // A kind without a price of its own costs what other input does.
        let rate = |kind: &str| one.get(kind).or_else(|| one.get("input")).copied().unwrap();
        let exact: i128 = used.iter().map(|(kind, count)| rate(kind) * i128::from(*count)).sum();
        let expected = Decimal::from_i128_with_scale(exact, 15).normalize();
        let price = row.price();
        match cost(&price, &parts.normalised()) {
            Ok(found) => assert_eq!(found, expected, "{service} {model}: {usage}"),
            Err(NoCost::SoundMayBeCached) => {
                leave(format!("{service} {model}: sound that may be cached"));
                continue;
            }
            Err(reason) => panic!("{service} {model}: {reason}: {usage}"),
        }
        *compared.entry(service).or_default() += 1;
        for (kind, _) in used {
            *with.entry(kind).or_default() += 1;
        }
        if parts.thought > 0 {
            *with.entry("reasoning").or_default() += 1;
            // Reasoning is inside the output: paid apart at the same price, the sum stays the same.
            let apart = Price { reasoning_per_mtok_usd: price.output_per_mtok_usd, tiers: Vec::new(), ..price.clone() };
            let whole = Price { tiers: Vec::new(), ..price };
            assert_eq!(cost(&apart, &parts.normalised()), cost(&whole, &parts.normalised()), "{service} {model}");
        }
    }
    let all: usize = compared.values().sum();
    println!("{all} bodies compared: {compared:?}; with {with:?}; left out: {left:#?}");
    assert!(all >= LEAST, "only {all} bodies were compared: {compared:?}; left out: {left:#?}");
    for kind in ["input", "read", "write", "output", "reasoning"] {
        assert!(with.get(kind).is_some_and(|count| *count >= 5), "{kind}: {with:?}");
    }
}

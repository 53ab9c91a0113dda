//! The book that comes with evalctl: every row is sound, and what the field names is in it.

use std::collections::BTreeSet;

use crate::price::{Book, BookFile, Day, book, cost};
use crate::types::Usage;

#[test]
fn every_row_is_sound() {
    let file: BookFile = serde_json::from_str(include_str!("book.json")).unwrap();
    assert!(file.about.is_some_and(|about| about.contains("evalctl prices")));
    let book = book();
    assert!(book.rows().len() > 500, "{} rows", book.rows().len());
    let (first, last) = (Day::parse("2026-01-01").unwrap(), Day::parse("2027-01-01").unwrap());
    for row in book.rows() {
        let name = format!("{} {}", row.provider, row.model);
        assert!(first < row.as_of && row.as_of < last, "{name}");
        for other in row.names() {
            assert!(other == other.trim() && other.is_ascii(), "{name}: {other}");
            assert_eq!(book.find(&row.provider, other), Some(row), "{name}");
        }
        let price = row.price();
        let rates = price.rates();
        // Per token or per hour, never half of it.
        assert_eq!(rates.input.is_some(), rates.output.is_some(), "{name}");
        assert!(rates.input.is_some() != price.per_hour_usd.is_some(), "{name}");
        for (key, amount) in rates.named().into_iter().filter_map(|(key, amount)| Some((key, amount?))) {
            assert!(amount.scale() <= 8, "{name}: {key} {amount} is a rounded fraction");
            assert!(amount.is_zero() || (amount >= "0.001".parse().unwrap() && amount <= 1000.into()), "{name}: {key}");
        }
        // What is read from a cache costs no more than what is not; an hour in it no less than minutes.
        assert!(rates.cached.is_none() || rates.cached <= rates.input, "{name}");
        assert!(rates.cache_write_1h.is_none() || rates.cache_write_1h >= rates.cache_write, "{name}");
    }
}

/// Amounts are the decimals that stand in the file, however they are read: not what binary fractions make of them.
#[test]
fn amounts_are_read_digit_by_digit() {
    let mut written = BTreeSet::new();
    for part in include_str!("book.json").split("_usd\": ").skip(1) {
        let number: String = part.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        written.insert(number);
    }
    let mut read = BTreeSet::new();
    for row in book().rows() {
        let price = row.price();
        let of_tiers = price.tiers.iter().map(|tier| tier.rates());
        for rates in [price.rates()].into_iter().chain(of_tiers) {
            read.extend(rates.named().into_iter().filter_map(|(_, amount)| Some(amount?.to_string())));
        }
        read.extend(price.per_hour_usd.iter().chain(&price.per_request_usd).map(ToString::to_string));
    }
    assert_eq!(read, written);
}

/// The systems that the decision is about, on services that serve them.
#[test]
fn the_models_in_question_are_listed() {
    let wanted = [
        ("openai", "gpt-4o"),
        ("openai", "gpt-4o-2024-11-20"),
        ("openai", "gpt-5"),
        ("openai", "gpt-5.5"),
        ("openai", "o3"),
        ("azure", "gpt-5"),
        ("azure_ml", "Phi-4"),
        ("anthropic", "claude-opus-4-7"),
        ("anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-5"),
        ("gemini", "gemini-3-pro-preview"),
        ("gemini", "gemini-2.5-pro"),
        ("vertex", "gemini-3.1-pro-preview"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock", "meta.llama3-3-70b-instruct-v1:0"),
        ("bedrock", "google.gemma-3-27b-it"),
        ("mistral", "mistral-large-2512"),
        ("mistral", "codestral-2508"),
        ("deepseek", "deepseek-v4-flash"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("together", "deepseek-ai/DeepSeek-R1"),
        ("together", "Qwen/Qwen3.5-397B-A17B"),
        ("fireworks", "accounts/fireworks/models/qwen3-coder-480b-a35b-instruct"),
        ("fireworks", "accounts/fireworks/models/deepseek-v3"),
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct"),
        ("replicate", "meta/llama-3-70b-instruct"),
        ("modal", "gpu-h100"),
        ("anyscale", "meta-llama/Meta-Llama-3-70B-Instruct"),
        ("openrouter", "qwen/qwen3.6-27b"),
        ("openrouter", "qwen/qwen-2.5-72b-instruct"),
        ("openrouter", "microsoft/phi-4"),
        ("vercel", "meta/llama-4-maverick"),
        ("huggingface", "meta-llama/Llama-3.3-70B-Instruct:together"),
        ("xai", "grok-4.3"),
        ("moonshot", "kimi-k2.6"),
        ("zai", "glm-5"),
        ("minimax", "MiniMax-M2"),
        ("cerebras", "gpt-oss-120b"),
        ("cohere", "command-a-03-2025"),
    ];
    for (provider, model) in wanted {
        assert!(book().find(provider, model).is_some(), "{provider} {model}");
    }
    assert_eq!(book().find("openai", "gpt-4o-2024-13-20"), None);
    assert_eq!(book().find("openai", "GPT-4o"), None);
    assert_eq!(Book::default().find("openai", "gpt-4o"), None);
}

/// The field's figures (GPT-5.5 5/30, Kimi K2.6 0.95/4, DeepSeek V4 Flash 0.14/0.28), blended 3 : 1.
#[test]
fn published_blends_come_out() {
    let blend = |provider: &str, model: &str| {
        let usage = Usage { input_tokens: Some(750_000), output_tokens: Some(250_000), ..Usage::default() };
        let price = crate::types::Price { tiers: Vec::new(), ..book().find(provider, model).unwrap().price() };
        cost(&price, &usage).unwrap().to_string()
    };
    assert_eq!(blend("openai", "gpt-5.5"), "11.25");
    assert_eq!(blend("moonshot", "kimi-k2.6"), "1.7125");
    assert_eq!(blend("deepseek", "deepseek-v4-flash"), "0.175");
    assert_eq!(blend("openai", "gpt-4o"), "4.375");
}

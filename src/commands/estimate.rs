//! What a suite will take before anything is sent: tokens by the model's own tokenizer where it is at hand, and dollars
//! by the candidate's price.

use std::sync::Arc;

use rust_decimal::Decimal;
use serde_json::Value;
use tiktoken::CoreBpe;

use crate::commands::plan::{Plan, Planned};
use crate::price;
use crate::types::{Content, Fault, Request, Usage};

/// Tokens that a chat template writes around each message: OpenAI's are three and one for the role, others' are alike.
const AROUND: usize = 4;

/// A sum over all requests of one candidate.
pub struct Estimate {
    counter: Counter,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd: Option<Decimal>,
}

/// Estimates for the candidates that are services, in the order of the plan; `None` for the others.
///
/// # Errors
/// When the golden set has changed since it was checked.
pub fn of(plan: &Plan) -> Result<Vec<Option<Estimate>>, Fault> {
    let mut estimates: Vec<Option<Estimate>> = plan.candidates.iter().map(Estimate::begin).collect();
    if estimates.iter().all(Option::is_none) {
        return Ok(estimates);
    }
    for sample in plan.dataset.samples(&plan.selection) {
        let sample = sample?;
        let Ok(asked) = plan.asking.ask(&sample.row) else { continue };
        // Of several candidates that count alike, one counts.
        let mut counted: Vec<(&'static str, u64)> = Vec::new();
        for (candidate, estimate) in plan.candidates.iter().zip(&mut estimates) {
            let Some(estimate) = estimate else { continue };
            let request = plan.asking.request(&asked, &candidate.params, &sample.row);
            let name = estimate.counter.name();
            let known = counted.iter().find(|(counter, _)| *counter == name).map(|(_, tokens)| *tokens);
            let input_tokens = known.unwrap_or_else(|| {
                let tokens = estimate.counter.count(&request);
                counted.push((name, tokens));
                tokens
            });
            estimate.add(candidate, input_tokens, request.output_tokens_at_most(), plan.suite.repeats);
        }
    }
    Ok(estimates)
}

impl Estimate {
    fn begin(candidate: &Planned) -> Option<Estimate> {
        let dialect = candidate.dialect.as_ref()?;
        let has_price = candidate.pricing.price().is_ok();
        Some(Estimate {
            counter: Counter::of(&dialect.manner().model),
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: has_price.then_some(Decimal::ZERO),
        })
    }

    fn add(&mut self, candidate: &Planned, input_tokens: u64, output_tokens: u64, repeats: u32) {
        let times = u64::from(repeats);
        self.input_tokens = self.input_tokens.saturating_add(input_tokens.saturating_mul(times));
        self.output_tokens = self.output_tokens.saturating_add(output_tokens.saturating_mul(times));
        let usage = Usage { input_tokens: Some(input_tokens), output_tokens: Some(output_tokens), ..Usage::default() };
        let one = candidate.pricing.price().ok().and_then(|price| price::cost(price, &usage).ok());
        let all = one.and_then(|one| one.checked_mul(Decimal::from(times)));
        self.cost_usd = self.cost_usd.and_then(|sum| sum.checked_add(all?));
    }

    /// In one line.
    pub fn in_words(&self) -> String {
        let counted = match self.counter {
            Counter::Bpe(name, _) => format!("counted by {name}"),
            Counter::Bytes => "a third of the bytes: no tokenizer of this model is at hand".to_owned(),
        };
        let dollars =
            self.cost_usd.map_or_else(String::new, |cost| format!(", at most ${}", cost.round_dp(4).normalize()));
        let Estimate { input_tokens, output_tokens, .. } = self;
        format!("about {input_tokens} prompt tokens ({counted}), at most {output_tokens} of answers{dollars}")
    }
}

/// How the tokens of a prompt are counted.
#[derive(Clone, Copy)]
enum Counter {
    /// By a byte-pair encoding of this name.
    Bpe(&'static str, &'static CoreBpe),
    /// As a third of the bytes.
    Bytes,
}

impl Counter {
    /// By the name of a model as services write it: `gpt-5`, `meta-llama/Llama-3.3-70B-Instruct`,
    /// `accounts/fireworks/models/deepseek-v3`.
    fn of(model: &str) -> Counter {
        let last = model.rsplit(['/', ':']).next().unwrap_or(model);
        let lower = last.to_ascii_lowercase();
        let encoding = [model, last, &lower].into_iter().find_map(tiktoken::model_to_encoding);
        match encoding.and_then(|name| Some((name, tiktoken::get_encoding(name)?))) {
            Some((name, encoding)) => Counter::Bpe(name, encoding),
            None => Counter::Bytes,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Counter::Bpe(name, _) => name,
            Counter::Bytes => "",
        }
    }

    fn count(self, request: &Request) -> u64 {
        let Counter::Bpe(_, encoding) = self else { return request.input_tokens_at_most() };
        let written = |value: &Option<Arc<Value>>| value.as_ref().map_or(0, |value| encoding.count(&value.to_string()));
        let messages = request.messages.iter().map(|message| {
            let content = match &message.content {
                Content::Text(text) => encoding.count(text),
                Content::Parts(parts) => parts.iter().map(|part| of_part(encoding, part)).sum(),
                Content::Empty(()) => 0,
            };
            let more = if message.more.is_empty() {
                0
            } else {
                encoding.count(&Value::from(message.more.clone()).to_string())
            };
            AROUND + content + more
        });
        (messages.sum::<usize>() + written(&request.tools) + written(&request.output_schema)) as u64
    }
}

/// Text as text; what is no text (an image's address, its bytes in base64) is not counted: services count images by
/// their size in pixels.
fn of_part(encoding: &CoreBpe, part: &Value) -> usize {
    let text = part.as_str().or_else(|| part.get("text")?.as_str());
    text.map_or(0, |text| encoding.count(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_the_names_services_give_them() {
        let names = [
            ("gpt-4o-mini", "o200k_base"),
            ("gpt-5-nano", "o200k_base"),
            ("gpt-4-turbo", "cl100k_base"),
            ("meta-llama/Llama-3.3-70B-Instruct", "llama3"),
            ("accounts/fireworks/models/deepseek-v3", "deepseek_v3"),
            ("Qwen/Qwen2.5-7B-Instruct", "qwen2"),
            ("mistral-small-latest", "mistral_v3"),
            ("moonshotai/Kimi-K2-Instruct", "kimi_k2"),
            ("claude-sonnet-4-5", ""),
            ("gemini-2.5-flash", ""),
            ("", ""),
        ];
        for (model, encoding) in names {
            assert_eq!(Counter::of(model).name(), encoding, "{model}");
        }
    }

    #[test]
    fn tokens_are_those_of_the_models_own_tokenizer() {
        // Published: OpenAI's cookbook on counting tokens.
        for (encoding, tokens) in [("cl100k_base", 6), ("o200k_base", 6)] {
            assert_eq!(tiktoken::get_encoding(encoding).unwrap().count("tiktoken is great!"), tokens);
        }
        assert_eq!(tiktoken::get_encoding("cl100k_base").unwrap().count("お誕生日おめでとう"), 9);
        assert_eq!(tiktoken::get_encoding("o200k_base").unwrap().count("お誕生日おめでとう"), 8);
    }
}

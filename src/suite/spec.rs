//! What may be written in a suite file: plain structs, in the words of the file. The JSON Schema of suites is derived
//! from them. Nothing is resolved here: no file is opened and no variable is read.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::suite::values::{Allowance, HumanDuration, JoinField, OneOrMany};
use crate::types::{Params, Price};

/// A suite: one decision, a golden set, candidates, scorers and the bar they must clear.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Name of the suite: names its folder below `reports/`.
    pub name: String,
    /// The question that this suite decides, in a sentence.
    #[serde(default)]
    pub decision: Option<String>,
    /// The golden set.
    pub dataset: DatasetSpec,
    /// How a row becomes a request. Not needed when every candidate is `recorded`.
    #[serde(default)]
    pub prompt: Option<PromptSpec>,
    /// The shape of the answer.
    #[serde(default)]
    pub output: Option<OutputSpec>,
    /// The models, or recorded answers, that are compared.
    pub candidates: Vec<CandidateSpec>,
    /// Id of the candidate that the others are compared with: usually what runs today.
    #[serde(default)]
    pub baseline: Option<String>,
    /// What is measured on each answer, beside latency, tokens, cost, failures and truncation.
    #[serde(default)]
    pub scorers: Vec<ScorerSpec>,
    /// The quality bar, written before any result is seen. Without gates a run is a measurement.
    #[serde(default)]
    pub gates: Vec<GateSpec>,
    /// How often each sample is put to each candidate. Repeats of a sample are averaged: the sample is the unit.
    #[serde(default = "one")]
    pub repeats: u32,
    /// When requests are sent.
    #[serde(default)]
    pub pacing: PacingSpec,
    /// When to stop early.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// File of prices, relative to the suite file; its rows come before those of the price book that comes with evalctl.
    #[serde(default)]
    pub prices: Option<String>,
    /// Age of a price, at the start of a run, from which on the report says so; default 180 days.
    #[serde(default)]
    pub price_max_age: Option<HumanDuration>,
    /// How much the workload asks in production: what machines that are paid by the hour are shared among.
    #[serde(default)]
    pub volume: Option<VolumeSpec>,
    /// Seed of everything random: bootstrap, retry jitter, and selection where it has no seed of its own.
    #[serde(default)]
    pub seed: u64,
}

fn one() -> u32 {
    1
}

/// How much the workload asks in production.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Requests a day.
    pub requests_per_day: f64,
    /// The rate of the busiest time ÷ the mean rate: 1 where it is even, often 3 to 5 where people ask.
    pub peak_over_mean: f64,
}

/// Where the golden set is and what its fields mean. Fields are plain names or JSON pointers.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// `.jsonl` or `.csv` file, or a list of files; relative to the suite file.
    pub path: OneOrMany,
    /// Field with the sample's id; default `id`. Rows without one get the digest of their input.
    #[serde(default)]
    pub id: Option<String>,
    /// Field with the input; default `input`. Only its digest is used here: what is asked is the prompt's matter.
    #[serde(default)]
    pub input: Option<String>,
    /// Field with the right answer; default `target`.
    #[serde(default)]
    pub target: Option<String>,
    /// Field that names the source which rows share; rows of one source are not independent.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Fields to slice by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Which rows to use.
    #[serde(default)]
    pub select: Option<SelectSpec>,
}

/// Which rows of the golden set to use: first `where`, then `sample` (by strata), then `limit`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectSpec {
    /// An expression over the row's fields, such as `language == 'en' and score < 5`; rows for which it is true stay. Texts
    /// and numbers are not compared. Cells of a CSV file are texts: there, write `score | int < 5`.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// How many rows to draw at random, without replacement; all when there are fewer.
    #[serde(default)]
    pub sample: Option<u64>,
    /// Seed of the draw; default: the suite's.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Field whose values keep their shares in the draw.
    #[serde(default)]
    pub stratify: Option<String>,
    /// At most this many rows, from the first on.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// How a row becomes a conversation: either `messages`, or `user` with an optional `system`. Texts are strict minijinja
/// templates over the row's fields.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptSpec {
    /// System message.
    #[serde(default)]
    pub system: Option<String>,
    /// User message.
    #[serde(default)]
    pub user: Option<String>,
    /// Field that already holds chat messages. The row's `tools` and `params` fields, if present, are used too.
    #[serde(default)]
    pub messages: Option<String>,
}

/// The shape of the answer.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// File with a JSON Schema, relative to the suite file.
    pub schema: String,
}

/// Makes [`CandidateSpec`] with an entry for each service; `provider::presets` knows what they are.
macro_rules! candidate_spec {
    ($($(#[$about:meta])* $service:ident,)*) => {
        /// One model, or one file of recorded answers.
        #[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct CandidateSpec {
            /// Names the candidate in the report.
            pub id: String,
            $(
                $(#[$about])*
                #[serde(default)]
                pub $service: Option<Box<ServiceSpec>>,
            )*
            /// Answers in a file, joined by a field.
            #[serde(default)]
            pub recorded: Option<RecordedSpec>,
            /// A program that answers requests on its standard input.
            #[serde(default)]
            pub command: Option<CommandSpec>,
            /// Weights on this machine, served by evalctl itself.
            #[serde(default)]
            pub local: Option<LocalSpec>,
            /// Made-up answers, for trying out a suite and for tests.
            #[serde(default)]
            pub scripted: Option<ScriptedSpec>,
            /// Sampling parameters.
            #[serde(default)]
            pub params: Params,
            /// How the service is asked for `output.schema`.
            #[serde(default)]
            pub structured: Structured,
            /// What its answers cost; default: what the suite's `prices` or the price book list for the model of the
            /// service.
            #[serde(default)]
            pub price: Option<Price>,
            /// Whether its answers are billed as a batch: at the price times its `batch_factor`.
            #[serde(default)]
            pub is_batch: bool,
            /// How long one attempt may take; default 120s.
            #[serde(default)]
            pub timeout: Option<HumanDuration>,
            /// How often a failed attempt is repeated; default 3.
            #[serde(default)]
            pub retries: Option<u32>,
            /// Requests in flight for this candidate; default: the pacing's. What a service refuses narrows it.
            #[serde(default)]
            pub in_flight: Option<u32>,
            /// Requests that are sent a minute, at most.
            #[serde(default)]
            pub requests_per_min: Option<u32>,
            /// Tokens that are asked for a minute, at most, prompts and answers together.
            #[serde(default)]
            pub tokens_per_min: Option<u32>,
            /// Headers to send. A value may name a variable as `${NAME}`. What is a key, by the name of the header
            /// or the variable or by its looks, is never written to a file.
            #[serde(default)]
            pub headers: BTreeMap<String, String>,
        }

        impl CandidateSpec {
            /// The names of all services, as written in suites.
            pub const SERVICES: &'static [&'static str] = &[$(stringify!($service)),*];

            /// All providers that the entry names, with their keys; a valid candidate has one.
            pub fn providers(&self) -> Vec<(&'static str, ProviderSpec<'_>)> {
                let services = [$((stringify!($service), self.$service.as_deref())),*];
                let services = services.map(|(name, spec)| Some((name, ProviderSpec::Service(spec?))));
                let others = [
                    self.recorded.as_ref().map(|spec| ("recorded", ProviderSpec::Recorded(spec))),
                    self.command.as_ref().map(|spec| ("command", ProviderSpec::Command(spec))),
                    self.local.as_ref().map(|spec| ("local", ProviderSpec::Local(spec))),
                    self.scripted.as_ref().map(|spec| ("scripted", ProviderSpec::Scripted(spec))),
                ];
                services.into_iter().chain(others).flatten().collect()
            }
        }
    };
}

candidate_spec! {
    /// OpenAI, or any server that speaks its chat completions.
    openai,
    /// Azure OpenAI.
    azure,
    /// An online endpoint of Azure Machine Learning.
    azure_ml,
    /// Anthropic.
    anthropic,
    /// Gemini by AI Studio.
    gemini,
    /// Gemini by Vertex AI.
    vertex,
    /// Amazon Bedrock, on demand or provisioned.
    bedrock,
    /// An endpoint of Amazon SageMaker.
    sagemaker,
    /// Mistral.
    mistral,
    /// DeepSeek.
    deepseek,
    /// Together.
    together,
    /// Fireworks.
    fireworks,
    /// Groq.
    groq,
    /// Replicate.
    replicate,
    /// A server on Modal.
    modal,
    /// A service on Anyscale.
    anyscale,
    /// FlexAI Token Factory.
    flexai,
    /// Infron.
    infron,
    /// OpenRouter.
    openrouter,
    /// Vercel AI Gateway.
    vercel,
    /// The router of Hugging Face's inference providers.
    huggingface,
    /// xAI.
    xai,
    /// Moonshot.
    moonshot,
    /// Z.ai.
    zai,
    /// Cerebras.
    cerebras,
    /// Cohere.
    cohere,
    /// A LiteLLM proxy.
    litellm,
    /// vLLM.
    vllm,
    /// SGLang.
    sglang,
    /// Text Generation Inference.
    tgi,
    /// TensorRT-LLM.
    tensorrt_llm,
    /// The server of llama.cpp.
    llama_cpp,
    /// Ollama.
    ollama,
    /// LM Studio.
    lm_studio,
}

/// The provider of a candidate: exactly one of its entries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ProviderSpec<'a> {
    /// A service over HTTP.
    Service(&'a ServiceSpec),
    /// `recorded:`
    Recorded(&'a RecordedSpec),
    /// `command:`
    Command(&'a CommandSpec),
    /// `local:`
    Local(&'a LocalSpec),
    /// `scripted:`
    Scripted(&'a ScriptedSpec),
}

/// How a service is asked for an answer that follows `output.schema`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// As `evalctl probe` found out, else by the strictest way that the service describes.
    #[default]
    Auto,
    /// The service's own way of holding an answer to a JSON Schema, strict.
    JsonSchema,
    /// The service's own way of asking for any JSON object.
    JsonObject,
    /// As a tool that has to be called, with the schema for its arguments.
    Tool,
    /// In words, with the schema, behind the system message.
    Prompt,
    /// Not asked: the suite's prompt alone must bring it about.
    Off,
}

/// How a way of asking for a schema is written in suites.
pub fn name_of(structured: Structured) -> &'static str {
    match structured {
        Structured::Auto => "auto",
        Structured::JsonSchema => "json_schema",
        Structured::JsonObject => "json_object",
        Structured::Tool => "tool",
        Structured::Prompt => "prompt",
        Structured::Off => "off",
    }
}

/// A service over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Name of the model, as the service knows it; for `sagemaker` that of the endpoint.
    #[serde(default)]
    pub model: Option<String>,
    /// Where the API is, without the path of a call (`https://api.openai.com/v1`); default: the service's.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Variable that holds the key; default: the service's usual one. A server at a loopback address needs none.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Whether answers are streamed; needed for the time to first token.
    #[serde(default = "yes")]
    pub stream: bool,
    /// The dialect, where the service speaks several; default: the service's first.
    #[serde(default)]
    pub api: Option<Api>,
    /// Of chat completions, the field that carries `max_output_tokens`; default: the service's.
    #[serde(default)]
    pub max_tokens_field: Option<MaxTokensField>,
    /// Region, for `bedrock`, `sagemaker` and `vertex`.
    #[serde(default)]
    pub region: Option<String>,
    /// Project, for `vertex`.
    #[serde(default)]
    pub project: Option<String>,
}

fn yes() -> bool {
    true
}

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Gemini's `generateContent`.
    Gemini,
    /// Bedrock's Converse.
    Converse,
    /// Cohere's chat, version 2.
    Cohere,
    /// Ollama's own chat.
    Ollama,
    /// Text Generation Inference's `generate`.
    Generate,
}

/// Weights on this machine. `evalctl serve` runs them in a process of its own for as long as the run lasts; candidates
/// that name the same weights with the same settings share it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalSpec {
    /// A Hugging Face folder (`config.json`, `tokenizer.json`, safetensors) or a GGUF file, relative to the suite file.
    pub weights: String,
    /// Requests that are answered at a time; default 2. It is the candidate's `in_flight`, too, unless that is given.
    #[serde(default = "two")]
    pub parallel: u32,
    /// Threads, shared out among the requests that are answered at a time; default: one per core.
    #[serde(default)]
    pub threads: Option<u32>,
    /// Tokens of prompt and answer together, at most; default: what the model was made for.
    #[serde(default)]
    pub context: Option<u32>,
}

fn two() -> u32 {
    2
}

/// Name of the field that bounds the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// `max_completion_tokens`
    #[default]
    MaxCompletionTokens,
    /// `max_tokens`
    MaxTokens,
}

/// Answers in a file, one JSON object a line, joined to the golden set by a field that both have. The other entries are
/// fields of the answer file.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordedSpec {
    /// `.jsonl` or `.csv` file with the answers, relative to the suite file.
    pub path: String,
    /// Field by which an answer is found: one that both files have, or `{ answer: FIELD, sample: FIELD }` where its name
    /// differs; default: the dataset's id field.
    #[serde(default)]
    pub on: Option<JoinField>,
    /// Field with the answer's text; default `output`.
    #[serde(default)]
    pub text: Option<String>,
    /// Field with the tool calls, in OpenAI's shape.
    #[serde(default)]
    pub tool_calls: Option<String>,
    /// Field with the token counts: an object with `input_tokens`/`prompt_tokens` and `output_tokens`/`completion_tokens`.
    #[serde(default)]
    pub usage: Option<String>,
    /// Field with the milliseconds the answer took.
    #[serde(default)]
    pub latency_ms: Option<String>,
    /// Field with the milliseconds to its first token.
    #[serde(default)]
    pub ttft_ms: Option<String>,
    /// Field with the reason for stopping, in OpenAI's words.
    #[serde(default)]
    pub finish: Option<String>,
    /// Field with the dollars the answer cost.
    #[serde(default)]
    pub cost_usd: Option<String>,
    /// Field that says that the model refused: `true`, or what it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Field that, when it is neither null nor empty, says why there is no answer.
    #[serde(default)]
    pub failure: Option<String>,
}

impl RecordedSpec {
    /// The field by which answers are found, where `id` is the golden set's id field.
    pub fn join(&self, id: Option<&str>) -> JoinField {
        self.on.clone().unwrap_or_else(|| JoinField::from(id.unwrap_or("id")))
    }
}

/// A program that reads one JSON request a line and writes one JSON answer a line; started once per slot in flight.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    /// The program and its arguments. A program with a slash in it is relative to the suite file.
    pub program: Vec<String>,
    /// Variables to pass on from the environment, beside `PATH`, `HOME`, `LANG` and `TMPDIR`. `EVALCTL_PROGRAM` is set, too:
    /// by it whatever the program has started is found when it ends.
    #[serde(default)]
    pub env: Vec<String>,
}

/// Made-up answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptedSpec {
    /// The answer: a template over the row's fields.
    pub reply: String,
    /// How long until the first chunk; default none.
    #[serde(default)]
    pub first_after: Option<HumanDuration>,
    /// How many chunks the answer comes in; default 1.
    #[serde(default)]
    pub chunks: Option<u32>,
    /// Time between chunks; default none.
    #[serde(default)]
    pub gap: Option<HumanDuration>,
    /// Expression over the row's fields: rows for which it is true fail with status 500.
    #[serde(default)]
    pub fail_where: Option<String>,
}

/// What is measured on an answer. The key is the kind.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScorerSpec {
    /// The answer is the target.
    Exact(ExactSpec),
    /// The answer contains texts.
    Contains(ContainsSpec),
    /// The answer matches a pattern.
    Regex(RegexSpec),
    /// The answer is the target number.
    Number(NumberSpec),
    /// The answer names the right class.
    Label(LabelSpec),
    /// The answer is JSON, and valid against the schema.
    Schema(SchemaSpec),
    /// How far the answer agrees with the reference: the logged answer of a capture, else the target.
    Agreement(AgreementSpec),
    /// The answer is about as long as the reference.
    Length(LengthSpec),
    /// The model did not refuse.
    Refusal(RefusalSpec),
}

/// What part of the answer a scorer looks at: one of its entries; the whole text when absent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtractSpec {
    /// What a regular expression captures.
    #[serde(default)]
    pub regex: Option<String>,
    /// Which group of `regex`: a number or a name; default 1 if there is one, else the whole match.
    #[serde(default)]
    pub group: Option<Value>,
    /// Which match of `regex`; default the first.
    #[serde(default)]
    pub which: Option<Which>,
    /// A JSON pointer into the answer, which must be JSON (a code fence around it is taken off).
    #[serde(default)]
    pub pointer: Option<String>,
    /// The content of the last code fence.
    #[serde(default)]
    pub fence: Option<bool>,
    /// The last number in the text.
    #[serde(default)]
    pub last_number: Option<bool>,
}

/// Which of several matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

/// `exact`: equal to the target after the normalisations asked for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExactSpec {
    /// Name of the metric; default `exact`.
    #[serde(default)]
    pub name: Option<String>,
    /// Part of the answer to look at.
    #[serde(default)]
    pub extract: Option<ExtractSpec>,
    /// Part of the target to look at; default the same as of the answer for `regex`, the whole target else.
    #[serde(default)]
    pub target_extract: Option<ExtractSpec>,
    /// Shorthand for a JSON pointer into the answer, and into the target when that is an object.
    #[serde(default)]
    pub field: Option<String>,
    /// Whether case is ignored.
    #[serde(default)]
    pub ignore_case: bool,
    /// Whether runs of white space count as one blank, and outer ones not at all; default true.
    #[serde(default = "yes")]
    pub fold_space: bool,
    /// Whether punctuation is ignored.
    #[serde(default)]
    pub ignore_punctuation: bool,
}

/// `contains`: texts that must occur. Without `any`, `all` and `none`, the target must.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainsSpec {
    /// Name of the metric; default `contains`.
    #[serde(default)]
    pub name: Option<String>,
    /// Part of the answer to look at.
    #[serde(default)]
    pub extract: Option<ExtractSpec>,
    /// At least one of these must occur.
    #[serde(default)]
    pub any: Vec<String>,
    /// All of these must occur.
    #[serde(default)]
    pub all: Vec<String>,
    /// None of these may occur.
    #[serde(default)]
    pub none: Vec<String>,
    /// Whether case is ignored.
    #[serde(default)]
    pub ignore_case: bool,
}

/// `regex`: a pattern that must be found.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegexSpec {
    /// Name of the metric; default `regex`.
    #[serde(default)]
    pub name: Option<String>,
    /// The pattern (Rust regex syntax); `^` and `$` are the ends of the text unless `(?m)`.
    pub pattern: String,
    /// Part of the answer to look at.
    #[serde(default)]
    pub extract: Option<ExtractSpec>,
}

/// `number`: equal to the target within a tolerance. Separators, currency signs and percent signs are read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NumberSpec {
    /// Name of the metric; default `number`.
    #[serde(default)]
    pub name: Option<String>,
    /// Part of the answer to look at; default the whole text, which must then be a number.
    #[serde(default)]
    pub extract: Option<ExtractSpec>,
    /// Part of the target to look at; default the same as of the answer for `regex`, the whole target else.
    #[serde(default)]
    pub target_extract: Option<ExtractSpec>,
    /// Shorthand for a JSON pointer into the answer, and into the target when that is an object.
    #[serde(default)]
    pub field: Option<String>,
    /// Greatest allowed difference; default 0.
    #[serde(default)]
    pub tolerance: Option<f64>,
    /// Greatest allowed difference as a share of the target.
    #[serde(default)]
    pub relative_tolerance: Option<f64>,
    /// How separators are read; default `en`: 1,234.5. `de` reads 1.234,5.
    #[serde(default)]
    pub separators: Separators,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Separators {
    /// 1,234.5
    #[default]
    En,
    /// 1.234,5
    De,
}

/// `label`: classification. Gives accuracy, macro F1, figures per class and the confusion matrix.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelSpec {
    /// Name of the metric; default `label`.
    #[serde(default)]
    pub name: Option<String>,
    /// Part of the answer to look at.
    #[serde(default)]
    pub extract: Option<ExtractSpec>,
    /// Part of the target to look at; default the same as of the answer for `regex`, the whole target else.
    #[serde(default)]
    pub target_extract: Option<ExtractSpec>,
    /// Shorthand for a JSON pointer into the answer, and into the target when that is an object.
    #[serde(default)]
    pub field: Option<String>,
    /// Classes an answer may name; others count as no label. Default: whatever the answer says.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Whether case is ignored; default true.
    #[serde(default = "yes")]
    pub ignore_case: bool,
}

/// `agreement`: how far an answer agrees with what was answered before. The reference is the logged answer where the row is
/// a line of a capture, else the target.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgreementSpec {
    /// Name of the metric; default `agreement`.
    #[serde(default)]
    pub name: Option<String>,
    /// What is compared; default `auto`.
    #[serde(default)]
    pub by: AgreementBy,
    /// Whether case is ignored.
    #[serde(default)]
    pub ignore_case: bool,
    /// Whether runs of white space count as one blank, and outer ones not at all; default true.
    #[serde(default = "yes")]
    pub fold_space: bool,
    /// Whether punctuation is ignored.
    #[serde(default)]
    pub ignore_punctuation: bool,
}

/// What of two answers is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgreementBy {
    /// Tool calls where the reference calls tools, fields where it is a JSON object or list, else texts.
    #[default]
    Auto,
    /// Texts: the same or not.
    Text,
    /// JSON: the share of fields that are the same.
    Json,
    /// Tool calls, in any order: the same or not.
    Tools,
}

/// `length`: characters of the answer ÷ characters of the reference, without white space around them, lie within bounds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthSpec {
    /// Name of the metric; default `length`.
    #[serde(default)]
    pub name: Option<String>,
    /// Least allowed ratio.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Greatest allowed ratio.
    #[serde(default)]
    pub at_most: Option<f64>,
}

/// `refusal`: the model did not refuse, by what the service says and by phrases of the suite.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefusalSpec {
    /// Name of the metric; default `refusal`.
    #[serde(default)]
    pub name: Option<String>,
    /// An answer that has one of these is a refusal, whatever the case and the kind of apostrophe; none by default.
    #[serde(default)]
    pub phrases: Vec<String>,
}

/// `schema`: valid JSON, and valid against `output.schema`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaSpec {
    /// Name of the metric; default `schema`.
    #[serde(default)]
    pub name: Option<String>,
    /// Another schema than the suite's `output.schema`, relative to the suite file.
    #[serde(default)]
    pub path: Option<String>,
    /// Part of the answer to look at; default the whole text.
    #[serde(default)]
    pub extract: Option<ExtractSpec>,
    /// Whether `format` is asserted; default true.
    #[serde(default = "yes")]
    pub assert_format: bool,
}

/// One line of the quality bar: a metric and exactly one condition. Judged by the interval, not by the figure.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    /// A scorer's name, or a built-in metric such as `latency_ms.p95`, `ttft_ms.p50`, `cost_usd`, `failure_rate`.
    pub metric: String,
    /// The metric must be at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The metric must be at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// The metric must be at most this many times the baseline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most_ratio: Option<f64>,
    /// The metric must not be worse than the baseline's by the margin or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_inferior: Option<NonInferiorSpec>,
    /// Ids of the candidates it applies to; default all but the baseline, or all when there is no baseline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
}

/// How much worse is still good enough.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NonInferiorSpec {
    /// In the metric's own unit: 0.02 is two points of accuracy.
    pub margin: f64,
}

/// When requests are sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PacingSpec {
    /// A fixed number in flight: the next one starts when one ends.
    Closed(ClosedSpec),
}

impl Default for PacingSpec {
    fn default() -> PacingSpec {
        PacingSpec::Closed(ClosedSpec::default())
    }
}

/// A fixed number of requests in flight.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClosedSpec {
    /// Requests in flight per candidate; default 8.
    #[serde(default = "eight")]
    pub in_flight: u32,
}

fn eight() -> u32 {
    8
}

impl Default for ClosedSpec {
    fn default() -> ClosedSpec {
        ClosedSpec { in_flight: eight() }
    }
}

/// When to stop early. A run that was stopped ends with a partial report and can be resumed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// Failed tasks of one candidate, as a count or a share of its tasks (`5%`), that stop the run; default 20%, but at
    /// least 5.
    #[serde(default)]
    pub max_failures: Option<Allowance>,
    /// How long the run may take.
    #[serde(default)]
    pub deadline: Option<HumanDuration>,
    /// Dollars that the run may spend, all its sessions together.
    #[serde(default, deserialize_with = "crate::types::dollars")]
    #[schemars(with = "Option<f64>")]
    pub max_usd: Option<Decimal>,
}

impl LimitsSpec {
    /// How long the run may take.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.0)
    }
}

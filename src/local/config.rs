//! What a decoder looks like, from `config.json`; `gguf_config` reads the same from a GGUF file's metadata.

use serde_json::Value;

use crate::local::ops::Activation;
use crate::local::rope::{Rope, Scaling};

/// More layers than this no model has: a file that says so is damaged.
pub(super) const MAX_LAYERS: usize = 1024;
/// The same for any width.
const MAX_WIDTH: usize = 1 << 24;

/// The families that work, for messages.
pub const FAMILIES: &str = "Llama, Mistral, Qwen2, Qwen3, Gemma, Gemma 2, Gemma 3 (text), Phi-3 and Phi-4 \
                            (`phi3`), without mixtures of experts";

/// A family of decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
    Phi3,
}

impl Family {
    /// The name that Hugging Face's `model_type` has.
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Mistral => "mistral",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Gemma => "gemma",
            Family::Gemma2 => "gemma2",
            Family::Gemma3 => "gemma3",
            Family::Phi3 => "phi3",
        }
    }

    /// Whether it is one of Google's, which share much.
    pub fn is_gemma(self) -> bool {
        matches!(self, Family::Gemma | Family::Gemma2 | Family::Gemma3)
    }

    /// Whether there are norms after attention and after the feed-forward layer too.
    pub fn has_post_norms(self) -> bool {
        matches!(self, Family::Gemma2 | Family::Gemma3)
    }

    /// Whether each head of queries and keys is normed.
    pub fn has_head_norms(self) -> bool {
        matches!(self, Family::Qwen3 | Family::Gemma3)
    }
}

/// What a layer has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerConfig {
    /// How many positions it sees, its own included; `None`: all.
    pub window: Option<usize>,
    /// Which of [`Config::ropes`] it uses.
    pub rope: usize,
}

/// A decoder without its weights.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub family: Family,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head: usize,
    pub intermediate: usize,
    pub epsilon: f32,
    /// Positions that it can be used with.
    pub context: usize,
    /// Why not more, when it was trained for more.
    pub context_note: Option<&'static str>,
    pub activation: Activation,
    pub embedding_scale: f32,
    pub attention_scale: f32,
    pub attention_cap: Option<f32>,
    pub final_cap: Option<f32>,
    pub layers: Vec<LayerConfig>,
    pub ropes: Vec<Rope>,
    /// Whether the embedding serves as the last matrix; `None`: unless the file has one.
    pub is_tied: Option<bool>,
    pub has_qkv_bias: bool,
    pub has_out_bias: bool,
    pub has_mlp_bias: bool,
}

impl Config {
    /// Looks for what no working model has, so that nothing later has to.
    pub(super) fn check(self) -> Result<Config, String> {
        let widths = [self.hidden, self.heads, self.kv_heads, self.head, self.intermediate, self.context];
        if widths.iter().any(|width| !(1..=MAX_WIDTH).contains(width)) {
            return Err(format!("a width is 0 or absurd: {widths:?}"));
        }
        if !(1..=MAX_LAYERS).contains(&self.layers.len()) {
            return Err(format!("{} layers cannot be", self.layers.len()));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} heads cannot share {} key-value heads", self.heads, self.kv_heads));
        }
        if self.ropes.iter().any(|rope| 2 * rope.half() > self.head) {
            return Err(format!("more is rotated than the {} elements of a head", self.head));
        }
        Ok(self)
    }
}

/// What can be wrong with `config.json`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConfigError {
    /// Something is not as it should be.
    Wrong(String),
    /// Something is not supported.
    Unsupported(String),
}

impl From<String> for ConfigError {
    fn from(what: String) -> ConfigError {
        ConfigError::Wrong(what)
    }
}

/// The family of a `config.json`.
fn family(json: &Value) -> Result<Family, ConfigError> {
    let kind = json.get("model_type").and_then(Value::as_str);
    let first = json.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    let families = [
        (Family::Llama, "llama", "LlamaForCausalLM"),
        (Family::Mistral, "mistral", "MistralForCausalLM"),
        (Family::Qwen2, "qwen2", "Qwen2ForCausalLM"),
        (Family::Qwen3, "qwen3", "Qwen3ForCausalLM"),
        (Family::Gemma, "gemma", "GemmaForCausalLM"),
        (Family::Gemma2, "gemma2", "Gemma2ForCausalLM"),
        (Family::Gemma3, "gemma3_text", "Gemma3ForCausalLM"),
        (Family::Phi3, "phi3", "Phi3ForCausalLM"),
    ];
    let found = families.iter().find(|(_, name, class)| match (first, kind) {
        (Some(first), _) => first == *class,
        (None, kind) => kind == Some(*name),
    });
    match (found, first.or(kind)) {
        (Some((family, ..)), _) => Ok(*family),
        (None, Some(name)) => Err(ConfigError::Unsupported(format!("architecture `{name}`"))),
        (None, None) => Err(ConfigError::Wrong("it names no architecture".to_owned())),
    }
}

/// Reads `config.json`.
///
/// # Errors
/// When something is missing or makes no sense, or when it describes a model that isn't supported.
pub(super) fn from_json(json: &Value) -> Result<Config, ConfigError> {
    let family = family(json)?;
    let given = Given(json);
    for key in ["num_local_experts", "num_experts", "n_routed_experts"] {
        if given.whole(key)?.is_some_and(|count| count > 1) {
            return Err(ConfigError::Unsupported("a mixture of experts".to_owned()));
        }
    }
    if let Some(method) = json.get("quantization_config").and_then(|config| config.get("quant_method")) {
        return Err(ConfigError::Unsupported(format!("quantisation {method} in a folder; use a GGUF file, which")));
    }
    let hidden = given.required("hidden_size")?;
    let heads = given.required("num_attention_heads")?;
    if heads == 0 {
        return Err(ConfigError::Wrong("`num_attention_heads` is 0".to_owned()));
    }
    let count = given.required("num_hidden_layers")?;
    if count > MAX_LAYERS {
        return Err(ConfigError::Wrong(format!("`num_hidden_layers` is {count}")));
    }
    let head = match (given.whole("head_dim")?, family) {
        (Some(head), _) => head,
        (None, Family::Gemma | Family::Gemma2 | Family::Gemma3) => 256,
        (None, Family::Qwen3) => 128,
        (None, Family::Llama | Family::Mistral | Family::Qwen2 | Family::Phi3) => hidden / heads,
    };
    let trained = given.required("max_position_embeddings")?;
    let partial = given.rope_number(None, "partial_rotary_factor")?.unwrap_or(1.0);
    let rotated = (head as f64 * partial) as usize;
    let mut context = (trained, None);
    let layers = layers(given, family, count)?;
    let full = rope(given, family, "full_attention", rotated, trained, &mut context)?;
    let ropes = match family {
        Family::Gemma3 => vec![full, rope(given, family, "sliding_attention", rotated, trained, &mut context)?],
        _ => vec![full],
    };
    let pre_attention = match family {
        Family::Gemma2 | Family::Gemma3 => given.number("query_pre_attn_scalar")?.unwrap_or(256.0),
        _ => head as f64,
    };
    let caps = match family {
        Family::Gemma2 => (
            given.number_or("attn_logit_softcapping", Some(50.0))?,
            given.number_or("final_logit_softcapping", Some(30.0))?,
        ),
        Family::Gemma3 => {
            (given.number_or("attn_logit_softcapping", None)?, given.number_or("final_logit_softcapping", None)?)
        }
        _ => (None, None),
    };
    let bias = |key, default| given.flag(key).map(|flag| flag.unwrap_or(default));
    let attention_bias = family != Family::Qwen2 && bias("attention_bias", false)?;
    let config = Config {
        family,
        hidden,
        heads,
        kv_heads: given.whole("num_key_value_heads")?.unwrap_or(heads),
        head,
        intermediate: given.required("intermediate_size")?,
        epsilon: given.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        context: context.0,
        context_note: context.1,
        activation: activation(given, family)?,
        embedding_scale: if family.is_gemma() { (hidden as f32).sqrt() } else { 1.0 },
        attention_scale: (1.0 / pre_attention.sqrt()) as f32,
        attention_cap: caps.0.map(|cap| cap as f32),
        final_cap: caps.1.map(|cap| cap as f32),
        layers,
        ropes,
        is_tied: Some(given.flag("tie_word_embeddings")?.unwrap_or(family.is_gemma())),
        has_qkv_bias: family == Family::Qwen2 || attention_bias,
        has_out_bias: attention_bias,
        has_mlp_bias: family == Family::Llama && bias("mlp_bias", false)?,
    };
    Ok(config.check()?)
}

fn activation(given: Given<'_>, family: Family) -> Result<Activation, ConfigError> {
    // Gemma's first files say `gelu`, and mean the approximation that it was trained with.
    if family.is_gemma() {
        return Ok(Activation::GeluTanh);
    }
    match given.0.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
        Some(other) => Err(ConfigError::Unsupported(format!("`hidden_act: {other}`"))),
    }
}

/// Window and rope of each layer.
fn layers(given: Given<'_>, family: Family, count: usize) -> Result<Vec<LayerConfig>, ConfigError> {
    let window = match family {
        Family::Gemma2 | Family::Gemma3 | Family::Mistral => given.number_or("sliding_window", Some(4096.0))?,
        Family::Phi3 => given.number_or("sliding_window", None)?,
        Family::Qwen2 | Family::Qwen3 if given.flag("use_sliding_window")? == Some(true) => {
            given.number_or("sliding_window", Some(4096.0))?
        }
        Family::Qwen2 | Family::Qwen3 | Family::Llama | Family::Gemma => None,
    };
    let window = window.map(|window| window as usize);
    if window == Some(0) {
        return Err(ConfigError::Wrong("`sliding_window` is 0".to_owned()));
    }
    let kinds = given.0.get("layer_types").and_then(Value::as_array);
    let pattern = given.whole("sliding_window_pattern")?.unwrap_or(6).max(1);
    let first_sliding = given.whole("max_window_layers")?.unwrap_or(28);
    let is_sliding = |layer: usize| match (kinds.and_then(|kinds| kinds.get(layer)).and_then(Value::as_str), family) {
        (Some("sliding_attention"), _) => Ok(true),
        (Some("full_attention"), _) => Ok(false),
        (Some(other), _) => Err(ConfigError::Unsupported(format!("a layer of `{other}`"))),
        (None, Family::Gemma2) => Ok(layer.is_multiple_of(2)),
        (None, Family::Gemma3) => Ok(!(layer + 1).is_multiple_of(pattern)),
        (None, Family::Qwen2 | Family::Qwen3) => Ok(layer >= first_sliding),
        (None, Family::Mistral | Family::Phi3 | Family::Llama | Family::Gemma) => Ok(window.is_some()),
    };
    (0..count)
        .map(|layer| {
            let is_sliding = is_sliding(layer)?;
            let rope = usize::from(is_sliding && family == Family::Gemma3);
            Ok(LayerConfig { window: window.filter(|_| is_sliding), rope })
        })
        .collect()
}

/// The rope of one kind of layer; `context` becomes less where its scaling asks for it.
fn rope(
    given: Given<'_>,
    family: Family,
    layer: &str,
    rotated: usize,
    trained: usize,
    context: &mut (usize, Option<&'static str>),
) -> Result<Rope, ConfigError> {
    let is_local = layer == "sliding_attention";
    let base = match given.rope_number(Some(layer), "rope_theta")? {
        // Before transformers 5 the local base had a name of its own.
        _ if is_local && given.0.get("rope_parameters").is_none() => {
            given.number("rope_local_base_freq")?.unwrap_or(10_000.0)
        }
        Some(base) => base,
        None if family == Family::Gemma3 && !is_local => 1_000_000.0,
        None => 10_000.0,
    };
    let settings = given.rope_settings(Some(layer)).filter(|_| !is_local || given.0.get("rope_parameters").is_some());
    let kind = settings.and_then(|settings| settings.get("rope_type").or_else(|| settings.get("type")));
    let number = |key: &str| given.rope_number(Some(layer), key);
    let needed = |key: &str| number(key)?.ok_or_else(|| ConfigError::Wrong(format!("the rope scaling has no `{key}`")));
    let scaling = match kind.and_then(Value::as_str) {
        None | Some("default") => Scaling::None,
        Some("linear") => Scaling::Linear { factor: needed("factor")? },
        Some("llama3") => Scaling::Llama3 {
            factor: needed("factor")?,
            low: needed("low_freq_factor")?,
            high: needed("high_freq_factor")?,
            original: needed("original_max_position_embeddings")?,
        },
        Some("longrope" | "su") => {
            let original = match number("original_max_position_embeddings")? {
                Some(original) => original,
                None => given.required("original_max_position_embeddings")? as f64,
            };
            let factor = trained as f64 / original;
            let magnitude = match number("attention_factor")? {
                Some(magnitude) => magnitude,
                None if factor <= 1.0 => 1.0,
                None => (1.0 + factor.ln() / original.ln()).sqrt(),
            };
            *context = (trained.min(original as usize), Some("beyond that it needs longrope's long factors"));
            let short = settings.and_then(|settings| settings.get("short_factor")).and_then(Value::as_array);
            let factors = short.and_then(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
            let Some(factors) = factors else {
                return Err(ConfigError::Wrong("the rope scaling has no `short_factor`".to_owned()));
            };
            Scaling::Factors { factors, magnitude }
        }
        Some(other) => return Err(ConfigError::Unsupported(format!("rope scaling `{other}`"))),
    };
    Ok(Rope::new(base, rotated, &scaling)?)
}

/// `config.json`, with words for what is wrong in it.
#[derive(Clone, Copy)]
struct Given<'a>(&'a Value);

impl<'a> Given<'a> {
    fn number_in(settings: Option<&Value>, key: &str) -> Result<Option<f64>, ConfigError> {
        match settings.and_then(|settings| settings.get(key)) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number.is_finite() => Ok(Some(number)),
                _ => Err(ConfigError::Wrong(format!("`{key}` is no number"))),
            },
        }
    }

    fn number(self, key: &str) -> Result<Option<f64>, ConfigError> {
        Given::number_in(Some(self.0), key)
    }

    /// A number; where the key isn't there at all, the family's own value.
    fn number_or(self, key: &str, default: Option<f64>) -> Result<Option<f64>, ConfigError> {
        if self.0.get(key).is_none() { Ok(default) } else { self.number(key) }
    }

    fn whole(self, key: &str) -> Result<Option<usize>, ConfigError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().and_then(|whole| usize::try_from(whole).ok()) {
                Some(whole) => Ok(Some(whole)),
                None => Err(ConfigError::Wrong(format!("`{key}` is no whole number"))),
            },
        }
    }

    fn required(self, key: &str) -> Result<usize, ConfigError> {
        self.whole(key)?.ok_or_else(|| ConfigError::Wrong(format!("it has no `{key}`")))
    }

    fn flag(self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(ConfigError::Wrong(format!("`{key}` is neither true nor false"))),
        }
    }

    /// What is said of the rope of one kind of layer: since transformers 5 all in one place, before in two.
    fn rope_settings(self, layer: Option<&str>) -> Option<&'a Value> {
        let all = self.0.get("rope_parameters").or_else(|| self.0.get("rope_scaling"))?;
        let own = layer.and_then(|layer| all.get(layer));
        Some(own.unwrap_or(all)).filter(|settings| settings.is_object())
    }

    fn rope_number(self, layer: Option<&str>, key: &str) -> Result<Option<f64>, ConfigError> {
        match Given::number_in(self.rope_settings(layer), key)? {
            Some(number) => Ok(Some(number)),
            None => self.number(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn llama() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 4,
            "num_key_value_heads": 2, "num_hidden_layers": 3, "intermediate_size": 128,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        })
    }

    fn with(mut json: Value, changes: Value) -> Value {
        for (key, value) in changes.as_object().unwrap() {
            json[key] = value.clone();
        }
        json
    }

    #[test]
    fn what_is_not_said_is_the_familys() {
        let config = from_json(&llama()).unwrap();
        assert_eq!((config.head, config.kv_heads, config.context, config.is_tied), (16, 2, 512, Some(false)));
        assert_eq!(config.layers, [LayerConfig { window: None, rope: 0 }; 3]);
        let gemma = with(llama(), json!({"architectures": ["Gemma2ForCausalLM"], "sliding_window": 9}));
        let config = from_json(&gemma).unwrap();
        assert_eq!((config.head, config.is_tied, config.embedding_scale), (256, Some(true), 8.0));
        assert_eq!((config.attention_cap, config.final_cap), (Some(50.0), Some(30.0)));
        assert_eq!(config.layers.iter().map(|layer| layer.window).collect::<Vec<_>>(), [Some(9), None, Some(9)]);
        let qwen = from_json(&with(llama(), json!({"architectures": ["Qwen2ForCausalLM"]}))).unwrap();
        assert!(qwen.has_qkv_bias && !qwen.has_out_bias);
    }

    #[test]
    fn what_does_not_work_is_named() {
        let said = |changes| match from_json(&with(llama(), changes)) {
            Err(ConfigError::Unsupported(what) | ConfigError::Wrong(what)) => what,
            Ok(_) => "nothing".to_owned(),
        };
        assert_eq!(said(json!({"architectures": ["MambaForCausalLM"]})), "architecture `MambaForCausalLM`");
        assert_eq!(said(json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}})), "rope scaling `yarn`");
        assert_eq!(said(json!({"rope_scaling": {"type": "linear"}})), "the rope scaling has no `factor`");
        assert_eq!(said(json!({"hidden_act": "relu"})), "`hidden_act: relu`");
        assert_eq!(said(json!({"num_local_experts": 8})), "a mixture of experts");
        assert_eq!(said(json!({"hidden_size": "big"})), "`hidden_size` is no whole number");
        assert_eq!(said(json!({"hidden_size": null})), "it has no `hidden_size`");
        assert_eq!(said(json!({"num_key_value_heads": 3})), "4 heads cannot share 3 key-value heads");
        assert_eq!(said(json!({"num_hidden_layers": 1_000_000_000_000_u64})), "`num_hidden_layers` is 1000000000000");
        assert_eq!(said(json!({"num_attention_heads": 0})), "`num_attention_heads` is 0");
        assert!(said(json!({"head_dim": u64::MAX})).starts_with("rope of 18446744073709551615 elements"));
        assert!(said(json!({"intermediate_size": u64::MAX})).starts_with("a width is 0 or absurd: [64, 4, 2, 16, 184"));
    }

    #[test]
    fn gemma_3_has_two_ropes_in_either_spelling() {
        let old = json!({"architectures": ["Gemma3ForCausalLM"], "rope_theta": 5e5, "rope_local_base_freq": 1e4,
            "num_hidden_layers": 7, "rope_scaling": {"rope_type": "linear", "factor": 2.0}});
        let new = json!({"architectures": ["Gemma3ForCausalLM"], "num_hidden_layers": 7, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}});
        let (old, new) = (from_json(&with(llama(), old)).unwrap(), from_json(&with(llama(), new)).unwrap());
        assert_eq!(old.ropes, new.ropes);
        assert_ne!(old.ropes[0], old.ropes[1]);
        let ropes: Vec<usize> = old.layers.iter().map(|layer| layer.rope).collect();
        assert_eq!(ropes, [1, 1, 1, 1, 1, 0, 1]);
    }
}

//! A decoder from a GGUF file: its shape, its weights, its tokenizer and its chat template, all from the one file.

use std::path::Path;

use crate::local::config::{Config, ConfigError, Family, LayerConfig, MAX_LAYERS};
use crate::local::gguf::{Gguf, Meta};
use crate::local::gguf_tokenizer;
use crate::local::load::{LoadError, Parts};
use crate::local::matrix::floats;
use crate::local::ops::Activation;
use crate::local::rope::{Rope, Scaling};
use crate::local::template::ChatTemplate;
use crate::local::weights::{Naming, Source, Weights};

/// Opens a GGUF file.
pub(super) fn open(path: &Path) -> Result<Parts, LoadError> {
    let mut gguf = Gguf::open(path)?;
    let config = config(&mut gguf)?;
    let tokenizer = gguf_tokenizer::build(&gguf)?;
    let text = |key: &str| gguf.metadata.get(key).and_then(Meta::text).map(str::to_owned);
    let token = |key: &str| {
        let id = gguf.metadata.get(key)?.whole()?;
        gguf.metadata.get("tokenizer.ggml.tokens")?.list()?.get(id)?.text().map(str::to_owned)
    };
    let specials = ["bos", "eos", "unk", "pad"].into_iter().filter_map(|name| {
        let key = if name == "unk" {
            "unknown"
        } else if name == "pad" {
            "padding"
        } else {
            name
        };
        Some((format!("{name}_token"), token(&format!("tokenizer.ggml.{key}_token_id"))?))
    });
    let template = ChatTemplate::new(
        text("tokenizer.chat_template"),
        text("tokenizer.chat_template.tool_use"),
        specials.collect(),
    );
    let name = text("general.name");
    let weights = Weights::gather(config, Naming::Gguf, &mut gguf)?;
    Ok(Parts { weights, tokenizer, template, name, format: "gguf", files: vec![path.to_owned()] })
}

/// The metadata of one architecture.
struct Given<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl Given<'_> {
    fn get(&self, key: &str) -> Option<&Meta> {
        self.gguf.metadata.get(&format!("{}.{key}", self.architecture))
    }

    fn whole(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.whole() {
            Some(whole) => Ok(Some(whole)),
            None if value.list().is_some() => Err(ConfigError::Unsupported(format!("a `{key}` of each layer's own"))),
            None => Err(ConfigError::Wrong(format!("`{}.{key}` is no whole number", self.architecture))),
        }
    }

    fn required(&self, key: &str) -> Result<usize, ConfigError> {
        let missing = || ConfigError::Wrong(format!("its metadata has no `{}.{key}`", self.architecture));
        self.whole(key)?.ok_or_else(missing)
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(Meta::number).filter(|number| number.is_finite())
    }
}

fn config(gguf: &mut Gguf) -> Result<Config, LoadError> {
    let path = gguf.path().to_owned();
    let factors = factors(gguf)?;
    shape(gguf, factors).map_err(LoadError::config(&path))
}

/// The tensors by which ropes are stretched.
struct Factors {
    /// By how much each angle is divided: Llama 3.1's scaling, worked out by the converter.
    plain: Option<Vec<f32>>,
    /// The same of longrope, for contexts up to the original.
    short: Option<Vec<f32>>,
}

fn factors(gguf: &mut Gguf) -> Result<Factors, LoadError> {
    let mut read = |name: &str| match gguf.shape(name) {
        // A handful of numbers; anything larger is left for the shape check to refuse.
        Some(shape) if shape.iter().product::<usize>() <= 1 << 16 => {
            let raw = gguf.read(name)?;
            Ok::<_, LoadError>(Some(floats(raw.kind, &raw.bytes)))
        }
        _ => Ok(None),
    };
    Ok(Factors { plain: read("rope_freqs.weight")?, short: read("rope_factors_short.weight")? })
}

fn shape(gguf: &Gguf, factors: Factors) -> Result<Config, ConfigError> {
    let wrong = |what: &str| ConfigError::Wrong(what.to_owned());
    let architecture = gguf.metadata.get("general.architecture").and_then(Meta::text);
    let architecture = architecture.ok_or_else(|| wrong("its metadata has no `general.architecture`"))?;
    let family = match architecture {
        "llama" => Family::Llama,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "gemma" => Family::Gemma,
        "gemma2" => Family::Gemma2,
        "gemma3" => Family::Gemma3,
        "phi3" => Family::Phi3,
        other => return Err(ConfigError::Unsupported(format!("architecture `{other}`"))),
    };
    if gguf.metadata.get("split.count").and_then(Meta::whole).is_some_and(|count| count > 1) {
        return Err(ConfigError::Unsupported(
            "a file split in several (join it with `llama-gguf-split --merge`)".to_owned(),
        ));
    }
    let given = Given { gguf, architecture };
    if given.whole("expert_count")?.is_some_and(|count| count > 0) {
        return Err(ConfigError::Unsupported("a mixture of experts".to_owned()));
    }
    let hidden = given.required("embedding_length")?;
    let heads = given.required("attention.head_count")?;
    let count = given.required("block_count")?;
    if heads == 0 || count > MAX_LAYERS {
        return Err(ConfigError::Wrong(format!("{heads} heads and {count} layers cannot be")));
    }
    let head = given.whole("attention.key_length")?.unwrap_or(hidden / heads);
    if given.whole("attention.value_length")?.is_some_and(|length| length != head) {
        return Err(ConfigError::Unsupported("keys and values of different lengths".to_owned()));
    }
    let rotated = given.whole("rope.dimension_count")?.unwrap_or(head);
    if family == Family::Llama && rotated != head {
        return Err(ConfigError::Unsupported("a rope over a part of each head".to_owned()));
    }
    let trained = given.required("context_length")?;
    let (ropes, context, context_note) = ropes(&given, family, rotated, trained, factors)?;
    let pre_attention = match (family, count) {
        // The largest of either kind divides by what each head would have of the hidden width; no key says so.
        (Family::Gemma2, 46) | (Family::Gemma3, 62) => hidden / heads,
        _ => head,
    };
    let has = |name: &str| gguf.shape(name).is_some();
    let config = Config {
        family,
        hidden,
        heads,
        kv_heads: given.whole("attention.head_count_kv")?.unwrap_or(heads),
        head,
        intermediate: given.required("feed_forward_length")?,
        epsilon: given.number("attention.layer_norm_rms_epsilon").unwrap_or(1e-6) as f32,
        context,
        context_note,
        activation: if family.is_gemma() { Activation::GeluTanh } else { Activation::Silu },
        embedding_scale: if family.is_gemma() { (hidden as f32).sqrt() } else { 1.0 },
        attention_scale: 1.0 / (pre_attention as f32).sqrt(),
        attention_cap: given.number("attn_logit_softcapping").map(|cap| cap as f32),
        final_cap: given.number("final_logit_softcapping").map(|cap| cap as f32),
        layers: layers(&given, family, count)?,
        ropes,
        is_tied: None,
        has_qkv_bias: has("blk.0.attn_q.bias"),
        has_out_bias: has("blk.0.attn_output.bias"),
        has_mlp_bias: has("blk.0.ffn_down.bias"),
    };
    Ok(config.check()?)
}

fn layers(given: &Given<'_>, family: Family, count: usize) -> Result<Vec<LayerConfig>, ConfigError> {
    let window = given.whole("attention.sliding_window")?.filter(|window| *window > 0);
    let flags = given.get("attention.sliding_window_pattern").and_then(Meta::list);
    let is_sliding = |layer: usize| match (flags.and_then(|flags| flags.get(layer)).and_then(Meta::flag), family) {
        (Some(flag), _) => flag,
        (None, Family::Gemma2) => layer.is_multiple_of(2),
        (None, Family::Gemma3) => !(layer + 1).is_multiple_of(6),
        (None, Family::Llama | Family::Mistral | Family::Phi3) => true,
        (None, Family::Qwen2 | Family::Qwen3 | Family::Gemma) => false,
    };
    let layer = |layer: usize| LayerConfig {
        window: window.filter(|_| is_sliding(layer)),
        rope: usize::from(family == Family::Gemma3 && is_sliding(layer)),
    };
    Ok((0..count).map(layer).collect())
}

type Ropes = (Vec<Rope>, usize, Option<&'static str>);

fn ropes(
    given: &Given<'_>,
    family: Family,
    rotated: usize,
    trained: usize,
    factors: Factors,
) -> Result<Ropes, ConfigError> {
    let base = given.number("rope.freq_base").unwrap_or(10_000.0);
    let mut context = (trained, None);
    let kind = given.get("rope.scaling.type").and_then(Meta::text).unwrap_or("none");
    let scaling = match (factors, kind) {
        (Factors { plain: Some(plain), .. }, _) => {
            Scaling::Factors { factors: plain.into_iter().map(f64::from).collect(), magnitude: 1.0 }
        }
        (Factors { short: Some(short), .. }, _) => {
            let original = given.required("rope.scaling.original_context_length")?;
            context = (trained.min(original), Some("beyond that it needs longrope's long factors"));
            let magnitude = match given.number("rope.scaling.attn_factor") {
                Some(magnitude) => magnitude,
                None if trained <= original => 1.0,
                None => (1.0 + (trained as f64 / original as f64).ln() / (original as f64).ln()).sqrt(),
            };
            Scaling::Factors { factors: short.into_iter().map(f64::from).collect(), magnitude }
        }
        (_, "none") => Scaling::None,
        (_, "linear") => Scaling::Linear { factor: given.number("rope.scaling.factor").unwrap_or(1.0) },
        (_, other) => return Err(ConfigError::Unsupported(format!("rope scaling `{other}`"))),
    };
    let mut ropes = vec![Rope::new(base, rotated, &scaling)?];
    if family == Family::Gemma3 {
        let local = given.number("rope.freq_base_swa").unwrap_or(10_000.0);
        ropes.push(Rope::new(local, rotated, &Scaling::None)?);
    }
    Ok((ropes, context.0, context.1))
}

//! The weights of a decoder, gathered from either format under one set of names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::local::blocks::Kind;
use crate::local::config::{Config, Family};
use crate::local::load::LoadError;
use crate::local::matrix::{Matrix, fits, floats};

/// A tensor's bytes, as a file holds them.
#[derive(Debug)]
pub(super) struct Raw {
    pub kind: Kind,
    pub bytes: Vec<u8>,
}

/// Where tensors come from.
pub(super) trait Source {
    /// The names of all tensors.
    fn names(&self) -> Vec<String>;
    /// The shape of one, rows first; `None`: there is no such tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;
    /// The file that holds one, or should.
    fn path_of(&self, name: &str) -> PathBuf;
    /// Reads one.
    fn read(&mut self, name: &str) -> Result<Raw, LoadError>;
}

/// How tensors are named and laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// As in Hugging Face's folders.
    HuggingFace,
    /// As llama.cpp's converter does.
    Gguf,
}

/// Matrices whose outputs stand one after the other, with what is added to them.
#[derive(Debug)]
pub(super) struct Linear {
    pub parts: Vec<Matrix>,
    pub bias: Option<Vec<f32>>,
}

impl Linear {
    /// Outputs of all parts.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(Matrix::rows).sum()
    }
}

/// One layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub attention_norm: Vec<f32>,
    pub qkv: Linear,
    pub query_norm: Option<Vec<f32>>,
    pub key_norm: Option<Vec<f32>>,
    pub out: Linear,
    pub post_attention_norm: Option<Vec<f32>>,
    pub ffn_norm: Vec<f32>,
    pub gate_up: Linear,
    pub down: Linear,
    pub post_ffn_norm: Option<Vec<f32>>,
}

/// A decoder and its weights.
#[derive(Debug)]
pub(super) struct Weights {
    pub config: Config,
    pub embedding: Matrix,
    pub layers: Vec<Layer>,
    pub norm: Vec<f32>,
    /// The last matrix; `None`: the embedding.
    pub head: Option<Matrix>,
    kinds: BTreeMap<&'static str, u64>,
}

impl Weights {
    /// How many tokens the model knows.
    pub fn vocabulary(&self) -> usize {
        self.embedding.rows()
    }

    /// How many weights there are.
    pub fn parameters(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// How most of them are stored.
    pub fn quantisation(&self) -> &'static str {
        self.kinds.iter().max_by_key(|(_, count)| **count).map_or("none", |(name, _)| name)
    }

    /// Gathers the tensors that `config` asks for, each at its shape, and nothing besides.
    pub fn gather(config: Config, naming: Naming, source: &mut dyn Source) -> Result<Weights, LoadError> {
        let mut gather = Gather { config, naming, source, used: BTreeSet::new(), kinds: BTreeMap::new() };
        let embedding_name = gather.name(Part::Embedding, 0);
        let vocabulary = gather.source.shape(&embedding_name).and_then(|shape| shape.first().copied()).unwrap_or(0);
        let hidden = gather.config.hidden;
        let embedding = gather.matrix(Part::Embedding, 0, vocabulary, hidden)?;
        let layers = (0..gather.config.layers.len()).map(|layer| gather.layer(layer)).collect::<Result<_, _>>()?;
        let norm = gather.norm(Part::Norm, 0, hidden)?;
        let head_name = gather.name(Part::Head, 0);
        let is_tied = gather.config.is_tied.unwrap_or_else(|| gather.source.shape(&head_name).is_none());
        let head = if is_tied { None } else { Some(gather.matrix(Part::Head, 0, vocabulary, hidden)?) };
        gather.used.insert(head_name);
        gather.look_for_more()?;
        let kinds = gather.kinds;
        Ok(Weights { config: gather.config, embedding, layers, norm, head, kinds })
    }
}

/// The tensors of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Embedding,
    Norm,
    Head,
    AttentionNorm,
    Query,
    Key,
    Value,
    Qkv,
    Out,
    QueryNorm,
    KeyNorm,
    PostAttentionNorm,
    FfnNorm,
    Gate,
    Up,
    GateUp,
    Down,
    PostFfnNorm,
}

struct Gather<'a> {
    config: Config,
    naming: Naming,
    source: &'a mut dyn Source,
    used: BTreeSet<String>,
    kinds: BTreeMap<&'static str, u64>,
}

impl Gather<'_> {
    fn stem(&self, part: Part, layer: usize) -> String {
        let has_post_norms = self.config.family.has_post_norms();
        let (of_layer, hugging_face, gguf) = match part {
            Part::Embedding => (false, "model.embed_tokens", "token_embd"),
            Part::Norm => (false, "model.norm", "output_norm"),
            Part::Head => (false, "lm_head", "output"),
            Part::AttentionNorm => (true, "input_layernorm", "attn_norm"),
            Part::Query => (true, "self_attn.q_proj", "attn_q"),
            Part::Key => (true, "self_attn.k_proj", "attn_k"),
            Part::Value => (true, "self_attn.v_proj", "attn_v"),
            Part::Qkv => (true, "self_attn.qkv_proj", "attn_qkv"),
            Part::Out => (true, "self_attn.o_proj", "attn_output"),
            Part::QueryNorm => (true, "self_attn.q_norm", "attn_q_norm"),
            Part::KeyNorm => (true, "self_attn.k_norm", "attn_k_norm"),
            Part::PostAttentionNorm => (true, "post_attention_layernorm", "post_attention_norm"),
            Part::FfnNorm if has_post_norms => (true, "pre_feedforward_layernorm", "ffn_norm"),
            Part::FfnNorm => (true, "post_attention_layernorm", "ffn_norm"),
            Part::Gate => (true, "mlp.gate_proj", "ffn_gate"),
            Part::Up => (true, "mlp.up_proj", "ffn_up"),
            Part::GateUp => (true, "mlp.gate_up_proj", "ffn_up"),
            Part::Down => (true, "mlp.down_proj", "ffn_down"),
            Part::PostFfnNorm => (true, "post_feedforward_layernorm", "post_ffw_norm"),
        };
        match (self.naming, of_layer) {
            (Naming::HuggingFace, true) => format!("model.layers.{layer}.{hugging_face}"),
            (Naming::Gguf, true) => format!("blk.{layer}.{gguf}"),
            (Naming::HuggingFace, false) => hugging_face.to_owned(),
            (Naming::Gguf, false) => gguf.to_owned(),
        }
    }

    fn name(&self, part: Part, layer: usize) -> String {
        format!("{}.weight", self.stem(part, layer))
    }

    /// Reads a tensor of one shape.
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Raw, LoadError> {
        let path = self.source.path_of(name);
        let Some(found) = self.source.shape(name) else {
            return Err(LoadError::tensor(&path, name, "is missing"));
        };
        if found != shape {
            return Err(LoadError::tensor(&path, name, format!("has shape {found:?}, and {shape:?} is needed")));
        }
        let raw = self.source.read(name)?;
        let elements: usize = shape.iter().product();
        *self.kinds.entry(raw.kind.name()).or_default() += elements as u64;
        self.used.insert(name.to_owned());
        Ok(raw)
    }

    fn matrix(&mut self, part: Part, layer: usize, rows: usize, columns: usize) -> Result<Matrix, LoadError> {
        let name = self.name(part, layer);
        let mut raw = self.read(&name, &[rows, columns])?;
        if rows == 0 || !fits(raw.kind, columns) {
            let what = format!("has shape {:?}, which {} cannot have", [rows, columns], raw.kind.name());
            return Err(LoadError::tensor(&self.source.path_of(&name), &name, what));
        }
        if self.is_interleaved(part) {
            let row_bytes = raw.bytes.len() / rows;
            raw.bytes = pair_halves(&raw.bytes, row_bytes, self.config.head);
        }
        Ok(Matrix::new(raw.kind, rows, columns, &raw.bytes))
    }

    /// Whether rows are in llama.cpp's order for rotating neighbours, which its converter brings Llama's into.
    fn is_interleaved(&self, part: Part) -> bool {
        self.naming == Naming::Gguf
            && matches!(self.config.family, Family::Llama | Family::Mistral)
            && matches!(part, Part::Query | Part::Key)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        let raw = self.read(name, &[length])?;
        Ok(floats(raw.kind, &raw.bytes))
    }

    fn norm(&mut self, part: Part, layer: usize, length: usize) -> Result<Vec<f32>, LoadError> {
        let mut weights = self.vector(&self.name(part, layer), length)?;
        // Gemma's norms multiply by one more than the weight; llama.cpp's converter has added it already.
        if self.naming == Naming::HuggingFace && self.config.family.is_gemma() {
            weights.iter_mut().for_each(|weight| *weight += 1.0);
        }
        Ok(weights)
    }

    fn linear(
        &mut self,
        parts: &[(Part, usize)],
        layer: usize,
        columns: usize,
        has_bias: bool,
    ) -> Result<Linear, LoadError> {
        let mut matrices = Vec::with_capacity(parts.len());
        let mut bias = Vec::new();
        for (part, rows) in parts {
            matrices.push(self.matrix(*part, layer, *rows, columns)?);
            if has_bias {
                let mut values = self.vector(&format!("{}.bias", self.stem(*part, layer)), *rows)?;
                if self.is_interleaved(*part) {
                    values = pair_halves(&values, 1, self.config.head);
                }
                bias.extend(values);
            }
        }
        Ok(Linear { parts: matrices, bias: has_bias.then_some(bias) })
    }

    fn layer(&mut self, layer: usize) -> Result<Layer, LoadError> {
        let Config { family, hidden, head, intermediate, heads, kv_heads, .. } = self.config;
        let Config { has_qkv_bias, has_out_bias, has_mlp_bias, .. } = self.config;
        let (query, key) = (heads * head, kv_heads * head);
        let is_fused = family == Family::Phi3;
        let qkv: &[(Part, usize)] = if is_fused {
            &[(Part::Qkv, query + 2 * key)]
        } else {
            &[(Part::Query, query), (Part::Key, key), (Part::Value, key)]
        };
        let gate_up: &[(Part, usize)] = if is_fused {
            &[(Part::GateUp, 2 * intermediate)]
        } else {
            &[(Part::Gate, intermediate), (Part::Up, intermediate)]
        };
        let mut norm_if = |is_there: bool, part: Part, length: usize| {
            if is_there { self.norm(part, layer, length).map(Some) } else { Ok(None) }
        };
        Ok(Layer {
            query_norm: norm_if(family.has_head_norms(), Part::QueryNorm, head)?,
            key_norm: norm_if(family.has_head_norms(), Part::KeyNorm, head)?,
            post_attention_norm: norm_if(family.has_post_norms(), Part::PostAttentionNorm, hidden)?,
            post_ffn_norm: norm_if(family.has_post_norms(), Part::PostFfnNorm, hidden)?,
            attention_norm: self.norm(Part::AttentionNorm, layer, hidden)?,
            ffn_norm: self.norm(Part::FfnNorm, layer, hidden)?,
            qkv: self.linear(qkv, layer, hidden, has_qkv_bias)?,
            out: self.linear(&[(Part::Out, hidden)], layer, query, has_out_bias)?,
            gate_up: self.linear(gate_up, layer, hidden, has_mlp_bias)?,
            down: self.linear(&[(Part::Down, hidden)], layer, intermediate, has_mlp_bias)?,
        })
    }

    /// Refuses tensors that would be left out: a model with more than this decoder knows gives other answers with less.
    fn look_for_more(&self) -> Result<(), LoadError> {
        let is_known = |name: &str| {
            self.used.contains(name)
                || name.ends_with("rotary_emb.inv_freq")
                || ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"].contains(&name)
        };
        match self.source.names().into_iter().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => {
                let what = format!("tensor `{name}` in a `{}` model", self.config.family.name());
                Err(LoadError::family(&self.source.path_of(&name), what))
            }
        }
    }
}

/// Brings rows from the order of pairs (0 1 2 3 …, neighbours rotated together) into that of halves (0 2 … 1 3 …).
fn pair_halves<T: Copy>(rows: &[T], row: usize, head: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len());
    for head_rows in rows.chunks_exact(row * head) {
        for side in 0..2 {
            for pair in 0..head / 2 {
                out.extend_from_slice(&head_rows[(2 * pair + side) * row..][..row]);
            }
        }
    }
    out
}

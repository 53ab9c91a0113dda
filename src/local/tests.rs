//! Tiny models with random weights: written in both formats, read back, asked, and damaged.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value as Meta};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::*;

const HIDDEN: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD: usize = 32;
const INNER: usize = 96;
const VOCABULARY: usize = 300;
const FAMILIES: [&str; 8] = ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3"];

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("evalctl-local-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Made {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn layers(family: &str) -> usize {
    if family == "gemma3" { 7 } else { 3 }
}

fn is_gemma(family: &str) -> bool {
    family.starts_with("gemma")
}

/// `config.json` of a family.
fn config(family: &str) -> Value {
    let class = match family {
        "llama" => "LlamaForCausalLM",
        "mistral" => "MistralForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        "gemma" => "GemmaForCausalLM",
        "gemma2" => "Gemma2ForCausalLM",
        "gemma3" => "Gemma3ForCausalLM",
        _ => "Phi3ForCausalLM",
    };
    let mut config = json!({
        "architectures": [class], "hidden_size": HIDDEN, "num_attention_heads": HEADS, "head_dim": HEAD,
        "num_key_value_heads": KV_HEADS, "num_hidden_layers": layers(family), "intermediate_size": INNER,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "vocab_size": VOCABULARY, "eos_token_id": 1,
        "query_pre_attn_scalar": HEAD,
    });
    if ["mistral", "gemma2", "gemma3", "phi3"].contains(&family) {
        config["sliding_window"] = 5.into();
    }
    config
}

/// The weights of a family under Hugging Face's names.
fn weights(family: &str) -> Vec<Made> {
    let mut seed = 12345_u32;
    let mut made = Vec::new();
    let mut add = |name: String, shape: &[usize], spread: f32, middle: f32| {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let values = (0..shape.iter().product()).map(|_| middle + spread * next()).collect();
        made.push(Made { name, shape: shape.to_vec(), values });
    };
    let middle = if is_gemma(family) { 0.0 } else { 1.0 };
    add("model.embed_tokens.weight".to_owned(), &[VOCABULARY, HIDDEN], 1.0, 0.0);
    add("model.norm.weight".to_owned(), &[HIDDEN], 0.3, middle);
    if !is_gemma(family) {
        add("lm_head.weight".to_owned(), &[VOCABULARY, HIDDEN], 0.3, 0.0);
    }
    let (query, key) = (HEADS * HEAD, KV_HEADS * HEAD);
    for layer in 0..layers(family) {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        add(name("input_layernorm.weight"), &[HIDDEN], 0.3, middle);
        add(name("post_attention_layernorm.weight"), &[HIDDEN], 0.3, middle);
        add(name("self_attn.o_proj.weight"), &[HIDDEN, query], 0.15, 0.0);
        add(name("mlp.down_proj.weight"), &[HIDDEN, INNER], 0.15, 0.0);
        if family == "phi3" {
            add(name("self_attn.qkv_proj.weight"), &[query + 2 * key, HIDDEN], 0.2, 0.0);
            add(name("mlp.gate_up_proj.weight"), &[2 * INNER, HIDDEN], 0.2, 0.0);
        } else {
            for (part, rows) in [("q", query), ("k", key), ("v", key)] {
                add(name(&format!("self_attn.{part}_proj.weight")), &[rows, HIDDEN], 0.2, 0.0);
                if family == "qwen2" {
                    add(name(&format!("self_attn.{part}_proj.bias")), &[rows], 0.3, 0.0);
                }
            }
            add(name("mlp.gate_proj.weight"), &[INNER, HIDDEN], 0.2, 0.0);
            add(name("mlp.up_proj.weight"), &[INNER, HIDDEN], 0.2, 0.0);
        }
        if ["gemma2", "gemma3"].contains(&family) {
            add(name("pre_feedforward_layernorm.weight"), &[HIDDEN], 0.3, middle);
            add(name("post_feedforward_layernorm.weight"), &[HIDDEN], 0.3, middle);
        }
        if ["qwen3", "gemma3"].contains(&family) {
            add(name("self_attn.q_norm.weight"), &[HEAD], 0.3, middle);
            add(name("self_attn.k_norm.weight"), &[HEAD], 0.3, middle);
        }
    }
    made
}

/// The signs of bytes, in order of the bytes.
fn signs() -> Vec<String> {
    let mut signs: Vec<(u8, char)> = tokenizer::byte_signs().into_iter().map(|(sign, byte)| (byte, sign)).collect();
    signs.sort_unstable();
    signs.into_iter().map(|(_, sign)| sign.to_string()).collect()
}

/// A vocabulary: two special tokens, the bytes, a few pairs, and one added token.
fn vocabulary() -> Vec<String> {
    let mut tokens = vec!["<s>".to_owned(), "</s>".to_owned()];
    tokens.extend(signs());
    tokens.extend(["th", "the", "Ġthe", "<tool>"].map(str::to_owned));
    tokens
}

const MERGES: [[&str; 2]; 3] = [["t", "h"], ["th", "e"], ["Ġ", "the"]];

fn tokenizer_json() -> Value {
    let tokens = vocabulary();
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let added = |id: usize, special: bool| {
        json!({"id": id, "content": tokens[id], "special": special, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false})
    };
    let piece = |kind: &str| json!({"type": kind, "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [added(0, true), added(1, true), added(tokens.len() - 1, false)],
        "pre_tokenizer": piece("ByteLevel"), "decoder": piece("ByteLevel"),
        "post_processor": {"type": "TemplateProcessing", "pair": [], "special_tokens":
            {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
        "model": {"type": "BPE", "vocab": vocab, "merges": MERGES, "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false},
    })
}

/// A safetensors file, its numbers as 32-bit or 16-bit floats.
fn write_safetensors(path: &Path, kind: &str, tensors: &[&Made]) {
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for tensor in tensors {
        let start = data.len();
        for value in &tensor.values {
            match kind {
                "F32" => data.extend(value.to_le_bytes()),
                // Cut off rather than rounded: what is read back is compared with values cut off alike.
                "BF16" => data.extend(&value.to_le_bytes()[2..]),
                _ => data.extend(half_bits(*value).to_le_bytes()),
            }
        }
        let entry = json!({"dtype": kind, "shape": tensor.shape, "data_offsets": [start, data.len()]});
        header.insert(tensor.name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    fs::write(path, file).unwrap();
}

/// The nearest half towards zero, for numbers that have one.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 255) as i32 - 112;
    if exponent <= 0 {
        return (bits >> 16 & 0x8000) as u16;
    }
    ((bits >> 16 & 0x8000) | (exponent as u32) << 10 | (bits >> 13 & 0x3ff)) as u16
}

/// A Hugging Face folder.
fn write_folder(path: &Path, family: &str, kind: &str) {
    fs::create_dir_all(path).unwrap();
    let weights = weights(family);
    write_safetensors(&path.join("model.safetensors"), kind, &weights.iter().collect::<Vec<_>>());
    fs::write(path.join("config.json"), config(family).to_string()).unwrap();
    fs::write(path.join("tokenizer.json"), tokenizer_json().to_string()).unwrap();
    let settings = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template":
        "{{ bos_token }}{% for message in messages %}{{ message.content }}\n{% endfor %}"});
    fs::write(path.join("tokenizer_config.json"), settings.to_string()).unwrap();
}

/// The name that llama.cpp's converter gives.
fn gguf_name(family: &str, name: &str) -> String {
    let renamed = match name {
        "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
        "model.norm.weight" => "output_norm.weight".to_owned(),
        "lm_head.weight" => "output.weight".to_owned(),
        _ => name.replace("model.layers.", "blk."),
    };
    let post = if ["gemma2", "gemma3"].contains(&family) { "post_attention_norm" } else { "ffn_norm" };
    [
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", post),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.qkv_proj", "attn_qkv"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.gate_up_proj", "ffn_up"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]
    .iter()
    .fold(renamed, |name, (from, to)| name.replace(from, to))
}

/// What llama.cpp's converter makes of a tensor: Llama's queries and keys in pairs, Gemma's norms with one added.
fn converted(family: &str, made: &Made) -> Vec<f32> {
    let mut values = made.values.clone();
    if is_gemma(family) && made.name.ends_with("norm.weight") {
        values.iter_mut().for_each(|value| *value += 1.0);
    }
    let is_paired = made.name.contains("q_proj") || made.name.contains("k_proj");
    if is_paired && ["llama", "mistral"].contains(&family) {
        let columns = made.shape[1];
        for row in 0..made.shape[0] {
            let (head, pair, side) = (row / HEAD, row % HEAD / 2, row % 2);
            let from = head * HEAD + side * HEAD / 2 + pair;
            values[row * columns..][..columns].copy_from_slice(&made.values[from * columns..][..columns]);
        }
    }
    values
}

/// The metadata of a GGUF file.
fn metadata(family: &str) -> Vec<(String, Meta)> {
    let architecture = if family == "mistral" { "llama" } else { family };
    let mut metadata = vec![
        ("general.architecture".to_owned(), Meta::String(architecture.to_owned())),
        ("general.name".to_owned(), Meta::String("a tiny one".to_owned())),
    ];
    let mut add = |key: &str, value: usize| {
        metadata.push((format!("{architecture}.{key}"), Meta::U32(value as u32)));
    };
    add("context_length", 128);
    add("embedding_length", HIDDEN);
    add("block_count", layers(family));
    add("feed_forward_length", INNER);
    add("attention.head_count", HEADS);
    add("attention.head_count_kv", KV_HEADS);
    add("attention.key_length", HEAD);
    add("attention.value_length", HEAD);
    add("rope.dimension_count", HEAD);
    if ["mistral", "gemma2", "gemma3", "phi3"].contains(&family) {
        add("attention.sliding_window", 5);
    }
    let mut add = |key: &str, value: f32| metadata.push((format!("{architecture}.{key}"), Meta::F32(value)));
    add("attention.layer_norm_rms_epsilon", 1e-5);
    add("rope.freq_base", if family == "gemma3" { 1e6 } else { 1e4 });
    if family == "gemma2" {
        add("attn_logit_softcapping", 50.0);
        add("final_logit_softcapping", 30.0);
    }
    let text = |text: &String| Meta::String(text.clone());
    let tokens = vocabulary();
    let kinds = (0..tokens.len()).map(|id| {
        Meta::I32(if id < 2 {
            3
        } else if id + 1 == tokens.len() {
            4
        } else {
            1
        })
    });
    let merges = MERGES.iter().map(|[one, other]| Meta::String(format!("{one} {other}")));
    metadata.extend([
        ("tokenizer.ggml.model".to_owned(), Meta::String("gpt2".to_owned())),
        ("tokenizer.ggml.pre".to_owned(), Meta::String("gpt-2".to_owned())),
        ("tokenizer.ggml.tokens".to_owned(), Meta::Array(tokens.iter().map(text).collect())),
        ("tokenizer.ggml.token_type".to_owned(), Meta::Array(kinds.collect())),
        ("tokenizer.ggml.merges".to_owned(), Meta::Array(merges.collect())),
        ("tokenizer.ggml.bos_token_id".to_owned(), Meta::U32(0)),
        ("tokenizer.ggml.eos_token_id".to_owned(), Meta::U32(1)),
        ("tokenizer.ggml.add_bos_token".to_owned(), Meta::Bool(true)),
        ("tokenizer.chat_template".to_owned(), Meta::String("{{ messages[0].content }}".to_owned())),
    ]);
    metadata
}

/// A GGUF file, changed beforehand.
fn write_gguf_with(path: &Path, family: &str, kind: GgmlDType, change: impl FnOnce(&mut Vec<(String, Meta)>)) {
    let mut metadata = metadata(family);
    change(&mut metadata);
    let tensors: Vec<(String, QTensor)> = weights(family)
        .iter()
        .map(|made| {
            let tensor = Tensor::from_vec(converted(family, made), made.shape.as_slice(), &Device::Cpu).unwrap();
            let kind = if made.shape.len() == 1 { GgmlDType::F32 } else { kind };
            (gguf_name(family, &made.name), QTensor::quantize(&tensor, kind).unwrap())
        })
        .collect();
    let metadata: Vec<(&str, &Meta)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut fs::File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

fn write_gguf(path: &Path, family: &str, kind: GgmlDType) {
    write_gguf_with(path, family, kind, |_| {});
}

fn open(path: &Path) -> Result<Loaded, LoadError> {
    Loaded::open(path, &LoadOptions::default())
}

fn prompt(length: usize) -> Vec<u32> {
    (0..length as u32).map(|i| (i * 7919 + 13) % VOCABULARY as u32).collect()
}

fn ask(model: &Model, tokens: &[u32]) -> Vec<f32> {
    model.forward(&mut model.start(), tokens).unwrap()
}

fn furthest(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    assert!(one.iter().all(|logit| logit.is_finite()));
    one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[test]
fn a_prompt_at_once_is_the_same_as_token_by_token_in_every_family() {
    let folder = Folder::new("families");
    for family in FAMILIES {
        let path = folder.path().join(family);
        write_folder(&path, family, "F32");
        let loaded = open(&path).unwrap();
        assert_eq!((loaded.facts.architecture.as_str(), loaded.facts.quantisation.as_str()), (family, "f32"));
        assert_eq!(loaded.model.vocabulary(), VOCABULARY);
        // Longer than what is computed at a time.
        let tokens = prompt(100);
        let at_once = ask(&loaded.model, &tokens);
        let mut sequence = loaded.model.start();
        let mut last = Vec::new();
        for token in &tokens {
            last = loaded.model.forward(&mut sequence, &[*token]).unwrap();
        }
        assert!(furthest(&at_once, &last) < 1e-4, "{family}: {}", furthest(&at_once, &last));
        assert_eq!(sequence.len(), 100);
        // Weights that matter: another prompt has another answer.
        assert!(furthest(&at_once, &ask(&loaded.model, &tokens[..99])) > 1e-2, "{family}");
    }
}

#[test]
fn both_formats_give_the_same_logits_in_every_family() {
    let folder = Folder::new("formats");
    for family in FAMILIES {
        let (path, file) = (folder.path().join(family), folder.path().join(format!("{family}.gguf")));
        write_folder(&path, family, "F32");
        let plain = ask(&open(&path).unwrap().model, &prompt(40));
        write_gguf(&file, family, GgmlDType::F32);
        let loaded = open(&file).unwrap();
        assert!(furthest(&plain, &ask(&loaded.model, &prompt(40))) < 1e-4, "{family}");
        let expected = if family == "mistral" { "llama" } else { family };
        assert_eq!((loaded.facts.architecture.as_str(), loaded.facts.format), (expected, "gguf"));
        assert_eq!((loaded.facts.name.as_str(), loaded.facts.files.len()), ("a tiny one", 1));
        for (kind, name, near) in [(GgmlDType::Q8_0, "q8_0", 0.2), (GgmlDType::Q4_0, "q4_0", 2.5)] {
            write_gguf(&file, family, kind);
            let loaded = open(&file).unwrap();
            assert_eq!(loaded.facts.quantisation, name);
            let quantised = ask(&loaded.model, &prompt(40));
            let distance = furthest(&plain, &quantised);
            assert!(distance > 1e-5 && distance < near, "{family} {name}: {distance}");
        }
    }
}

#[test]
fn halves_are_computed_as_the_floats_they_stand_for() {
    let folder = Folder::new("halves");
    let mut made = weights("llama");
    for (kind, mask) in [("F16", 0xffff_e000_u32), ("BF16", 0xffff_0000)] {
        let path = folder.path().join(kind);
        write_folder(&path, "llama", kind);
        let halves = open(&path).unwrap();
        assert_eq!(halves.facts.quantisation, kind.to_lowercase());
        made.iter_mut().flat_map(|made| &mut made.values).for_each(|value| {
            *value = f32::from_bits(value.to_bits() & mask);
        });
        write_safetensors(&path.join("model.safetensors"), "F32", &made.iter().collect::<Vec<_>>());
        let floats = open(&path).unwrap();
        let distance = furthest(&ask(&halves.model, &prompt(30)), &ask(&floats.model, &prompt(30)));
        // Halves below 2⁻¹⁴ are cut to 0 when written.
        assert!(distance < 1e-3, "{kind}: {distance}");
    }
}

#[test]
fn shards_are_put_together() {
    let folder = Folder::new("shards");
    write_folder(folder.path(), "qwen3", "F32");
    let whole = open(folder.path()).unwrap();
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let made = weights("qwen3");
    let mut map = serde_json::Map::new();
    for (index, part) in made.chunks(10).enumerate() {
        let name = format!("model-{index}.safetensors");
        write_safetensors(&folder.path().join(&name), "F32", &part.iter().collect::<Vec<_>>());
        map.extend(part.iter().map(|made| (made.name.clone(), name.clone().into())));
    }
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    let shards = open(folder.path()).unwrap();
    assert_eq!(ask(&whole.model, &prompt(9)), ask(&shards.model, &prompt(9)));
    assert_eq!(shards.facts.parameters, whole.facts.parameters);
    fs::remove_file(folder.path().join("model-1.safetensors")).unwrap();
    let said = open(folder.path()).unwrap_err().to_string();
    assert!(said.contains("model-1.safetensors` is missing: `model.safetensors.index.json` names it for 10"), "{said}");
    fs::remove_file(&index).unwrap();
    let said = open(folder.path()).unwrap_err().to_string();
    assert!(said.contains("index.json` is missing: it says which of the 3"), "{said}");
    fs::write(&index, json!({"weight_map": {"x": "../../secret"}}).to_string()).unwrap();
    let said = open(folder.path()).unwrap_err().to_string();
    assert!(said.contains("names no file beside it for `x`"), "{said}");
}

#[test]
fn nothing_that_runs_beside_it_changes_an_answer() {
    let folder = Folder::new("beside");
    let file = folder.path().join("a.gguf");
    write_gguf(&file, "llama", GgmlDType::Q8_0);
    let loaded = open(&file).unwrap();
    let alone: Vec<Vec<f32>> = (1..9).map(|length| ask(&loaded.model, &prompt(length * 10))).collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let beside: Vec<Vec<f32>> = std::thread::scope(|scope| {
            let (model, pool) = (&loaded.model, &pool);
            let started: Vec<_> =
                (1..9).map(|length| scope.spawn(move || pool.install(|| ask(model, &prompt(length * 10))))).collect();
            started.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(alone, beside);
    }
}

#[test]
fn a_sequence_ends_where_the_context_does() {
    let folder = Folder::new("context");
    write_folder(folder.path(), "llama", "F32");
    let options = |context| LoadOptions { context: Some(context), cuda: false };
    let loaded = Loaded::open(folder.path(), &options(16)).unwrap();
    assert_eq!((loaded.facts.context, loaded.model.context()), (16, 16));
    let mut sequence = loaded.model.start();
    loaded.model.forward(&mut sequence, &prompt(10)).unwrap();
    let full = loaded.model.forward(&mut sequence, &prompt(7)).unwrap_err();
    assert_eq!(full.to_string(), "the context is full: 17 tokens, and it takes 16");
    assert_eq!(loaded.model.forward(&mut sequence, &[5, 300]), Err(ModelError::NoToken(300)));
    assert_eq!(loaded.model.forward(&mut sequence, &[]), Err(ModelError::Nothing));
    assert_eq!(sequence.len(), 10);
    loaded.model.forward(&mut sequence, &prompt(6)).unwrap();
    let said = Loaded::open(folder.path(), &options(129)).unwrap_err().to_string();
    assert!(said.ends_with("takes at most 128 tokens of context, not 129"), "{said}");
    let cuda = LoadOptions { context: None, cuda: true };
    let said = Loaded::open(folder.path(), &cuda).unwrap_err().to_string();
    assert!(said.starts_with("could not compute on an NVIDIA card"), "{said}");
}

#[test]
fn both_tokenizers_split_alike_and_know_their_bytes() {
    let folder = Folder::new("tokens");
    let file = folder.path().join("a.gguf");
    write_folder(folder.path(), "llama", "F32");
    write_gguf(&file, "llama", GgmlDType::F32);
    let (one, other) = (open(folder.path()).unwrap(), open(&file).unwrap());
    let text = "<s>the there 1 é\n\n  the<tool>é";
    let ids = one.tokenizer.encode(text);
    assert_eq!(ids, other.tokenizer.encode(text));
    let last = one.tokenizer.len() as u32 - 1;
    assert_eq!(&ids[..3], [0, last - 2, last - 1]);
    for tokenizer in [&one.tokenizer, &other.tokenizer] {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.bytes(*id).to_vec()).collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), &text[3..]);
        assert_eq!((tokenizer.bos(), tokenizer.ends(), tokenizer.len()), (Some(0), &[1][..], last as usize + 1));
        assert!(tokenizer.is_end(1) && !tokenizer.is_end(2));
        assert!(tokenizer.is_special(0) && !tokenizer.is_special(last) && tokenizer.is_special(last + 1));
        assert_eq!((tokenizer.bytes(last), tokenizer.bytes(9999)), (&b"<tool>"[..], &b""[..]));
    }
    let messages = json!([{"role": "user", "content": "hi"}]);
    assert_eq!(one.template.render(&messages, None).unwrap(), "<s>hi\n");
    assert_eq!(other.template.render(&messages, None).unwrap(), "hi");
    let long = " ".repeat(300_000);
    let back: Vec<u8> = one.tokenizer.encode(&long).iter().flat_map(|id| one.tokenizer.bytes(*id).to_vec()).collect();
    assert_eq!(back.len(), long.len());
}

/// What loading says after one change to a folder that works.
fn said_of_folder(name: &str, change: impl FnOnce(&Path)) -> String {
    let folder = Folder::new(name);
    write_folder(folder.path(), "llama", "F32");
    change(folder.path());
    let said = open(folder.path()).unwrap_err().to_string();
    said.replace(&folder.path().to_string_lossy().into_owned(), "model")
}

#[test]
fn faults_of_a_folder_are_named() {
    let said = said_of_folder("no-weights", |path| fs::remove_file(path.join("model.safetensors")).unwrap());
    assert!(said.starts_with("`model` holds no weights; name a folder with"), "{said}");
    let said = said_of_folder("no-tokenizer", |path| fs::remove_file(path.join("tokenizer.json")).unwrap());
    assert!(said.starts_with("`model/tokenizer.json` is missing: it turns text into the model's tokens"), "{said}");
    let said = said_of_folder("no-config", |path| fs::remove_file(path.join("config.json")).unwrap());
    assert!(said.starts_with("`model/config.json` is missing"), "{said}");
    let said = said_of_folder("bad-tokenizer", |path| fs::write(path.join("tokenizer.json"), "{}").unwrap());
    assert!(said.starts_with("`model/tokenizer.json`: it is no tokenizer"), "{said}");
    let cut = |length: usize| {
        move |path: &Path| {
            let file = path.join("model.safetensors");
            let bytes = fs::read(&file).unwrap();
            fs::write(&file, &bytes[..length.min(bytes.len() - 1)]).unwrap();
        }
    };
    let said = said_of_folder("cut-data", cut(usize::MAX));
    assert!(said.contains("`model/model.safetensors`: tensor ") && said.contains("it is cut off"), "{said}");
    let said = said_of_folder("cut-header", cut(100));
    assert!(said.contains("its header should have") && said.contains("cut off"), "{said}");
    let said = said_of_folder("cut-length", cut(5));
    assert!(said.contains("it has 5 bytes, too few"), "{said}");
    let said = said_of_folder("huge-header", |path| {
        fs::write(path.join("model.safetensors"), [0xff; 64]).unwrap();
    });
    assert!(said.contains("its header should have 18446744073709551615 bytes"), "{said}");
    let without = |name: &'static str, shape: Option<Vec<usize>>| {
        move |path: &Path| {
            let mut made = weights("llama");
            match shape {
                Some(shape) => made.iter_mut().find(|made| made.name == name).unwrap().shape = shape,
                None => made.retain(|made| made.name != name),
            }
            write_safetensors(&path.join("model.safetensors"), "F32", &made.iter().collect::<Vec<_>>());
        }
    };
    let said = said_of_folder("no-tensor", without("model.layers.1.mlp.up_proj.weight", None));
    assert!(said.ends_with("tensor `model.layers.1.mlp.up_proj.weight` is missing"), "{said}");
    let said = said_of_folder("no-head", without("lm_head.weight", None));
    assert!(said.ends_with("tensor `lm_head.weight` is missing"), "{said}");
    let said = said_of_folder("shape", without("model.norm.weight", Some(vec![8, 8])));
    assert!(said.ends_with("tensor `model.norm.weight` has shape [8, 8], and [64] is needed"), "{said}");
    let said = said_of_folder("more", |path| {
        let mut made = weights("llama");
        made.push(Made { name: "model.layers.0.mlp.router.weight".to_owned(), shape: vec![1], values: vec![0.0] });
        write_safetensors(&path.join("model.safetensors"), "F32", &made.iter().collect::<Vec<_>>());
    });
    assert!(said.contains("tensor `model.layers.0.mlp.router.weight` in a `llama` model is not supported"), "{said}");
    let said = said_of_folder("dtype", |path| {
        let made = weights("llama");
        write_safetensors(&path.join("model.safetensors"), "I16", &made.iter().collect::<Vec<_>>());
    });
    assert!(said.contains("as I16 is not supported; what works: f32, f16 and bf16"), "{said}");
    let said = said_of_folder("family", |path| {
        fs::write(path.join("config.json"), json!({"architectures": ["RwkvForCausalLM"]}).to_string()).unwrap();
    });
    assert!(said.contains("architecture `RwkvForCausalLM` is not supported; what works: Llama, Mistral"), "{said}");
    let said = said_of_folder("vocabulary", |path| {
        let mut made = weights("llama");
        for made in made.iter_mut().filter(|made| made.shape[0] == VOCABULARY) {
            made.shape[0] = 200;
            made.values.truncate(200 * HIDDEN);
        }
        write_safetensors(&path.join("model.safetensors"), "F32", &made.iter().collect::<Vec<_>>());
    });
    assert!(said.ends_with("the tokenizer has 262 tokens, the model 200"), "{said}");
}

/// What loading says of a GGUF file that was changed.
fn said_of_gguf(name: &str, change: impl FnOnce(&mut Vec<(String, Meta)>)) -> String {
    let folder = Folder::new(name);
    let file = folder.path().join("a.gguf");
    write_gguf_with(&file, "llama", GgmlDType::Q8_0, change);
    let said = open(&file).unwrap_err().to_string();
    said.replace(&file.to_string_lossy().into_owned(), "a.gguf")
}

#[test]
fn faults_of_a_gguf_file_are_named() {
    let set = |key: &'static str, value: Meta| {
        move |metadata: &mut Vec<(String, Meta)>| {
            metadata.retain(|(other, _)| other != key);
            metadata.push((key.to_owned(), value));
        }
    };
    let said = said_of_gguf("g-arch", set("general.architecture", Meta::String("mamba".to_owned())));
    assert!(said.starts_with("`a.gguf`: architecture `mamba` is not supported; what works: Llama, Mistral"), "{said}");
    let said = said_of_gguf("g-experts", set("llama.expert_count", Meta::U32(8)));
    assert!(said.contains("a mixture of experts is not supported"), "{said}");
    let said = said_of_gguf("g-rope", set("llama.rope.scaling.type", Meta::String("yarn".to_owned())));
    assert!(said.contains("rope scaling `yarn` is not supported"), "{said}");
    let said = said_of_gguf("g-pre", set("tokenizer.ggml.pre", Meta::String("klingon".to_owned())));
    assert!(said.contains("tokenizer `klingon` (`tokenizer.ggml.pre`) is not supported; what works: gpt-2"), "{said}");
    let said = said_of_gguf("g-model", set("tokenizer.ggml.model", Meta::String("bert".to_owned())));
    assert!(said.contains("tokenizer model `bert` is not supported; what works: `gpt2` and `llama`"), "{said}");
    let said = said_of_gguf("g-tokens", |metadata| metadata.retain(|(key, _)| !key.starts_with("tokenizer.")));
    assert!(said.ends_with("it has no tokenizer (`tokenizer.ggml.model`)"), "{said}");
    let said = said_of_gguf("g-key", |metadata| metadata.retain(|(key, _)| !key.ends_with("embedding_length")));
    assert!(said.ends_with("its metadata has no `llama.embedding_length`"), "{said}");
    let said = said_of_gguf("g-align", set("general.alignment", Meta::U32(0)));
    assert!(said.ends_with("its `general.alignment` makes no sense"), "{said}");
    let said = said_of_gguf("g-heads", set("llama.attention.head_count", Meta::U32(0)));
    assert!(said.contains("0 heads"), "{said}");
    let said = said_of_gguf("g-layers", set("llama.block_count", Meta::U32(4)));
    assert!(said.contains("tensor `blk.3.") && said.ends_with("is missing"), "{said}");
    let said = said_of_gguf("g-layer", set("llama.block_count", Meta::U32(2)));
    assert!(said.contains("tensor `blk.2.") && said.contains("in a `llama` model is not supported"), "{said}");
}

#[test]
fn whatever_is_cut_off_or_flipped_is_a_fault_and_no_crash() {
    let folder = Folder::new("hostile");
    let file = folder.path().join("a.gguf");
    write_gguf(&file, "llama", GgmlDType::Q8_0);
    let bytes = fs::read(&file).unwrap();
    let said = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        open(&file).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
    };
    for length in (0..bytes.len()).step_by(bytes.len() / 60) {
        assert!(!said(&bytes[..length]).is_empty(), "cut off at {length}");
    }
    assert!(said(&bytes[..bytes.len() - 40]).contains("the file is cut off; download it again"));
    // The version, counts, the first key's length, and then here and there in the header.
    let mut places = vec![4, 5, 8, 15, 16, 23, 24, 31];
    places.extend((32..8000).step_by(131));
    for at in places {
        for value in [0x00, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            said(&damaged);
        }
    }
    let mut unknown = bytes.clone();
    let name = b"blk.0.attn_q.weight";
    let at = unknown.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    // Behind the name: the number of dimensions, two sizes, the type.
    unknown[at + 20] = 20;
    let found = said(&unknown);
    assert!(found.contains("tensor `blk.0.attn_q.weight` as iq4_nl is not supported; what works: f32, f16"), "{found}");
    let mut huge = bytes.clone();
    huge[at + 4..at + 12].fill(0x7f);
    assert!(!said(&huge).is_empty());
    assert!(said(b"GGUF").contains("cut off") && said(b"something else").contains("holds no weights"));
    fs::remove_file(&file).unwrap();
    assert!(open(&file).unwrap_err().to_string().starts_with("could not read"));
}

#[test]
fn logits_for_a_reference_program() {
    // `models/parity.py` names a folder or file with prompts beside it, and compares what is written there.
    let Some(path) = std::env::var_os("EVALCTL_PARITY").map(PathBuf::from) else { return };
    let loaded = open(&path).unwrap();
    let beside = |ending: &str| PathBuf::from(format!("{}.{ending}", path.display()));
    let prompts: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(beside("prompts.json")).unwrap()).unwrap();
    let mut out = Vec::new();
    for prompt in prompts {
        let mut sequence = loaded.model.start();
        for token in prompt {
            let logits = loaded.model.forward(&mut sequence, &[token]).unwrap();
            out.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
        }
    }
    fs::write(beside("found"), out).unwrap();
}

//! A tiny Llama with random weights, made where a test needs one: what it says is noise, and always the same noise.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::support::Folder;

const HIDDEN: usize = 16;
const HEADS: usize = 2;
const KV_HEADS: usize = 1;
const INNER: usize = 32;
const LAYERS: usize = 2;

/// Tokens of more than one byte: some that end and begin parts of JSON at once.
const MERGES: [(&str, &str); 10] = [
    ("\"", ":"),
    ("\"", "}"),
    ("\"", ","),
    ("\",", "\""),
    ("1", "0"),
    ("10", "10"),
    ("Ġ", "Ġ"),
    ("t", "r"),
    ("tr", "ue"),
    ("u", "e"),
];

/// Tokens of the format.
const SPECIAL: [&str; 5] = ["<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"];

const TEMPLATE: &str = "<|begin|>{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>\
                        {% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// Writes a folder of weights below a test's folder.
pub fn random(folder: &Folder, name: &str, context: usize, seed: u64) -> PathBuf {
    let tokenizer = tokenizer();
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap().len() + SPECIAL.len();
    let special = |name: &str| vocabulary - SPECIAL.len() + SPECIAL.iter().position(|known| *known == name).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "float32",
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": context, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "vocab_size": vocabulary,
        "bos_token_id": special("<|begin|>"), "eos_token_id": special("<|end|>"),
    });
    let settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>",
        "add_bos_token": true, "chat_template": TEMPLATE,
    });
    folder.write(&format!("{name}/config.json"), config.to_string());
    folder.write(&format!("{name}/tokenizer.json"), tokenizer.to_string());
    folder.write(&format!("{name}/tokenizer_config.json"), settings.to_string());
    folder.write(&format!("{name}/model.safetensors"), tensors(vocabulary, seed));
    folder.path().join(name)
}

fn tokenizer() -> Value {
    let mut vocabulary = Map::new();
    for sign in signs() {
        vocabulary.insert(sign.to_string(), json!(vocabulary.len()));
    }
    // Shorter ones first: a merge may only name what is there.
    for whole in ["\":", "\"}", "\",", "\",\"", "10", "1010", "ĠĠ", "ue", "tr", "true"] {
        vocabulary.insert(whole.to_owned(), json!(vocabulary.len()));
    }
    let added = SPECIAL.iter().enumerate().map(|(index, content)| {
        json!({
            "id": vocabulary.len() + index, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    });
    let added: Vec<Value> = added.collect();
    let pieces = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pieces, "post_processor": null, "decoder": pieces,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": MERGES.map(|(one, other)| [one, other]),
        },
    })
}

/// A printable sign for each byte, as GPT-2 has them.
fn signs() -> Vec<char> {
    let is_printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256u32;
    (0..256)
        .map(|byte| {
            let code = if is_printable(byte) { byte } else { next };
            next += u32::from(code == next);
            char::from_u32(code).unwrap()
        })
        .collect()
}

/// A safetensors file: the length of its head, the head, the numbers.
fn tensors(vocabulary: usize, seed: u64) -> Vec<u8> {
    let head = HIDDEN / HEADS;
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, HIDDEN], 1.0),
        ("lm_head.weight".to_owned(), vec![vocabulary, HIDDEN], 1.0),
        ("model.norm.weight".to_owned(), vec![HIDDEN], 0.0),
    ];
    for layer in 0..LAYERS {
        for (name, shape, scale) in [
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN], 0.8),
            ("self_attn.k_proj", vec![KV_HEADS * head, HIDDEN], 0.8),
            ("self_attn.v_proj", vec![KV_HEADS * head, HIDDEN], 0.8),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN], 0.8),
            ("mlp.gate_proj", vec![INNER, HIDDEN], 0.8),
            ("mlp.up_proj", vec![INNER, HIDDEN], 0.8),
            ("mlp.down_proj", vec![HIDDEN, INNER], 0.8),
            ("input_layernorm", vec![HIDDEN], 0.0),
            ("post_attention_layernorm", vec![HIDDEN], 0.0),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape, scale));
        }
    }
    let mut random = seed;
    let mut number = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 40) as f32 / 2.0f32.powi(23) - 1.0
    };
    let (mut entries, mut data) = (Map::new(), Vec::new());
    for (name, shape, scale) in shapes {
        let start = data.len();
        for _ in 0..shape.iter().product() {
            // Norms multiply: theirs are 1.
            let value = if scale == 0.0 { 1.0 } else { number() * scale };
            data.extend_from_slice(&f32::to_le_bytes(value));
        }
        entries.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let head = Value::Object(entries).to_string();
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(head.as_bytes());
    file.extend_from_slice(&data);
    file
}

//! A decoder from a Hugging Face folder: `config.json`, safetensors, `tokenizer.json` and what stands beside them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::local::config;
use crate::local::load::{LoadError, MAX_TEXT, Parts};
use crate::local::safetensors::Safetensors;
use crate::local::template::ChatTemplate;
use crate::local::tokenizer::{FolderTokens, Tokenizer};
use crate::local::weights::{Naming, Weights};
use crate::util::given_file;

/// Opens a folder.
pub(super) fn open(folder: &Path) -> Result<Parts, LoadError> {
    let config_path = folder.join("config.json");
    let mut source = Safetensors::open(folder)?;
    let Some(json) = read_json(&config_path)? else {
        return Err(LoadError::Missing { path: config_path, need: "it says what model the weights make".to_owned() });
    };
    let shape = config::from_json(&json).map_err(LoadError::config(&config_path))?;
    let tokenizer_path = folder.join("tokenizer.json");
    if !tokenizer_path.exists() {
        let need = "it turns text into the model's tokens; `AutoTokenizer.from_pretrained(…).save_pretrained(…)` \
                    writes it";
        return Err(LoadError::Missing { path: tokenizer_path, need: need.to_owned() });
    }
    let settings = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    let more = read_json(&folder.join("special_tokens_map.json"))?.unwrap_or_default();
    let generation = read_json(&folder.join("generation_config.json"))?.unwrap_or_default();
    let specials = specials(&settings, &more);
    let tokens = FolderTokens {
        ends: [&generation, &json].into_iter().flat_map(end_ids).collect(),
        end_text: specials.iter().find(|(name, _)| name == "eos_token").map(|(_, text)| text.clone()),
        bos_text: specials.iter().find(|(name, _)| name == "bos_token").map(|(_, text)| text.clone()),
        adds_bos: settings.get("add_bos_token").and_then(Value::as_bool),
    };
    let bytes = given_file::read(&tokenizer_path, MAX_TEXT).map_err(LoadError::io("read", &tokenizer_path))?;
    let tokenizer = Tokenizer::from_json(&bytes, tokens).map_err(|what| LoadError::damaged(&tokenizer_path, what))?;
    let (plain, with_tools, template_file) = template(folder, &settings)?;
    let weights = Weights::gather(shape, Naming::HuggingFace, &mut source)?;
    let mut files = vec![config_path, tokenizer_path];
    let beside = ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"];
    files.extend(beside.map(|name| folder.join(name)).into_iter().chain(template_file).filter(|path| path.exists()));
    files.extend(source.files().map(Path::to_owned));
    Ok(Parts {
        weights,
        tokenizer,
        template: ChatTemplate::new(plain, with_tools, specials),
        name: None,
        format: "safetensors",
        files,
    })
}

/// A JSON file; `None`: it isn't there.
fn read_json(path: &Path) -> Result<Option<Value>, LoadError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = given_file::read_text(path, MAX_TEXT).map_err(LoadError::io("read", path))?;
    let json = serde_json::from_str(&text);
    json.map(Some).map_err(|error| LoadError::damaged(path, format!("it is no JSON: {error}")))
}

/// `eos_token_id`: one, or several.
fn end_ids(json: &Value) -> Vec<u32> {
    let as_id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match json.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(as_id).collect(),
        Some(id) => as_id(id).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The special tokens that templates may name.
fn specials(settings: &Value, more: &Value) -> Vec<(String, String)> {
    let names = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"];
    let text = |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
    let find = |name: &str| settings.get(name).and_then(text).or_else(|| more.get(name).and_then(text));
    names.into_iter().filter_map(|name| Some((name.to_owned(), find(name)?))).collect()
}

type Template = (Option<String>, Option<String>, Option<PathBuf>);

/// The chat template, the one for tools, and the file when it has one of its own.
fn template(folder: &Path, settings: &Value) -> Result<Template, LoadError> {
    let jinja = folder.join("chat_template.jinja");
    if jinja.exists() {
        let text = given_file::read_text(&jinja, MAX_TEXT).map_err(LoadError::io("read", &jinja))?;
        return Ok((Some(text), None, Some(jinja)));
    }
    let path = folder.join("chat_template.json");
    let own = read_json(&path)?;
    let from = own.as_ref().and_then(|json| json.get("chat_template")).or_else(|| settings.get("chat_template"));
    let named = |list: &[Value], name: &str| {
        let found = list.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))?;
        found.get("template")?.as_str().map(str::to_owned)
    };
    Ok(match from {
        Some(Value::String(text)) => (Some(text.clone()), None, own.map(|_| path)),
        Some(Value::Array(list)) => (named(list, "default"), named(list, "tool_use"), own.map(|_| path)),
        _ => (None, None, None),
    })
}

//! Stands in for weights until the decoder is there: made-up logits over single bytes.

use std::path::Path;

use serde::Serialize;

use crate::util::digest::Digest;

/// How weights are opened.
pub struct LoadOptions {
    /// The context, when it is to be smaller than the model's.
    pub context: Option<usize>,
    /// Whether to use an NVIDIA card.
    pub cuda: bool,
}

/// Why weights cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(String);

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ModelError(String);

/// Why messages cannot be written as a prompt.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// Weights and what belongs to them.
pub struct Loaded {
    /// The decoder.
    pub model: Model,
    /// Its tokens.
    pub tokenizer: Tokenizer,
    /// How messages are written.
    pub template: ChatTemplate,
    /// What is known of it.
    pub facts: Facts,
}

/// What is known of weights.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Name.
    pub name: String,
    /// Family.
    pub architecture: String,
    /// Format.
    pub format: &'static str,
    /// Quantisation.
    pub quantisation: String,
    /// Parameters.
    pub parameters: u64,
    /// Tokens.
    pub context: usize,
    /// Files.
    pub files: Vec<FileFact>,
    /// Device.
    pub device: String,
}

/// A file of weights.
#[derive(Debug, Clone, Serialize)]
pub struct FileFact {
    /// Name.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Digest.
    pub digest: Digest,
}

/// The decoder.
pub struct Model;

/// A sequence.
pub struct Sequence(Vec<u32>);

/// Tokens.
pub struct Tokenizer {
    words: Vec<Vec<u8>>,
}

/// The template.
pub struct ChatTemplate;

const END: u32 = 256;
const SIZE: usize = 260;

impl Loaded {
    /// Opens.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn open(path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
        if !path.exists() {
            return Err(LoadError(format!("`{}` is not there", path.display())));
        }
        let words = (0..SIZE).map(|id| u8::try_from(id).map_or_else(|_| b"<s>".to_vec(), |b| vec![b])).collect();
        let facts = Facts {
            name: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            architecture: "llama".to_owned(),
            format: "safetensors",
            quantisation: "f32".to_owned(),
            parameters: 0,
            context: options.context.unwrap_or(1024).min(1024),
            files: vec![FileFact { name: "model.safetensors".to_owned(), bytes: 0, digest: Digest::default() }],
            device: "cpu".to_owned(),
        };
        Ok(Loaded { model: Model, tokenizer: Tokenizer { words }, template: ChatTemplate, facts })
    }
}

impl Model {
    /// Starts.
    pub fn start(&self) -> Sequence {
        Sequence(Vec::new())
    }

    /// Size.
    pub fn vocabulary(&self) -> usize {
        SIZE
    }

    /// Steps.
    ///
    /// # Errors
    /// Never.
    pub fn forward(&self, sequence: &mut Sequence, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        sequence.0.extend_from_slice(tokens);
        std::thread::sleep(std::time::Duration::from_micros(100));
        let bytes: Vec<u8> = sequence.0.iter().flat_map(|t| t.to_le_bytes()).collect();
        let mut random = Digest::of(&bytes).low64();
        let logits = (0..SIZE).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 40) as f32 / 2.0f32.powi(23)
        });
        Ok(logits.collect())
    }
}

impl Tokenizer {
    /// Encodes.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    /// Beginning.
    pub fn bos(&self) -> Option<u32> {
        Some(257)
    }

    /// Whether it ends.
    pub fn is_end(&self, id: u32) -> bool {
        id == END
    }

    /// The ends.
    pub fn ends(&self) -> &[u32] {
        &[END]
    }

    /// Bytes.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.words.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// Special.
    pub fn is_special(&self, id: u32) -> bool {
        id >= 256
    }

    /// Size.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        SIZE
    }
}

impl ChatTemplate {
    /// Renders.
    ///
    /// # Errors
    /// Never.
    pub fn render(
        &self,
        messages: &serde_json::Value,
        _tools: Option<&serde_json::Value>,
    ) -> Result<String, TemplateError> {
        let list = messages.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(list.iter().filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join("\n") + "\n")
    }
}

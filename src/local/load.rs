//! From a path to a model that can be asked, and what can go wrong on the way.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::local::config::{ConfigError, FAMILIES};
use crate::local::model::Model;
use crate::local::template::ChatTemplate;
use crate::local::tokenizer::Tokenizer;
use crate::local::weights::Weights;
use crate::local::{folder, gguf_model};
use crate::util::digest::Digest;
use crate::util::given_file;
use crate::util::text::{of_system, visible};

/// The largest file of text beside weights: tokenizers come to some tens of megabytes.
pub(super) const MAX_TEXT: u64 = 1 << 30;

/// How weights are loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// At most this many positions in a sequence; `None`: as many as the model was trained for.
    pub context: Option<usize>,
    /// Whether to compute on an NVIDIA card.
    pub cuda: bool,
}

/// A model, and all that stands around it.
#[derive(Debug)]
pub struct Loaded {
    /// The decoder.
    pub model: Model,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Messages to text.
    pub template: ChatTemplate,
    /// What was loaded.
    pub facts: Facts,
}

/// What was loaded, for records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The model's name: what it says of itself, else the name of the folder or file.
    pub name: String,
    /// The family, as `model_type` names it: `llama`.
    pub architecture: String,
    /// `safetensors` or `gguf`.
    pub format: &'static str,
    /// How most of the weights are stored: `f16`, `q8_0`.
    pub quantisation: String,
    /// How many weights there are.
    pub parameters: u64,
    /// Positions that a sequence may have.
    pub context: usize,
    /// The files that decide about answers.
    pub files: Vec<FileFact>,
    /// Where it is computed: `cpu`.
    pub device: String,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFact {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its digest, as hexadecimal digits: the first half of its BLAKE3.
    pub digest: String,
}

fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy()).into_owned()
}

/// Why weights could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("could not {doing} `{}`: {}", shown(.path), of_system(.source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing to load.
    #[error("`{}` holds no weights; name a folder with `config.json` and `.safetensors` files, or a GGUF file", shown(.path))]
    NoWeights {
        /// The folder or file.
        path: PathBuf,
    },
    /// A file that the others need isn't there.
    #[error("`{}` is missing: {need}", shown(.path))]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it is needed for.
        need: String,
    },
    /// A file is damaged, or isn't what its name says.
    #[error("`{}`: {what}", shown(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It is whole, but of a kind that doesn't work here.
    #[error("`{}`: {what} is not supported; what works: {works}", shown(.path))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What isn't supported.
        what: String,
        /// What is.
        works: String,
    },
    /// A tensor isn't there, or isn't as the model needs it.
    #[error("`{}`: tensor `{}` {what}", shown(.path), visible(.name))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// More context was asked for than there is.
    #[error("`{}` takes at most {most} tokens of context, not {asked}{}", shown(.path), .note.map(|note| format!(": {note}")).unwrap_or_default())]
    Context {
        /// The folder or file.
        path: PathBuf,
        /// What was asked for.
        asked: usize,
        /// What there is.
        most: usize,
        /// Why not more.
        note: Option<&'static str>,
    },
    /// The device isn't there.
    #[error("could not compute on {device}: {what}")]
    Device {
        /// The device.
        device: &'static str,
        /// Why not.
        what: String,
    },
}

impl LoadError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LoadError {
        move |source| LoadError::Io { doing, path: path.to_owned(), source }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> LoadError {
        LoadError::Damaged { path: path.to_owned(), what: what.into() }
    }

    pub(super) fn family(path: &Path, what: impl Into<String>) -> LoadError {
        LoadError::Unsupported { path: path.to_owned(), what: what.into(), works: FAMILIES.to_owned() }
    }

    pub(super) fn tensor(path: &Path, name: &str, what: impl Into<String>) -> LoadError {
        LoadError::Tensor { path: path.to_owned(), name: name.to_owned(), what: what.into() }
    }

    pub(super) fn config(path: &Path) -> impl FnOnce(ConfigError) -> LoadError {
        move |error| match error {
            ConfigError::Wrong(what) => LoadError::damaged(path, what),
            ConfigError::Unsupported(what) => LoadError::family(path, what),
        }
    }
}

impl Loaded {
    /// Loads a Hugging Face folder or a GGUF file.
    ///
    /// Files are read once for their digest and once for their tensors, one tensor at a time.
    ///
    /// # Errors
    /// When something is missing, damaged or not supported. What a file says of its own sizes is held against the
    /// file's size before anything is allocated.
    pub fn open(path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
        if options.cuda {
            let what = "this binary computes on the CPU only; build it with `--features cuda`".to_owned();
            return Err(LoadError::Device { device: "an NVIDIA card", what });
        }
        let kind = std::fs::metadata(path).map_err(LoadError::io("read", path))?;
        let parts = if kind.is_dir() { folder::open(path)? } else { gguf_model::open(path)? };
        let most = parts.weights.config.context;
        let context = options.context.unwrap_or(most);
        if context == 0 || context > most {
            let note = parts.weights.config.context_note;
            return Err(LoadError::Context { path: path.to_owned(), asked: context, most, note });
        }
        if parts.tokenizer.len() > parts.weights.vocabulary() {
            let (tokens, rows) = (parts.tokenizer.len(), parts.weights.vocabulary());
            return Err(LoadError::damaged(path, format!("the tokenizer has {tokens} tokens, the model {rows}")));
        }
        let facts = Facts {
            name: parts.name.unwrap_or_else(|| name_of(path)),
            architecture: parts.weights.config.family.name().to_owned(),
            format: parts.format,
            quantisation: parts.weights.quantisation().to_owned(),
            parameters: parts.weights.parameters(),
            context,
            files: parts.files.iter().map(|file| fact(file)).collect::<Result<_, _>>()?,
            device: "cpu".to_owned(),
        };
        let model = Model::new(parts.weights, context);
        Ok(Loaded { model, tokenizer: parts.tokenizer, template: parts.template, facts })
    }
}

/// What either format gives.
pub(super) struct Parts {
    pub weights: Weights,
    pub tokenizer: Tokenizer,
    pub template: ChatTemplate,
    pub name: Option<String>,
    pub format: &'static str,
    pub files: Vec<PathBuf>,
}

fn name_of(path: &Path) -> String {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn fact(path: &Path) -> Result<FileFact, LoadError> {
    let file = given_file::open(path).map_err(LoadError::io("open", path))?;
    let bytes = file.metadata().map_err(LoadError::io("read", path))?.len();
    let digest = Digest::of_reader(file).map_err(LoadError::io("read", path))?.to_string();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(FileFact { name, bytes, digest })
}

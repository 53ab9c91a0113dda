//! What is fuzzed: every parser of something that comes from outside. `cargo fuzz` drives each of these functions, and so
//! does a test, for some seconds (`tests/it/fuzzed.rs`). A finding is a panic, a hang, or a broken assertion.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use evalctl::provider::{
    Anthropic, Bedrock, Cohere, Dialect, Frames, Framing, Gemini, Manner, Ollama, OpenAiChat, OpenAiResponses, Tgi,
};
use evalctl::scorer::{self, Case, OwnSchema};
use evalctl::store::{Manifest, RecordReader, ScoreReader, read_probes, read_under_way};
use evalctl::suite::spec::{MaxTokensField, ScorerSpec, Structured};
use evalctl::suite::{self, Template};
use evalctl::traffic::redact::{Custom, PERSONAL, Redactor, SECRETS};
use evalctl::traffic::time::Zone;
use evalctl::traffic::{Captured, Import, Kind, import};
use evalctl::types::{Response, Row};

/// A parser, by its name, which is that of its folder of seeds.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 9] = [
    ("suite", suite_file),
    ("frames", frames),
    ("dialects", dialects),
    ("importers", importers),
    ("capture", capture),
    ("run_folder", run_folder),
    ("weights", weights),
    ("schema", schema),
    ("template", template),
];

/// A suite file.
pub fn suite_file(bytes: &[u8]) {
    let (_, suite, faults) = suite::parse(Path::new("suite.yaml"), bytes);
    assert!(suite.is_some() || !faults.is_empty(), "no suite, and nothing wrong with it");
    let _ = faults.to_string();
}

/// What the first byte chooses of a list, and the other bytes.
fn chosen<'a, T>(list: &'a [T], bytes: &'a [u8]) -> Option<(&'a T, &'a [u8])> {
    let (first, rest) = bytes.split_first()?;
    Some((&list[usize::from(*first) % list.len()], rest))
}

fn cut(framing: Framing, pieces: &[&[u8]]) -> (Vec<(String, String)>, bool) {
    let mut frames = Frames::new(framing);
    let mut seen = Vec::new();
    for piece in pieces {
        let fed = frames.feed(piece, |frame| {
            seen.push((frame.event.to_owned(), frame.data.to_owned()));
            ControlFlow::Continue(())
        });
        if fed.is_err() {
            return (seen, false);
        }
    }
    seen.extend(frames.unfinished().map(|data| ("unfinished".to_owned(), data)));
    (seen, true)
}

/// A stream: its bytes give the same frames however they are split.
pub fn frames(bytes: &[u8]) {
    let framings = [Framing::Events, Framing::Lines, Framing::Amazon, Framing::AmazonEvents];
    let Some((framing, bytes)) = chosen(&framings, bytes) else { return };
    let Some((at, bytes)) = bytes.split_first() else { return };
    let whole = cut(*framing, &[bytes]);
    let middle = usize::from(*at) % (bytes.len() + 1);
    let (head, tail) = bytes.split_at(middle);
    let split = cut(*framing, &[head, tail]);
    assert_eq!(whole.1, split.1, "one of them is an error");
    if whole.1 {
        assert_eq!(whole.0, split.0, "split at {middle}");
    }
}

fn all_dialects() -> Vec<Box<dyn Dialect>> {
    let manner = || Manner { model: "m".to_owned(), is_streamed: true, structured: Structured::Tool };
    vec![
        Box::new(OpenAiChat { manner: manner(), max_tokens_field: MaxTokensField::MaxTokens }),
        Box::new(OpenAiResponses(manner())),
        Box::new(Anthropic(manner())),
        Box::new(Gemini(manner())),
        Box::new(Bedrock(manner())),
        Box::new(Cohere(manner())),
        Box::new(Ollama(manner())),
        Box::new(Tgi(manner())),
    ]
}

/// An answer in each dialect: whole, in a stream, and as an error.
pub fn dialects(bytes: &[u8]) {
    let dialects = all_dialects();
    let Some((dialect, bytes)) = chosen(&dialects, bytes) else { return };
    let _ = dialect.decode_body(bytes);
    let _ = dialect.error_message(bytes);
    let mut decoder = dialect.decoder();
    let fed = Frames::new(dialect.framing()).feed(bytes, |frame| match decoder.frame(frame) {
        Ok(_) if !decoder.is_done() => ControlFlow::Continue(()),
        Ok(_) | Err(_) => ControlFlow::Break(()),
    });
    if fed.is_ok() {
        let _ = decoder.end();
    }
}

/// A folder in memory, where there is one, that no other process and no other call uses.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let name = format!("evalctl-fuzz-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A log of each kind, and of one that is to be recognised: every row is accounted for.
pub fn importers(bytes: &[u8]) {
    let kinds: Vec<Option<Kind>> = Kind::ALL.into_iter().map(Some).chain([None]).collect();
    let Some((kind, bytes)) = chosen(&kinds, bytes) else { return };
    let scratch = Scratch::new();
    let import_of = Import {
        kind: *kind,
        files: vec![scratch.file("log", bytes)],
        out: scratch.0.join("capture.jsonl"),
        may_replace: true,
        zone: Zone::default(),
        seed: 0,
        is_digest_only: false,
        sample: None,
    };
    let rules = [SECRETS.as_slice(), PERSONAL.as_slice()].concat();
    if let Ok(ledger) = import(&import_of, &mut Redactor::new(&rules, Custom::default())) {
        assert!(ledger.adds_up(), "{ledger:?}");
        let read = Captured::open(&import_of.out).unwrap().map(|line| line.map(drop));
        assert_eq!(read.collect::<Result<Vec<()>, _>>().unwrap().len() as u64, ledger.kept, "what was written");
    }
}

/// A capture.
pub fn capture(bytes: &[u8]) {
    let scratch = Scratch::new();
    for line in Captured::open(&scratch.file("capture.jsonl", bytes)).unwrap().take(100) {
        let Ok(exchange) = line else { continue };
        let written = serde_json::to_string(&exchange).unwrap();
        let again: evalctl::types::Exchange = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), written);
    }
}

/// Each file of a run folder.
pub fn run_folder(bytes: &[u8]) {
    let names = ["manifest.json", "records.jsonl", "scores-1.jsonl", "under_way.jsonl", "probes.json"];
    let Some((name, bytes)) = chosen(&names, bytes) else { return };
    let scratch = Scratch::new();
    scratch.file(name, bytes);
    match *name {
        "manifest.json" => drop(Manifest::read(&scratch.0)),
        "under_way.jsonl" => drop(read_under_way(&scratch.0)),
        "probes.json" => drop(read_probes(&scratch.0)),
        "records.jsonl" => {
            let (mut reader, mut block) = (RecordReader::open(&scratch.0).unwrap().unwrap(), Vec::new());
            while reader.block(1 << 16, &mut block).unwrap() {
                for line in block.split(|byte| *byte == b'\n') {
                    let Some(record) = RecordReader::parse(line) else { continue };
                    let written = serde_json::to_vec(&record).unwrap();
                    let again = RecordReader::parse(&written).unwrap();
                    assert_eq!(serde_json::to_vec(&again).unwrap(), written);
                }
            }
        }
        _ => {
            if let Ok(mut reader) = ScoreReader::open(&scratch.0, 1) {
                while let Ok(Some(_)) = reader.next_row() {}
            }
        }
    }
}

/// The headers of weights.
#[cfg(feature = "local")]
pub fn weights(bytes: &[u8]) {
    use evalctl::local::{LoadOptions, Loaded};

    let Some((is_gguf, bytes)) = chosen(&[true, false], bytes) else { return };
    let scratch = Scratch::new();
    let path = if *is_gguf {
        scratch.file("model.gguf", bytes)
    } else {
        let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
            "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1,
            "vocab_size": 16, "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}"#;
        scratch.file("config.json", config.as_bytes());
        scratch.file("tokenizer.json", br#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#);
        scratch.file("model.safetensors", bytes);
        scratch.0.clone()
    };
    let _ = Loaded::open(&path, &LoadOptions::default());
}

/// Without weights there is nothing to read.
#[cfg(not(feature = "local"))]
pub fn weights(_: &[u8]) {}

/// A schema and an answer, apart by a zero byte: marking ends, and gives the same twice.
pub fn schema(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (Some(schema), Some(answer)) = (parts.next(), parts.next()) else { return };
    let Ok(schema) = serde_json::from_slice(schema) else { return };
    let spec: ScorerSpec = serde_json::from_str(r#"{"schema": {}}"#).unwrap();
    let scorer = scorer::build(&spec, None, true).unwrap_or_else(|faults| panic!("{faults:?}"));
    let own = OwnSchema::new(schema);
    let response = Response { text: String::from_utf8_lossy(answer).into_owned(), ..Response::default() };
    let case = Case { target: None, logged: None, schema: Some(&own), response: &response };
    let mark = || {
        let mut marks = Vec::new();
        scorer.mark(&case, &mut marks);
        marks
    };
    let marks = mark();
    assert_eq!(marks.len(), 2);
    assert_eq!(marks, mark());
}

/// A template over a row.
pub fn template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = Template::compile(source) else { return };
    let row: Row =
        serde_json::from_str(r#"{"a": "text", "b": [1, {"c": null}], "d": 2.5, "e": true, "f": {"g": "h"}}"#).unwrap();
    if let Ok(text) = template.render(&row) {
        assert!(text.len() <= 16 << 20, "{} bytes", text.len());
    }
}

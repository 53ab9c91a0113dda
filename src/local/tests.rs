//! Tiny models with random weights, written and read back.

use std::fs;
use std::path::PathBuf;

use super::*;

#[test]
fn logits_for_a_reference_program() {
    // `models/parity.py` names a folder of models with prompts, and compares what is written there.
    let Some(folder) = std::env::var_os("EVALCTL_PARITY").map(PathBuf::from) else { return };
    let loaded = Loaded::open(&folder, &LoadOptions::default()).unwrap();
    let prompts: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(folder.join("prompts.json")).unwrap()).unwrap();
    let mut out = Vec::new();
    for prompt in prompts {
        let mut sequence = loaded.model.start();
        for token in prompt {
            let logits = loaded.model.forward(&mut sequence, &[token]).unwrap();
            out.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
        }
    }
    fs::write(folder.join("found.bin"), out).unwrap();
}

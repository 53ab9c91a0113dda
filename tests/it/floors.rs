//! The architecture as a test: who may import whom, and what only one place may do.

use std::path::{Path, PathBuf};

/// Modules by floor: a module imports only from lower ones. ARCHITECTURE.md says why.
const FLOORS: [&[&str]; 8] = [
    &["util"],
    &["types"],
    &["suite", "stats", "price", "cli"],
    &["dataset", "provider", "store", "gate", "local"],
    &["scorer", "frame", "traffic"],
    &["engine", "report"],
    &["commands"],
    &["lib", "main"],
];

/// (what, where it may stand): what is written there stands nowhere else.
const ONLY_IN: [(&str, &[&str]); 12] = [
    ("polars", &["src/frame/"]),
    ("reqwest", &["src/provider/http.rs"]),
    ("rustls::", &["src/provider/http.rs"]),
    ("saphyr_parser", &["src/suite/parse.rs"]),
    ("tokio::spawn", &["src/engine/", "src/local/server.rs"]),
    ("JoinSet", &["src/engine/"]),
    ("axum::", &["src/local/server.rs"]),
    ("llguidance::", &["src/local/endings.rs", "src/local/grammar.rs"]),
    ("process::exit", &["src/commands/signals.rs"]),
    ("println!", &[]),
    ("indicatif", &["src/report/"]),
    ("candle", &["src/local/"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Path from the package's root, and the code without comments and without unit tests.
fn code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    assert!(files.len() > 40, "the sources were not found");
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
        (path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), lines.join("\n"))
    };
    files.iter().map(read).collect()
}

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|floor| floor.contains(&module));
    found.unwrap_or_else(|| panic!("`{module}` stands on no floor: add it to FLOORS and to ARCHITECTURE.md"))
}

fn module_of(path: &str) -> &str {
    path.trim_start_matches("src/").split(['/', '.']).next().unwrap()
}

#[test]
fn modules_import_only_from_lower_floors() {
    let mut breaches = Vec::new();
    for (path, code) in code() {
        let own = module_of(&path);
        for (at, _) in code.match_indices("crate::") {
            let other: String = code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // `crate::{a, b}` would hide what is imported.
            assert!(!other.is_empty(), "{path}: write `use crate::module::…`");
            if other != own && floor(&other) >= floor(own) {
                breaches.push(format!(
                    "{path}: `{own}` (floor {}) uses `{other}` (floor {})",
                    floor(own),
                    floor(&other)
                ));
            }
        }
        if code.contains("super::super") {
            breaches.push(format!("{path}: `super::super` hides where it goes"));
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn what_one_place_does_no_other_does() {
    let mut breaches = Vec::new();
    for (path, code) in code() {
        for (what, places) in ONLY_IN {
            if code.contains(what) && !places.iter().any(|place| path.starts_with(place)) {
                breaches.push(format!("{path}: `{what}` belongs in {places:?}"));
            }
        }
        if code.contains("clap::") && !["src/cli.rs", "src/commands/mod.rs", "src/main.rs"].contains(&path.as_str()) {
            breaches.push(format!("{path}: `clap` belongs in src/cli.rs"));
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn every_module_of_the_floors_is_there() {
    let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for module in FLOORS.iter().flat_map(|floor| floor.iter()).filter(|module| !["lib", "main"].contains(module)) {
        assert!(lib.contains(&format!("pub mod {module};")), "`{module}` is not in lib.rs");
    }
}

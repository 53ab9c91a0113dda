//! System calls that fail: whichever it is and whenever, what was answered is kept, the exit code says what happened, and a
//! resumed run asks only what is missing.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::server::{self, Model};
use crate::support::{Folder, finish};

const SAMPLES: usize = 40;
const IN_FLIGHT: usize = 4;

/// Error numbers of Linux: an input or output error, and a full disk.
const EIO: &str = "5";
const ENOSPC: &str = "28";

/// The library that makes calls fail.
fn library(folder: &Folder) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/failing.c");
    let library = folder.path().join("failing.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([source, "-ldl"]).stdin(Stdio::null());
    finish(compiler).expect(0);
    library
}

#[test]
fn no_call_that_fails_loses_an_answer_or_asks_one_twice() {
    let tools = Folder::new();
    let library = library(&tools);
    let places = [0, 1, 2, 3, 5, 8, 13, 30];
    let mut seen = 0;
    for (call, error, times) in [
        ("write", ENOSPC, 1_000_000),
        ("write", EIO, 1),
        ("half_write", ENOSPC, 1),
        ("open", EIO, 1),
        ("fsync", EIO, 1),
        ("fdatasync", EIO, 1),
        ("rename", ENOSPC, 1),
        ("ftruncate", EIO, 1),
    ] {
        for at in places {
            let model = Model::start(|asked| server::answer(asked, "a"));
            let folder = Folder::new();
            let row = |n: usize| format!("{}\n", json!({"id": n, "q": n.to_string(), "target": "a"}));
            folder.write("data.jsonl", (0..SAMPLES).map(row).collect::<String>());
            folder.write(
                "suite.yaml",
                format!(
                    "name: failing\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: '{{{{ q }}}}' }}\ncandidates:\n  - id: m\n    \
                     openai: {{ model: m, base_url: \"{}\" }}\n    in_flight: {IN_FLIGHT}\nscorers: [{{ exact: {{}} }}]\n",
                    model.base_url()
                ),
            );
            let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
            command.env("LD_PRELOAD", &library).env("FAILING_CALL", call).env("FAILING_ERRNO", error);
            command.env("FAILING_AT", at.to_string()).env("FAILING_TIMES", times.to_string());
            let output = finish(command);
            let what = format!("{call} fails with {error} at {at}: {output:?}");
            assert!(matches!(output.code, Some(0 | 2 | 3 | 5)), "{what}");
            assert!(output.code == Some(0) || output.err.contains("error: "), "{what}");
            seen += usize::from(output.code != Some(0));
            let asked = model.count();
            let again = folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]);
            assert_eq!(again.code, Some(0), "{what}\n{again:?}");
            let most = SAMPLES + IN_FLIGHT;
            assert!(model.count() <= most, "{what}: {asked}, then {} requests", model.count());
            let report = folder.json("run/report.json");
            assert_eq!(report["candidates"][0]["counts"]["scored"], SAMPLES, "{what}");
            let left = std::fs::read_dir(folder.path().join("run")).unwrap();
            let parts =
                left.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "part"));
            assert_eq!(parts.count(), 0, "{what}");
        }
    }
    assert!(seen >= 20, "{seen} of them were told");
}

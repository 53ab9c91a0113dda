//! What the system allows: open files.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::server::{self, Model, Step};
use crate::support::{Folder, Output, finish};

const IN_FLIGHT: usize = 100;

/// Runs the suite under a limit of open files, as `ulimit` takes it.
fn limited(folder: &Folder, limit: &str) -> Output {
    let program = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")]);
    shell.arg(program.get_program()).args(program.get_args()).current_dir(folder.path()).env_clear();
    shell.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder.path()).stdin(Stdio::null());
    finish(shell)
}

#[test]
fn open_files_are_provided_or_said_to_be_too_few_before_anything_is_sent() {
    let model = Model::start(|asked| {
        let mut steps = vec![Step::Wait(Duration::from_millis(100))];
        steps.extend(server::answer(asked, "a"));
        steps
    });
    let folder = Folder::new();
    let row = |n: usize| format!("{}\n", json!({"id": n, "q": "a", "target": "a"}));
    folder.write("data.jsonl", (0..3 * IN_FLIGHT).map(row).collect::<String>());
    folder.write(
        "suite.yaml",
        format!(
            "name: files\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: '{{{{ q }}}}' }}\ncandidates:\n  - id: model\n    \
             openai: {{ model: m, base_url: \"{}\" }}\n    in_flight: {IN_FLIGHT}\n    retries: 0\nscorers: [{{ exact: {{}} }}]\n",
            model.base_url()
        ),
    );
    for limit in ["-n 64", "-n 16"] {
        let output = limited(&folder, limit).expect(2);
        let needed = 2 * IN_FLIGHT + 48;
        assert!(output.err.contains(&format!("take up to {needed} open files")), "{}", output.err);
        assert!(output.err.contains(&format!("`ulimit -n {needed}`")), "{}", output.err);
    }
    assert_eq!(model.count(), 0);
    assert!(!folder.path().join("run").exists());
    // What is only advised is raised.
    limited(&folder, "-Sn 64").expect(0);
    assert_eq!(folder.json("run/report.json")["candidates"][0]["counts"]["scored"], 3 * IN_FLIGHT);
}

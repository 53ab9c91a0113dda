//! What the README shows is what the program does.

use std::path::Path;

use serde_json::Value;

use crate::support::Folder;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The content of the first code block of a language.
fn block(language: &str) -> String {
    let text = readme();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A folder with the repository's suites and datasets.
fn checkout() -> Folder {
    let folder = Folder::new();
    for name in ["suites", "datasets"] {
        copy(&root().join(name), &folder.path().join(name));
    }
    // Weights are read only, and large.
    std::os::unix::fs::symlink(root().join("models"), folder.path().join("models")).unwrap();
    folder
}

/// A text without what differs from run to run (the run's id and its start), and with plain blanks.
fn timeless(text: &str) -> String {
    let text = text.replace('\u{a0}', " ");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("20") {
        out.push_str(&rest[..at]);
        let stamp: String = rest[at..].chars().take(20).collect();
        let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let is_stamp = matches!(shape.as_str(), "0000-00-00T00-00-00Z" | "0000-00-00T00:00:00Z");
        let length = if is_stamp { 20 } else { 2 };
        out.push_str(if is_stamp { "TIME" } else { "20" });
        rest = &rest[at + length..];
    }
    out + rest
}

/// A line without its figures, which differ from machine to machine, and without what depends on their widths.
fn shape(line: &str) -> String {
    let mut out = String::new();
    for c in line.trim().chars() {
        let c = match c {
            '0'..='9' | '.' | ',' | '+' | '-' => '#',
            '\u{a0}' => ' ',
            c => c,
        };
        if !(out.ends_with(c) && matches!(c, '#' | ' ' | '─')) {
            out.push(c);
        }
    }
    out
}

/// Fails unless the lines of a block come in what was printed, in order, but for the figures.
fn shows(block: &str, printed: &str) {
    let (printed, block) = (timeless(printed), timeless(block));
    let mut lines = printed.lines().map(shape);
    for shown in block.lines().filter(|line| line.trim() != "…") {
        assert!(
            lines.any(|line| line == shape(shown)),
            "the README shows a line that did not come next: {shown:?}\n{printed}"
        );
    }
}

/// The replay as the README shows it.
#[cfg(feature = "local")]
#[test]
fn the_worked_replay_prints_what_the_readme_shows() {
    let folder = checkout();
    let import = ["import", "auto", "datasets/support-traffic/log.jsonl", "--out", "capture.jsonl"];
    let mut printed = folder.run(&import).expect(0).out;
    let mut command = folder.evalctl(["replay", "capture.jsonl", "--suite", "suites/replay.yaml", "--speed", "20"]);
    command.env("COLUMNS", "80");
    printed.push_str(&crate::support::finish(command).expect(1).out);
    let readme = readme();
    let (_, behind) = readme.split_once("### Replay").unwrap();
    let (_, behind) = behind.split_once("```text\n").unwrap();
    shows(behind.split_once("```").unwrap().0, &printed);
}

/// The quickstart as the README shows it: every line of it, in order, but for the figures; and a second run of a part of
/// it gives the same answers.
#[cfg(feature = "local")]
#[test]
fn the_first_command_prints_what_the_readme_shows_and_answers_the_same_again() {
    let folder = checkout();
    let suite = folder.read("suites/quickstart.yaml");
    // How fast this machine is while other tests run on it is no matter of this one.
    assert!(suite.contains("at_most_ratio: 1.5"));
    folder.write("suites/quickstart.yaml", suite.replace("at_most_ratio: 1.5", "at_most_ratio: 1000"));
    let mut command = folder.evalctl(["run", "suites/quickstart.yaml"]);
    command.env("COLUMNS", "80");
    let printed = crate::support::finish(command).expect(0).out;
    shows(&block("text"), &printed);
    // Too few samples for the margins, which is not the question here.
    folder.run(&["run", "suites/quickstart.yaml", "--out", "second", "--limit", "60", "-q"]).expect(4);
    let answers = |run: &str| -> std::collections::BTreeMap<String, String> {
        let text = folder.read(&format!("{run}/records.jsonl"));
        let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        records.map(|record| (record["task"].to_string(), record["answer"]["text"].to_string())).collect()
    };
    let (first, second) = (answers("reports/quickstart/latest"), answers("second"));
    assert_eq!((first.len(), second.len()), (4 * 492, 4 * 60));
    for (task, answer) in second {
        assert_eq!(first[&task], answer, "{task}");
    }
}

#[test]
fn the_example_report_is_what_comes_out() {
    let folder = checkout();
    folder.run(&["run", "suites/opening-hours.yaml", "-q"]).expect(4);
    for name in ["report.md", "report.json", "report.csv"] {
        let committed = root().join("reports/examples/opening-hours").join(name);
        let made = folder.read(&format!("reports/opening-hours/latest/{name}"));
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&committed, &made).unwrap();
        }
        let committed = std::fs::read_to_string(committed).unwrap();
        assert_eq!(
            timeless(&committed),
            timeless(&made),
            "{name}: run again with UPDATE_SNAPSHOTS=1 and read the change"
        );
    }
}

#[test]
fn the_suite_in_the_readme_is_one() {
    let (document, suite, faults) = evalctl::suite::parse(Path::new("suite.yaml"), block("yaml").as_bytes());
    assert!(faults.is_empty(), "{faults}");
    let faults = evalctl::suite::check(&document, &suite.unwrap());
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn the_readme_names_every_command() {
    let help = Folder::new().run(&["--help"]).expect(0).out;
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    for name in names.filter(|name| !name.is_empty() && *name != "help") {
        assert!(readme().contains(&format!("evalctl {name}")), "`{name}` is not in the README");
    }
}

#[test]
fn the_suites_of_the_repository_are_sound() {
    let folder = checkout();
    for entry in std::fs::read_dir(root().join("suites")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        folder.run(&["check", &format!("suites/{name}")]).expect(0);
    }
}

/// A run that version 0.1 wrote: every later version reads it, and finds the same figures and verdicts. Two things have been
/// put right since: bootstrapped intervals of macro F1 were too narrow, and "n more samples" claimed a third digit.
#[test]
fn runs_of_past_versions_are_still_read() {
    let folder = checkout();
    copy(&root().join("tests/fixtures/run-1"), &folder.path().join("run"));
    folder.run(&["report", "run", "--format", "json,md,csv"]).expect(4);
    let stored = std::fs::read_to_string(root().join("tests/fixtures/run-1/report.json")).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let made = folder.json("run/report.json");
    for part in ["candidates", "comparisons", "gates"] {
        holds(&made[part], &stored[part], part);
    }
}

/// Whether all that a stored report says still stands in one made now, which may say more: new fields, new metrics.
#[track_caller]
fn holds(made: &Value, stored: &Value, place: &str) {
    match stored {
        Value::Object(fields) => {
            let is_put_right = |key: &str| {
                key == "samples_needed" || (stored["method"] == "bootstrap" && matches!(key, "lower" | "upper"))
            };
            for (key, value) in fields.iter().filter(|(key, _)| !is_put_right(key)) {
                holds(&made[key], value, &format!("{place}.{key}"));
            }
        }
        Value::Array(items) if items.iter().all(|item| item["name"].is_string()) => {
            for item in items {
                let made = made.as_array().unwrap().iter().find(|made| made["name"] == item["name"]);
                holds(made.unwrap_or(&Value::Null), item, &format!("{place}.{}", item["name"]));
            }
        }
        Value::Array(items) => {
            assert_eq!(made.as_array().map(Vec::len), Some(items.len()), "{place}");
            items.iter().zip(made.as_array().unwrap()).for_each(|(item, made)| holds(made, item, place));
        }
        // The last digit of a formula is a matter of how it is written down.
        Value::Number(number) => {
            let near = |made: f64, stored: f64| (made - stored).abs() <= 1e-12 * stored.abs();
            let is_near = made.as_f64().zip(number.as_f64()).is_some_and(|(made, stored)| near(made, stored));
            assert!(made == stored || is_near, "{place}: {made} is not {stored}");
        }
        Value::Null | Value::Bool(_) | Value::String(_) => assert_eq!(made, stored, "{place}"),
    }
}

#[test]
fn a_run_of_a_newer_format_is_refused_by_name() {
    let folder = checkout();
    copy(&root().join("tests/fixtures/run-1"), &folder.path().join("run"));
    let manifest = folder.read("run/manifest.json").replace("evalctl-run/1", "evalctl-run/2");
    folder.write("run/manifest.json", manifest);
    let output = folder.run(&["report", "run"]).expect(5);
    assert!(output.err.contains("`evalctl-run/2`"), "{}", output.err);
}

/// The table of services is made of what the program knows.
#[test]
fn the_services_are_listed_as_they_are() {
    use evalctl::provider::presets::{Base, Evidence, Key, PRESETS, name_of};
    let mut table = String::from(
        "# Services\n\nEach is a key of a candidate (`groq: { model: … }`), with the fields of `openai`. *Checked* says \
         against what: **recorded** exchanges with the service itself (streams, bodies, errors; not every model and \
         feature), its published **description** only, or **nothing** yet. An address can be overridden by `base_url`; \
         a key by `api_key_env`.\n\n\
         | key | service | dialects | address | key is read from | `structured: auto` | checked |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for preset in PRESETS {
        let apis: Vec<&str> = preset.apis.iter().map(|api| name_of(*api)).collect();
        let base = match preset.base {
            Base::Fixed(url) => format!("`{url}`"),
            Base::Account(example) if example.starts_with("http") => format!("must be given: `{example}`"),
            Base::Account(_) => "must be given".to_owned(),
            Base::Region(url) => format!("`{url}`; `region` must be given"),
            Base::Project(url) => format!("`{url}`; `region` and `project` must be given"),
            Base::Own(url) => format!("`{url}`, or your own"),
        };
        let key = match preset.key {
            Key::Bearer(variable) => format!("`{variable}`"),
            Key::Header(header, variable) => format!("`{variable}` (header `{header}`)"),
            Key::Amazon(_, Some(variable)) => format!("`{variable}`, or `AWS_ACCESS_KEY_ID` … (SigV4)"),
            Key::Amazon(_, None) => "`AWS_ACCESS_KEY_ID` … (SigV4)".to_owned(),
            Key::Optional => "only if `api_key_env` is given".to_owned(),
        };
        let structured = serde_json::to_value(preset.structured).unwrap();
        let checked = match preset.evidence {
            Evidence::Recorded => "recorded",
            Evidence::Described => "description",
            Evidence::Nothing => "nothing",
        };
        table.push_str(&format!(
            "| `{}` | {} | {} | {base} | {key} | {} | {checked} |\n",
            preset.name,
            preset.title,
            apis.join(", "),
            structured.as_str().unwrap()
        ));
    }
    let path = root().join("docs/services.md");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), table, "run again with UPDATE_SNAPSHOTS=1");
}

//! Small runs that look perfect, and what they show: not enough to pass.

use serde_json::{Value, json};

use crate::support::Folder;

fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}

/// A run of recorded answers: each candidate's answers to rows whose target is `x`, `None` where it gave none.
fn run(folder: &Folder, more: &str, cluster: bool, base: &[Option<Value>], new: &[Option<Value>], code: i32) -> Value {
    against("x", folder, more, cluster, base, new, code)
}

/// The same with another target.
fn against(
    target: &str,
    folder: &Folder,
    more: &str,
    cluster: bool,
    base: &[Option<Value>],
    new: &[Option<Value>],
    code: i32,
) -> Value {
    let row = |index: usize| json!({ "id": format!("s{index}"), "target": target, "source": format!("c{index}") });
    folder.write("data.jsonl", lines((0..base.len()).map(row)));
    for (name, answers) in [("base", base), ("new", new)] {
        let answer = |(index, answer): (usize, &Option<Value>)| {
            let mut answer = answer.clone()?;
            answer["id"] = format!("s{index}").into();
            Some(answer)
        };
        folder.write(&format!("{name}.jsonl"), lines(answers.iter().enumerate().filter_map(answer)));
    }
    let cluster = if cluster { ", cluster: source" } else { "" };
    let fields = |answers: &[Option<Value>]| {
        let has = |name: &str| answers.iter().flatten().any(|answer| !answer[name].is_null());
        let named = [("latency_ms", "ms"), ("cost_usd", "usd")].into_iter().filter(|(_, name)| has(name));
        named.map(|(key, name)| format!(", {key}: {name}")).collect::<String>()
    };
    folder.write(
        "suite.yaml",
        format!(
            "name: edges\ndataset: {{ path: data.jsonl{cluster} }}\ncandidates:\n\
             \x20 - {{ id: base, recorded: {{ path: base.jsonl{} }} }}\n\
             \x20 - {{ id: new, recorded: {{ path: new.jsonl{} }} }}\n\
             baseline: base\nlimits: {{ max_failures: 100% }}\n{more}",
            fields(base),
            fields(new)
        ),
    );
    folder.run(&["run", "suite.yaml", "--out", "run", "--fresh", "-q"]).expect(code);
    folder.json("run/report.json")
}

fn right(count: usize) -> Vec<Option<Value>> {
    vec![Some(json!({ "output": "x" })); count]
}

fn verdicts(report: &Value) -> Vec<&str> {
    report["gates"].as_array().unwrap().iter().map(|gate| gate["verdict"].as_str().unwrap()).collect()
}

#[test]
fn ten_of_ten_against_ten_of_ten_rules_out_no_loss_of_a_tenth() {
    let folder = Folder::new();
    for margin in [0.02, 0.05, 0.1] {
        let more = format!(
            "scorers: [label: {{ classes: [x, y] }}]\ngates:\n\
             \x20 - {{ metric: label, non_inferior: {{ margin: {margin} }} }}\n\
             \x20 - {{ metric: label.macro_f1, non_inferior: {{ margin: {margin} }} }}\n\
             \x20 - {{ metric: label, at_least: 0.9 }}\n  - {{ metric: label.macro_f1, at_least: 0.9 }}\n"
        );
        let report = run(&folder, &more, false, &right(10), &right(10), 4);
        assert_eq!(verdicts(&report), ["inconclusive"; 4], "at {margin}");
        assert_eq!(report["gates"][0]["samples_needed"], Value::Null, "nothing was seen to vary");
    }
}

#[test]
fn ten_missing_of_forty_are_never_a_pass() {
    let folder = Folder::new();
    let mut new = right(40);
    new[..10].fill(None);
    let more = "scorers: [exact: {}]\ngates:\n  - { metric: exact, non_inferior: { margin: 0.1 } }\n\
                \x20 - { metric: exact, at_least: 0.85 }\n";
    let report = run(&folder, more, false, &right(40), &new, 4);
    assert_eq!(verdicts(&report), ["inconclusive"; 2]);
    assert!(report["gates"][0]["reason"].as_str().unwrap().contains("10 samples lack"), "{}", report["gates"][0]);
    // Nothing that the baseline lacks could have been better than all right; and a candidate with mistakes is not helped.
    let report = run(&folder, more, false, &new, &right(40), 0);
    assert_eq!(verdicts(&report), ["pass"; 2]);
    let mut wrong = right(40);
    wrong[..3].fill(Some(json!({ "output": "y" })));
    let report = run(&folder, more, false, &new, &wrong, 4);
    assert_eq!(report["gates"][0]["verdict"], "inconclusive");
}

#[test]
fn clusters_of_one_decide_as_no_clusters_do() {
    let folder = Folder::new();
    let mut new = right(40);
    new[3] = Some(json!({ "output": "y" }));
    let more = "scorers: [exact: {}]\ngates:\n  - { metric: exact, at_least: 0.92 }\n\
                \x20 - { metric: exact, non_inferior: { margin: 0.07 } }\n";
    let with = run(&folder, more, true, &right(40), &new, 4);
    let without = run(&folder, more, false, &right(40), &new, 4);
    assert_eq!(verdicts(&with), ["inconclusive"; 2]);
    assert_eq!(with["gates"], without["gates"]);
    assert_eq!(with["candidates"][1]["metrics"], without["candidates"][1]["metrics"]);
    assert_eq!(with["comparisons"], without["comparisons"]);
    // 0 fixed and 1 broken show nothing, and the interval is wider than without any flip.
    let flips = &with["comparisons"][0];
    assert_eq!((&flips["p_value"], &flips["discordant"]["baseline_only"]), (&json!(1.0), &json!(1)));
    assert!((flips["lower"].as_f64().unwrap() + 0.128814).abs() < 1e-6, "{flips}");
}

#[test]
fn marks_and_times_that_are_all_alike_are_no_certainty() {
    let folder = Folder::new();
    let alike = vec![Some(json!({ "output": "{\"a\": 1, \"b\": 3}", "ms": 50, "usd": 0.001 })); 12];
    let more = "scorers: [agreement: { by: json }]\ngates:\n  - { metric: agreement, at_least: 0.4 }\n\
                \x20 - { metric: latency_ms.mean, at_most: 60 }\n  - { metric: latency_ms.mean, at_most_ratio: 1.2 }\n\
                \x20 - { metric: cost_usd, at_most: 1 }\n  - { metric: cost_usd, at_most_ratio: 1.2 }\n";
    let report = against("{\"a\": 1, \"b\": 2}", &folder, more, false, &alike, &alike, 4);
    assert_eq!(verdicts(&report), ["inconclusive"; 5]);
    assert!(report["gates"][1]["reason"].as_str().unwrap().contains("all 12 values are alike"));
    assert_eq!(report["gates"][1]["samples_needed"], Value::Null);
    let agreement = &report["candidates"][1]["metrics"][0];
    assert_eq!((&agreement["value"], &agreement["method"]), (&json!(0.5), &json!("bounded")));
    // Half of what twelve right answers have, 0.025^(1/12).
    let lower = agreement["lower"].as_f64().unwrap();
    assert!((lower - 0.5 * 0.025_f64.powf(1.0 / 12.0)).abs() < 0.004, "{agreement}");
}

#[test]
fn what_was_refused_is_missing_for_money_and_time() {
    let folder = Folder::new();
    let answer = |index: usize| Some(json!({ "output": "x", "ms": 900 + index, "usd": 0.01 + index as f64 * 1e-5 }));
    let base: Vec<Option<Value>> = (0..60).map(answer).collect();
    let mut new = base.clone();
    let more = "scorers: [exact: {}]\ngates:\n  - { metric: cost_usd, at_most_ratio: 1.1 }\n\
                \x20 - { metric: latency_ms.mean, at_most_ratio: 1.1 }\n";
    assert_eq!(verdicts(&run(&folder, more, false, &base, &new, 0)), ["pass"; 2]);
    new[7] = Some(json!({ "output": "no", "ms": 2, "usd": 0.00001, "finish": "content_filter" }));
    let text = folder.read("suite.yaml");
    run(&folder, more, false, &base, &new, 0);
    folder.write("suite.yaml", text.replace("new.jsonl, ", "new.jsonl, finish: finish, "));
    folder.run(&["run", "suite.yaml", "--out", "run", "--fresh", "-q"]).expect(4);
    let report = folder.json("run/report.json");
    assert_eq!(verdicts(&report), ["inconclusive"; 2]);
    assert!(report["gates"][0]["reason"].as_str().unwrap().contains("1 of 60"), "{}", report["gates"][0]);
}

#[test]
fn a_machine_by_the_hour_is_judged_by_what_it_costs_reserved() {
    let folder = Folder::new();
    let base: Vec<Option<Value>> =
        (0..60).map(|index| Some(json!({ "output": "x", "ms": 100, "usd": 0.002 + index as f64 * 1e-6 }))).collect();
    let new: Vec<Option<Value>> = (0..60).map(|index| Some(json!({ "output": "x", "ms": 100 + index }))).collect();
    let hourly = |more: &str, price: &str, code| {
        run(&folder, "scorers: [exact: {}]\n", false, &base, &new, 0);
        let text = folder.read("suite.yaml").replace(
            "path: new.jsonl, latency_ms: ms } }",
            &format!("path: new.jsonl, latency_ms: ms }}, price: {{ per_hour_usd: 3.6{price} }} }}"),
        );
        folder.write("suite.yaml", text + "gates:\n  - { metric: cost_usd, at_most_ratio: 0.5 }\n" + more);
        folder.run(&["run", "suite.yaml", "--out", "run", "--fresh", "-q"]).expect(code);
        folder.json("run/report.json")
    };
    // At full use an answer costs some 0.00013 dollars, a fifteenth of the baseline's.
    let report = hourly("", "", 4);
    let reason = report["gates"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("`volume: { requests_per_day"), "{reason}");
    let machines = &report["candidates"][1]["machines"];
    assert!(machines["full_use_usd"].as_f64().unwrap() < 0.0002, "{machines}");
    assert_eq!(machines["reserved_usd"], Value::Null);
    // 86.4 dollars a day for 10,000 requests.
    let report = hourly("volume: { requests_per_day: 10000, peak_over_mean: 2 }\n", "", 1);
    let machines = &report["candidates"][1]["machines"];
    assert_eq!((&machines["reserved_usd"], &machines["replicas"]), (&json!(0.00864), &json!(1)));
    let cost =
        report["candidates"][1]["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "cost_usd");
    assert_eq!(cost.unwrap()["value"], "0.00864");
    // A machine is as dear as the baseline at 3.6 / 0.00203 / 3600 requests a second.
    assert!((machines["break_even_per_s"].as_f64().unwrap() - 0.4928).abs() < 1e-3, "{machines}");
    // 100,000 a day cost a tenth of that each; two replicas twice as much.
    hourly("volume: { requests_per_day: 100000, peak_over_mean: 2 }\n", "", 0);
    let report = hourly("volume: { requests_per_day: 100000, peak_over_mean: 2 }\n", ", replicas: 2", 1);
    assert_eq!(report["candidates"][1]["machines"]["reserved_usd"], json!(0.001728));
}

#[test]
fn blank_answers_are_no_answers() {
    let folder = Folder::new();
    let answer = |index: usize| Some(json!({ "output": "x", "ms": 900 + index, "usd": 0.01 + index as f64 * 1e-5 }));
    let blank = |index: usize| Some(json!({ "output": " ", "ms": 2 + index, "usd": 0.00001 + index as f64 * 1e-8 }));
    let base: Vec<Option<Value>> = (0..80).map(answer).collect();
    let new: Vec<Option<Value>> = (0..80).map(|index| if index == 3 { answer(3) } else { blank(index) }).collect();
    let more = "scorers: [exact: {}]\ngates:\n  - { metric: cost_usd, at_most_ratio: 1.1 }\n\
                \x20 - { metric: latency_ms.p95, at_most: 2000 }\n";
    assert_eq!(verdicts(&run(&folder, more, false, &base, &new, 4)), ["inconclusive"; 2]);
    // Without gates, and for a baseline, too: a run in which somebody says nothing at all has measured nothing.
    let silent: Vec<Option<Value>> = (0..80).map(blank).collect();
    run(&folder, "scorers: [exact: {}]\n", false, &base, &silent, 4);
    run(&folder, more, false, &silent, &base, 4);
}

#[test]
fn too_few_machines_or_a_made_up_throughput_pass_no_gate() {
    let folder = Folder::new();
    let base: Vec<Option<Value>> =
        (0..60).map(|index| Some(json!({ "output": "x", "ms": 900, "usd": 0.002 + index as f64 * 1e-6 }))).collect();
    let new: Vec<Option<Value>> = (0..60).map(|index| Some(json!({ "output": "x", "ms": 1000 + index }))).collect();
    run(&folder, "scorers: [exact: {}]\n", false, &base, &new, 0);
    let text = folder.read("suite.yaml").replace(
        "path: new.jsonl, latency_ms: ms } }",
        "path: new.jsonl, latency_ms: ms }, price: { per_hour_usd: 3.6, replicas: 1 } }",
    );
    let volume = "volume: { requests_per_day: 8640000, peak_over_mean: 1 }\ngates:\n  - { metric: cost_usd, at_most_ratio: 0.6 }\n";
    folder.write("suite.yaml", text + volume);
    folder.run(&["run", "suite.yaml", "--out", "run", "--fresh", "-q"]).expect(0);
    // 100 a second, and as far as is known one answer takes a machine a second: 103 machines, not 1, at 0.00103 an answer.
    let machines = &folder.json("run/report.json")["candidates"][1]["machines"];
    assert_eq!(machines["replicas"], json!(103), "{machines}");
    assert!((machines["reserved_usd"].as_f64().unwrap() - 0.00103).abs() < 1e-9, "{machines}");
}

#[test]
fn few_answers_of_a_class_few_samples_of_a_quantile_and_few_conversations_are_few() {
    let folder = Folder::new();
    let mut answers = right(60);
    answers.iter_mut().enumerate().for_each(|(index, answer)| {
        answer.as_mut().unwrap()["ms"] = json!(100 + index);
    });
    let more = "scorers: [label: { classes: [x, y] }]\ngates:\n  - { metric: label.macro_f1, at_least: 0.9 }\n\
                \x20 - { metric: label.macro_f1, non_inferior: { margin: 0.1 } }\n  - { metric: label, at_least: 0.9 }\n\
                \x20 - { metric: latency_ms.p99, at_most_ratio: 1.5 }\n  - { metric: latency_ms.p99, non_inferior: { margin: 500 } }\n";
    let report = run(&folder, more, false, &answers, &answers, 4);
    assert_eq!(verdicts(&report), ["pass", "pass", "pass", "inconclusive", "inconclusive"]);
    // One of sixty is of the other class: that one answer says nothing of how the class fares.
    let rows = |index: usize| json!({ "id": format!("s{index}"), "target": if index == 59 { "y" } else { "x" }, "source": "one" });
    folder.write("data.jsonl", lines((0..60).map(rows)));
    answers[59].as_mut().unwrap()["output"] = json!("y");
    let answer = |(index, answer): (usize, &Option<Value>)| {
        let mut answer = answer.clone().unwrap();
        answer["id"] = format!("s{index}").into();
        answer
    };
    for name in ["base.jsonl", "new.jsonl"] {
        folder.write(name, lines(answers.iter().enumerate().map(answer)));
    }
    folder.run(&["run", "suite.yaml", "--out", "run", "--fresh", "-q"]).expect(4);
    let report = folder.json("run/report.json");
    assert_eq!(verdicts(&report)[..3], ["inconclusive", "inconclusive", "pass"]);
    // All of one conversation: no quantile has an interval, however many answers there are.
    let text = folder.read("suite.yaml").replace("path: data.jsonl", "path: data.jsonl, cluster: source");
    folder.write("suite.yaml", text + "  - { metric: latency_ms.p50, at_most: 5000 }\n");
    folder.run(&["run", "suite.yaml", "--out", "run", "--fresh", "-q"]).expect(4);
    assert_eq!(verdicts(&folder.json("run/report.json")), ["inconclusive"; 6]);
}

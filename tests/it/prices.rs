//! `evalctl prices`, and what candidates are priced by.

use serde_json::{Value, json};

use crate::support::{Folder, Output, finish};
use crate::tls;

const OWN: &str = "\
# What we have agreed.
source: contract of 2026
as_of: 2026-11-01
rows:
  - provider: openai
    model: gpt-5-mini
    price: { input_per_mtok_usd: 0.2, output_per_mtok_usd: 1.5 }
";

/// One sample, one candidate at OpenAI's own address.
fn suite(more: &str, candidate: &str) -> String {
    format!(
        "name: priced\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: '{{{{ input }}}}' }}\n{more}\
         scorers: [{{ exact: {{}} }}]\ngates: [{{ metric: cost_usd, at_most: 1 }}]\n\
         candidates:\n  - {{ id: one, retries: 0, {candidate} }}\n"
    )
}

fn folder(more: &str, candidate: &str) -> Folder {
    let folder = Folder::new();
    folder.write("data.jsonl", "{\"id\":\"a\",\"input\":\"x\",\"target\":\"x\"}\n");
    folder.write("prices.yaml", OWN);
    folder.write("suite.yaml", suite(more, candidate));
    folder
}

/// With a key, and a proxy that refuses: nothing leaves this machine.
fn evalctl(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = folder.evalctl(arguments);
    command.env("OPENAI_API_KEY", "sk-not-a-key-but-long-enough").env("HTTPS_PROXY", "http://127.0.0.1:9");
    finish(command)
}

#[test]
fn the_book_is_listed_within_80_columns() {
    let folder = Folder::new();
    let all = folder.run(&["prices"]).expect(0).out;
    assert!(all.lines().count() > 600);
    for line in all.lines().filter(|line| !line.contains('/') && !line.starts_with('[')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(all.contains("litellm 2026-07-24"));
    let one = folder.run(&["prices", "gpt-5.5", "--provider", "openai"]).expect(0).out;
    let expected = "\
openai                              in  cached   write     out  as of
  gpt-5.5                            5     0.5       –      30+ 2026-07-24 [1]
    above 272000 in: 10 in, 1 cached, 45 out
    batch × 0.5
    versions: gpt-5.5-2026-04-23
    note: the tier is in litellm only
";
    assert!(one.contains(expected), "{one}");
    // A dated version finds its model; whatever contains the text follows.
    let dated = folder.run(&["prices", "gpt-4o-2024-11-20", "--provider", "openai"]).expect(0).out;
    assert!(dated.contains("  gpt-4o  ") && !dated.contains("gpt-4o-mini "), "{dated}");
    let hourly = folder.run(&["prices", "--provider", "modal"]).expect(0).out;
    assert!(hourly.contains("3.9492 an hour"), "{hourly}");
}

#[test]
fn the_book_is_json_for_programs() {
    let folder = Folder::new();
    let out = folder.run(&["prices", "kimi-k2.6", "--provider", "moonshot", "--json"]).expect(0).out;
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed["format"], "evalctl-prices/1");
    let row = &listed["rows"][0];
    assert_eq!((&row["from"], &row["currency"], &row["as_of"]), (&json!("book"), &json!("USD"), &json!("2026-07-24")));
    assert_eq!(row["price"]["input_per_mtok_usd"], "0.95");
    assert!(row["source"].as_str().unwrap().contains("genai-prices"));
}

#[test]
fn what_is_not_listed_is_said_with_what_is_near() {
    let folder = Folder::new();
    let said = folder.run(&["prices", "gpt-5-mimi"]).expect(2);
    assert!(said.out.is_empty());
    assert!(said.err.contains("no model of the price book is called `gpt-5-mimi`"), "{}", said.err);
    assert!(said.err.contains("did you mean `gpt-5-mini`?"), "{}", said.err);
    let said = folder.run(&["prices", "--provider", "openay"]).expect(2).err;
    assert!(said.contains("did you mean `openai`?"), "{said}");
    let said = folder.run(&["prices", "\u{1b}[31mno-such-thing-at-all"]).expect(2).err;
    assert!(!said.contains('\u{1b}') && said.contains("goes into `price`"), "{said}");
}

#[test]
fn a_file_of_prices_is_checked_with_places() {
    let folder = Folder::new();
    folder.write("prices.yaml", OWN);
    let shown = folder.run(&["prices", "gpt-5-mini", "--provider", "openai", "--file", "prices.yaml"]).expect(0).out;
    assert!(shown.contains("openai (your file)") && shown.contains("[1] contract of 2026"), "{shown}");
    // JSON is YAML, and the book's own form.
    folder.write(
        "prices.json",
        r#"{"rows": [{"provider": "a", "model": "b", "price": {"per_hour_usd": 2.5}, "source": "s", "as_of": "2026-01-01"}]}"#,
    );
    folder.run(&["prices", "b", "--provider", "a", "--file", "prices.json"]).expect(0);
    folder.write(
        "bad.yaml",
        "as_of: yesterday\nrows:\n  - provider: a\n    modell: m\n    price: { input_per_mtok_usd: -1 }\n  - provider: a\n    \
         model: n\n    aliases: [n]\n    currency: EUR\n    source: s\n    price: {}\n",
    );
    let said = folder.run(&["prices", "--file", "bad.yaml"]).expect(2).err;
    for part in [
        "bad.yaml:1:8",
        "a day such as `2026-07-24`",
        "bad.yaml:4:5",
        "did you mean `model`?",
        "bad.yaml:5:34",
        "an amount of dollars, 0 or more",
        "unknown value `EUR` for `rows[1].currency`",
        "bad.yaml:8:15",
        "`a` has a row for `n` already, the 2nd",
        "`price` names no amount",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    for (file, part) in [("none.yaml", "no such file"), (".", "it is a folder")] {
        let said = folder.run(&["prices", "--file", file]).expect(2).err;
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn check_says_what_candidates_are_priced_by() {
    let priced = |more: &str, candidate: &str| {
        let folder = folder(more, candidate);
        let out = evalctl(&folder, &["check", "suite.yaml"]).expect(0).out;
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        let price = out.split_once("    price ").unwrap().1.split_once("    estimate ").unwrap().0;
        price.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let by_book = priced("", "openai: { model: gpt-5-mini-2025-08-07 }");
    assert!(by_book.contains("0.25 in, 0.025 cached, 2 out per Mtok, as `gpt-5-mini` of openai in the price book"));
    assert!(by_book.contains("as of 2026-07-24"), "{by_book}");
    let by_file = priced("prices: prices.yaml\n", "openai: { model: gpt-5-mini }");
    assert!(by_file.contains("0.2 in, 1.5 out per Mtok") && by_file.contains("contract of 2026"), "{by_file}");
    let by_suite = priced("prices: prices.yaml\n", "openai: { model: gpt-5-mini }, price: { per_request_usd: 1 }");
    assert!(by_suite.contains("1 per request, as the suite says"), "{by_suite}");
    let unknown = priced("prices: prices.yaml\n", "openai: { model: gpt-5-mini-of-ours }");
    assert!(unknown.contains("neither `prices` nor the price book has `gpt-5-mini-of-ours` of openai"), "{unknown}");
}

#[test]
fn faults_of_prices_are_faults_of_the_suite() {
    let said = |more: &str, candidate: &str| {
        let folder = folder(more, candidate);
        folder.write("bad.yaml", "rows:\n  - { provider: a, model: b, price: { per_hour_usd: 1 } }\n");
        evalctl(&folder, &["check", "suite.yaml"]).expect(2).err
    };
    let openai = "openai: { model: gpt-5-mini }";
    let missing = said("prices: none.yaml\n", openai);
    assert!(missing.contains("suite.yaml:4:9") && missing.contains("no such file"), "{missing}");
    let bad = said("prices: bad.yaml\n", openai);
    assert!(bad.contains("bad.yaml:2:5") && bad.contains("the row has no `source`"), "{bad}");
    let tiers = said(
        "",
        &format!(
            "{openai}, price: {{ input_per_mtok_usd: 1, output_per_mtok_usd: 2, tiers: [{{ above_input_tokens: 9, input_per_mtok_usd: 2 }}] }}"
        ),
    );
    assert!(tiers.contains("the tier above 9 lacks `output_per_mtok_usd`"), "{tiers}");
    let batch = said("", &format!("{openai}, is_batch: true"));
    assert!(batch.contains("`is_batch`, but the price has no `batch_factor`"), "{batch}");
    let age = said("price_max_age: 5m\n", openai);
    assert!(age.contains("must be at least a day"), "{age}");
}

#[test]
fn manifest_and_report_say_which_row_priced_a_candidate() {
    let folder = folder("prices: prices.yaml\nprice_max_age: 90d\n", "openai: { model: gpt-5-mini }");
    // What stands in for the service counts no tokens, so the gate on money stays undecided.
    let mut run = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
    run.env("OPENAI_API_KEY", "sk-not-a-key-but-long-enough").envs(tls::in_place_of_openai());
    finish(run).expect(4);
    assert_eq!(folder.json("run/records.jsonl")["answer"]["text"], "right");
    let manifest = folder.json("run/manifest.json");
    let pricing = &manifest["candidates"][0]["pricing"];
    let expected = json!({
        "from": "file", "price": { "input_per_mtok_usd": "0.2", "output_per_mtok_usd": "1.5" },
        "provider": "openai", "model": "gpt-5-mini", "source": "contract of 2026", "as_of": "2026-11-01",
        "note": null, "is_batch": false, "reason": null
    });
    assert_eq!(*pricing, expected);
    let report = folder.json("run/report.json");
    assert_eq!(report["candidates"][0]["pricing"], expected);
    let note = |report: &Value, kind: &str| {
        let notes = report["notes"].as_array().unwrap();
        notes.iter().find(|note| note["kind"] == kind).map(|note| note["text"].as_str().unwrap().to_owned())
    };
    let said = note(&report, "priced").unwrap();
    assert!(
        said.contains("`one` is priced at 0.2 in, 1.5 out per Mtok") && said.contains("as of 2026-11-01"),
        "{said}"
    );
    // Years later, with the file gone and another book: what the run was priced by still stands, and is old by then.
    std::fs::remove_file(folder.path().join("prices.yaml")).unwrap();
    let mut later = manifest.clone();
    later["started"] = json!("2027-02-28T00:00:00Z");
    folder.write("run/manifest.json", later.to_string());
    let out = evalctl(&folder, &["report", "run", "--format", "json"]).expect(4).out;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["candidates"][0]["pricing"], expected);
    assert_eq!(note(&report, "stale_price").unwrap(), "the price of `one` was 119 days old when the run began");
    later["started"] = json!("2027-01-30T00:00:00Z");
    folder.write("run/manifest.json", later.to_string());
    let out = evalctl(&folder, &["report", "run", "--format", "json"]).expect(4).out;
    assert_eq!(note(&serde_json::from_str(&out).unwrap(), "stale_price"), None);
}

#[test]
fn a_gate_on_money_without_a_price_is_inconclusive() {
    let folder = Folder::new();
    folder.write("data.jsonl", "{\"id\":\"a\",\"target\":\"x\"}\n{\"id\":\"b\",\"target\":\"y\"}\n");
    let recorded = "scripted: { reply: x }";
    folder.write("suite.yaml", suite("", recorded).replace("{{ input }}", "{{ id }}"));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(4);
    let report = folder.json("run/report.json");
    assert_eq!(report["gates"][0]["verdict"], "inconclusive");
    assert_eq!(report["gates"][0]["reason"], "no price given");
    assert_eq!(report["candidates"][0]["pricing"]["reason"], "no price given");
    assert_eq!(report["candidates"][0]["pricing"]["price"], Value::Null);
}

#[test]
fn a_right_answer_has_its_price() {
    let folder = Folder::new();
    let targets = ["x", "x", "y", "x"];
    let rows =
        targets.iter().enumerate().map(|(index, target)| format!("{{\"id\":\"s{index}\",\"target\":\"{target}\"}}\n"));
    folder.write("data.jsonl", rows.collect::<String>());
    let text = suite("", "scripted: { reply: x }, price: { per_request_usd: 0.03 }").replace("{{ input }}", "{{ id }}");
    let text = text.replace("metric: cost_usd, at_most: 1", "metric: cost_per_correct_usd, at_most: 1");
    folder.write("suite.yaml", &text);
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let report = folder.json("run/report.json");
    let metric = |name: &str| {
        let metrics = report["candidates"][0]["metrics"].as_array().unwrap();
        metrics.iter().find(|metric| metric["name"] == name).unwrap().clone()
    };
    // Four requests at 0.03, three of them right. Deviations (0.03 − 0.04·y) / 0.75 are −0.01, −0.01, 0.03, −0.01 over
    // 0.75: SE = √(0.0012/3/4)/0.75 = 0.013333, t(3) = 3.182446, so ± 0.042433 around 0.04, cut at 0.
    let right = metric("cost_per_correct_usd");
    assert_eq!(
        (&right["value"], &right["lower"], &right["method"]),
        (&json!("0.04"), &json!("0"), &json!("ratio_of_means"))
    );
    assert!((right["upper"].as_str().unwrap().parse::<f64>().unwrap() - 0.082433).abs() < 1e-6, "{right}");
    assert_eq!((&right["n"], &right["missing"]), (&json!(4), &json!(0)));
    assert_eq!(metric("cost_per_1k_requests_usd")["value"], "30");
    assert_eq!(metric("cost_usd")["value"], "0.03");
    folder.write(
        "suite.yaml",
        text.replace("at_most: 1 ", "at_most_ratio: 1 ").replace("candidates:", "baseline: one\ncandidates:"),
    );
    let said = folder.run(&["check", "suite.yaml"]).expect(2).err;
    assert!(said.contains("`cost_per_correct_usd` is not compared with the baseline"), "{said}");
}

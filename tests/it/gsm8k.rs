//! Real data: four systems' recorded answers to GSM8K, against figures computed elsewhere. Runs when
//! `EVALCTL_CONFORMANCE_DATA` names the folder with the data, which is not part of this repository.

use crate::support::Folder;

/// Correct answers of 1,319, and Wilson's interval as printed, by system.
const SYSTEMS: [(&str, u64, [&str; 2]); 4] = [
    ("6b_finetuning", 286, ["0.195431", "0.239875"]),
    ("6b_verification", 515, ["0.364474", "0.417057"]),
    ("175b_finetuning", 458, ["0.322017", "0.373336"]),
    ("175b_verification", 742, ["0.535633", "0.589099"]),
];

fn suite(data: &str, baseline: &str) -> String {
    let file = format!("{data}/gsm8k/example_model_solutions.jsonl");
    let mut text = format!(
        "name: gsm8k\nbaseline: {baseline}\ndataset: {{ path: {file}, id: question, target: ground_truth }}\n\
         scorers:\n  - number: {{ extract: {{ regex: \"A: *(.+)\", which: last }} }}\ncandidates:\n"
    );
    for (system, _, _) in SYSTEMS {
        text.push_str(&format!(
            "  - id: {system}\n    recorded: {{ path: {file}, on: question, text: /{system}/solution }}\n"
        ));
    }
    text
}

#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn gsm8k_gives_the_published_figures() {
    let data = std::env::var("EVALCTL_CONFORMANCE_DATA").expect("EVALCTL_CONFORMANCE_DATA names the folder");
    let folder = Folder::new();
    folder.write("suite.yaml", suite(&data, "175b_finetuning"));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let report = folder.json("run/report.json");
    let six = |value: &serde_json::Value| format!("{:.6}", value.as_f64().unwrap());
    for (index, (system, correct, interval)) in SYSTEMS.iter().enumerate() {
        let candidate = &report["candidates"][index];
        assert_eq!(candidate["id"], *system);
        let metric = &candidate["metrics"][0];
        assert_eq!(metric["n"], 1319);
        assert_eq!(six(&metric["value"]), format!("{:.6}", *correct as f64 / 1319.0), "{system}");
        assert_eq!([six(&metric["lower"]), six(&metric["upper"])], *interval, "{system}");
    }
    let of = |candidate: &str| {
        let comparisons = report["comparisons"].as_array().unwrap();
        comparisons.iter().find(|c| c["candidate"] == candidate && c["metric"] == "number").unwrap().clone()
    };
    let better = of("6b_verification");
    assert_eq!(better["discordant"], serde_json::json!({ "candidate_only": 209, "baseline_only": 152 }));
    assert_eq!(format!("{:.7}", better["p_value"].as_f64().unwrap()), "0.0031507");
    let best = of("175b_verification");
    assert_eq!(best["discordant"], serde_json::json!({ "candidate_only": 360, "baseline_only": 76 }));
    assert_eq!(format!("{:.4e}", best["p_value"].as_f64().unwrap()), "2.8914e-45");
    let chi2 = |corrected| evalctl::stats::mcnemar_chi2(209, 152, corrected).0;
    assert_eq!(format!("{:.4} {:.4}", chi2(false), chi2(true)), "9.0000 8.6870");
}

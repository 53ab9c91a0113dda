//! Reports made by hand for tests: rich, hostile, partial and without gates.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::report::{
    Answerer, CandidateReport, ComparisonReport, FORMAT, FailureExample, GateReport, Note, Report, Verdict, Weights,
};
use crate::suite::GateSpec;
use crate::suite::spec::NonInferiorSpec;
use crate::types::{
    Account, AtWorst, CandidateSummary, ClassFigures, Comparison, Confusion, ConfusionCell, Counts, Discordant, Echoes,
    Estimate, FailureKind, Flip, Method, Price, PriceOrigin, Pricing, TokenKind, TokenSum, Unit,
};

/// The id of the failing candidate: wide characters and a bit of everything that forms take for markup.
pub(crate) const ODD: &str = "三号 *q4*|=1+1";

fn estimate(name: &str, unit: Unit, figures: Option<[f64; 3]>, n: u64, missing: u64, method: Method) -> Estimate {
    let [value, lower, upper] = figures.map_or([None; 3], |figures| figures.map(Some));
    let reason = figures.is_none().then(|| "the service reported no output tokens".to_owned());
    Estimate {
        name: name.to_owned(),
        unit,
        value,
        lower,
        upper,
        confidence: 0.95,
        n,
        missing,
        at_worst: AtWorst::default(),
        method,
        reason,
    }
}

struct Figures {
    id: &'static str,
    label: [f64; 3],
    macro_f1: [f64; 3],
    schema: [f64; 3],
    latency_scale: f64,
    is_streamed: bool,
    cost_usd: Option<[f64; 3]>,
    failed: u64,
    unscored: u64,
}

fn summary(figures: Figures) -> CandidateSummary {
    let Figures { failed, unscored, .. } = figures;
    let answered = 400 - failed;
    let scored = answered - unscored;
    let share = |name, interval| estimate(name, Unit::Share, Some(interval), scored, 400 - scored, Method::Wilson);
    let ms = |name, interval: [f64; 3]| {
        let interval = interval.map(|ms| ms * figures.latency_scale);
        estimate(name, Unit::Ms, Some(interval), answered, failed, Method::OrderStatistics)
    };
    let mut metrics = vec![
        share("label", figures.label),
        Estimate { method: Method::Bootstrap, ..share("label.macro_f1", figures.macro_f1) },
        share("schema", figures.schema),
        Estimate {
            n: 400,
            missing: 0,
            ..share("failure_rate", [failed as f64 / 400.0, failed as f64 / 900.0, failed as f64 / 190.0 + 0.0095])
        },
        ms("latency_ms.p50", [812.0, 790.4, 840.1]),
        ms("latency_ms.p95", [1480.0, 1391.0, 1622.0]),
        Estimate {
            upper: None,
            reason: Some("too few answers for an upper bound of p99".to_owned()),
            ..ms("latency_ms.p99", [2210.0, 1907.0, 0.0])
        },
    ];
    for (name, interval) in [
        ("ttft_ms.p50", [212.0, 199.0, 230.4]),
        ("ttft_ms.p95", [488.0, 431.0, 540.0]),
        ("tpot_ms.p50", [8.42, 8.1, 8.9]),
    ] {
        let mut metric = ms(name, interval);
        if !figures.is_streamed {
            metric = Estimate {
                value: None,
                lower: None,
                upper: None,
                n: 0,
                missing: 400,
                reason: Some("the answers were not streamed".to_owned()),
                ..metric
            };
        }
        metrics.push(metric);
    }
    let token = |name, interval| estimate(name, Unit::Tokens, interval, answered, failed, Method::T);
    metrics.push(token("input_tokens", Some([412.3, 398.0, 426.6])));
    metrics.push(token("output_tokens", figures.cost_usd.map(|_| [38.2, 36.9, 39.5])));
    metrics.push(estimate("cost_usd", Unit::Usd, figures.cost_usd, answered, failed, Method::T));
    CandidateSummary {
        id: figures.id.to_owned(),
        counts: Counts { tasks: 400, scored, unscored, failed, dropped: 0 },
        answers: scored + unscored,
        failures: if failed > 0 {
            BTreeMap::from([(FailureKind::Timeout, failed - 1), (FailureKind::RateLimited, 1)])
        } else {
            BTreeMap::new()
        },
        account: Account {
            retries: failed * 3,
            maybe_billed: failed,
            held_usd: (failed > 0).then(|| Decimal::new(42, 4)),
            tokens: vec![
                TokenSum { kind: TokenKind::Input, tokens: 412 * answered, answers: answered },
                TokenSum { kind: TokenKind::CachedInput, tokens: 128 * answered, answers: answered },
                TokenSum { kind: TokenKind::Output, tokens: 38 * answered, answers: answered - 1 },
            ],
            echoes: Echoes::default(),
        },
        metrics,
        confusions: Vec::new(),
        spend_usd: figures.cost_usd.map(|cost| Decimal::from_f64_retain(cost[0] * 400.0).unwrap().round_dp(6)),
        spend_reason: figures.cost_usd.is_none().then(|| "no price is known for `local` candidates".to_owned()),
        machines: None,
    }
}

fn confusion() -> Confusion {
    let class = |class: &str, precision: Option<f64>, recall: Option<f64>, support| ClassFigures {
        class: class.to_owned(),
        precision,
        precision_interval: precision.map(|p| (p - 0.06, p + 0.04)),
        recall,
        recall_interval: recall.map(|r| ((r - 0.05).max(0.0), r + 0.05)),
        f1: precision.zip(recall).map(|(p, r)| 2.0 * p * r / (p + r)),
        support,
        predicted: precision.map_or(0, |_| support),
    };
    let names = ["billing", "=HYPERLINK(\"http://e\")", "退款", "| --- |"];
    let counts = [[140, 6, 0, 2, 12], [9, 121, 0, 0, 0], [30, 12, 0, 0, 60]];
    let cells = counts.iter().zip(names).flat_map(|(row, expected)| {
        let cells = row.iter().enumerate().filter(|(_, count)| **count > 0);
        cells.map(move |(column, count)| ConfusionCell {
            expected: expected.to_owned(),
            predicted: names.get(column).map(|name| (*name).to_owned()),
            count: *count,
        })
    });
    Confusion {
        metric: "label".to_owned(),
        cells: cells.collect(),
        classes: vec![
            class("billing", Some(0.782), Some(0.875), 160),
            class("=HYPERLINK(\"http://e\")", Some(0.871), Some(0.931), 130),
            class("退款", None, Some(0.0), 102),
        ],
    }
}

fn label_comparison(candidate: &str, figures: [f64; 3], fixed: u64, broken: u64, p: f64) -> Comparison {
    let flips = (0..fixed).map(|index| Flip { sample: format!("t-{:04}", 7 + 13 * index), is_fixed: true });
    let breaks = (0..broken).map(|index| Flip { sample: format!("t-{:04}", 3 + 11 * index), is_fixed: false });
    let [difference, lower, upper] = figures.map(Some);
    Comparison {
        candidate: candidate.to_owned(),
        baseline: "current".to_owned(),
        metric: "label".to_owned(),
        unit: Unit::Share,
        difference,
        lower,
        upper,
        ratio: None,
        confidence: 0.95,
        n: 392,
        candidate_missing: 6,
        baseline_missing: 1,
        lost: 0,
        paired_at_worst: None,
        method: Method::Tango,
        p_value: Some(p),
        bootstrap: None,
        discordant: Some(Discordant { candidate_only: fixed, baseline_only: broken }),
        shown_after: None,
        paired: None,
        reason: None,
        flips: flips.chain(breaks).collect(),
    }
}

fn other_comparison(candidate: &str, metric: &str, unit: Unit, figures: Option<([f64; 3], [f64; 3])>) -> Comparison {
    let method = if unit == Unit::Ms { Method::PairedLogRatio } else { Method::RatioOfMeans };
    let reason = figures.is_none().then(|| "the service reported no output tokens".to_owned());
    let ratio = figures.map(|(_, ratio)| estimate(metric, unit, Some(ratio), 391, 9, method));
    let [difference, lower, upper] = figures.map_or([None; 3], |(difference, _)| difference.map(Some));
    Comparison {
        metric: metric.to_owned(),
        unit,
        difference,
        lower,
        upper,
        ratio,
        n: 391,
        method: Method::PairedT,
        p_value: None,
        discordant: None,
        reason,
        flips: Vec::new(),
        ..label_comparison(candidate, [0.0; 3], 0, 0, 1.0)
    }
}

/// All flips of the example, as `flips.csv` gets them.
pub(crate) fn comparisons() -> Vec<Comparison> {
    let mut odd = label_comparison(ODD, [-0.148, -0.189, -0.108], 4, 62, 2.8914e-16);
    odd.flips[1].sample = "ticket\u{1b}[2J\n=cmd|' /C calc'!A0".to_owned();
    odd.flips[2].sample = "👩🏽‍💻 chat".to_owned();
    let mut graded = label_comparison("qwen-vllm", [-0.021, -0.049, 0.008], 0, 0, 0.151);
    graded.metric = "label.macro_f1".to_owned();
    graded.method = Method::ClusteredPairedT;
    graded.discordant = None;
    graded.bootstrap = Some((-0.047, 0.006));
    let mut too_few = label_comparison(ODD, [0.0; 3], 0, 0, 1.0);
    too_few.metric = "label.macro_f1".to_owned();
    (too_few.difference, too_few.lower, too_few.upper) = (None, None, None);
    (too_few.p_value, too_few.discordant) = (None, None);
    too_few.n = 1;
    too_few.reason = Some("1 pair is too few for an interval".to_owned());
    let ms = |candidate, difference, ratio| {
        other_comparison(candidate, "latency_ms.p95", Unit::Ms, Some((difference, ratio)))
    };
    let usd = |candidate, figures| other_comparison(candidate, "cost_usd", Unit::Usd, figures);
    vec![
        label_comparison("organisation/model-small-2026-09-30", [-0.0025, -0.0151, 0.01], 5, 6, 1.0),
        label_comparison("qwen-vllm", [-0.0128, -0.034, 0.0087], 12, 17, 0.458),
        odd,
        graded,
        too_few,
        ms("organisation/model-small-2026-09-30", [-592.0, -641.0, -540.0], [0.6, 0.571, 0.632]),
        ms("qwen-vllm", [148.0, 92.0, 207.0], [1.1, 1.06, 1.142]),
        ms(ODD, [11_840.0, 11_020.0, 12_710.0], [9.0, 8.41, 9.63]),
        usd("organisation/model-small-2026-09-30", Some(([-0.001107, -0.00113, -0.00108], [0.1, 0.0979, 0.1021]))),
        usd("qwen-vllm", Some(([-0.000615, -0.00064, -0.00059], [0.5, 0.478, 0.523]))),
        usd(ODD, None),
    ]
}

fn gate(candidate: &str, verdict: Verdict, gate: GateSpec, judged: [f64; 3], text: &str, reason: &str) -> GateReport {
    GateReport {
        gate,
        text: text.to_owned(),
        candidate: candidate.to_owned(),
        verdict,
        observed: Some(judged[0]),
        lower: Some(judged[1]),
        upper: Some(judged[2]),
        confidence: 0.9,
        reason: reason.to_owned(),
        samples_needed: None,
    }
}

fn gate_spec(metric: &str) -> GateSpec {
    GateSpec {
        metric: metric.to_owned(),
        at_least: None,
        at_most: None,
        at_most_ratio: None,
        non_inferior: None,
        candidates: Vec::new(),
    }
}

fn gates() -> Vec<GateReport> {
    let small = "organisation/model-small-2026-09-30";
    let label = GateSpec { non_inferior: Some(NonInferiorSpec { margin: 0.02 }), ..gate_spec("label") };
    let schema = GateSpec { at_least: Some(0.98), ..gate_spec("schema") };
    let latency = GateSpec { at_most: Some(2000.0), ..gate_spec("latency_ms.p95") };
    let cost = GateSpec { at_most_ratio: Some(0.6), ..gate_spec("cost_usd") };
    let by_label = "label not worse than current by 0.02";
    let by_schema = "schema at least 0.98";
    let by_latency = "latency_ms.p95 at most 2,000 ms";
    let by_cost = "cost_usd at most 0.6 times that of current";
    use Verdict::{Fail, Inconclusive, Pass};
    vec![
        gate(
            small,
            Pass,
            label.clone(),
            [-0.0025, -0.0131, 0.0079],
            by_label,
            "the lower end -1.3 is above -2.0 points",
        ),
        gate(small, Pass, schema.clone(), [0.995, 0.984, 0.9986], by_schema, "the lower end 98.4 % is at least 98 %"),
        gate(small, Pass, latency.clone(), [888.0, 830.0, 960.0], by_latency, "the upper end 960 ms is below 2,000 ms"),
        gate(small, Pass, cost.clone(), [0.1, 0.098, 0.102], by_cost, "the upper end 0.102 is at most 0.6"),
        GateReport {
            samples_needed: Some(1300),
            ..gate(
                "qwen-vllm",
                Inconclusive,
                label.clone(),
                [-0.0128, -0.0304, 0.0051],
                by_label,
                "the interval holds the margin of -2.0 points",
            )
        },
        gate(
            "qwen-vllm",
            Pass,
            schema.clone(),
            [0.995, 0.984, 0.9986],
            by_schema,
            "the lower end 98.4 % is at least 98 %",
        ),
        gate("qwen-vllm", Pass, cost.clone(), [0.5, 0.478, 0.523], by_cost, "the upper end 0.523 is at most 0.6"),
        gate(ODD, Fail, label, [-0.148, -0.182, -0.115], by_label, "the upper end -11.5 is below -2.0 points"),
        gate(ODD, Fail, latency, [13_320.0, 12_519.0, 14_598.0], by_latency, "the lower end 12.5 s is above 2,000 ms"),
        GateReport {
            observed: None,
            lower: None,
            upper: None,
            ..gate(
                ODD,
                Inconclusive,
                cost,
                [0.0; 3],
                by_cost,
                "there is no figure: no price is known for `local` candidates, ask @finance (#12)",
            )
        },
    ]
}

/// A run with four candidates: the baseline, one that passes, one that needs more samples and one that fails.
pub(crate) fn rich() -> Report {
    let current = summary(Figures {
        id: "current",
        label: [0.930, 0.901, 0.951],
        macro_f1: [0.921, 0.889, 0.948],
        schema: [1.0, 0.9905, 1.0],
        latency_scale: 1.0,
        is_streamed: true,
        cost_usd: Some([0.00123, 0.0012, 0.00126]),
        failed: 0,
        unscored: 7,
    });
    let small = summary(Figures {
        id: "organisation/model-small-2026-09-30",
        label: [0.9275, 0.898, 0.949],
        macro_f1: [0.919, 0.886, 0.944],
        schema: [0.995, 0.982, 0.9986],
        latency_scale: 0.6,
        is_streamed: true,
        cost_usd: Some([0.000123, 0.00012, 0.000126]),
        failed: 0,
        unscored: 7,
    });
    let qwen = summary(Figures {
        id: "qwen-vllm",
        label: [0.9175, 0.887, 0.9405],
        macro_f1: [0.9, 0.867, 0.931],
        schema: [0.995, 0.982, 0.9986],
        latency_scale: 1.1,
        is_streamed: false,
        cost_usd: Some([0.000615, 0.0006, 0.00063]),
        failed: 4,
        unscored: 7,
    });
    let mut odd = summary(Figures {
        id: ODD,
        label: [0.782, 0.739, 0.82],
        macro_f1: [0.7, 0.651, 0.744],
        schema: [0.88, 0.844, 0.9085],
        latency_scale: 9.0,
        is_streamed: true,
        cost_usd: None,
        failed: 3,
        unscored: 7,
    });
    odd.confusions = vec![confusion()];
    let priced = Pricing {
        from: Some(PriceOrigin::Book),
        price: Some(Price { per_request_usd: Some(Decimal::new(5, 3)), ..Price::default() }),
        provider: Some("openai".to_owned()),
        model: Some("gpt-5-mini".to_owned()),
        source: Some("litellm 2026-07-24".to_owned()),
        as_of: Some("2026-07-24".to_owned()),
        ..Pricing::default()
    };
    let unpriced = Pricing { reason: Some("no price given".to_owned()), ..Pricing::default() };
    let answerer = |provider: &str, weights: Option<Weights>| {
        let pricing = if provider.starts_with("openai") { priced.clone() } else { unpriced.clone() };
        let example =
            |sample: &str, message: &str| FailureExample { sample: sample.to_owned(), message: message.to_owned() };
        let examples = BTreeMap::from([
            (FailureKind::Timeout, example("T-1017", "no answer within 2m")),
            (FailureKind::RateLimited, example("T-1203", "rate limited: 60 requests a minute, see #12 or ask @team")),
        ]);
        Answerer { provider: provider.to_owned(), pricing, weights, examples }
    };
    let weights = Weights {
        architecture: "llama".to_owned(),
        format: "gguf".to_owned(),
        quantisation: "q4_0".to_owned(),
        parameters: 3_081_984,
        bytes: 1_905_728,
        device: "cpu".to_owned(),
    };
    use Verdict::{Fail, Inconclusive, Pass};
    Report {
        format: FORMAT.to_owned(),
        suite: "support-triage".to_owned(),
        decision: Some("May ticket triage move from the current API to open weights?".to_owned()),
        run: "2026-11-21T08-00-00Z-1a2b".to_owned(),
        started: "2026-11-21T08:00:00Z".to_owned(),
        version: "0.1.0".to_owned(),
        is_complete: true,
        verdict: Some(Fail),
        exit_code: 1,
        baseline: Some("current".to_owned()),
        samples: 400,
        replay: None,
        scorers: ["label", "label.macro_f1", "schema"].map(str::to_owned).to_vec(),
        candidates: vec![
            CandidateReport::of(&current, answerer("openai gpt-5-mini", None), None),
            CandidateReport::of(&small, answerer("openai model-small-2026-09-30", None), Some(Pass)),
            CandidateReport::of(&qwen, answerer("vllm Qwen/Qwen3-32B", None), Some(Inconclusive)),
            CandidateReport::of(&odd, answerer("local ../models/q4_0.gguf", Some(weights)), Some(Fail)),
        ],
        comparisons: comparisons().iter().map(ComparisonReport::of).collect(),
        gates: gates(),
        notes: vec![
            Note {
                kind: "failures".to_owned(),
                text: "1.0 % of the tasks of `qwen-vllm` failed; they count as missing, not as wrong".to_owned(),
                advice: Some("look at them before trusting its figures: failures are seldom random".to_owned()),
            },
            Note { kind: "resumed".to_owned(), text: "the run was resumed once".to_owned(), advice: None },
        ],
    }
}

/// A run that was stopped, judged by other gates than it was started with.
pub(crate) fn partial() -> Report {
    let mut report = rich();
    report.is_complete = false;
    report.exit_code = 3;
    report.candidates[2].counts = Counts { tasks: 400, scored: 270, unscored: 6, failed: 4, dropped: 120 };
    report.notes.insert(
        0,
        Note {
            kind: crate::report::words::GATES_CHANGED.to_owned(),
            text: "the gates are not those that the run was started with".to_owned(),
            advice: Some("compare the `gates` of report.json with the manifest's suite".to_owned()),
        },
    );
    report
}

/// A suite without gates and without a baseline.
pub(crate) fn measurement() -> Report {
    let mut report = rich();
    (report.verdict, report.baseline, report.decision, report.exit_code) = (None, None, None, 0);
    report.gates.clear();
    report.comparisons.clear();
    report.notes.clear();
    report.candidates.truncate(2);
    report.candidates.iter_mut().for_each(|candidate| candidate.verdict = None);
    report
}

/// What an attacker would put into a name, an answer or an error message.
pub(crate) const PAYLOAD: &str = "=cmd|' /C calc'!A0\u{1b}[31m\u{9b}2J\u{202e}\0\t\r\n# head\n- item\n\n    code\n| a | b |\n\
    |---|---|\n<script>alert(1)</script><!-- [a](javascript:alert(1)) ![b](http://e/x.png) [c]: http://e @user #1 `tick` \
    ``two`` **b** _i_ ~~s~~ $x$ &lt; https://e.example www.e.example \\ \\| {{x}} \u{200b}\u{feff}漢字👩🏽\u{200d}💻 ";

/// The rich report with [`PAYLOAD`] in every text that comes from outside.
pub(crate) fn hostile() -> Report {
    let mut value = serde_json::to_value(partial()).unwrap();
    poison(&mut value, "");
    serde_json::from_value(value).unwrap()
}

fn poison(value: &mut Value, field: &str) {
    const OUTSIDE: [&str; 25] = [
        "suite",
        "decision",
        "run",
        "started",
        "version",
        "baseline",
        "id",
        "provider",
        "spend_reason",
        "name",
        "metric",
        "reason",
        "candidate",
        "text",
        "advice",
        "sample",
        "message",
        "class",
        "predicted",
        "expected",
        "scorers",
        "candidates",
        "architecture",
        "quantisation",
        "device",
    ];
    match value {
        Value::String(text) if OUTSIDE.contains(&field) => text.insert_str(0, PAYLOAD),
        Value::Array(items) => items.iter_mut().for_each(|item| poison(item, field)),
        Value::Object(fields) => fields.iter_mut().for_each(|(field, value)| poison(value, field)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

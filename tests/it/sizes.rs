//! How often gates pass at the very bar: simulated runs, from records to verdict.
//!
//! `cargo test` runs a short simulation. `benches/sizes.sh` runs the whole one and prints the table of
//! docs/statistics.md.

use std::sync::Arc;

use evalctl::frame::{Builder, Facts, Layout, MetricColumn, Settings, Terms};
use evalctl::gate::{Verdict, judge};
use evalctl::types::{Failure, Mark, Record, Response, TaskKey};
use evalctl::util::digest::Digest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// Correlation of the outcomes of one cluster.
const WITHIN: f64 = 0.3;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
struct World {
    /// Samples.
    n: usize,
    /// Members of a cluster.
    size: usize,
    /// True share of right answers of the candidate: the bar of its floor.
    share: f64,
    /// Share of the candidate's requests that fail.
    failures: f64,
}

impl World {
    /// True shares of samples that only the candidate and only the baseline has right. Their difference is the margin.
    fn flips(&self) -> (f64, f64) {
        let worse = 0.8 * (1.0 - self.share);
        (worse / 4.0, worse)
    }
}

fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Whether the floor and the margin are passed in one simulated run.
fn passes(world: World, seed: u64) -> [bool; 2] {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (better, worse) = world.flips();
    let samples: Vec<Arc<str>> = (0..world.n).map(|index| format!("s{index}").into()).collect();
    let unpriced = vec![Err("no price given".to_owned()); 2];
    let mut builder = Builder::new(Layout {
        samples: samples.clone(),
        candidates: vec!["base".to_owned(), "new".to_owned()],
        prices: unpriced.clone(),
        repeats: 1,
        metrics: vec![MetricColumn { name: "right".to_owned(), is_binary: true, is_label: false }],
        clusters: Some((0..world.n).map(|sample| (sample / world.size) as u32).collect()),
        volume: None,
        by_id: vec![],
        classes: vec![],
        unmarkable: vec![],
    });
    let terms = Terms { price: unpriced[0].clone(), model: None, is_list_price: false };
    let mut common = 0.0;
    for (index, sample) in samples.iter().enumerate() {
        if index % world.size == 0 {
            common = uniform(&mut random);
        }
        // An outcome is the cluster's own with probability √ρ, so that two of a cluster correlate by ρ.
        let is_common = uniform(&mut random) < WITHIN.sqrt();
        let own = uniform(&mut random);
        let outcome = if is_common { common } else { own };
        // From the worst down: only the baseline right, both wrong, only the candidate right, both right.
        let (new, base) = if outcome < worse {
            (false, true)
        } else if outcome < 1.0 - world.share {
            (false, false)
        } else {
            (true, outcome >= 1.0 - world.share + better)
        };
        let is_lost = uniform(&mut random) < world.failures;
        for (candidate, is_right) in [(0, base), (1, new)] {
            let outcome = if candidate == 1 && is_lost {
                Err(Failure::Status { status: 500, detail: "down".to_owned() })
            } else {
                Ok(Response { text: "an answer".to_owned(), ..Response::default() })
            };
            let marks = if outcome.is_ok() { vec![Mark::binary(is_right)] } else { vec![] };
            let record = Record {
                key: TaskKey { sample: sample.clone(), candidate: ["base", "new"][candidate].into(), repeat: 0 },
                digest: Digest::of(b"task"),
                due: None,
                is_held: false,
                is_open: false,
                retried: vec![],
                timing: None,
                held_usd: None,
                outcome,
            };
            assert!(builder.put(index, candidate, 0, Facts::of(&record, &marks, &terms)));
        }
    }
    let settings = Settings { confidence: 0.95, seed: 0, baseline: Some(0), compared: vec![] };
    let summary = builder.finish().summarise(&settings);
    let gate = |text: String| serde_json::from_str(&text).unwrap();
    let gates = [
        gate(format!(r#"{{"metric":"right","at_least":{}}}"#, world.share)),
        gate(format!(r#"{{"metric":"right","non_inferior":{{"margin":{}}}}}"#, worse - better)),
    ];
    let judged = judge(&gates, &summary, Some("base"));
    [judged[0].verdict == Verdict::Pass, judged[1].verdict == Verdict::Pass]
}

/// Shares of runs that pass each gate.
fn rates(world: World, runs: u64) -> [f64; 2] {
    let seed = world.n as u64 * 1_000_003 + world.size as u64 * 10_007 + (world.share * 1e4) as u64;
    let passed = (0..runs).into_par_iter().map(|run| passes(world, seed.wrapping_mul(1 << 20).wrapping_add(run)));
    let counts = passed
        .map(|passed| passed.map(u64::from))
        .reduce(|| [0, 0], |one, other| [one[0] + other[0], one[1] + other[1]]);
    counts.map(|count| count as f64 / runs as f64)
}

/// No gate passes more often at its bar than its one-sided error of 5 % allows, three standard errors of the simulation
/// granted.
#[test]
fn gates_keep_their_size_at_the_bar() {
    let asked = std::env::var("EVALCTL_SIZE_RUNS").ok().and_then(|runs| runs.parse().ok());
    let runs = asked.unwrap_or(200);
    let sizes: &[usize] = if asked.is_some() { &[40, 100, 300, 1000] } else { &[40, 100] };
    let allowed = 0.05 + 3.0 * (0.05_f64 * 0.95 / runs as f64).sqrt();
    if asked.is_some() {
        println!(
            "| samples | clusters of | true share | floor | floor, 5 % failures | margin | margin, 5 % failures |"
        );
        println!("|---|---|---|---|---|---|---|");
    }
    let mut over = Vec::new();
    for n in sizes {
        for size in [1, 2, 5] {
            for share in [0.5, 0.8, 0.95, 0.99] {
                let [clean, failing] = [0.0, 0.05].map(|failures| rates(World { n: *n, size, share, failures }, runs));
                if asked.is_some() {
                    let percent = |rate: f64| format!("{:.1} %", 100.0 * rate);
                    let cells = [clean[0], failing[0], clean[1], failing[1]].map(percent);
                    println!("| {n} | {size} | {share} | {} |", cells.join(" | "));
                }
                if clean.into_iter().chain(failing).any(|rate| rate > allowed) {
                    over.push(format!("{n} samples in clusters of {size} at {share}: {clean:?} {failing:?}"));
                }
            }
        }
    }
    assert!(over.is_empty(), "over {allowed}: {over:#?}");
}

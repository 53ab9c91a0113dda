//! Yes/no outcomes that come in clusters (turns of one conversation, repeats of one sample): score intervals on an
//! effective number of outcomes, which hold near 0 and 1 where a t interval does not.
//!
//! A t interval on cluster sums is a Wald interval. With 20 clusters and a true share of 0.98 its lower end lies above
//! the truth in two thirds of all runs, and where no outcome differs it has no width at all. Here the outcomes are
//! counted as fewer: n ÷ d, where d is the design effect (Korn and Graubard 1998, Survey Methodology 24:193).

use statrs::function::beta::beta_reg;

use super::Interval;
use super::normal::{t_quantile, z};
use super::paired::{lower_limit, mcnemar_exact};
use super::probability;
use super::proportion::wilson_share;
use crate::types::Cell;

/// Outcomes of the rarer kind from which on the design effect is taken as it was observed. With fewer, part of it is
/// assumed: clusters that happen to have no rare outcome show nothing of how alike their members are.
const ENOUGH: f64 = 10.0;

/// What does not change when outcomes do.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Outcomes.
    n: f64,
    clusters: f64,
    /// Σ m², of the clusters' sizes.
    squares: f64,
    /// Whether every cluster has one outcome, so that they are independent.
    is_single: bool,
}

/// What the outcomes come to.
#[derive(Debug, Clone, Copy)]
struct Totals {
    better: f64,
    worse: f64,
    /// Σ D², of the clusters' better − worse.
    squares: f64,
    /// Σ m·D.
    products: f64,
}

impl Shape {
    fn of(cells: &[Cell]) -> Option<Shape> {
        let sum = |of: &dyn Fn(&Cell) -> f64| cells.iter().map(|cell| of(cell) * cell.count as f64).sum::<f64>();
        let is_whole = cells.iter().all(|cell| cell.size > 0 && cell.better.saturating_add(cell.worse) <= cell.size);
        let shape = Shape {
            n: sum(&|cell| cell.size as f64),
            clusters: sum(&|_| 1.0),
            squares: sum(&|cell| (cell.size as f64).powi(2)),
            is_single: cells.iter().all(|cell| cell.size == 1),
        };
        (is_whole && shape.n > 0.0).then_some(shape)
    }

    /// Mean size of the cluster that an outcome is in.
    fn members(&self) -> f64 {
        self.squares / self.n
    }

    /// What few clusters widen an interval by: (t with n − 1 degrees of freedom ÷ t with clusters − 1)². `None` with one
    /// cluster, of which nothing can be said.
    fn few(&self, confidence: f64) -> Option<f64> {
        if self.is_single {
            return Some(1.0);
        }
        let t = |df| t_quantile(0.5 + confidence / 2.0, df);
        Some((t(self.n - 1.0)? / t(self.clusters - 1.0)?).powi(2)).filter(|ratio| ratio.is_finite() && *ratio > 0.0)
    }

    /// How many outcomes one independent outcome stands for, d: the ratio of the cluster-robust variance (CR1) to that of
    /// independent outcomes, at least 1; with `rare` outcomes of the rarer kind below [`ENOUGH`], mixed with the mean
    /// size of clusters, as if their members were all alike.
    ///
    /// `spread` is Σ(D − m·mean)² over clusters, `events` Σ d² over outcomes.
    fn design_effect(&self, mean: f64, events: f64, spread: f64, rare: f64) -> f64 {
        if self.is_single {
            return 1.0;
        }
        let members = self.members();
        let independent = (events - self.n * mean * mean) / (self.n * (self.n - 1.0));
        if rare <= 0.0 || independent <= 0.0 {
            return members;
        }
        let robust = self.clusters / (self.clusters - 1.0) * spread / (self.n * self.n);
        let observed = (robust / independent).max(1.0);
        let weight = (rare / ENOUGH).min(1.0);
        weight * observed + (1.0 - weight) * observed.max(members)
    }
}

impl Totals {
    fn of(cells: &[Cell]) -> Totals {
        let sum = |of: &dyn Fn(f64, f64, f64) -> f64| {
            let of_cell = |cell: &Cell| of(cell.size as f64, cell.better as f64, cell.worse as f64) * cell.count as f64;
            cells.iter().map(of_cell).sum::<f64>()
        };
        Totals {
            better: sum(&|_, better, _| better),
            worse: sum(&|_, _, worse| worse),
            squares: sum(&|_, better, worse| (better - worse).powi(2)),
            products: sum(&|size, better, worse| size * (better - worse)),
        }
    }

    /// Σ(D − m·mean)².
    fn spread(&self, shape: &Shape, mean: f64) -> f64 {
        (self.squares - 2.0 * mean * self.products + mean * mean * shape.squares).max(0.0)
    }
}

/// Which interval is made of the outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A share: `worse` is what is wrong, `better` is nothing.
    Share,
    /// A difference of two shares.
    Difference,
}

impl Kind {
    /// Outcomes of the rarer kind.
    fn rare(self, shape: &Shape, better: f64, worse: f64) -> f64 {
        match self {
            Kind::Share => worse.min(shape.n - worse),
            Kind::Difference => better + worse,
        }
    }

    /// The lower end, with the outcomes counted as `effective` ones.
    fn lower(self, shape: &Shape, better: f64, worse: f64, effective: f64, z: f64) -> f64 {
        match self {
            Kind::Share => wilson_share((shape.n - worse) / shape.n, effective, z).map_or(0.0, |wilson| wilson.lower),
            Kind::Difference => {
                let scale = effective / shape.n;
                lower_limit(better * scale, worse * scale, effective, z)
            }
        }
    }
}

/// The number of independent outcomes that these are worth at a confidence: n ÷ d, less for few clusters. 100 pairs of
/// right answers give 98.768025 at 0.95. `None` for no outcomes, for a single cluster of several, and for a confidence
/// outside (0, 1).
pub fn effective_share(cells: &[Cell], confidence: f64) -> Option<f64> {
    let shape = Shape::of(cells)?;
    effective(&shape, &Totals::of(cells), Kind::Share, confidence)
}

/// The same of a paired difference: the number of independent pairs that these are worth.
pub fn effective_pairs(cells: &[Cell], confidence: f64) -> Option<f64> {
    let shape = Shape::of(cells)?;
    effective(&shape, &Totals::of(cells), Kind::Difference, confidence)
}

fn effective(shape: &Shape, totals: &Totals, kind: Kind, confidence: f64) -> Option<f64> {
    let few = shape.few(confidence)?;
    let mean = (totals.better - totals.worse) / shape.n;
    let rare = kind.rare(shape, totals.better, totals.worse);
    let d = shape.design_effect(mean, totals.better + totals.worse, totals.spread(shape, mean), rare);
    Some(shape.n / d * few)
}

/// Wilson's interval of the share that is not `worse`, on the effective number of outcomes ([`effective_share`]).
/// Clusters of one give plain Wilson exactly: 39 right of 40 give [0.871186, 0.995573] at 0.95. 100 pairs give a lower
/// end of 0.962562 when none is wrong, 0.955263 with one wrong, 0.944879 with two wrong in one pair.
///
/// `None` as for [`effective_share`]. `better` must be 0 throughout.
pub fn clustered_wilson(cells: &[Cell], confidence: f64) -> Option<Interval> {
    let z = z(confidence)?;
    let shape = Shape::of(cells)?;
    let totals = Totals::of(cells);
    let effective = effective(&shape, &totals, Kind::Share, confidence)?;
    wilson_share((shape.n - totals.worse) / shape.n, effective, z)
}

/// Tango's interval of a paired difference, on effective counts: those of `better` and `worse` and of all pairs, each
/// divided by d of the paired differences. Clusters of one give [`tango`](super::tango) exactly. `None` as for
/// [`effective_share`].
pub fn clustered_tango(cells: &[Cell], confidence: f64) -> Option<Interval> {
    let z = z(confidence)?;
    let shape = Shape::of(cells)?;
    let Totals { better, worse, .. } = Totals::of(cells);
    let effective = effective(&shape, &Totals::of(cells), Kind::Difference, confidence)?;
    let lower = Kind::Difference.lower(&shape, better, worse, effective, z);
    let upper = -Kind::Difference.lower(&shape, worse, better, effective, z);
    Interval::checked(lower, upper)
}

/// McNemar's exact test, two-sided, on the same effective counts as the interval of [`clustered_tango`]; on counts that
/// are not whole the binomial tail is the incomplete beta function I½(N − k, k + 1). `confidence` is that of the interval
/// it stands beside. `None` as there.
pub fn clustered_mcnemar(cells: &[Cell], confidence: f64) -> Option<f64> {
    let shape = Shape::of(cells)?;
    let totals = Totals::of(cells);
    if shape.is_single {
        return Some(mcnemar_exact(totals.better as u64, totals.worse as u64));
    }
    let scale = effective(&shape, &totals, Kind::Difference, confidence)? / shape.n;
    let (all, least) = ((totals.better + totals.worse) * scale, totals.better.min(totals.worse) * scale);
    // Below one effective flip nothing can be shown.
    if all - least <= 1.0 {
        return Some(1.0);
    }
    Some(probability(2.0 * beta_reg(all - least, least + 1.0, 0.5)))
}

/// The lower end of [`clustered_wilson`] that a pass may rest on: the lowest of those that it has with any part of the
/// wrong answers put right.
///
/// d is estimated, and wrong answers that are spread evenly over the clusters make it smaller. So one more wrong answer
/// could otherwise lift the lower end. This one never rises when an answer gets worse: what could be put right before can
/// be put right afterwards. For clusters of one it is the lower end itself.
pub fn careful_wilson_lower(cells: &[Cell], confidence: f64) -> Option<f64> {
    careful_lower(cells, Kind::Share, confidence)
}

/// The same of [`clustered_tango`]: the lowest with any part of the `worse` outcomes put right.
pub fn careful_tango_lower(cells: &[Cell], confidence: f64) -> Option<f64> {
    careful_lower(cells, Kind::Difference, confidence)
}

fn careful_lower(cells: &[Cell], kind: Kind, confidence: f64) -> Option<f64> {
    let z = z(confidence)?;
    let shape = Shape::of(cells)?;
    let totals = Totals::of(cells);
    let few = shape.few(confidence)?;
    if shape.is_single {
        return Some(kind.lower(&shape, totals.better, totals.worse, shape.n, z));
    }
    // With `left` outcomes left wrong, the spread is greatest where they are crowded together. It is convex in how many
    // each cluster keeps, so a chord bounds it from above, and the greatest sum of chords is found by filling the
    // steepest first.
    let kept = Totals::of(&cells.iter().map(|cell| Cell { worse: 0, ..*cell }).collect::<Vec<Cell>>());
    let mut crowded: Vec<&Cell> = cells.iter().filter(|cell| cell.worse > 0).collect();
    let mut lowest = f64::INFINITY;
    for left in 0..=totals.worse as u64 {
        let left = left as f64;
        let mean = (totals.better - left) / shape.n;
        let slope = |cell: &Cell| cell.worse as f64 - 2.0 * (cell.better as f64 - cell.size as f64 * mean);
        crowded.sort_unstable_by(|one, other| slope(other).total_cmp(&slope(one)));
        let mut spread = kept.spread(&shape, mean);
        let mut open = left;
        for cell in &crowded {
            let taken = open.min((cell.worse * cell.count) as f64);
            spread += slope(cell) * taken;
            open -= taken;
            if open <= 0.0 {
                break;
            }
        }
        let d =
            shape.design_effect(mean, totals.better + left, spread.max(0.0), kind.rare(&shape, totals.better, left));
        lowest = lowest.min(kind.lower(&shape, totals.better, left, shape.n / d * few, z));
    }
    lowest.is_finite().then_some(lowest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::{near, six};
    use crate::stats::{tango, wilson};

    fn cell(size: u64, better: u64, worse: u64, count: u64) -> Cell {
        Cell { size, better, worse, count }
    }

    #[test]
    fn shares_of_pairs() {
        let none = [cell(2, 0, 0, 100)];
        six(effective_share(&none, 0.95).unwrap(), 98.768025);
        six(clustered_wilson(&none, 0.95).unwrap().lower, 0.962562);
        six(clustered_wilson(&[cell(2, 0, 0, 99), cell(2, 0, 1, 1)], 0.95).unwrap().lower, 0.955263);
        six(clustered_wilson(&[cell(2, 0, 0, 99), cell(2, 0, 2, 1)], 0.95).unwrap().lower, 0.944879);
        let single = clustered_wilson(&[cell(1, 0, 0, 39), cell(1, 0, 1, 1)], 0.95).unwrap();
        six(single.lower, 0.871186);
        six(single.upper, 0.995573);
    }

    #[test]
    fn one_cluster_says_nothing() {
        assert_eq!(clustered_wilson(&[cell(40, 0, 1, 1)], 0.95), None);
        assert_eq!(clustered_tango(&[cell(40, 1, 1, 1)], 0.95), None);
        assert_eq!(careful_wilson_lower(&[cell(40, 0, 1, 1)], 0.95), None);
        assert_eq!(clustered_mcnemar(&[cell(40, 1, 1, 1)], 0.95), None);
        assert_eq!(clustered_wilson(&[], 0.95), None);
        assert_eq!(clustered_wilson(&[cell(2, 2, 1, 3)], 0.95), None);
        assert!(clustered_wilson(&[cell(1, 0, 0, 1)], 0.95).is_some());
    }

    /// A difference with no flips, then with one: 0 fixed and 1 broken of 40 pairs of answers.
    #[test]
    fn one_flip_shows_nothing_and_narrows_nothing() {
        let none = clustered_tango(&[cell(2, 0, 0, 20)], 0.95).unwrap();
        let one = [cell(2, 0, 0, 19), cell(2, 0, 1, 1)];
        let broken = clustered_tango(&one, 0.95).unwrap();
        assert!(broken.upper - broken.lower >= none.upper - none.lower, "{none:?} {broken:?}");
        assert_eq!(clustered_mcnemar(&one, 0.95), Some(1.0));
    }

    #[test]
    fn spreading_mistakes_out_lifts_no_pass() {
        // Ten mistakes in one of ten conversations; then nine more, one in each other one, which makes them look alike.
        let before = [cell(10, 0, 10, 1), cell(10, 0, 0, 9)];
        let after = [cell(10, 0, 10, 1), cell(10, 0, 0, 8), cell(10, 0, 1, 1)];
        let plain = |cells: &[Cell]| clustered_wilson(cells, 0.95).unwrap().lower;
        let careful = |cells: &[Cell]| careful_wilson_lower(cells, 0.95).unwrap();
        assert!(plain(&after) > plain(&before), "the case that the careful end is for");
        assert!(careful(&after) <= careful(&before));
        assert!(careful(&before) <= plain(&before));
    }

    /// Clusters of the given (size, better, worse), with better and worse held within the size.
    fn clusters() -> impl Strategy<Value = Vec<Cell>> {
        let one = (1_u64..6)
            .prop_flat_map(|size| (Just(size), 0..=size))
            .prop_flat_map(|(size, better)| (Just(size), Just(better), 0..=size - better));
        prop::collection::vec(one, 2..40).prop_map(|clusters| {
            clusters.into_iter().map(|(size, better, worse)| cell(size, better, worse, 1)).collect()
        })
    }

    fn shares(cells: &[Cell]) -> Vec<Cell> {
        cells.iter().map(|cell| Cell { better: 0, ..*cell }).collect()
    }

    proptest! {
        #[test]
        fn clusters_of_one_are_plain_wilson_and_tango(n in 1_u64..300, one in 0.0..0.5, two in 0.0..0.5, confidence in 0.5..0.999) {
            let (b, c) = ((one * n as f64) as u64, (two * n as f64) as u64);
            let cells = [cell(1, 0, 0, n - b - c), cell(1, 1, 0, b), cell(1, 0, 1, c)];
            let cells: Vec<Cell> = cells.into_iter().filter(|cell| cell.count > 0).collect();
            prop_assert_eq!(clustered_tango(&cells, confidence), tango(b, c, n, confidence));
            prop_assert_eq!(clustered_mcnemar(&cells, confidence), Some(mcnemar_exact(b, c)));
            prop_assert_eq!(clustered_wilson(&shares(&cells), confidence), wilson(n - c, n, confidence));
            prop_assert_eq!(careful_wilson_lower(&shares(&cells), confidence), wilson(n - c, n, confidence).map(|i| i.lower));
        }

        #[test]
        fn intervals_hold_the_estimate_and_mirror(cells in clusters()) {
            let totals = Totals::of(&cells);
            let n = Shape::of(&cells).unwrap().n;
            let interval = clustered_tango(&cells, 0.95).unwrap();
            prop_assert!(interval.contains((totals.better - totals.worse) / n), "{interval:?}");
            let swapped: Vec<Cell> = cells.iter().map(|cell| Cell { better: cell.worse, worse: cell.better, ..*cell }).collect();
            let mirrored = clustered_tango(&swapped, 0.95).unwrap();
            near(mirrored.lower, -interval.upper, 1e-9);
            near(mirrored.upper, -interval.lower, 1e-9);
            prop_assert!(clustered_wilson(&shares(&cells), 0.95).unwrap().contains((n - totals.worse) / n));
            let p = clustered_mcnemar(&cells, 0.95).unwrap();
            prop_assert!(p > 0.0 && p <= 1.0);
        }

        #[test]
        fn the_order_of_clusters_changes_nothing(cells in clusters()) {
            let mut other = cells.clone();
            other.reverse();
            near(clustered_wilson(&shares(&cells), 0.95).unwrap().lower, clustered_wilson(&shares(&other), 0.95).unwrap().lower, 1e-12);
            near(careful_tango_lower(&cells, 0.9).unwrap(), careful_tango_lower(&other, 0.9).unwrap(), 1e-9);
        }

        /// The promise that gates rest on, whatever the clusters.
        #[test]
        fn a_worse_answer_never_lifts_the_careful_end(cells in clusters(), place in any::<prop::sample::Index>(), confidence in 0.8..0.99) {
            let mut worse = cells.clone();
            let chosen = place.index(worse.len());
            prop_assume!(worse[chosen].better + worse[chosen].worse < worse[chosen].size);
            worse[chosen].worse += 1;
            let tango = |cells: &[Cell]| careful_tango_lower(cells, confidence).unwrap();
            prop_assert!(tango(&worse) <= tango(&cells) + 1e-9, "{} {}", tango(&worse), tango(&cells));
            let wilson = |cells: &[Cell]| careful_wilson_lower(&shares(cells), confidence).unwrap();
            prop_assert!(wilson(&worse) <= wilson(&cells) + 1e-12);
            prop_assert!(wilson(&cells) <= clustered_wilson(&shares(&cells), confidence).unwrap().lower + 1e-12);
        }

        /// A golden set with every row twice knows no more than with every row once.
        #[test]
        fn copies_never_narrow_an_interval(n in 2_u64..200, one in 0.0..0.5, two in 0.0..0.5, copies in 2_u64..5) {
            let (b, c) = ((one * n as f64) as u64, (two * n as f64) as u64);
            let times = |copies: u64| -> Vec<Cell> {
                let cells = [cell(copies, 0, 0, n - b - c), cell(copies, copies, 0, b), cell(copies, 0, copies, c)];
                cells.into_iter().filter(|cell| cell.count > 0).collect()
            };
            let width = |interval: Option<Interval>| interval.map(|interval| interval.upper - interval.lower).unwrap();
            prop_assert!(width(clustered_tango(&times(copies), 0.95)) >= width(clustered_tango(&times(1), 0.95)) - 1e-12);
            let share = |copies| clustered_wilson(&shares(&times(copies)), 0.95);
            prop_assert!(width(share(copies)) >= width(share(1)) - 1e-12);
        }
    }
}

//! Marks of samples as clusters of outcomes: the samples of one cluster, and the repeats of one sample, are not
//! independent of each other.

use std::collections::BTreeMap;

use crate::frame::Layout;
use crate::types::{Cell, Lump};

/// Yes/no outcomes as clusters, alike ones counted together. Each item is a sample with how many of its repeats are
/// better and worse.
pub(super) fn cells(layout: &Layout, samples: impl Iterator<Item = (usize, u64, u64)>) -> Vec<Cell> {
    let size = layout.repeats as u64;
    let mut alike: BTreeMap<(u64, u64, u64), u64> = BTreeMap::new();
    match &layout.clusters {
        None => {
            for (_, better, worse) in samples {
                *alike.entry((size, better, worse)).or_default() += 1;
            }
        }
        Some(clusters) => {
            let mut members: BTreeMap<u32, (u64, u64, u64)> = BTreeMap::new();
            for (sample, better, worse) in samples {
                let cluster = members.entry(clusters[sample]).or_default();
                *cluster = (cluster.0 + size, cluster.1 + better, cluster.2 + worse);
            }
            for cluster in members.into_values() {
                *alike.entry(cluster).or_default() += 1;
            }
        }
    }
    alike.into_iter().map(|((size, better, worse), count)| Cell { size, better, worse, count }).collect()
}

/// Graded marks as clusters, alike ones counted together. Each item is a sample with the mean of its repeats.
pub(super) fn lumps(layout: &Layout, samples: impl Iterator<Item = (usize, f64)>) -> Vec<Lump> {
    let size = layout.repeats as f64;
    let mut sums: Vec<(f64, f64)> = match &layout.clusters {
        None => samples.map(|(_, mean)| (size, mean * size)).collect(),
        Some(clusters) => {
            // Summed in ascending order, so that the order of the rows changes no digit.
            let mut marks: Vec<(u32, f64)> = samples.map(|(sample, mean)| (clusters[sample], mean)).collect();
            marks.sort_unstable_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
            let of_cluster = marks.chunk_by(|one, other| one.0 == other.0);
            of_cluster
                .map(|marks| (marks.len() as f64 * size, marks.iter().map(|(_, mean)| mean * size).sum::<f64>()))
                .collect()
        }
    };
    sums.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let alike = sums.chunk_by(|one, other| one == other);
    alike.map(|lumps| Lump { size: lumps[0].0, sum: lumps[0].1, count: lumps.len() as u64 }).collect()
}

/// Yes/no outcomes of single tasks as clusters, those that are there: the repeats of a sample and the samples of a cluster
/// belong together.
pub(super) fn row_cells(layout: &Layout, rows: &[Option<bool>]) -> Vec<Cell> {
    let mut members: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for (sample, of_sample) in rows.chunks(layout.repeats).enumerate() {
        let cluster = layout.clusters.as_ref().map_or_else(
            || u32::try_from(sample).expect("a run has fewer samples than 32 bits count"),
            |clusters| clusters[sample],
        );
        for is_worse in of_sample.iter().flatten() {
            let cluster = members.entry(cluster).or_default();
            *cluster = (cluster.0 + 1, cluster.1 + u64::from(*is_worse));
        }
    }
    let mut alike: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for cluster in members.into_values() {
        *alike.entry(cluster).or_default() += 1;
    }
    alike.into_iter().map(|((size, worse), count)| Cell { size, better: 0, worse, count }).collect()
}

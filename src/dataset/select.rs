//! Which rows are used: a draw that depends on the seed, the order of the rows and the number wanted, and on nothing
//! else. Pure.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The rows that are used, by their ordinal: 0 for the first row of the first file. One bit a row, or nothing at all when
/// every row is used. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// `None`: all.
    bits: Option<Arc<Bits>>,
    rows: u64,
}

impl Selection {
    /// Every row of a dataset of that many rows.
    pub fn all(rows: u64) -> Selection {
        Selection { bits: None, rows }
    }

    /// The rows whose bits are set, of a dataset of that many rows.
    pub(super) fn of(bits: Bits, rows: u64) -> Selection {
        let count = bits.count();
        if count == rows { Selection::all(rows) } else { Selection { bits: Some(Arc::new(bits)), rows: count } }
    }

    /// Whether the row of this ordinal is used.
    pub fn contains(&self, ordinal: u64) -> bool {
        self.bits.as_ref().is_none_or(|bits| bits.get(ordinal))
    }

    /// How many rows are used.
    pub fn len(&self) -> u64 {
        self.rows
    }

    /// Whether no row is used.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// A set of ordinals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub fn set(&mut self, index: u64) {
        let (word, bit) = place(index);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    pub fn get(&self, index: u64) -> bool {
        let (word, bit) = place(index);
        self.0.get(word).is_some_and(|found| found & bit != 0)
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The ordinals in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let lowest = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(index as u64 * 64 + u64::from(lowest))
            })
        })
    }

    /// Keeps the ordinal at each position (the how-manieth of the set it is) for which `keep` is true.
    pub fn retain(&self, mut keep: impl FnMut(usize) -> bool) -> Bits {
        let mut kept = Bits::default();
        self.iter().enumerate().filter(|(position, _)| keep(*position)).for_each(|(_, ordinal)| kept.set(ordinal));
        kept
    }
}

fn place(index: u64) -> (usize, u64) {
    (usize::try_from(index / 64).unwrap_or(usize::MAX), 1 << (index % 64))
}

/// Draws `wanted` of the rows whose strata are given, without replacement; all when there are no more than that. The
/// result says of each row whether it was drawn.
///
/// Each row gets a number from the ChaCha8 stream of the seed, in the order of the rows, and those with the smallest
/// numbers are drawn: every set of the wanted size is equally likely. With one seed and without strata, a larger draw
/// holds every row of a smaller one, so that a run can be enlarged and keep its answers.
///
/// With several strata each gets its share by [`apportion`], and its rows with the smallest numbers.
pub fn draw(seed: u64, strata: &[u32], wanted: u64) -> Vec<bool> {
    if wanted >= strata.len() as u64 {
        return vec![true; strata.len()];
    }
    let mut sizes: Vec<u64> = Vec::new();
    for &stratum in strata {
        let stratum = stratum as usize;
        if stratum >= sizes.len() {
            sizes.resize(stratum + 1, 0);
        }
        sizes[stratum] += 1;
    }
    let mut left = apportion(&sizes, wanted);
    // The stream belongs to this purpose: nothing else that takes the suite's seed sees the same numbers.
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..14].copy_from_slice(b"select");
    let mut random = ChaCha8Rng::from_seed(key);
    let mut order: Vec<(u64, usize)> = (0..strata.len()).map(|row| (random.next_u64(), row)).collect();
    order.sort_unstable();
    let mut drawn = vec![false; strata.len()];
    for (_, row) in order {
        let left = &mut left[strata[row] as usize];
        if *left > 0 {
            *left -= 1;
            drawn[row] = true;
        }
    }
    drawn
}

/// How many of `wanted` go to strata of these sizes: in proportion, by largest remainder (Hamilton 1792), so that the
/// total is exact and each differs from its proportional share by less than 1. Equal remainders go to the earlier
/// stratum. A stratum too small for a whole row may get none: no minimum is forced, as that would change the shares.
///
/// Sizes 5, 3, 2 and 4 wanted: the shares are 2, 1.2 and 0.8, so the strata get 2, 1 and 1.
pub fn apportion(sizes: &[u64], wanted: u64) -> Vec<u64> {
    let total: u128 = sizes.iter().map(|&size| u128::from(size)).sum();
    if u128::from(wanted) >= total {
        return sizes.to_vec();
    }
    let product = |size: &u64| u128::from(*size) * u128::from(wanted);
    let whole = |size: &u64| u64::try_from(product(size) / total).expect("a share is not more than what is wanted");
    let mut shares: Vec<u64> = sizes.iter().map(whole).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&index| std::cmp::Reverse(product(&sizes[index]) % total));
    let left = wanted - shares.iter().sum::<u64>();
    // Fewer are left than there are strata with a remainder, so none gets more rows than it has.
    for &index in by_remainder.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        shares[index] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(drawn: &[bool]) -> u64 {
        drawn.iter().filter(|drawn| **drawn).count() as u64
    }

    #[test]
    fn shares_by_largest_remainder() {
        for (sizes, wanted, expected) in [
            (&[5, 3, 2][..], 4, &[2, 1, 1][..]),
            (&[1, 1, 1], 2, &[1, 1, 0]),
            (&[100, 1], 10, &[10, 0]),
            (&[50, 50], 0, &[0, 0]),
            (&[2, 3], 9, &[2, 3]),
            (&[0, 4], 2, &[0, 2]),
            (&[], 3, &[]),
            (&[u64::MAX, u64::MAX], 3, &[2, 1]),
        ] {
            assert_eq!(apportion(sizes, wanted), expected, "{sizes:?} {wanted}");
        }
    }

    /// The stream is a published one and the rule is ours, so a stored selection can be made again by any version.
    #[test]
    fn a_draw_never_changes() {
        let drawn = draw(7, &[0; 20], 5);
        let rows: Vec<usize> = (0..20).filter(|row| drawn[*row]).collect();
        assert_eq!(rows, [6, 11, 12, 13, 14]);
    }

    #[test]
    fn every_row_is_drawn_about_equally_often() {
        let mut hits = [0_u32; 10];
        for seed in 0..3000 {
            for (hit, drawn) in hits.iter_mut().zip(draw(seed, &[0; 10], 3)) {
                *hit += u32::from(drawn);
            }
        }
        // 900 expected with a standard deviation of 25; five of them on either side.
        assert!(hits.iter().all(|hit| (775..=1025).contains(hit)), "{hits:?}");
    }

    proptest! {
        #[test]
        fn a_draw_has_its_size_and_its_shares(
            seed: u64,
            strata in prop::collection::vec(0..6_u32, 0..200),
            wanted in 0..250_u64,
        ) {
            let drawn = draw(seed, &strata, wanted);
            prop_assert_eq!(drawn.len(), strata.len());
            prop_assert_eq!(count(&drawn), wanted.min(strata.len() as u64));
            prop_assert_eq!(&drawn, &draw(seed, &strata, wanted));
            let share = (wanted as f64 / strata.len() as f64).min(1.0);
            for stratum in 0..6 {
                let of = |drawn: &dyn Fn(usize) -> bool| {
                    (0..strata.len()).filter(|row| strata[*row] == stratum && drawn(*row)).count() as f64
                };
                let (size, got) = (of(&|_| true), of(&|row| drawn[row]));
                prop_assert!((got - size * share).abs() < 1.0 || size == 0.0, "{} of {} at {}", got, size, share);
            }
        }

        #[test]
        fn a_larger_draw_holds_the_smaller_one(seed: u64, rows in 0..200_usize, small in 0..200_u64, more in 0..50_u64) {
            let (small, large) = (draw(seed, &vec![0; rows], small), draw(seed, &vec![0; rows], small + more));
            prop_assert!((0..rows).all(|row| large[row] || !small[row]));
        }

        #[test]
        fn bits_are_a_set(ordinals in prop::collection::btree_set(0..1000_u64, 0..80)) {
            let mut bits = Bits::default();
            ordinals.iter().rev().for_each(|ordinal| bits.set(*ordinal));
            prop_assert_eq!(bits.count(), ordinals.len() as u64);
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), ordinals.iter().copied().collect::<Vec<_>>());
            prop_assert!((0..1100).all(|ordinal| bits.get(ordinal) == ordinals.contains(&ordinal)));
            let even = bits.retain(|position| position % 2 == 0);
            prop_assert_eq!(even.iter().collect::<Vec<_>>(), ordinals.iter().copied().step_by(2).collect::<Vec<_>>());
            let selection = Selection::of(bits, 1100);
            prop_assert_eq!(selection.len(), ordinals.len() as u64);
            prop_assert!((0..1100).all(|ordinal| selection.contains(ordinal) == ordinals.contains(&ordinal)));
        }
    }
}

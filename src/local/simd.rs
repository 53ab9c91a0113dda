//! Loops for whatever vector instructions the processor has.
//!
//! `pulp` makes them safe to call: it looks what there is, once, and runs a loop compiled for that. A loop gets the
//! instructions only if all of it is inlined where it runs, which closures and functions of their own size aren't: hence
//! [`vectorised!`], and `#[inline(always)]` on everything that such a loop calls.

use pulp::{Simd, WithSimd};

/// Runs a loop with the best instructions that there are.
#[inline(always)]
pub(super) fn run<W: WithSimd>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return Simd::vectorize(simd, work);
    }
    pulp::Arch::new().dispatch(work)
}

/// Makes a function whose body is compiled once for each set of instructions that may be there.
macro_rules! vectorised {
    (
        $(#[$attribute:meta])*
        $vis:vis fn $name:ident<'a>($simd:ident: Simd, $($argument:ident: $kind:ty),* $(,)?) $body:block
    ) => {
        $(#[$attribute])*
        $vis fn $name<'a>($($argument: $kind),*) {
            struct Work<'a> {
                $($argument: $kind),*
            }
            impl<'a> pulp::WithSimd for Work<'a> {
                type Output = ();
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, $simd: S) {
                    let Work { $($argument),* } = self;
                    $body
                }
            }
            $crate::local::simd::run(Work { $($argument),* });
        }
    };
}
pub(super) use vectorised;

/// The sum of products of two rows of the same length.
#[inline(always)]
pub(super) fn dot<S: Simd>(simd: S, one: &[f32], other: &[f32]) -> f32 {
    let (ones, one_rest) = S::as_simd_f32s(one);
    let (others, other_rest) = S::as_simd_f32s(other);
    let mut sums = [simd.splat_f32s(0.0); 2];
    let (one_pairs, one_last) = ones.as_chunks::<2>();
    let (other_pairs, other_last) = others.as_chunks::<2>();
    for (one, other) in one_pairs.iter().zip(other_pairs) {
        sums[0] = simd.mul_add_e_f32s(one[0], other[0], sums[0]);
        sums[1] = simd.mul_add_e_f32s(one[1], other[1], sums[1]);
    }
    for (one, other) in one_last.iter().zip(other_last) {
        sums[0] = simd.mul_add_e_f32s(*one, *other, sums[0]);
    }
    let sum = simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1]));
    one_rest.iter().zip(other_rest).fold(sum, |sum, (one, other)| sum + one * other)
}

/// The sum of a row.
#[inline(always)]
pub(super) fn sum<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (parts, rest) = S::as_simd_f32s(row);
    let sums = parts.iter().fold(simd.splat_f32s(0.0), |sums, part| simd.add_f32s(sums, *part));
    rest.iter().fold(simd.reduce_sum_f32s(sums), |sum, value| sum + value)
}

/// The largest of a row.
#[inline(always)]
pub(super) fn most<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (parts, rest) = S::as_simd_f32s(row);
    let start = simd.splat_f32s(f32::NEG_INFINITY);
    let most = parts.iter().fold(start, |most, part| simd.max_f32s(most, *part));
    rest.iter().fold(simd.reduce_max_f32s(most), |most, value| if *value > most { *value } else { most })
}

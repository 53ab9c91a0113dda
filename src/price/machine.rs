//! The time of a rented machine, shared among the requests it served.

use std::time::Duration;

use rust_decimal::Decimal;

use crate::types::Volume;

/// Fractions of a nanosecond kept while shares are summed. 64 bits of nanoseconds (584 years) and these fit a `u128`.
const FRACTION_BITS: u32 = 60;

/// Shares the time during which a machine was busy among the spans (start, end) of its requests: each instant at which at
/// least one request is in flight is split equally among those in flight. Gives each span's share, in the order of the
/// spans, and the busy time, which is the length of their union; the shares sum to it to the nanosecond.
///
/// The spans 0–10 s and 5–10 s give 7.5 s and 2.5 s of 10 s busy. A span that ends before it starts counts as empty, and
/// an empty span's share is nothing. Offsets beyond 584 years count as 584 years. O(n log n).
pub fn machine_time(spans: &[(Duration, Duration)]) -> (Vec<Duration>, Duration) {
    let spans: Vec<(u64, u64)> = spans
        .iter()
        .map(|(start, end)| (nanoseconds(*start), nanoseconds(*end)))
        .map(|(start, end)| (start, end.max(start)))
        .collect();
    let per_request = TimePerRequest::of(&spans);
    // Rounding the running total, not each share, keeps the sum exact: what one share loses the next one gets.
    let mut exact = 0_u128;
    let mut given = 0_u64;
    let mut shares: Vec<u64> = Vec::with_capacity(spans.len());
    for (start, end) in &spans {
        exact += per_request.at(*end) - per_request.at(*start);
        let rounded = ((exact + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS) as u64;
        let total = rounded.min(per_request.busy);
        shares.push(total - given);
        given = total;
    }
    // Fractions cut off in very many steps may have cost a nanosecond; the last request that took time gets it.
    let last = spans.iter().rposition(|(start, end)| start < end);
    if let Some(share) = last.and_then(|last| shares.get_mut(last)) {
        *share += per_request.busy - given;
    }
    (shares.into_iter().map(Duration::from_nanos).collect(), Duration::from_nanos(per_request.busy))
}

fn nanoseconds(offset: Duration) -> u64 {
    u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX)
}

/// What one request that was in flight from the start would have been given up to each instant.
struct TimePerRequest {
    /// Instants at which a span starts or ends, ascending.
    instants: Vec<u64>,
    /// The time up to each of them, in nanoseconds · 2^`FRACTION_BITS`.
    totals: Vec<u128>,
    /// Nanoseconds in which at least one request was in flight.
    busy: u64,
}

impl TimePerRequest {
    fn of(spans: &[(u64, u64)]) -> TimePerRequest {
        let ends = spans.iter().flat_map(|(start, end)| [(*start, 1_i64), (*end, -1)]);
        let mut ends: Vec<(u64, i64)> = ends.collect();
        ends.sort_unstable();
        let mut time = TimePerRequest { instants: Vec::new(), totals: Vec::new(), busy: 0 };
        let (mut total, mut in_flight, mut before) = (0_u128, 0_i64, 0_u64);
        for group in ends.chunk_by(|(one, _), (other, _)| one == other) {
            let now = group[0].0;
            if let Ok(sharing @ 1..) = u128::try_from(in_flight) {
                total += (u128::from(now - before) << FRACTION_BITS) / sharing;
                time.busy += now - before;
            }
            in_flight += group.iter().map(|(_, change)| change).sum::<i64>();
            before = now;
            time.instants.push(now);
            time.totals.push(total);
        }
        time
    }

    /// The time up to an instant at which a span starts or ends.
    fn at(&self, instant: u64) -> u128 {
        self.instants.binary_search(&instant).map_or(0, |index| self.totals[index])
    }
}

/// Dollars for a share of a machine's time, at a price per hour. Rounded at the 28th digit, for an hour has 3600 seconds.
/// `None` when the amount is too large for a decimal.
pub fn hourly_cost(per_hour_usd: Decimal, share: Duration) -> Option<Decimal> {
    let nanoseconds = i128::try_from(share.as_nanos()).ok()?;
    let seconds = Decimal::try_from_i128_with_scale(nanoseconds, 9).ok()?;
    Some(per_hour_usd.checked_mul(seconds)?.checked_div(Decimal::from(3600))?.normalize())
}

/// Machines that a volume needs at its peak: peak rate ÷ the rate that one machine was measured at, rounded up. `None` when
/// a rate is no number above 0.
pub fn machines_needed(volume: &Volume, measured_per_s: f64) -> Option<u64> {
    if !(measured_per_s > 0.0 && volume.peak_over_mean >= 1.0) {
        return None;
    }
    let peak = volume.mean_per_s()? * volume.peak_over_mean;
    let needed = (peak / measured_per_s).ceil().max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 1, and checked to be in range"
    )]
    (needed < 1e9).then_some(needed as u64)
}

/// Dollars per request when so many machines are paid for all hours of a volume, busy or not: machines × hours × price ÷
/// requests. Two machines at 3.13 an hour for 24 hours and 10 000 requests give 0.015024. Rounded at the 28th digit.
/// `None` without requests, and when the amount is too large for a decimal.
pub fn reserved_cost(per_hour_usd: Decimal, machines: u64, volume: &Volume) -> Option<Decimal> {
    let paid = per_hour_usd.checked_mul(Decimal::from(machines))?.checked_mul(volume.hours)?;
    Some(paid.checked_div(volume.requests)?.normalize())
}

/// Requests per second at which a machine at `per_hour_usd` costs as much as a service at `per_request_usd`; above, the
/// machine is cheaper, if it can serve so many. 4.00 an hour against 0.0042 a request gives 0.26455. `None` when a
/// request costs nothing or the rate is too large for a decimal.
pub fn break_even_per_s(per_hour_usd: Decimal, per_request_usd: Decimal) -> Option<Decimal> {
    per_hour_usd.checked_div(per_request_usd)?.checked_div(Decimal::from(3600))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(spans: &[(u64, u64)]) -> (Vec<u64>, u64) {
        let spans: Vec<(Duration, Duration)> =
            spans.iter().map(|(start, end)| (Duration::from_nanos(*start), Duration::from_nanos(*end))).collect();
        let (shares, busy) = machine_time(&spans);
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap();
        (shares.into_iter().map(nanoseconds).collect(), nanoseconds(busy))
    }

    #[test]
    fn instants_are_shared_by_those_in_flight() {
        assert_eq!(shares(&[]), (vec![], 0));
        assert_eq!(shares(&[(3, 10)]), (vec![7], 7));
        assert_eq!(shares(&[(0, 1000), (500, 1000)]), (vec![750, 250], 1000));
        // A gap is nobody's; the order of the spans is kept.
        assert_eq!(shares(&[(2000, 3000), (0, 100)]), (vec![1000, 100], 1100));
        // One inside the other, and a third that overlaps only the outer one's end:
        // 0–20 alone, 20–40 by two, 40–80 alone, 80–100 by two, 100–120 alone.
        assert_eq!(shares(&[(0, 100), (20, 40), (80, 120)]), (vec![20 + 10 + 40 + 10, 10, 10 + 20], 120));
        // Three share ten nanoseconds: none is lost.
        let (thirds, busy) = shares(&[(0, 10), (0, 10), (0, 10)]);
        assert_eq!((thirds.iter().sum::<u64>(), busy), (10, 10));
        assert!(thirds.iter().all(|share| (3..=4).contains(share)));
    }

    #[test]
    fn empty_and_reversed_spans_get_nothing() {
        assert_eq!(shares(&[(5, 5), (0, 10), (9, 2), (10, 10)]), (vec![0, 10, 0, 0], 10));
        assert_eq!(shares(&[(5, 5)]), (vec![0], 0));
    }

    #[test]
    fn absurd_offsets_are_held() {
        let (given, busy) = machine_time(&[(Duration::ZERO, Duration::MAX), (Duration::MAX, Duration::MAX)]);
        assert_eq!(busy, Duration::from_nanos(u64::MAX));
        assert_eq!(given, [busy, Duration::ZERO]);
    }

    #[test]
    fn a_hundred_thousand_spans_sum_exactly() {
        let spans: Vec<(u64, u64)> =
            (0..100_000).map(|index| (index * 7, index * 7 + 1 + index * 7919 % 1009)).collect();
        let (given, busy) = shares(&spans);
        assert_eq!(given.iter().sum::<u64>(), busy);
    }

    #[test]
    fn hours_to_dollars() {
        let cost = |price: &str, share| hourly_cost(price.parse().unwrap(), share).unwrap().to_string();
        assert_eq!(cost("3.60", Duration::from_secs(1)), "0.001");
        assert_eq!(cost("3.13", Duration::from_secs(5400)), "4.695");
        assert_eq!(cost("3.60", Duration::from_nanos(1)), "0.000000000001");
        assert_eq!(cost("0", Duration::MAX), "0");
        assert_eq!(hourly_cost(Decimal::MAX, Duration::from_secs(2)), None);
        assert_eq!(hourly_cost(Decimal::MAX, Duration::MAX), None);
    }

    #[test]
    fn reserved_machines_are_paid_whether_busy_or_not() {
        let day = |requests: i64, peak_over_mean| Volume {
            requests: Decimal::from(requests),
            hours: Decimal::from(24),
            peak_over_mean,
            is_measured: false,
        };
        let price = Decimal::new(313, 2);
        assert_eq!(reserved_cost(price, 2, &day(10_000, 1.0)).unwrap().to_string(), "0.015024");
        assert_eq!(reserved_cost(price, 1, &day(0, 1.0)), None);
        // 864,000 a day are ten a second; three times that at the peak, and one machine does eight.
        assert_eq!(machines_needed(&day(864_000, 3.0), 8.0), Some(4));
        assert_eq!(machines_needed(&day(1, 1.0), 8.0), Some(1));
        for rate in [0.0, -1.0, f64::NAN] {
            assert_eq!(machines_needed(&day(864_000, 3.0), rate), None);
        }
        assert_eq!(machines_needed(&day(0, 3.0), 8.0), None);
    }

    #[test]
    fn break_even_of_a_machine_and_a_service() {
        let rate = break_even_per_s(Decimal::new(40, 1), Decimal::new(42, 4)).unwrap();
        assert_eq!(rate.round_dp(6).to_string(), "0.264550");
        assert_eq!(break_even_per_s(Decimal::ONE, Decimal::ZERO), None);
    }

    proptest! {
        #[test]
        fn shares_sum_to_the_union_and_are_right_to_the_nanosecond(
            spans in prop::collection::vec((0_u64..60, 0_u64..40), 0..30)
        ) {
            let spans: Vec<(u64, u64)> = spans.into_iter().map(|(start, length)| (start, start + length)).collect();
            let (given, busy) = shares(&spans);
            // Nanosecond by nanosecond.
            let mut fair = vec![0.0; spans.len()];
            let mut union = 0;
            for instant in 0..100 {
                let is_in = |span: &(u64, u64)| span.0 <= instant && instant < span.1;
                let in_flight = spans.iter().filter(|span| is_in(span)).count();
                union += u64::from(in_flight > 0);
                for (share, _) in fair.iter_mut().zip(&spans).filter(|(_, span)| is_in(span)) {
                    *share += 1.0 / in_flight as f64;
                }
            }
            prop_assert_eq!(busy, union);
            prop_assert_eq!(given.iter().sum::<u64>(), union);
            for (share, fair) in given.iter().zip(fair) {
                prop_assert!((*share as f64 - fair).abs() <= 1.0 + 1e-9, "{share} {fair}");
            }
        }
    }
}

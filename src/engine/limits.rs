//! When a candidate may be sent its next request: the rates that a suite gives, what the service says of its own, and
//! what is learned from its refusals. Pure: the time is handed in, as an offset from any fixed instant.
//!
//! Three things bound the sending. *Buckets* of requests and tokens a minute, where the suite gives rates. A *window* of
//! requests in flight, which a refusal for overload halves and good answers widen again. And a *pace*, which begins with
//! the first 429: sending pauses for as long as the service asks, then begins slowly and doubles until the service
//! refuses again or until it is not what holds the run back any more; the last pace that was borne is then kept, and
//! tried a little faster only now and then.

use std::time::Duration;

use crate::provider::Hint;

/// Rates of a suite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests a minute.
    pub requests_per_min: Option<u32>,
    /// Tokens a minute, prompt and answer together.
    pub tokens_per_min: Option<u32>,
}

/// How an attempt ended, as far as limits go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was answered, with so many tokens in all where the service counts them.
    Answered(Option<u64>),
    /// It was refused because we ask too often, and the service wants to be left alone for so long.
    TooOften(Option<Duration>),
    /// It was refused because the service has too much to do.
    Overloaded(Option<Duration>),
    /// It failed for another reason.
    Failed,
}

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Now. It counts as sent.
    Go,
    /// Not before so long; then it has to be asked again.
    Wait(Duration),
    /// Not before another one has ended.
    Full,
}

/// The longest pause that a service can bring about: one that asks for more is tried again all the same, by the tasks
/// that are left.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The deepest debt of a bucket, in seconds: one absurd count must not stop a candidate for good.
const DEEPEST: f64 = 600.0;

/// How long sending pauses when a service refuses without saying for how long.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a pace is held before it is doubled, while it is being found.
const STEP: Duration = Duration::from_millis(500);

/// How long a found pace is held before it is tried faster; four times as long after each try that was refused.
const HOLD: Duration = Duration::from_secs(5);
const LONGEST_HOLD: Duration = Duration::from_secs(320);

/// What is kept of the last pace that was borne.
const KEPT: f64 = 0.98;

/// By how much a held pace is tried faster.
const FASTER: f64 = 1.05;

/// What is kept of a held pace that is not borne any more.
const SLOWER: f64 = 0.8;

/// The shortest time in which a service is taken to bear one request.
const SHORTEST: Duration = Duration::from_millis(100);

/// The limits of one candidate.
#[derive(Debug)]
pub struct Limiter {
    /// Requests in flight, at most, whatever is learned.
    most: f64,
    /// Requests in flight, at most, for now.
    window: f64,
    busy: usize,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    pace: Option<Pace>,
    /// Nothing is sent before this.
    paused_until: Duration,
    /// When the window was last narrowed: the refusals of one burst count once.
    narrowed: Option<Duration>,
    /// Answers since the sending began or went on.
    answered: u64,
    /// When it began or went on; `None` before the first request.
    since: Option<Duration>,
}

/// A bucket that fills at a steady rate.
#[derive(Debug)]
struct Bucket {
    per_s: f64,
    most: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    /// One that is full. It holds a second's worth: services count in windows that are often shorter than a minute.
    fn new(per_min: u32) -> Bucket {
        let per_s = f64::from(per_min.max(1)) / 60.0;
        Bucket { per_s, most: per_s.max(1.0), level: per_s.max(1.0), at: Duration::ZERO }
    }

    fn fill(&mut self, now: Duration) {
        self.level = (self.level + self.per_s * now.saturating_sub(self.at).as_secs_f64()).min(self.most);
        self.at = self.at.max(now);
    }

    /// How long until it holds `amount`, or is full, whichever is less: what is more than it can hold goes into debt.
    fn wait(&self, amount: f64) -> Duration {
        let missing = amount.min(self.most) - self.level;
        if missing <= 1e-9 {
            Duration::ZERO
        } else {
            Duration::try_from_secs_f64(missing / self.per_s).unwrap_or(LONGEST_PAUSE)
        }
    }
}

/// A pace that was learned.
#[derive(Debug)]
struct Pace {
    per_s: f64,
    /// It is never less.
    least: f64,
    /// The last pace that was borne for a whole step.
    borne: Option<f64>,
    /// When the next request may go.
    next: Duration,
    /// When this pace began.
    since: Duration,
    /// Whether it is still being found.
    is_rising: bool,
    /// Answers at this pace.
    answered: u64,
    /// Requests that the service takes at once before it looks at the rate: those before the first refusal.
    burst: f64,
    /// Seconds in which it recovers from them.
    recovery: f64,
    /// How long it is held.
    hold: Duration,
}

impl Limiter {
    /// For a candidate with so many slots, and the suite's rates.
    pub fn new(in_flight: usize, rates: Rates) -> Limiter {
        Limiter {
            most: in_flight.max(1) as f64,
            window: in_flight.max(1) as f64,
            busy: 0,
            requests: rates.requests_per_min.map(Bucket::new),
            tokens: rates.tokens_per_min.map(Bucket::new),
            pace: None,
            paused_until: Duration::ZERO,
            narrowed: None,
            answered: 0,
            since: None,
        }
    }

    /// Whether a request of about `tokens` tokens may go. After [`Leave::Go`] it counts as in flight until
    /// [`Limiter::heard`].
    pub fn ask(&mut self, now: Duration, tokens: u64) -> Leave {
        if now < self.paused_until {
            return Leave::Wait(self.paused_until - now);
        }
        if self.busy as f64 >= self.window.floor().max(1.0) {
            return Leave::Full;
        }
        let tokens = tokens as f64;
        let mut wait = Duration::ZERO;
        for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                bucket.fill(now);
                wait = wait.max(bucket.wait(amount));
            }
        }
        if let Some(pace) = &mut self.pace {
            pace.go_on(now);
            wait = wait.max(pace.next.saturating_sub(now));
        }
        if !wait.is_zero() {
            return Leave::Wait(wait);
        }
        for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                bucket.level -= amount;
            }
        }
        if let Some(pace) = &mut self.pace {
            // From when it was due, so that the pace is kept on average; but what was missed is not made up for.
            let due = pace.next.max(now.saturating_sub(pace.gap()));
            pace.next = due + pace.gap();
        }
        self.since.get_or_insert(now);
        self.busy += 1;
        Leave::Go
    }

    /// Takes note of how a request ended; `tokens` is what was asked for it.
    pub fn heard(&mut self, now: Duration, tokens: u64, heard: Heard, hint: Hint) {
        self.busy = self.busy.saturating_sub(1);
        match heard {
            Heard::Answered(counted) => {
                self.answered += 1;
                if let Some(pace) = &mut self.pace {
                    if now < pace.since {
                        pace.took_more_at_once();
                    } else {
                        pace.answered += 1;
                    }
                }
                self.window = (self.window + 1.0 / self.window).min(self.most);
                if let (Some(bucket), Some(counted)) = (&mut self.tokens, counted) {
                    let least = -DEEPEST * bucket.per_s;
                    bucket.level = (bucket.level + tokens as f64 - counted as f64).clamp(least, bucket.most);
                }
            }
            Heard::TooOften(asked) => {
                self.narrow(now);
                self.too_often(now, asked.unwrap_or(PAUSE));
            }
            Heard::Overloaded(asked) => {
                self.narrow(now);
                if let Some(asked) = asked {
                    self.pause(now, asked);
                }
            }
            Heard::Failed => {}
        }
        for (left, amount) in [(hint.requests, 1), (hint.tokens, tokens.max(1))] {
            if let Some((left, wait)) = left
                && left < amount
            {
                self.pause(now, wait.min(Duration::from_secs(60)));
            }
        }
    }

    fn pause(&mut self, now: Duration, wait: Duration) {
        self.paused_until = self.paused_until.max(now + wait.min(LONGEST_PAUSE));
    }

    fn narrow(&mut self, now: Duration) {
        if self.narrowed.is_none_or(|last| now >= last + STEP) {
            self.narrowed = Some(now);
            self.window = (self.window / 2.0).max(1.0);
        }
    }

    fn too_often(&mut self, now: Duration, asked: Duration) {
        let is_new = now >= self.paused_until;
        self.pause(now, asked);
        if !is_new {
            // Another of the requests that were on their way when the first was refused.
            return;
        }
        let until = self.paused_until;
        // Whoever waits as long as was asked for may send one. Were there no such bound, a service that refuses some
        // requests whatever the rate would bring all others to a standstill.
        let least = 1.0 / asked.max(SHORTEST).as_secs_f64();
        self.pace = Some(match &self.pace {
            None => {
                let recovery = until.saturating_sub(self.since.unwrap_or(now)).as_secs_f64().max(0.1);
                let burst = self.answered as f64;
                let per_s = (burst / recovery).max(least);
                Pace {
                    per_s,
                    least,
                    borne: None,
                    next: until,
                    since: until,
                    is_rising: true,
                    answered: 0,
                    burst,
                    recovery,
                    hold: HOLD,
                }
            }
            Some(pace) => {
                let per_s = pace.borne_after_refusal(now).max(least);
                let hold = if pace.is_rising { HOLD } else { (pace.hold * 4).min(LONGEST_HOLD) };
                let is_rising = false;
                Pace { per_s, least, borne: None, next: until, since: until, is_rising, answered: 0, hold, ..*pace }
            }
        });
        (self.answered, self.since) = (0, Some(until));
    }
}

impl Pace {
    /// An answer came after the first refusal to a request that was sent before it.
    fn took_more_at_once(&mut self) {
        if self.is_rising && self.borne.is_none() {
            self.burst += 1.0;
            self.per_s = (self.burst / self.recovery).max(self.least);
        }
    }

    /// What the service will bear, after it refused at this pace. What it took at this pace beyond the burst that it had
    /// saved up came at its own rate; the last pace that it bore for a whole step is the least.
    fn borne_after_refusal(&self, now: Duration) -> f64 {
        let least = match self.borne {
            Some(borne) => borne * KEPT,
            None if self.is_rising => self.per_s / 2.0,
            None => self.per_s * SLOWER,
        };
        let held = now.saturating_sub(self.since).as_secs_f64().max(0.05);
        let own = (self.answered as f64 - self.burst) / held;
        least.max(own * KEPT).min(self.per_s * KEPT)
    }

    fn gap(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.per_s)
    }

    /// Makes it faster when it has been borne long enough.
    fn go_on(&mut self, now: Duration) {
        // A slow pace is held for a few requests, at least.
        let held = if self.is_rising { STEP } else { self.hold }.max(self.gap().saturating_mul(2));
        if now < self.since + held {
            return;
        }
        self.borne = Some(self.per_s);
        self.per_s *= if self.is_rising { 2.0 } else { FASTER };
        (self.since, self.answered) = (now, 0);
        self.next = self.next.min(now + self.gap());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BinaryHeap;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn answered() -> Heard {
        Heard::Answered(None)
    }

    /// A service that takes `per_s` requests a second with bursts of `burst`, and answers in no time.
    struct Service {
        bucket: Bucket,
        ask: Duration,
        taken: u64,
        refused: u64,
    }

    impl Service {
        fn new(per_s: f64, burst: f64, ask: Duration) -> Service {
            Service {
                bucket: Bucket { per_s, most: burst, level: burst, at: Duration::ZERO },
                ask,
                taken: 0,
                refused: 0,
            }
        }

        fn take(&mut self, now: Duration) -> Heard {
            self.bucket.fill(now);
            if self.bucket.level >= 1.0 {
                self.bucket.level -= 1.0;
                self.taken += 1;
                return answered();
            }
            self.refused += 1;
            Heard::TooOften(Some(self.ask))
        }
    }

    /// Sends tasks over `slots` slots until `tasks` are answered; gives how long it took.
    fn storm(service: &mut Service, slots: usize, tasks: u64, latency: Duration) -> Duration {
        let mut limiter = Limiter::new(slots, Rates::default());
        // When each slot does its next thing, and whether that is to send or to hear: the earliest first.
        let mut heap: BinaryHeap<std::cmp::Reverse<(Duration, usize, bool)>> =
            (0..slots).map(|slot| std::cmp::Reverse((Duration::ZERO, slot, true))).collect();
        let mut now = Duration::ZERO;
        let mut heard = vec![answered(); slots];
        while service.taken < tasks {
            let std::cmp::Reverse((at, slot, is_sending)) = heap.pop().unwrap();
            now = at;
            let next = if is_sending {
                match limiter.ask(now, 100) {
                    // Whether it is taken shows at once; an answer takes longer than a refusal.
                    Leave::Go => {
                        heard[slot] = service.take(now);
                        (now + if heard[slot] == answered() { latency } else { ms(1) }, slot, false)
                    }
                    Leave::Wait(wait) => (now + wait, slot, true),
                    Leave::Full => (now + ms(1), slot, true),
                }
            } else {
                limiter.heard(now, 100, heard[slot], Hint::default());
                (now, slot, true)
            };
            heap.push(std::cmp::Reverse(next));
            assert!(now < Duration::from_secs(3600), "it does not end");
        }
        now
    }

    #[test]
    fn a_storm_of_refusals_is_ridden_out() {
        // Without any burst there is nothing to begin with but one a second.
        for (per_s, burst, most) in
            [(20.0, 5.0, 1.15), (5.0, 5.0, 1.15), (100.0, 20.0, 1.2), (33.0, 1.0, 1.35), (1.0, 1.0, 1.15)]
        {
            for slots in [4, 16, 64] {
                // Half a minute's worth: finding the pace takes a few seconds.
                let tasks = (per_s * 30.0) as u64;
                let mut service = Service::new(per_s, burst, Duration::from_secs(1));
                let took = storm(&mut service, slots, tasks, ms(5)).as_secs_f64();
                let allowed = (tasks as f64 - burst) / per_s;
                // What was on its way when the first was refused is lost, whoever sends it.
                let lost = service.refused.saturating_sub(slots as u64);
                assert!(lost as f64 <= 0.03 * tasks as f64 + 1.0, "{per_s}/s, {slots} slots: {lost} refused");
                assert!(took < allowed * most, "{per_s}/s, {slots} slots: {took:.1} s instead of {allowed:.1}");
            }
        }
    }

    #[test]
    fn requests_that_are_refused_whatever_the_rate_do_not_stop_the_others() {
        let mut limiter = Limiter::new(4, Rates::default());
        let (mut now, mut sent) = (Duration::ZERO, 0);
        while sent < 1000 {
            match limiter.ask(now, 1) {
                Leave::Go => {
                    sent += 1;
                    let heard = if sent % 3 == 0 { Heard::TooOften(Some(Duration::ZERO)) } else { answered() };
                    limiter.heard(now, 1, heard, Hint::default());
                }
                Leave::Wait(wait) => now += wait,
                Leave::Full => panic!("nothing is in flight"),
            }
        }
        assert!(now <= Duration::from_secs(101), "{now:?}");
    }

    #[test]
    fn without_refusals_nothing_is_held_back() {
        let mut service = Service::new(1e6, 1e6, Duration::from_secs(1));
        let took = storm(&mut service, 16, 1000, ms(10));
        assert!(took <= ms(640), "{took:?}");
        assert_eq!(service.refused, 0);
    }

    #[test]
    fn rates_of_the_suite_are_kept() {
        let rates = Rates { requests_per_min: Some(60), tokens_per_min: None };
        let mut limiter = Limiter::new(8, rates);
        assert_eq!(limiter.ask(ms(0), 1), Leave::Go);
        assert_eq!(limiter.ask(ms(0), 1), Leave::Wait(ms(1000)));
        assert_eq!(limiter.ask(ms(400), 1), Leave::Wait(ms(600)));
        assert_eq!(limiter.ask(ms(1000), 1), Leave::Go);
        let rates = Rates { requests_per_min: None, tokens_per_min: Some(6000) };
        let mut limiter = Limiter::new(8, rates);
        // 100 tokens a second. What is more than a second's worth goes into debt instead of never.
        assert_eq!(limiter.ask(ms(0), 300), Leave::Go);
        assert_eq!(limiter.ask(ms(0), 100), Leave::Wait(ms(3000)));
        // The answer took fewer tokens than were set aside for it.
        limiter.heard(ms(500), 300, Heard::Answered(Some(100)), Hint::default());
        assert_eq!(limiter.ask(ms(500), 100), Leave::Wait(ms(500)));
        assert_eq!(limiter.ask(ms(1000), 100), Leave::Go);
    }

    #[test]
    fn absurd_numbers_stop_nobody_for_good() {
        let mut limiter = Limiter::new(2, Rates { requests_per_min: None, tokens_per_min: Some(30) });
        assert_eq!(limiter.ask(ms(0), 1), Leave::Go);
        limiter.heard(ms(1), 1, Heard::Answered(Some(u64::MAX)), Hint::default());
        let Leave::Wait(wait) = limiter.ask(ms(1), 1) else { panic!("it is in debt") };
        assert!(wait <= Duration::from_secs(610), "{wait:?}");
        let mut limiter = Limiter::new(2, Rates::default());
        assert_eq!(limiter.ask(ms(0), 1), Leave::Go);
        limiter.heard(ms(0), 1, Heard::TooOften(Some(Duration::from_secs(86_400))), Hint::default());
        assert_eq!(limiter.ask(ms(0), 1), Leave::Wait(Duration::from_secs(300)));
    }

    #[test]
    fn overload_halves_the_window_once_a_burst_and_answers_widen_it() {
        let mut limiter = Limiter::new(8, Rates::default());
        (0..8).for_each(|_| assert_eq!(limiter.ask(ms(0), 1), Leave::Go));
        assert_eq!(limiter.ask(ms(0), 1), Leave::Full);
        (0..4).for_each(|_| limiter.heard(ms(10), 1, Heard::Overloaded(None), Hint::default()));
        assert_eq!(limiter.ask(ms(10), 1), Leave::Full, "four are in flight and four may be");
        (0..4).for_each(|_| limiter.heard(ms(20), 1, answered(), Hint::default()));
        (0..4).for_each(|_| assert_eq!(limiter.ask(ms(20), 1), Leave::Go));
        assert_eq!(limiter.ask(ms(20), 1), Leave::Full);
        for _ in 0..100 {
            limiter.heard(ms(30), 1, answered(), Hint::default());
            limiter.ask(ms(30), 1);
        }
        (0..4).for_each(|_| assert_eq!(limiter.ask(ms(30), 1), Leave::Go, "wide again"));
    }

    #[test]
    fn what_a_service_says_of_its_limits_is_heeded_before_it_refuses() {
        let mut limiter = Limiter::new(8, Rates::default());
        assert_eq!(limiter.ask(ms(0), 50), Leave::Go);
        let plenty = Hint { requests: Some((10, ms(700))), tokens: Some((5000, ms(900))) };
        limiter.heard(ms(5), 50, answered(), plenty);
        assert_eq!(limiter.ask(ms(5), 50), Leave::Go);
        limiter.heard(ms(6), 50, answered(), Hint { requests: Some((0, ms(700))), tokens: None });
        assert_eq!(limiter.ask(ms(6), 50), Leave::Wait(ms(700)));
        assert_eq!(limiter.ask(ms(706), 50), Leave::Go);
        limiter.heard(ms(710), 50, answered(), Hint { requests: None, tokens: Some((49, ms(300))) });
        assert_eq!(limiter.ask(ms(710), 50), Leave::Wait(ms(300)));
    }
}

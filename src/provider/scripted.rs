//! Made-up answers, for trying out a suite and for tests. Token counts are not made up.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use crate::provider::wire::QUOTE;
use crate::provider::{Answer, Event, Outgoing, Provider, Refusal};
use crate::suite::spec::ScriptedSpec;
use crate::types::{Failure, Finish, Row};
use crate::util::clock::Clock;
use crate::util::text::shorten;

/// Says something of a row, or why it cannot.
pub type RowText = Arc<dyn Fn(&Row) -> Result<String, String> + Send + Sync>;

/// Tests a row, or says why it cannot.
pub type RowTest = Arc<dyn Fn(&Row) -> Result<bool, String> + Send + Sync>;

/// A candidate that follows a script.
pub struct Scripted {
    spec: ScriptedSpec,
    reply: RowText,
    fails: Option<RowTest>,
}

impl Scripted {
    /// `reply` makes the answer; rows for which `fails` is true fail with status 500 when the first chunk is due.
    pub fn new(spec: &ScriptedSpec, reply: RowText, fails: Option<RowTest>) -> Scripted {
        Scripted { spec: spec.clone(), reply, fails }
    }
}

impl Provider for Scripted {
    fn open<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Answer, Refusal>> {
        async move {
            let row = &outgoing.request.row;
            let clock = Clock::new();
            let failed =
                |what: &str, why: String| Failure::Program { detail: format!("{what}: {}", shorten(&why, QUOTE)) };
            let is_failing = match &self.fails {
                Some(fails) => fails(row).map_err(|why| failed("`fail_where`", why))?,
                None => false,
            };
            let reply = (self.reply)(row).map_err(|why| failed("`reply`", why))?;
            let first_after = self.spec.first_after.map(|after| after.0).unwrap_or_default();
            if !first_after.is_zero() {
                tokio::time::sleep(first_after).await;
            }
            if is_failing {
                return Err(Failure::Status { status: 500, detail: "the script says so".to_owned() }.into());
            }
            let gap = self.spec.gap.map(|gap| gap.0).unwrap_or_default();
            let texts = (0..).zip(pieces(&reply, self.spec.chunks.unwrap_or(1)));
            let texts = stream::iter(texts).then(move |(index, text): (u32, String)| async move {
                // Each chunk has its own due time, so that what one sleep is late does not add up.
                let due = first_after.saturating_add(gap.saturating_mul(index));
                let wait = due.saturating_sub(clock.now());
                if index > 0 && !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                Ok(Event::Text(text))
            });
            let events = texts.chain(stream::iter([Ok(Event::Finish(Finish::Stop))])).boxed();
            Ok(Answer::new(events, true))
        }
        .boxed()
    }

    fn files(&self) -> u64 {
        0
    }
}

/// The text in `count` pieces that differ by at most one character in length; fewer when it has fewer characters.
fn pieces(text: &str, count: u32) -> Vec<String> {
    let chars = text.chars().count();
    let count = usize::try_from(count).unwrap_or(usize::MAX).clamp(1, chars.max(1));
    let (size, longer) = (chars / count, chars % count);
    let mut rest = text.chars();
    (0..count).map(|index| rest.by_ref().take(size + usize::from(index < longer)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::provider::{Attempted, collect};
    use crate::types::{Params, Request};
    use crate::util::secret::Redactor;

    async fn ask(scripted: &Scripted, row: serde_json::Value, limit: Duration, clock: Clock) -> Attempted {
        let request = Request {
            messages: Arc::new([]),
            tools: None,
            output_schema: None,
            params: Arc::new(Params::default()),
            row: Arc::new(row.as_object().unwrap().clone()),
        };
        collect(scripted, &Outgoing::of(scripted, &request), limit, clock, &Redactor::default()).await
    }

    fn scripted(spec: serde_json::Value) -> Scripted {
        let reply: RowText = Arc::new(|row| row.get("a").map(|a| format!("é{a}漢")).ok_or("no `a`".to_owned()));
        let fails: RowTest = Arc::new(|row| Ok(row.contains_key("bad")));
        Scripted::new(&serde_json::from_value(spec).unwrap(), reply, Some(fails))
    }

    #[test]
    fn pieces_are_even_and_whole() {
        assert_eq!(pieces("é漢🎉ab", 2), ["é漢🎉", "ab"]);
        assert_eq!(pieces("abcdefg", 3), ["abc", "de", "fg"]);
        assert_eq!(pieces("ab", u32::MAX), ["a", "b"]);
        assert_eq!(pieces("ab", 0), ["ab"]);
        assert_eq!(pieces("", 5), [""]);
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_come_when_the_script_says() {
        let spec = json!({"reply": "", "first_after": "100ms", "chunks": 3, "gap": "20ms"});
        let clock = Clock::new();
        let got = ask(&scripted(spec), json!({"a": 1}), Duration::from_secs(1), clock).await;
        let timing = got.timing.unwrap();
        assert_eq!(timing.chunks, [100, 120, 140].map(Duration::from_millis));
        assert_eq!(timing.done, Duration::from_millis(140));
        let response = got.outcome.unwrap();
        assert_eq!((response.text.as_str(), response.finish), ("é1漢", Some(Finish::Stop)));
        assert_eq!(response.usage, crate::types::Usage::default());
    }

    #[tokio::test(start_paused = true)]
    async fn rows_fail_and_times_run_out() {
        let spec = json!({"reply": "", "first_after": "1s", "chunks": 2, "gap": "500000000000y"});
        let provider = scripted(spec);
        let (limit, clock) = (Duration::from_secs(2), Clock::new());
        let failed = ask(&provider, json!({"a": 1, "bad": true}), limit, clock).await;
        assert!(matches!(failed.outcome.unwrap_err().failure, Failure::Status { status: 500, .. }));
        assert_eq!((failed.took, failed.is_begun), (Duration::from_secs(1), false));
        let broken = ask(&provider, json!({}), limit, clock).await;
        assert!(matches!(broken.outcome.unwrap_err().failure, Failure::Program { .. }));
        let late = ask(&provider, json!({"a": 1}), limit, clock).await;
        assert_eq!(late.outcome.unwrap_err().failure, Failure::Timeout { after: limit });
        assert!(late.is_begun);
    }
}

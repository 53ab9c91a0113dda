//! Which of the counts that a service reports are believed. Pure.
//!
//! Every answer passes through [`settle`] once it is whole, whether it came over a wire in whatever dialect, from a file
//! of recorded answers, or from a log. A count that contradicts the answer or another count becomes unknown, with the
//! reason: a wrong count makes a wrong cost, and one that is too low lets a run spend more than its cap. Where the right
//! count follows for certain it takes the place of the wrong one.

use rust_decimal::Decimal;

use crate::types::{Finish, Response, Usage};

/// Settles the counts of a whole answer. Doing it twice changes nothing more.
pub fn settle(response: &mut Response) {
    let has_content = !response.text.is_empty() || !response.reasoning.is_empty() || !response.tool_calls.is_empty();
    // A prompt that a filter refused never reached the model: the text is the filter's, and no tokens is the right count.
    let is_said = has_content && !(response.is_refusal && response.finish == Some(Finish::Filter));
    let Response { usage, usage_doubt, cost_usd, .. } = response;
    let total = usage.total_tokens.take();
    let mut doubts: Vec<String> = usage_doubt.take().into_iter().collect();
    let counts_nothing = |count: Option<u64>| is_said && count == Some(0);
    let counts_nothing_at_all =
        counts_nothing(usage.input_tokens) && counts_nothing(usage.output_tokens) && total.unwrap_or(0) == 0;
    if counts_nothing_at_all {
        doubts.push("the service reported 0 input and 0 output tokens for an answer that is not empty".to_owned());
        usage.forget_input();
        usage.forget_output();
    }
    if counts_nothing(usage.input_tokens) {
        doubts.push("the service reported 0 input tokens for an answer that is not empty".to_owned());
        usage.forget_input();
    }
    if let Some(total) = total
        && let Err(doubt) = add_up(usage, total)
    {
        doubts.push(doubt);
        usage.forget_input();
        usage.forget_output();
    }
    if let Some(doubt) = input_parts(usage) {
        doubts.push(doubt);
        usage.forget_input();
    }
    if let Some(doubt) = output_parts(usage) {
        doubts.push(doubt);
        usage.forget_output();
    }
    if counts_nothing(usage.output_tokens) {
        doubts.push("the service reported 0 output tokens for an answer that is not empty".to_owned());
        usage.forget_output();
    }
    // A cost of nothing that goes with such counts was made from them.
    if counts_nothing_at_all && cost_usd.is_some_and(|cost| cost == Decimal::ZERO) {
        *cost_usd = None;
    }
    *usage_doubt = (!doubts.is_empty()).then(|| doubts.join("; "));
}

/// Holds the counts against their total. Services differ in what they leave out of the parts or of the total; where the
/// difference is exactly such a part, nothing is wrong, or the part is added where it belongs.
fn add_up(usage: &mut Usage, total: u64) -> Result<(), String> {
    let (Some(input), Some(output)) = (usage.input_tokens, usage.output_tokens) else { return Ok(()) };
    // Some servers fill in the parts and leave the total at 0.
    let (Some(sum), true) = (input.checked_add(output), total > 0) else { return Ok(()) };
    if sum == total {
        return Ok(());
    }
    let (read, written) = (usage.cached_input_tokens.unwrap_or(0), usage.cache_write_tokens.unwrap_or(0));
    let thought = usage.reasoning_tokens.unwrap_or(0);
    let is_cache = |difference: u64| [read, written, read.saturating_add(written)].contains(&difference);
    if let Some(more) = total.checked_sub(sum) {
        if more == thought {
            // xAI leaves reasoning out of the output.
            usage.output_tokens = Some(output + more);
            return Ok(());
        }
        if is_cache(more) {
            // Gateways to Anthropic leave what the cache holds out of the input.
            usage.input_tokens = Some(input + more);
            return Ok(());
        }
        if usage.reasoning_tokens.is_none() {
            // Gemini behind OpenAI's shape counts thoughts, which are billed as output, in the total only.
            usage.output_tokens = Some(output + more);
            return Ok(());
        }
    } else if let less = sum - total
        && (is_cache(less) || less == thought)
    {
        return Ok(());
    }
    Err(format!("the service reported {input} input and {output} output tokens, but {total} in total"))
}

/// What is wrong with the parts of the input.
fn input_parts(usage: &Usage) -> Option<String> {
    let of = |count: Option<u64>| count.unwrap_or(0);
    let (read, written, sound) =
        (of(usage.cached_input_tokens), of(usage.cache_write_tokens), of(usage.audio_input_tokens));
    if let (Some(written), Some(hourly)) = (usage.cache_write_tokens, usage.cache_write_1h_tokens)
        && hourly > written
    {
        return Some(format!(
            "the service reported {hourly} tokens written to the cache for an hour, but {written} written in all"
        ));
    }
    let input = usage.input_tokens?;
    (read.saturating_add(written) > input || sound > input).then(|| {
        let parts = [(read, "read from the cache"), (written, "written to the cache"), (sound, "of audio")];
        format!("the service reported {input} input tokens, but {}", listed(&parts))
    })
}

/// What is wrong with the parts of the output.
fn output_parts(usage: &Usage) -> Option<String> {
    let output = usage.output_tokens?;
    let (thought, sound) = (usage.reasoning_tokens.unwrap_or(0), usage.audio_output_tokens.unwrap_or(0));
    (thought.saturating_add(sound) > output).then(|| {
        let parts = [(thought, "of reasoning"), (sound, "of audio")];
        format!("the service reported {output} output tokens, but {}", listed(&parts))
    })
}

fn listed(parts: &[(u64, &str)]) -> String {
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    parts.collect::<Vec<String>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer with content and these counts: input, output, total.
    fn answer(input: u64, output: u64, total: Option<u64>) -> Response {
        let usage =
            Usage { input_tokens: Some(input), output_tokens: Some(output), total_tokens: total, ..Usage::default() };
        Response { text: "yes".to_owned(), usage, ..Response::default() }
    }

    fn settled(mut response: Response) -> Response {
        settle(&mut response);
        response
    }

    fn counts(response: &Response) -> (Option<u64>, Option<u64>) {
        (response.usage.input_tokens, response.usage.output_tokens)
    }

    /// The counts of an answer that is changed before it is settled, and whether anything is doubted.
    fn with(mut response: Response, change: impl FnOnce(&mut Usage)) -> (Option<u64>, Option<u64>, bool) {
        change(&mut response.usage);
        let response = settled(response);
        let (input, output) = counts(&response);
        (input, output, response.usage_doubt.is_some())
    }

    #[test]
    fn counts_that_agree_stay() {
        for total in [None, Some(0), Some(12)] {
            let response = settled(answer(9, 3, total));
            assert_eq!((counts(&response), response.usage_doubt), ((Some(9), Some(3)), None));
            assert_eq!(response.usage.total_tokens, None);
        }
    }

    #[test]
    fn nothing_counted_beside_an_answer_is_not_believed() {
        let response = settled(Response { cost_usd: Some(Decimal::ZERO), ..answer(0, 0, Some(0)) });
        assert_eq!((counts(&response), response.cost_usd), ((None, None), None));
        assert!(response.usage_doubt.unwrap().contains("0 input and 0 output tokens"));
        assert_eq!(with(answer(0, 5, None), |_| {}), (None, Some(5), true));
        assert_eq!(with(answer(5, 0, None), |_| {}), (Some(5), None, true));
        let calls =
            Response { text: String::new(), tool_calls: vec![crate::types::ToolCall::default()], ..answer(5, 0, None) };
        assert_eq!(with(calls, |_| {}), (Some(5), None, true));
        // A filter may have stopped it before the model saw it.
        let empty = Response { text: String::new(), ..answer(0, 0, Some(0)) };
        assert_eq!(with(empty, |_| {}), (Some(0), Some(0), false));
        let refused = Response { is_refusal: true, finish: Some(Finish::Filter), ..answer(0, 0, Some(0)) };
        assert_eq!(with(refused, |_| {}), (Some(0), Some(0), false));
        // A free model counts its tokens, and its cost of nothing is one.
        let free = settled(Response { cost_usd: Some(Decimal::ZERO), ..answer(5, 5, None) });
        assert_eq!(free.cost_usd, Some(Decimal::ZERO));
    }

    #[test]
    fn a_total_above_its_parts_tells_what_was_left_out() {
        // Thoughts in the total only: 623 - 20.
        assert_eq!(with(answer(20, 198, Some(623)), |_| {}), (Some(20), Some(603), false));
        assert_eq!(with(answer(20, 0, Some(623)), |_| {}), (Some(20), Some(603), false));
        // xAI: 5 shown and 4 thought.
        assert_eq!(with(answer(3, 5, Some(12)), |usage| usage.reasoning_tokens = Some(4)), (Some(3), Some(9), false));
        // Input without what the cache holds.
        let cached = |usage: &mut Usage| usage.cached_input_tokens = Some(90);
        assert_eq!(with(answer(10, 4, Some(104)), cached), (Some(100), Some(4), false));
        // Reasoning is told, and it is not what is missing.
        assert_eq!(with(answer(3, 5, Some(20)), |usage| usage.reasoning_tokens = Some(4)), (None, None, true));
    }

    #[test]
    fn a_total_below_its_parts_is_explained_or_nothing_is_believed() {
        assert_eq!(
            with(answer(100, 4, Some(14)), |usage| usage.cached_input_tokens = Some(90)),
            (Some(100), Some(4), false)
        );
        assert_eq!(
            with(answer(100, 50, Some(110)), |usage| usage.reasoning_tokens = Some(40)),
            (Some(100), Some(50), false)
        );
        assert_eq!(with(answer(100, 50, Some(120)), |_| {}), (None, None, true));
    }

    #[test]
    fn parts_above_their_whole_are_not_believed() {
        assert_eq!(with(answer(10, 4, None), |usage| usage.cached_input_tokens = Some(11)), (None, Some(4), true));
        assert_eq!(with(answer(10, 4, None), |usage| usage.audio_input_tokens = Some(11)), (None, Some(4), true));
        assert_eq!(with(answer(10, 4, None), |usage| usage.reasoning_tokens = Some(5)), (Some(10), None, true));
        let hourly = |usage: &mut Usage| {
            (usage.cache_write_tokens, usage.cache_write_1h_tokens) = (Some(2), Some(3));
        };
        assert_eq!(with(answer(10, 4, None), hourly), (None, Some(4), true));
    }

    proptest! {
        /// What is believed in the end has no contradiction left, and is settled for good.
        #[test]
        fn what_is_believed_is_sound(
            counts in prop::collection::vec(prop::option::of(0_u64..30), 9),
            text in "[a-z]{0,2}",
        ) {
            let usage = Usage {
                input_tokens: counts[0],
                cached_input_tokens: counts[1],
                cache_write_tokens: counts[2],
                cache_write_1h_tokens: counts[3],
                audio_input_tokens: counts[4],
                output_tokens: counts[5],
                reasoning_tokens: counts[6],
                audio_output_tokens: counts[7],
                total_tokens: counts[8],
            };
            let is_said = !text.is_empty();
            let once = settled(Response { text, usage, ..Response::default() });
            prop_assert_eq!(input_parts(&once.usage), None);
            prop_assert_eq!(output_parts(&once.usage), None);
            for count in [once.usage.input_tokens, once.usage.output_tokens] {
                prop_assert!(!(is_said && count == Some(0)));
            }
            // A count is lost with a reason only.
            for (before, after) in [(usage.input_tokens, once.usage.input_tokens), (usage.output_tokens, once.usage.output_tokens)] {
                prop_assert!(before.is_none() || after.is_some() || once.usage_doubt.is_some());
            }
            prop_assert_eq!(settled(once.clone()), once);
        }
    }
}

//! Why a model stopped, in the words of any service. Pure.
//!
//! Services take over each other's dialects and keep their own words, in whatever case, so every dialect, recorded answers
//! and logs are read by this one table. A word that stands nowhere in it ends an answer for another reason
//! ([`Finish::Other`]): the word is kept, and the report counts it.

use crate::provider::Event;
use crate::types::{Failure, Finish};

/// What a word for the end of an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The answer is whole, or ends where the model or a limit ended it.
    Ended(Finish),
    /// The model refused, or a filter in its place: what was said is no answer.
    Refused,
    /// The server broke it off: what was said is a piece of an answer.
    Broken,
    /// The server reports an error of its own.
    Failed,
}

/// The words that need not be kept, OpenAI's and those of our own files: what they say is all in [`Finish`].
const USUAL: [&str; 7] = ["stop", "length", "tool_calls", "content_filter", "tool", "filter", "other"];

impl Stop {
    /// Reads a word, in whatever case.
    pub fn of(word: &str) -> Stop {
        match word.trim().to_ascii_lowercase().as_str() {
            "stop" | "eos" | "eos_token" | "end" | "end_turn" | "stop_sequence" | "complete" | "completed" => {
                Stop::Ended(Finish::Stop)
            }
            "length"
            | "max_tokens"
            | "max_output_tokens"
            | "max_new_tokens"
            | "max_length"
            | "model_length"
            | "token_limit"
            | "context_length_exceeded"
            | "context_window_exceeded"
            | "model_context_window_exceeded" => Stop::Ended(Finish::Length),
            "tool_calls" | "tool_call" | "tool_use" | "tool" | "function_call" => Stop::Ended(Finish::Tool),
            // `sensitive` is Z.ai's; those from `recitation` to `model_armor` are Gemini's.
            "content_filter" | "filter" | "safety" | "sensitive" | "recitation" | "blocklist"
            | "prohibited_content" | "spii" | "image_safety" | "model_armor" => Stop::Ended(Finish::Filter),
            "refusal" | "guardrail_intervened" | "content_filtered" | "error_toxic" => Stop::Refused,
            // `abort` is vLLM's and SGLang's, `network_error` Z.ai's, `insufficient_system_resource` DeepSeek's,
            // `time_limit` and `not_finished` watsonx's.
            "abort"
            | "aborted"
            | "cancelled"
            | "canceled"
            | "interrupted"
            | "insufficient_system_resource"
            | "network_error"
            | "not_finished"
            | "time_limit"
            | "timeout" => Stop::Broken,
            "error" | "error_limit" | "internal_error" | "server_error" => Stop::Failed,
            _ => Stop::Ended(Finish::Other),
        }
    }
}

/// The word itself, where [`Finish`] does not say all of it.
pub fn kept(word: &str) -> Option<String> {
    let word = word.trim();
    (!word.is_empty() && !USUAL.contains(&word)).then(|| word.to_owned())
}

/// The failure that a word reports; `None` for one that ends an answer.
fn failure_of(word: &str) -> Option<Failure> {
    match Stop::of(word) {
        Stop::Ended(_) | Stop::Refused => None,
        // Not sent again: it has been billed as far as it went.
        Stop::Broken => {
            Some(Failure::Cut { detail: format!("the server stopped with the finish reason `{}`", word.trim()) })
        }
        Stop::Failed => {
            Some(Failure::Service { detail: format!("the answer ended with the finish reason `{}`", word.trim()) })
        }
    }
}

/// The events of a word for the end of an answer.
///
/// # Errors
/// When it says that the server broke the answer off, or failed.
pub fn events(word: &str) -> Result<Vec<Event>, Failure> {
    if let Some(failure) = failure_of(word) {
        return Err(failure);
    }
    let mut events = match Stop::of(word) {
        Stop::Ended(finish) => vec![Event::Finish(finish)],
        Stop::Refused | Stop::Broken | Stop::Failed => vec![Event::Refusal, Event::Finish(Finish::Filter)],
    };
    events.extend(kept(word).map(Event::StopWord));
    Ok(events)
}

/// The same for services that have no word of their own for calls: an answer with calls that simply stopped called tools.
///
/// # Errors
/// Those of [`events`].
pub fn events_after(word: &str, has_calls: bool) -> Result<Vec<Event>, Failure> {
    let mut events = events(word)?;
    for event in events.iter_mut().filter(|event| has_calls && **event == Event::Finish(Finish::Stop)) {
        *event = Event::Finish(Finish::Tool);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_kept_where_they_say_more() {
        for (word, finish, is_kept) in [
            ("stop", Finish::Stop, false),
            ("STOP", Finish::Stop, true),
            ("end_turn", Finish::Stop, true),
            ("length", Finish::Length, false),
            ("MAX_TOKENS", Finish::Length, true),
            ("model_context_window_exceeded", Finish::Length, true),
            ("tool_calls", Finish::Tool, false),
            ("content_filter", Finish::Filter, false),
            ("RECITATION", Finish::Filter, true),
            ("pause_turn", Finish::Other, true),
        ] {
            let mut wanted = vec![Event::Finish(finish)];
            wanted.extend(is_kept.then(|| Event::StopWord(word.to_owned())));
            assert_eq!(events(word), Ok(wanted), "{word}");
        }
        let refused = events("refusal").unwrap();
        assert_eq!(refused[..2], [Event::Refusal, Event::Finish(Finish::Filter)]);
        assert_eq!(kept(" "), None);
        assert_eq!(events_after("stop", true).unwrap(), [Event::Finish(Finish::Tool)]);
        assert_eq!(events_after("length", true).unwrap(), [Event::Finish(Finish::Length)]);
    }

    #[test]
    fn an_answer_that_the_server_broke_off_is_a_failure() {
        for word in ["abort", "network_error", "ABORT", "insufficient_system_resource"] {
            let failure = events(word).unwrap_err();
            assert!(matches!(&failure, Failure::Cut { detail } if detail.contains(word)), "{failure:?}");
            assert!(failure.may_be_billed());
        }
        assert!(matches!(events("error"), Err(Failure::Service { .. })));
    }
}

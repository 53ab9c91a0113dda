//! Logged traffic in the place of a suite's golden set.

use crate::suite::Suite;
use crate::suite::spec::{CandidateSpec, DatasetSpec, PromptSpec, RecordedSpec, SelectSpec};
use crate::suite::values::OneOrMany;
use crate::types::Capture;

/// Id of the candidate that stands for the logged answers.
pub const LOGGED: &str = "logged";

/// Puts logged traffic into a suite: as golden set, as prompt, and as a candidate of its own with what was logged, which
/// the others are compared with.
pub(super) fn put_into(suite: &mut Suite, capture: &Capture) {
    let path = capture.path.display().to_string();
    suite.dataset = DatasetSpec {
        path: OneOrMany(vec![path.clone()]),
        id: None,
        input: None,
        target: None,
        cluster: Some("conversation".to_owned()),
        tags: Vec::new(),
        select: Some(SelectSpec { filter: capture.filter.clone(), ..SelectSpec::default() }),
    };
    suite.prompt = Some(PromptSpec { system: None, user: None, messages: Some("messages".to_owned()) });
    suite.repeats = capture.times;
    let field = |name: &str| Some(name.to_owned());
    suite.candidates.push(CandidateSpec {
        id: LOGGED.to_owned(),
        recorded: Some(RecordedSpec {
            path,
            on: None,
            text: field("/answer/text"),
            tool_calls: field("/answer/tool_calls"),
            usage: field("/answer/usage"),
            latency_ms: field("latency_ms"),
            ttft_ms: field("ttft_ms"),
            finish: field("/answer/finish"),
            cost_usd: field("cost_usd"),
            refusal: field("/answer/is_refusal"),
            failure: field("failure"),
        }),
        ..CandidateSpec::default()
    });
    suite.baseline = Some(LOGGED.to_owned());
}

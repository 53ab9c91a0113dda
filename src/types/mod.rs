//! The plain values that every other module passes around: samples, requests, records, scores, figures, faults.
//!
//! Nothing here opens a file, reads a clock or talks to a model.

mod capture;
mod echoes;
mod event;
mod exchange;
mod fault;
mod figures;
mod price;
mod probe;
mod record;
mod replay;
mod sample;
mod score;

pub use capture::{CaptureSource, CaptureVersion, Exchange, Precision, ROUNDING, Texts};
pub use echoes::{Echo, Echoes, OTHER_MODEL_RATE, is_standard_tier};
pub use event::{RunEvent, Sink, Slot, UnderWay};
pub use exchange::{Content, Finish, Message, Params, Request, Response, Role, TokenLogprob, ToolCall, Usage};
pub use fault::{Fault, Faults, Place};
pub use figures::{
    Account, AtWorst, CandidateSummary, Cell, ClassFigures, Comparison, Confusion, ConfusionCell, Counts, Discordant,
    Estimate, Flip, Lump, Machines, Method, Paired, QUANTILES, Summary, TokenKind, TokenSum, Unit, quantile_of,
};
pub use price::{Price, PriceFault, PriceOrigin, Pricing, Rates, Tier, Volume, dollars};
pub use probe::{Ability, Endpoint, Finding, Probe, Shown};
pub use record::{Attempt, Failure, FailureKind, Record, Task, TaskKey, Timing, Unsent};
pub use replay::{Accounting, Capture, Punctual, Replay, ReplayReport, Spread, Stretch};
pub use sample::{Row, Sample};
pub use score::{Mark, Score, ScoreRow};

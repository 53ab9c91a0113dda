//! Open files: as many as the requests in flight take are provided before anything is sent. Where the system allows fewer,
//! that is said, and no candidate fails for it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::commands::exit::CommandError;
use crate::commands::plan::Plan;

/// Files that are open whatever is asked: the run's own, the runtime's, name lookups, a terminal.
const OTHERS: u64 = 48;

/// Files that a request to a server holds open.
const OF_A_SERVER: u64 = 2;

/// Provides open files for all requests that may be in flight at once: `cap` of them, or as many as the candidates have.
///
/// # Errors
/// When the system allows fewer.
pub fn provide(plan: &Plan, cap: Option<usize>) -> Result<(), CommandError> {
    let of_all = plan.candidates.iter().map(|candidate| {
        let in_flight = cap.unwrap_or(candidate.pace.in_flight) as u64;
        // One that is not there yet is a server of ours.
        let each = candidate.live.as_ref().map_or(OF_A_SERVER, |provider| provider.files());
        each.saturating_mul(in_flight)
    });
    let needed = of_all.fold(OTHERS, u64::saturating_add);
    raise(needed).map_err(|allowed| {
        let message = format!(
            "the requests that may be in flight at once take up to {needed} open files, and this system allows {allowed}"
        );
        CommandError::usage(message, format!("allow more (`ulimit -n {needed}`), or lower `in_flight`"))
    })
}

/// Raises the limit to at least this; else gives how many the system allows.
fn raise(needed: u64) -> Result<(), u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let wanted = maximum.map_or(needed, |maximum| maximum.min(needed));
    // Some systems refuse what they said they allow; then what there is counts.
    let is_raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
    let allowed = if is_raised { wanted } else { current.unwrap_or(wanted) };
    if allowed >= needed { Ok(()) } else { Err(allowed) }
}

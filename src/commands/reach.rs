//! Whether the services of a run can be reached, before the first request: a server that is not there should be known at
//! once, not when all its tasks have failed.

use std::time::Duration;

use futures_util::future::join_all;

use crate::commands::World;
use crate::commands::exit::CommandError;
use crate::commands::plan::Plan;
use crate::util::text::{shorten, visible};

/// How long a connection may take to come about. Connections to the other side of the world take a second, with a name to
/// look up and TLS.
const WITHIN: Duration = Duration::from_secs(5);

/// Characters of the reason that are shown.
const SHOWN: usize = 300;

/// Variables of the environment that name a proxy.
pub(super) const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Connects to each service that has something left to be asked, all at once; no request is sent. `is_open` says which
/// candidates do, by their index, and `again` what to do when the service is there.
///
/// # Errors
/// When one cannot be reached: all such services together, each with its address and the reason.
pub fn reach(plan: &Plan, is_open: impl Fn(usize) -> bool, again: &str, world: &World<'_>) -> Result<(), CommandError> {
    let services = plan.candidates.iter().enumerate().filter_map(|(index, candidate)| {
        // Whatever answers from this machine has no address.
        let is_service = candidate.dialect.is_some() && is_open(index);
        Some((&*candidate.id, candidate.live.as_ref().filter(|_| is_service)?))
    });
    let services: Vec<(&str, _)> = services.collect();
    if services.is_empty() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Internal(error.to_string()))?;
    let reached = runtime.block_on(join_all(services.iter().map(|(_, service)| service.reach(WITHIN))));
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    let failed = services.iter().zip(reached).filter_map(|((id, _), reached)| {
        let mut failure = reached.err()?;
        let detail = failure.detail_mut()?;
        plan.redactor.clean_message(detail);
        Some(format!("`{}` cannot be reached at {}", visible(id), shorten(detail, SHOWN)))
    });
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() {
        return Ok(());
    }
    let proxy = PROXIES.iter().find(|name| (world.environment)(name).is_some_and(|value| !value.is_empty()));
    let proxy =
        proxy.map_or(String::new(), |name| format!(" (`{name}` names a proxy, which may be what cannot be reached)"));
    Err(CommandError::Unreachable {
        message: failed.join("\nerror: "),
        help: format!("nothing was sent; start the service or correct its address{proxy}, then {again}"),
    })
}

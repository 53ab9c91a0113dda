//! Ctrl-C, the signal that asks a process to end, and the one of a terminal that is gone, while a run is under way.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a run that was left.
const LEFT: i32 = 3;

/// Hears from its making to the end of the process: once a process listens to a signal, the signal does not end it any
/// more, so somebody has to listen as long as there is work.
pub struct Signals {
    first: CancellationToken,
    second: CancellationToken,
    /// What to say when a signal ends the process; `None` while requests are in flight, which are to be finished.
    farewell: Arc<Mutex<Option<String>>>,
}

impl Signals {
    /// Begins to listen, on a thread of its own. `on_first` is called when the process is told to stop for the first time.
    ///
    /// # Errors
    /// When the system gives no thread or no signals.
    pub fn listen(on_first: impl Fn() + Send + 'static) -> io::Result<Signals> {
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let farewell = Arc::<Mutex<Option<String>>>::default();
        let signals = Signals { first: first.clone(), second: second.clone(), farewell: Arc::clone(&farewell) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let streams = {
            let _entered = runtime.enter();

            let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
            // Files that may not grow are told by the write that fails, and not by this signal, which ends a process.
            let too_large = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, hangup, too_large)
        };
        let listen = move || {
            runtime.block_on(async move {
                let (mut interrupt, mut terminate, mut hangup, _too_large) = streams;
                while let Some(told) = told(&mut interrupt, &mut terminate, hangup.as_mut()).await {
                    if let Some(farewell) = &*farewell.lock().unwrap_or_else(PoisonError::into_inner) {
                        leave(farewell);
                    }
                    if !first.is_cancelled() {
                        first.cancel();
                        on_first();
                    } else if told == Told::ToStop {
                        second.cancel();
                    }
                }
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
        Ok(signals)
    }

    /// Cancelled when the process was told to stop.
    pub fn first(&self) -> &CancellationToken {
        &self.first
    }

    /// Cancelled when the process was told so again.
    pub fn second(&self) -> &CancellationToken {
        &self.second
    }

    /// From now on a signal ends the process at once: all requests have ended, and what is left can be made again. Files
    /// are put in place whole, so none is left half written.
    pub fn leave_with(&self, farewell: String) {
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = Some(farewell);
    }
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the main thread may be held up anywhere, even in writing to a pipe that nobody reads"
)]
fn leave(farewell: &str) {
    // That nobody can read it is no reason to stay.
    let _ = writeln!(io::stderr(), "{farewell}");
    std::process::exit(LEFT)
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    ToStop,
    /// The terminal is gone. A shell and the system may both say so: it never means to leave at once.
    TerminalGone,
}

/// Waits for a signal; `None` when there will be none any more.
async fn told(interrupt: &mut Signal, terminate: &mut Signal, hangup: Option<&mut Signal>) -> Option<Told> {
    let hung_up = async {
        match hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        told = interrupt.recv() => told.map(|()| Told::ToStop),
        told = terminate.recv() => told.map(|()| Told::ToStop),
        told = hung_up => told.map(|()| Told::TerminalGone),
    }
}

/// Whether whoever started the process has it outlive its terminal, as `nohup` does. Where the system does not tell, it
/// does not.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Hanging up is signal 1, the lowest bit.
    mask.is_some_and(|mask| mask & 1 == 1)
}

//! Ctrl-C, and the signal that asks a process to end, while a run is under way.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Hears from its making to the end of the process: once a process listens to a signal, the signal does not end it any
/// more, so somebody has to listen as long as there is work.
pub struct Signals {
    first: CancellationToken,
    second: CancellationToken,
    count: Arc<AtomicU32>,
}

impl Signals {
    /// Begins to listen, on a thread of its own. `on_first` is called when the process is told to stop for the first time.
    ///
    /// # Errors
    /// When the system gives no thread or no signals.
    pub fn listen(on_first: impl Fn() + Send + 'static) -> io::Result<Signals> {
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let count = Arc::new(AtomicU32::new(0));
        let signals = Signals { first: first.clone(), second: second.clone(), count: Arc::clone(&count) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let streams = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let listen = move || {
            runtime.block_on(async move {
                let (mut interrupt, mut terminate) = streams;
                while told(&mut interrupt, &mut terminate).await {
                    if count.fetch_add(1, Ordering::SeqCst) == 0 {
                        first.cancel();
                        on_first();
                    } else {
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

    /// How often the process was told.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }
}

/// Waits for a signal; false when there will be none any more.
async fn told(interrupt: &mut Signal, terminate: &mut Signal) -> bool {
    tokio::select! {
        told = interrupt.recv() => told.is_some(),
        told = terminate.recv() => told.is_some(),
    }
}

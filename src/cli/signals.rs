//! Signals. As process 1 of a container `recctl` gets only those that it listens to, so every
//! command does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Ended;
use super::error::{INTERRUPTED, TERMINATED};
use crate::run::event::{EventSink, RunEvent};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// A wish to stop: the first signal asks for it, the second ends the process at once.
pub(super) struct Stop {
    asked: CancellationToken,
    /// The exit code of the signal that asked; 0 while there was none.
    code: Arc<AtomicU8>,
    _listener: AbortOnDropHandle<()>,
}

impl Stop {
    /// Listens from now on. Call it within a runtime.
    pub(super) fn listen(events: Arc<dyn EventSink>) -> Outcome<Self> {
        let mut signals = Signals::listen()?;
        let (asked, code) = (CancellationToken::new(), Arc::new(AtomicU8::new(0)));
        let (ask, told) = (asked.clone(), Arc::clone(&code));
        let listener = tokio::spawn(async move {
            let first = signals.next().await;
            told.store(first, Ordering::Release);
            ask.cancel();
            let name = if first == TERMINATED { "SIGTERM" } else { "an interrupt" };
            let message = format!("stopping after {name}; a second one ends at once");
            events.emit(RunEvent::Noticed { message });
            end(signals.next().await);
        });
        Ok(Self { asked, code, _listener: AbortOnDropHandle::new(listener) })
    }

    /// The token that is cancelled when somebody asks to stop.
    pub(super) fn asked(&self) -> CancellationToken {
        self.asked.clone()
    }

    /// The exit code of what was stopped.
    pub(super) fn code(&self) -> u8 {
        match self.code.load(Ordering::Acquire) {
            0 => INTERRUPTED,
            code => code,
        }
    }

    /// Does `work` unless somebody asks to stop before it is done; then `Cancelled`. Only for work
    /// that may be dropped anywhere.
    pub(super) async fn unless_asked<T>(
        &self,
        work: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        tokio::select! {
            biased;
            () = self.asked.cancelled() => {
                Err(Failure::new(FailureKind::Cancelled, "stopped before the run began"))
            }
            done = work => done,
        }
    }
}

/// Does `work` unless a signal ends the process: for commands that have nothing to give back.
pub(super) async fn ending_at_once(work: impl Future<Output = Ended>) -> Ended {
    let _listening = end_at_once()?;
    work.await
}

/// Ends the process at the first signal, for as long as the handle is kept. Call it within a
/// runtime.
pub(super) fn end_at_once() -> Outcome<AbortOnDropHandle<()>> {
    let mut signals = Signals::listen()?;
    Ok(AbortOnDropHandle::new(tokio::spawn(async move { end(signals.next().await) })))
}

fn end(code: u8) {
    std::process::exit(i32::from(code));
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Outcome<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen_to = |kind| {
            signal(kind).map_err(|error| {
                let text = format!("cannot wait for signals: {error}");
                Failure::new(FailureKind::Internal, text)
            })
        };
        let interrupt = listen_to(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: listen_to(SignalKind::terminate())? })
    }

    /// Waits for the next signal and returns its exit code.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Outcome<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> u8 {
        // Where nothing can be listened to, nobody asks.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        INTERRUPTED
    }
}

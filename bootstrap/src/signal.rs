//! When the operator wants the relay to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Catches interrupts (Ctrl-C) and termination signals from now on; what it returns ends with the first one.
///
/// # Errors
/// The system refuses to deliver signals.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

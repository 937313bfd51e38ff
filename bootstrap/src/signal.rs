//! When the operator wants the relay to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Ends with the first interrupt (Ctrl-C) or termination signal.
///
/// # Errors
/// The system refuses to deliver signals.
pub async fn shutdown_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

//! Waiting with an end.

use std::thread;
use std::time::{Duration, Instant};

/// Enough for anything that a person would wait for. A guard against hanging, not a goal.
pub const SOON: Duration = Duration::from_secs(90);

/// Enough for work on the whole chat log, on a slow and busy machine. A guard against hanging, not a goal.
pub const LONG: Duration = Duration::from_secs(30 * 60);

/// Tries until an attempt succeeds, with pauses that grow to a second.
///
/// # Panics
/// After `patience`, with what the last attempt said.
#[track_caller]
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) if started.elapsed() >= patience => {
                panic!(
                    "waited {} s in vain: {what}; at last: {last}",
                    patience.as_secs()
                )
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tries_again() {
        let mut left = 3;
        let value = until("three attempts", SOON, || {
            left -= 1;
            if left == 0 {
                Ok("done")
            } else {
                Err(format!("{left} left"))
            }
        });
        assert_eq!(value, "done");
    }

    #[test]
    #[should_panic(expected = "a miracle; at last: no")]
    fn it_gives_up_with_the_last_answer() {
        until("a miracle", Duration::ZERO, || Err::<(), _>("no".into()));
    }
}

//! Growing pauses between attempts.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Doubles from `first` up to `most`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Backoff {
    /// The pause after so many failures in a row (one or more), between a half and the whole of it by `jitter`
    /// (0 to 1), so that the nodes of a restarted relay don't all come back at once.
    pub(crate) fn pause(self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let whole = self.first.saturating_mul(1 << doublings).min(self.most);
        whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// A number between 0 and 1, random enough to spread attempts over time.
pub(crate) fn jitter() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 40;
    // 24 bits are exact in an f64.
    f64::from(u32::try_from(bits).expect("24 bits fit into 32")) / f64::from(1 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_jitter_halves_them_at_most() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            most: Duration::from_secs(60),
        };
        let whole: Vec<_> = (1..=8)
            .map(|failures| backoff.pause(failures, 1.0).as_secs())
            .collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.pause(7, 0.0), Duration::from_secs(30));
        assert_eq!(backoff.pause(u32::MAX, 1.0), Duration::from_secs(60));
        assert!((0.0..1.0).contains(&jitter()));
    }
}

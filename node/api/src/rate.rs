//! How fast one token may ask: a bucket for each, generous enough for imports.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Requests that may come at once.
const BURST: f64 = 1000.0;
/// Requests a second in the long run.
const RATE: f64 = 500.0;

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Buckets by token id. Bounded, because the number of tokens is.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<String, Bucket>>);

impl Buckets {
    /// Takes one request out of the token's bucket; false where it is empty.
    pub(crate) fn take(&self, token: &str, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(token) {
            // Full buckets say nothing, so those of revoked tokens go.
            buckets.retain(|_, bucket| refilled(bucket, now) < BURST);
        }
        let bucket = buckets.entry(token.to_owned()).or_insert(Bucket {
            left: BURST,
            at: now,
        });
        bucket.left = refilled(bucket, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

fn refilled(bucket: &Bucket, now: Instant) -> f64 {
    let since = now.saturating_duration_since(bucket.at).as_secs_f64();
    (bucket.left + since * RATE).min(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_ends_and_the_bucket_refills() {
        let buckets = Buckets::default();
        let start = Instant::now();
        let taken = (0..5000).filter(|_| buckets.take("a", start)).count();
        assert_eq!(taken, 1000);
        assert!(buckets.take("b", start), "each token has its own");
        let later = start + Duration::from_millis(100);
        let taken = (0..5000).filter(|_| buckets.take("a", later)).count();
        assert_eq!(taken, 50);
    }
}

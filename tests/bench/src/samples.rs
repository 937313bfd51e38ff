//! Durations in order.

use std::time::Duration;

/// Measured durations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// Takes one more.
    pub(crate) fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value below which `percent` of the samples lie, in milliseconds; zero where there are none.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |value| ms(*value))
    }
}

/// Milliseconds with their fraction.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_samples() {
        let mut samples = Samples::default();
        assert!(samples.percentile_ms(50).abs() < f64::EPSILON);
        for value in (0..100).rev() {
            samples.add(Duration::from_millis(value));
        }
        assert!((samples.percentile_ms(50) - 50.0).abs() < 1e-9);
        assert!((samples.percentile_ms(99) - 99.0).abs() < 1e-9);
        assert!((samples.percentile_ms(100) - 99.0).abs() < 1e-9);
    }
}

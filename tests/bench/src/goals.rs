//! The numbers to reach.

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Which side of the number is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    /// Smaller is better.
    AtMost,
    /// Larger is better.
    AtLeast,
}

/// One number to reach.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goal {
    /// Stable key of the measurement.
    pub(crate) name: String,
    /// The part of the project that brings it.
    pub(crate) part: String,
    /// One sentence.
    #[serde(rename = "what")]
    _what: String,
    /// The number.
    pub(crate) goal: f64,
    /// Its unit.
    pub(crate) unit: String,
    direction: Direction,
}

impl Goal {
    /// Whether a value reaches it.
    pub(crate) fn holds(&self, value: f64) -> bool {
        match self.direction {
            Direction::AtMost => value <= self.goal,
            Direction::AtLeast => value >= self.goal,
        }
    }

    /// As it is printed.
    pub(crate) fn sign(&self) -> &'static str {
        match self.direction {
            Direction::AtMost => "≤",
            Direction::AtLeast => "≥",
        }
    }
}

/// All numbers to reach.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Goals {
    #[serde(rename = "goal")]
    pub(crate) all: Vec<Goal>,
}

impl Goals {
    /// Reads the file that is built in.
    pub(crate) fn load() -> Result<Self> {
        toml::from_str(include_str!("../goals.toml")).context("tests/bench/goals.toml is wrong")
    }

    /// The goal of a measurement.
    pub(crate) fn of(&self, name: &str) -> Option<&Goal> {
        self.all.iter().find(|goal| goal.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_readable_and_its_names_are_unique() {
        let goals = Goals::load().expect("it is part of the project");
        let mut names: Vec<_> = goals.all.iter().map(|goal| &goal.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), goals.all.len());
        let send = goals.of("send_p50").expect("a goal of part A");
        assert!(send.holds(send.goal) && !send.holds(send.goal + 0.1));
        let group = goals.of("group_commit").expect("a goal of part A");
        assert!(group.holds(group.goal) && !group.holds(group.goal - 1.0));
    }
}

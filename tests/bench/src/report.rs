//! What was measured: as a table for people and as JSON for programs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::goals::Goals;
use crate::samples::Samples;

/// A bare figure that a value is read beside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Yardstick {
    /// What it is.
    name: &'static str,
    /// How much.
    value: f64,
    /// Of what.
    unit: &'static str,
}

impl Yardstick {
    /// A bare figure.
    pub(crate) fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit }
    }
}

/// Something that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    yardstick: Option<Yardstick>,
    note: Option<String>,
}

impl Figure {
    /// A measured value. A name of `goals.toml` connects it with its goal.
    pub(crate) fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            value,
            unit,
            yardstick: None,
            note: None,
        }
    }

    /// The bare figure of the same run.
    pub(crate) fn beside(mut self, yardstick: Yardstick) -> Self {
        self.yardstick = Some(yardstick);
        self
    }

    /// What a reader should know, above all where the goal is missed.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// The bare figures, each a median.
#[derive(Clone, Debug)]
pub(crate) struct Yardsticks {
    /// 4 KiB overwritten and synced.
    pub(crate) fsync: Samples,
    /// One row committed by redb.
    pub(crate) redb: Samples,
    /// 64 bytes there and back over a QUIC stream.
    pub(crate) quic: Samples,
    /// One gossipsub hop.
    pub(crate) gossip: Samples,
}

impl Yardsticks {
    /// As figures of their own.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let of = |name, samples: &Samples| {
            let tail = format!("99 of 100 within {:.2} ms", samples.percentile_ms(99));
            Figure::new(name, samples.percentile_ms(50), "ms").note(tail)
        };
        vec![
            of("bare_fsync", &self.fsync),
            of("bare_redb_commit", &self.redb),
            of("bare_quic_round_trip", &self.quic),
            of("bare_gossip_hop", &self.gossip),
        ]
    }
}

#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    value: f64,
    unit: &'static str,
    goal: Option<f64>,
    holds: Option<bool>,
    yardstick: Option<Yardstick>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Why goals of part A are not measured by this program.
const ELSEWHERE: [(&str, &str); 1] = [(
    "acknowledged_lost",
    "counted by `cargo xtask sim`, `cargo xtask ci --only=lab` and the store's power cut tests",
)];

/// Prints each figure as it comes, and remembers it.
#[derive(Debug)]
pub(crate) struct Report<'goals> {
    goals: &'goals Goals,
    lines: Vec<Line>,
}

impl<'goals> Report<'goals> {
    /// An empty report.
    pub(crate) fn new(goals: &'goals Goals) -> Self {
        Self {
            goals,
            lines: Vec::new(),
        }
    }

    /// Takes a figure in, and prints the head of the table before the first.
    pub(crate) fn add(&mut self, figure: Figure) {
        if self.lines.is_empty() {
            println!(
                "\n{:<36} {:>10} {:<12} {:>9}  {:<5} yardstick",
                "name", "value", "unit", "goal", "holds"
            );
        }
        let goal = self.goals.of(figure.name);
        let holds = goal.map(|goal| goal.holds(figure.value));
        let yardstick = figure
            .yardstick
            .as_ref()
            .map(|y| format!("{} {} {}", y.name, short(y.value), y.unit))
            .unwrap_or_default();
        println!(
            "{:<36} {:>10} {:<12} {:>9}  {:<5} {yardstick}",
            figure.name,
            short(figure.value),
            figure.unit,
            goal.map(|goal| format!("{} {}", goal.sign(), goal.goal))
                .unwrap_or_default(),
            holds.map_or("", |holds| if holds { "yes" } else { "NO" }),
        );
        if let Some(note) = &figure.note {
            println!("    {note}");
        }
        if let Some(goal) = goal {
            debug_assert_eq!(goal.unit, figure.unit, "{}", figure.name);
        }
        self.lines.push(Line {
            name: figure.name,
            value: figure.value,
            unit: figure.unit,
            goal: goal.map(|goal| goal.goal),
            holds,
            yardstick: figure.yardstick,
            note: figure.note,
        });
    }

    /// Lists the goals of part A that no figure is there for, and sums up.
    pub(crate) fn end(&self, all: bool) {
        for goal in self.goals.all.iter().filter(|goal| goal.part == "A") {
            if self.lines.iter().any(|line| line.name == goal.name) {
                continue;
            }
            let reason = ELSEWHERE
                .iter()
                .find(|(name, _)| *name == goal.name)
                .map(|(_, reason)| *reason);
            if reason.is_some() || all {
                println!(
                    "{:<36} not measured: {}",
                    goal.name,
                    reason.unwrap_or("no measurement yet")
                );
            }
        }
        let judged: Vec<bool> = self.lines.iter().filter_map(|line| line.holds).collect();
        let held = judged.iter().filter(|holds| **holds).count();
        println!("\n{held} of {} measured goals hold", judged.len());
    }

    /// Writes the JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.lines)? + "\n";
        fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
    }
}

/// Three significant digits are more than such a measurement has.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

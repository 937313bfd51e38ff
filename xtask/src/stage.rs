//! Stages of a suite: run one after the other, timed, and summed up at the end.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::options::Selection;
use crate::workspace::Workspace;

type Work = Box<dyn Fn(&Workspace) -> Result<String, String>>;

/// One step of a suite.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    what: &'static str,
    /// Nothing after a failed gate can tell anything new.
    gate: bool,
    work: Work,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed(String),
    Failed(String),
    NotRun(String),
}

#[derive(Debug)]
struct Line {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

impl Stage {
    /// A stage whose work answers with a note for the summary (which may be empty) or with what went wrong.
    pub(crate) fn new(
        name: &'static str,
        what: &'static str,
        work: impl Fn(&Workspace) -> Result<String, String> + 'static,
    ) -> Self {
        Self {
            name,
            what,
            gate: false,
            work: Box::new(work),
        }
    }

    /// Makes the stages after this one depend on it.
    pub(crate) fn gate(mut self) -> Self {
        self.gate = true;
        self
    }
}

/// The list of stages for a help text.
pub(crate) fn described(stages: &[Stage]) -> String {
    stages
        .iter()
        .map(|stage| format!("  {:<10} {}\n", stage.name, stage.what))
        .collect()
}

/// Runs the selected stages and prints each one's time and a table at the end.
///
/// # Errors
/// Names the failed stages; everything else has been printed by then.
pub(crate) fn run_all(
    suite: &str,
    workspace: &Workspace,
    stages: &[Stage],
    selection: &Selection,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut lines = Vec::with_capacity(stages.len());
    let mut closed_by = None;
    for stage in stages {
        let line = match (selection.left_out(stage.name), closed_by) {
            (Some(reason), _) => not_run(stage, reason.to_owned()),
            (None, Some(gate)) => not_run(stage, format!("needs `{gate}` to pass first")),
            (None, None) => timed(workspace, stage),
        };
        if stage.gate && matches!(line.outcome, Outcome::Failed(_)) {
            closed_by = Some(stage.name);
        }
        lines.push(line);
    }
    println!("\n{}", summary(&lines, started.elapsed()));
    let failed: Vec<&str> = lines
        .iter()
        .filter(|line| matches!(line.outcome, Outcome::Failed(_)))
        .map(|line| line.name)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "failed: {}. To repeat only that: cargo xtask {suite} --only={}",
        failed.join(", "),
        failed.join(",")
    )))
}

fn not_run(stage: &Stage, reason: String) -> Line {
    Line {
        name: stage.name,
        outcome: Outcome::NotRun(reason),
        took: Duration::ZERO,
    }
}

fn timed(workspace: &Workspace, stage: &Stage) -> Line {
    println!("\n== {}: {}", stage.name, stage.what);
    let started = Instant::now();
    let outcome = match (stage.work)(workspace) {
        Ok(note) => Outcome::Passed(note),
        Err(why) => {
            println!("{why}");
            Outcome::Failed(why)
        }
    };
    let took = started.elapsed();
    let word = if matches!(outcome, Outcome::Failed(_)) {
        "FAILED"
    } else {
        "ok"
    };
    println!("-- {} {word}, {}", stage.name, seconds(took));
    Line {
        name: stage.name,
        outcome,
        took,
    }
}

fn summary(lines: &[Line], total: Duration) -> String {
    let mut table = String::from("stage      result   time       note\n");
    for line in lines {
        let (result, note) = match &line.outcome {
            Outcome::Passed(note) => ("ok", note.as_str()),
            Outcome::Failed(why) => ("FAILED", why.lines().next().unwrap_or_default()),
            Outcome::NotRun(reason) => ("not run", reason.as_str()),
        };
        let row = format!(
            "{:<10} {result:<8} {:<10} {note}",
            line.name,
            seconds(line.took)
        );
        // One line of a usual terminal; the whole text stands above.
        let row: String = row.chars().take(110).collect();
        table.push_str(row.trim_end());
        table.push('\n');
    }
    table.push_str(&format!("{:<10} {:<8} {}", "all", "", seconds(total)));
    table
}

fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    if whole >= 60 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Request;

    fn run(stages: &[Stage], without: &str) -> Result<(), Failure> {
        let names: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
        let arguments = if without.is_empty() {
            vec![]
        } else {
            vec![format!("--without={without}")]
        };
        let Ok(Request::Stages(selection)) = Request::parse("ci", &arguments, &names) else {
            panic!("the selection is valid")
        };
        let workspace = Workspace::find().map_err(Failure::Failed)?;
        run_all("ci", &workspace, stages, &selection)
    }

    fn passing(name: &'static str) -> Stage {
        Stage::new(name, "passes", |_| Ok(String::new()))
    }

    fn failing(name: &'static str) -> Stage {
        Stage::new(name, "fails", |_| Err("broken".into()))
    }

    fn unreachable(name: &'static str) -> Stage {
        Stage::new(name, "must not run", |_| panic!("ran after a failed gate"))
    }

    #[test]
    fn one_failed_stage_fails_the_suite_but_the_rest_still_runs() {
        assert!(run(&[passing("a"), passing("b")], "").is_ok());
        let Err(Failure::Failed(text)) = run(&[failing("a"), passing("b"), failing("c")], "")
        else {
            panic!("two stages failed")
        };
        assert!(text.contains("--only=a,c"), "{text}");
    }

    #[test]
    fn nothing_runs_after_a_failed_gate() {
        assert!(run(&[failing("a").gate(), unreachable("b")], "").is_err());
    }

    #[test]
    fn a_stage_left_out_neither_runs_nor_fails() {
        assert!(run(&[passing("a"), unreachable("b")], "b").is_ok());
    }

    #[test]
    fn the_table_tells_what_did_not_run() {
        let line = not_run(&passing("lab"), "left out by --without".into());
        assert!(
            summary(&[line], Duration::from_secs(61))
                .contains("lab        not run  0.0 s      left out")
        );
        assert_eq!(seconds(Duration::from_secs(61)), "1 min 01 s");
    }
}

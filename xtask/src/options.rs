//! The few options that the check commands share.

use crate::Failure;

/// Which stages of a suite are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    only: Vec<String>,
    without: Vec<String>,
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Help,
    Stages(Selection),
}

impl Request {
    /// Reads `--help`, `--only=A,B` and `--without=A,B` (or the value as the next argument).
    pub(crate) fn parse(
        command: &str,
        arguments: &[String],
        known: &[&str],
    ) -> Result<Self, Failure> {
        let mut selection = Selection::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let chosen = match name {
                "--help" | "-h" => return Ok(Self::Help),
                "--only" => &mut selection.only,
                "--without" => &mut selection.without,
                _ => {
                    return Err(Failure::Usage(format!(
                        "`{command}` has no option `{argument}`; see `cargo xtask {command} --help`"
                    )));
                }
            };
            let list = value.or_else(|| rest.next().cloned()).ok_or_else(|| {
                Failure::Usage(format!(
                    "{name} needs a list, such as {name}={}",
                    known.first().unwrap_or(&"STAGE")
                ))
            })?;
            for stage in list.split(',').filter(|stage| !stage.is_empty()) {
                if !known.contains(&stage) {
                    return Err(Failure::Usage(format!(
                        "`{command}` has no stage `{stage}`; its stages are {}",
                        known.join(", ")
                    )));
                }
                chosen.push(stage.to_owned());
            }
        }
        Ok(Self::Stages(selection))
    }
}

impl Selection {
    /// Why a stage is left out, or `None` where it runs.
    pub(crate) fn left_out(&self, stage: &str) -> Option<&'static str> {
        if self.without.iter().any(|name| name == stage) {
            Some("left out by --without")
        } else if !self.only.is_empty() && !self.only.iter().any(|name| name == stage) {
            Some("left out by --only")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Request, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        Request::parse("ci", &arguments, &["fmt", "lab", "e2e"])
    }

    fn selection(arguments: &[&str]) -> Selection {
        match parse(arguments) {
            Ok(Request::Stages(selection)) => selection,
            _ => panic!("{arguments:?} should select stages"),
        }
    }

    #[test]
    fn without_leaves_out_the_named_stages_only() {
        for form in [&["--without=lab,e2e"][..], &["--without", "lab,e2e"]] {
            let chosen = selection(form);
            assert!(chosen.left_out("lab").is_some() && chosen.left_out("e2e").is_some());
            assert!(chosen.left_out("fmt").is_none());
        }
    }

    #[test]
    fn only_leaves_out_everything_else() {
        let chosen = selection(&["--only=fmt"]);
        assert!(chosen.left_out("fmt").is_none());
        assert!(chosen.left_out("lab").is_some());
    }

    #[test]
    fn unknown_stages_and_options_are_usage_errors() {
        for form in [&["--without=labb"][..], &["--fast"], &["--only"]] {
            assert!(matches!(parse(form), Err(Failure::Usage(_))), "{form:?}");
        }
    }

    #[test]
    fn help_wins() {
        assert!(matches!(
            parse(&["--without=lab", "--help"]),
            Ok(Request::Help)
        ));
    }
}

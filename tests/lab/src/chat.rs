//! The chat log that the tests import, and the logs that the nodes print.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Lab;

/// Lines of the log that stands in where the real one is absent.
const GENERATED: u64 = 20_000;

/// One message of a chat log: a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number in the log, from 1.
    pub id: u64,
    /// UTC time, RFC 3339.
    pub ts: String,
    /// Nickname.
    pub author: String,
    /// The words.
    pub body: String,
    /// The message that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
}

/// A chat log on disk (gzip), and its messages in order.
#[derive(Debug)]
pub struct ChatLog {
    /// Where it lies.
    pub path: PathBuf,
    /// Its messages, in the order of the file.
    pub entries: Vec<Entry>,
}

impl ChatLog {
    /// The real chat log, or a generated one where that is absent; says which.
    ///
    /// # Panics
    /// Where the file can't be read.
    #[must_use]
    #[track_caller]
    pub fn load(lab: &Lab) -> Self {
        let real = env::var_os("REVNET_CHAT_LOG").map_or_else(
            || project().join("../shared/data/ubuntu-irc.jsonl.gz"),
            PathBuf::from,
        );
        if real.is_file() {
            let log = Self::read(real);
            eprintln!(
                "the chat log {} with {} messages",
                log.path.display(),
                log.entries.len()
            );
            log
        } else {
            eprintln!(
                "{} is absent: a generated log of {GENERATED} messages stands in",
                real.display()
            );
            Self::write(lab, "generated", generated(GENERATED))
        }
    }

    /// Generates a log of `count` messages with replies, odd characters and equal times.
    #[must_use]
    #[track_caller]
    pub fn generate(lab: &Lab, count: u64) -> Self {
        Self::write(lab, "generated", generated(count))
    }

    #[track_caller]
    fn read(path: PathBuf) -> Self {
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut text = String::new();
        GzDecoder::new(BufReader::new(file))
            .read_to_string(&mut text)
            .expect("the log is gzip of UTF-8");
        let entries = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is one message"))
            .collect();
        Self { path, entries }
    }

    #[track_caller]
    fn write(lab: &Lab, name: &str, entries: Vec<Entry>) -> Self {
        let path = lab.path().join(format!("{name}.jsonl.gz"));
        let file = File::create(&path).expect("the lab's directory is writable");
        let mut writer = GzEncoder::new(file, Compression::fast());
        for entry in &entries {
            serde_json::to_writer(&mut writer, entry).expect("a message is valid JSON");
            writer
                .write_all(b"\n")
                .expect("the lab's directory is writable");
        }
        writer.finish().expect("the lab's directory is writable");
        Self { path, entries }
    }
}

/// The project's directory. What names it belongs to whichever crate was started, `xtask` among them.
fn project() -> PathBuf {
    let crate_dir = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = env::current_dir().unwrap_or_default();
    let places = crate_dir.iter().chain([&here]);
    let mut ancestors = places.flat_map(|place| place.ancestors());
    ancestors
        .find(|place| place.join("Cargo.lock").is_file())
        .map_or(here.clone(), Path::to_path_buf)
}

fn generated(count: u64) -> Vec<Entry> {
    const WORDS: [&str; 8] = [
        "how do I mount it?",
        "try `ls -l /dev` 🙂",
        "<b>not markup</b> & \"quotes\"",
        "日本語もできます",
        "tab\there, bell\u{7} there",
        "https://example.org/?q=a%20b#c",
        "  spaces around  ",
        "it works now, thanks",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: u64| {
        // Knuth's constants for a linear congruence; the upper bits are good enough here.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    (1..=count)
        .map(|id| {
            let word = usize::try_from(below(8)).expect("less than 8");
            // Twenty messages share a second: the order of the file is the order.
            let second = id / 20;
            let (day, hour, minute) = (1 + second / 86_400, second / 3_600 % 24, second / 60 % 60);
            Entry {
                id,
                ts: format!("2010-06-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60),
                author: format!("someone{}", below(300)),
                body: format!("{} ({id})", WORDS[word]),
                reply_to: (id > 1 && below(4) == 0).then(|| id - 1 - below(id.min(50) - 1)),
            }
        })
        .collect()
}

/// One line of `revnet log --json`, as far as the tests look at it.
#[derive(Clone, Debug, Deserialize)]
pub struct LogLine {
    /// The message's id.
    pub id: String,
    /// The words.
    pub text: String,
    /// The id of the message that it answers.
    pub reply_to: Option<String>,
    /// Where it came from, if it was imported.
    pub imported: Option<Imported>,
}

/// The origin of an imported message.
#[derive(Clone, Debug, Deserialize)]
pub struct Imported {
    id: Value,
    author: String,
    time: String,
    reply_to: Option<Value>,
}

/// Reads what `revnet log --json` prints.
///
/// # Panics
/// Where a line is no message, or an id occurs twice.
#[must_use]
#[track_caller]
pub fn parse_log(text: &str) -> Vec<LogLine> {
    let lines: Vec<LogLine> = text
        .lines()
        .map(|line| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("not a message ({error}): {line}"))
        })
        .collect();
    let mut ids: Vec<&str> = lines.iter().map(|line| line.id.as_str()).collect();
    ids.sort_unstable();
    for pair in ids.windows(2) {
        assert!(
            pair[0] != pair[1],
            "the message {} is in the log twice",
            pair[0]
        );
    }
    lines
}

/// The imported messages of a log, in its order, as the source had them. Replies are read from the links between the
/// messages, and must agree with what the origin says.
///
/// # Panics
/// Where a reply points to a message that isn't there, or to another one than its origin says.
#[must_use]
#[track_caller]
pub fn imported_part(log: &[LogLine]) -> Vec<Entry> {
    let origins: BTreeMap<&str, u64> = log
        .iter()
        .filter_map(|line| Some((line.id.as_str(), number(&line.imported.as_ref()?.id))))
        .collect();
    log.iter()
        .filter_map(|line| {
            let origin = line.imported.as_ref()?;
            let linked = line.reply_to.as_deref().map(|target| {
                *origins
                    .get(target)
                    .unwrap_or_else(|| panic!("the answer {} has no question {target}", line.id))
            });
            let said = origin.reply_to.as_ref().map(number);
            assert!(
                linked == said,
                "the message {} answers {linked:?}, and in the source {said:?}",
                line.id
            );
            Some(Entry {
                id: number(&origin.id),
                ts: origin.time.replace(".000Z", "Z"),
                author: origin.author.clone(),
                body: line.text.clone(),
                reply_to: linked,
            })
        })
        .collect()
}

/// The ids of the source are numbers; the log may print them as text, since other sources have text.
#[track_caller]
fn number(id: &Value) -> u64 {
    let parsed = id.as_u64().or_else(|| id.as_str()?.parse().ok());
    parsed.unwrap_or_else(|| panic!("the id of an imported message is {id}, not a number"))
}

/// Requires that two lists of lines or messages are equal, and shows the first difference rather than both lists.
///
/// # Panics
/// Where they differ.
#[track_caller]
pub fn assert_same_log<T: PartialEq + std::fmt::Debug>(what: &str, left: &[T], right: &[T]) {
    for (number, (one, other)) in left.iter().zip(right).enumerate() {
        assert!(
            one == other,
            "{what}: line {} differs\n left: {one:?}\nright: {other:?}",
            number + 1
        );
    }
    let (shorter, longer) = if left.len() < right.len() {
        (left, right)
    } else {
        (right, left)
    };
    assert!(
        left.len() == right.len(),
        "{what}: {} lines and {}; the first without a partner: {:?}",
        left.len(),
        right.len(),
        longer[shorter.len()]
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"id":"a","time":"2026-01-01T00:00:00.000Z","author":{"id":"u","name":"n"},"text":"one","imported":{"source":"jsonl","id":"1","author":"x","time":"2004-11-15T12:18:00.000Z"}}
{"id":"b","time":"2026-01-01T00:00:00.001Z","author":{"id":"u","name":"n"},"text":"two","reply_to":"a","imported":{"source":"jsonl","id":2,"author":"y","time":"2004-11-15T12:18:01Z","reply_to":1}}
{"id":"c","time":"2026-01-01T00:00:00.002Z","author":{"id":"u","name":"n"},"text":"new"}
"#;

    #[test]
    fn the_imported_part_reads_as_the_source() {
        let part = imported_part(&parse_log(LOG));
        let entry = |id, ts: &str, author: &str, body: &str, reply_to| Entry {
            id,
            ts: ts.into(),
            author: author.into(),
            body: body.into(),
            reply_to,
        };
        let one = entry(1, "2004-11-15T12:18:00Z", "x", "one", None);
        let two = entry(2, "2004-11-15T12:18:01Z", "y", "two", Some(1));
        assert_same_log("imported", &part, &[one, two]);
    }

    #[test]
    #[should_panic(expected = "answers None, and in the source Some(1)")]
    fn a_lost_reply_link_is_found() {
        let _ = imported_part(&parse_log(&LOG.replace(r#""reply_to":"a","#, "")));
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn a_message_shown_twice_is_found() {
        let _ = parse_log(&LOG.replace(r#""id":"c""#, r#""id":"a""#));
    }

    #[test]
    #[should_panic(expected = "2 lines and 3; the first without a partner: 9")]
    fn a_missing_line_is_found() {
        assert_same_log("numbers", &[7, 8], &[7, 8, 9]);
    }

    #[test]
    fn generated_replies_point_back() {
        let log = generated(2_000);
        assert!(log.iter().filter(|entry| entry.reply_to.is_some()).count() > 300);
        assert!(log.iter().all(|entry| {
            entry
                .reply_to
                .is_none_or(|target| (1..entry.id).contains(&target))
        }));
        assert_eq!(log, generated(2_000));
    }
}

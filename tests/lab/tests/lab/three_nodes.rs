//! The whole chat, three nodes, kills and partings: at the end all three show the same.

use std::thread;

use revnet_lab::{
    ChatLog, Client, LONG, Lab, Node, Relay, assert_same_log, imported_part, parse_log, until,
};

/// Messages that each of two parted nodes writes.
const PARTED: usize = 40;

/// A chat of so many messages takes long enough to arrive that a kill can hit it.
const LONG_CHAT: usize = 100_000;

/// Kills during the catch-up.
const KILLS: usize = 4;

#[test]
fn three_nodes_show_the_same_after_kills_and_partings() {
    let lab = Lab::open();
    let chat = ChatLog::load(&lab);
    let mut relay = Relay::start(&lab);
    let mut ada = Node::start_new(&lab, "ada", Some(&relay));
    let revolt = ada.field(&["revolt", "new", "Old Friends"], "id");
    let channel = format!("{revolt}/general");
    let report = ada.json(&[
        "import",
        "jsonl",
        &channel,
        &chat.path.display().to_string(),
    ]);
    assert_eq!(
        report["imported"].as_u64(),
        u64::try_from(chat.entries.len()).ok(),
        "{report}"
    );
    let source = ada.log_text(&channel);
    assert_same_log(
        "what ada imported",
        &imported_part(&parse_log(&source)),
        &chat.entries,
    );

    let mut ben = Node::start_new(&lab, "ben", Some(&relay));
    let joined = ben.field(
        &["join", &ada.field(&["invite", "new", &revolt], "link")],
        "id",
    );
    assert_eq!(joined, revolt);
    catch_up_between_kills(&mut ben, &channel, &source);

    let invite = ada.field(&["invite", "new", &revolt], "link");
    wait_for_same(&[ada.client(), ben.client()], &channel);
    ada.stop();
    let mut cleo = Node::start_new(&lab, "cleo", Some(&relay));
    cleo.json(&["join", &invite]);
    wait_for_lines(cleo.client(), &channel, &source);

    part(&mut relay, &mut ben, &mut cleo);
    let (bens, cleos) = (words_of("ben"), words_of("cleo"));
    thread::scope(|scope| {
        scope.spawn(|| say(ben.client(), &channel, &bens));
        scope.spawn(|| say(cleo.client(), &channel, &cleos));
    });
    for (reader, unheard) in [(&ben, "cleo, parted"), (&cleo, "ben, parted")] {
        let heard = reader.log_text(&channel).matches(unheard).count();
        assert_eq!(heard, 0, "the two were not parted, so this shows nothing");
    }

    relay.restart();
    ada.restart();
    say(ada.client(), &channel, &["ada is back".to_owned()]);
    let everyone = [ada.client(), ben.client(), cleo.client()];
    let log = wait_for_texts(everyone, &channel, chat.entries.len() + 2 * PARTED + 1);

    let lines = parse_log(&log);
    assert_same_log(
        "the import on all three",
        &imported_part(&lines),
        &chat.entries,
    );
    let mut written: Vec<&str> = lines
        .iter()
        .filter(|line| line.imported.is_none())
        .map(|line| line.text.as_str())
        .collect();
    for (name, words) in [("ben", &bens), ("cleo", &cleos)] {
        let kept: Vec<&str> = written
            .iter()
            .copied()
            .filter(|text| words.iter().any(|word| word == text))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_same_log(&format!("the order of {name}'s own words"), &kept, &words);
    }
    written.sort_unstable();
    let mut expected: Vec<&str> = bens
        .iter()
        .chain(&cleos)
        .map(String::as_str)
        .chain(["ada is back"])
        .collect();
    expected.sort_unstable();
    assert_same_log("what was written by hand", &written, &expected);
}

/// Kills a node again and again while it catches up, each time after it got further, and waits for the rest.
#[track_caller]
fn catch_up_between_kills(node: &mut Node<'_>, channel: &str, source: &str) {
    let whole = source.lines().count();
    let (revolt, name) = channel.split_once('/').expect("REVOLT/CHANNEL");
    // Counting is quicker than reading: a log that is read whole has arrived whole meanwhile.
    let count = |client: Client<'_>| {
        let channels = client.json(&["channel", "list", revolt]);
        let listed = channels.as_array().into_iter().flatten();
        let events = listed
            .filter(|listed| listed["name"] == name)
            .find_map(|listed| listed["events"].as_u64());
        usize::try_from(events.unwrap_or(0)).unwrap_or(0)
    };
    // The first kill follows the end of `join` at once: having joined must last, too.
    let (mut seen, mut hit) = (0, 0);
    for kill in 1..=KILLS {
        node.kill9();
        node.restart();
        eprintln!("kill {kill} of {KILLS} hit a node that showed {seen} of {whole} messages");
        hit += usize::from((1..whole).contains(&seen));
        if kill < KILLS {
            let client = node.client();
            seen = until("the catch-up goes on after a kill", LONG, || {
                let lines = count(client);
                if lines > seen || lines == whole {
                    Ok(lines)
                } else {
                    Err(format!("{lines} messages"))
                }
            });
        }
    }
    // A short log may arrive between two looks at it.
    assert!(hit > 0 || whole < LONG_CHAT, "no kill hit the catch-up");
    wait_for_lines(node.client(), channel, source);
}

/// Parts two nodes: nobody is left to introduce them, and both come back on new ports.
fn part(relay: &mut Relay<'_>, one: &mut Node<'_>, other: &mut Node<'_>) {
    relay.kill9();
    one.stop();
    other.stop();
    one.restart();
    other.restart();
}

fn words_of(name: &str) -> Vec<String> {
    (1..=PARTED)
        .map(|number| format!("{name}, parted, {number}"))
        .collect()
}

fn say(client: Client<'_>, channel: &str, words: &[String]) {
    for text in words {
        client.json(&["send", channel, text]);
    }
}

/// Waits until a node shows exactly these lines.
#[track_caller]
fn wait_for_lines(client: Client<'_>, channel: &str, expected: &str) {
    let whole = expected.lines().count();
    let log = until("everything has arrived", LONG, || {
        let log = client.log_text(channel);
        let lines = log.lines().count();
        if lines >= whole {
            Ok(log)
        } else {
            Err(format!("{lines} of {whole} messages"))
        }
    });
    let (left, right): (Vec<&str>, Vec<&str>) = (log.lines().collect(), expected.lines().collect());
    assert_same_log("what arrived", &left, &right);
}

#[track_caller]
fn wait_for_same(clients: &[Client<'_>], channel: &str) {
    until("the newest messages are the same everywhere", LONG, || {
        let logs: Vec<String> = clients
            .iter()
            .map(|client| client.try_newest(channel, 200))
            .collect::<Result<_, _>>()?;
        if logs.windows(2).all(|pair| pair[0] == pair[1]) {
            Ok(())
        } else {
            Err("they differ".into())
        }
    });
}

/// Waits until everyone shows so many messages, and requires that the whole logs are the same byte by byte.
#[track_caller]
fn wait_for_texts(clients: [Client<'_>; 3], channel: &str, count: usize) -> String {
    wait_for_same(&clients, channel);
    let [first, second, third] = clients.map(|client| {
        until("everything has arrived everywhere", LONG, || {
            let log = client.log_text(channel);
            let lines = log.lines().count();
            if lines >= count {
                Ok(log)
            } else {
                Err(format!("{lines} of {count} messages"))
            }
        })
    });
    for (who, other) in [("ben", &second), ("cleo", &third)] {
        let (left, right): (Vec<&str>, Vec<&str>) =
            (first.lines().collect(), other.lines().collect());
        assert_same_log(&format!("the logs of ada and {who}"), &left, &right);
        assert!(
            first == *other,
            "the logs of ada and {who} differ in their line ends"
        );
    }
    first
}

//! What the program says when something is wrong: which thing, and what to do next.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use revnet_lab::{Client, Lab, Node, SOON, exit, until};

#[test]
fn a_second_node_on_one_data_directory_is_refused() {
    let lab = Lab::open();
    let ada = Node::start_new(&lab, "ada", None);
    let directory = ada.data_dir().display().to_string();
    ada.up_to_its_end("127.0.0.1:0")
        .fails(exit::FAILED, &["already", &directory]);
    assert_eq!(ada.cli(&["status"]).code, Some(0), "the first one runs on");
}

#[test]
fn a_taken_port_is_named_with_the_option_that_changes_it() {
    let lab = Lab::open();
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("loopback is there");
    let address = taken.local_addr().expect("it is bound").to_string();
    Client::new(&lab, "ada")
        .up_to_its_end(&address)
        .fails(exit::FAILED, &[&address, "--api"]);
}

#[test]
fn who_stopped_a_node_starts_it_again_at_once() {
    let lab = Lab::open();
    let mut ada = Node::start_new(&lab, "ada", None);
    for _ in 0..5 {
        let _ = ada.cli(&["down"]).ok();
        ada.ended();
        ada.restart();
    }
}

#[test]
fn a_taken_port_for_other_nodes_is_named() {
    let lab = Lab::open();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let mut ada = Node::start_new(&lab, "ada", None);
    ada.stop();
    let up = [
        "up",
        "--api",
        "127.0.0.1:0",
        "--no-open",
        "--no-mdns",
        "--listen",
        &address,
    ];
    ada.cli(&up).fails(exit::FAILED, &[&address, "--listen"]);
}

#[test]
fn damaged_tokens_keep_a_node_from_starting() {
    let lab = Lab::open();
    let mut ada = Node::start_new(&lab, "ada", None);
    ada.stop();
    fs::write(ada.data_dir().join("tokens.json"), "{bad").expect("the lab's directory is writable");
    ada.up_to_its_end("127.0.0.1:0")
        .fails(exit::FAILED, &["tokens.json", "revnet token new"]);
}

#[test]
fn a_corrupt_database_is_named_and_left_as_it_is() {
    let lab = Lab::open();
    let mut ada = Node::start_new(&lab, "ada", None);
    let channel = format!("{}/general", ada.field(&["revolt", "new", "Corrupt"], "id"));
    ada.json(&["send", &channel, "words"]);
    ada.stop();
    let database = largest_file(&ada.data_dir());
    let mut bytes = fs::read(&database).expect("the database is a file");
    let damaged = bytes.len().min(64 * 1024);
    assert!(
        damaged > 0,
        "{} is empty: nothing to damage",
        database.display()
    );
    bytes[..damaged].fill(0xa5);
    fs::write(&database, &bytes).expect("the lab's directory is writable");

    let name = database
        .file_name()
        .expect("it is a file")
        .to_string_lossy()
        .into_owned();
    ada.up_to_its_end("127.0.0.1:0")
        .fails(exit::FAILED, &[&name]);
    assert!(
        fs::read(&database).is_ok_and(|now| now == bytes),
        "what may still be saved was written over"
    );
}

#[test]
fn wrong_and_expired_links_are_told_apart() {
    let lab = Lab::open();
    let ada = Node::start_new(&lab, "ada", None);
    for link in ["revnet:nonsense", "https://example.org/", "revnet:"] {
        let said = ada.cli(&["join", link]);
        assert!(
            matches!(said.code, Some(exit::FAILED | exit::USAGE)),
            "{said}"
        );
        said.fails(said.code.unwrap_or_default(), &["link"]);
    }
    let revolt = ada.field(&["revolt", "new", "Doors"], "id");
    let link = ada.field(&["invite", "new", &revolt, "--expires", "1s"], "link");
    let ben = Node::start_new(&lab, "ben", None);
    until("the invite has expired", SOON, || {
        let said = ben.cli(&["join", &link]);
        let expired = said.code != Some(0) && said.stderr.to_lowercase().contains("expired");
        if expired {
            Ok(())
        } else {
            Err(said.to_string())
        }
    });
}

#[test]
fn a_command_without_a_node_says_how_to_start_one() {
    let lab = Lab::open();
    let nobody = Client::new(&lab, "nobody");
    for command in [
        &["status"][..],
        &["send", "a/b", "words"],
        &["log", "a/b"],
        &["revolt", "list"],
    ] {
        nobody.cli(command).fails(exit::NO_NODE, &["revnet up"]);
    }
    // A file that a killed node left behind is not a node.
    let mut ada = Node::start_new(&lab, "ada", None);
    ada.kill9();
    ada.cli(&["status"]).fails(exit::NO_NODE, &["revnet up"]);
}

#[test]
fn unknown_names_and_wrong_usage_have_their_own_exit_codes() {
    let lab = Lab::open();
    let ada = Node::start_new(&lab, "ada", None);
    let revolt = ada.field(&["revolt", "new", "Names"], "id");
    let channel = format!("{revolt}/no-such-channel");
    ada.cli(&["send", &channel, "words"])
        .fails(exit::NOT_FOUND, &["no-such-channel"]);
    ada.cli(&["log", &channel])
        .fails(exit::NOT_FOUND, &["no-such-channel"]);
    ada.cli(&["log", "no-such-revolt/general"])
        .fails(exit::NOT_FOUND, &["no-such-revolt"]);
    ada.cli(&["send", "without-a-slash", "words"])
        .fails(exit::USAGE, &["without-a-slash"]);
    ada.cli(&["send"]).fails(exit::USAGE, &["usage"]);
    ada.cli(&["no-such-command"])
        .fails(exit::USAGE, &["no-such-command"]);
}

fn largest_file(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory)
        .expect("the data directory is there")
        .flatten();
    let largest = files
        .filter_map(|entry| {
            let about = entry.metadata().ok()?;
            about.is_file().then(|| (about.len(), entry.path()))
        })
        .max();
    largest.expect("the data directory holds a file").1
}

#[test]
fn a_wrong_passphrase_opens_neither_phrase_nor_backup() {
    let lab = Lab::open();
    let write = |name: &str, words: &str| {
        let path = lab.path().join(name);
        fs::write(&path, words).expect("the lab's directory is writable");
        path.display().to_string()
    };
    let (right, wrong) = (write("right", "open sesame"), write("wrong", "open barley"));
    let ada = Client::new(&lab, "ada");
    ada.json(&["id", "new", "--name", "Ada", "--passphrase-file", &right]);
    let _node = Node::start(&lab, "ada", None);
    ada.cli(&["id", "phrase", "--passphrase-file", &wrong])
        .fails(exit::NOT_PERMITTED, &["passphrase is wrong"]);
    let phrase = ada.field(&["id", "phrase", "--passphrase-file", &right], "phrase");
    assert_eq!(phrase.split_whitespace().count(), 24);

    let backup = lab.path().join("ada.revnet-id").display().to_string();
    ada.json(&["id", "backup", &backup, "--passphrase-file", &right]);
    let ben = Client::new(&lab, "ben");
    let restore = |file: &str| {
        ben.cli(&[
            "id",
            "restore",
            "--backup",
            &backup,
            "--passphrase-file",
            file,
        ])
    };
    restore(&wrong).fails(exit::NOT_PERMITTED, &["wrong", "--passphrase-file"]);
    assert_eq!(restore(&right).code, Some(0));
}

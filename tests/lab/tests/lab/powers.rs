//! Who may do what, between real nodes: a closed channel, a role, a ban.

use revnet_lab::{Client, Lab, Node, SOON, exit, until};

fn join(host: &Node<'_>, guest: &Node<'_>, revolt: &str) {
    let link = host.field(&["invite", "new", revolt], "link");
    guest.json(&["join", &link]);
}

#[test]
fn a_closed_channel_a_moderator_and_a_ban() {
    let lab = Lab::open();
    let ada = Node::start_new(&lab, "ada", None);
    let ben = Node::start_new(&lab, "ben", None);
    let cleo = Node::start_new(&lab, "cleo", None);
    let revolt = ada.field(&["revolt", "new", "House"], "id");
    join(&ada, &ben, &revolt);
    join(&ada, &cleo, &revolt);

    let channel = ada.field(&["channel", "new", &revolt, "cellar", "--private"], "id");
    let cellar = format!("{revolt}/{channel}");
    ada.json(&["send", &cellar, "the key is under the mat"]);
    let user = |node: &Node<'_>| node.field(&["id", "show"], "user");
    let (of_ben, of_cleo) = (user(&ben), user(&cleo));
    until("everybody is known to ada", SOON, || {
        let members = ada.json(&["member", "list", &revolt]);
        let count = members.as_array().map_or(0, Vec::len);
        (count == 3).then_some(()).ok_or(format!("{count} members"))
    });
    ada.json(&[
        "channel",
        "permissions",
        &cellar,
        "--for",
        &of_ben,
        "--allow",
        "view",
    ]);
    until("ben reads the cellar", SOON, || {
        ben.try_newest(&cellar, 1).and_then(|text| {
            let read = text.contains("under the mat");
            read.then_some(()).ok_or(text)
        })
    });
    cleo.cli(&["log", &cellar])
        .fails(exit::NOT_FOUND, &["no channel"]);

    let roles = [
        "role",
        "new",
        &revolt,
        "warden",
        "--position",
        "10",
        "--allow",
        "ban",
    ];
    ada.json(&roles);
    ada.json(&["member", "level", &revolt, &of_ben, "100"]);
    ada.json(&["member", "roles", &revolt, &of_ben, "--add", "warden"]);
    until("ben is a warden", SOON, || {
        let said = ben.cli(&["member", "ban", &revolt, &of_cleo]);
        (said.code == Some(0)).then_some(()).ok_or(said.stderr)
    });
    ben.cli(&["member", "kick", &revolt, &user(&ada)])
        .fails(exit::NOT_PERMITTED, &["'kick'"]);
    until("ada hears of the ban", SOON, || {
        let bans = ada.json(&["member", "bans", &revolt]);
        let there = bans[0]["user"] == of_cleo;
        there.then_some(()).ok_or(bans.to_string())
    });
    let audit = ada.json(&["revolt", "audit", &revolt]);
    let acts = audit.as_array().into_iter().flatten();
    let mut bans = acts.filter(|act| act["act"] == "ban" && act["counts"] == true);
    assert!(bans.any(|act| act["by"] == of_ben), "{audit}");
}

#[test]
fn newcomers_read_a_channel_with_closed_history_from_then_on() {
    let lab = Lab::open();
    let ada = Node::start_new(&lab, "ada", None);
    let ben = Node::start_new(&lab, "ben", None);
    let cleo = Node::start_new(&lab, "cleo", None);
    let revolt = ada.field(&["revolt", "new", "House"], "id");
    join(&ada, &ben, &revolt);
    let make = ["channel", "new", &revolt, "retro", "--history", "off"];
    let retro = format!("{revolt}/{}", ada.field(&make, "id"));
    let reads = |node: &Node<'_>, what: &str| {
        until(what, SOON, || {
            let text = node.try_newest(&retro, 9)?;
            let read = text.contains(what);
            read.then_some(text.clone()).ok_or(text)
        })
    };
    ada.json(&["send", &retro, "among ourselves"]);
    reads(&ben, "among ourselves");
    join(&ada, &cleo, &revolt);
    ada.json(&["send", &retro, "welcome"]);
    let shown = reads(&cleo, "welcome");
    assert!(!shown.contains("among ourselves"), "{shown}");
    let both = reads(&ben, "welcome");
    assert!(both.contains("among ourselves"), "{both}");
}

#[test]
fn a_stolen_device_is_taken_back_with_what_it_did() {
    let lab = Lab::open();
    let passphrase = lab.path().join("passphrase");
    std::fs::write(&passphrase, "open sesame").expect("the lab's directory is writable");
    let passphrase = passphrase.display().to_string();
    let sealed = ["--passphrase-file", &passphrase];
    Client::new(&lab, "ada").json(&[&["id", "new", "--name", "Ada"][..], &sealed].concat());
    let ada = Node::start(&lab, "ada", None);
    let ben = Node::start_new(&lab, "ben", None);
    let backup = lab.path().join("ada.revnet-id").display().to_string();
    ada.json(&[&["id", "backup", &backup][..], &sealed].concat());
    Client::new(&lab, "tablet")
        .json(&[&["id", "restore", "--backup", &backup][..], &sealed].concat());
    let tablet = Node::start(&lab, "tablet", None);
    let revolt = ada.field(&["revolt", "new", "House"], "id");
    join(&ada, &ben, &revolt);
    join(&ada, &tablet, &revolt);
    let devices = || {
        let devices = ada.json(&["id", "devices"]);
        devices.as_array().cloned().unwrap_or_default()
    };
    until("both devices are known to ada", SOON, || {
        let count = devices().len();
        (count == 2).then_some(()).ok_or(format!("{count} devices"))
    });
    let other = devices().into_iter().find(|device| device["here"] == false);
    let other = other.expect("the tablet")["device"].clone();
    let other = other.as_str().expect("a text").to_owned();

    tablet.json(&["channel", "new", &revolt, "of-the-thief"]);
    let has_channel = |node: &Node<'_>| {
        let channels = node.json(&["channel", "list", &revolt]).to_string();
        channels.contains("of-the-thief")
    };
    until("the thief's channel is there", SOON, || {
        has_channel(&ben).then_some(()).ok_or("not yet".to_owned())
    });
    let revoke = ["id", "revoke", &other, "--since", "1m"];
    ada.json(&[&revoke[..], &sealed].concat());
    until("the channel is gone for ben, too", SOON, || {
        (!has_channel(&ben))
            .then_some(())
            .ok_or("it is there".to_owned())
    });
    assert_eq!(devices().len(), 1);
}

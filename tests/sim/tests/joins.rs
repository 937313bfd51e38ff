//! Joining in small, exact situations.

use revnet_core::SECOND;
use revnet_core::command::{Command, Reply};
use revnet_protocol::InviteLink;
use revnet_protocol::act::Settings;
use revnet_sim::world::World;

fn ask(world: &mut World, node: usize, command: Command) -> Reply {
    assert!(world.command(node, 1, command), "node {node} is down");
    for _ in 0..70 {
        world.run_until(world.now + SECOND);
        if let Some(answered) = world.take_answers().into_iter().find(|a| a.node == node && a.id == 1) {
            return answered.result.unwrap_or_else(|error| panic!("node {node}: {error}"));
        }
    }
    panic!("node {node} never answered")
}

fn found(world: &mut World) -> (revnet_protocol::RevoltId, InviteLink) {
    let settings = Settings { name: Some("Small".into()), ..Default::default() };
    let Reply::Revolt(revolt) = ask(world, 0, Command::CreateRevolt { settings }) else { panic!("a revolt") };
    let revolt = revolt.info.id;
    let invite = Command::CreateInvite { revolt, expires_ms: None, max_uses: None, addresses: vec!["sim:0".into()] };
    let Reply::Invite(_, link) = ask(world, 0, invite) else { panic!("an invite") };
    (revolt, link)
}

#[test]
fn a_newcomer_is_let_in_while_the_inviter_is_off() {
    let mut world = World::new(5, 3);
    (0..3).for_each(|node| world.start(node));
    let (revolt, link) = found(&mut world);
    ask(&mut world, 1, Command::Join { link: link.clone() });
    world.run_until(world.now + 10 * SECOND);
    world.crash(0, 100_000 * SECOND);
    ask(&mut world, 2, Command::Join { link });
    world.run_until(world.now + 10 * SECOND);
    let Reply::Members(members) = ask(&mut world, 1, Command::ListMembers { revolt }) else { panic!("members") };
    assert_eq!(members.len(), 3);
}

#[test]
fn a_second_link_works_like_the_first() {
    let mut world = World::new(6, 3);
    (0..3).for_each(|node| world.start(node));
    let (revolt, first) = found(&mut world);
    ask(&mut world, 1, Command::Join { link: first });
    let invite = Command::CreateInvite { revolt, expires_ms: None, max_uses: None, addresses: vec!["sim:0".into()] };
    let Reply::Invite(_, second) = ask(&mut world, 0, invite) else { panic!("an invite") };
    world.run_until(world.now + 10 * SECOND);
    world.crash(0, 100_000 * SECOND);
    ask(&mut world, 2, Command::Join { link: second });
}

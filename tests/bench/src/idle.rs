//! What a node costs that has nothing to do.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use revnet_lab::{Lab, Node};

use crate::Setting;
use crate::door::Door;
use crate::process::{cpu_seconds, loopback_bytes, resident_mb};
use crate::report::Figure;

const REVOLTS: usize = 20;

/// A real process that is in 20 revolts, linked with one other member of all of them, nobody saying anything.
pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>> {
    let seconds = if setting.quick { 5 } else { 20 };
    let lab = Lab::open();
    let ada = Node::start_new(&lab, "ada", None);
    let ben = Node::start_new(&lab, "ben", None);
    for number in 0..REVOLTS {
        let revolt = ada.field(&["revolt", "new", &format!("Quiet {number}")], "id");
        let link = ada.field(&["invite", "new", &revolt], "link");
        ben.json(&["join", &link]);
    }
    // What follows from the joins is over.
    sleep(Duration::from_secs(if setting.quick { 2 } else { 30 }));
    let pid = Door::of(ada.client())?.pid();
    let (cpu, bytes, started) = (cpu_seconds(pid)?, loopback_bytes()?, Instant::now());
    sleep(Duration::from_secs(seconds));
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = (cpu_seconds(pid)? - cpu) / elapsed * 100.0;
    let traffic = (loopback_bytes()? - bytes) / elapsed / 1000.0;
    let share = 1.0 / elapsed;
    Ok(vec![
        Figure::new("idle_memory", resident_mb(pid)?, "MB")
            .note("resident, one other member linked in all 20 revolts"),
        Figure::new("idle_cpu", cpu, "percent").note(format!(
            "over {seconds} s; the kernel counts in steps of {share:.2} percent"
        )),
        Figure::new("idle_traffic", traffic, "kB/s").note(
            "everything on loopback, headers included: what others do there meanwhile counts, too",
        ),
    ])
}

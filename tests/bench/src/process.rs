//! What the kernel says about processes and the machine.

use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context as _, Result};

/// Cores and load of this machine, in a line.
pub(crate) fn machine() -> String {
    let cores = available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    format!("{cores} cores, load average {}", load.join(" "))
}

/// Resident memory of a process in MB (10⁶ bytes).
pub(crate) fn resident_mb(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let kib: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Processor time that a process has used, in seconds, in ticks of 10 ms.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may hold spaces; fields are counted behind it.
    let (_, rest) = text.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("short stat")?.parse()?) };
    // Linux shows times to user space in hundredths of a second on every machine.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// Bytes that were sent over loopback since the start of the machine, headers included.
pub(crate) fn loopback_bytes() -> Result<f64> {
    let text = fs::read_to_string("/proc/net/dev").context("/proc/net/dev")?;
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("lo:"))
        .context("no loopback")?;
    // Eight fields of what was received come first; what is sent over loopback is received there.
    Ok(line
        .split_whitespace()
        .nth(8)
        .context("short line")?
        .parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_time() {
        let pid = std::process::id();
        assert!(resident_mb(pid).expect("linux") > 0.5);
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 100 {
            std::hint::black_box(0);
        }
        assert!(cpu_seconds(pid).expect("linux") > 0.01);
        assert!(loopback_bytes().is_ok());
    }
}

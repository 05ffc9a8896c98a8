//! CPU, load and disk usage of this process and its machine.

use crate::kernel::proc;
use crate::kernel::proc::{Stat, TICKS_PER_SECOND};
use parking_lot::Mutex;
use rustix::fs::statvfs;
use std::path::Path;
use std::time::{Duration, Instant};

/// CPU usage is measured over at least this time; a shorter window is too noisy.
const MIN_WINDOW: Duration = Duration::from_secs(1);

/// In bytes.
#[derive(Clone, Copy)]
pub(super) struct Disk {
    /// Usable by this process.
    pub(super) free: u64,
    pub(super) total: u64,
}

/// The disk of a folder; none if the folder does not exist.
pub(super) fn disk(folder: &Path) -> Option<Disk> {
    let stats = statvfs(folder).ok()?;
    Some(Disk { free: stats.f_bavail.saturating_mul(stats.f_frsize), total: stats.f_blocks.saturating_mul(stats.f_frsize) })
}

/// Load average over one minute.
pub(super) fn load_average() -> Option<f64> {
    proc::read("loadavg")?.split(' ').next()?.parse().ok()
}

/// Start time of this process in seconds since 1970, and its uptime in seconds.
pub(super) fn start_and_uptime() -> Option<(f64, f64)> {
    let since_boot = Stat::of_self()?.field(22)? as f64 / TICKS_PER_SECOND as f64;
    let up: f64 = proc::read("uptime")?.split(' ').next()?.parse().ok()?;
    let uptime = (up - since_boot).max(0.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64();
    Some((now - uptime, uptime))
}

/// CPU ticks so far, summed over all processors.
#[derive(Clone, Copy, Default)]
struct Ticks {
    process: u64,
    /// Used by all processes.
    busy: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        let machine = proc::read("stat")?;
        // user nice system idle iowait irq softirq steal; guest time is included in user
        let times: Vec<u64> = machine.lines().next()?.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let idle: u64 = times.iter().skip(3).take(2).sum();
        let all: u64 = times.iter().sum();
        Some(Self { process: Stat::of_self()?.cpu_ticks()?, busy: all.saturating_sub(idle), all })
    }

    fn usage_since(self, before: Self) -> Usage {
        let all = self.all.saturating_sub(before.all).max(1) as f64;
        let share = |now: u64, before: u64| (now.saturating_sub(before) as f64 / all).min(1.0);
        Usage { process: share(self.process, before.process), system: share(self.busy, before.busy) }
    }
}

/// Share of all processors, 0 to 1.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) process: f64,
    pub(super) system: f64,
}

/// Samples CPU time on each read and returns the usage since the previous sample, as Micrometer does.
pub(super) struct CpuSampler(Mutex<(Instant, Ticks, Usage)>);

impl CpuSampler {
    pub(super) fn new() -> Self {
        Self(Mutex::new((Instant::now(), Ticks::now().unwrap_or_default(), Usage::default())))
    }

    pub(super) fn usage(&self) -> Usage {
        let mut last = self.0.lock();
        let (at, before, _) = *last;
        if at.elapsed() >= MIN_WINDOW
            && let Some(now) = Ticks::now()
        {
            *last = (Instant::now(), now, now.usage_since(before));
        }
        last.2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_between_two_samples_is_a_share_of_all_processors() {
        let before = Ticks { process: 10, busy: 100, all: 1000 };
        let usage = Ticks { process: 60, busy: 200, all: 1200 }.usage_since(before);
        assert_eq!((usage.process, usage.system), (0.25, 0.5));
        // the two counters may differ by a tick
        assert_eq!(Ticks { process: 900, busy: 150, all: 1100 }.usage_since(before).process, 1.0);
    }

    #[test]
    fn proc_read_for_this_process_returns_plausible_values() {
        let now = Ticks::now().unwrap();
        assert!(now.all >= now.busy && now.busy > 0);
        let (start, uptime) = start_and_uptime().unwrap();
        assert!(start > 1.6e9 && uptime >= 0.0, "{start} {uptime}");
        let disk = disk(Path::new(".")).unwrap();
        assert!(disk.total >= disk.free && disk.total > 0);
        assert!(super::disk(Path::new("/proc/nowhere")).is_none());
    }
}

//! How much this process and its machine use.

use crate::kernel::proc;
use crate::kernel::proc::{Stat, TICKS_PER_SECOND};
use parking_lot::Mutex;
use rustix::fs::statvfs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A use of the processor is that of at least so long a time: a shorter one says nothing.
const WINDOW: Duration = Duration::from_secs(1);

/// Bytes of a disk.
#[derive(Clone, Copy)]
pub(super) struct Disk {
    /// That this process may write.
    pub(super) free: u64,
    pub(super) total: u64,
}

/// The disk that a folder is on; none where there is no such folder.
pub(super) fn disk(folder: &Path) -> Option<Disk> {
    let about = statvfs(folder).ok()?;
    Some(Disk { free: about.f_bavail.saturating_mul(about.f_frsize), total: about.f_blocks.saturating_mul(about.f_frsize) })
}

/// Of 1-minute load, how many processes run or wait to.
pub(super) fn load() -> Option<f64> {
    proc::text("loadavg")?.split(' ').next()?.parse().ok()
}

/// Seconds since 1970 at which this process started, and for how many it has run.
pub(super) fn age() -> Option<(f64, f64)> {
    let since_boot = Stat::of_self()?.field(22)? as f64 / TICKS_PER_SECOND as f64;
    let up: f64 = proc::text("uptime")?.split(' ').next()?.parse().ok()?;
    let age = (up - since_boot).max(0.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64();
    Some((now - age, age))
}

/// Ticks since the start.
#[derive(Clone, Copy, Default)]
struct Ticks {
    /// That this process has used.
    process: u64,
    /// That all have used.
    busy: u64,
    /// That there were, of all processors.
    all: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        let machine = proc::text("stat")?;
        // user nice system idle iowait irq softirq steal; what guests use is in user already
        let times: Vec<u64> = machine.lines().next()?.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let idle: u64 = times.iter().skip(3).take(2).sum();
        let all: u64 = times.iter().sum();
        Some(Self { process: Stat::of_self()?.cpu_ticks()?, busy: all.saturating_sub(idle), all })
    }

    /// Parts of all processors, 0 to 1: of this process and of all.
    fn usage_since(self, before: Self) -> Usage {
        let all = self.all.saturating_sub(before.all).max(1) as f64;
        let part = |now: u64, before: u64| (now.saturating_sub(before) as f64 / all).min(1.0);
        Usage { process: part(self.process, before.process), system: part(self.busy, before.busy) }
    }
}

/// Parts of all processors, 0 to 1.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) process: f64,
    pub(super) system: f64,
}

/// Looks at the processors whenever somebody asks: what is told is the use since the look before, as Micrometer has it.
pub(super) struct Processors(Mutex<(Instant, Ticks, Usage)>);

impl Processors {
    pub(super) fn new() -> Self {
        Self(Mutex::new((Instant::now(), Ticks::now().unwrap_or_default(), Usage::default())))
    }

    pub(super) fn usage(&self) -> Usage {
        let mut last = self.0.lock();
        let (at, before, _) = *last;
        if at.elapsed() >= WINDOW
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
    fn usage_is_a_part_of_all_processors() {
        let before = Ticks { process: 10, busy: 100, all: 1000 };
        let usage = Ticks { process: 60, busy: 200, all: 1200 }.usage_since(before);
        assert_eq!((usage.process, usage.system), (0.25, 0.5));
        // two clocks may differ by a tick
        assert_eq!(Ticks { process: 900, busy: 150, all: 1100 }.usage_since(before).process, 1.0);
    }

    #[test]
    fn the_kernel_tells_of_this_very_process() {
        let now = Ticks::now().unwrap();
        assert!(now.all >= now.busy && now.busy > 0);
        let (start, age) = age().unwrap();
        assert!(start > 1.6e9 && age >= 0.0, "{start} {age}");
        let disk = disk(Path::new(".")).unwrap();
        assert!(disk.total >= disk.free && disk.total > 0);
        assert!(super::disk(Path::new("/proc/nowhere")).is_none());
    }
}

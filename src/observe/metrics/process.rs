//! Resource usage of the process under the standard names of Prometheus' client libraries, read from `/proc` at each
//! scrape. On systems without `/proc`, all values are 0.
//!
//! The prometheus crate's own collector counts CPU time in whole seconds.

use crate::kernel::error::StartError;
use crate::kernel::proc;
use crate::kernel::proc::{Stat, TICKS_PER_SECOND, number_after};
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Registry};
use std::fs::read_dir;

pub(super) fn register(registry: &Registry) -> Result<(), StartError> {
    let gauge = |name: &str, help: &str| Gauge::new(format!("process_{name}"), help);
    let gauges = [
        gauge("resident_memory_bytes", "Memory of the process that is in RAM.")?,
        gauge("virtual_memory_bytes", "Address space of the process.")?,
        gauge("open_fds", "Files and sockets that the process has open.")?,
        gauge("max_fds", "Maximum number of files and sockets that the process may have open.")?,
        gauge("start_time_seconds", "When the process started, in seconds since 1970.")?,
        gauge("threads", "Threads of the process.")?,
    ];
    let cpu = Counter::new("process_cpu_seconds_total", "CPU time of the process, in user and system mode.")?;
    Ok(registry.register(Box::new(Process { cpu, cpu_update: Mutex::new(()), gauges }))?)
}

struct Process {
    cpu: Counter,
    /// Prevents concurrent scrapes from adding the same CPU time twice.
    cpu_update: Mutex<()>,
    gauges: [Gauge; 6],
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(Collector::desc).chain(self.cpu.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let usage = usage();
        let guard = self.cpu_update.lock();
        self.cpu.inc_by((usage.cpu - self.cpu.get()).max(0.0));
        drop(guard);
        for (gauge, now) in self.gauges.iter().zip(usage.gauges) {
            gauge.set(now);
        }
        self.gauges.iter().flat_map(Collector::collect).chain(self.cpu.collect()).collect()
    }
}

/// CPU seconds, and the gauges in the order of [`Process::gauges`].
#[derive(Debug, Default)]
struct Usage {
    cpu: f64,
    gauges: [f64; 6],
}

fn usage() -> Usage {
    let number = |name: &str, label: &str| proc::read(name).and_then(|text| number_after(&text, label)).unwrap_or_default();
    let status = proc::read("self/status").unwrap_or_default();
    let of_status = |label: &str| number_after(&status, label).unwrap_or_default();
    let stat = Stat::of_self();
    let field = |number: usize| stat.as_ref().and_then(|stat| stat.field(number)).unwrap_or_default() as f64;
    let ticks = stat.as_ref().and_then(Stat::cpu_ticks).unwrap_or_default() as f64;
    // one entry is the directory itself, which is open while it is read
    let open = read_dir("/proc/self/fd").map_or(0, |all| all.count().saturating_sub(1));
    let gauges = [
        1024.0 * of_status("VmRSS:"),
        1024.0 * of_status("VmSize:"),
        open as f64,
        number("self/limits", "Max open files"),
        number("stat", "btime") + field(22) / TICKS_PER_SECOND as f64,
        field(20),
    ];
    Usage { cpu: ticks / TICKS_PER_SECOND as f64, gauges }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn usage_of_this_process_is_plausible() {
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        let Usage { cpu, gauges: [resident, virtual_, open, max, started, threads] } = usage();
        assert!(cpu >= 0.0 && resident > 1e6 && virtual_ >= resident, "{cpu} {resident} {virtual_}");
        assert!(open >= files.len() as f64 && max >= open, "{open} {max}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(threads >= 2.0 && started < now + 2.0 && started > now - 86_400.0, "{threads} {started} {now}");
    }

    #[test]
    fn cpu_counter_after_scrape_equals_usage() {
        let registry = Registry::new();
        register(&registry).unwrap();
        let cpu = || {
            let all = registry.gather();
            all.iter().find(|family| family.name() == "process_cpu_seconds_total").unwrap().get_metric()[0].get_counter().get_value()
        };
        let before = cpu();
        while usage().cpu < before + 0.05 {
            std::hint::black_box((0..100_000).sum::<u64>());
        }
        let after = cpu();
        assert!(after >= before + 0.05 && after <= usage().cpu, "{before} {after}");
    }
}

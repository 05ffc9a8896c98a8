//! What a process uses, under the names that all of Prometheus' client libraries give it, read from `/proc` when
//! somebody asks (proc(5)). Where there is none, as on other systems than Linux, they are 0.
//!
//! The prometheus crate has such a collector; it stands on procfs and rustix: 5 crates for four short files.

use crate::platform::host::StartError;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Registry};
use std::fs::{read_dir, read_to_string};

/// The kernel tells times in hundredths of a second, whatever its own clock is (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Shows them in this registry.
pub(super) fn show(registry: &Registry) -> Result<(), StartError> {
    let gauge = |name: &str, help: &str| Gauge::new(format!("process_{name}"), help);
    let gauges = [
        gauge("resident_memory_bytes", "Memory of the process that is in RAM.")?,
        gauge("virtual_memory_bytes", "Address space of the process.")?,
        gauge("open_fds", "Files and sockets that the process has open.")?,
        gauge("max_fds", "As many as it may have open.")?,
        gauge("start_time_seconds", "When the process started, in seconds since 1970.")?,
        gauge("threads", "Threads of the process.")?,
    ];
    let cpu = Counter::new("process_cpu_seconds_total", "CPU time of the process, in user and system mode.")?;
    Ok(registry.register(Box::new(Process { cpu, raised: Mutex::new(()), gauges }))?)
}

struct Process {
    cpu: Counter,
    /// Two who look at once must not raise the counter twice.
    raised: Mutex<()>,
    gauges: [Gauge; 6],
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(Collector::desc).chain(self.cpu.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let used = used();
        let one = self.raised.lock();
        self.cpu.inc_by((used.cpu - self.cpu.get()).max(0.0));
        drop(one);
        for (gauge, now) in self.gauges.iter().zip(used.gauges) {
            gauge.set(now);
        }
        self.gauges.iter().flat_map(Collector::collect).chain(self.cpu.collect()).collect()
    }
}

/// CPU seconds, and the gauges in their order.
#[derive(Debug, Default)]
struct Used {
    cpu: f64,
    gauges: [f64; 6],
}

fn used() -> Used {
    let text = |name: &str| read_to_string(format!("/proc/{name}")).unwrap_or_default();
    let (stat, status) = (text("self/stat"), text("self/status"));
    // its second field is the program's name, in brackets, and may have spaces and brackets in it
    let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    // numbered from 1 in proc(5), and the first two are cut off
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    let (user, system, threads, started) = (field(14), field(15), field(20), field(22));
    // the last entry is the folder's own, open while it is read
    let open = read_dir("/proc/self/fd").map_or(0, |all| all.count().saturating_sub(1));
    let gauges = [
        1024.0 * after(&status, "VmRSS:"),
        1024.0 * after(&status, "VmSize:"),
        open as f64,
        after(&text("self/limits"), "Max open files"),
        after(&text("stat"), "btime") + started / TICKS,
        threads,
    ];
    Used { cpu: (user + system) / TICKS, gauges }
}

/// The first number after this word at the beginning of a line; infinite where it is `unlimited`.
fn after(text: &str, word: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_default();
    match rest.split_whitespace().next() {
        Some("unlimited") => f64::INFINITY,
        first => first.and_then(|number| number.parse().ok()).unwrap_or_default(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn what_it_says_of_this_process_is_so() {
        let kept: Vec<_> = (0..50).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        let Used { cpu, gauges: [resident, virtual_, open, max, started, threads] } = used();
        assert!(cpu >= 0.0 && resident > 1e6 && virtual_ >= resident, "{cpu} {resident} {virtual_}");
        assert!(open >= kept.len() as f64 && max >= open, "{open} {max}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(threads >= 2.0 && started < now + 2.0 && started > now - 86_400.0, "{threads} {started} {now}");
    }

    #[test]
    fn cpu_time_only_rises_by_what_was_used() {
        let registry = Registry::new();
        show(&registry).unwrap();
        let cpu = || {
            let all = registry.gather();
            all.iter().find(|family| family.name() == "process_cpu_seconds_total").unwrap().get_metric()[0].get_counter().get_value()
        };
        let before = cpu();
        while used().cpu < before + 0.05 {
            std::hint::black_box((0..100_000).sum::<u64>());
        }
        let after = cpu();
        assert!(after >= before + 0.05 && after <= used().cpu, "{before} {after}");
    }
}

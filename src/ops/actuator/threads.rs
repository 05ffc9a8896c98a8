//! `/actuator/threaddump`: the kernel's data about the threads of this process, in Spring's JSON for JVM threads. Stacks
//! are empty: they cannot be read.

use crate::kernel::problem::Problem;
use crate::kernel::proc::{Stat, number_after};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs::{read_dir, read_to_string};
use std::path::Path;

struct Thread {
    id: u64,
    /// At most 15 bytes, the kernel's limit.
    name: String,
    /// State letter of `/proc/[pid]/stat`.
    state: char,
    cpu_ms: u64,
    priority: u64,
    voluntary_switches: u64,
    involuntary_switches: u64,
}

/// Maps to the closest state of Java.
fn java_state(state: char) -> &'static str {
    match state {
        'R' => "RUNNABLE",
        // uninterruptible, usually waiting for a disk
        'D' => "BLOCKED",
        'Z' | 'X' => "TERMINATED",
        _ => "WAITING",
    }
}

/// JSON, or text if the client accepts only that.
pub(super) async fn dump(request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let threads = actix_web::web::block(read_threads).await.map_err(Problem::internal)?.map_err(Problem::internal)?;
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/plain") && !accept.contains("json") {
        return Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text(&threads)));
    }
    Ok(HttpResponse::Ok().json(json!({ "threads": threads.iter().map(to_json).collect::<Vec<_>>() })))
}

fn read_threads() -> std::io::Result<Vec<Thread>> {
    // skips threads that end while they are read
    let mut threads: Vec<Thread> = read_dir("/proc/self/task")?.filter_map(|entry| read_thread(&entry.ok()?.path())).collect();
    threads.sort_by_key(|thread| thread.id);
    Ok(threads)
}

fn read_thread(folder: &Path) -> Option<Thread> {
    let stat = Stat::read(&folder.join("stat"))?;
    let status = read_to_string(folder.join("status")).ok()?;
    let count = |name: &str| number_after(&status, name).unwrap_or_default() as u64;
    Some(Thread {
        id: folder.file_name()?.to_str()?.parse().ok()?,
        name: read_to_string(folder.join("comm")).ok()?.trim_end().to_string(),
        state: stat.state()?,
        cpu_ms: stat.cpu_time()?.as_millis() as u64,
        // real-time threads have a negative priority, reported as 0
        priority: stat.field(18).unwrap_or_default(),
        voluntary_switches: count("voluntary_ctxt_switches:"),
        involuntary_switches: count("nonvoluntary_ctxt_switches:"),
    })
}

/// `cpuTime` (milliseconds), `nativeState` and `preemptedCount` are additions to Spring's JSON; -1 means not measured.
fn to_json(thread: &Thread) -> Value {
    json!({
        "threadName": thread.name,
        "threadId": thread.id,
        "threadState": java_state(thread.state),
        "nativeState": thread.state.to_string(),
        "cpuTime": thread.cpu_ms,
        "blockedTime": -1,
        "blockedCount": -1,
        "waitedTime": -1,
        "waitedCount": thread.voluntary_switches,
        "preemptedCount": thread.involuntary_switches,
        "lockName": null,
        "lockOwnerId": -1,
        "lockOwnerName": null,
        "lockInfo": null,
        "daemon": true,
        "inNative": true,
        "suspended": thread.state == 'T',
        "priority": thread.priority,
        "stackTrace": [],
        "lockedMonitors": [],
        "lockedSynchronizers": [],
    })
}

fn text(threads: &[Thread]) -> String {
    let mut text = format!("{}\nThreads of process {}, by the kernel:\n\n", crate::kernel::clock::spring_timestamp(), std::process::id());
    for t in threads {
        let state = java_state(t.state);
        let line =
            format!("\"{}\" #{} prio={} cpu={}ms\n   java.lang.Thread.State: {state} ({})\n", t.name, t.id, t.priority, t.cpu_ms, t.state);
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_threads_with_a_blocked_thread_lists_it_as_waiting() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::Builder::new().name("waits-for-end".into()).spawn(move || ended.recv().is_err()).unwrap();
        let found = loop {
            // the name is set before the thread blocks
            match read_threads().unwrap().into_iter().find(|thread| thread.name == "waits-for-end" && thread.state == 'S') {
                Some(found) => break found,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!((java_state(found.state), to_json(&found)["threadState"].as_str()), ("WAITING", Some("WAITING")));
        assert!(text(&[found]).contains("\"waits-for-end\" #"));
        drop(end);
        assert!(worker.join().unwrap());
    }
}

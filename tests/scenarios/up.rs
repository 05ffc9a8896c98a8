//! `tradepost up --split`: one process per module; no child outlives the command.

use crate::support::process::tradepost;
use crate::support::{on_system, share_keys, wait_until};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Process ids of the child processes that use this data folder.
fn members(data: &Path) -> Vec<u32> {
    let data = data.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes
        .filter(|pid| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.contains(&data) && command.contains("serve")
        })
        .collect()
}

/// Starts the command and waits until the gateway is ready; a thread keeps reading its output.
fn up(data: &Path) -> Child {
    up_with(data, 1)
}

/// Like `up`, with count processes per module.
fn up_with(data: &Path, instances: usize) -> Child {
    share_keys(data);
    let count = instances.to_string();
    let data = data.to_string_lossy();
    let mut child = tradepost(&["up", "--split", "--port", "0", "--registry-port", "0", "--data", &data, "--instances", &count])
        .env("TRADEPOST__DATA__DEMO", "false")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("ready on ")));
    assert!(ready.is_some(), "the command did not become ready");
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[test]
fn up_sigterm_stops_every_child_and_exits_with_0() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let mut child = up(data.path());
        assert_eq!(members(data.path()).len(), 7);
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(members(data.path()).is_empty());
    });
}

#[test]
fn up_killed_stops_every_child() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let mut child = up(data.path());
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until("all child processes have ended", || {
            let left = members(data.path());
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    });
}

#[test]
fn child_killed_stops_the_others() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let mut child = up(data.path());
        let victim =
            members(data.path()).into_iter().find(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("order"));
        Command::new("kill").args(["-KILL", &victim.unwrap().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(members(data.path()).is_empty());
    });
}

#[test]
fn child_killed_with_two_instances_is_restarted() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let mut child = up_with(data.path(), 2);
        let before = members(data.path());
        assert_eq!(before.len(), 14);
        Command::new("kill").args(["-KILL", &before[3].to_string()]).status().unwrap();
        wait_until("a replacement is running", || {
            let now = members(data.path());
            if now.len() == 14 && !now.contains(&before[3]) { Ok(()) } else { Err(format!("{before:?}, now {now:?}")) }
        })
        .await;
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(members(data.path()).is_empty());
    });
}

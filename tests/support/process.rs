//! The binary as a child process, for tests of signals, exit codes and crashes.

use super::{PATIENCE, client::Client, share_keys, stores::Stores};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

/// A running binary; killed when dropped.
pub struct Process {
    child: Child,
    pub url: String,
    data: PathBuf,
}

/// Kills a process unless dropped within `PATIENCE`. Prevents a test from waiting for the process or its output forever.
pub struct Limit(#[expect(dead_code, reason = "dropping the sender ends the watchdog thread")] Sender<()>);

impl Limit {
    pub fn on(child: &Child) -> Self {
        let ((sender, receiver), id) = (channel::<()>(), child.id().to_string());
        std::thread::spawn(move || {
            if receiver.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("killing process {id} after {PATIENCE:?}");
                let _ = Command::new("kill").args(["-KILL", &id]).status();
            }
        });
        Self(sender)
    }
}

/// A command of the binary, without the settings of the environment.
pub fn tradepost(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tradepost"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("TRADEPOST__")) {
        command.env_remove(key);
    }
    command.args(args);
    command
}

/// The error message of a failed command: the last message on stderr, after the log.
pub fn last_words(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let at = format!("\n{stderr}").rfind("\ntradepost: ").unwrap_or_else(|| panic!("no error: {stderr}"));
    stderr[at..].trim_end().to_string()
}

/// Runs `tradepost audit` on this data folder. Returns whether the audit is clean, and its output.
pub fn audit(data: &Path) -> (bool, String) {
    let mut command = tradepost(&["audit", "--data", &data.to_string_lossy()]);
    let output = command.envs(Stores::of(data).environment()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Checks an audit result: an error unless it is clean and no event is pending.
pub fn at_rest((clean, text): (bool, String)) -> Result<(), String> {
    if clean && text.contains(" 0 under way") { Ok(()) } else { Err(text) }
}

impl Process {
    /// Starts on this data folder and waits until the process is ready.
    pub fn start(data: &Path, env: &[(&str, &str)]) -> Self {
        Self::start_on(0, data, env)
    }

    /// Like `start`, on a given port: for restarts at the same address.
    pub fn start_on(port: u16, data: &Path, env: &[(&str, &str)]) -> Self {
        Self::spawn(Stdio::inherit(), port, data, env)
    }

    /// Like `start`, with the log in this file; truncates the file.
    pub fn start_logged(log: &Path, data: &Path, env: &[(&str, &str)]) -> Self {
        Self::spawn(std::fs::File::create(log).unwrap().into(), 0, data, env)
    }

    fn spawn(log: Stdio, port: u16, data: &Path, env: &[(&str, &str)]) -> Self {
        if data.is_dir() && !data.join("identity").exists() {
            share_keys(data);
        }
        let dir = data.to_string_lossy().into_owned();
        let mut child = tradepost(&["serve", "--port", &port.to_string(), "--data", &dir])
            .env("TRADEPOST__DATA__DEMO", "false")
            .env("TRADEPOST__ORDER__LEASE_SECONDS", "1")
            .env("TRADEPOST__LOG__LEVEL", "warn")
            .envs(Stores::of(data).environment())
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let (mut lines, limit) = (BufReader::new(child.stdout.take().unwrap()).lines(), Limit::on(&child));
        let ready = lines.find_map(|line| line.unwrap().strip_prefix("ready on ").map(str::to_string));
        drop(limit);
        let url = ready.expect("the shop did not become ready");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, data: data.into() }
    }

    pub async fn client(&self) -> Client {
        Client::login(&self.url).await
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Sends SIGTERM and returns the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        let limit = Limit::on(&self.child);
        let exit = self.child.wait().unwrap();
        drop(limit);
        exit.code()
    }

    /// Runs `tradepost audit` on its data folder.
    pub fn audit(&self) -> (bool, String) {
        audit(&self.data)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The real binary as a process of its own: for what only a process can show, such as dying.

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

/// Kills a process unless it is dropped within PATIENCE, so that nobody waits for the process or its words for ever.
pub struct Limit(#[expect(dead_code, reason = "what is dropped tells that it is over")] Sender<()>);

impl Limit {
    pub fn on(child: &Child) -> Self {
        let ((over, told), id) = (channel::<()>(), child.id().to_string());
        std::thread::spawn(move || {
            if told.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("process {id} has had {PATIENCE:?}: it is killed");
                let _ = Command::new("kill").args(["-KILL", &id]).status();
            }
        });
        Self(over)
    }
}

/// A command of the binary, with no settings from outside.
pub fn tradepost(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tradepost"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("TRADEPOST__")) {
        command.env_remove(key);
    }
    command.args(args);
    command
}

/// What a command says that ends with an error: the last thing on stderr, behind the log.
pub fn last_words(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let at = format!("\n{said}").rfind("\ntradepost: ").unwrap_or_else(|| panic!("no error: {said}"));
    said[at..].trim_end().to_string()
}

/// What `tradepost audit` says of the shop with this data folder: whether it is clean, and its words.
pub fn audit(data: &Path) -> (bool, String) {
    let mut command = tradepost(&["audit", "--data", &data.to_string_lossy()]);
    let output = command.envs(Stores::of(data).environment()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Of an audit: fails unless it is clean, and no event is under way any more.
pub fn at_rest((clean, words): (bool, String)) -> Result<(), String> {
    if clean && words.contains(" 0 under way") { Ok(()) } else { Err(words) }
}

impl Process {
    /// Starts it on this data folder and waits until it answers.
    pub fn start(data: &Path, env: &[(&str, &str)]) -> Self {
        Self::start_on(0, data, env)
    }

    /// The same on a given port: for one that comes back where it was.
    pub fn start_on(port: u16, data: &Path, env: &[(&str, &str)]) -> Self {
        Self::spawn(Stdio::inherit(), port, data, env)
    }

    /// The same, with what it logs in this file: anew with each start.
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
        let url = ready.expect("the shop did not get ready");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, data: data.into() }
    }

    pub async fn client(&self) -> Client {
        Client::login(&self.url).await
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Any signal, by its name.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap().success());
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        let limit = Limit::on(&self.child);
        let exit = self.child.wait().unwrap();
        drop(limit);
        exit.code()
    }

    /// What `tradepost audit` says of its data: whether it is clean, and its words.
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

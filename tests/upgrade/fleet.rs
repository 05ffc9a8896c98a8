//! The processes of two releases, one per module and release, which find each other by the registries of both.

use crate::support::client::REALM;
use crate::support::ports::free_port;
use crate::support::process::Limit;
use crate::support::stores::Stores;
use crate::support::wait_for;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::task::spawn_blocking;
use tradepost::kernel::module::Module;

/// Which release a binary belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    Before,
    This,
}

impl Release {
    pub fn other(self) -> Self {
        if self == Release::Before { Release::This } else { Release::Before }
    }

    fn binary(self) -> PathBuf {
        match self {
            Release::Before => {
                std::env::var_os("TRADEPOST_TEST_PREVIOUS").expect("TRADEPOST_TEST_PREVIOUS: the binary of the release before").into()
            }
            Release::This => env!("CARGO_BIN_EXE_tradepost").into(),
        }
    }
}

struct Member {
    child: Child,
    url: String,
}

/// All running processes; killed when this is dropped.
pub struct Fleet {
    data: PathBuf,
    /// Ports that other processes need before their owner starts: of registries, issuers and gateways.
    ports: BTreeMap<(Module, Release), u16>,
    members: BTreeMap<(Module, Release), Member>,
}

impl Fleet {
    pub fn on(data: &Path) -> Self {
        let known = [Module::Registry, Module::Identity, Module::Gateway];
        let all = known.into_iter().flat_map(|module| [(module, Release::Before), (module, Release::This)]);
        Self { data: data.into(), ports: all.map(|who| (who, free_port())).collect(), members: BTreeMap::new() }
    }

    /// The address of a release's gateway.
    pub fn gateway(&self, release: Release) -> String {
        self.at(Module::Gateway, release)
    }

    /// The address of a module's only process.
    pub fn url(&self, module: Module) -> &str {
        let all: Vec<_> = self.members.iter().filter(|((m, _), _)| *m == module).collect();
        assert_eq!(all.len(), 1, "{module:?}");
        &all[0].1.url
    }

    fn at(&self, module: Module, release: Release) -> String {
        format!("http://127.0.0.1:{}", self.ports[&(module, release)])
    }

    /// Starts a module's process and waits until it answers, or, if others send requests to it, until it receives some.
    pub async fn start(&mut self, module: Module, release: Release) {
        let port = self.ports.get(&(module, release)).copied().unwrap_or_default();
        let mut command = self.store_command(release, "serve");
        command.args(["--modules", module.name(), "--port", &port.to_string()]).envs(self.settings(module, release));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut lines, limit) = (BufReader::new(child.stdout.take().unwrap()).lines(), Limit::on(&child));
        // In another thread, so that the customers continue.
        let (ready, lines) = spawn_blocking(move || {
            let ready = lines.find_map(|line| line.unwrap().strip_prefix("ready on ").map(str::to_string));
            (ready, lines)
        })
        .await
        .unwrap();
        drop(limit);
        let ready = ready.unwrap_or_else(|| panic!("{module:?} of {release:?} did not get ready"));
        std::thread::spawn(move || lines.for_each(drop));
        let url = if port == 0 { ready } else { self.at(module, release) };
        let beside = self.members.contains_key(&(module, release.other()));
        if beside && matches!(module, Module::Product | Module::Inventory | Module::Order | Module::Notification) {
            wait_for("the process receives requests", || async { serves(&url).await }).await;
        }
        println!("{module:?} of {release:?} is there");
        self.members.insert((module, release), Member { child, url });
    }

    /// Waits until every process knows every other and none that has stopped: before that, stopping a process loses
    /// requests. `admin` is a token.
    pub async fn acquainted(&self, admin: &str) {
        let clients = || self.members.iter().filter(|((module, _), _)| *module != Module::Registry);
        let all = clients().count() as u64;
        for ((module, release), member) in clients() {
            wait_for("the process knows all others", || async {
                let known = instances_known(&member.url, admin).await?;
                if known == all { Ok(()) } else { Err(format!("{module:?} of {release:?} knows {known} of {all}")) }
            })
            .await;
        }
    }

    /// Stops a process with SIGTERM while the customers continue.
    pub async fn stop(&mut self, module: Module, release: Release) {
        let mut member = self.members.remove(&(module, release)).unwrap();
        Command::new("kill").args(["-TERM", &member.child.id().to_string()]).status().unwrap();
        let limit = Limit::on(&member.child);
        let exit = spawn_blocking(move || member.child.wait().unwrap()).await.unwrap();
        drop(limit);
        assert_eq!(exit.code(), Some(0), "{module:?} of {release:?}");
    }

    pub async fn stop_all(&mut self) {
        while let Some((module, release)) = self.members.keys().next_back().copied() {
            self.stop(module, release).await;
        }
    }

    /// Runs a command on the stores; returns whether it succeeded, and its output.
    pub fn command(&self, release: Release, name: &str) -> (bool, String) {
        let output = self.store_command(release, name).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    /// Starts the same command in the background: `Ok` once it has succeeded.
    pub fn begin(&self, release: Release, name: &str) -> impl FnMut() -> Result<(), String> {
        let mut child = self.store_command(release, name).stdout(Stdio::null()).spawn().unwrap();
        let name = name.to_string();
        move || match child.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "{name} of {release:?}");
                Ok(())
            }
            None => Err("the command is still running".into()),
        }
    }

    /// A command with the settings of stores; only `migrate` changes the schema.
    fn store_command(&self, release: Release, name: &str) -> Command {
        let mut command = Command::new(release.binary());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("TRADEPOST__")) {
            command.env_remove(key);
        }
        let stores = Stores::of(&self.data).environment().into_iter().filter(|(key, _)| !key.ends_with("__MIGRATE"));
        command.args([name, "--data", &self.data.to_string_lossy()]).env("TRADEPOST__LOG__LEVEL", "warn").envs(stores);
        command
    }

    fn settings(&self, module: Module, release: Release) -> Vec<(&'static str, String)> {
        let both = |module| [Release::Before, Release::This].map(|release| self.at(module, release));
        let secret = |path: &str| std::fs::read_to_string(self.data.join(path)).unwrap_or_default().trim().to_string();
        let user = format!("http://tradepost:{}@", secret("registry/password"));
        let registries = both(Module::Registry).map(|url| format!("{url}/eureka"));
        // these settings have other names in the release before
        let (exit_on_stdin_eof, peer_timeout) = match release {
            Release::Before => ("TRADEPOST__SERVER__UNTIL_INPUT_CLOSES", "TRADEPOST__ORDER__PEERS_MS"),
            Release::This => ("TRADEPOST__SERVER__EXIT_ON_STDIN_EOF", "TRADEPOST__ORDER__PEER_TIMEOUT_MS"),
        };
        let mut all = vec![
            (exit_on_stdin_eof, "true".to_string()),
            ("TRADEPOST__SERVER__WORKERS", "1".into()),
            ("TRADEPOST__REGISTRY__SELF_PRESERVATION", "false".into()),
            ("TRADEPOST__ORDER__LEASE_SECONDS", "1".into()),
            // On a busy machine, a slow peer must not be treated as unavailable.
            ("TRADEPOST__RESILIENCE__CALL_MS", "30000".into()),
            (peer_timeout, "30000".into()),
            ("TRADEPOST__SERVER__REQUEST_SECONDS", "40".into()),
            ("TRADEPOST__IDENTITY__CLIENT_SECRET", secret("identity/service-secret")),
        ];
        let front = self.gateway(Release::Before);
        match module {
            Module::Identity => all.push(("TRADEPOST__SERVER__PUBLIC_URL", front)),
            _ => {
                all.push(("TRADEPOST__IDENTITY__ISSUER", format!("{front}{REALM}")));
                all.push(("TRADEPOST__IDENTITY__BACKCHANNEL", both(Module::Identity).map(|url| format!("{url}{REALM}")).join(",")));
            }
        }
        match module {
            Module::Registry => all.push(("TRADEPOST__REGISTRY__PEERS", format!("{}/eureka", self.at(Module::Registry, release.other())))),
            _ => all.push(("TRADEPOST__REGISTRY__URL", registries.map(|url| url.replacen("http://", &user, 1)).join(","))),
        }
        all
    }
}

/// Number of instances that a process knows, from its health.
async fn instances_known(url: &str, admin: &str) -> Result<u64, String> {
    let health = tradepost::net::http::http().get(format!("{url}/actuator/health")).bearer_auth(admin);
    let mut answer = health.send().await.map_err(|e| e.to_string())?;
    let body: serde_json::Value = answer.json().await.map_err(|e| e.to_string())?;
    body.pointer("/components/discovery/details/instances").and_then(|n| n.as_u64()).ok_or_else(|| body.to_string())
}

/// Whether the process has answered a call of its contract: then its metrics name the path, in every release.
async fn serves(url: &str) -> Result<(), String> {
    let metrics = tradepost::net::http::http().get(format!("{url}/actuator/prometheus"));
    let mut answer = metrics.send().await.map_err(|e| e.to_string())?;
    let text = answer.body().limit(1 << 20).await.map_err(|e| e.to_string())?;
    if String::from_utf8_lossy(&text).contains("\"/api/v1/") { Ok(()) } else { Err(format!("{url} was not asked yet")) }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in self.members.values_mut() {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

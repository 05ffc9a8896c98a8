//! A split shop: its processes, started in order, watched and stopped.

use super::error::UpError;
use super::member::Member;
use super::plan::Plan;
use super::shared_settings::SharedSettings;
use crate::kernel::files::FileError;
use crate::kernel::module::Module;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// The first start of a process generates keys and creates databases.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// From SIGTERM to SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);

/// The processes stop when this is dropped.
pub struct Split {
    plan: Plan,
    shared: SharedSettings,
    members: Vec<Member>,
    /// URLs of the gateways; tokens name the first as their issuer.
    pub urls: Vec<String>,
}

impl Split {
    /// Starts the processes in order; each one must be ready before the next starts.
    pub fn start(plan: &Plan) -> Result<Self, UpError> {
        let plan = plan.clone().with_actuator_password();
        let instances = plan.instances.max(1);
        // Some addresses are needed before their process starts. Holding their ports keeps other processes from
        // binding them.
        let mut held_ports = hold_ports(3 * instances)?;
        let mut free = held_ports.iter().map(|(port, _)| *port).collect::<Vec<_>>().into_iter();
        let mut ports = |first: u16| -> Vec<u16> {
            let chosen = free.by_ref().take(instances).enumerate();
            chosen.map(|(n, port)| if n == 0 && first != 0 { first } else { port }).collect()
        };
        let (gateways, registries, issuers) = (ports(plan.port), ports(plan.registry_port), ports(0));
        let urls: Vec<String> = gateways.iter().map(|port| format!("{}://127.0.0.1:{port}", plan.scheme)).collect();
        let shared = SharedSettings::new(plan.scheme, &urls, &registries, &issuers);
        let mut split = Self { plan, shared, members: Vec::new(), urls };
        for module in start_order() {
            for n in 0..instances {
                let port = match module {
                    Module::Gateway => gateways.get(n),
                    Module::Registry => registries.get(n),
                    Module::Identity => issuers.get(n),
                    _ => None,
                };
                let number = (instances > 1).then_some(n + 1);
                held_ports.retain(|(held, _)| Some(held) != port);
                split.start_member(module, number, port.copied().unwrap_or_default())?;
            }
        }
        split.wait_until_discovered()?;
        Ok(split)
    }

    fn start_member(&mut self, module: Module, number: Option<usize>, port: u16) -> Result<(), UpError> {
        let mut member = Member::start(module, number, port, &self.plan, &self.shared)?;
        member.wait_until_ready(START_TIMEOUT)?;
        let data = &self.plan.data;
        match module {
            Module::Registry => self.shared.registry_password = read_secret(&data.join("registry/password"))?,
            Module::Identity => self.shared.client_secret = read_secret(&data.join("identity/service-secret"))?,
            _ => {}
        }
        self.members.push(member);
        Ok(())
    }

    /// Until then, the first requests could find no instance of a peer.
    fn wait_until_discovered(&self) -> Result<(), UpError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let clients = || self.members.iter().filter(|m| m.module != Module::Registry);
        let registered = clients().count() as u64;
        for member in clients() {
            while member.discovered_instances(&self.plan.actuator).is_none_or(|discovered| discovered < registered) {
                if Instant::now() > deadline {
                    return Err(UpError::PeersNotDiscovered { name: member.name.clone() });
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Name, URL and process id of each process, in start order.
    pub fn members(&self) -> Vec<(String, String, u32)> {
        self.members.iter().map(|m| (m.name.clone(), m.url(), m.process_id())).collect()
    }

    /// URL and process id of a module's first process.
    pub fn member(&self, module: Module) -> Option<(String, u32)> {
        self.members.iter().find(|m| m.module == module).map(|m| (m.url(), m.process_id()))
    }

    /// With several processes per module, restarts ended ones with exponential backoff. With one per module, returns the
    /// name of an ended process.
    pub fn restart_ended(&mut self) -> Option<String> {
        let is_single = self.plan.instances <= 1;
        for member in &mut self.members {
            if !member.has_ended() {
                continue;
            }
            if is_single {
                return Some(member.name.clone());
            }
            member.restart_when_due(&self.plan, &self.shared);
        }
        None
    }

    /// Supervises the processes until one ends that is not restarted; returns its name.
    pub async fn supervise(&mut self) -> String {
        loop {
            if let Some(ended) = self.restart_ended() {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops the processes in reverse start order: gateways first.
    pub fn stop(&mut self) {
        let mut members = std::mem::take(&mut self.members);
        while let Some(mut member) = members.pop() {
            member.stop(STOP_TIMEOUT);
        }
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The module table's order, in which a module follows those it requires, with the gateway last. No config server: it is
/// optional.
fn start_order() -> impl Iterator<Item = Module> {
    let is_special = |module: &Module| matches!(module, Module::ConfigServer | Module::Gateway);
    Module::ALL.into_iter().filter(move |module| !is_special(module)).chain([Module::Gateway])
}

fn read_secret(path: &Path) -> Result<String, UpError> {
    let text = std::fs::read_to_string(path).map_err(FileError::io(path))?;
    Ok(text.trim().to_string())
}

/// Distinct free ports, each bound until its listener is dropped.
fn hold_ports(count: usize) -> Result<Vec<(u16, TcpListener)>, UpError> {
    let hold = |_| TcpListener::bind("127.0.0.1:0").and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
    (0..count).map(hold).collect::<Result<_, _>>().map_err(UpError::NoPort)
}

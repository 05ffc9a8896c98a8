//! `tradepost up --split`: the same shop, a process a module, behind the gateway; or several a module.
//!
//! Every process is this very binary, told by its environment which module to run. They find each
//! other through the registry; the gateway is the one address that clients need.
//!
//! With one process a module, one that dies ends all: half a shop is no shop. With several, the others go
//! on, and the one that died is started again where it was.

mod error;
mod member;

pub use error::UpError;

use crate::kernel::files::FileError;
use crate::kernel::module::Module;
use crate::settings::{Actuator, Secret};
use member::{Common, Member, hold_ports};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Who starts after whom: as the table has them, each after those it cannot do without, and the front door last. A
/// config server is there for those who want one.
fn order() -> impl Iterator<Item = Module> {
    let named = |module: &Module| matches!(module, Module::ConfigServer | Module::Gateway);
    Module::ALL.into_iter().filter(move |module| !named(module)).chain([Module::Gateway])
}
/// A first start makes keys and databases.
const PATIENCE: Duration = Duration::from_secs(60);
/// After being told to stop, before being made to.
const LIMIT: Duration = Duration::from_secs(25);

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The binary; this one as a rule.
    pub binary: PathBuf,
    /// Data folder, shared: each module has files of its own in it.
    pub data: PathBuf,
    /// Port of the gateway; 0 takes any free one. Further gateways take free ones.
    pub port: u16,
    /// Port of the registry; 0 takes any free one. Further registries take free ones.
    pub registry_port: u16,
    /// Processes a module, at least 1.
    pub instances: usize,
    /// Settings file of every process, in the place of `./tradepost.toml`.
    pub config: Option<PathBuf>,
    /// What they speak by these settings: `https` where `server.tls_cert` is among them, else `http`. The caller
    /// has read the settings and has set up its own clients by them.
    pub scheme: &'static str,
    /// How we look at the processes' health by these settings. Where no password is set, one is made for this run.
    pub actuator: Actuator,
    /// Further settings for every process, in the environment's spelling.
    pub settings: Vec<(String, String)>,
}

/// A shop in processes; they are stopped when this is dropped.
pub struct Split {
    plan: Plan,
    common: Common,
    members: Vec<Member>,
    /// The front doors; the first is the one that tokens name.
    pub urls: Vec<String>,
}

impl Split {
    /// Starts every process in order, each when those it needs answer.
    pub fn start(plan: &Plan) -> Result<Self, UpError> {
        let plan = &with_password(plan.clone());
        // an address that others are told before its process starts is chosen before anything starts
        let several = plan.instances.max(1);
        // and held until then, or one of the processes in between might be given it
        let mut held = hold_ports(3 * several)?;
        let mut free = held.iter().map(|(port, _)| *port).collect::<Vec<_>>().into_iter();
        let mut ports = |first: u16| -> Vec<u16> {
            let chosen = free.by_ref().take(several).enumerate();
            chosen.map(|(n, port)| if n == 0 && first != 0 { first } else { port }).collect()
        };
        let (doors, registries, issuers) = (ports(plan.port), ports(plan.registry_port), ports(0));
        let urls: Vec<String> = doors.iter().map(|port| format!("{}://127.0.0.1:{port}", plan.scheme)).collect();
        let common = Common::new(plan.scheme, &urls, &registries, &issuers);
        let mut split = Self { plan: plan.clone(), common, members: Vec::new(), urls };
        for module in order() {
            for n in 0..several {
                let port = match module {
                    Module::Gateway => doors.get(n),
                    Module::Registry => registries.get(n),
                    Module::Identity => issuers.get(n),
                    _ => None,
                };
                let number = (several > 1).then_some(n + 1);
                held.retain(|(other, _)| Some(other) != port);
                let mut member = Member::start(module, number, port.copied().unwrap_or_default(), plan, &split.common)?;
                member.wait_until_ready(PATIENCE)?;
                match module {
                    Module::Registry => split.common.registry_password = read_secret(&plan.data.join("registry/password"))?,
                    Module::Identity => split.common.client_secret = read_secret(&plan.data.join("identity/service-secret"))?,
                    _ => {}
                }
                split.members.push(member);
            }
        }
        split.wait_until_acquainted()?;
        Ok(split)
    }

    /// Waits until every process knows every other: the first request finds its way.
    fn wait_until_acquainted(&self) -> Result<(), UpError> {
        let deadline = Instant::now() + PATIENCE;
        let clients = || self.members.iter().filter(|m| m.module != Module::Registry);
        let registered = clients().count() as u64;
        for member in clients() {
            while member.instances_known(&self.plan.actuator).is_none_or(|known| known < registered) {
                if Instant::now() > deadline {
                    return Err(UpError::NotAcquainted { name: member.name.clone() });
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Name, address and process id of each process, in the order of their start.
    pub fn members(&self) -> Vec<(String, String, u32)> {
        self.members.iter().map(|m| (m.name.clone(), m.url(), m.process_id())).collect()
    }

    /// Address and process id of a module's first process.
    pub fn member(&self, module: Module) -> Option<(String, u32)> {
        self.members.iter().find(|m| m.module == module).map(|m| (m.url(), m.process_id()))
    }

    /// Looks after them: with several processes a module, one that has died is started again, later each
    /// time that it does not live long. With one, the name of the one that has ended.
    pub fn tend(&mut self) -> Option<String> {
        let alone = self.plan.instances <= 1;
        for member in &mut self.members {
            if !member.has_ended() {
                continue;
            }
            if alone {
                return Some(member.name.clone());
            }
            member.revive(&self.plan, &self.common);
        }
        None
    }

    /// Looks after them until one ends that is not started again; answers who it was.
    pub async fn until_one_ends(&mut self) -> String {
        loop {
            if let Some(ended) = self.tend() {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops all: the front doors first, what others need last.
    pub fn stop(&mut self) {
        let mut members = std::mem::take(&mut self.members);
        while let Some(mut member) = members.pop() {
            member.stop(LIMIT);
        }
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Details of health are for those who have a password.
fn with_password(mut plan: Plan) -> Plan {
    if plan.actuator.password.is_none() {
        let made = hex::encode(rand::random::<[u8; 32]>());
        plan.settings.push(("TRADEPOST__ACTUATOR__PASSWORD".into(), made.clone()));
        plan.actuator.password = Some(Secret::new(made));
    }
    plan
}

fn read_secret(path: &Path) -> Result<String, UpError> {
    let text = std::fs::read_to_string(path).map_err(FileError::io(path))?;
    Ok(text.trim().to_string())
}

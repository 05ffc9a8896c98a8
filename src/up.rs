//! `tradepost up --split`: the same shop, a process a module, behind the gateway.
//!
//! Every process is this very binary, told by its environment which module to run. They find each
//! other through the registry; the gateway is the one address that clients need.

use crate::modules::Module;
use crate::platform::host::StartError;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Who starts after whom: a module comes after what it cannot do without.
const ORDER: [Module; 7] =
    [Module::Registry, Module::Identity, Module::Product, Module::Inventory, Module::Order, Module::Notification, Module::Gateway];
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
    /// Port of the gateway; 0 takes any free one.
    pub port: u16,
    /// Port of the registry; 0 takes any free one.
    pub registry_port: u16,
    /// Further settings for every process, in the environment's spelling.
    pub settings: Vec<(String, String)>,
}

/// One process.
struct Member {
    module: Module,
    child: Child,
    url: String,
    /// Its standard input: when it closes, because we are gone, the process stops by itself.
    _leash: Option<ChildStdin>,
}

/// A shop in processes; they are stopped when this is dropped.
pub struct Split {
    members: Vec<Member>,
    /// The front door.
    pub url: String,
}

/// What all processes are told, as it becomes known.
struct Common {
    front: String,
    dashboard: String,
    registry: String,
    secret: String,
}

impl Split {
    /// Starts every process in order, each when those it needs answer.
    pub fn start(plan: &Plan) -> Result<Self, StartError> {
        // the front door's address is part of every token, so it is chosen before anything starts
        let mut held = (plan.port == 0).then(hold_a_port).transpose()?;
        let port = held.as_ref().map_or(plan.port, |(port, _)| *port);
        let mut common =
            Common { front: format!("http://127.0.0.1:{port}"), dashboard: String::new(), registry: String::new(), secret: String::new() };
        let mut split = Self { members: Vec::new(), url: common.front.clone() };
        for module in ORDER {
            let port = match module {
                Module::Gateway => port,
                Module::Registry => plan.registry_port,
                _ => 0,
            };
            if module == Module::Gateway {
                drop(held.take());
            }
            let member = spawn(plan, module, port, &common)?;
            match module {
                Module::Registry => {
                    let password = read_secret(&plan.data.join("registry/password"))?;
                    common.dashboard = member.url.clone();
                    common.registry = format!("{}/eureka", member.url.replace("http://", &format!("http://tradepost:{password}@")));
                }
                Module::Identity => common.secret = read_secret(&plan.data.join("identity/service-secret"))?,
                _ => {}
            }
            split.members.push(member);
        }
        split.wait_until_acquainted()?;
        Ok(split)
    }

    /// Waits until every process knows every other: the first request finds its way.
    fn wait_until_acquainted(&self) -> Result<(), StartError> {
        let deadline = Instant::now() + PATIENCE;
        let registered = self.members.iter().filter(|m| m.module != Module::Registry).count() as u64;
        for member in self.members.iter().filter(|m| m.module != Module::Registry) {
            while instances_known_to(&member.url).is_none_or(|known| known < registered) {
                if Instant::now() > deadline {
                    return Err(StartError(format!("{} did not find the others in the registry", member.module.name())));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Address and process id of a module's process.
    pub fn member(&self, module: Module) -> Option<(&str, u32)> {
        self.members.iter().find(|m| m.module == module).map(|m| (m.url.as_str(), m.child.id()))
    }

    /// Waits until one of them ends, or until told to stop; answers who ended.
    pub async fn until_one_ends(&mut self) -> &'static str {
        loop {
            for member in &mut self.members {
                if matches!(member.child.try_wait(), Ok(Some(_)) | Err(_)) {
                    return member.module.name();
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops all: the front door first, what others need last.
    pub fn stop(&mut self) {
        let mut members = std::mem::take(&mut self.members);
        while let Some(mut member) = members.pop() {
            terminate(&mut member.child);
            let deadline = Instant::now() + LIMIT;
            while matches!(member.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            if let Ok(None) = member.child.try_wait() {
                eprintln!("tradepost: {} did not stop in time and was killed", member.module.name());
                let _ = member.child.kill();
            }
            let _ = member.child.wait();
        }
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(plan: &Plan, module: Module, port: u16, common: &Common) -> Result<Member, StartError> {
    let name = module.name();
    let mut command = Command::new(&plan.binary);
    command
        .args(["serve", "--modules", name, "--port", &port.to_string()])
        .arg("--data")
        .arg(&plan.data)
        .env("TRADEPOST__SERVER__UNTIL_INPUT_CLOSES", "true")
        .env("TRADEPOST__SERVER__WORKERS", "1")
        // a handful of instances: one that dies is all it takes for the rule to keep it for ever
        .env("TRADEPOST__REGISTRY__SELF_PRESERVATION", "false")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // a Ctrl-C on the terminal is ours to pass on, in order
        .process_group(0);
    if module == Module::Identity {
        command.env("TRADEPOST__SERVER__PUBLIC_URL", &common.front);
    } else {
        command.env("TRADEPOST__IDENTITY__ISSUER", format!("{}/realms/spring-cloud-microservices-realm", common.front));
    }
    if module == Module::Gateway {
        // the registry registers nowhere: this is how its page is found
        command.env("TRADEPOST__PEERS__REGISTRY", &common.dashboard);
    }
    if !common.registry.is_empty() {
        command.env("TRADEPOST__REGISTRY__URL", &common.registry);
    }
    if !common.secret.is_empty() {
        command.env("TRADEPOST__IDENTITY__CLIENT_SECRET", &common.secret);
    }
    command.envs(plan.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let mut child = command.spawn().map_err(|e| StartError(format!("{name}: cannot be started: {e}")))?;
    let leash = child.stdin.take();
    let ready = watch(&mut child, name);
    match ready.recv_timeout(PATIENCE) {
        Ok(url) => Ok(Member { module, child, url, _leash: leash }),
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(StartError(format!("{name} did not get ready; its own words are above")))
        }
    }
}

/// Prints what a process says with its module's name in front; tells the address when it is ready.
fn watch(child: &mut Child, name: &'static str) -> mpsc::Receiver<String> {
    let (tell, ready) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        print_lines(out, name, move |line| {
            if let Some(url) = line.strip_prefix("ready on ") {
                let _ = tell.send(url.to_string());
            }
        });
    }
    if let Some(err) = child.stderr.take() {
        print_lines(err, name, |_| {});
    }
    ready
}

fn print_lines(from: impl Read + Send + 'static, name: &'static str, mut see: impl FnMut(&str) + Send + 'static) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            println!("{name:>12} | {line}");
            see(&line);
        }
    });
}

/// How many instances a process has found in the registry, by its health.
fn instances_known_to(url: &str) -> Option<u64> {
    let address = url.strip_prefix("http://")?;
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(format!("GET /actuator/health HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let health: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    health.pointer("/components/discovery/details/instances")?.as_u64()
}

fn terminate(child: &mut Child) {
    // the standard library has no SIGTERM; every POSIX system has this command
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
}

/// A free port, held so that none of the processes that start meanwhile is given the same.
fn hold_a_port() -> Result<(u16, TcpListener), StartError> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|held| Ok((held.local_addr()?.port(), held)));
    listener.map_err(|e| StartError(format!("no free port: {e}")))
}

fn read_secret(path: &Path) -> Result<String, StartError> {
    let text = std::fs::read_to_string(path).map_err(|e| StartError(format!("{}: {e}", path.display())))?;
    Ok(text.trim().to_string())
}

//! One process of a split shop: how it is started, watched, started again and stopped.

use super::Plan;
use super::error::UpError;
use crate::kernel::module::Module;
use crate::settings::{Actuator, Secret};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Pause before one that died is started again; it doubles while none lives for long.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Who lived so long did not die of its start.
const LONG: Duration = Duration::from_secs(10);

/// What all processes are told, as it becomes known.
pub(super) struct Common {
    scheme: &'static str,
    fronts: Vec<String>,
    issuer: String,
    backchannel: String,
    registries: Vec<String>,
    pub(super) registry_password: String,
    pub(super) client_secret: String,
}

impl Common {
    /// With these front doors, registries and issuers.
    pub(super) fn new(scheme: &'static str, fronts: &[String], registries: &[u16], issuers: &[u16]) -> Self {
        const REALM: &str = "realms/spring-cloud-microservices-realm";
        let here = |port: &u16| format!("127.0.0.1:{port}");
        Self {
            scheme,
            fronts: fronts.to_vec(),
            issuer: format!("{}/{REALM}", fronts.first().map(String::as_str).unwrap_or_default()),
            backchannel: issuers.iter().map(|port| format!("{scheme}://{}/{REALM}", here(port))).collect::<Vec<_>>().join(","),
            registries: registries.iter().map(here).collect(),
            registry_password: String::new(),
            client_secret: String::new(),
        }
    }

    /// What this process is told; the registry does not hear of itself.
    fn settings(&self, module: Module, number: Option<usize>) -> Vec<(&'static str, String)> {
        let scheme = self.scheme;
        let base = |address: &String, user: &str| format!("{scheme}://{user}{address}/eureka");
        let mut all = vec![
            ("TRADEPOST__SERVER__UNTIL_INPUT_CLOSES", "true".into()),
            ("TRADEPOST__SERVER__WORKERS", "1".into()),
            // a handful of instances: one that dies is all it takes for the rule to keep it for ever
            ("TRADEPOST__REGISTRY__SELF_PRESERVATION", "false".into()),
        ];
        if module == Module::Identity {
            all.push(("TRADEPOST__SERVER__PUBLIC_URL", self.fronts.first().cloned().unwrap_or_default()));
        } else {
            all.push(("TRADEPOST__IDENTITY__ISSUER", self.issuer.clone()));
            all.push(("TRADEPOST__IDENTITY__BACKCHANNEL", self.backchannel.clone()));
        }
        if module == Module::Gateway {
            // the registry registers nowhere: this is how its page is found
            let nth = number.map_or(0, |number| number - 1);
            all.extend(self.registries.get(nth).map(|address| ("TRADEPOST__PEERS__REGISTRY", format!("{scheme}://{address}"))));
        }
        if module == Module::Registry {
            let others = self.registries.iter().enumerate().filter(|(n, _)| number.is_some_and(|number| number != n + 1));
            let others: Vec<String> = others.map(|(_, address)| base(address, "")).collect();
            if !others.is_empty() {
                all.push(("TRADEPOST__REGISTRY__PEERS", others.join(",")));
            }
        } else {
            let user = format!("tradepost:{}@", self.registry_password);
            let urls: Vec<String> = self.registries.iter().map(|address| base(address, &user)).collect();
            all.push(("TRADEPOST__REGISTRY__URL", urls.join(",")));
        }
        if !self.client_secret.is_empty() {
            all.push(("TRADEPOST__IDENTITY__CLIENT_SECRET", self.client_secret.clone()));
        }
        all
    }
}

/// One process.
pub(super) struct Member {
    pub(super) module: Module,
    pub(super) name: String,
    number: Option<usize>,
    scheme: &'static str,
    port: u16,
    child: Child,
    ready: mpsc::Receiver<u16>,
    /// Its standard input: when it closes, because we are gone, the process stops by itself.
    _leash: Option<ChildStdin>,
    started: Instant,
    /// When it is started again, once it has ended; and after how many early deaths.
    again: Option<Instant>,
    deaths: u32,
}

impl Member {
    /// Starts the process. `number` tells it from others of its module; port 0 takes any free one.
    pub(super) fn start(module: Module, number: Option<usize>, port: u16, plan: &Plan, common: &Common) -> Result<Self, UpError> {
        let name = number.map_or_else(|| module.name().to_string(), |number| format!("{}-{number}", module.name()));
        let mut command = Command::new(&plan.binary);
        command.args(["serve", "--modules", module.name(), "--port", &port.to_string()]).arg("--data").arg(&plan.data);
        if let Some(config) = &plan.config {
            command.arg("--config").arg(config);
        }
        let told = common.settings(module, number);
        for (name, _) in &told {
            // what we tell goes before what somebody told us, by value or by file
            command.env_remove(format!("{name}_FILE"));
        }
        command
            .envs(told)
            .envs(plan.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // a Ctrl-C on the terminal is ours to pass on, in order
            .process_group(0);
        let mut child = command.spawn().map_err(|cause| UpError::Spawn { name: name.clone(), cause })?;
        let leash = child.stdin.take();
        let ready = watch(&mut child, &name);
        let scheme = common.scheme;
        Ok(Self { module, name, number, scheme, port, child, ready, _leash: leash, started: Instant::now(), again: None, deaths: 0 })
    }

    /// Waits until it answers; where it does not, it is ended.
    pub(super) fn wait_until_ready(&mut self, patience: Duration) -> Result<(), UpError> {
        match self.ready.recv_timeout(patience) {
            Ok(port) => {
                // one whose port was chosen may print another address: that of the front door
                self.port = if self.port == 0 { port } else { self.port };
                Ok(())
            }
            Err(_) => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                Err(UpError::NotReady { name: self.name.clone() })
            }
        }
    }

    /// Where it answers.
    pub(super) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub(super) fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Starts it again on its old port, once its pause is over: so it is the same instance to the others.
    pub(super) fn revive(&mut self, plan: &Plan, common: &Common) {
        let now = Instant::now();
        match self.again {
            None => {
                self.deaths = if self.started.elapsed() > LONG { 0 } else { self.deaths.saturating_add(1) };
                let pause = PAUSE.saturating_mul(2_u32.saturating_pow(self.deaths.saturating_sub(1))).min(LONGEST_PAUSE);
                let how = self.child.try_wait().ok().flatten().map_or_else(String::new, |status| said(&status));
                eprintln!("tradepost: {} ended ({how}); it is started again in {} ms", self.name, pause.as_millis());
                self.again = Some(now + pause);
            }
            Some(at) if now >= at => match Self::start(self.module, self.number, self.port, plan, common) {
                Ok(member) => *self = Member { deaths: self.deaths, ..member },
                Err(cause) => {
                    eprintln!("tradepost: {cause}");
                    self.again = Some(now + LONGEST_PAUSE);
                }
            },
            Some(_) => {}
        }
    }

    /// Tells it to stop, and makes it after the limit.
    pub(super) fn stop(&mut self, limit: Duration) {
        // the standard library has no SIGTERM; every POSIX system has this command
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).stderr(Stdio::null()).status();
        let deadline = Instant::now() + limit;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Ok(None) = self.child.try_wait() {
            eprintln!("tradepost: {} did not stop in time and was killed", self.name);
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }

    /// How many instances it has found in the registry, by its health.
    pub(super) fn instances_known(&self, actuator: &Actuator) -> Option<u64> {
        let address = format!("127.0.0.1:{}", self.port);
        let stream = TcpStream::connect(&address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let password = actuator.password.as_ref().map(Secret::expose).unwrap_or_default();
        let credentials = STANDARD.encode(format!("{}:{password}", actuator.user));
        let ask = format!("GET /actuator/health HTTP/1.0\r\nhost: {address}\r\nauthorization: Basic {credentials}\r\n\r\n");
        #[cfg(feature = "tls")]
        if self.scheme == "https" {
            return instances(exchange(crate::net::tls::blocking(stream, "127.0.0.1").ok()?, &ask)?);
        }
        instances(exchange(stream, &ask)?)
    }
}

fn exchange(mut stream: impl Read + Write, ask: &str) -> Option<String> {
    stream.write_all(ask.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Of a whole answer, as health tells it.
fn instances(answer: String) -> Option<u64> {
    let health: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    health.pointer("/components/discovery/details/instances")?.as_u64()
}

fn said(status: &ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"))
}

/// Prints what a process says with its name in front; tells its port when it is ready.
fn watch(child: &mut Child, name: &str) -> mpsc::Receiver<u16> {
    let (tell, ready) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        print_lines(out, name, move |line| {
            if let Some(port) = line.strip_prefix("ready on ").and_then(|address| address.rsplit(':').next()?.parse().ok()) {
                let _ = tell.send(port);
            }
        });
    }
    if let Some(err) = child.stderr.take() {
        print_lines(err, name, |_| {});
    }
    ready
}

fn print_lines(from: impl Read + Send + 'static, name: &str, mut see: impl FnMut(&str) + Send + 'static) {
    let name = name.to_string();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            println!("{name:>14} | {line}");
            see(&line);
        }
    });
}

/// So many different free ports, each taken as long as its listener lives.
pub(super) fn hold_ports(count: usize) -> Result<Vec<(u16, TcpListener)>, UpError> {
    let hold = |_| TcpListener::bind("127.0.0.1:0").and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
    (0..count).map(hold).collect::<Result<_, _>>().map_err(UpError::NoPort)
}

//! One process of a split shop: start, readiness, restart and stop.

use super::error::UpError;
use super::plan::Plan;
use super::shared_settings::SharedSettings;
use crate::kernel::module::Module;
use crate::settings::{Actuator, Secret};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Delay before a restart; it doubles with each early exit in a row.
const MIN_RESTART_DELAY: Duration = Duration::from_millis(250);
const MAX_RESTART_DELAY: Duration = Duration::from_secs(30);
/// A process up this long did not fail during startup.
const STABLE_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Member {
    pub(super) module: Module,
    pub(super) name: String,
    number: Option<usize>,
    scheme: &'static str,
    port: u16,
    child: Child,
    ready: mpsc::Receiver<u16>,
    /// The process stops when its standard input closes, as it does when this process ends.
    _stdin: Option<ChildStdin>,
    started_at: Instant,
    /// Set once the process has ended.
    restart_at: Option<Instant>,
    early_exits: u32,
}

impl Member {
    /// `number` distinguishes the processes of one module; port 0 takes any free port.
    pub(super) fn start(module: Module, number: Option<usize>, port: u16, plan: &Plan, shared: &SharedSettings) -> Result<Self, UpError> {
        let name = number.map_or_else(|| module.name().to_string(), |number| format!("{}-{number}", module.name()));
        let mut command = Command::new(&plan.binary);
        command.args(["serve", "--modules", module.name(), "--port", &port.to_string()]).arg("--data").arg(&plan.data);
        if let Some(config) = &plan.config {
            command.arg("--config").arg(config);
        }
        let environment = shared.environment(module, number);
        for (name, _) in &environment {
            // these settings override inherited ones, also those given as a file
            command.env_remove(format!("{name}_FILE"));
        }
        command
            .envs(environment)
            .envs(plan.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // keeps a terminal's Ctrl-C from the child: this process stops its members in order
            .process_group(0);
        let mut child = command.spawn().map_err(|cause| UpError::Spawn { name: name.clone(), cause })?;
        let stdin = child.stdin.take();
        let ready = forward_output(&mut child, &name);
        Ok(Self {
            module,
            name,
            number,
            scheme: shared.scheme(),
            port,
            child,
            ready,
            _stdin: stdin,
            started_at: Instant::now(),
            restart_at: None,
            early_exits: 0,
        })
    }

    /// Kills the process if it is not ready in time.
    pub(super) fn wait_until_ready(&mut self, timeout: Duration) -> Result<(), UpError> {
        match self.ready.recv_timeout(timeout) {
            Ok(port) => {
                // a process with a fixed port may print its public URL, which is the gateway's: keep the fixed port
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

    pub(super) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub(super) fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Restarts an ended process after its delay, on the same port: to its peers it is the same instance.
    pub(super) fn restart_when_due(&mut self, plan: &Plan, shared: &SharedSettings) {
        let now = Instant::now();
        match self.restart_at {
            None => {
                self.early_exits = if self.started_at.elapsed() > STABLE_AFTER { 0 } else { self.early_exits.saturating_add(1) };
                let factor = 2_u32.saturating_pow(self.early_exits.saturating_sub(1));
                let delay = MIN_RESTART_DELAY.saturating_mul(factor).min(MAX_RESTART_DELAY);
                let status = self.child.try_wait().ok().flatten().map_or_else(String::new, |status| describe(&status));
                eprintln!("tradepost: {} ended ({status}); restart in {} ms", self.name, delay.as_millis());
                self.restart_at = Some(now + delay);
            }
            Some(at) if now >= at => match Self::start(self.module, self.number, self.port, plan, shared) {
                Ok(member) => *self = Member { early_exits: self.early_exits, ..member },
                Err(cause) => {
                    eprintln!("tradepost: {cause}");
                    self.restart_at = Some(now + MAX_RESTART_DELAY);
                }
            },
            Some(_) => {}
        }
    }

    /// Sends SIGTERM, and SIGKILL after the timeout.
    pub(super) fn stop(&mut self, timeout: Duration) {
        // the standard library cannot send SIGTERM; POSIX requires the command `kill`
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).stderr(Stdio::null()).status();
        let deadline = Instant::now() + timeout;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Ok(None) = self.child.try_wait() {
            eprintln!("tradepost: {} did not stop in time and was killed", self.name);
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }

    /// Number of instances that the process has discovered in the registry, from its health endpoint.
    pub(super) fn discovered_instances(&self, actuator: &Actuator) -> Option<u64> {
        let address = format!("127.0.0.1:{}", self.port);
        let stream = TcpStream::connect(&address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let password = actuator.password.as_ref().map(Secret::expose).unwrap_or_default();
        let credentials = STANDARD.encode(format!("{}:{password}", actuator.user));
        let request = format!("GET /actuator/health HTTP/1.0\r\nhost: {address}\r\nauthorization: Basic {credentials}\r\n\r\n");
        #[cfg(feature = "tls")]
        if self.scheme == "https" {
            return parse_instances(&exchange(crate::net::tls::connect_blocking(stream, "127.0.0.1").ok()?, &request)?);
        }
        parse_instances(&exchange(stream, &request)?)
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    Some(response)
}

fn parse_instances(response: &str) -> Option<u64> {
    let health: serde_json::Value = serde_json::from_str(response.split_once("\r\n\r\n")?.1).ok()?;
    health.pointer("/components/discovery/details/instances")?.as_u64()
}

fn describe(status: &ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"))
}

/// Prints the process's output, each line prefixed with its name. The receiver gets its port once it is ready.
fn forward_output(child: &mut Child, name: &str) -> mpsc::Receiver<u16> {
    let (sender, ready) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        print_lines(out, name, move |line| {
            if let Some(port) = line.strip_prefix("ready on ").and_then(|address| address.rsplit(':').next()?.parse().ok()) {
                let _ = sender.send(port);
            }
        });
    }
    if let Some(err) = child.stderr.take() {
        print_lines(err, name, |_| {});
    }
    ready
}

fn print_lines(from: impl Read + Send + 'static, name: &str, mut on_line: impl FnMut(&str) + Send + 'static) {
    let name = name.to_string();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            println!("{name:>14} | {line}");
            on_line(&line);
        }
    });
}

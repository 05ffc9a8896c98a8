//! Servers under test as child processes, and their resource usage from /proc.

use super::load;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tradepost::kernel::proc;
use tradepost::kernel::proc::{Stat, number_after};

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

const TOKEN: &str = "/realms/spring-cloud-microservices-realm/protocol/openid-connect/token";

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// First argument that starts the bench binary as the bare actix server.
pub const BARE: &str = "--bare-actix";

/// A data folder on disk. Not in /tmp, which may be a tmpfs, where an fsync is free.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A command of the shop's binary, without the settings of the environment.
fn tradepost(binary: &Path, args: &[&str], address: SocketAddr, data: &Path) -> Command {
    let mut command = Command::new(binary);
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("TRADEPOST__")) {
        command.env_remove(key);
    }
    command.args(args).args(["--port", &address.port().to_string(), "--data"]).arg(data).env("TRADEPOST__LOG__LEVEL", "warn");
    command
}

impl Server {
    /// Starts a shop with all modules in one process.
    pub fn shop(binary: &Path, data: &Path) -> Self {
        Self::shop_with(binary, data, &[])
    }

    /// Like `shop`, with these settings.
    pub fn shop_with(binary: &Path, data: &Path, settings: &[(&str, String)]) -> Self {
        let address = free_port();
        let mut command = tradepost(binary, &["serve"], address, data);
        command.env("TRADEPOST__DATA__DEMO", "false").envs(settings.iter().map(|(key, value)| (*key, value.as_str())));
        Self::start(command, address)
    }

    /// Starts a shop with one process per module, behind the gateway.
    pub fn split(binary: &Path, data: &Path) -> Self {
        let address = free_port();
        let mut command = tradepost(binary, &["up", "--split", "--registry-port", "0"], address, data);
        // slow responses on a shared machine must not count as failures
        command.env("TRADEPOST__RESILIENCE__CALL_MS", "8000").env("TRADEPOST__ORDER__PEER_TIMEOUT_MS", "8000");
        let server = Self::start(command, address);
        while !server.responds_ok("/realms/spring-cloud-microservices-realm/protocol/openid-connect/certs") {
            std::thread::sleep(Duration::from_millis(50));
        }
        // the gateway has found the issuer; it finds the other modules at its next registry fetch
        std::thread::sleep(Duration::from_secs(5));
        server
    }

    /// Starts one module as a separate process, with these settings.
    pub fn module(binary: &Path, data: &Path, module: &str, settings: &[(&str, String)]) -> Self {
        let address = free_port();
        let mut command = tradepost(binary, &["serve", "--modules", module], address, data);
        command.envs(settings.iter().map(|(key, value)| (*key, value.as_str())));
        Self::start(command, address)
    }

    /// Starts the bench binary as the bare actix server; see `bare`.
    pub fn bare(response: &str) -> Self {
        let address = free_port();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([BARE, &address.to_string(), response]);
        Self::start(command, address)
    }

    fn start(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let server = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() || !server.healthy() {
            assert!(Instant::now() < deadline, "{command:?} did not become ready");
            std::thread::sleep(Duration::from_micros(500));
        }
        server
    }

    fn healthy(&self) -> bool {
        self.responds_ok("/actuator/health/readiness")
    }

    fn responds_ok(&self, path: &str) -> bool {
        use std::io::{Read, Write};
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).is_ok() && response.starts_with("HTTP/1.1 200")
    }

    /// An access token of a demo user, by the password grant.
    pub fn token(&self, user: &str) -> String {
        let form = format!("grant_type=password&client_id=tradepost-demo&username={user}&password={user}");
        let length = form.len();
        let request = format!(
            "POST {TOKEN} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{form}"
        );
        let body: serde_json::Value = serde_json::from_slice(&load::once(self.address, request.into(), 200)).unwrap();
        body["access_token"].as_str().unwrap().into()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time so far, user and system.
    pub fn cpu(&self) -> Duration {
        cpu(&format!("/proc/{}/stat", self.pid()))
    }

    /// CPU time of this process and its children.
    pub fn cpu_of_all(&self) -> Duration {
        self.all().iter().map(|pid| cpu(&format!("/proc/{pid}/stat"))).sum()
    }

    /// Resident memory of this process and its children, in bytes.
    pub fn resident_of_all(&self) -> u64 {
        self.all().iter().map(|pid| status(*pid, "VmRSS:")).sum()
    }

    fn all(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
        let children = children.flat_map(|pids| pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>());
        children.chain([self.pid()]).collect()
    }

    /// Resident memory now, in bytes.
    pub fn resident(&self) -> u64 {
        status(self.pid(), "VmRSS:")
    }

    /// Peak resident memory, in bytes.
    pub fn most_resident(&self) -> u64 {
        status(self.pid(), "VmHWM:")
    }

    /// Sends SIGTERM and waits for the exit.
    pub fn stop(mut self) {
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(pid: u32, key: &str) -> u64 {
    number_after(&proc::read(&format!("{pid}/status")).unwrap(), key).unwrap() as u64 * 1024
}

/// CPU time from a `stat` file of /proc.
pub fn cpu(stat: &str) -> Duration {
    Stat::read(Path::new(stat)).and_then(|stat| stat.cpu_time()).unwrap()
}

/// Time from the start of the process to its first healthy response.
pub fn start_up(binary: &Path, data: &Path) -> Duration {
    let started = Instant::now();
    let server = Server::shop(binary, data);
    let took = started.elapsed();
    server.stop();
    took
}

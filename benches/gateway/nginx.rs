//! nginx as a proxy of the same upstream, configured for throughput.

use super::common::process;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PROGRAM: &str = "/usr/sbin/nginx";

pub fn is_installed() -> bool {
    Path::new(PROGRAM).exists()
}

/// A running nginx; terminated when dropped.
pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
}

impl Nginx {
    pub fn start(dir: &Path, upstream: SocketAddr, workers: u64) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = dir.join("nginx");
        std::fs::create_dir_all(&dir).unwrap();
        let at = dir.display();
        let configuration = format!(
            "daemon off; worker_processes {workers}; pid {at}/pid; error_log {at}/error.log warn;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; keepalive_requests 1000000000; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
               fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
               upstream origin {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}
               server {{
                 listen {address};
                 location / {{
                   proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";
                   proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
                   proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port;
                 }}
               }}
             }}"
        );
        std::fs::write(dir.join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("-p").arg(&dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg(dir.join("nginx.conf"));
        let nginx = Self { child: command.stdout(Stdio::null()).spawn().unwrap(), address };
        for _ in 0..500 {
            if TcpStream::connect(address).is_ok() {
                return nginx;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nginx did not become ready: {command:?}");
    }

    /// CPU time of all worker processes.
    pub fn cpu(&self) -> Duration {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let workers = std::fs::read_to_string(children).unwrap();
        workers.split_whitespace().map(|pid| process::cpu(&format!("/proc/{pid}/stat"))).sum()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, because after SIGKILL of the master its workers keep running
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

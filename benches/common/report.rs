//! What a report says of the machine and the build, and where it is kept.

use std::process::Command;

/// What this program prints; nothing where it is not there.
pub fn output(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    out.map(|out| String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).trim().to_string()).unwrap_or_default()
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// Of the last minute, the last five and the last fifteen.
pub fn load_average() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Prints the report and keeps it in `benches/`.
pub fn keep(name: &str, text: &str) {
    println!("{text}");
    std::fs::write(format!("{}/benches/{name}", env!("CARGO_MANIFEST_DIR")), text).unwrap();
}

//! Machine and build description for a report, and saving a report.

use std::process::Command;

/// Output of a program; empty if the program is missing.
pub fn output(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    out.map(|out| String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).trim().to_string()).unwrap_or_default()
}

/// Number of cores available to this process.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// Load averages of the last 1, 5 and 15 minutes.
pub fn load_average() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Prints the report and writes it to `benches/`.
pub fn keep(name: &str, text: &str) {
    println!("{text}");
    std::fs::write(format!("{}/benches/{name}", env!("CARGO_MANIFEST_DIR")), text).unwrap();
}

//! The table, as it is printed and as it is kept.

use super::machine::{cores, load_average, output};
use super::{CONNECTIONS, Measured, Results, SKUS, ratio, spread};
use std::fmt::Write;
use std::time::Duration;

fn machine() -> String {
    let file = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().find(|l| l.starts_with(key)).and_then(|l| l.split(':').nth(1)).unwrap_or_default().trim().to_string()
    };
    format!(
        "{} cores of {}, {}, Linux {}; load average at the end {}",
        cores(),
        file("/proc/cpuinfo", "model name"),
        file("/proc/meminfo", "MemTotal"),
        output("uname", &["-r"]),
        load_average()
    )
}

pub fn text(results: &mut Results, rounds: usize, seconds: Duration) -> String {
    let mut out = String::new();
    write(&mut out, results, rounds, seconds).unwrap();
    out
}

fn write(out: &mut String, results: &mut Results, rounds: usize, seconds: Duration) -> std::fmt::Result {
    let commit = output("git", &["rev-parse", "--short", "HEAD"]);
    let changed = if output("git", &["status", "--porcelain", "-uno"]).is_empty() { "" } else { ", with changes on top" };
    writeln!(out, "# What the shop costs\n")?;
    writeln!(out, "Written by `cargo bench --bench shop`; do not edit. How it is measured: `benches/shop/main.rs`.\n")?;
    writeln!(out, "- commit {commit}{changed}; {}", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    writeln!(out, "- {}", machine())?;
    writeln!(
        out,
        "- {rounds} rounds of {} s each, in turn, on a fresh copy of the same data (1000 products); medians, least and most in brackets; ratios are taken round by round",
        seconds.as_secs()
    )?;
    writeln!(
        out,
        "- {CONNECTIONS} keep-alive connections in a closed loop on loopback, orders over {SKUS} SKUs, a token checked with each, all commits synchronous=FULL, events consumed"
    )?;
    writeln!(
        out,
        "- server and load generator share the cores with whatever else runs there, the straight writer and the bare server too; no Idempotency-Key is sent\n- `shop before`, where it is listed, is the binary that SHOP_BENCH_BEFORE named\n- one thread that writes straight waits for one fsync after the other; the shop's writers, one a database, wait for theirs side by side, so more than 100 % of it is possible. 32 orders a group is the most the shop's own groups can hold at 32 connections; 256 is beyond what it can reach, and shows what fewer fsyncs would give\n"
    )?;
    writeln!(out, "## Orders\n")?;
    writeln!(
        out,
        "| server | orders/s | p50 ms | p99 ms | server CPU us/order | load CPU us/order | done behind it after ms | other answers |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for m in &results.servers {
        let behind = if m.behind_ms.is_empty() { "-".into() } else { spread(&m.behind_ms, 0) };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {behind} | {} |",
            m.name,
            spread(&m.load.per_second, 0),
            spread(&m.load.p50, 1),
            spread(&m.load.p99, 1),
            spread(&m.load.cpu_us, 0),
            spread(&m.load_cpu_us, 0),
            m.bad
        )?;
    }
    writeln!(out, "\nThe same transactions straight into SQLite, by one thread (`benches/shop/straight.rs` lists the statements):\n")?;
    writeln!(out, "| lines | orders a group | orders/s | CPU us/order |\n|---|---|---|---|")?;
    for (lines, group, per_second, cpu) in &results.straight {
        writeln!(out, "| {lines} | {group} | {} | {} |", spread(per_second, 0), spread(cpu, 0))?;
    }
    writeln!(out)?;
    goals(out, results)?;
    writeln!(out, "\n## Start-up: from the start of the process to its first healthy answer, on an existing folder\n")?;
    for (name, ms) in &results.start_ms {
        writeln!(out, "- {name}: {} ms, median of {} (goal: below 100)", spread(ms, 1), ms.len())?;
    }
    writeln!(out, "\n## Resident memory (goal: below 60 MB)\n")?;
    for m in results.servers.iter().filter(|m| !m.idle_mb.is_empty()) {
        writeln!(out, "- {}: idle {} MB; under load, at most {} MB", m.name, spread(&m.idle_mb, 1), spread(&m.loaded_mb, 1))?;
    }
    if let Some(costs) = &results.seam {
        writeln!(out, "\n## One price look-up through the contract's trait\n")?;
        writeln!(out, "| behind it | in-process | over loopback HTTP, token checked | |\n|---|---|---|---|")?;
        for (what, here, http) in [
            ("a constant: the seam alone", costs.constant_here, costs.constant_http),
            ("the catalogue's store", costs.store_here, costs.store_http),
        ] {
            writeln!(out, "| {what} | {here:.0} ns | {:.1} us | {:.0} x |", http / 1000.0, http / here)?;
        }
    }
    Ok(())
}

fn goals(out: &mut String, results: &Results) -> std::fmt::Result {
    let server = |name: &str| results.servers.iter().find(|m| m.name == name);
    let Some(bare) = server("bare actix") else { return Ok(()) };
    for lines in [1, 5] {
        for name in ["shop", "shop before"] {
            let Some(shop) = server(&format!("{name}, {lines}-line orders")) else { continue };
            goal(out, shop, bare, lines, results)?;
        }
        let pair = (server(&format!("shop, {lines}-line orders")), server(&format!("shop before, {lines}-line orders")));
        if let (Some(now), Some(before)) = pair {
            let (speed, cpu) = (ratio(&now.load.per_second, &before.load.per_second), ratio(&now.load.cpu_us, &before.load.cpu_us));
            writeln!(out, "- {lines}-line orders, beside the build before: {speed:.2} x orders/s with {cpu:.2} x the CPU an order")?;
        }
    }
    Ok(())
}

fn goal(out: &mut String, shop: &Measured, bare: &Measured, lines: usize, results: &Results) -> std::fmt::Result {
    write!(out, "- {}: {:.0} % of bare actix", shop.name, 100.0 * ratio(&shop.load.per_second, &bare.load.per_second))?;
    for (_, group, straight, _) in results.straight.iter().filter(|s| s.0 == lines) {
        write!(out, ", {:.0} % of straight SQLite in groups of {group}", 100.0 * ratio(&shop.load.per_second, straight))?;
    }
    writeln!(out, " (goal: 50 % of the lower limit at the shop's group size, {CONNECTIONS})")
}

//! The report, for the console and for `benches/RESULTS.md`.

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
    writeln!(out, "Written by `cargo bench --bench shop`; do not edit. Method: `benches/shop/main.rs`.\n")?;
    writeln!(out, "- commit {commit}{changed}; {}", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    writeln!(out, "- {}", machine())?;
    writeln!(
        out,
        "- {rounds} rounds of {} s each, in turn, on a fresh copy of the same data (1000 products); medians, with minimum and maximum in brackets; ratios are per round",
        seconds.as_secs()
    )?;
    writeln!(
        out,
        "- {CONNECTIONS} keep-alive connections in a closed loop on loopback, orders over {SKUS} SKUs, a token check per request, all commits synchronous=FULL, events consumed"
    )?;
    writeln!(
        out,
        "- server, load generator, direct writer and bare server share the cores with all other processes of the machine; no Idempotency-Key is sent\n- `shop before`, if listed, is the binary of SHOP_BENCH_BEFORE\n- the direct writer is one thread that waits for one fsync after another; the shop has one writer per database, and their fsyncs overlap, so it can exceed 100 % of the direct writer. With 32 connections the shop's groups hold at most 32 orders; the group size 256 is out of its reach and shows the effect of fewer fsyncs\n"
    )?;
    writeln!(out, "## Orders\n")?;
    writeln!(
        out,
        "| server | orders/s | p50 ms | p99 ms | server CPU us/order | load CPU us/order | background work done after ms | other responses |"
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
    writeln!(out, "\nThe same transactions directly in SQLite, by one thread (statements: `benches/shop/straight.rs`):\n")?;
    writeln!(out, "| lines | orders per group | orders/s | CPU us/order |\n|---|---|---|---|")?;
    for (lines, group, per_second, cpu) in &results.straight {
        writeln!(out, "| {lines} | {group} | {} | {} |", spread(per_second, 0), spread(cpu, 0))?;
    }
    writeln!(out)?;
    goals(out, results)?;
    writeln!(out, "\n## Start-up: from the start of the process to its first healthy response, with an existing data folder\n")?;
    for (name, ms) in &results.start_ms {
        writeln!(out, "- {name}: {} ms, median of {} (goal: below 100)", spread(ms, 1), ms.len())?;
    }
    writeln!(out, "\n## Resident memory (goal: below 60 MB)\n")?;
    for m in results.servers.iter().filter(|m| !m.idle_mb.is_empty()) {
        writeln!(out, "- {}: idle {} MB; peak under load {} MB", m.name, spread(&m.idle_mb, 1), spread(&m.loaded_mb, 1))?;
    }
    if let Some(costs) = &results.seam {
        writeln!(out, "\n## One price query through the contract's trait\n")?;
        writeln!(out, "| backend | in-process | over loopback HTTP, with token check | |\n|---|---|---|---|")?;
        for (what, here, http) in [
            ("a constant: the call alone", costs.constant_here, costs.constant_http),
            ("the product store", costs.store_here, costs.store_http),
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
            writeln!(
                out,
                "- {lines}-line orders, compared with the build before: {speed:.2} x orders/s with {cpu:.2} x the CPU per order"
            )?;
        }
    }
    Ok(())
}

fn goal(out: &mut String, shop: &Measured, bare: &Measured, lines: usize, results: &Results) -> std::fmt::Result {
    write!(out, "- {}: {:.0} % of bare actix", shop.name, 100.0 * ratio(&shop.load.per_second, &bare.load.per_second))?;
    for (_, group, straight, _) in results.straight.iter().filter(|s| s.0 == lines) {
        write!(out, ", {:.0} % of direct SQLite in groups of {group}", 100.0 * ratio(&shop.load.per_second, straight))?;
    }
    writeln!(out, " (goal: 50 % of the lower limit at the shop's group size, {CONNECTIONS})")
}

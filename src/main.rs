//! The command line; the library implements the commands.

use clap::{CommandFactory, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;
use tradepost::app::serve;
use tradepost::config;
use tradepost::config::{Flags, Loaded};
use tradepost::kernel::build;
use tradepost::settings;
use tradepost::settings::PeerMode;

/// A shop backend in one binary that splits into services.
#[derive(Parser)]
#[command(name = "tradepost", version = build::LONG_VERSION, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(clap::Args, Clone)]
struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Start although an embedded store is missing, older than the others, or of another shop: its data is lost
    #[arg(long)]
    accept_loss: bool,
}

#[derive(clap::Args, Clone)]
struct SettingsArgs {
    /// Modules to run, comma-separated [default: all that are compiled in]
    #[arg(long, value_name = "A,B")]
    modules: Option<String>,
    /// Transport of calls between modules of this process
    #[arg(long, value_enum)]
    peers: Option<PeerMode>,
    /// Folder of the embedded stores
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Port to listen on; 0 takes any free one and prints it
    #[arg(long)]
    port: Option<u16>,
    /// Address to listen on
    #[arg(long)]
    host: Option<String>,
    /// Settings file, instead of ./tradepost.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How to reach a shop: the client uses `server.*` and `tls.*` of the shop's own settings.
#[derive(clap::Args)]
struct Address {
    /// URL of the shop [default: this machine and the port in the settings, http://127.0.0.1:5294]
    #[arg(long)]
    url: Option<String>,
    /// Settings file, instead of ./tradepost.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Target {
    #[command(flatten)]
    shop: Address,
    /// User to log in as
    #[arg(long, default_value = "admin")]
    user: String,
    /// Password; by default the user's name, as for demo users
    #[arg(long, env = "TRADEPOST_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the shop, or a part of it (the default)
    Serve(ServeArgs),
    /// Import products and stock from an Online Retail file into a running shop
    #[cfg(feature = "demo")]
    Import {
        /// CSV file
        file: PathBuf,
        #[command(flatten)]
        target: Target,
        /// Write each skipped line with its reason into this CSV file
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Do not fail if lines were skipped
        #[arg(long)]
        allow_skips: bool,
    },
    /// Replay the invoices of an Online Retail file as orders against a running shop
    #[cfg(feature = "demo")]
    Replay {
        /// CSV file
        file: PathBuf,
        #[command(flatten)]
        target: Target,
        /// Maximum number of concurrent orders
        #[arg(long, default_value_t = 8)]
        clients: usize,
    },
    /// Check the invariants on the stored data, and print each violation
    ///
    /// Exits with 0 if all hold, 1 if there are violations, 2 if the data could not be read.
    #[cfg(feature = "all-in-one")]
    Audit {
        /// Do not read every page and index entry of the database files
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        args: SettingsArgs,
    },
    /// Back up all files of a shop, running or stopped, as of one moment, into a new folder
    #[cfg(feature = "all-in-one")]
    Backup {
        /// New folder for the backup
        folder: PathBuf,
        #[command(flatten)]
        args: SettingsArgs,
    },
    /// Restore a backup into a new data folder, after verifying its checksums
    #[cfg(feature = "all-in-one")]
    Restore {
        /// Folder of the backup
        folder: PathBuf,
        #[command(flatten)]
        args: SettingsArgs,
    },
    /// List dead letters, or replay them to their consumers
    #[cfg(feature = "demo")]
    DeadLetters {
        /// Ids of dead letters to replay, comma-separated
        #[arg(long, value_name = "ID", value_delimiter = ',')]
        replay: Vec<i64>,
        /// Replay all dead letters
        #[arg(long, conflicts_with = "replay")]
        replay_all: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Show the trace of an order
    #[cfg(feature = "demo")]
    Trace {
        /// Order number, or trace id from an error, a response or a log line
        order: String,
        #[command(flatten)]
        target: Target,
    },
    /// Print an access token of a user
    #[cfg(feature = "demo")]
    Token(Target),
    /// Run the whole shop with one process per module, behind the gateway
    #[cfg(feature = "all-in-one")]
    Up {
        /// Start one process per module (required: the only mode)
        #[arg(long, required = true)]
        split: bool,
        /// Folder of the embedded stores
        #[arg(long, value_name = "DIR", default_value = "data")]
        data: PathBuf,
        /// Port of the gateway; 0 takes any free one
        #[arg(long, default_value_t = 5294)]
        port: u16,
        /// Port of the registry; 0 takes any free one
        #[arg(long, default_value_t = 8761)]
        registry_port: u16,
        /// Processes per module; with more than one, a process that ends is restarted
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
        instances: u8,
        /// Start although an embedded store is missing, older than the others, or of another shop: its data is lost
        #[arg(long)]
        accept_loss: bool,
        /// Settings file, instead of ./tradepost.toml
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Bring the schema of every store up to date
    Migrate {
        #[command(flatten)]
        args: SettingsArgs,
        /// Instead, revert the last migration of each MySQL store; the data it added is lost
        #[cfg(feature = "mysql")]
        #[arg(long)]
        down: bool,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Print the AsyncAPI document of the events
    Asyncapi,
    /// Check whether a running shop is ready; exit with 1 if not
    Healthcheck(Address),
    /// Print shell completions
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
}

type BoxError = Box<dyn std::error::Error>;

/// Exit code of an audit that says nothing about the data.
const UNREADABLE_DATA: u8 = 2;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
#[cfg_attr(not(feature = "all-in-one"), allow(dead_code, reason = "only the audit makes it"))]
struct UnreadableData(BoxError);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => run_serve(&cli.serve),
        Some(Command::Serve(args)) => run_serve(&args),
        Some(command) => run_command(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("tradepost: {message}");
            if message.is::<UnreadableData>() { ExitCode::from(UNREADABLE_DATA) } else { ExitCode::FAILURE }
        }
    }
}

fn load(args: &SettingsArgs) -> Result<Loaded, BoxError> {
    load_with(args, Vec::new())
}

fn load_with(args: &SettingsArgs, mut flags: Flags) -> Result<Loaded, BoxError> {
    let path = |p: &PathBuf| p.to_string_lossy().into_owned();
    flags.extend(args.modules.as_ref().map(|v| ("server.modules", v.clone())));
    flags.extend(args.peers.map(|v| ("server.peers", if v == PeerMode::Http { "http".to_string() } else { "in-process".to_string() })));
    flags.extend(args.data.as_ref().map(|v| ("data.dir", path(v))));
    flags.extend(args.port.map(|v| ("server.port", v.to_string())));
    flags.extend(args.host.as_ref().map(|v| ("server.host", v.clone())));
    Ok(config::load(args.config.as_deref(), &flags)?)
}

fn run_serve(args: &ServeArgs) -> Result<(), BoxError> {
    let accept_loss = args.accept_loss.then(|| ("data.accept_loss", "true".to_string()));
    let loaded = load_with(&args.settings, accept_loss.into_iter().collect())?;
    serve::start_log(&loaded)?;
    actix_web::rt::System::new().block_on(async {
        let mut stop = pin!(serve::stop_signal());
        let demo = loaded.settings.data.demo.then(|| (loaded.settings.data.dir.clone(), loaded.settings.tls.clone()));
        let running = serve::start(loaded).await?;
        println!("ready on {}", running.public_url);
        tokio::select! {
            () = greet(&running, demo.as_ref()) => running.until(stop).await,
            () = &mut stop => running.stop().await,
        }
        Ok(())
    })
}

#[cfg(feature = "demo")]
async fn greet(running: &serve::Running, demo: Option<&(PathBuf, settings::Tls)>) {
    let runs_all_modules = running.modules.len() == tradepost::kernel::module::Module::ALL.len();
    if let Some((data, tls)) = demo.filter(|_| runs_all_modules && !running.demo_users.is_empty()) {
        tradepost::app::demo::cli::welcome(&running.public_url, data, tls, &running.demo_users).await;
    }
}

#[cfg(not(feature = "demo"))]
async fn greet(_: &serve::Running, _: Option<&(PathBuf, settings::Tls)>) {}

fn run_command(command: Command) -> Result<(), BoxError> {
    match command {
        Command::Serve(args) => run_serve(&args),
        #[cfg(feature = "demo")]
        Command::Import { file, target, report, allow_skips } => {
            use tradepost::app::demo::cli::{ImportOptions, run_import};
            let shop = tradepost::app::demo::shop::Shop::new(&resolve_url(&target.shop)?, &target.user, &password(&target));
            Ok(run_import(&shop, &file, &ImportOptions { report, allow_skips })?)
        }
        #[cfg(feature = "demo")]
        Command::Replay { file, target, clients } => {
            Ok(tradepost::app::demo::cli::run_replay(&resolve_url(&target.shop)?, &target.user, &password(&target), &file, clients)?)
        }
        #[cfg(feature = "demo")]
        Command::DeadLetters { replay, replay_all, target } => {
            use tradepost::app::demo::dead_letters::Replay;
            let replay =
                if replay_all { Replay::All } else { Some(replay).filter(|ids| !ids.is_empty()).map_or(Replay::None, Replay::Ids) };
            Ok(tradepost::app::demo::cli::run_dead_letters(&resolve_url(&target.shop)?, &target.user, &password(&target), replay)?)
        }
        #[cfg(feature = "demo")]
        Command::Trace { order, target } => {
            let url = resolve_url(&target.shop)?;
            let zipkin = config::load_local(target.shop.config.as_deref())?.telemetry.zipkin;
            Ok(tradepost::app::demo::cli::run_trace(&url, &target.user, &password(&target), &order, zipkin.as_ref())?)
        }
        #[cfg(feature = "all-in-one")]
        Command::Audit { quick, args } => audit(&args, quick),
        #[cfg(feature = "all-in-one")]
        Command::Backup { folder, args } => back_up(&load(&args)?.settings, &folder),
        #[cfg(feature = "all-in-one")]
        Command::Restore { folder, args } => restore(&load(&args)?.settings, &folder),
        #[cfg(feature = "demo")]
        Command::Token(target) => Ok(tradepost::app::demo::cli::run_token(&resolve_url(&target.shop)?, &target.user, &password(&target))?),
        #[cfg(feature = "all-in-one")]
        Command::Up { split: _, data, port, registry_port, instances, accept_loss, config } => {
            let binary = std::env::current_exe()?;
            let settings = config::load(config.as_deref(), &Vec::new())?.settings;
            tradepost::net::tls::start(&settings)?;
            let (instances, scheme) = (usize::from(instances), settings.server.scheme());
            let actuator = settings.actuator;
            let environment = accept_loss.then(|| ("TRADEPOST__DATA__ACCEPT_LOSS".to_string(), "true".to_string())).into_iter().collect();
            let plan =
                tradepost::app::up::Plan { binary, data, port, registry_port, instances, config, scheme, actuator, settings: environment };
            up(&plan, settings.data.demo.then_some(&settings.tls))
        }
        #[cfg(feature = "mysql")]
        Command::Migrate { args, down: true } => revert(&args),
        Command::Migrate { args, .. } => migrate(&args),
        Command::Openapi => print(&tradepost::app::wiring::openapi(&compiled_modules(), "http://127.0.0.1:5294")),
        Command::Asyncapi => print(&tradepost::app::wiring::asyncapi()),
        Command::Healthcheck(shop) => {
            let url = resolve_url(&shop)?;
            actix_web::rt::System::new().block_on(healthcheck(&url))
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tradepost", &mut std::io::stdout());
            Ok(())
        }
    }
}

fn print(document: &serde_json::Value) -> Result<(), BoxError> {
    let text = serde_json::to_string_pretty(document)?;
    // the reader may close the pipe early, as `head` does: not an error
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

fn compiled_modules() -> Vec<tradepost::kernel::module::Module> {
    tradepost::kernel::module::Module::ALL.into_iter().filter(|m| m.is_compiled_in()).collect()
}

/// A demo user's password is the name.
#[cfg(feature = "demo")]
fn password(target: &Target) -> String {
    target.password.clone().unwrap_or_else(|| target.user.clone())
}

#[cfg(feature = "all-in-one")]
fn audit(args: &SettingsArgs, quick: bool) -> Result<(), BoxError> {
    let run = if quick { tradepost::app::audit::run_quick } else { tradepost::app::audit::run };
    let report = load(args).and_then(|loaded| Ok(run(&loaded.settings)?)).map_err(UnreadableData)?;
    for line in &report.summary {
        println!("{line}");
    }
    for violation in &report.violations {
        println!("{violation}");
    }
    match report.violations.len() {
        0 => {
            println!("audit: INV-1 to INV-5 hold");
            Ok(())
        }
        n => Err(format!("audit: {n} violations").into()),
    }
}

#[cfg(feature = "all-in-one")]
fn back_up(settings: &settings::Settings, to: &std::path::Path) -> Result<(), BoxError> {
    let backup = tradepost::app::backup::create(settings, to)?;
    let (files, size) = (backup.manifest.files.len(), backup.manifest.size());
    println!(
        "{}: {files} files, {size} bytes, as of {}; writers waited {} ms",
        to.display(),
        backup.manifest.taken_at,
        backup.pause.as_millis()
    );
    backup.notes.iter().for_each(|note| println!("{note}"));
    Ok(())
}

#[cfg(feature = "all-in-one")]
fn restore(settings: &settings::Settings, from: &std::path::Path) -> Result<(), BoxError> {
    let manifest = tradepost::app::backup::restore(settings, from)?;
    println!("{}: the shop as of {} ({} files)", settings.data.dir.display(), manifest.taken_at, manifest.files.len());
    Ok(())
}

#[cfg(feature = "all-in-one")]
fn up(plan: &tradepost::app::up::Plan, demo: Option<&settings::Tls>) -> Result<(), BoxError> {
    actix_web::rt::System::new().block_on(async {
        let stop = serve::stop_signal();
        let mut split = tradepost::app::up::Split::start(plan)?;
        let Some((url, others)) = split.urls.split_first() else { return Err("there is no gateway".into()) };
        let url = url.clone();
        println!("ready on {url}");
        others.iter().for_each(|other| println!("and on {other}"));
        let run = async {
            if let Some(tls) = demo {
                let users = [("admin".to_string(), "admin, customer".to_string()), ("alice".to_string(), "customer".to_string())];
                tradepost::app::demo::cli::welcome(&url, &plan.data, tls, &users).await;
            }
            split.supervise().await
        };
        let ended = tokio::select! { ended = run => Some(ended), () = stop => None };
        split.stop();
        ended.map_or(Ok(()), |process| Err(format!("{process} ended unexpectedly; all processes were stopped").into()))
    })
}

#[cfg(feature = "mysql")]
fn revert(args: &SettingsArgs) -> Result<(), BoxError> {
    let settings = load(args)?.settings;
    let chosen = tradepost::app::wiring::select(&settings)?;
    let reverted = tradepost::app::wiring::revert(&settings, &chosen)?;
    println!("reverted: {}", if reverted.is_empty() { "nothing".to_string() } else { reverted.join(", ") });
    Ok(())
}

/// Opening a store migrates it.
fn migrate(args: &SettingsArgs) -> Result<(), BoxError> {
    let loaded = load(args)?;
    actix_web::rt::System::new().block_on(async {
        let running = serve::prepare(loaded)?;
        println!("up to date: {}", running.join(", "));
        Ok(())
    })
}

/// Also configures this process's HTTP clients for the shop.
fn resolve_url(shop: &Address) -> Result<String, BoxError> {
    let settings = config::load_local(shop.config.as_deref())?;
    tradepost::net::tls::start(&settings)?;
    let server = &settings.server;
    let host = if matches!(server.host.as_str(), "0.0.0.0" | "::") { "127.0.0.1" } else { &server.host };
    Ok(shop.url.clone().unwrap_or_else(|| format!("{}://{host}:{}", server.scheme(), server.port)))
}

async fn healthcheck(url: &str) -> Result<(), BoxError> {
    let url = format!("{}/actuator/health/readiness", url.trim_end_matches('/'));
    let response =
        tradepost::net::http::http().get(&url).timeout(Duration::from_secs(5)).send().await.map_err(|e| format!("{url}: {e}"))?;
    if response.status().is_success() { Ok(()) } else { Err(format!("{url}: returned {}", response.status()).into()) }
}

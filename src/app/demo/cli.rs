//! Entry points for the command line: each runs in an async runtime of its own and prints its report to standard output.

use crate::app::demo::DemoError;
use crate::app::demo::dead_letters::Replay;
use crate::app::demo::{dead_letters, embedded, import, replay, shop, trace};
use crate::settings::{Secret, Tls};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// In the data folder while the demo catalogue is imported.
const UNFINISHED_IMPORT: &str = "demo-import.unfinished";

/// Options of an import.
#[derive(Debug, Default)]
pub struct ImportOptions {
    /// A file for the lines that were skipped, and the products that the shop rejected.
    pub report: Option<PathBuf>,
    /// Skipped lines are not an error.
    pub allow_skips: bool,
}

/// Fails if lines of the file were skipped, or the shop rejected a part of it.
pub fn run_import(target: &shop::Shop, file: &Path, options: &ImportOptions) -> Result<(), DemoError> {
    let bytes = read(file)?;
    // opened first: an import whose report cannot be written must not begin
    let create = |path| File::create_new(path).map(|file| (path, file)).map_err(cannot_write(path));
    let details = options.report.as_deref().map(create).transpose()?;
    let report = actix_web::rt::System::new().block_on(import::import(target, &bytes))?;
    print!("{report}");
    if let Some((path, file)) = details {
        report.write_details(file).map_err(|cause| cannot_write(path)(cause.into()))?;
    }
    match (report.rejected.len(), report.skipped.total()) {
        (0, 0) => Ok(()),
        (0, count) if !options.allow_skips => Err(DemoError::LinesSkipped { count }),
        (0, _) => Ok(()),
        (count, _) => Err(DemoError::ProductsRejected { count }),
    }
}

fn cannot_write(path: &Path) -> impl Fn(io::Error) -> DemoError {
    move |cause| DemoError::Write { path: path.into(), cause }
}

/// Fails if the stock audit finds differences or cannot run.
pub fn run_replay(url: &str, user: &str, password: &str, file: &Path, clients: usize) -> Result<(), DemoError> {
    let bytes = read(file)?;
    let target = shop::Shop::new(url, user, password);
    let report = actix_web::rt::System::new().block_on(replay::replay(&target, &bytes, clients))?;
    print!("{report}");
    match &report.audit_error {
        _ if report.ok() => Ok(()),
        Some(cause) => Err(DemoError::AuditFailed { cause: cause.clone() }),
        None => Err(DemoError::StockMismatch { skus: report.differences.len() }),
    }
}

pub fn run_dead_letters(url: &str, user: &str, password: &str, replay: Replay) -> Result<(), DemoError> {
    let target = shop::Shop::new(url, user, password);
    print!("{}", actix_web::rt::System::new().block_on(dead_letters::dead_letters(&target, replay))?);
    Ok(())
}

/// `reference` is an order number or a trace id. Reads the trace from Zipkin if given, else from the shop.
pub fn run_trace(url: &str, user: &str, password: &str, reference: &str, zipkin: Option<&Secret>) -> Result<(), DemoError> {
    let target = shop::Shop::new(url, user, password);
    print!("{}", actix_web::rt::System::new().block_on(trace::trace(&target, reference, zipkin))?);
    Ok(())
}

pub fn run_token(url: &str, user: &str, password: &str) -> Result<(), DemoError> {
    let token = actix_web::rt::System::new().block_on(shop::token(url, user, password))?;
    println!("{token}");
    Ok(())
}

/// Prints the start screen of a shop with demo users. Imports the demo catalogue into an empty shop first, over its HTTP
/// API; goes on with an import that was cut short.
pub async fn welcome(base_url: &str, data_dir: &Path, tls: &Tls, demo_users: &[(String, String)]) {
    let admin = demo_users.iter().find(|(_, roles)| roles.contains("admin"));
    let product = match admin {
        Some((admin, _)) => {
            import_if_empty(&shop::Shop::new(base_url, admin, admin), &data_dir.join(UNFINISHED_IMPORT)).await.unwrap_or_else(|cause| {
                tracing::warn!(%cause, "the demo catalogue was not loaded");
                None
            })
        }
        None => None,
    };
    println!("{}", start_screen(base_url, tls, demo_users, product.as_ref().map(|(sku, stock)| (sku.as_str(), *stock))));
}

/// Returns a SKU in stock and its quantity. The file `unfinished` exists while the import runs.
async fn import_if_empty(shop: &shop::Shop, unfinished: &Path) -> Result<Option<(String, i64)>, DemoError> {
    let mut stock = shop.stock().await?;
    let cut_short = unfinished.exists();
    if stock.is_empty() || cut_short {
        println!("{}: loading the demo catalogue ...", if cut_short { "the first start was cut short" } else { "the shop is empty" });
        std::fs::write(unfinished, "").map_err(cannot_write(unfinished))?;
        let report = import::import(shop, embedded()).await?;
        println!("loaded {} products", report.products_created);
        std::fs::remove_file(unfinished).map_err(cannot_write(unfinished))?;
        stock = shop.stock().await?;
    }
    Ok(stock.into_values().filter(|s| s.quantity > 0).min_by_key(|s| s.id).map(|s| (s.sku_code, s.quantity)))
}

fn read(file: &Path) -> Result<Vec<u8>, DemoError> {
    std::fs::read(file).map_err(|cause| DemoError::Read { path: file.into(), cause })
}

/// Text of the start screen: URLs, demo users, and an order to copy and paste.
///
/// `demo_users` are names with their roles; a demo user's password is the name. `tls` is the client configuration; it
/// becomes options of `curl`.
pub fn start_screen(base_url: &str, tls: &Tls, demo_users: &[(String, String)], product: Option<(&str, i64)>) -> String {
    let base = base_url.trim_end_matches('/');
    let options = [("--cacert", &tls.ca), ("--cert", &tls.cert), ("--key", &tls.key)];
    let options = options.iter().filter_map(|(option, path)| Some(format!(" {option} '{}'", path.as_ref()?.display())));
    let curl = format!("curl -s{}", if base.starts_with("https://") { options.collect() } else { String::new() });
    let mut text = format!(
        "\nTradepost is open.\n\n  shop API    {base}/api/v1/products\n  Swagger UI  {base}/swagger-ui/\n  traces      {base}/console/traces\n  health      {base}/actuator/health\n"
    );
    let users: Vec<_> = demo_users.iter().map(|(name, roles)| format!("{name} ({roles})")).collect();
    // prefer a customer: the example is an order
    let Some((user, _)) = demo_users.iter().find(|(_, roles)| !roles.contains("admin")).or(demo_users.first()) else {
        return text;
    };
    text.push_str(&format!("  demo users  {}; the password is the name\n", users.join(", ")));
    text.push_str(&format!(
        "
Get a token:

  TOKEN=$({curl} {base}{}/protocol/openid-connect/token \\
    -d grant_type=password -d client_id={} -d username={user} -d password={user} \\
    | sed 's/.*\"access_token\" *: *\"\\([^\"]*\\)\".*/\\1/')
",
        shop::REALM,
        shop::CLIENT_ID
    ));
    if let Some((sku, stock)) = product {
        let order = serde_json::json!({ "orderLineItems": [{ "skuCode": sku, "quantity": 1 }] });
        // the shell command has the body in single quotes
        let order = order.to_string().replace('\'', r"'\''");
        text.push_str(&format!(
            "
Order one {sku} ({stock} in stock):

  {curl} {base}/api/v1/orders -H \"Authorization: Bearer $TOKEN\" \\
    -H 'Content-Type: application/json' -d '{order}'
"
        ));
    }
    text
}

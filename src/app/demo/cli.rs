//! What the command line calls: each on a runtime of its own, its report on standard output.

use crate::app::demo::DemoError;
use crate::app::demo::letters;
use crate::app::demo::letters::Again;
use crate::app::demo::{embedded, import, replay, shop, trace};
use crate::settings::{Secret, Tls};
use std::path::Path;

/// Imports a file into the shop at this address; an error where the shop did not take all of it.
pub fn run_import(url: &str, user: &str, password: &str, file: &Path) -> Result<(), DemoError> {
    let bytes = read(file)?;
    let target = shop::Shop::new(url, user, password);
    let report = actix_web::rt::System::new().block_on(import::import(&target, &bytes))?;
    print!("{report}");
    match report.refused.len() {
        0 => Ok(()),
        count => Err(DemoError::Refused { count }),
    }
}

/// Replays a file against the shop at this address; an error where the stock
/// audit finds differences or cannot be done.
pub fn run_replay(url: &str, user: &str, password: &str, file: &Path, clients: usize) -> Result<(), DemoError> {
    let bytes = read(file)?;
    let target = shop::Shop::new(url, user, password);
    let report = actix_web::rt::System::new().block_on(replay::replay(&target, &bytes, clients))?;
    print!("{report}");
    match &report.unaudited {
        _ if report.ok() => Ok(()),
        Some(why) => Err(DemoError::NotAudited { cause: why.clone() }),
        None => Err(DemoError::StockDiffers { skus: report.differences.len() }),
    }
}

/// Lists the dead letters of the shop at this address, or sends some of them again.
pub fn run_letters(url: &str, user: &str, password: &str, again: Again) -> Result<(), DemoError> {
    let target = shop::Shop::new(url, user, password);
    print!("{}", actix_web::rt::System::new().block_on(letters::letters(&target, again))?);
    Ok(())
}

/// Shows what became of an order, or of any trace by its id, in the shop at this address or in its Zipkin.
pub fn run_trace(url: &str, user: &str, password: &str, asked: &str, zipkin: Option<&Secret>) -> Result<(), DemoError> {
    let target = shop::Shop::new(url, user, password);
    print!("{}", actix_web::rt::System::new().block_on(trace::trace(&target, asked, zipkin))?);
    Ok(())
}

/// Prints an access token of a user.
pub fn run_token(url: &str, user: &str, password: &str) -> Result<(), DemoError> {
    let token = actix_web::rt::System::new().block_on(shop::token(url, user, password))?;
    println!("{token}");
    Ok(())
}

/// The start screen of a shop with demo users. A shop that has nothing to sell yet gets the demo
/// catalogue first, over its own HTTP API.
pub async fn welcome(base_url: &str, tls: &Tls, demo_users: &[(String, String)]) {
    let admin = demo_users.iter().find(|(_, roles)| roles.contains("admin"));
    let product = match admin {
        Some((admin, _)) => stock_up(&shop::Shop::new(base_url, admin, admin)).await.unwrap_or_else(|cause| {
            tracing::warn!(%cause, "the demo catalogue was not loaded");
            None
        }),
        None => None,
    };
    println!("{}", greeting(base_url, tls, demo_users, product.as_ref().map(|(sku, stock)| (sku.as_str(), *stock))));
}

/// Something to buy, and how many there are of it.
async fn stock_up(shop: &shop::Shop) -> Result<Option<(String, i64)>, DemoError> {
    let mut stock = shop.stock().await?;
    if stock.is_empty() {
        println!("an empty shop: loading the demo catalogue ...");
        let report = import::import(shop, embedded()).await?;
        println!("loaded {} products", report.products_created);
        stock = shop.stock().await?;
    }
    Ok(stock.into_values().filter(|s| s.quantity > 0).min_by_key(|s| s.id).map(|s| (s.sku_code, s.quantity)))
}

fn read(file: &Path) -> Result<Vec<u8>, DemoError> {
    std::fs::read(file).map_err(|cause| DemoError::Read { path: file.into(), cause })
}

/// What the start screen says: where the shop is, who may log in, and an order to copy and paste.
///
/// `demo_users` are names with their roles; a demo user's password is the name. `tls` is what the shop's own
/// clients trust and show: so does `curl`.
pub fn greeting(base_url: &str, tls: &Tls, demo_users: &[(String, String)], product: Option<(&str, i64)>) -> String {
    let base = base_url.trim_end_matches('/');
    let options = [("--cacert", &tls.ca), ("--cert", &tls.cert), ("--key", &tls.key)];
    let options = options.iter().filter_map(|(option, path)| Some(format!(" {option} '{}'", path.as_ref()?.display())));
    let curl = format!("curl -s{}", if base.starts_with("https://") { options.collect() } else { String::new() });
    let mut text = format!(
        "\nTradepost is open.\n\n  shop API    {base}/api/v1/products\n  Swagger UI  {base}/swagger-ui/\n  traces      {base}/console/traces\n  health      {base}/actuator/health\n"
    );
    let users: Vec<_> = demo_users.iter().map(|(name, roles)| format!("{name} ({roles})")).collect();
    // a customer's order shows more of the shop than an admin's
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
        // the body stands in single quotes for the shell
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

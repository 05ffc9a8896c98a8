//! Makes a file's articles the shop's products, with stock to sell.

use crate::app::demo::report::{Reasons, first_few, progress};
use crate::app::demo::retail;
use crate::app::demo::retail::Product;
use crate::app::demo::shop::{Answer, Call, Shop};
use crate::app::demo::{DemoError, PostError};
use actix_web::http::Method;
use futures_util::stream::{self, StreamExt};
use serde_json::json;
use std::fmt;

/// The problem type of a SKU that another product has.
const SKU_TAKEN: &str = "urn:tradepost:problem:product:sku-taken";
/// Products in flight.
const IN_FLIGHT: usize = 16;

/// What an import did.
#[derive(Debug, Clone, Default)]
pub struct ImportReport {
    /// Lines of the file after its header.
    pub lines: usize,
    /// Lines that could not be used.
    pub skipped: Reasons,
    /// Products whose name or price had to be made up.
    pub made_up: Reasons,
    /// Products that are new in the shop.
    pub products_created: usize,
    /// Products it had; left as they are.
    pub products_there: usize,
    /// Stock rows that are new.
    pub stock_created: usize,
    /// Stock rows it had; left as they are.
    pub stock_there: usize,
    /// What the shop did not take: SKU code and what it said.
    pub refused: Vec<(String, String)>,
}

/// What became of a product or of a stock row.
enum Made {
    New,
    There,
    Refused(String),
}

/// Imports a file in the Online Retail format. It can be repeated: what is there already stays as it is.
///
/// The shop's user must be an admin.
pub async fn import(target: &Shop, file: &[u8]) -> Result<ImportReport, DemoError> {
    let retail = retail::read(file)?;
    // a wrong address or password shows here, once, and not for every product
    target.token().await?;
    let products = &retail.catalogue.products;
    let bar = progress(products.len(), "products");
    let mut report = ImportReport { lines: retail.lines, skipped: retail.skipped, made_up: retail.catalogue.made_up, ..Default::default() };
    let mut outcomes =
        stream::iter(products).map(|product| async move { (product, create(target, product).await) }).buffer_unordered(IN_FLIGHT);
    while let Some((product, outcome)) = outcomes.next().await {
        bar.inc(1);
        let (made, stock) = outcome.map_err(DemoError::Stopped)?;
        report.note(product, made, stock);
    }
    bar.finish_and_clear();
    Ok(report)
}

/// The product first: there is no stock of what the catalogue does not know. Both may be repeated,
/// as a second creation changes nothing and is recognised.
///
/// An error is one that every other product would meet too.
async fn create(target: &Shop, product: &Product) -> Result<(Made, Option<Made>), PostError> {
    let body = json!({ "skuCode": product.sku, "name": product.name, "description": product.name, "price": product.price });
    let there = |answer: &Answer| answer.body.get("type").is_some_and(|kind| kind == SKU_TAKEN);
    let made = post(target, "/api/v1/products", body, there).await?;
    if matches!(made, Made::Refused(_)) {
        return Ok((made, None));
    }
    let body = json!({ "skuCode": product.sku, "quantity": product.stock });
    let stock = post(target, "/api/v1/inventory", body, |answer| answer.status == 409).await?;
    Ok((made, Some(stock)))
}

async fn post(target: &Shop, path: &str, body: serde_json::Value, there: impl Fn(&Answer) -> bool) -> Result<Made, PostError> {
    let answer = target.send_patiently(&Call { method: Method::POST, path: path.into(), body: Some(body), key: None }).await?;
    let (path, said) = (path.to_string(), answer.message());
    match answer.status {
        201 => Ok(Made::New),
        401 | 403 => Err(PostError::Forbidden { path, answer: said }),
        _ if answer.is_transient() => Err(PostError::Busy { path, answer: said }),
        _ if there(&answer) => Ok(Made::There),
        _ => Ok(Made::Refused(format!("POST {path}: {said}"))),
    }
}

impl ImportReport {
    fn note(&mut self, product: &Product, made: Made, stock: Option<Made>) {
        match made {
            Made::New => self.products_created += 1,
            Made::There => self.products_there += 1,
            Made::Refused(why) => self.refused.push((product.sku.clone(), why)),
        }
        match stock {
            Some(Made::New) => self.stock_created += 1,
            Some(Made::There) => self.stock_there += 1,
            Some(Made::Refused(why)) => self.refused.push((product.sku.clone(), why)),
            None => {}
        }
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} lines read, {} skipped", self.lines, self.skipped.total())?;
        write!(f, "{}", self.skipped)?;
        writeln!(f, "products: {} created, {} already there", self.products_created, self.products_there)?;
        write!(f, "{}", self.made_up)?;
        writeln!(f, "stock: {} rows created, {} already there", self.stock_created, self.stock_there)?;
        if !self.refused.is_empty() {
            let shown = first_few(self.refused.iter().map(|(sku, why)| format!("{sku}: {why}")));
            writeln!(f, "refused by the shop: {} ({shown})", self.refused.len())?;
        }
        Ok(())
    }
}

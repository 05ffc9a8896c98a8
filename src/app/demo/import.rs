//! Imports a file's articles into a running shop as products and stock.

use crate::app::demo::report::{Reasons, first_few, progress};
use crate::app::demo::retail;
use crate::app::demo::retail::Product;
use crate::app::demo::shop::{Request, Response, Shop};
use crate::app::demo::text::Format;
use crate::app::demo::{DemoError, PostError};
use actix_web::http::Method;
use futures_util::stream::{self, StreamExt};
use serde_json::json;
use std::{fmt, io};

const SKU_TAKEN: &str = "urn:tradepost:problem:product:sku-taken";
const MAX_PRODUCTS_IN_FLIGHT: usize = 16;

#[derive(Debug, Clone, Default)]
pub struct ImportReport {
    pub format: Format,
    /// Lines of the file, without the header.
    pub lines: usize,
    pub skipped: Reasons,
    /// Products with a substitute for a missing name or price.
    pub substituted: Reasons,
    pub products_created: usize,
    /// Left unchanged.
    pub products_existing: usize,
    pub stock_created: usize,
    /// Left unchanged.
    pub stock_existing: usize,
    /// SKU code and error message.
    pub rejected: Vec<(String, String)>,
}

/// Result of creating a product or a stock row.
enum CreateOutcome {
    Created,
    Exists,
    Rejected(String),
}

/// Imports a file in the Online Retail format. Repeatable: existing products and stock rows stay unchanged.
///
/// The shop's user must be an admin.
pub async fn import(target: &Shop, file: &[u8]) -> Result<ImportReport, DemoError> {
    let retail = retail::read(file)?;
    // fails once for a wrong address or password, instead of once per product
    target.token().await?;
    let products = &retail.catalogue.products;
    let bar = progress(products.len(), "products");
    let mut report = ImportReport {
        format: retail.format,
        lines: retail.lines,
        skipped: retail.skipped,
        substituted: retail.catalogue.substituted,
        ..Default::default()
    };
    let mut outcomes = stream::iter(products)
        .map(|product| async move { (product, create(target, product).await) })
        .buffer_unordered(MAX_PRODUCTS_IN_FLIGHT);
    while let Some((product, outcome)) = outcomes.next().await {
        bar.inc(1);
        let (product_outcome, stock_outcome) = outcome.map_err(DemoError::Stopped)?;
        report.add(product, product_outcome, stock_outcome);
    }
    bar.finish_and_clear();
    Ok(report)
}

/// Creates the product first: stock requires a product. Both requests may be retried: a second creation changes nothing
/// and its error is recognised.
///
/// An error means that every other product would fail as well.
async fn create(target: &Shop, product: &Product) -> Result<(CreateOutcome, Option<CreateOutcome>), PostError> {
    let body = json!({ "skuCode": product.sku, "name": product.name, "description": product.name, "price": product.price });
    let exists = |response: &Response| response.body.get("type").is_some_and(|kind| kind == SKU_TAKEN);
    let outcome = post(target, "/api/v1/products", body, exists).await?;
    if matches!(outcome, CreateOutcome::Rejected(_)) {
        return Ok((outcome, None));
    }
    let body = json!({ "skuCode": product.sku, "quantity": product.stock });
    let stock = post(target, "/api/v1/inventory", body, |response| response.status == 409).await?;
    Ok((outcome, Some(stock)))
}

async fn post(target: &Shop, path: &str, body: serde_json::Value, exists: impl Fn(&Response) -> bool) -> Result<CreateOutcome, PostError> {
    let request = Request { method: Method::POST, path: path.into(), body: Some(body), key: None };
    let response = target.send_with_retries(&request).await?;
    let (path, message) = (path.to_string(), response.message());
    match response.status {
        201 => Ok(CreateOutcome::Created),
        401 | 403 => Err(PostError::Forbidden { path, response: message }),
        _ if response.is_transient() => Err(PostError::Busy { path, response: message }),
        _ if exists(&response) => Ok(CreateOutcome::Exists),
        _ => Ok(CreateOutcome::Rejected(format!("POST {path}: {message}"))),
    }
}

impl ImportReport {
    fn add(&mut self, product: &Product, product_outcome: CreateOutcome, stock_outcome: Option<CreateOutcome>) {
        match product_outcome {
            CreateOutcome::Created => self.products_created += 1,
            CreateOutcome::Exists => self.products_existing += 1,
            CreateOutcome::Rejected(message) => self.rejected.push((product.sku.clone(), message)),
        }
        match stock_outcome {
            Some(CreateOutcome::Created) => self.stock_created += 1,
            Some(CreateOutcome::Exists) => self.stock_existing += 1,
            Some(CreateOutcome::Rejected(message)) => self.rejected.push((product.sku.clone(), message)),
            None => {}
        }
    }

    /// Writes each skipped line, each substituted value and each rejected product as CSV.
    pub fn write_details(&self, to: impl io::Write) -> csv::Result<()> {
        let mut writer = csv::Writer::from_writer(to);
        writer.write_record(["line", "sku", "outcome", "reason"])?;
        for (outcome, reasons) in [("skipped", &self.skipped), ("substituted", &self.substituted)] {
            for (line, reason) in reasons.by_line() {
                writer.write_record([line.to_string().as_str(), "", outcome, reason])?;
            }
        }
        for (sku, message) in &self.rejected {
            writer.write_record(["", sku, "rejected", message])?;
        }
        Ok(writer.flush()?)
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.format != Format::default() {
            writeln!(f, "read as {}", self.format)?;
        }
        writeln!(f, "{} lines read, {} skipped", self.lines, self.skipped.total())?;
        write!(f, "{}", self.skipped)?;
        writeln!(f, "products: {} created, {} already existed", self.products_created, self.products_existing)?;
        write!(f, "{}", self.substituted)?;
        writeln!(f, "stock: {} rows created, {} already existed", self.stock_created, self.stock_existing)?;
        if !self.rejected.is_empty() {
            let messages = first_few(self.rejected.iter().map(|(sku, message)| format!("{sku}: {message}")));
            writeln!(f, "rejected by the shop: {} ({messages})", self.rejected.len())?;
        }
        Ok(())
    }
}

//! Reads the *Online Retail* format: a line is one article on one invoice.
//!
//! Irregularities of such files, and their handling:
//! - UTF-8, UTF-16 and Windows-1252; separated by comma, semicolon, tab or `|`; lines end with LF, CRLF or CR ([`text`]).
//! - A stray quote invalidates only its own line. An unusable line is reported with its number and reason. Blank lines
//!   are ignored.
//! - Columns are found by header name, in any order; further columns are ignored.
//! - A stock code is trimmed and otherwise exact, as everywhere in the shop: `85014b` and `85014B` are two products.
//!   Postage, carriage and discounts (`POST`, `DOT`, `C2`, `M`, `D`, `BANK CHARGES`) are sold as articles, so they are
//!   products too.
//! - Descriptions and prices differ from line to line; the most frequent one is used, the earliest on a tie. Empty
//!   descriptions and prices of zero do not count.
//! - A negative quantity outside of a cancellation, or a price of zero on a line without a customer, is not a sale but a
//!   stock correction of the retailer: an adjustment.

use crate::app::demo::report::Reasons;
use crate::app::demo::text;
use crate::app::demo::text::{Format, RecordError, TextError};
use crate::kernel::money::{Money, MoneyError};
use crate::kernel::sku;
use crate::kernel::sku::SkuError;
use std::collections::HashMap;

/// The shop's limit.
const MAX_QUANTITY: i64 = 2_147_483_647;
/// In characters; the shop's limit.
const MAX_NAME_LEN: usize = 255;
/// Characters of an unknown header in the error.
const MAX_HEADER_LEN: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sold,
    /// A line of a `C...` invoice.
    Returned,
    /// The retailer corrected the stock, up or down.
    Adjusted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Line number in the file; the header is line 1.
    pub number: usize,
    pub sku: String,
    /// Pieces: positive if sold or returned, signed if adjusted.
    pub quantity: i64,
    pub kind: Kind,
}

/// The lines of one invoice number, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// `536365`, or `C536379` for a cancellation.
    pub number: String,
    /// From the first line that has one.
    pub customer: Option<String>,
    /// Lines with the same code are not merged.
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub sku: String,
    /// Most frequent description, else the code.
    pub name: String,
    /// Most frequent price above zero, else 0.00; with at least two decimals.
    pub price: Money,
    /// Initial stock with which the file can be replayed in any order: all pieces sold plus all pieces written off. Returns
    /// only add to it.
    pub stock: i64,
}

/// One product per stock code, in order of first appearance.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    pub products: Vec<Product>,
    /// Codes with a substitute for a missing name or price, by the line of first appearance.
    pub substituted: Reasons,
}

#[derive(Debug, Clone, Default)]
pub struct Retail {
    pub format: Format,
    /// Usable and skipped records, without header and blank lines.
    pub lines: usize,
    pub catalogue: Catalogue,
    /// In order of first appearance.
    pub invoices: Vec<Invoice>,
    pub skipped: Reasons,
}

struct Columns {
    count: usize,
    invoice: usize,
    code: usize,
    description: usize,
    quantity: usize,
    price: usize,
    customer: usize,
}

struct ParsedLine {
    invoice: String,
    customer: Option<String>,
    description: String,
    price: Money,
    line: Line,
}

/// Name and price candidates of one code, with their frequency.
struct Candidates {
    /// Line of first appearance.
    line: usize,
    names: Vec<(String, usize)>,
    prices: Vec<(Money, usize)>,
    stock: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("the file is empty: expected a header with InvoiceNo, StockCode and so on")]
    Empty,
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Header(#[from] RecordError),
    #[error("no column {name}: expected the header of Online Retail, InvoiceNo,StockCode,Description,Quantity,...; found {found}")]
    NoColumn { name: &'static str, found: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("expected {expected} fields, found {found}")]
    Fields { expected: usize, found: usize },
    #[error("no invoice number")]
    NoInvoice,
    #[error("no stock code: {0}")]
    Sku(SkuError),
    #[error("quantity is not a whole number up to {MAX_QUANTITY}")]
    Quantity,
    #[error("quantity is zero")]
    QuantityZero,
    #[error("a cancellation with a quantity above zero")]
    Cancellation,
    #[error("unit price: {0}")]
    Price(MoneyError),
    #[error("unit price is negative")]
    PriceNegative,
}

/// Fails only if the file has another format; unusable lines are skipped.
pub fn read(file: &[u8]) -> Result<Retail, FileError> {
    let (text, encoding) = text::decode(file)?;
    let lines = text::lines(&text);
    let ((_, header), lines) = lines.split_first().ok_or(FileError::Empty)?;
    let (header, delimiter) = text::header(header)?;
    let columns = find_columns(&header)?;
    let mut retail = Retail { format: Format { encoding, delimiter: delimiter.into() }, ..Retail::default() };
    let mut index_by_invoice = HashMap::new();
    let mut index_by_code = HashMap::new();
    let mut candidates = Vec::new();
    for (number, record) in text::records(lines, delimiter, columns.count) {
        retail.lines += 1;
        match record.map_err(LineError::from).and_then(|fields| parse_line(&columns, &fields, number, retail.format.delimiter)) {
            Err(reason) => retail.skipped.add(reason.to_string(), number),
            Ok(parsed) => {
                count_candidates(&mut index_by_code, &mut candidates, &parsed);
                add_to_invoice(&mut index_by_invoice, &mut retail.invoices, parsed);
            }
        }
    }
    retail.catalogue = build_catalogue(candidates);
    Ok(retail)
}

/// By the names of the file's first or second edition.
fn find_columns(header: &csv::StringRecord) -> Result<Columns, FileError> {
    let find = |names: &[&'static str]| {
        let named = |field: &str| names.iter().any(|name| field.eq_ignore_ascii_case(name));
        let found = || header.iter().collect::<Vec<_>>().join(", ").chars().take(MAX_HEADER_LEN).collect();
        header
            .iter()
            .position(named)
            .ok_or_else(|| FileError::NoColumn { name: names.first().copied().unwrap_or_default(), found: found() })
    };
    Ok(Columns {
        count: header.len(),
        invoice: find(&["InvoiceNo", "Invoice"])?,
        code: find(&["StockCode"])?,
        description: find(&["Description"])?,
        quantity: find(&["Quantity"])?,
        price: find(&["UnitPrice", "Price"])?,
        customer: find(&["CustomerID", "Customer ID"])?,
    })
}

fn parse_line(columns: &Columns, fields: &csv::StringRecord, number: usize, delimiter: char) -> Result<ParsedLine, LineError> {
    if fields.len() != columns.count {
        return Err(LineError::Fields { expected: columns.count, found: fields.len() });
    }
    let field = |column: usize| fields.get(column).unwrap_or_default();
    let invoice = field(columns.invoice).to_string();
    if invoice.is_empty() {
        return Err(LineError::NoInvoice);
    }
    let sku = sku::parse(field(columns.code)).map_err(LineError::Sku)?;
    let quantity: Option<i64> = field(columns.quantity).parse().ok().filter(|n| (-MAX_QUANTITY..=MAX_QUANTITY).contains(n));
    let quantity = quantity.ok_or(LineError::Quantity)?;
    let price = parse_price(field(columns.price), delimiter)?;
    let customer = Some(field(columns.customer)).filter(|id| !id.is_empty()).map(str::to_string);
    let unpaid = price == Money::ZERO && customer.is_none();
    let (kind, quantity) = match (is_cancellation(&invoice), quantity) {
        (_, 0) => return Err(LineError::QuantityZero),
        (true, 1..) => return Err(LineError::Cancellation),
        (true, _) => (Kind::Returned, -quantity),
        (false, 1..) if !unpaid => (Kind::Sold, quantity),
        (false, _) => (Kind::Adjusted, quantity),
    };
    // a description in quotes may have several lines, a product's name has one
    let description = field(columns.description).replace("\r\n", " ").replace(['\r', '\n'], " ");
    Ok(ParsedLine { invoice, customer, description, price, line: Line { number, sku, quantity, kind } })
}

/// A file that is not separated by commas may have decimal commas. Before three digits a comma may separate thousands, so
/// it is not accepted there.
fn parse_price(text: &str, delimiter: char) -> Result<Money, LineError> {
    let has_decimal_comma = delimiter != ',' && text.rsplit_once(',').is_some_and(|(_, decimals)| (1..=2).contains(&decimals.len()));
    let price: Money = if has_decimal_comma { text.replace(',', ".").parse() } else { text.parse() }.map_err(LineError::Price)?;
    if price.is_negative() { Err(LineError::PriceNegative) } else { Ok(price) }
}

fn is_cancellation(invoice: &str) -> bool {
    invoice.starts_with(['C', 'c'])
}

fn count_candidates(index_by_code: &mut HashMap<String, usize>, candidates: &mut Vec<(String, Candidates)>, parsed: &ParsedLine) {
    let index = *index_by_code.entry(parsed.line.sku.clone()).or_insert(candidates.len());
    if index == candidates.len() {
        let first = Candidates { line: parsed.line.number, names: Vec::new(), prices: Vec::new(), stock: 0 };
        candidates.push((parsed.line.sku.clone(), first));
    }
    let Some((_, code)) = candidates.get_mut(index) else { return };
    if !parsed.description.is_empty() {
        count(&mut code.names, parsed.description.clone());
    }
    if parsed.price != Money::ZERO {
        count(&mut code.prices, parsed.price);
    }
    code.stock += match parsed.line.kind {
        Kind::Sold => parsed.line.quantity,
        Kind::Adjusted => (-parsed.line.quantity).max(0),
        Kind::Returned => 0,
    };
}

fn count<T: PartialEq>(counts: &mut Vec<(T, usize)>, value: T) {
    match counts.iter_mut().find(|(counted, _)| *counted == value) {
        Some((_, times)) => *times += 1,
        None => counts.push((value, 1)),
    }
}

/// Reversed, because `max_by_key` returns the last maximum and the earliest must win a tie.
fn most_frequent<T>(counts: Vec<(T, usize)>) -> Option<T> {
    counts.into_iter().rev().max_by_key(|(_, times)| *times).map(|(value, _)| value)
}

fn add_to_invoice(index_by_invoice: &mut HashMap<String, usize>, invoices: &mut Vec<Invoice>, parsed: ParsedLine) {
    let index = *index_by_invoice.entry(parsed.invoice.clone()).or_insert(invoices.len());
    match invoices.get_mut(index) {
        None => invoices.push(Invoice { number: parsed.invoice, customer: parsed.customer, lines: vec![parsed.line] }),
        Some(invoice) => {
            invoice.customer = invoice.customer.take().or(parsed.customer);
            invoice.lines.push(parsed.line);
        }
    }
}

fn build_catalogue(candidates: Vec<(String, Candidates)>) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for (sku, code) in candidates {
        let name = most_frequent(code.names).unwrap_or_else(|| {
            catalogue.substituted.add("no description: the code is the name", code.line);
            sku.clone()
        });
        let price = most_frequent(code.prices).unwrap_or_else(|| {
            catalogue.substituted.add("no price above zero: the price is 0.00", code.line);
            Money::ZERO
        });
        let price = with_cents(price);
        if name.chars().count() > MAX_NAME_LEN {
            catalogue.substituted.add(format!("the description has more than {MAX_NAME_LEN} characters: the name is cut"), code.line);
        }
        catalogue.products.push(Product { name: name.chars().take(MAX_NAME_LEN).collect(), sku, price, stock: code.stock });
    }
    catalogue
}

/// Pads to two decimals: `8.5` becomes `8.50`. The value stays equal.
fn with_cents(price: Money) -> Money {
    let text = price.to_string();
    let padding = match text.split_once('.').map_or(0, |(_, decimals)| decimals.len()) {
        0 => ".00",
        1 => "0",
        _ => "",
    };
    format!("{text}{padding}").parse().unwrap_or(price)
}

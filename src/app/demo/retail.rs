//! Reads the *Online Retail* format: a line is one article on one invoice.
//!
//! What is odd in such files, and what becomes of it:
//! - Each line is parsed alone, so a stray quote spoils its own line and no other. A line that
//!   cannot be used is reported with its number and reason. Blank lines are no lines.
//! - Columns are found by header name, in any order; further columns do not matter.
//! - A stock code is trimmed and otherwise exact, as everywhere in the shop: `85014b` and `85014B`
//!   are two products. Postage, carriage, discounts (`POST`, `DOT`, `C2`, `M`, `D`, `BANK CHARGES`)
//!   were sold as articles, so they are products too.
//! - Descriptions and prices differ from line to line; the most frequent one wins, the earlier on a
//!   tie. A description of spaces, or a price of zero, does not count.
//! - A quantity below zero outside a cancellation, or a price of zero on a line that names no
//!   customer, is no sale: the retailer corrected the stock. It is adjusted.

use crate::app::demo::report::Reasons;
use crate::kernel::money::{Money, MoneyError};
use crate::kernel::sku;
use crate::kernel::sku::SkuError;
use std::collections::HashMap;

/// The shop's largest quantity.
const MAX_QUANTITY: i64 = 2_147_483_647;
/// The shop's longest product name.
const MAX_NAME: usize = 255;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody bought something.
    Sold,
    /// Somebody gave something back: a line of a `C...` invoice.
    GivenBack,
    /// The retailer corrected the stock, up or down.
    Adjusted,
}

/// A usable line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it stands in the file; the header is line 1.
    pub number: usize,
    /// The stock code.
    pub sku: String,
    /// Pieces: above zero when sold or given back, the signed change when adjusted.
    pub quantity: i64,
    /// What it is.
    pub kind: Kind,
}

/// The lines of one invoice number, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// `536365`, or `C536379` for a cancellation.
    pub number: String,
    /// Who; the first line that says so decides.
    pub customer: Option<String>,
    /// Repeated codes stay separate lines.
    pub lines: Vec<Line>,
}

/// A product, as the file's lines together describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// The stock code.
    pub sku: String,
    /// Most frequent description, else the code.
    pub name: String,
    /// Most frequent price above zero, else 0.00; with two decimals at least.
    pub price: Money,
    /// What to receive so that the whole file can be played in any order: all that its invoices
    /// sell and all that its adjustments write off. What comes back comes on top.
    pub stock: i64,
}

/// One product a stock code, in the order they first appear.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// The products.
    pub products: Vec<Product>,
    /// Codes whose name or price had to be made up, by the line they first appear on.
    pub made_up: Reasons,
}

/// A file, read.
#[derive(Debug, Clone, Default)]
pub struct Retail {
    /// Lines after the header, without blank ones: usable and skipped.
    pub lines: usize,
    /// What it sells.
    pub catalogue: Catalogue,
    /// In the order they first appear.
    pub invoices: Vec<Invoice>,
    /// Lines that could not be used.
    pub skipped: Reasons,
}

/// Where the columns are.
struct Columns {
    count: usize,
    invoice: usize,
    code: usize,
    description: usize,
    quantity: usize,
    price: usize,
    customer: usize,
}

/// A line's fields, checked.
struct Row {
    invoice: String,
    customer: Option<String>,
    description: String,
    price: Money,
    line: Line,
}

/// What the lines say about one code: name and price candidates with how often each was seen.
struct Seen {
    line: usize,
    names: Vec<(String, usize)>,
    prices: Vec<(Money, usize)>,
    stock: i64,
}

/// Why a file is not in this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No line.
    #[error("the file is empty: expected a header with InvoiceNo, StockCode and so on")]
    Empty,
    /// A header that cannot be read.
    #[error(transparent)]
    Header(#[from] LineError),
    /// A header without this column.
    #[error("no column {0}: expected the header of Online Retail, InvoiceNo,StockCode,Description,Quantity,...")]
    NoColumn(&'static str),
}

/// Why a line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is no text.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// It is no CSV; the text is the reader's.
    #[error("not readable: {0}")]
    Csv(String),
    /// Too many fields, or too few.
    #[error("expected {expected} fields, found {found}")]
    Fields {
        /// As many as the header has.
        expected: usize,
        /// As many as the line has.
        found: usize,
    },
    /// No invoice.
    #[error("no invoice number")]
    NoInvoice,
    /// No product.
    #[error("no stock code: {0}")]
    Sku(SkuError),
    /// A quantity that the shop does not take.
    #[error("quantity is no whole number up to {MAX_QUANTITY}")]
    Quantity,
    /// A quantity that does nothing.
    #[error("quantity is zero")]
    QuantityZero,
    /// A purchase in a cancellation.
    #[error("a cancellation with a quantity above zero")]
    Cancellation,
    /// A price that is none.
    #[error("unit price: {0}")]
    Price(MoneyError),
    /// A price that the shop does not take.
    #[error("unit price is negative")]
    PriceNegative,
}

/// Reads a whole file. Only one that is not in this format at all is refused.
pub fn read(file: &[u8]) -> Result<Retail, FileError> {
    let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    let mut lines = (1..).zip(file.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty());
    let (_, header) = lines.next().ok_or(FileError::Empty)?;
    let columns = columns(&split(header)?)?;
    let mut retail = Retail::default();
    let mut invoices = HashMap::new();
    let mut codes = HashMap::new();
    let mut seen = Vec::new();
    for (number, line) in lines {
        retail.lines += 1;
        match split(line).and_then(|fields| row(&columns, &fields, number)) {
            Err(reason) => retail.skipped.add(reason.to_string(), number),
            Ok(row) => {
                note(&mut codes, &mut seen, &row);
                file_under(&mut invoices, &mut retail.invoices, row);
            }
        }
    }
    retail.catalogue = catalogue(seen);
    Ok(retail)
}

fn split(line: &[u8]) -> Result<csv::StringRecord, LineError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
    // a line feed ends a record, nothing else does: a lone carriage return must not cut a line short
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .terminator(csv::Terminator::Any(b'\n'))
        .buffer_capacity(512)
        .from_reader(text.as_bytes());
    let mut fields = csv::StringRecord::new();
    reader.read_record(&mut fields).map_err(|cause| LineError::Csv(cause.to_string()))?;
    fields.trim();
    Ok(fields)
}

fn columns(header: &csv::StringRecord) -> Result<Columns, FileError> {
    let find = |name| header.iter().position(|field| field.eq_ignore_ascii_case(name)).ok_or(FileError::NoColumn(name));
    Ok(Columns {
        count: header.len(),
        invoice: find("InvoiceNo")?,
        code: find("StockCode")?,
        description: find("Description")?,
        quantity: find("Quantity")?,
        price: find("UnitPrice")?,
        customer: find("CustomerID")?,
    })
}

fn row(columns: &Columns, fields: &csv::StringRecord, number: usize) -> Result<Row, LineError> {
    if fields.len() != columns.count {
        return Err(LineError::Fields { expected: columns.count, found: fields.len() });
    }
    let field = |column: usize| fields.get(column).unwrap_or_default();
    let invoice = field(columns.invoice).to_string();
    if invoice.is_empty() {
        return Err(LineError::NoInvoice);
    }
    let sku = sku::check(field(columns.code)).map_err(LineError::Sku)?;
    let quantity: Option<i64> = field(columns.quantity).parse().ok().filter(|n| (-MAX_QUANTITY..=MAX_QUANTITY).contains(n));
    let quantity = quantity.ok_or(LineError::Quantity)?;
    let price: Money = field(columns.price).parse().map_err(LineError::Price)?;
    if price.is_negative() {
        return Err(LineError::PriceNegative);
    }
    let customer = Some(field(columns.customer)).filter(|id| !id.is_empty()).map(str::to_string);
    let unpaid = price == Money::ZERO && customer.is_none();
    let (kind, quantity) = match (is_cancellation(&invoice), quantity) {
        (_, 0) => return Err(LineError::QuantityZero),
        (true, 1..) => return Err(LineError::Cancellation),
        (true, _) => (Kind::GivenBack, -quantity),
        (false, 1..) if !unpaid => (Kind::Sold, quantity),
        (false, _) => (Kind::Adjusted, quantity),
    };
    let description = field(columns.description).to_string();
    Ok(Row { invoice, customer, description, price, line: Line { number, sku, quantity, kind } })
}

fn is_cancellation(invoice: &str) -> bool {
    invoice.starts_with(['C', 'c'])
}

/// Counts what this line says about its code.
fn note(codes: &mut HashMap<String, usize>, seen: &mut Vec<(String, Seen)>, row: &Row) {
    let index = *codes.entry(row.line.sku.clone()).or_insert(seen.len());
    if index == seen.len() {
        let first = Seen { line: row.line.number, names: Vec::new(), prices: Vec::new(), stock: 0 };
        seen.push((row.line.sku.clone(), first));
    }
    let Some((_, code)) = seen.get_mut(index) else { return };
    if !row.description.is_empty() {
        count(&mut code.names, row.description.clone());
    }
    if row.price != Money::ZERO {
        count(&mut code.prices, row.price);
    }
    code.stock += match row.line.kind {
        Kind::Sold => row.line.quantity,
        Kind::Adjusted => (-row.line.quantity).max(0),
        Kind::GivenBack => 0,
    };
}

fn count<T: PartialEq>(counts: &mut Vec<(T, usize)>, value: T) {
    match counts.iter_mut().find(|(known, _)| *known == value) {
        Some((_, times)) => *times += 1,
        None => counts.push((value, 1)),
    }
}

/// The most frequent; the earlier on a tie, which `max_by_key` alone would not give.
fn most_frequent<T>(counts: Vec<(T, usize)>) -> Option<T> {
    counts.into_iter().rev().max_by_key(|(_, times)| *times).map(|(value, _)| value)
}

fn file_under(index: &mut HashMap<String, usize>, invoices: &mut Vec<Invoice>, row: Row) {
    let at = *index.entry(row.invoice.clone()).or_insert(invoices.len());
    match invoices.get_mut(at) {
        None => invoices.push(Invoice { number: row.invoice, customer: row.customer, lines: vec![row.line] }),
        Some(invoice) => {
            invoice.customer = invoice.customer.take().or(row.customer);
            invoice.lines.push(row.line);
        }
    }
}

fn catalogue(seen: Vec<(String, Seen)>) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for (sku, code) in seen {
        let name = most_frequent(code.names).unwrap_or_else(|| {
            catalogue.made_up.add("no description: the code is its name", code.line);
            sku.clone()
        });
        let price = most_frequent(code.prices).unwrap_or_else(|| {
            catalogue.made_up.add("no price above zero: it costs 0.00", code.line);
            Money::ZERO
        });
        let price = with_cents(price);
        catalogue.products.push(Product { name: name.chars().take(MAX_NAME).collect(), sku, price, stock: code.stock });
    }
    catalogue
}

/// `8.5` becomes `8.50`, as prices are written; no value changes.
fn with_cents(price: Money) -> Money {
    let text = price.to_string();
    let padding = match text.split_once('.').map_or(0, |(_, decimals)| decimals.len()) {
        0 => ".00",
        1 => "0",
        _ => "",
    };
    format!("{text}{padding}").parse().unwrap_or(price)
}

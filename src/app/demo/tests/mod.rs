//! The demo's tests: files by hand and the real one, and a small shop in memory to play against.

mod fake;
mod files;
mod playing;

/// A file with the usual header.
fn file(lines: &[&str]) -> Vec<u8> {
    let header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
    [&[header], lines].concat().join("\n").into_bytes()
}

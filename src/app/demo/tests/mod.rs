//! Tests of the demo: hand-written files and the embedded one, and a fake shop in memory.

mod fake_shop;
mod http;
mod parsing;

fn csv(lines: &[&str]) -> Vec<u8> {
    let header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
    [&[header], lines].concat().join("\n").into_bytes()
}

//! Parsing and planning: the outcome of each line of a file.

use super::csv;
use crate::app::demo::embedded;
use crate::app::demo::plan::{Plan, Step, plan};
use crate::app::demo::retail::{Invoice, Kind, Product, Retail, read};

fn line(invoice: &str, sku: &str, quantity: &str, price: &str, customer: &str) -> String {
    format!("{invoice},{sku},THING,{quantity},2010-12-01T08:26:00,{price},{customer},United Kingdom")
}

fn product<'a>(retail: &'a Retail, sku: &str) -> &'a Product {
    retail.catalogue.products.iter().find(|product| product.sku == sku).unwrap()
}

/// Line numbers by outcome: ordered, cancelled, returned, adjusted, skipped.
fn outcomes(plan: &Plan<'_>) -> [Vec<usize>; 5] {
    let mut outcomes: [Vec<usize>; 5] = Default::default();
    for step in plan.chains.iter().flatten() {
        let outcome = match step {
            Step::Order { .. } => 0,
            Step::Cancel { .. } => 1,
            Step::Return { .. } => 2,
            Step::Adjust(_) => 3,
        };
        outcomes[outcome].extend(step.lines().iter().map(|line| line.number));
    }
    outcomes[4].extend(plan.skipped.lines());
    outcomes.iter_mut().for_each(|lines| lines.sort_unstable());
    outcomes
}

fn assert_every_line_once(retail: &Retail, plan: &Plan<'_>, expected: impl IntoIterator<Item = usize>) {
    let mut all: Vec<_> = outcomes(plan).concat();
    all.sort_unstable();
    assert_eq!(all.len(), retail.lines);
    assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn read_embedded_file_parses_every_line() {
    let retail = read(embedded()).unwrap();
    assert_eq!((retail.lines, retail.invoices.len(), retail.catalogue.products.len()), (6349, 332, 1749));
    assert_eq!(retail.skipped.total(), 0);
    assert_eq!(retail.catalogue.substituted.of("no description: the code is the name"), [1972, 1973, 1974, 1989, 1990, 2026, 2027, 2028]);
    assert_eq!(retail.catalogue.substituted.of("no price above zero: the price is 0.00"), [1972, 1973, 1974, 1989, 1990, 2026, 2027, 2028]);
    let of_kind = |kind| retail.invoices.iter().flat_map(|i| &i.lines).filter(|line| line.kind == kind).count();
    assert_eq!([Kind::Sold, Kind::Returned, Kind::Adjusted].map(of_kind), [6257, 80, 12]);
    // 62,550 pieces sold, 48 written off
    assert_eq!(retail.catalogue.products.iter().map(|product| product.stock).sum::<i64>(), 62_598);
    let holder = product(&retail, "85123A");
    assert_eq!((holder.name.as_str(), holder.price.to_string()), ("WHITE HANGING HEART T-LIGHT HOLDER", "2.55".into()));
    assert_eq!(product(&retail, "22632").name, "HAND WARMER RED RETROSPOT");
    assert_eq!(product(&retail, "POST").name, "POSTAGE");
    // another case is another product
    assert_eq!(["85014B", "85014b"].map(|sku| product(&retail, sku).sku.as_str()), ["85014B", "85014b"]);
    // 8.5 and 18 in the file become 8.50 and 18.00
    assert!(retail.catalogue.products.iter().all(|product| product.price.to_string().split_once('.').unwrap().1.len() == 2));
}

#[test]
fn plan_embedded_file_assigns_each_line_one_outcome() {
    let retail = read(embedded()).unwrap();
    let plan = plan(&retail);
    assert_every_line_once(&retail, &plan, 2..=6350);
    let [ordered, cancelled, returned, adjusted, skipped] = outcomes(&plan);
    assert_eq!((ordered.len(), cancelled.len(), skipped.len()), (6257, 0, 75));
    assert_eq!(returned, [941, 3921, 4290, 4941, 4942]);
    assert_eq!(adjusted, [624, 1972, 1973, 1974, 1989, 1990, 2026, 2027, 2028, 2408, 4349, 4350]);
    assert_eq!(plan.skipped.of("unmatched cancellation: its customer did not buy that earlier in the file").len(), 75);
    let orders: Vec<_> = plan.chains.iter().flatten().filter(|step| matches!(step, Step::Order { .. })).collect();
    assert_eq!(orders.len(), 287);
}

#[test]
fn read_file_with_malformed_lines_skips_them_with_reasons() {
    let mut bytes = b"\xEF\xBB\xBFCountry,UNITPRICE,Quantity, StockCode ,Description,InvoiceNo,CustomerID,Note\r\n".to_vec();
    bytes.extend(b"UK,2.5,6, A1 ,\" RED, \"\"BIG\"\"  \",1,7,\r\n"); // 2: quotes, spaces
    bytes.extend(b"\r\n"); // 3: blank
    bytes.extend("UK,3,1,A1,blue,1,7,é\r\n".as_bytes()); // 4: repeated in its invoice; its note is UTF-8
    bytes.extend(b"UK,3,2,A1,blue,2,8,x\n"); // 5: now the most frequent
    bytes.extend(b"UK,3,1,B\xA3,pound,2,8,x\n"); // 6: not UTF-8
    bytes.extend(b"UK,3,1,B2,short\n"); // 7: fields missing
    bytes.extend(b"UK,3,1,B2,\"stray,2,8,x\n"); // 8: an open quote swallows its line only
    bytes.extend(b"UK,3,1,,no code,2,8,x\n"); // 9
    bytes.extend(b"UK,3,1.5,B2,half,2,8,x\n"); // 10
    bytes.extend(b"UK,3,0,B2,none,2,8,x\n"); // 11
    bytes.extend(b"UK,\"1,5\",1,B2,comma,2,8,x\n"); // 12
    bytes.extend(b"UK,-11062.06,1,B,Adjust bad debt,A3,,x\n"); // 13
    bytes.extend(b"UK,3,1,B2,odd,C4,8,x\n"); // 14
    bytes.extend(b"UK,3,1,B2,no invoice,,8,x\n"); // 15
    bytes.extend(b"UK,3,9999999999,B2,many,2,8,x\n"); // 16
    bytes.extend(b"UK,0,1,G1,gift,2,8,x\n"); // 17: a gift to a customer is sold
    bytes.extend(b"UK,0,5,F1,,5,,x\n"); // 18: no customer: a stock correction
    bytes.extend(b"UK,0,-2,A1,damaged,6,,x\n"); // 19: written off
    bytes.extend(b"UK,3,1,a1,lower,2,8,x"); // 20: another product; no line feed at the end
    let retail = read(&bytes).unwrap();

    assert_eq!(retail.lines, 18);
    for (reason, line) in [
        ("not valid UTF-8", 6),
        ("no stock code: expected 1 to 64 characters without control characters", 9),
        ("quantity is zero", 11),
        ("unit price: expected an amount such as 10.00, with at most 4 decimals", 12),
        ("unit price is negative", 13),
        ("a cancellation with a quantity above zero", 14),
        ("no invoice number", 15),
    ] {
        assert_eq!(retail.skipped.of(reason), [line], "{reason}");
    }
    assert_eq!(retail.skipped.of("quantity is not a whole number up to 2147483647"), [10, 16]);
    assert_eq!(retail.skipped.of("expected 8 fields, found 5"), [7, 8]);
    assert_eq!(retail.skipped.total(), 11);

    let skus: Vec<_> = retail.catalogue.products.iter().map(|p| (p.sku.as_str(), p.name.as_str(), p.price.to_string(), p.stock)).collect();
    let expected = [("A1", "blue", "3.00", 11), ("G1", "gift", "0.00", 1), ("F1", "F1", "0.00", 0), ("a1", "lower", "3.00", 1)];
    assert_eq!(skus, expected.map(|(sku, name, price, stock)| (sku, name, price.to_string(), stock)));
    let Invoice { number, customer, lines } = &retail.invoices[0];
    assert_eq!((number.as_str(), customer.as_deref(), lines.len()), ("1", Some("7"), 2));
    let plan = plan(&retail);
    assert_every_line_once(&retail, &plan, [2].into_iter().chain(4..=20));
    assert_eq!(outcomes(&plan)[3], [18, 19]);
}

#[test]
fn read_descriptions_with_tie_uses_earlier_and_truncates_long() {
    let long = "x".repeat(300);
    let retail = read(&csv(&["1,A,first,1,,1,7,UK", "1,A,second,1,,2,7,UK", &format!("1,B,{long},1,,1,7,UK")])).unwrap();
    assert_eq!((product(&retail, "A").name.as_str(), product(&retail, "A").price.to_string()), ("first", "1.00".into()));
    assert_eq!(product(&retail, "B").name.len(), 255);
    assert_eq!(retail.catalogue.substituted.of("the description has more than 255 characters: the name is cut"), [4]);
}

#[test]
fn read_other_format_returns_error_with_expectation() {
    assert!(read(b"").unwrap_err().to_string().contains("empty"));
    assert!(read(b"\n\r\n").unwrap_err().to_string().contains("empty"));
    let unknown = read(b"a,b,c\n1,2,3\n").unwrap_err().to_string();
    assert!(unknown.contains("no column InvoiceNo") && unknown.contains("found a, b, c"), "{unknown}");
    assert_eq!(read(b"\xFF\xFE\0\xDC").unwrap_err().to_string(), "the file is not valid UTF-16LE, which its byte order mark announces");
    assert!(read(b"I\0n\0").unwrap_err().to_string().contains("UTF-16 without a byte order mark"));
    assert_eq!(read(&csv(&[])).unwrap().lines, 0);
}

/// The same two lines in the forms in which other programs write them.
#[test]
fn read_other_encodings_delimiters_and_line_ends_yields_the_same() {
    let text = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n1,A-1,CAFÉ CUP,6,,2.55,17850,UK\n2,A-2,RED CUP,2,,3.39,17850,UK\n";
    let utf16 = |bytes: fn(u16) -> [u8; 2]| "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect::<Vec<u8>>();
    let windows_1252: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let decimal_commas = text.replace(',', ";").replace("2.55", "2,55").replace("3.39", "3,39");
    let second_edition = text.replace("InvoiceNo", "Invoice").replace("UnitPrice", "Price").replace("CustomerID", "Customer ID");
    let files: [(&str, Vec<u8>, &str); 11] = [
        ("UTF-8", text.into(), "UTF-8, separated by `,`"),
        ("byte order mark", format!("\u{feff}{text}").into(), "UTF-8, separated by `,`"),
        ("CRLF", text.replace('\n', "\r\n").into(), "UTF-8, separated by `,`"),
        ("CR", text.replace('\n', "\r").into(), "UTF-8, separated by `,`"),
        ("semicolon", text.replace(',', ";").into(), "UTF-8, separated by `;`"),
        ("decimal comma", decimal_commas.into(), "UTF-8, separated by `;`"),
        ("tab", text.replace(',', "\t").into(), "UTF-8, separated by tabs"),
        ("second edition", second_edition.into(), "UTF-8, separated by `,`"),
        ("UTF-16LE", utf16(u16::to_le_bytes), "UTF-16LE, separated by `,`"),
        ("UTF-16BE", utf16(u16::to_be_bytes), "UTF-16BE, separated by `,`"),
        ("Windows-1252", windows_1252, "Windows-1252, separated by `,`"),
    ];
    for (name, file, format) in files {
        let retail = read(&file).unwrap_or_else(|cause| panic!("{name}: {cause}"));
        let products: Vec<_> = retail.catalogue.products.iter().map(|p| (p.name.as_str(), p.price.to_string(), p.stock)).collect();
        assert_eq!(products, [("CAFÉ CUP", "2.55".into(), 6), ("RED CUP", "3.39".into(), 2)], "{name}");
        assert_eq!((retail.lines, retail.skipped.total(), retail.format.to_string()), (2, 0, format.into()), "{name}");
    }
}

#[test]
fn read_price_with_comma_before_three_digits_is_skipped() {
    let file =
        "InvoiceNo;StockCode;Description;Quantity;InvoiceDate;UnitPrice;CustomerID;Country\n1;A;a;1;;1,234;7;UK\n1;B;b;1;;1.234;7;UK\n";
    let retail = read(file.as_bytes()).unwrap();
    assert_eq!(retail.skipped.lines().collect::<Vec<_>>(), [2]);
    assert_eq!(product(&retail, "B").price.to_string(), "1.234");
}

#[test]
fn read_quoted_field_with_line_end_is_one_record() {
    let retail = read(&csv(&["1,A,\"BLUE", "CUP\",6,,2,7,UK", "1,B,\"open,1,,1,7,UK", "2,C,red,1,,1,7,UK"])).unwrap();
    let names: Vec<_> = retail.catalogue.products.iter().map(|product| product.name.as_str()).collect();
    assert_eq!((retail.lines, names), (3, vec!["BLUE CUP", "red"]));
    assert_eq!(retail.skipped.lines().collect::<Vec<_>>(), [4], "a quote that is never closed invalidates its line alone");
    let lines: Vec<_> = retail.invoices.iter().flat_map(|invoice| &invoice.lines).map(|line| line.number).collect();
    assert_eq!(lines, [2, 5]);
}

#[test]
fn plan_cancellation_of_whole_invoice_cancels_order() {
    let lines = [
        line("1", "A", "2", "1", "7"),
        line("1", "A", "1", "1", "7"),
        line("1", "B", "4", "1", "7"),
        line("C2", "B", "-4", "1", "7"),
        line("C2", "A", "-3", "1", "7"),
        line("C3", "A", "-1", "1", "7"),
    ];
    let retail = read(&csv(&lines.each_ref().map(String::as_str))).unwrap();
    let plan = plan(&retail);
    assert_eq!(outcomes(&plan), [vec![2, 3, 4], vec![5, 6], vec![], vec![], vec![7]]);
    assert_eq!(plan.chains.len(), 1);
    assert!(matches!(&plan.chains[0][1], Step::Cancel { of: "1", .. }));
    assert_eq!(plan.skipped.of("unmatched cancellation: it returns more than is left of any one purchase"), [7]);
}

#[test]
fn plan_partial_returns_adjust_stock_and_never_cancel_order() {
    let lines = [
        line("1", "A", "5", "1", "7"),
        line("2", "A", "3", "1", "7"),
        line("C3", "A", "-4", "1", "7"), // only invoice 1 has that much
        line("C4", "A", "-1", "1", "7"), // the latest purchase: invoice 2
        line("C5", "A", "-2", "1", "7"), // all that is left of invoice 2
        line("C6", "A", "-2", "1", "7"), // more than is left of any
        line("C7", "A", "-1", "1", "8"), // never bought by this customer
        line("C8", "A", "-1", "1", ""),
    ];
    let retail = read(&csv(&lines.each_ref().map(String::as_str))).unwrap();
    let plan = plan(&retail);
    assert_eq!(outcomes(&plan), [vec![2, 3], vec![], vec![4, 5, 6], vec![], vec![7, 8, 9]]);
    let of: Vec<_> = plan.chains[0].iter().filter_map(|step| if let Step::Return { of, .. } = step { Some(*of) } else { None }).collect();
    assert_eq!(of, ["1", "2", "2"]);
    assert_eq!(plan.skipped.of("unmatched cancellation: it names no customer"), [9]);
}

#[test]
fn plan_cancellation_before_purchase_is_skipped() {
    let lines = [line("C1", "A", "-2", "1", "7"), line("2", "A", "2", "1", "7")];
    let retail = read(&csv(&lines.each_ref().map(String::as_str))).unwrap();
    assert_eq!(outcomes(&plan(&retail)), [vec![3], vec![], vec![], vec![], vec![2]]);
}

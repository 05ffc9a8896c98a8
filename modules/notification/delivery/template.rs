//! Mail texts: `templates/*.txt` with the subject in the first line, and `templates/*.html`.
//!
//! Templates support only `{{name}}` placeholders. Values are escaped for their target format and never
//! expanded again: a customer named `{{total}}` appears as `{{total}}`.

use crate::modules::notification::events::{OrderData, OrderEvent};
use askama::filters::{Escaper, Html};

pub(super) struct Texts {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

type Fields = [(&'static str, String); 5];

pub(super) fn texts(kind: OrderEvent, order: &OrderData) -> Texts {
    let (text, html) = match kind {
        OrderEvent::Placed => (include_str!("../templates/placed.txt"), include_str!("../templates/placed.html")),
        OrderEvent::Rejected => (include_str!("../templates/rejected.txt"), include_str!("../templates/rejected.html")),
        OrderEvent::Cancelled => (include_str!("../templates/cancelled.txt"), include_str!("../templates/cancelled.html")),
    };
    let (subject, text) = text.split_once('\n').unwrap_or((text, ""));
    Texts {
        subject: one_line(&fill(subject, &fields(order, one_line, |line| line))),
        text: fill(text.trim_start(), &fields(order, plain_text, |line| format!("  {line}\n"))),
        html: fill(html, &fields(order, html_escaped, |line| format!("<li>{line}</li>\n"))),
    }
}

fn fields(order: &OrderData, escape: fn(&str) -> String, row: fn(String) -> String) -> Fields {
    let lines = order.lines.iter().map(|line| {
        let price = line.price.map(|price| format!(" at {price}")).unwrap_or_default();
        row(format!("{} x {}{price}", line.quantity, escape(&line.sku_code)))
    });
    [
        ("name", escape(&order.customer.name)),
        ("orderNumber", order.order_number.to_string()),
        ("lines", lines.collect()),
        ("total", order.total.map(|total| total.to_string()).unwrap_or_else(|| "not known yet".into())),
        ("reason", escape(order.reason.as_deref().unwrap_or("no reason was given"))),
    ]
}

fn fill(template: &str, fields: &Fields) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        filled.push_str(before);
        filled.extend(fields.iter().filter(|(field, _)| *field == name).map(|(_, value)| value.as_str()));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// For a header: replaces line breaks, which would allow header injection.
fn one_line(value: &str) -> String {
    value.chars().map(|c| if is_break_or_control(c) { ' ' } else { c }).collect::<String>().trim().to_string()
}

/// For plain text: keeps line breaks, replaces other control characters.
fn plain_text(value: &str) -> String {
    value.replace("\r\n", "\n").chars().map(|c| if is_break_or_control(c) && c != '\n' { ' ' } else { c }).collect()
}

fn is_break_or_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// For HTML, in text and in attributes.
fn html_escaped(value: &str) -> String {
    let mut html = String::with_capacity(value.len());
    // writing to a String never fails
    let _ = Html.write_escaped_str(&mut html, &plain_text(value));
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::notification::events::{Customer, Line};

    const KINDS: [OrderEvent; 3] = [OrderEvent::Placed, OrderEvent::Rejected, OrderEvent::Cancelled];

    fn order(name: &str) -> OrderData {
        OrderData {
            order_number: uuid::Uuid::from_u128(7),
            customer: Customer { id: "c".into(), name: name.into(), email: None },
            lines: vec![Line { sku_code: "<SKU>".into(), quantity: 2, price: "10.00".parse().ok() }],
            total: "20.00".parse().ok(),
            reason: Some("Out of stock SKUs: <SKU>".into()),
        }
    }

    #[test]
    fn templates_filled_contain_no_placeholders() {
        for kind in KINDS {
            let texts = texts(kind, &order("Jane"));
            for text in [&texts.subject, &texts.text, &texts.html] {
                assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
            }
            assert!(texts.subject.contains("Jane") && texts.text.contains("Jane") && texts.html.contains("Jane"));
            assert!(texts.text.contains("00000000-0000-0000-0000-000000000007"));
        }
        let placed = texts(OrderEvent::Placed, &order("Jane"));
        assert!(placed.text.contains("\n  2 x <SKU> at 10.00\n") && placed.html.contains("<li>2 x &#60;SKU&#62; at 10.00</li>"));
    }

    #[test]
    fn name_with_markup_or_line_breaks_is_escaped() {
        let evil = order("Eve\r\nBcc: all@example.com\u{2028}\u{85}<script>\"{{total}}");
        for kind in KINDS {
            let texts = texts(kind, &evil);
            assert!(!texts.subject.contains(is_break_or_control), "{:?}", texts.subject);
            assert!(texts.subject.contains("{{total}}") && texts.html.contains("{{total}}"));
            assert!(!texts.html.contains("<script>") && texts.html.contains("&#60;script&#62;&#34;"));
        }
    }
}

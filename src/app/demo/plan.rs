//! Decides what to do with each line of a file, before the replay starts.
//!
//! In the file, a cancellation names no invoice and returns some of the pieces bought; in the shop, a cancellation covers
//! a whole order. Each `C...` invoice is therefore matched with the earlier purchases of the same customer, the latest
//! first:
//! - If it returns exactly all of one invoice, of which nothing was returned yet, that order is cancelled.
//! - Otherwise each line is matched with the latest invoice that has enough of the code left. The order stays, and the
//!   pieces go back into stock as an adjustment. An order with such a return is never cancelled later: a cancellation
//!   returns all its pieces, some of them a second time.
//! - A line without a matching purchase (most were bought before the file begins) is skipped, with its number and the
//!   reason.

use crate::app::demo::report::Reasons;
use crate::app::demo::retail::{Invoice, Kind, Line, Retail};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    Order {
        /// Invoice number; later steps refer to the order by it.
        invoice: &'a str,
        lines: Vec<&'a Line>,
    },
    Cancel {
        /// Invoice number of the order.
        of: &'a str,
        lines: Vec<&'a Line>,
    },
    /// Return a part of an order to stock.
    Return {
        /// Invoice number of the order.
        of: &'a str,
        line: &'a Line,
    },
    Adjust(&'a Line),
}

impl<'a> Step<'a> {
    pub fn lines(&self) -> &[&'a Line] {
        match self {
            Step::Order { lines, .. } | Step::Cancel { lines, .. } => lines,
            Step::Return { line, .. } | Step::Adjust(line) => std::slice::from_ref(line),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Plan<'a> {
    /// The steps of a chain run in order, different chains concurrently. One chain per customer, and one per invoice
    /// without a customer.
    pub chains: Vec<Vec<Step<'a>>>,
    /// Lines that the reader skipped, and unmatched cancellations.
    pub skipped: Reasons,
}

/// Quantities of one invoice by stock code.
struct Purchase<'a> {
    invoice: &'a str,
    bought: BTreeMap<&'a str, i64>,
    /// Not returned yet.
    left: BTreeMap<&'a str, i64>,
}

#[derive(Default)]
struct Chain<'a> {
    steps: Vec<Step<'a>>,
    purchases: Vec<Purchase<'a>>,
}

pub fn plan(retail: &Retail) -> Plan<'_> {
    let mut skipped = retail.skipped.clone();
    let mut chains: Vec<Chain<'_>> = Vec::new();
    let mut chain_by_customer = HashMap::new();
    for invoice in &retail.invoices {
        let index = match invoice.customer.as_deref() {
            Some(customer) => *chain_by_customer.entry(customer).or_insert(chains.len()),
            None => chains.len(),
        };
        if index == chains.len() {
            chains.push(Chain::default());
        }
        if let Some(chain) = chains.get_mut(index) {
            chain.add(invoice, &mut skipped);
        }
    }
    let chains = chains.into_iter().map(|chain| chain.steps).filter(|steps| !steps.is_empty()).collect();
    Plan { chains, skipped }
}

impl<'a> Chain<'a> {
    fn add(&mut self, invoice: &'a Invoice, skipped: &mut Reasons) {
        let of_kind = |kind| invoice.lines.iter().filter(move |line| line.kind == kind).collect::<Vec<_>>();
        let sold = of_kind(Kind::Sold);
        if !sold.is_empty() {
            let bought = totals(&sold);
            self.purchases.push(Purchase { invoice: &invoice.number, left: bought.clone(), bought });
            self.steps.push(Step::Order { invoice: &invoice.number, lines: sold });
        }
        self.steps.extend(of_kind(Kind::Adjusted).into_iter().map(Step::Adjust));
        let returned = of_kind(Kind::Returned);
        if !returned.is_empty() {
            self.match_returns(invoice, returned, skipped);
        }
    }

    fn match_returns(&mut self, invoice: &Invoice, lines: Vec<&'a Line>, skipped: &mut Reasons) {
        let all = totals(&lines);
        if let Some(whole) = self.purchases.iter_mut().rev().find(|p| p.bought == all && p.left == all) {
            whole.left.clear();
            self.steps.push(Step::Cancel { of: whole.invoice, lines });
            return;
        }
        for line in lines {
            let matching = self.purchases.iter_mut().rev().find_map(|purchase| {
                let left = purchase.left.get_mut(line.sku.as_str()).filter(|left| **left >= line.quantity)?;
                Some((purchase.invoice, left))
            });
            match matching {
                Some((of, left)) => {
                    *left -= line.quantity;
                    self.steps.push(Step::Return { of, line });
                }
                None => skipped.add(self.unmatched_reason(invoice, line), line.number),
            }
        }
    }

    fn unmatched_reason(&self, invoice: &Invoice, line: &Line) -> &'static str {
        if invoice.customer.is_none() {
            "unmatched cancellation: it names no customer"
        } else if self.purchases.iter().any(|purchase| purchase.bought.contains_key(line.sku.as_str())) {
            "unmatched cancellation: it returns more than is left of any one purchase"
        } else {
            "unmatched cancellation: its customer did not buy that earlier in the file"
        }
    }
}

fn totals<'a>(lines: &[&'a Line]) -> BTreeMap<&'a str, i64> {
    let mut totals = BTreeMap::new();
    for line in lines {
        *totals.entry(line.sku.as_str()).or_default() += line.quantity;
    }
    totals
}

//! What to do with each line of a file, before anything is done.
//!
//! In the file a cancellation names no invoice and gives back some of what was bought; in the shop
//! a cancellation is of a whole order. So each `C...` invoice is matched with what the same
//! customer bought before it in the file, the latest purchase first:
//! - it gives back exactly all of one invoice, of which nothing was given back yet: that order is cancelled;
//! - otherwise line by line: the latest invoice of which that much of the code is left. The order
//!   stays, and the pieces go back into stock as an adjustment. An order of which something came
//!   back is never cancelled after that: cancelling puts all of it into stock, some of it twice;
//! - what no purchase accounts for (most of it was bought before the file begins) is skipped, with
//!   the line and the reason.

use crate::app::demo::report::Reasons;
use crate::app::demo::retail::{Invoice, Kind, Line, Retail};
use std::collections::{BTreeMap, HashMap};

/// One thing to do in the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// Place an order of these lines.
    Order {
        /// Invoice number: later steps name the order by it.
        invoice: &'a str,
        /// Its sold lines.
        lines: Vec<&'a Line>,
    },
    /// Cancel the whole order.
    Cancel {
        /// Invoice number of the order.
        of: &'a str,
        /// The cancellation's lines.
        lines: Vec<&'a Line>,
    },
    /// Put back a part of an order.
    Return {
        /// Invoice number of the order.
        of: &'a str,
        /// The cancellation's line.
        line: &'a Line,
    },
    /// Correct the stock.
    Adjust(&'a Line),
}

impl<'a> Step<'a> {
    /// The file's lines that this step plays.
    pub fn lines(&self) -> &[&'a Line] {
        match self {
            Step::Order { lines, .. } | Step::Cancel { lines, .. } => lines,
            Step::Return { line, .. } | Step::Adjust(line) => std::slice::from_ref(line),
        }
    }
}

/// All there is to do.
#[derive(Debug, Clone, Default)]
pub struct Plan<'a> {
    /// Each chain is played in order, different chains at the same time: one a customer, and one
    /// for each invoice without.
    pub chains: Vec<Vec<Step<'a>>>,
    /// Lines with which nothing can be done: those the reader skipped, and unmatched cancellations.
    pub skipped: Reasons,
}

/// An invoice that was bought, and what of it was not given back yet.
struct Purchase<'a> {
    invoice: &'a str,
    bought: BTreeMap<&'a str, i64>,
    left: BTreeMap<&'a str, i64>,
}

#[derive(Default)]
struct Chain<'a> {
    steps: Vec<Step<'a>>,
    purchases: Vec<Purchase<'a>>,
}

/// Decides on every line.
pub fn plan(retail: &Retail) -> Plan<'_> {
    let mut skipped = retail.skipped.clone();
    let mut chains: Vec<Chain<'_>> = Vec::new();
    let mut of_customer = HashMap::new();
    for invoice in &retail.invoices {
        let at = match invoice.customer.as_deref() {
            Some(customer) => *of_customer.entry(customer).or_insert(chains.len()),
            None => chains.len(),
        };
        if at == chains.len() {
            chains.push(Chain::default());
        }
        if let Some(chain) = chains.get_mut(at) {
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
        let given_back = of_kind(Kind::GivenBack);
        if !given_back.is_empty() {
            self.give_back(invoice, given_back, skipped);
        }
    }

    fn give_back(&mut self, invoice: &Invoice, lines: Vec<&'a Line>, skipped: &mut Reasons) {
        let all = totals(&lines);
        if let Some(whole) = self.purchases.iter_mut().rev().find(|p| p.bought == all && p.left == all) {
            whole.left.clear();
            self.steps.push(Step::Cancel { of: whole.invoice, lines });
            return;
        }
        for line in lines {
            let fitting = self.purchases.iter_mut().rev().find_map(|purchase| {
                let left = purchase.left.get_mut(line.sku.as_str()).filter(|left| **left >= line.quantity)?;
                Some((purchase.invoice, left))
            });
            match fitting {
                Some((of, left)) => {
                    *left -= line.quantity;
                    self.steps.push(Step::Return { of, line });
                }
                None => skipped.add(self.why_unmatched(invoice, line), line.number),
            }
        }
    }

    fn why_unmatched(&self, invoice: &Invoice, line: &Line) -> &'static str {
        if invoice.customer.is_none() {
            "unmatched cancellation: it names no customer"
        } else if self.purchases.iter().any(|purchase| purchase.bought.contains_key(line.sku.as_str())) {
            "unmatched cancellation: it gives back more than is left of any one purchase"
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

//! The route table: all routes in matching order.

use super::definition::RouteDefinition;
use super::document::RouteDocument;
use super::error::TableError;
use super::pattern::Variables;
use super::predicates::{IncomingRequest, Predicate};
use super::route::Route;
use crate::rpc::resilience::registry::NamedBreaker;
use crate::settings::BreakerSettings;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All routes in matching order.
#[derive(Default)]
pub(super) struct RouteTable {
    pub(super) routes: Vec<Arc<Route>>,
    /// The circuit breakers that routes name; `ActiveRoutes` fills them in when it activates the table.
    pub(super) breakers_by_name: BTreeMap<String, Arc<NamedBreaker>>,
    /// Route ids and weights by weight group.
    weight_groups: BTreeMap<String, Vec<(String, u32)>>,
}

impl RouteTable {
    /// `added` are the routes that the actuator added.
    pub(super) fn build(document: &RouteDocument, added: &BTreeMap<String, RouteDefinition>) -> Result<Self, TableError> {
        let mut table = Self::default();
        for definition in document.routes.iter().chain(added.values()) {
            if table.routes.iter().any(|route| route.definition.id == definition.id) {
                return Err(TableError::DuplicateId { id: definition.id.clone() });
            }
            table.routes.push(Arc::new(Route::build(definition.clone(), document)?));
        }
        // a stable sort: routes with the same order keep the document's sequence
        table.routes.sort_by_key(|route| route.definition.order);
        for route in &table.routes {
            for predicate in &route.predicates {
                if let Predicate::Weight(group, weight) = predicate {
                    table.weight_groups.entry(group.clone()).or_default().push((route.definition.id.clone(), *weight));
                }
            }
        }
        Ok(table)
    }

    /// Rules of the circuit breakers that routes name.
    pub(super) fn breaker_rules(&self) -> BTreeMap<String, BreakerSettings> {
        let circuits = self.routes.iter().filter_map(|route| route.circuit_breaker());
        circuits.map(|circuit| (circuit.name.clone(), circuit.settings.rules)).collect()
    }

    /// The first route that matches, with the values that its patterns capture. `random` returns a number
    /// in [0, 1); it is called at most once.
    pub(super) fn find(&self, incoming: &IncomingRequest, random: impl Fn() -> f64) -> Option<(&Arc<Route>, Variables)> {
        let number = OnceCell::new();
        self.routes.iter().find_map(|route| {
            let mut variables = Variables::new();
            let selected = |group: &str| self.select_by_weight(group, *number.get_or_init(&random)) == Some(route.definition.id.as_str());
            let matches = route.predicates.iter().all(|predicate| predicate.matches(incoming, &mut variables, &selected));
            matches.then_some((route, variables))
        })
    }

    fn select_by_weight(&self, group: &str, number: f64) -> Option<&str> {
        let members = self.weight_groups.get(group)?;
        let mut remaining = number * members.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>();
        let selected = members.iter().find(|(_, weight)| {
            remaining -= f64::from(*weight);
            remaining < 0.0
        });
        selected.map(|(id, _)| id.as_str())
    }
}

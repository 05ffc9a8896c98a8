//! Settings: the Spring system's defaults, overrides, and invalid values.

use crate::rpc::resilience::Peers;
use crate::settings::{PeerOverrides, Resilience};
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn default_settings_equal_those_of_the_spring_system() {
    let settings = Resilience::default();
    let (product, inventory) = (settings.limits("product").unwrap(), settings.limits("inventory").unwrap());
    let rules = product.breaker;
    assert_eq!((rules.window, rules.min_calls, rules.failure_percent, rules.half_open_calls), (5, 5, 50, 3));
    assert_eq!((rules.open, inventory.breaker.open), (Duration::from_secs(50), Duration::from_secs(30)));
    assert_eq!(inventory.call, product.call);
}

#[test]
fn invalid_value_fails_the_start_and_names_its_key() {
    let start = |settings| Peers::new(settings, &prometheus::Registry::new()).map(drop).unwrap_err().to_string();
    let text = start(Resilience { window: 0, ..Resilience::default() });
    assert_eq!(text, "resilience.window: 0 is not between 1 and 10000");
    let own = PeerOverrides { failure_percent: Some(101), ..PeerOverrides::default() };
    let text = start(Resilience { peers: BTreeMap::from([("order".into(), own)]), ..Resilience::default() });
    assert_eq!(text, "resilience.peers.order.failure_percent: 101 is not between 1 and 100");
}

//! Money: an exact decimal, never converted to a float on its way from request to store and back.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, str::FromStr};

/// An amount in the shop's currency. It keeps its scale: `10.00` stays `10.00`.
///
/// On the wire it is a JSON number; a string with a number is accepted too. Parsing uses the number's text, so the
/// value is exact. Stores keep that text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Money(Decimal);

/// Highest price of a product, and highest total of an order. Parsing has no such limit: what was stored or published
/// must stay readable.
const LIMIT: i64 = 1_000_000_000_000;
/// A price with a finer fraction than a hundredth of a cent is a mistake.
const MAX_SCALE: u32 = 4;

impl Money {
    /// `0.00`.
    pub const ZERO: Money = Money(Decimal::from_parts(0, 0, 0, false, 2));

    /// Highest price of a product, and highest total of an order.
    pub const LIMIT: Money = Money(Decimal::from_parts(LIMIT as u32, (LIMIT >> 32) as u32, 0, false, 0));

    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative() && !self.0.is_zero()
    }

    /// `None` on overflow.
    pub fn checked_mul(self, quantity: i64) -> Option<Money> {
        self.0.checked_mul(Decimal::from(quantity)).map(Money)
    }

    /// Inexact; for metrics only.
    pub fn to_f64_lossy(self) -> f64 {
        self.0.to_f64().unwrap_or_default()
    }

    /// `None` on overflow.
    pub fn checked_add(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).map(Money)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("expected an amount such as 10.00, with at most {MAX_SCALE} decimals")]
    Malformed,
    #[error("expected at most {MAX_SCALE} decimals")]
    TooManyDecimals,
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let is_number = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
        if !is_number || text.is_empty() {
            return Err(MoneyError::Malformed);
        }
        let value = if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
        let mut value = value.map_err(|_| MoneyError::Malformed)?;
        if value.scale() > MAX_SCALE {
            value = value.normalize();
        }
        if value.scale() > MAX_SCALE {
            return Err(MoneyError::TooManyDecimals);
        }
        Ok(Money(value))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text: Cow<'_, str> = match raw.get().strip_prefix('"') {
            Some(_) => Cow::Owned(serde_json::from_str::<String>(raw.get()).map_err(de::Error::custom)?.trim().to_string()),
            None => Cow::Borrowed(raw.get()),
        };
        text.parse().map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for Money {
    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0, "description": "an exact decimal; its scale is kept", "examples": [10.5] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trip_keeps_scale_and_accepts_strings() {
        for (text, out) in [("10.00", "10.00"), ("\"3.50\"", "3.50"), ("0", "0"), ("1e2", "100"), ("12.3400", "12.3400"), ("1.00000", "1")]
        {
            let money: Money = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&money).unwrap(), out, "{text}");
        }
    }

    #[test]
    fn malformed_or_out_of_range_amount_is_rejected() {
        for text in ["\"\"", "\"abc\"", "null", "true", "[1]", "{}", "1e30", "0.00001", "1e-9", "\"1_000\"", "\"NaN\""] {
            assert!(serde_json::from_str::<Money>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amount_above_the_limit_of_prices_is_readable() {
        assert_eq!(Money::LIMIT.to_string(), LIMIT.to_string());
        let highest_total = Money::LIMIT.checked_mul(i64::from(i32::MAX)).unwrap().checked_mul(1000).unwrap();
        let text = serde_json::to_string(&highest_total).unwrap();
        assert_eq!(serde_json::from_str::<Money>(&text).unwrap(), highest_total);
    }

    #[test]
    fn decimal_arithmetic_is_exact() {
        let price: Money = "0.10".parse().unwrap();
        assert_eq!(price.checked_mul(3).unwrap().to_string(), "0.30");
        assert_eq!(price.checked_add("0.2".parse().unwrap()).unwrap().to_string(), "0.30");
    }
}

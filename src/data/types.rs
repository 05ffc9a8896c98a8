//! Column types that every SQL backend supports.

use crate::kernel::error::StoreError;
use crate::kernel::money::{Money, MoneyError};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use serde::{Serialize, de::DeserializeOwned};

/// An amount in a text column: exact, with its scale.
#[derive(Debug, Clone, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct MoneyText(pub String);

impl From<Money> for MoneyText {
    fn from(money: Money) -> Self {
        MoneyText(money.to_string())
    }
}

impl<DB: Backend> ToSql<Text, DB> for MoneyText
where
    String: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for MoneyText
where
    String: FromSql<Text, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        String::from_sql(value).map(MoneyText)
    }
}

impl TryFrom<MoneyText> for Money {
    type Error = MoneyError;
    fn try_from(text: MoneyText) -> Result<Self, MoneyError> {
        text.0.parse()
    }
}

/// Serializes a value for a text column.
pub fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Internal(e.to_string()))
}

pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Internal(format!("invalid JSON in a column: {e}")))
}

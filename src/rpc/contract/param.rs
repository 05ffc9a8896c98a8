//! Parameters in paths, queries and headers.

use crate::kernel::page::{AfterId, PageNumber, PageSize};
use serde_json::{Value, json};

/// Error text for the client, such as "expected a UUID".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParamError(pub &'static str);

impl From<&'static str> for ParamError {
    fn from(text: &'static str) -> Self {
        Self(text)
    }
}

/// A value in a path, query or header.
pub trait Param: Sized {
    /// `text` is `None` if the request does not have the parameter.
    fn from_text(text: Option<&str>) -> Result<Self, ParamError>;
    /// `None` omits the parameter.
    fn to_text(&self) -> Option<String>;
    fn schema() -> Value;
    const REQUIRED: bool = true;
}

impl Param for String {
    fn from_text(text: Option<&str>) -> Result<Self, ParamError> {
        text.map(str::to_string).ok_or_else(|| "is required".into())
    }
    fn to_text(&self) -> Option<String> {
        Some(self.clone())
    }
    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl Param for i64 {
    fn from_text(text: Option<&str>) -> Result<Self, ParamError> {
        text.and_then(|t| t.parse().ok()).ok_or_else(|| "expected a whole number".into())
    }
    fn to_text(&self) -> Option<String> {
        Some(self.to_string())
    }
    fn schema() -> Value {
        json!({ "type": "integer", "format": "int64" })
    }
}

impl Param for uuid::Uuid {
    fn from_text(text: Option<&str>) -> Result<Self, ParamError> {
        text.and_then(|t| t.parse().ok()).ok_or_else(|| "expected a UUID".into())
    }
    fn to_text(&self) -> Option<String> {
        Some(self.to_string())
    }
    fn schema() -> Value {
        json!({ "type": "string", "format": "uuid" })
    }
}

impl Param for bool {
    fn from_text(text: Option<&str>) -> Result<Self, ParamError> {
        text.and_then(|t| t.parse().ok()).ok_or_else(|| "expected true or false".into())
    }
    fn to_text(&self) -> Option<String> {
        Some(self.to_string())
    }
    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

impl<T: Param> Param for Option<T> {
    fn from_text(text: Option<&str>) -> Result<Self, ParamError> {
        text.map(|t| T::from_text(Some(t))).transpose()
    }
    fn to_text(&self) -> Option<String> {
        self.as_ref().and_then(T::to_text)
    }
    fn schema() -> Value {
        T::schema()
    }
    const REQUIRED: bool = false;
}

impl Param for AfterId {
    fn from_text(text: Option<&str>) -> Result<Self, ParamError> {
        text.and_then(|t| t.parse().ok()).filter(|id| *id >= 0).map(AfterId).ok_or_else(|| "expected the id of the last item read".into())
    }
    fn to_text(&self) -> Option<String> {
        Some(self.0.to_string())
    }
    fn schema() -> Value {
        json!({ "type": "integer", "format": "int64", "minimum": 0 })
    }
}

impl Param for PageNumber {
    fn from_text(text: Option<&str>) -> Result<Self, ParamError> {
        let expected = || "expected a whole number from 0 to 2147483647".into();
        let Some(text) = text else { return Ok(Self::default()) };
        text.parse().ok().filter(|n| *n <= i32::MAX as u32).map(PageNumber).ok_or_else(expected)
    }
    fn to_text(&self) -> Option<String> {
        Some(self.0.to_string())
    }
    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0, "default": 0 })
    }
    const REQUIRED: bool = false;
}

impl Param for PageSize {
    fn from_text(text: Option<&str>) -> Result<Self, ParamError> {
        let Some(text) = text else { return Ok(Self::default()) };
        let size = text.parse().ok().filter(|n| (1..=1000).contains(n));
        size.map(PageSize).ok_or_else(|| "expected a whole number from 1 to 1000".into())
    }
    fn to_text(&self) -> Option<String> {
        Some(self.0.to_string())
    }
    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 10 })
    }
    const REQUIRED: bool = false;
}

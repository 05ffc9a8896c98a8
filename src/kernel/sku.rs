//! SKU codes: 1 to 64 characters, trimmed, exact case.

use crate::kernel::problem::FieldError;

/// Characters at most.
pub const MAX: usize = 64;

/// A text that is no SKU code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {MAX} characters without control characters")]
pub struct SkuError;

/// The trimmed code, or what is wrong with it.
pub fn check(code: &str) -> Result<String, SkuError> {
    let code = code.trim();
    if code.is_empty() || code.chars().count() > MAX || code.chars().any(char::is_control) {
        return Err(SkuError);
    }
    Ok(code.to_string())
}

/// A required code; what is wrong with it goes to `errors`, and the code is empty then.
pub fn required(code: Option<String>, field: &str, errors: &mut Vec<FieldError>) -> String {
    let checked = code.map_or_else(|| Err("is required".to_string()), |code| check(&code).map_err(|wrong| wrong.to_string()));
    checked.unwrap_or_else(|message| {
        errors.push(FieldError::new(field, message));
        String::new()
    })
}

//! SKU codes: 1 to 64 characters, trimmed, case-sensitive.

use crate::kernel::problem::FieldError;

/// In characters.
const MAX_LENGTH: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {MAX_LENGTH} characters without control characters")]
pub struct SkuError;

/// Returns the trimmed code.
pub fn parse(code: &str) -> Result<String, SkuError> {
    let code = code.trim();
    if code.is_empty() || code.chars().count() > MAX_LENGTH || code.chars().any(char::is_control) {
        return Err(SkuError);
    }
    Ok(code.to_string())
}

/// Checks a required field. On an error, adds it to `errors` and returns an empty code.
pub fn required(code: Option<String>, field: &str, errors: &mut Vec<FieldError>) -> String {
    let checked = code.map_or_else(|| Err("is required".to_string()), |code| parse(&code).map_err(|error| error.to_string()));
    checked.unwrap_or_else(|message| {
        errors.push(FieldError::new(field, message));
        String::new()
    })
}

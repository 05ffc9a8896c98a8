//! Profile expressions of `spring.config.activate.on-profile`: `prod & (eu | us)`, `!test`.

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("`{expression}` is no profile expression")]
pub(super) struct ExpressionError {
    expression: String,
}

/// As in Spring, mixing `&` and `|` requires parentheses.
pub(super) fn matches(expression: &str, active: &[String]) -> Result<bool, ExpressionError> {
    let malformed = || ExpressionError { expression: expression.into() };
    let mut parser = Parser { rest: expression, active, depth: 0 };
    let holds = parser.expression().ok_or_else(malformed)?;
    if parser.rest.trim().is_empty() { Ok(holds) } else { Err(malformed()) }
}

/// Maximum nesting depth.
const MAX_DEPTH: usize = 32;

struct Parser<'a> {
    rest: &'a str,
    active: &'a [String],
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start();
        let after = rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(rest);
        after.is_some()
    }

    /// Terms with one kind of operator between them.
    fn expression(&mut self) -> Option<bool> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let mut holds = self.term()?;
        let mut operator = None;
        loop {
            let and = self.take('&');
            if !and && !self.take('|') {
                break;
            }
            if *operator.get_or_insert(and) != and {
                return None;
            }
            let next = self.term()?;
            holds = if and { holds && next } else { holds || next };
        }
        self.depth -= 1;
        Some(holds)
    }

    fn term(&mut self) -> Option<bool> {
        let mut negated = false;
        while self.take('!') {
            negated = !negated;
        }
        if self.take('(') {
            let holds = self.expression()?;
            return self.take(')').then_some(holds != negated);
        }
        let end = self.rest.find(['&', '|', '!', '(', ')']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let name = name.trim();
        (!name.is_empty()).then(|| self.active.iter().any(|profile| profile == name) != negated)
    }
}

//! Profile expressions, as `spring.config.activate.on-profile` has them: `prod & (eu | us)`, `!test`.

/// A text that is no profile expression.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("`{expression}` is no profile expression")]
pub(super) struct ExpressionError {
    expression: String,
}

/// Whether the expression holds for these profiles. `&` and `|` side by side need parentheses, as in Spring.
pub(super) fn accepts(expression: &str, active: &[String]) -> Result<bool, ExpressionError> {
    let malformed = || ExpressionError { expression: expression.into() };
    let mut parser = Parser { rest: expression, active, depth: 0 };
    let holds = parser.all().ok_or_else(malformed)?;
    if parser.rest.trim().is_empty() { Ok(holds) } else { Err(malformed()) }
}

/// Nobody nests deeper.
const DEEPEST: usize = 32;

struct Parser<'a> {
    rest: &'a str,
    active: &'a [String],
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start();
        let taken = rest.strip_prefix(wanted);
        self.rest = taken.unwrap_or(rest);
        taken.is_some()
    }

    /// Terms joined by one kind of operator.
    fn all(&mut self) -> Option<bool> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut holds = self.one()?;
        let mut joined = None;
        loop {
            let and = self.take('&');
            if !and && !self.take('|') {
                break;
            }
            if *joined.get_or_insert(and) != and {
                return None;
            }
            let next = self.one()?;
            holds = if and { holds && next } else { holds || next };
        }
        self.depth -= 1;
        Some(holds)
    }

    fn one(&mut self) -> Option<bool> {
        let mut negated = false;
        while self.take('!') {
            negated = !negated;
        }
        if self.take('(') {
            let holds = self.all()?;
            return self.take(')').then_some(holds != negated);
        }
        let end = self.rest.find(['&', '|', '!', '(', ')']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let name = name.trim();
        (!name.is_empty()).then(|| self.active.iter().any(|profile| profile == name) != negated)
    }
}

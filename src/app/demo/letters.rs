//! Dead letters of a running shop, listed and sent again.

use super::DemoError;
use super::shop::{Answer, Call, Shop};
use actix_web::http::Method;
use serde_json::Value;

/// Which of them are sent again.
pub enum Again {
    /// None: they are listed.
    None,
    /// These.
    These(Vec<i64>),
    /// All that are shown.
    All,
}

/// A line each, or one for each that was sent again. An error where the shop has not got one of them.
pub async fn letters(shop: &Shop, again: Again) -> Result<String, DemoError> {
    let listed = match &again {
        Again::These(_) => Vec::new(),
        Again::None | Again::All => list(shop).await?,
    };
    let mut text = String::new();
    let ids = match again {
        Again::None => {
            listed.iter().for_each(|letter| text.push_str(&line(letter)));
            return Ok(if listed.is_empty() { "no dead letters\n".into() } else { text });
        }
        Again::All => listed.iter().filter_map(|letter| letter["id"].as_i64()).collect(),
        Again::These(ids) => ids,
    };
    for id in &ids {
        let path = format!("/actuator/deadletters/{id}/replay");
        let answer = shop.send_patiently(&Call { method: Method::POST, path, body: None, key: None }).await?;
        if answer.status != 202 {
            return Err(DemoError::LetterRefused { sent: text, id: *id, answer: answer.message() });
        }
        text.push_str(&format!("dead letter {id} is sent again\n"));
    }
    text.push_str(&format!("{} sent again\n", ids.len()));
    Ok(text)
}

async fn list(shop: &Shop) -> Result<Vec<Value>, DemoError> {
    let call = Call { method: Method::GET, path: "/actuator/deadletters".into(), body: None, key: None };
    match shop.send_patiently(&call).await? {
        Answer { status: 200, body: Value::Array(letters) } => Ok(letters),
        other => Err(DemoError::NoLetters { answer: other.message() }),
    }
}

fn line(letter: &Value) -> String {
    let text = |pointer: &str| letter.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_string();
    let (group, at, kind, subject, error) = (text("/group"), text("/at"), text("/event/type"), text("/event/subject"), text("/error"));
    format!("{}  {group}  {at}  {kind} of {subject}: {error}\n", letter["id"])
}

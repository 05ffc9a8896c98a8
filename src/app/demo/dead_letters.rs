//! Lists and replays the dead letters of a running shop.

use super::DemoError;
use super::shop::{Request, Response, Shop};
use actix_web::http::Method;
use serde_json::Value;

pub enum Replay {
    /// List the dead letters.
    None,
    /// Replay these ids.
    Ids(Vec<i64>),
    /// Replay all that are listed.
    All,
}

/// One line per listed or replayed dead letter.
pub async fn dead_letters(shop: &Shop, replay: Replay) -> Result<String, DemoError> {
    let listed = match &replay {
        Replay::Ids(_) => Vec::new(),
        Replay::None | Replay::All => list(shop).await?,
    };
    let mut text = String::new();
    let ids = match replay {
        Replay::None => {
            listed.iter().for_each(|letter| text.push_str(&line(letter)));
            return Ok(if listed.is_empty() { "no dead letters\n".into() } else { text });
        }
        Replay::All => listed.iter().filter_map(|letter| letter["id"].as_i64()).collect(),
        Replay::Ids(ids) => ids,
    };
    for id in &ids {
        let path = format!("/actuator/deadletters/{id}/replay");
        let response = shop.send_with_retries(&Request { method: Method::POST, path, body: None, key: None }).await?;
        if response.status != 202 {
            return Err(DemoError::ReplayRejected { printed: text, id: *id, response: response.message() });
        }
        text.push_str(&format!("dead letter {id} is sent again\n"));
    }
    text.push_str(&format!("{} sent again\n", ids.len()));
    Ok(text)
}

async fn list(shop: &Shop) -> Result<Vec<Value>, DemoError> {
    let request = Request { method: Method::GET, path: "/actuator/deadletters".into(), body: None, key: None };
    match shop.send_with_retries(&request).await? {
        Response { status: 200, body: Value::Array(letters) } => Ok(letters),
        other => Err(DemoError::DeadLettersUnavailable { response: other.message() }),
    }
}

fn line(letter: &Value) -> String {
    let text = |pointer: &str| letter.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_string();
    let (group, at, kind, subject, error) = (text("/group"), text("/at"), text("/event/type"), text("/event/subject"), text("/error"));
    format!("{}  {group}  {at}  {kind} of {subject}: {error}\n", letter["id"])
}

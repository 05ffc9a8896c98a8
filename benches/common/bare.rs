//! Upper limit of the HTTP layer: bare actix-web that reads the body and returns the same JSON from memory.

use super::process::BARE;
use actix_web::{App, HttpResponse, HttpServer, web};

/// Runs the bare server if this process was started by `Server::bare`; serves until killed.
pub fn serve_if_asked() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, first, address, answer, ..] = args.as_slice()
        && first == BARE
    {
        serve(address, answer);
    }
}

fn serve(address: &str, answer: &str) {
    let (address, answer) = (address.to_string(), web::Bytes::from(answer.to_string()));
    actix_web::rt::System::new()
        .block_on(async move {
            HttpServer::new(move || {
                let answer = answer.clone();
                let health = web::get().to(HttpResponse::Ok);
                // any path: the gateway bench and the shop bench use different paths
                App::new().route("/actuator/health/readiness", health).default_service(web::to(move |_body: web::Bytes| {
                    let answer = answer.clone();
                    async move { HttpResponse::Created().content_type("application/json").body(answer) }
                }))
            })
            .bind(address)
            .unwrap()
            .run()
            .await
        })
        .unwrap();
    std::process::exit(0);
}

//! The first limit: actix-web alone, which reads the body and answers the same JSON from memory.

use super::process::BARE;
use actix_web::{App, HttpResponse, HttpServer, web};

/// Where this very process was started as the bare server (see `Server::bare`): serves until it is killed.
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
                // whatever is asked for: the gateway's bench asks for other paths than the shop's
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

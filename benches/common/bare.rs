//! Upper limit of the HTTP layer: bare actix-web that reads the body and returns the same JSON from memory.

use super::process::BARE;
use actix_web::{App, HttpResponse, HttpServer, web};

/// Runs the bare server if this process was started by `Server::bare`; serves until killed.
pub fn serve_if_asked() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, first, address, response, ..] = args.as_slice()
        && first == BARE
    {
        serve(address, response);
    }
}

fn serve(address: &str, response: &str) {
    let (address, response) = (address.to_string(), web::Bytes::from(response.to_string()));
    actix_web::rt::System::new()
        .block_on(async move {
            HttpServer::new(move || {
                let response = response.clone();
                let health = web::get().to(HttpResponse::Ok);
                // any path: the gateway bench and the shop bench use different paths
                App::new().route("/actuator/health/readiness", health).default_service(web::to(move |_body: web::Bytes| {
                    let response = response.clone();
                    async move { HttpResponse::Created().content_type("application/json").body(response) }
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

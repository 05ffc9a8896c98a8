//! A shop in memory with the operations that the demo uses, and optional faults.

use crate::app::demo::shop::Shop;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(super) type State = web::Data<Mutex<FakeShop>>;

#[derive(Default)]
pub(super) struct FakeShop {
    pub(super) products: BTreeMap<String, Value>,
    /// SKU and quantity; the id is the index plus one.
    pub(super) stock: Vec<(String, i64)>,
    /// Lines, and whether the order is cancelled.
    pub(super) orders: Vec<(Vec<(String, i64)>, bool)>,
    pub(super) keys: HashMap<String, usize>,
    pub(super) tokens: usize,
    pub(super) requests: usize,
    /// Accepts orders that exceed the stock.
    pub(super) oversells: bool,
    /// Every third order fails with 503, alternately after and before placing it.
    pub(super) flaky: bool,
    /// Rejects new products with 403.
    pub(super) rejects_products: bool,
    /// Stops the server during this order request, without a response.
    pub(super) stops_at_order: Option<usize>,
    pub(super) server: Option<ServerHandle>,
    /// In seconds.
    pub(super) token_lifetime: u64,
}

impl FakeShop {
    fn row(&mut self, sku: &str) -> Option<&mut i64> {
        self.stock.iter_mut().find(|(stocked, _)| stocked == sku).map(|(_, quantity)| quantity)
    }

    fn place(&mut self, lines: Vec<(String, i64)>, key: String) -> HttpResponse {
        if let Some(id) = self.keys.get(&key) {
            return HttpResponse::Created().json(json!({ "id": id }));
        }
        let mut totals = BTreeMap::new();
        lines.iter().for_each(|(sku, quantity)| *totals.entry(sku.clone()).or_insert(0) += quantity);
        let (mut invalid, mut out, mut insufficient) = (vec![], vec![], vec![]);
        for (sku, wanted) in &totals {
            match self.row(sku).copied() {
                None => invalid.push(sku.clone()),
                Some(0) if !self.oversells => out.push(sku.clone()),
                Some(left) if left < *wanted && !self.oversells => insufficient.push(sku.clone()),
                Some(_) => {}
            }
        }
        if !(invalid.is_empty() && out.is_empty() && insufficient.is_empty()) {
            let message = "Order cannot be placed due to the following reasons:\n...";
            return HttpResponse::BadRequest()
                .json(json!({ "message": message, "invalid": invalid, "outOfStock": out, "insufficient": insufficient }));
        }
        for (sku, wanted) in totals {
            let left = self.row(&sku).unwrap();
            *left = (*left - wanted).max(0);
        }
        self.orders.push((lines, false));
        self.keys.insert(key, self.orders.len());
        HttpResponse::Created().json(json!({ "id": self.orders.len(), "status": "PLACED" }))
    }
}

fn problem(status: u16, message: &str) -> HttpResponse {
    HttpResponse::build(status.try_into().unwrap()).json(json!({ "status": status, "message": message }))
}

fn has_token(request: &HttpRequest) -> bool {
    request.headers().get("authorization").is_some_and(|value| value.to_str().unwrap().starts_with("Bearer token-"))
}

async fn token(state: State, form: web::Form<HashMap<String, String>>) -> HttpResponse {
    let mut shop = state.lock();
    if form["grant_type"] != "password" || form["client_id"] != "tradepost-demo" || form["username"] != form["password"] {
        return HttpResponse::Unauthorized().json(json!({ "error": "invalid_grant", "error_description": "wrong user or password" }));
    }
    shop.tokens += 1;
    HttpResponse::Ok().json(json!({ "access_token": format!("token-{}", shop.tokens), "expires_in": shop.token_lifetime }))
}

async fn add_product(state: State, body: web::Json<Value>) -> HttpResponse {
    if state.lock().rejects_products {
        return problem(403, "the role admin is needed");
    }
    let sku = body["skuCode"].as_str().unwrap().to_string();
    if state.lock().products.insert(sku.clone(), body.into_inner()).is_some() {
        let message = format!("Product with SKU {sku} already exists");
        let kind = "urn:tradepost:problem:product:sku-taken";
        return HttpResponse::BadRequest().json(json!({ "status": 400, "type": kind, "message": message }));
    }
    HttpResponse::Created().json(json!({}))
}

async fn add_stock(state: State, body: web::Json<Value>) -> HttpResponse {
    let mut shop = state.lock();
    let sku = body["skuCode"].as_str().unwrap();
    if !shop.products.contains_key(sku) {
        return problem(404, "unknown SKU");
    }
    if shop.row(sku).is_some() {
        return problem(409, "has stock already");
    }
    shop.stock.push((sku.into(), body["quantity"].as_i64().unwrap()));
    HttpResponse::Created().json(json!({}))
}

async fn list_stock(state: State, query: web::Query<HashMap<String, usize>>) -> HttpResponse {
    let shop = state.lock();
    let rows: Vec<_> = (1..).zip(&shop.stock).map(|(id, (sku, n))| json!({ "id": id, "skuCode": sku, "quantity": n })).collect();
    let page: Vec<_> = rows.iter().skip(query["page"] * query["size"]).take(query["size"]).collect();
    HttpResponse::Ok().json(json!({ "content": page, "last": (query["page"] + 1) * query["size"] >= rows.len() }))
}

async fn adjust(state: State, id: web::Path<usize>, body: web::Json<Value>) -> HttpResponse {
    let mut shop = state.lock();
    let quantity = &mut shop.stock[*id - 1].1;
    let changed = *quantity + body["quantity"].as_i64().unwrap();
    if changed < 0 {
        return problem(400, "Quantity for an inventory item cannot be negative!");
    }
    *quantity = changed;
    HttpResponse::Ok().json(json!({}))
}

async fn order(state: State, request: HttpRequest, body: web::Json<Value>) -> HttpResponse {
    let response = try_order(&mut state.lock(), &request, &body);
    match response {
        Some(response) => response,
        None => std::future::pending().await,
    }
}

/// None if the server stops during the request.
fn try_order(shop: &mut FakeShop, request: &HttpRequest, body: &Value) -> Option<HttpResponse> {
    if !has_token(request) {
        return Some(problem(401, "an access token is required"));
    }
    let lines = body["orderLineItems"].as_array().unwrap().iter();
    let lines = lines.map(|line| (line["skuCode"].as_str().unwrap().to_string(), line["quantity"].as_i64().unwrap())).collect();
    let key = request.headers().get("idempotency-key").unwrap().to_str().unwrap().to_string();
    shop.requests += 1;
    if shop.stops_at_order == Some(shop.requests) {
        actix_web::rt::spawn(shop.server.take().unwrap().stop(false));
        return None;
    }
    Some(match (shop.flaky, shop.requests % 6) {
        (true, 0) => problem(503, "busy"),
        (true, 3) => {
            shop.place(lines, key);
            problem(503, "the response was lost")
        }
        _ => shop.place(lines, key),
    })
}

async fn cancel(state: State, id: web::Path<usize>) -> HttpResponse {
    let mut shop = state.lock();
    let (lines, cancelled) = &mut shop.orders[*id - 1];
    let lines = if std::mem::replace(cancelled, true) { vec![] } else { lines.clone() };
    for (sku, quantity) in lines {
        *shop.row(&sku).unwrap() += quantity;
    }
    HttpResponse::Ok().json(json!({}))
}

/// Starts the shop on a free port. Returns its state and URL.
pub(super) async fn start(shop: FakeShop) -> (Arc<Mutex<FakeShop>>, String) {
    let state =
        Arc::new(Mutex::new(FakeShop { token_lifetime: if shop.token_lifetime == 0 { 1800 } else { shop.token_lifetime }, ..shop }));
    let data = web::Data::from(state.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::JsonConfig::default().limit(1 << 20))
            .route("/realms/spring-cloud-microservices-realm/protocol/openid-connect/token", web::post().to(token))
            .route("/api/v1/products", web::post().to(add_product))
            .route("/api/v1/inventory", web::post().to(add_stock))
            .route("/api/v1/inventory", web::get().to(list_stock))
            .route("/api/v1/inventory/{id}", web::put().to(adjust))
            .route("/api/v1/orders", web::post().to(order))
            .route("/api/v1/orders/{id}/cancel", web::post().to(cancel))
    });
    let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", server.addrs()[0]);
    let server = server.run();
    state.lock().server = Some(server.handle());
    actix_web::rt::spawn(server);
    (state, url)
}

/// Also logs in as admin.
pub(super) async fn start_as_admin(shop: FakeShop) -> (Arc<Mutex<FakeShop>>, Shop) {
    let (state, url) = start(shop).await;
    (state, Shop::new(&url, "admin", "admin"))
}

//! The seam: one declaration of a module's calls yields the trait that peers use, the routes
//! that serve it, the awc client that calls it, and its OpenAPI.
//!
//! - [`contract!`](crate::contract!) is the declaration.
//! - [`Endpoint`] is what the web layer serves; see [`crate::edge::web`].
//! - [`client`] is the generated client's engine.
//! - [`openapi`] describes the same operations to others.

pub mod client;
pub mod openapi;
mod param;
mod reply;
mod strict;

pub use param::{Expected, Param};
pub use reply::{Empty, Reply, Tagged, Text};

use crate::kernel::problem::Problem;
use crate::kernel::uri::{percent_decode, query_value};
use crate::observe::trace::{Kind, Span};
use crate::rpc::context::Cx;
use actix_web::{HttpRequest, HttpResponse, dev::Payload, http::Method, web::Bytes};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Who may call an operation from outside. Checked at the edge of every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredRole {
    /// No token needed; one that is sent is not looked at.
    Public,
    /// No token needed; a good one tells who asks, and one that is not good is taken for none. Outside contracts only.
    Optional,
    /// Any valid token.
    Any,
    /// Role `customer` or `admin`.
    Customer,
    /// Role `admin`.
    Admin,
    /// Role `service`: peers only. The generated client uses its own credentials for it.
    Service,
    /// Role `service` or `admin`.
    ServiceOrAdmin,
}

impl RequiredRole {
    /// The roles of which one is needed; empty where any token will do.
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            RequiredRole::Public | RequiredRole::Optional | RequiredRole::Any => &[],
            RequiredRole::Customer => &["customer", "admin"],
            RequiredRole::Admin => &["admin"],
            RequiredRole::Service => &["service"],
            RequiredRole::ServiceOrAdmin => &["service", "admin"],
        }
    }
}

/// One operation as the contract declares it.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The module that serves it.
    pub module: &'static str,
    /// The trait's method.
    pub name: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path with `{parameters}` named like the method's arguments.
    pub path: &'static str,
    /// Status of success.
    pub status: u16,
    /// Who may call.
    pub access: RequiredRole,
    /// Whether the same call may be sent again without harm. No other is ever retried.
    pub repeatable: bool,
}

/// An incoming call after the edge has done its part: identified, in time, its body read.
pub struct Call {
    /// The context for the trait's method.
    pub cx: Cx,
    /// Headers, path parameters and the raw query.
    pub request: HttpRequest,
    /// The whole body, within the limit.
    pub body: Bytes,
}

impl Call {
    /// A path parameter, decoded once.
    pub fn path<T: Param>(&self, name: &str) -> Result<T, Problem> {
        let unreadable = || Problem::field(name, "is not percent-encoded UTF-8");
        // the router puts U+FFFD where the path is not UTF-8: nobody asked for that
        percent_decode(self.request.path()).ok_or_else(unreadable)?;
        // it leaves %, / and + encoded: what is still escaped here was never decoded
        let raw = self.request.match_info().get(name).unwrap_or_default();
        let text = percent_decode(raw).ok_or_else(unreadable)?;
        T::from_text(Some(&text)).map_err(|expected| Problem::field(name, expected.to_string()))
    }

    /// A query parameter; the first of its name counts.
    pub fn query<T: Param>(&self, name: &str) -> Result<T, Problem> {
        let text = query_value(self.request.query_string(), name);
        T::from_text(text.as_deref()).map_err(|expected| Problem::field(name, expected.to_string()))
    }

    /// A request header; an argument `idempotency_key` reads `idempotency-key`.
    pub fn header<T: Param>(&self, name: &str) -> Result<T, Problem> {
        let name = name.replace('_', "-");
        let text = match self.request.headers().get(&name) {
            None => None,
            Some(value) => Some(value.to_str().map_err(|_| Problem::field(name.as_str(), "is not plain ASCII"))?),
        };
        T::from_text(text).map_err(|expected| Problem::field(name, expected.to_string()))
    }

    /// The JSON body; what does not fit is named with its path.
    pub fn body<T: DeserializeOwned>(&self, _name: &str) -> Result<T, Problem> {
        parse_json(&self.body)
    }
}

/// Reads JSON and says where it does not fit.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(400, "a JSON body is required"));
    }
    // as a whole: members that nobody reads are not looked at below
    let text = std::str::from_utf8(body).map_err(|cause| Problem::new(400, format!("malformed JSON: {cause}")))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(strict::Strict(&mut json)).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.is_syntax() || cause.is_eof() || cause.is_io() {
            Problem::new(400, format!("malformed JSON: {cause}"))
        } else {
            let field = if path == "." { "body".to_string() } else { path };
            Problem::field(field, cause.to_string())
        }
    })?;
    json.end().map_err(|cause| Problem::new(400, format!("malformed JSON: {cause}")))?;
    Ok(value)
}

/// Serves a [`Call`].
pub type Handler = Arc<dyn Fn(Call) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>> + Send + Sync>;

/// Serves a request whose body it reads itself (forms, streams).
pub type RawHandler = Arc<dyn Fn(Cx, HttpRequest, Payload) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>> + Send + Sync>;

/// How an endpoint is served.
#[derive(Clone)]
pub enum Serve {
    /// JSON in and out, by the contract.
    Contract(Handler),
    /// What a contract cannot express.
    Raw(RawHandler),
}

/// An operation with the code behind it.
#[derive(Clone)]
pub struct Endpoint {
    /// What it is.
    pub operation: Arc<Operation>,
    /// What runs.
    pub serve: Serve,
}

impl Endpoint {
    /// An endpoint outside any contract: pages, streams, the issuer, the actuator.
    pub fn raw<F, Fut>(
        module: &'static str,
        name: &'static str,
        method: Method,
        path: &'static str,
        access: RequiredRole,
        handler: F,
    ) -> Self
    where
        F: Fn(Cx, HttpRequest, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HttpResponse, Problem>> + 'static,
    {
        let operation = Operation { module, name, method, path, status: 200, access, repeatable: false };
        let handler: RawHandler = Arc::new(move |cx, request, payload| Box::pin(handler(cx, request, payload)));
        Endpoint { operation: Arc::new(operation), serve: Serve::Raw(handler) }
    }
}

/// The span of a call that stays in this process; none where nothing is recorded.
pub fn step(module: &'static str, operation: &'static str, cx: &Cx) -> Option<Span> {
    let recorded = cx.trace.sampled.then(|| Span::child(cx.trace, Kind::Internal, || format!("{module} {operation}")))?;
    recorded.set("tradepost.module", module);
    Some(recorded)
}

/// Declares a contract. See `modules/product/api.rs` for one in full.
///
/// A call reads `fn name(kind argument: Type, ...) -> Reply = VERB "path" => status, RequiredRole, repeat;`
/// where `kind` is `path`, `query`, `header` or `body` and `repeat` is `repeatable` or `once`.
#[macro_export]
macro_rules! contract {
    ($(#[$meta:meta])* pub trait $Api:ident in $module:literal, error = $Error:ty, client = $Client:ident {
        $( $(#[doc = $doc:literal])+
           fn $f:ident($($kind:ident $arg:ident : $ty:ty),* $(,)?) -> $ret:ty = $verb:ident $path:literal => $status:literal, $access:ident, $repeat:ident; )*
    }) => {
        $(#[$meta])*
        #[async_trait::async_trait(?Send)]
        pub trait $Api: Send + Sync {
            $( $(#[doc = $doc])+ async fn $f(&self, cx: &$crate::rpc::context::Cx $(, $arg: $ty)*) -> Result<$ret, $Error>; )*
        }

        /// The generated client: the same trait, answered by a remote peer over HTTP.
        pub struct $Client(pub std::sync::Arc<$crate::rpc::contract::client::Remote>);

        #[async_trait::async_trait(?Send)]
        impl $Api for $Client {
            $( async fn $f(&self, cx: &$crate::rpc::context::Cx $(, $arg: $ty)*) -> Result<$ret, $Error> {
                #[allow(unused_mut)]
                let mut call = $crate::rpc::contract::client::Outgoing::new($Client::operation(stringify!($f)));
                $( $crate::contract!(@put call $kind $arg); )*
                self.0.call(cx, call).await
            } )*
        }

        impl $Client {
            /// Every operation of this contract, in the order of its declaration.
            pub fn operations() -> &'static [std::sync::Arc<$crate::rpc::contract::Operation>] {
                static ALL: std::sync::LazyLock<Vec<std::sync::Arc<$crate::rpc::contract::Operation>>> = std::sync::LazyLock::new(|| vec![
                    $( std::sync::Arc::new($crate::rpc::contract::Operation {
                        module: $module,
                        name: stringify!($f),
                        method: actix_web::http::Method::$verb,
                        path: $path,
                        status: $status,
                        access: $crate::rpc::contract::RequiredRole::$access,
                        repeatable: $crate::contract!(@repeat $repeat),
                    }), )*
                ]);
                &ALL
            }

            fn operation(name: &str) -> Option<std::sync::Arc<$crate::rpc::contract::Operation>> {
                Self::operations().iter().find(|operation| operation.name == name).cloned()
            }

            /// The server's side of the same declaration.
            pub fn endpoints(api: std::sync::Arc<dyn $Api>) -> Vec<$crate::rpc::contract::Endpoint> {
                let mut endpoints = Vec::new();
                $( {
                    let api = api.clone();
                    let handler: $crate::rpc::contract::Handler = std::sync::Arc::new(move |call| {
                        let api = api.clone();
                        Box::pin(async move {
                            $( let $arg: $ty = $crate::contract!(@take call $kind $arg)?; )*
                            let reply = api.$f(&call.cx $(, $arg)*).await.map_err($crate::kernel::problem::TypedError::into_problem)?;
                            $crate::rpc::contract::Reply::write(reply, $status)
                        })
                    });
                    if let Some(operation) = Self::operation(stringify!($f)) {
                        endpoints.push($crate::rpc::contract::Endpoint { operation, serve: $crate::rpc::contract::Serve::Contract(handler) });
                    }
                } )*
                endpoints
            }

            /// The peer in this process: its service, each call a step of the caller's trace.
            pub fn local(service: std::sync::Arc<dyn $Api>) -> std::sync::Arc<dyn $Api> {
                struct Local(std::sync::Arc<dyn $Api>);
                #[async_trait::async_trait(?Send)]
                impl $Api for Local {
                    $( async fn $f(&self, cx: &$crate::rpc::context::Cx $(, $arg: $ty)*) -> Result<$ret, $Error> {
                        match $crate::rpc::contract::step($module, stringify!($f), cx) {
                            None => self.0.$f(cx $(, $arg)*).await,
                            Some(span) => span.scope(self.0.$f(&cx.in_span(&span) $(, $arg)*)).await,
                        }
                    } )*
                }
                std::sync::Arc::new(Local(service))
            }

            /// What OpenAPI says of this contract.
            pub fn describe(doc: &mut $crate::rpc::contract::openapi::Document) {
                $( {
                    #[allow(unused_mut)]
                    let mut about = doc.operation(Self::operation(stringify!($f)), &[$($doc),+]);
                    $( $crate::contract!(@describe about $kind $arg $ty); )*
                    about.reply::<$ret>();
                } )*
            }
        }
    };
    (@put $call:ident path $arg:ident) => { $call.path(stringify!($arg), &$arg); };
    (@put $call:ident query $arg:ident) => { $call.query(stringify!($arg), &$arg); };
    (@put $call:ident header $arg:ident) => { $call.header(stringify!($arg), &$arg); };
    (@put $call:ident body $arg:ident) => { $call.body(&$arg); };
    (@take $call:ident $kind:ident $arg:ident) => { $call.$kind(stringify!($arg)) };
    (@describe $about:ident body $arg:ident $ty:ty) => { $about.body::<$ty>(); };
    (@describe $about:ident $kind:ident $arg:ident $ty:ty) => { $about.parameter::<$ty>(stringify!($kind), stringify!($arg)); };
    (@repeat repeatable) => { true };
    (@repeat once) => { false };
}

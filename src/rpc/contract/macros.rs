//! The `contract!` macro, and the span of the local calls that it generates.

use crate::observe::trace::{Kind, Span};
use crate::rpc::context::Cx;

/// The span of a call to a local peer; `None` if the trace is not recorded.
pub fn local_call_span(module: &'static str, operation: &'static str, cx: &Cx) -> Option<Span> {
    let span = cx.trace.sampled.then(|| Span::child(cx.trace, Kind::Internal, || format!("{module} {operation}")))?;
    span.set("tradepost.module", module);
    Some(span)
}

/// Declares a contract. `modules/product/api.rs` is a complete example.
///
/// An operation is `fn name(kind argument: Type, ...) -> Reply = VERB "path" => status, RequiredRole, repeat;`
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

        /// The generated client: implements the trait by HTTP calls to a remote peer.
        pub struct $Client(pub std::sync::Arc<$crate::rpc::contract::client::Remote>);

        #[async_trait::async_trait(?Send)]
        impl $Api for $Client {
            $( async fn $f(&self, cx: &$crate::rpc::context::Cx $(, $arg: $ty)*) -> Result<$ret, $Error> {
                #[allow(unused_mut)]
                let mut call = $crate::rpc::contract::client::OutgoingCall::new($Client::operation(stringify!($f)));
                $( $crate::contract!(@put call $kind $arg); )*
                self.0.call(cx, call).await
            } )*
        }

        impl $Client {
            /// All operations of this contract, in declaration order.
            pub fn operations() -> &'static [std::sync::Arc<$crate::rpc::contract::Operation>] {
                static ALL: std::sync::LazyLock<Vec<std::sync::Arc<$crate::rpc::contract::Operation>>> = std::sync::LazyLock::new(|| vec![
                    $( std::sync::Arc::new($crate::rpc::contract::Operation {
                        module: $module,
                        name: stringify!($f),
                        method: actix_web::http::Method::$verb,
                        path: $path,
                        status: $status,
                        required_role: $crate::rpc::contract::RequiredRole::$access,
                        repeatable: $crate::contract!(@repeat $repeat),
                    }), )*
                ]);
                &ALL
            }

            fn operation(name: &str) -> Option<std::sync::Arc<$crate::rpc::contract::Operation>> {
                Self::operations().iter().find(|operation| operation.name == name).cloned()
            }

            /// The HTTP endpoints of this contract.
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
                        endpoints.push($crate::rpc::contract::Endpoint { operation, serve: $crate::rpc::contract::EndpointHandler::Contract(handler) });
                    }
                } )*
                endpoints
            }

            /// The local peer: calls the service directly, with one span per call.
            pub fn local(service: std::sync::Arc<dyn $Api>) -> std::sync::Arc<dyn $Api> {
                struct Local(std::sync::Arc<dyn $Api>);
                #[async_trait::async_trait(?Send)]
                impl $Api for Local {
                    $( async fn $f(&self, cx: &$crate::rpc::context::Cx $(, $arg: $ty)*) -> Result<$ret, $Error> {
                        match $crate::rpc::contract::local_call_span($module, stringify!($f), cx) {
                            None => self.0.$f(cx $(, $arg)*).await,
                            Some(span) => span.scope(self.0.$f(&cx.in_span(&span) $(, $arg)*)).await,
                        }
                    } )*
                }
                std::sync::Arc::new(Local(service))
            }

            /// Adds this contract to the OpenAPI document.
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

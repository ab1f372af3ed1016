//! The HTTP side: publishing, history, presence, operation, statistics and health.
//!
//! Owns the routes beside the upgrade, their limits, and the one shape of every error. Must not
//! know frames or sockets: publications reach subscribers through the engine's notification.

mod error;
mod history;
mod intake;
mod openapi;
mod operate;
mod presence;
mod publish;
mod query;
mod status;
mod unread;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use bowline_engine::Engine;
use bowline_proto::Code;
use tokio::time::Instant;

use crate::{Config, accept::only, node::Node, upgrade::is_entrance};
pub(crate) use error::{ApiError, json_response};
use intake::Places;
pub(crate) use query::{Question, segment};
pub(crate) use unread::Unread;

/// What the HTTP routes work with. Cloning shares it.
#[derive(Clone)]
pub(crate) struct HttpApi {
    node: Arc<Node>,
    engine: Arc<dyn Engine>,
    config: Arc<Config>,
    /// One permit per request whose body is in memory.
    places: Places,
    /// One permit per page of history that is not written yet.
    pages: Places,
}

/// Every route but those that end in a WebSocket; `openapi` describes them all.
fn routes() -> [(&'static str, MethodRouter<HttpApi>); 12] {
    [
        ("/api/publish", post(publish::publish)),
        ("/api/disconnect", post(operate::disconnect)),
        ("/api/channels/{channel}/history", get(history::history)),
        ("/api/channels/{channel}/presence", get(presence::presence)),
        ("/ws/stats", get(operate::stats)),
        ("/ws/stats/detailed", get(operate::detailed)),
        ("/ws/stats/rate-limit", get(operate::rate_limit)),
        ("/ws/cleanup", post(operate::cleanup)),
        ("/metrics", get(operate::metrics)),
        ("/health/live", get(status::live)),
        ("/health/ready", get(status::ready)),
        ("/openapi.json", get(openapi::document)),
    ]
}

impl HttpApi {
    /// Over the parts of a node.
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let places = || Places::new(node.config.http_requests_max);
        let (places, pages) = (places(), places());
        Self {
            engine: node.engine.clone(),
            config: node.config.clone(),
            node,
            places,
            pages,
        }
    }

    /// The routes, to be merged with others. Paths that are not theirs are left to the others; the
    /// peer's address is taken from `ConnectInfo<SocketAddr>` where the program provides it.
    pub(crate) fn routes(&self) -> Router {
        self.guarded(self.plain_routes())
    }

    /// The same without what [`complete`](Self::complete) adds to all routes.
    pub(crate) fn plain_routes(&self) -> Router {
        let routes = routes()
            .into_iter()
            .fold(Router::new(), |router, (path, methods)| {
                router.route(path, methods)
            });
        routes
            .method_not_allowed_fallback(async || ApiError::from(Code::MethodNotAllowed))
            .with_state(self.clone())
    }

    /// Makes a whole program of `router`: what it has no route for is answered `not_found`, in the
    /// shape of every other error.
    pub(crate) fn complete(&self, router: Router) -> Router {
        self.guarded(router.fallback(async || ApiError::from(Code::NotFound)))
    }

    /// Counts what its requests are answered, and settles what they left unread; once however many
    /// of these a request passes.
    pub(crate) fn counted(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), measure))
    }

    fn guarded(&self, router: Router) -> Router {
        // Each layer costs every request some ten allocations, so this one stands only where it guards.
        let guard = middleware::from_fn_with_state(self.clone(), guard);
        let router = if self.config.dev {
            router.layer(guard)
        } else {
            router
        };
        self.counted(router)
    }
}

/// Development mode needs no key, so it answers nobody but this machine's own programs and pages.
/// The entrance tells foreign pages so in a form that they can see; foreign names it never hears of.
async fn guard(State(api): State<HttpApi>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = only(headers, &header::ORIGIN).filter(|_| !is_entrance(request.uri().path()));
    let host = only(headers, &header::HOST);
    if !api.config.allows_origin(origin, host) {
        return ApiError::from(Code::OriginNotAllowed).into_response();
    }
    next.run(request).await
}

/// A request whose duration is measured already.
#[derive(Clone, Copy)]
struct Measured;

async fn measure(State(api): State<HttpApi>, mut request: Request, next: Next) -> Response {
    if request.extensions_mut().insert(Measured).is_some() {
        return next.run(request).await;
    }
    let begun = Instant::now();
    let unread = Unread::watch(&mut request);
    let mut response = next.run(request).await;
    tally(&api.node, begun, &mut response);
    if let Some(unread) = unread {
        unread.settle(&api.config, &mut response);
    }
    response
}

/// Counts an answer, once, with the time that it took.
pub(crate) fn tally(node: &Node, begun: Instant, response: &mut Response) {
    if let Some(code) = response.extensions_mut().remove::<Code>() {
        node.counters.errors.add(code);
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        node.counters.http_requests.since(begun);
    }
}

#[cfg(test)]
mod tests;

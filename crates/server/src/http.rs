//! The HTTP side: publishing, history, statistics and health.
//!
//! Owns the routes below `/api`, `/health` and `/ws/stats`, their limits, and the one shape of
//! every error. Must not know connections, frames or sessions: publications reach subscribers
//! through the engine's notification, numbers come from [`Vitals`].

mod error;
mod history;
mod intake;
mod publish;
mod status;

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bowline_engine::Engine;
use bowline_proto::Code;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{AccessControl, Config};
pub(crate) use error::{ApiError, json_response};

/// What the rest of the server says of itself over HTTP.
pub trait Vitals: Send + Sync + 'static {
    /// Counts and sizes at this moment, as one JSON object.
    fn stats(&self) -> serde_json::Map<String, serde_json::Value>;

    /// `Err` while no new work should come here: [`Code::Draining`] or [`Code::Overloaded`].
    fn readiness(&self) -> Result<(), Code>;
}

/// What the HTTP routes work with. Cloning shares it.
#[derive(Clone)]
pub struct HttpApi {
    engine: Arc<dyn Engine>,
    access: Arc<dyn AccessControl>,
    vitals: Arc<dyn Vitals>,
    config: Arc<Config>,
    /// One permit per request whose body is in memory.
    places: Arc<Semaphore>,
}

impl HttpApi {
    /// Over an engine that others may share.
    pub fn new(
        engine: Arc<dyn Engine>,
        access: Arc<dyn AccessControl>,
        vitals: Arc<dyn Vitals>,
        config: Arc<Config>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(config.http_requests_max));
        Self {
            engine,
            access,
            vitals,
            config,
            places,
        }
    }

    /// The routes, to be merged with others. Paths that are not theirs are left to the others; the
    /// peer's address is taken from `ConnectInfo<SocketAddr>` where the program provides it.
    pub fn routes(&self) -> Router {
        let routes = Router::new()
            .route("/api/publish", post(publish::publish))
            .route("/api/channels/{channel}/history", get(history::history))
            .route("/ws/stats", get(status::stats))
            .route("/health/live", get(status::live))
            .route("/health/ready", get(status::ready))
            .method_not_allowed_fallback(async || ApiError::from(Code::MethodNotAllowed))
            .with_state(self.clone());
        self.guarded(routes)
    }

    /// Makes a whole program of `router`: what it has no route for is answered `not_found`, in the
    /// shape of every other error.
    pub fn complete(&self, router: Router) -> Router {
        self.guarded(router.fallback(async || ApiError::from(Code::NotFound)))
    }

    fn guarded(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), guard))
    }
}

/// Serves the HTTP routes alone until `shutdown` is done; then requests in flight are finished.
pub async fn serve_http(
    listener: TcpListener,
    api: HttpApi,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = api
        .complete(api.routes())
        .into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown)
        .await
}

/// Development mode needs no key, so it answers nobody but this machine's own programs and pages.
async fn guard(State(api): State<HttpApi>, request: Request, next: Next) -> Response {
    if api.config.dev && !is_local(&api.config, request.headers()) {
        return ApiError::from(Code::OriginNotAllowed).into_response();
    }
    next.run(request).await
}

fn is_local(config: &Config, headers: &HeaderMap) -> bool {
    // A value that is no text is a name that nobody has.
    let text = |name| {
        let value: Option<&HeaderValue> = headers.get(name);
        value.map(|value| value.to_str().unwrap_or("?"))
    };
    config.allows_origin(text(header::ORIGIN), text(header::HOST))
}

#[cfg(test)]
mod tests;

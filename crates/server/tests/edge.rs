//! The server's edge over real sockets: who comes in, who is refused and how they are told, who is
//! believed, and what the server says of itself.

mod edge {
    mod access;
    mod auth;
    mod catch_up;
    pub(crate) mod client;
    #[path = "../support/clock.rs"]
    pub(crate) mod clock;
    mod drain;
    #[path = "../support/gated.rs"]
    pub(crate) mod gated;
    mod hello;
    mod http;
    mod jwks;
    mod limits;
    mod operate;
    mod proxies;
    mod requests;
    mod tokens;
}

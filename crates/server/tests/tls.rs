//! TLS over real sockets: who comes in, how a renewed certificate is shown, who is cut, and what a
//! peer that does not read costs.

mod tls {
    mod client;
    #[path = "../support/clock.rs"]
    mod clock;
    mod embedded;
    mod handshake;
    mod reload;
    mod traffic;
}

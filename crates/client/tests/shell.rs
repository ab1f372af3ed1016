//! The client over real sockets, against a server that the test plays itself.

#[path = "support/head.rs"]
mod head;
mod shell {
    mod fates;
    mod links;
    mod peer;
}

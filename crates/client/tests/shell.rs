//! The client over real sockets, against a server that the test plays itself.

mod shell {
    mod fates;
    mod links;
    mod peer;
}

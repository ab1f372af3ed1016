//! Walks the registries: every code of the table is provoked, every metric moves, every route of
//! `/openapi.json` is called, every setting changes what a server does. What has no case here fails.

#[path = "../../server/tests/edge/client.rs"]
#[expect(dead_code, reason = "the server's own tests use the rest of it")]
mod client;
#[path = "support/command.rs"]
#[expect(dead_code, reason = "the settings are in a file here")]
mod command;

mod registries {
    mod codes;
    mod load;
    mod metrics;
    mod process;
    mod routes;
    mod settings;
    pub(crate) mod world;
}

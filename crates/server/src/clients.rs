//! Which programs clients say that they are.
//!
//! Owns one copy of each for all connections that share it: mostly there are few, and each
//! connection would hold two strings. Must not know connections.

use std::{collections::BTreeMap, sync::Arc};

use bowline_proto::message::ClientInfo;

use crate::sync::{Mutex, lock};

/// So many programs are remembered; those of later ones stand once per connection.
const SHARED_MAX: usize = 256;
/// Longer names and versions are cut: they are for people to read.
const TEXT_BYTES_MAX: usize = 64;

/// The programs that were seen.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<BTreeMap<Program, Arc<ClientInfo>>>);

/// A name and a version.
type Program = (Box<str>, Option<Box<str>>);

impl Clients {
    /// The same for everybody, cut to its bounds.
    pub(crate) fn shared(&self, client: ClientInfo) -> Arc<ClientInfo> {
        let name = cut(client.name);
        let version = client.version.map(cut);
        let mut known = lock(&self.0);
        if let Some(known) = known.get(&(name.clone(), version.clone())) {
            return known.clone();
        }
        let client = Arc::new(ClientInfo {
            name: name.clone(),
            version: version.clone(),
        });
        if known.len() < SHARED_MAX {
            known.insert((name, version), client.clone());
        }
        client
    }
}

fn cut(text: Box<str>) -> Box<str> {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    if end == text.len() {
        text
    } else {
        text[..end].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientInfo {
        ClientInfo {
            name: name.into(),
            version: None,
        }
    }

    #[test]
    fn a_program_is_shared_cut_and_bounded() {
        let clients = Clients::default();
        let first = clients.shared(client("a"));
        assert!(Arc::ptr_eq(&first, &clients.shared(client("a"))));
        assert_eq!(clients.shared(client(&"é".repeat(40))).name.len(), 64);
        for n in 0..1_000 {
            assert_eq!(*clients.shared(client(&n.to_string())).name, *n.to_string());
        }
        assert_eq!(lock(&clients.0).len(), SHARED_MAX);
    }
}

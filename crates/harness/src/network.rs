//! A host of its own: a network namespace behind a veth pair, and kernel faults between it and us.
//!
//! Owns the namespace, the pair, one address of ours for each client, and a table of nft whose rules
//! strike by that address. Needs root, `ip`, `tc` and `nft`; says so where it can't have them.
//! Everything is taken down when it is dropped. Must not know what runs over it.

use std::{fmt::Write as _, io, net::Ipv4Addr};

use crate::command::{feed, run};

/// Hosts in the /24 that both ends share, less the two below.
const ADDRESSES_MAX: usize = 250;
/// Ours for what belongs to no client: it meets no fault of a path.
const OUR_HOST: u8 = 253;
const INNER_HOST: u8 = 254;
const LOSS_PERCENT: u32 = 20;

/// A network between us and a host. Dropping it takes it down.
#[derive(Debug)]
pub struct Network {
    /// Of the namespace, our interface and the table.
    name: String,
    inside: Inside,
    addresses: Vec<Ipv4Addr>,
    inner: Ipv4Addr,
}

/// Who lives on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// What dials: packets to the server come from there.
    Clients,
    /// What is dialled: packets to the server go there.
    Server,
}

/// What can be wrong between the host and one of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// What goes to the server is lost.
    DropToServer,
    /// What comes from the server is lost.
    DropToClient,
    /// Both.
    DropBoth,
    /// What goes to the server is answered by the kernel with RST; nobody else hears of it.
    Reset,
    /// One packet in five is lost, both ways.
    Loss,
}

/// What can be wrong with the whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// Our interface is down.
    LinkDown,
    /// The carrier stays, and nothing passes.
    BlackHole,
    /// 4 Mbit/s to the host, with a long queue before it.
    Narrow,
}

impl PathFault {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DropToServer,
        Self::DropToClient,
        Self::DropBoth,
        Self::Reset,
        Self::Loss,
    ];

    /// The name in logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::DropToServer => "nft drop to server",
            Self::DropToClient => "nft drop to client",
            Self::DropBoth => "nft drop both ways",
            Self::Reset => "nft reset",
            Self::Loss => "nft loss of 20 percent",
        }
    }

    /// The sets of the table in which an address meets this: `in` is what comes from the host.
    fn sets(self, inside: Inside) -> &'static [&'static str] {
        match (self, inside) {
            (Self::DropToServer, Inside::Clients) | (Self::DropToClient, Inside::Server) => {
                &["in_drop"]
            }
            (Self::DropToServer, Inside::Server) | (Self::DropToClient, Inside::Clients) => {
                &["out_drop"]
            }
            (Self::DropBoth, _) => &["in_drop", "out_drop"],
            (Self::Reset, Inside::Clients) => &["in_reset"],
            (Self::Reset, Inside::Server) => &["out_reset"],
            (Self::Loss, _) => &["in_loss", "out_loss"],
        }
    }
}

impl NetworkFault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LinkDown, Self::BlackHole, Self::Narrow];

    /// The name in logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinkDown => "link down",
            Self::BlackHole => "black hole with carrier",
            Self::Narrow => "tbf 4 Mbit/s",
        }
    }
}

impl Network {
    /// Makes it, with so many addresses of ours.
    ///
    /// # Errors
    /// This machine does not allow it; the message is for people.
    pub fn start(inside: Inside, addresses: usize) -> Result<Self, String> {
        if addresses > ADDRESSES_MAX {
            return Err(format!(
                "at most {ADDRESSES_MAX} clients have room in one network"
            ));
        }
        let id = std::process::id();
        let (tag, side) = match inside {
            Inside::Clients => ("c", 0),
            Inside::Server => ("s", 1),
        };
        let third = u8::try_from(id % 250).unwrap_or(0);
        let second = u8::try_from(128 + 2 * (id / 250 % 60) + side).unwrap_or(0);
        let host = |host: u8| Ipv4Addr::new(10, second, third, host);
        let last = u8::try_from(addresses).unwrap_or(u8::MAX);
        let network = Self {
            name: format!("bl{id}{tag}"),
            inside,
            addresses: (1..=last).map(host).collect(),
            inner: host(INNER_HOST),
        };
        let made = network.make(host(OUR_HOST));
        made.map_err(|error| format!("no network namespace of its own: {error}"))?;
        Ok(network)
    }

    /// Our address for each client.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// The host's address.
    pub fn inner(&self) -> Ipv4Addr {
        self.inner
    }

    /// The words before a command that make it run on the host.
    pub fn prefix(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Begins a fault of these clients' paths.
    pub fn begin_paths(&self, clients: &[usize], fault: PathFault) -> io::Result<()> {
        let list = self.list(clients);
        let mut script = String::new();
        for set in fault.sets(self.inside) {
            let _ = writeln!(script, "add element inet {} {set} {list}", self.name);
        }
        feed(&["nft", "-f", "-"], &script)
    }

    /// Ends it; how many of them met it with a packet at least.
    pub fn end_paths(&self, clients: &[usize], fault: PathFault) -> io::Result<u64> {
        let list = self.list(clients);
        let mut met = vec![false; clients.len()];
        let mut script = String::new();
        for set in fault.sets(self.inside) {
            let listed = run(&["nft", "list", "set", "inet", &self.name, set])?;
            for (met, client) in met.iter_mut().zip(clients) {
                *met |= packets(&listed, self.addresses[*client]) > 0;
            }
            let _ = writeln!(script, "delete element inet {} {set} {list}", self.name);
        }
        feed(&["nft", "-f", "-"], &script)?;
        Ok(met.into_iter().filter(|met| *met).count() as u64)
    }

    /// Begins a fault of the whole network.
    pub fn begin(&self, fault: NetworkFault) -> io::Result<()> {
        match fault {
            NetworkFault::LinkDown => run(&["ip", "link", "set", &self.name, "down"])?,
            NetworkFault::BlackHole => self.dark("add")?,
            NetworkFault::Narrow => run(&[
                "tc", "qdisc", "add", "dev", &self.name, "root", "tbf", "rate", "4mbit", "burst",
                "16kb", "limit", "400000",
            ])?,
        };
        Ok(())
    }

    /// Ends it.
    pub fn end(&self, fault: NetworkFault) -> io::Result<()> {
        match fault {
            NetworkFault::LinkDown => run(&["ip", "link", "set", &self.name, "up"])?,
            NetworkFault::BlackHole => self.dark("delete")?,
            NetworkFault::Narrow => run(&["tc", "qdisc", "del", "dev", &self.name, "root"])?,
        };
        Ok(())
    }

    fn dark(&self, verb: &str) -> io::Result<String> {
        let name = &self.name;
        run(&[
            "nft",
            verb,
            "element",
            "inet",
            name,
            "dark",
            &format!("{{ {name} }}"),
        ])
    }

    /// A set's elements, in nft's words.
    fn list(&self, clients: &[usize]) -> String {
        let addresses = clients
            .iter()
            .map(|client| self.addresses[*client].to_string());
        format!("{{ {} }}", addresses.collect::<Vec<_>>().join(", "))
    }

    fn make(&self, ours: Ipv4Addr) -> io::Result<()> {
        let name = &self.name;
        run(&["ip", "netns", "add", name])?;
        run(&[
            "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name,
        ])?;
        // The first is the one that the kernel chooses where nobody says which.
        let mut script = format!("addr add {ours}/24 dev {name}\n");
        for address in &self.addresses {
            let _ = writeln!(script, "addr add {address}/24 dev {name}");
        }
        let _ = writeln!(script, "link set {name} up");
        feed(&["ip", "-batch", "-"], &script)?;
        let inner = self.inner;
        let inside = format!("addr add {inner}/24 dev eth0\nlink set lo up\nlink set eth0 up\n");
        feed(&["ip", "-n", name, "-batch", "-"], &inside)?;
        feed(&["nft", "-f", "-"], &table(name))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was never made can't be taken down. The pair goes with its namespace, but late.
        let _ = run(&["nft", "delete", "table", "inet", &self.name]);
        let _ = run(&["ip", "link", "del", &self.name]);
        let _ = run(&["ip", "netns", "del", &self.name]);
    }
}

fn table(name: &str) -> String {
    let mut sets = String::new();
    for way in ["in", "out"] {
        for what in ["drop", "reset", "loss"] {
            let _ = writeln!(sets, "set {way}_{what} {{ type ipv4_addr; counter; }}");
        }
    }
    let some = format!("numgen random mod 100 < {LOSS_PERCENT} drop");
    format!(
        "table inet {name} {{
        {sets}
        set dark {{ type ifname; }}
        chain from_host {{
            type filter hook input priority 0; policy accept;
            iifname @dark drop
            ip daddr @in_drop drop
            ip daddr @in_reset meta l4proto tcp reject with tcp reset
            ip daddr @in_loss {some}
        }}
        chain to_host {{
            type filter hook output priority 0; policy accept;
            oifname @dark drop
            ip saddr @out_drop drop
            ip saddr @out_reset meta l4proto tcp reject with tcp reset
            ip saddr @out_loss {some}
        }}
        }}"
    )
}

/// The packets that `nft list set` counts for an address.
fn packets(listed: &str, address: Ipv4Addr) -> u64 {
    let mut words = listed
        .split([' ', ',', '\t', '\n'])
        .filter(|word| !word.is_empty());
    let address = address.to_string();
    words
        .find(|word| *word == address)
        .and_then(|_| words.find(|word| *word == "packets"))
        .and_then(|_| words.next())
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_of_an_address_are_its_own() {
        let listed = "table inet bl1 {\n\tset in_drop {\n\t\ttype ipv4_addr\n\t\tcounter\n\t\t\
            elements = { 10.1.2.3 counter packets 0 bytes 0,\n\t\t\t\
            10.1.2.30 counter packets 17 bytes 900 }\n\t}\n}";
        assert_eq!(packets(listed, Ipv4Addr::new(10, 1, 2, 30)), 17);
        assert_eq!(packets(listed, Ipv4Addr::new(10, 1, 2, 3)), 0);
        assert_eq!(packets(listed, Ipv4Addr::new(10, 1, 2, 4)), 0);
    }
}

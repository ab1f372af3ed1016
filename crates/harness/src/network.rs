//! A host of its own for the clients: a network namespace behind a veth pair, and kernel faults between.
//!
//! Owns the namespace, the pair, one address of the server for each client, and a table of nft whose
//! rules strike by that address. Needs root, `ip`, `tc` and `nft`; says so where it can't have them.
//! Everything is taken down when it is dropped. Must not know what runs over it.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
};

/// Hosts in the /24 that both ends share, less the clients' own.
const ADDRESSES_MAX: usize = 250;
const CLIENT_HOST: u8 = 254;
const LOSS_PERCENT: u32 = 20;

/// A network between server and clients. Dropping it takes it down.
#[derive(Debug)]
pub struct Network {
    /// Of the namespace, the host's interface and the table.
    name: String,
    addresses: Vec<Ipv4Addr>,
    port: u16,
}

/// What can be wrong between the server and one of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// What goes to the server is lost.
    DropToServer,
    /// What comes from the server is lost.
    DropToClient,
    /// Both.
    DropBoth,
    /// What goes to the server is answered by the kernel with RST; the server hears nothing.
    Reset,
    /// One packet in five is lost, both ways.
    Loss,
}

/// What can be wrong with the whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// The server's interface is down.
    LinkDown,
    /// The carrier stays, and nothing passes.
    BlackHole,
    /// 4 Mbit/s from server to clients, with a long queue before it.
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

    /// The sets of the table in which an address meets this.
    fn sets(self) -> &'static [&'static str] {
        match self {
            Self::DropToServer => &["in_drop"],
            Self::DropToClient => &["out_drop"],
            Self::DropBoth => &["in_drop", "out_drop"],
            Self::Reset => &["in_reset"],
            Self::Loss => &["in_loss", "out_loss"],
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
    /// Makes it, with so many addresses of the server, whose port is `port`.
    ///
    /// # Errors
    /// This machine does not allow it; the message is for people.
    pub fn start(addresses: usize, port: u16) -> Result<Self, String> {
        if addresses > ADDRESSES_MAX {
            return Err(format!(
                "at most {ADDRESSES_MAX} clients have room in one network"
            ));
        }
        let id = std::process::id();
        let third = u8::try_from(id % 250).unwrap_or(0);
        let second = u8::try_from(128 + id / 250 % 100).unwrap_or(0);
        let host = |host: u8| Ipv4Addr::new(10, second, third, host);
        let last = u8::try_from(addresses).unwrap_or(u8::MAX);
        let network = Self {
            name: format!("bl{id}"),
            addresses: (1..=last).map(host).collect(),
            port,
        };
        let made = network.make(host(CLIENT_HOST));
        made.map_err(|error| format!("no network namespace of its own: {error}"))?;
        Ok(network)
    }

    /// Where each client dials.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let with_port = |address: &Ipv4Addr| SocketAddr::from((*address, self.port));
        self.addresses.iter().map(with_port).collect()
    }

    /// The words before a command that make it run on the clients' host.
    pub fn prefix(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Begins a fault of one client's path.
    pub fn begin_path(&self, client: usize, fault: PathFault) -> io::Result<()> {
        let address = self.addresses[client];
        let mut script = String::new();
        for set in fault.sets() {
            let _ = writeln!(
                script,
                "add element inet {} {set} {{ {address} }}",
                self.name
            );
        }
        feed(&["nft", "-f", "-"], &script)
    }

    /// Ends it; whether any packet met it.
    pub fn end_path(&self, client: usize, fault: PathFault) -> io::Result<bool> {
        let address = self.addresses[client];
        let mut met = false;
        let mut script = String::new();
        for set in fault.sets() {
            let listed = run(&["nft", "list", "set", "inet", &self.name, set])?;
            met |= packets(&listed, address) > 0;
            let _ = writeln!(
                script,
                "delete element inet {} {set} {{ {address} }}",
                self.name
            );
        }
        feed(&["nft", "-f", "-"], &script)?;
        Ok(met)
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

    fn make(&self, client: Ipv4Addr) -> io::Result<()> {
        let name = &self.name;
        run(&["ip", "netns", "add", name])?;
        run(&[
            "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name,
        ])?;
        let mut script = String::new();
        for address in &self.addresses {
            let _ = writeln!(script, "addr add {address}/24 dev {name}");
        }
        let _ = writeln!(script, "link set {name} up");
        feed(&["ip", "-batch", "-"], &script)?;
        let inside = format!("addr add {client}/24 dev eth0\nlink set lo up\nlink set eth0 up\n");
        feed(&["ip", "-n", name, "-batch", "-"], &inside)?;
        feed(&["nft", "-f", "-"], &table(name, self.port))
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

fn table(name: &str, port: u16) -> String {
    let mut sets = String::new();
    for set in ["in_drop", "in_reset", "in_loss", "out_drop", "out_loss"] {
        let _ = writeln!(sets, "set {set} {{ type ipv4_addr; counter; }}");
    }
    let to_server = format!("tcp dport {port}");
    let to_client = format!("tcp sport {port}");
    let some = format!("numgen random mod 100 < {LOSS_PERCENT} drop");
    format!(
        "table inet {name} {{
        {sets}
        set dark {{ type ifname; }}
        chain from_clients {{
            type filter hook input priority 0; policy accept;
            iifname @dark drop
            ip daddr @in_drop {to_server} drop
            ip daddr @in_reset {to_server} reject with tcp reset
            ip daddr @in_loss {to_server} {some}
        }}
        chain to_clients {{
            type filter hook output priority 0; policy accept;
            oifname @dark drop
            ip saddr @out_drop {to_client} drop
            ip saddr @out_loss {to_client} {some}
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

fn run(command: &[&str]) -> io::Result<String> {
    feed_and_hear(command, "")
}

fn feed(command: &[&str], script: &str) -> io::Result<()> {
    feed_and_hear(command, script).map(|_| ())
}

/// These commands answer within milliseconds, so that the calling task may wait for them.
fn feed_and_hear(command: &[&str], script: &str) -> io::Result<String> {
    let named = |problem: &dyn std::fmt::Display| {
        io::Error::other(format!("{}: {problem}", command.join(" ")))
    };
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| named(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read what it is told says why on stderr.
        let _ = stdin.write_all(script.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| named(&error))?;
    if !output.status.success() {
        return Err(named(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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

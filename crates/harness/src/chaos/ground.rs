//! What a run stands on: hosts, a disk and a clock of its own, as far as this machine allows them.
//!
//! What it does not allow is told, and the faults that need it are not run.

use std::net::{IpAddr, Ipv4Addr};

use super::{ChaosOptions, say};
use crate::{
    clock::Clock,
    network::{Inside, Network},
    proxy::Route,
    tracer::Tracer,
    volume::Volume,
};

/// Small, so that it is soon full; the log needs a part of it.
const VOLUME_MEGABYTES: u32 = 256;

/// Parts that can't be had are absent.
#[derive(Debug, Default)]
pub(super) struct Ground {
    pub(super) hosts: Option<Hosts>,
    pub(super) volume: Option<Volume>,
    /// The server's.
    pub(super) clock: Option<Clock>,
    /// System calls can be made to fail.
    pub(super) traces: bool,
}

/// Clients on one host, the server on another one, and the proxy between them on ours.
#[derive(Debug)]
pub(super) struct Hosts {
    pub(super) clients: Network,
    pub(super) server: Network,
}

impl Ground {
    /// Makes all that can be had, for so many links of publishers beside those of clients.
    pub(super) async fn start(options: &ChaosOptions, http_links: usize) -> Self {
        let hosts = Hosts::start(options.load.clients, http_links);
        let volume = Volume::start(&options.folder.join("volume"), VOLUME_MEGABYTES);
        let clock = Clock::start(&options.folder, "clock");
        let ground = Self {
            hosts: known("faults of hosts, over loopback instead", hosts),
            volume: known("a full disk", volume),
            clock: known("jumps of the clock", clock),
            traces: Tracer::is_there().await,
        };
        if !ground.traces {
            say(format_args!(
                "NOT RUN: failing and slow disks: there is no strace that may trace"
            ));
        }
        ground
    }

    /// Words before the server's command.
    pub(super) fn server_prefix(&self) -> Vec<String> {
        let hosts = self.hosts.as_ref();
        hosts.map_or_else(Vec::new, |hosts| {
            hosts.server.prefix().map(str::to_owned).to_vec()
        })
    }

    pub(super) fn server_ip(&self) -> Option<Ipv4Addr> {
        self.hosts.as_ref().map(|hosts| hosts.server.inner())
    }

    /// Where so many links listen, and from where they dial; `first` is their first path.
    pub(super) fn routes(&self, first: usize, count: usize) -> Vec<Route> {
        let Some(hosts) = &self.hosts else {
            return vec![Route::default(); count];
        };
        let route = |index: usize| Route {
            // Publishers are ours, and so is loopback.
            listen: match hosts.clients.addresses().get(index) {
                Some(address) => IpAddr::V4(*address),
                None => Ipv4Addr::LOCALHOST.into(),
            },
            from: Some(hosts.server.addresses()[index].into()),
        };
        (first..first + count).map(route).collect()
    }
}

impl Hosts {
    fn start(clients: usize, others: usize) -> Result<Self, String> {
        Ok(Self {
            clients: Network::start(Inside::Clients, clients)?,
            server: Network::start(Inside::Server, clients + others)?,
        })
    }
}

fn known<T>(what: &str, made: Result<T, String>) -> Option<T> {
    if let Err(why) = &made {
        say(format_args!("NOT RUN: {what}: {why}"));
    }
    made.ok()
}

//! How each kind of fault takes hold of a run, and lets go of it again.

use std::{io, time::Duration};

use tokio::time::{Instant, sleep};

use super::{STOP_DEADLINE, ground::Hosts, kinds::Kind, world::World};
use crate::{
    command::run,
    network::{Network, NetworkFault, PathFault},
    plan,
    proxy::{Fault, FaultKind, FrameRule, Link},
    rng::Rng,
    scenario::RunError,
    tracer::{SyncFault, Tracer},
};

const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Each sync of the log; the server must stay alive with it.
const SYNC_DELAY: Duration = Duration::from_millis(120);
/// Well below the age at which a log forgets (24 h), well above every other span.
const JUMP_S: (u64, u64) = (400, 20_000);
/// No more than what is open from the beginning.
const DESCRIPTORS: &str = "8:";

impl World {
    /// Strikes for about so long. Answers how often it took hold.
    pub(super) async fn strike(
        &self,
        kind: Kind,
        lasts: Duration,
        mut rng: Rng,
    ) -> Result<u64, RunError> {
        match kind {
            Kind::Bytes(kind) => Ok(self.strike_bytes(kind, lasts, &mut rng).await),
            Kind::Frame(rule) => Ok(self.strike_frames(rule, lasts).await),
            Kind::Path(fault) => Ok(self.strike_paths(fault, lasts, &mut rng).await?),
            Kind::Network(fault) => Ok(self.strike_network(fault, lasts, &mut rng).await?),
            Kind::ServerStopped => {
                let server = self.server.lock().await;
                let sent = server.signal("STOP").await;
                sleep(lasts).await;
                Ok(u64::from(server.signal("CONT").await && sent))
            }
            Kind::DriversStopped => Ok(self.stop_drivers(lasts, &mut rng).await),
            Kind::Killed => self.kill(&mut rng).await,
            Kind::Drained => self.drain().await,
            Kind::DiskFull => {
                let volume = self.ground.volume.as_ref().expect("this kind needs one");
                volume.fill()?;
                sleep(lasts).await;
                volume.empty()?;
                Ok(1)
            }
            Kind::SyncFails => self.fail_syncs(lasts).await,
            Kind::SyncSlow => {
                let server = self.server.lock().await;
                let id = server.id().ok_or_else(gone)?;
                let tracer = Tracer::start(id, SyncFault::Delay(SYNC_DELAY), &self.folder).await?;
                sleep(lasts).await;
                Ok(u64::from(tracer.stop().await))
            }
            Kind::ClockAhead | Kind::ClockBehind => {
                let clock = self.ground.clock.as_ref().expect("this kind needs one");
                let seconds = i64::try_from(JUMP_S.0 + rng.below(JUMP_S.1 - JUMP_S.0));
                let seconds = seconds.unwrap_or(0);
                let is_ahead = kind == Kind::ClockAhead;
                clock.set(if is_ahead { seconds } else { -seconds })?;
                sleep(lasts).await;
                clock.set(0)?;
                Ok(1)
            }
            Kind::NoDescriptors => self.exhaust_descriptors(lasts, &mut rng).await,
        }
    }

    async fn strike_bytes(&self, kind: FaultKind, lasts: Duration, rng: &mut Rng) -> u64 {
        let mut links = self.some_links(rng);
        let publishers = self.http_links.links();
        links.push(&publishers[rng.index(publishers.len())]);
        let felt = || -> u64 { links.iter().map(|link| link.counts().felt(kind)).sum() };
        let before = felt();
        for link in &links {
            let (fault, _) = plan::draw(rng, kind);
            link.begin(fault);
        }
        sleep(lasts).await;
        for link in &links {
            link.end(kind);
        }
        felt() - before
    }

    async fn strike_frames(&self, rule: FrameRule, lasts: Duration) -> u64 {
        let links = self.links.links();
        let struck = || -> u64 {
            let own = links
                .iter()
                .map(|link| link.struck().get(&rule.name()).copied());
            own.flatten().sum()
        };
        let before = struck();
        for link in links {
            link.add_rule(rule);
            if matches!(rule.message, "hello" | "welcome") {
                // They come with a new connection only.
                link.begin(Fault::Reset { after_bytes: 0 });
            }
        }
        sleep(lasts).await;
        for link in links {
            link.remove_rule(rule);
        }
        struck() - before
    }

    async fn strike_paths(
        &self,
        fault: PathFault,
        lasts: Duration,
        rng: &mut Rng,
    ) -> io::Result<u64> {
        let network = self.hosts().side(rng);
        let clients = self.some_clients(rng);
        network.begin_paths(&clients, fault)?;
        sleep(lasts).await;
        network.end_paths(&clients, fault)
    }

    async fn strike_network(
        &self,
        fault: NetworkFault,
        lasts: Duration,
        rng: &mut Rng,
    ) -> io::Result<u64> {
        let network = self.hosts().side(rng);
        network.begin(fault)?;
        sleep(lasts).await;
        network.end(fault)?;
        Ok(1)
    }

    async fn stop_drivers(&self, lasts: Duration, rng: &mut Rng) -> u64 {
        let count = self.drivers.len().div_ceil(2);
        let first = rng.index(self.drivers.len());
        let drivers = self.drivers.iter().cycle().skip(first).take(count);
        let mut sent = 0;
        for driver in drivers.clone() {
            sent += u64::from(driver.signal("STOP").await);
        }
        sleep(lasts).await;
        for driver in drivers {
            driver.signal("CONT").await;
        }
        sent
    }

    async fn kill(&self, rng: &mut Rng) -> Result<u64, RunError> {
        let mut server = self.server.lock().await;
        // It dies with messages on their way.
        server.signal("STOP").await;
        sleep(rng.millis(0, 300)).await;
        server.kill().await?;
        server.restart().await?;
        Ok(1)
    }

    async fn drain(&self) -> Result<u64, RunError> {
        let mut server = self.server.lock().await;
        let ended = server.drain(STOP_DEADLINE).await;
        if !ended.is_some_and(|status| status.success()) {
            return Err(RunError::Failed(format!(
                "the server did not end cleanly on SIGTERM: {ended:?}"
            )));
        }
        server.restart().await?;
        Ok(1)
    }

    async fn fail_syncs(&self, lasts: Duration) -> Result<u64, RunError> {
        let mut server = self.server.lock().await;
        let id = server.id().ok_or_else(gone)?;
        let tracer = Tracer::start(id, SyncFault::Fail, &self.folder).await?;
        let until = Instant::now() + lasts;
        while !tracer.has_struck() && Instant::now() < until {
            sleep(POLL_INTERVAL).await;
        }
        // For a while it goes on with a log that it may not write.
        sleep(until.saturating_duration_since(Instant::now())).await;
        let struck = tracer.stop().await;
        server.kill().await?;
        server.restart().await?;
        Ok(u64::from(struck))
    }

    async fn exhaust_descriptors(&self, lasts: Duration, rng: &mut Rng) -> Result<u64, RunError> {
        let server = self.server.lock().await;
        let id = server.id().ok_or_else(gone)?.to_string();
        let before = run(&[
            "prlimit",
            "--pid",
            &id,
            "--nofile",
            "--raw",
            "--noheadings",
            "-o",
            "SOFT",
        ])?;
        let limit = |soft: &str| run(&["prlimit", "--pid", &id, &format!("--nofile={soft}")]);
        limit(DESCRIPTORS)?;
        let links = self.some_links(rng);
        for link in &links {
            link.begin(Fault::Reset { after_bytes: 0 });
        }
        sleep(lasts).await;
        let down = links.iter().filter(|link| !link.is_up()).count();
        limit(&format!("{}:", before.trim()))?;
        Ok(down as u64)
    }

    fn some_clients(&self, rng: &mut Rng) -> Vec<usize> {
        let mut clients: Vec<usize> = (0..self.links.links().len()).collect();
        rng.shuffle(&mut clients);
        clients.truncate(clients.len().div_ceil(2));
        clients
    }

    fn some_links(&self, rng: &mut Rng) -> Vec<&Link> {
        let clients = self.some_clients(rng).into_iter();
        clients.map(|client| &*self.links.links()[client]).collect()
    }

    fn hosts(&self) -> &Hosts {
        self.ground.hosts.as_ref().expect("this kind needs them")
    }
}

impl Hosts {
    fn side(&self, rng: &mut Rng) -> &Network {
        match rng.below(2) {
            0 => &self.clients,
            _ => &self.server,
        }
    }
}

fn gone() -> RunError {
    RunError::Failed("the server has no process".into())
}

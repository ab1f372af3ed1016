//! One link: a listening port, its conditions, its armed cut and its counters.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use super::{
    Route,
    fault::{Conditions, Direction, Ending, Fault, FaultKind},
    frames::{FrameAction, FrameRule, Rules},
    relay,
};
use crate::rng::Rng;

/// Connections that one link relays at a time. A client has one, two while it changes over, and a
/// few dead ones behind a hole; past this bound new ones are dropped.
const LINK_CONNECTIONS_MAX: usize = 64;
const LISTEN_BACKLOG: i32 = 64;
const LISTEN_AGAIN: Duration = Duration::from_millis(100);

/// A proxied port whose bytes can be cut, held, delayed and throttled.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    pub(super) upstream: SocketAddr,
    /// From where it is dialled; none lets the kernel choose.
    pub(super) from: Option<IpAddr>,
    pub(super) conditions: watch::Sender<Conditions>,
    armed: Mutex<Option<ArmedCut>>,
    /// Its WebSocket frames are told apart.
    pub(super) framed: bool,
    rules: Mutex<Rules>,
    /// One bit per kind of fault that has begun and has not taken hold yet.
    waiting: AtomicU32,
    felt: [AtomicU64; FaultKind::ALL.len()],
    cuts: AtomicU64,
    connections: AtomicU64,
    /// Connections whose server has answered and that are not down yet.
    up: AtomicU64,
    /// Keeps the port ours while nothing listens on it.
    _reservation: Socket,
}

/// What happened on a link so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkCounts {
    felt: [u64; FaultKind::ALL.len()],
    /// Connections that the proxy itself brought down after their server had answered.
    pub cuts: u64,
    /// Connections that were accepted.
    pub connections: u64,
}

#[derive(Clone, Copy, Debug)]
struct ArmedCut {
    kind: FaultKind,
    ending: Ending,
    bytes_left: u64,
}

/// The accepting side of a link.
pub(super) struct Listener {
    link: Arc<Link>,
    socket: Option<TcpListener>,
}

/// Binds a port and makes its link.
pub(super) fn open(
    route: Route,
    upstream: SocketAddr,
    framed: bool,
) -> io::Result<(Arc<Link>, Listener)> {
    let reservation = bind(SocketAddr::new(route.listen, 0))?;
    let address = reservation
        .local_addr()?
        .as_socket()
        .expect("a TCP/IP socket has a socket address");
    let socket = Some(listen(address)?);
    let link = Arc::new(Link {
        address,
        upstream,
        from: route.from,
        conditions: watch::Sender::new(Conditions::default()),
        armed: Mutex::new(None),
        framed,
        rules: Mutex::default(),
        waiting: AtomicU32::new(0),
        felt: Default::default(),
        cuts: AtomicU64::new(0),
        connections: AtomicU64::new(0),
        up: AtomicU64::new(0),
        _reservation: reservation,
    });
    Ok((link.clone(), Listener { link, socket }))
}

impl Link {
    /// Where clients dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts a fault in force until [`end`](Self::end) or [`heal`](Self::heal). A cut or a reset is
    /// armed and strikes once.
    pub fn begin(&self, fault: Fault) {
        let kind = fault.kind();
        self.waiting.fetch_or(1 << kind as u32, Relaxed);
        let cut = match fault {
            Fault::Cut { after_bytes } => Some((Ending::Fin, after_bytes)),
            Fault::Reset { after_bytes } => Some((Ending::Reset, after_bytes)),
            Fault::Refuse => Some((Ending::Reset, 0)),
            _ => None,
        };
        if let Some((ending, bytes_left)) = cut {
            *self.armed() = Some(ArmedCut {
                kind,
                ending,
                bytes_left,
            });
        }
        self.conditions
            .send_modify(|conditions| conditions.begin(fault));
    }

    /// Ends a lasting fault. An armed cut stays armed, except that of `Refuse`.
    pub fn end(&self, kind: FaultKind) {
        if kind == FaultKind::Refuse {
            self.armed().take_if(|cut| cut.kind == kind);
        }
        self.waiting.fetch_and(!(1 << kind as u32), Relaxed);
        self.conditions
            .send_modify(|conditions| conditions.end(kind));
    }

    /// Adds a rule for frames, which strikes once. Links that are not framed never meet it.
    pub fn add_rule(&self, rule: FrameRule) {
        self.rules().add(rule);
    }

    /// Takes back a rule that has not struck yet.
    pub fn remove_rule(&self, rule: FrameRule) {
        self.rules().remove(rule);
    }

    /// How often each rule has struck, by its name.
    pub fn struck(&self) -> BTreeMap<String, u64> {
        self.rules().struck().clone()
    }

    /// Ends all faults and disarms the cut and the rules that wait.
    pub fn heal(&self) {
        *self.armed() = None;
        self.rules().clear();
        self.waiting.store(0, Relaxed);
        self.conditions.send_replace(Conditions::default());
    }

    /// Whether a connection is up whose server has answered.
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed) > 0
    }

    /// Whether requests get through while answers do not.
    pub fn hides_answers(&self) -> bool {
        let conditions = self.conditions.borrow();
        conditions.to_client.hole.is_some() && conditions.to_server.hole.is_none()
    }

    /// What happened so far.
    pub fn counts(&self) -> LinkCounts {
        LinkCounts {
            felt: std::array::from_fn(|kind| self.felt[kind].load(Relaxed)),
            cuts: self.cuts.load(Relaxed),
            connections: self.connections.load(Relaxed),
        }
    }

    /// A fault took hold of real bytes or of a real connection: counted once for each `begin`.
    pub(super) fn feel(&self, kind: FaultKind) {
        let bit = 1 << kind as u32;
        if self.waiting.fetch_and(!bit, Relaxed) & bit != 0 {
            self.felt[kind as usize].fetch_add(1, Relaxed);
        }
    }

    /// How many bytes may still pass before a cut; none means that no cut is armed.
    pub(super) fn bytes_to_cut(&self) -> Option<u64> {
        self.armed().map(|cut| cut.bytes_left)
    }

    pub(super) fn count_to_cut(&self, bytes: usize) {
        if let Some(cut) = self.armed().as_mut() {
            cut.bytes_left = cut.bytes_left.saturating_sub(bytes as u64);
        }
    }

    /// Takes the armed cut if its bytes have passed, so that it strikes one connection only.
    pub(super) fn take_due_cut(&self) -> Option<Ending> {
        let cut = self.armed().take_if(|cut| cut.bytes_left == 0)?;
        self.feel(cut.kind);
        Some(cut.ending)
    }

    pub(super) fn count_up(&self) {
        self.up.fetch_add(1, Relaxed);
    }

    /// An established connection is down; by the proxy's own hand, or not.
    pub(super) fn count_down(&self, cut: bool) {
        self.up.fetch_sub(1, Relaxed);
        self.cuts.fetch_add(u64::from(cut), Relaxed);
    }

    /// What happens to a frame with messages of these types.
    pub(super) fn take_rule(
        &self,
        direction: Direction,
        messages: &[String],
    ) -> Option<FrameAction> {
        self.rules().take(direction, messages)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no holder of this lock can panic")
    }

    fn armed(&self) -> MutexGuard<'_, Option<ArmedCut>> {
        self.armed.lock().expect("no holder of this lock can panic")
    }
}

impl LinkCounts {
    /// How often faults of this kind took hold.
    pub fn felt(&self, kind: FaultKind) -> u64 {
        self.felt[kind as usize]
    }
}

impl Listener {
    /// Accepts until its proxy is dropped; the connections go down with it.
    pub(super) async fn run(mut self, rng: Rng) {
        let mut relays = JoinSet::new();
        let mut changes = self.link.conditions.subscribe();
        loop {
            let refuses = changes.borrow_and_update().refuse;
            if refuses {
                self.socket = None;
            } else if self.socket.is_none() {
                self.socket = listen(self.link.address).ok();
            }
            let is_deaf = self.socket.is_none() && !refuses;
            tokio::select! {
                // First, so that a refusal closes the port before the next connection.
                biased;
                _ = changes.changed() => {}
                // The kernel said no: perhaps it is of another mind soon.
                () = sleep(LISTEN_AGAIN), if is_deaf => {}
                accepted = accept(self.socket.as_ref()) => {
                    // An accept that failed has no connection to relay; the port stays open.
                    if let Ok(stream) = accepted && relays.len() < LINK_CONNECTIONS_MAX {
                        let number = self.link.connections.fetch_add(1, Relaxed);
                        let link = self.link.clone();
                        relays.spawn(relay::run(link, stream, rng.fork(number)));
                    }
                }
                Some(_) = relays.join_next() => {}
            }
        }
    }
}

async fn accept(socket: Option<&TcpListener>) -> io::Result<TcpStream> {
    match socket {
        Some(socket) => socket.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Two sockets share the port: one that never listens holds it, the other one listens and may be
/// closed, which makes the kernel refuse connections.
fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    relay::shrink_buffers(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(address)?;
    socket.listen(LISTEN_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

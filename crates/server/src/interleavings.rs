//! Interleavings of broadcast, rise, takeover and unsubscribe.
//!
//! The connections of the server run here as tasks of shuttle, which decides at each lock whose turn
//! it is, at random and by priorities (PCT). The node, its log and its hub are the real ones. A run
//! that fails prints the schedule with which `shuttle::replay` repeats it.

use std::{
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bowline_engine::{Append, Effect, Engine, EngineConfig, Listener, Memory, PageLimit};
use bowline_proto::{Data, Publication};
use bowline_ws::{MessageKind, encode_message};
use shuttle::{
    Runner,
    future::{JoinHandle, block_on, spawn},
    rand::{Rng, thread_rng},
    scheduler::{PctScheduler, RandomScheduler},
    thread,
};

use crate::{
    access::OpenAccess, clock::Clock, config::Config, connection, connection::PlainRequest,
    entropy::Entropy, frames::Mode, hub::Hub, node::Node, simulation::Stream, socket::Socket,
    tails::TailBudget, upgrade,
};

const CHANNEL: &str = "c";
const PUBLISHERS: u64 = 2;
const PUBLICATIONS_EACH: u64 = 3;
const PUBLICATIONS: usize = (PUBLISHERS * PUBLICATIONS_EACH) as usize;
const SESSION: &str = "0123456789abcdef0123456789abcdef";
const OTHER_SESSION: &str = "fedcba9876543210fedcba9876543210";
/// Of each scenario and each kind of schedule.
const RUNS: usize = 300;
/// In the runs of one scenario in which queues are small.
const RISES_MIN: u64 = 50;
/// Switches at which priorities change, in runs by priorities.
const PCT_DEPTH: usize = 3;
/// A task's stack: unoptimised futures are large.
const STACK_BYTES: usize = 1 << 20;
/// A frame or two fill the queue of a connection.
const QUEUE_BYTES: usize = 150;

/// What has been said on a connection, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Welcome,
    Subscribed,
    Unsubscribed,
    Publication(u64),
    Replaced,
}

/// A connection's bytes.
#[derive(Debug, Default)]
struct Wire(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    up: Vec<u8>,
    is_over: bool,
    down: Vec<u8>,
    readers: Vec<Waker>,
}

/// The server's end.
#[derive(Debug)]
struct Pipe(Arc<Wire>);

/// Puts the engine's hints aside, since nothing may be awaited below it.
#[derive(Debug, Default)]
struct Hints(Mutex<Vec<(u64, Arc<Publication>)>>);

struct World {
    node: Arc<Node>,
    hints: Arc<Hints>,
}

impl Wire {
    /// The client writes a message.
    fn say(&self, text: &str) {
        let frame = encode_message(MessageKind::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        self.0
            .lock()
            .expect("no panic")
            .up
            .extend_from_slice(&frame);
        self.wake();
    }

    /// The client goes away.
    fn end(&self) {
        self.0.lock().expect("no panic").is_over = true;
        self.wake();
    }

    fn wake(&self) {
        let readers = std::mem::take(&mut self.0.lock().expect("no panic").readers);
        readers.into_iter().for_each(Waker::wake);
    }

    fn wait_welcome(&self) {
        while !self.said().contains(&Said::Welcome) {
            thread::yield_now();
        }
    }

    fn said(&self) -> Vec<Said> {
        let inner = self.0.lock().expect("no panic");
        let text = String::from_utf8_lossy(&inner.down);
        let messages = text.split("\"type\":\"").skip(1);
        // The last one may have come in part.
        let mut said: Vec<Said> = messages.map_while(read).collect();
        if text.contains("{\"code\":\"replaced\"") {
            said.push(Said::Replaced);
        }
        said
    }

    /// The publications that it was sent.
    fn publications(&self) -> Vec<u64> {
        publications(&self.said())
    }
}

/// A message from the name of its type on; none where its end is missing.
fn read(message: &str) -> Option<Said> {
    Some(match message.split_once('"')? {
        ("welcome", _) => Said::Welcome,
        ("subscribed", _) => Said::Subscribed,
        ("unsubscribed", _) => Said::Unsubscribed,
        ("message", rest) => {
            let (_, data) = rest.split_once("\"data\":")?;
            let end = data.find(|c: char| !c.is_ascii_digit())?;
            Said::Publication(data[..end].parse().expect("a number"))
        }
        (other, _) => panic!("nobody asked for {other}"),
    })
}

fn publications(said: &[Said]) -> Vec<u64> {
    let numbers = said.iter().filter_map(|said| match said {
        Said::Publication(number) => Some(*number),
        _ => None,
    });
    numbers.collect()
}

impl Stream for Pipe {
    fn try_read(&self, buffer: &mut [u8]) -> Result<usize> {
        let mut inner = self.0.0.lock().expect("no panic");
        if inner.up.is_empty() && !inner.is_over {
            return Err(Error::from(ErrorKind::WouldBlock));
        }
        let count = inner.up.len().min(buffer.len());
        buffer[..count].copy_from_slice(&inner.up[..count]);
        inner.up.drain(..count);
        Ok(count)
    }

    fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        // Every third time it is full, and every third time it takes a part.
        let count = match thread_rng().gen_range(0..3) {
            0 => return Err(Error::from(ErrorKind::WouldBlock)),
            1 => bytes.len().div_ceil(2),
            _ => bytes.len(),
        };
        let mut inner = self.0.0.lock().expect("no panic");
        inner.down.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = self.0.0.lock().expect("no panic");
        if inner.up.is_empty() && !inner.is_over {
            inner.readers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_writable(&self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn shut_down(&self) -> Result<()> {
        Ok(())
    }
}

impl Listener for Hints {
    fn published(&self, _: &Arc<str>, epoch: u64, publication: &Arc<Publication>) {
        let mut hints = self.0.lock().expect("no panic");
        hints.push((epoch, publication.clone()));
    }
}

impl World {
    fn new(queue_bytes: usize) -> Self {
        let config = Config {
            send_queue_bytes_max: queue_bytes,
            page_bytes_max: QUEUE_BYTES,
            ..Config::default()
        };
        let clock = Clock::start();
        let tails = TailBudget::new(2, 1 << 20, 1 << 20);
        let runtime = tokio::runtime::Handle::current();
        let hints = Arc::new(Hints::default());
        let engine = Memory::open(EngineConfig::default()).expect("it opens");
        engine.listen(hints.clone());
        let node = Node::new(
            "node".into(),
            Arc::new(config),
            Arc::new(engine),
            Arc::new(OpenAccess),
            None,
            Arc::new(Hub::new(tails, clock, runtime)),
            (clock, Entropy::Seeded(crate::sync::Mutex::new(1))),
        );
        Self {
            node: Arc::new(node),
            hints,
        }
    }

    /// A client connects, and its connection is served.
    fn connect(&self, session: &str, link: u64) -> (Arc<Wire>, JoinHandle<()>) {
        let wire = Arc::new(Wire::default());
        wire.say(&format!(
            r#"{{"type":"hello","id":1,"session":"{session}","link":{link},"subscribe":{{"{CHANNEL}":"first"}}}}"#
        ));
        let arrival = upgrade::Arrival {
            mode: Mode::Bowline,
            extensions: bowline_ws::Extensions::NONE,
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            origin: None,
            plain: PlainRequest {
                token: None,
                channels: Vec::new(),
                deadline: tokio::time::Instant::now() + self.node.config.connection_timeout,
            },
            socket: Socket::Simulated(Box::new(Pipe(wire.clone()))),
            received: Vec::new(),
        };
        let outcome = self.node.limits.enter(None, true);
        let opening = upgrade::attend(self.node.clone(), arrival, outcome);
        (wire, spawn(connection::serve(Box::pin(opening))))
    }

    /// Backends publish; each hint reaches the hub whenever it happens to.
    fn publish(&self) -> Vec<thread::JoinHandle<()>> {
        let publisher = |number: u64| {
            let (node, hints) = (self.node.clone(), self.hints.clone());
            thread::spawn(move || {
                for count in 0..PUBLICATIONS_EACH {
                    let number = number * PUBLICATIONS_EACH + count;
                    block_on(append(&node, number));
                    thread::yield_now();
                    tell(&node, &hints);
                }
            })
        };
        (0..PUBLISHERS).map(publisher).collect()
    }

    /// The log, from its beginning.
    fn log(&self) -> Vec<u64> {
        let limit = PageLimit {
            count: 100,
            bytes: 1 << 20,
        };
        let page = block_on(self.node.engine.read(CHANNEL, 0, limit));
        let page = page.expect("it can be read").expect("it is there");
        let numbers = page.publications.iter().map(|publication| {
            let bytes = publication.data.bytes();
            std::str::from_utf8(bytes).expect("JSON").parse()
        });
        numbers.map(|number| number.expect("a number")).collect()
    }

    /// Waits until all was published and `is_done`; else the bound on steps ends the run.
    fn converge(&self, publishers: Vec<thread::JoinHandle<()>>, is_done: impl Fn() -> bool) {
        for publisher in publishers {
            publisher.join().expect("no panic");
        }
        while !is_done() {
            thread::yield_now();
        }
    }

    /// Nothing is left of connections that have ended; answers how often they rose from the log.
    fn assert_empty(&self) -> u64 {
        assert_eq!(self.node.hub.channels(), 0);
        assert_eq!(self.node.link_count(), 0);
        self.node.totals_at_once()["catchups_finished"]
    }
}

async fn append(node: &Node, number: u64) {
    let effect = Effect::Publish {
        channel: CHANNEL.into(),
        data: Data::Json(number.to_string().into()),
        user: None,
        tag: None,
        key: None,
    };
    let append = Append {
        producer: None,
        effect,
    };
    for outcome in node.append(vec![append]).await {
        outcome.expect("it is stored");
    }
}

/// Takes a hint that nobody has taken yet, the last one first, and does with it what the hub does.
fn tell(node: &Node, hints: &Hints) {
    let hint = hints.0.lock().expect("no panic").pop();
    let Some((epoch, publication)) = hint else {
        return;
    };
    if let Some(channel) = node.hub.channel(CHANNEL)
        && channel.publish(epoch, &publication)
    {
        let clock = node.clock;
        block_on(channel.broadcast(move || clock.now()));
    }
}

/// Plays it in many schedules, of both kinds, in which connections must rise from the log so often.
fn play(rises_min: u64, scenario: fn() -> u64) {
    // Timers need a runtime. Nobody drives it, so none is ever due, and it outlives the tasks of a
    // schedule that failed.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let _entered = Box::leak(Box::new(runtime.expect("it builds"))).enter();
    let config = || {
        let mut config = shuttle::Config::new();
        config.stack_size = STACK_BYTES;
        config
    };
    let rises = Arc::new(AtomicU64::new(0));
    let counted = || {
        let rises = rises.clone();
        move || {
            rises.fetch_add(scenario(), Ordering::Relaxed);
        }
    };
    Runner::new(RandomScheduler::new(RUNS), config()).run(counted());
    Runner::new(PctScheduler::new(PCT_DEPTH, RUNS), config()).run(counted());
    let rises = rises.load(Ordering::Relaxed);
    assert!(rises >= rises_min, "{rises} rises");
}

#[test]
fn a_takeover_in_the_midst_of_publications_loses_and_doubles_nothing() {
    play(RISES_MIN, || {
        let world = World::new(QUEUE_BYTES);
        let publishers = world.publish();
        let (old, old_served) = world.connect(SESSION, 1);
        thread::yield_now();
        let is_settled = thread_rng().gen_bool(0.5);
        if is_settled {
            old.wait_welcome();
        }
        let (new, new_served) = world.connect(SESSION, 2);
        new.wait_welcome();
        // From its welcome on nothing more is queued for the old one.
        let queued = || {
            let links = world.node.links_after(0, usize::MAX);
            links.first().map(|link| (link.id, link.counts().list()[1]))
        };
        let queued_before = queued();
        world.converge(publishers, || {
            let is_replaced = old.said().last() == Some(&Said::Replaced);
            is_replaced && new.publications().len() >= PUBLICATIONS
        });
        if is_settled && let (Some((1, before)), Some((1, after))) = (queued_before, queued()) {
            assert_eq!(before, after);
        }
        old.end();
        block_on(old_served).expect("no panic");
        let log = world.log();
        assert_eq!(new.publications(), log);
        let before = old.publications();
        assert_eq!(before, log[..before.len()]);
        new.end();
        block_on(new_served).expect("no panic");
        world.assert_empty()
    });
}

#[test]
fn nothing_follows_unsubscribed_and_a_new_subscription_begins_anew() {
    play(RISES_MIN, || {
        let world = World::new(QUEUE_BYTES);
        let (wire, served) = world.connect(SESSION, 1);
        let publishers = world.publish();
        thread::yield_now();
        wire.say(&format!(
            r#"{{"type":"unsubscribe","id":2,"channel":"{CHANNEL}"}}"#
        ));
        wire.say(&format!(
            r#"{{"type":"subscribe","id":3,"channel":"{CHANNEL}","position":"first"}}"#
        ));
        let again = || {
            let said = wire.said();
            let ended = said.iter().position(|said| *said == Said::Unsubscribed);
            ended.map(|at| (said[..at].to_vec(), said[at + 1..].to_vec()))
        };
        world.converge(publishers, || {
            again().is_some_and(|(_, after)| publications(&after).len() >= PUBLICATIONS)
        });
        let (before, after) = again().expect("it was answered");
        let log = world.log();
        assert_eq!(before[0], Said::Welcome);
        let before = publications(&before);
        assert_eq!(before, log[..before.len()]);
        assert_eq!(after[0], Said::Subscribed);
        assert_eq!(publications(&after), log);
        wire.end();
        block_on(served).expect("no panic");
        world.assert_empty()
    });
}

#[test]
fn what_comes_while_a_broadcast_ends_is_broadcast() {
    play(0, || {
        let world = World::new(1 << 20);
        let (wire, served) = world.connect(SESSION, 1);
        wire.wait_welcome();
        world.converge(world.publish(), || {
            wire.publications().len() >= PUBLICATIONS
        });
        assert_eq!(wire.publications(), world.log());
        wire.end();
        block_on(served).expect("no panic");
        world.assert_empty()
    });
}

#[test]
fn readers_who_come_and_go_leave_the_others_whole() {
    play(RISES_MIN, || {
        let world = World::new(QUEUE_BYTES);
        let publishers = world.publish();
        let hasty = world.connect(OTHER_SESSION, 1);
        hasty.0.end();
        let (wire, served) = world.connect(SESSION, 2);
        world.converge(publishers, || wire.publications().len() >= PUBLICATIONS);
        assert_eq!(wire.publications(), world.log());
        wire.end();
        block_on(hasty.1).expect("no panic");
        block_on(served).expect("no panic");
        world.assert_empty()
    });
}

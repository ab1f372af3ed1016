//! Publishers with one unanswered message each, in one thread.

use std::{
    io::{self, ErrorKind, Read, Write},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
};

use super::{
    Row,
    speak::{Dialect, Link},
};
use crate::histogram::Histogram;

const EVENTS_MAX: usize = 256;

/// Publishes for so long.
pub(super) fn run(dialect: Dialect, mut links: Vec<Link>, span: Duration) -> io::Result<Row> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let begun = Instant::now();
    let mut sent = vec![begun; links.len()];
    for (number, link) in links.iter_mut().enumerate() {
        let data = EventData::new_u64(number as u64);
        epoll::add(&epoll, &link.stream, data, EventFlags::IN)?;
        sent[number] = Instant::now();
        let message = dialect.message(link);
        link.stream.write_all(&message)?;
    }
    let mut row = Row {
        acked: 0,
        took: span,
        latencies: Histogram::default(),
    };
    let mut events = Vec::with_capacity(EVENTS_MAX);
    while begun.elapsed() < span {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let number = usize::try_from(event.data.u64()).expect("it was an index");
            let link = &mut links[number];
            if !listen(dialect, link)? {
                continue;
            }
            let nanos = u64::try_from(sent[number].elapsed().as_nanos()).unwrap_or(u64::MAX);
            row.latencies.record(nanos, 1);
            row.acked += 1;
            let message = dialect.message(link);
            sent[number] = Instant::now();
            link.stream.write_all(&message)?;
        }
    }
    row.took = begun.elapsed();
    Ok(row)
}

/// Whether the message was acknowledged.
fn listen(dialect: Dialect, link: &mut Link) -> io::Result<bool> {
    let mut buffer = [0; 4_096];
    match link.stream.read(&mut buffer) {
        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
        Ok(count) => link.heard.extend_from_slice(&buffer[..count]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    }
    let (is_acked, answer) = dialect.hear(link)?;
    link.stream.write_all(answer)?;
    Ok(is_acked)
}

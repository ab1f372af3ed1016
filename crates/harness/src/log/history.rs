//! A run as the checkers see it: what was published, and what each subscriber was handed.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{
    DRIVER_FILE_PREFIX, LEDGER_FILE, LINE_BYTES_MAX, Load, Outcome, Record,
    event::Event,
    names::{Id, Names},
};

/// Everything that was written down about a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    names: Names,
    /// The seed and the load, once the ledger's first line is read.
    pub run: Option<(u64, Load)>,
    /// One per (process life of a client, channel), in order of appearance.
    pub tracks: Vec<Track>,
    /// Everything published over HTTP.
    pub published: Vec<Publication>,
    /// Everything that clients were told to publish, each client's in its order.
    pub upstream: Vec<Upstream>,
    /// Subscriptions (client, channel) that were asked for and never ended.
    pub expected: Vec<(Id, Id)>,
    /// How each upstream message ended; more than one end is a fault of the client.
    pub fates: HashMap<Id, Vec<Fate>>,
    /// How often each kind of fault took hold.
    pub faults: Vec<(String, u64)>,
    /// The kinds that strikes are owed of.
    pub kinds: Vec<String>,
    /// Strikes that took hold.
    pub strikes: Vec<StruckBy>,
    /// How often each client's link was cut.
    pub cuts: Vec<(Id, u64)>,
    /// How often the server was killed and lost its memory.
    pub kills: u64,
    /// Answers that a position of another life of the server is not known.
    pub unknown_epochs: u64,
    /// The server's last `/ws/stats`.
    pub stats: Option<serde_json::Value>,
    /// `welcome` events, and those of them that resumed a session.
    pub welcomes: (u64, u64),
    /// Deliveries whose padding has another length than was published (message, length).
    pub damaged: Vec<(Id, u64)>,
    pad_lens: HashMap<Id, u64>,
    current: HashMap<(Id, Id), usize>,
}

/// A strike that took hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StruckBy {
    /// The kind of fault.
    pub kind: String,
    /// The kind of the other one, of two at once.
    pub with: Option<String>,
    /// Messages that were under way at any time of it.
    pub in_flight: u64,
}

/// What one subscriber of one channel saw, in its order.
#[derive(Clone, Debug)]
pub struct Track {
    /// The client.
    pub client: Id,
    /// The channel.
    pub channel: Id,
    /// The events, as the application saw them.
    pub steps: Vec<Step>,
}

/// One event of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The outcome of a subscription.
    Subscribed {
        /// Where it stands.
        position: Option<Position>,
        /// Nothing was missed.
        recovered: bool,
        /// Nothing was asked for: it begins here.
        new: bool,
    },
    /// The handler was given a publication.
    Delivered {
        /// Absent on channels without history.
        position: Option<Position>,
        /// The id within the data.
        message: Id,
    },
    /// The handler was told of a gap.
    Gap {
        /// Where the subscription stands now.
        position: Option<Position>,
    },
    /// The subscription ended.
    Unsubscribed,
}

/// `<epoch>.<offset>.<term>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The channel record.
    pub epoch: Id,
    /// The place in it.
    pub offset: u64,
    /// The opening of the log.
    pub term: Id,
}

/// A publication over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Publication {
    /// The message id.
    pub message: Id,
    /// The channel.
    pub channel: Id,
    /// How it ended.
    pub outcome: Outcome,
    /// Where it was stored.
    pub position: Option<Position>,
    /// The server had it already, by its key.
    pub duplicate: bool,
}

/// A publication by a client.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    /// The client.
    pub client: Id,
    /// The message id.
    pub message: Id,
    /// The channel.
    pub channel: Id,
}

/// How a client's publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is stored.
    Acked,
    /// It is certain that it was not stored.
    Refused,
    /// It may have been stored.
    Unknown,
}

/// A log can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A line does not follow `DRIVERS.md`, or the ledger's format.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl History {
    /// Reads the logs of a run: first the ledger, then the drivers'.
    pub fn read(folder: &Path) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        let ledger = folder.join(LEDGER_FILE);
        each_line(&ledger, |line| history.take_record(line))?;
        for path in driver_files(folder)? {
            each_line(&path, |line| history.take_event(line))?;
        }
        Ok(history)
    }

    /// Takes one line of the ledger.
    pub fn take_record(&mut self, line: &str) -> Result<(), String> {
        let record = serde_json::from_str(line).map_err(|error| error.to_string())?;
        match record {
            Record::Run { seed, load } => self.run = Some((seed, load)),
            Record::Expect { client, channel } => {
                let pair = (self.names.id(&client), self.names.id(&channel));
                self.expected.push(pair);
            }
            Record::Published {
                m,
                channel,
                outcome,
                position,
                duplicate,
                pad_len,
                ..
            } => {
                let message = self.names.id(&m);
                self.pad_lens.insert(message, pad_len);
                let publication = Publication {
                    message,
                    channel: self.names.id(&channel),
                    outcome,
                    position: self.position(position.as_deref())?,
                    duplicate,
                };
                self.published.push(publication);
            }
            Record::Upstream {
                client,
                m,
                channel,
                pad_len,
            } => {
                let upstream = Upstream {
                    client: self.names.id(&client),
                    message: self.names.id(&m),
                    channel: self.names.id(&channel),
                };
                self.pad_lens.insert(upstream.message, pad_len);
                self.upstream.push(upstream);
            }
            Record::Fault { kind, felt } => self.faults.push((kind, felt)),
            Record::Kinds { kinds } => self.kinds = kinds,
            Record::Strike {
                kind,
                with,
                felt,
                in_flight,
                ..
            } => {
                if felt > 0 {
                    self.strikes.push(StruckBy {
                        kind,
                        with,
                        in_flight,
                    });
                }
            }
            Record::Link { client, cuts } => self.cuts.push((self.names.id(&client), cuts)),
            Record::Killed => self.kills += 1,
            Record::Stats { stats } => self.stats = Some(stats),
        }
        Ok(())
    }

    /// Takes one line of a driver.
    pub fn take_event(&mut self, line: &str) -> Result<(), String> {
        let event: Event = serde_json::from_str(line).map_err(|error| error.to_string())?;
        match event.event.as_str() {
            "started" => {
                let client = self.names.id(required(&event.client, "client")?);
                self.current.retain(|(owner, _), _| *owner != client);
            }
            "welcome" => {
                self.welcomes.0 += 1;
                self.welcomes.1 += u64::from(event.resumed == Some(true));
            }
            "subscribed" => {
                let unknown = event.reason.as_deref() == Some("unknown_epoch");
                self.unknown_epochs += u64::from(unknown);
                let step = Step::Subscribed {
                    position: self.position(event.position.as_deref())?,
                    recovered: event.recovered.ok_or("subscribed without recovered")?,
                    new: event.reason.as_deref() == Some("new"),
                };
                self.push(&event, step)?;
            }
            "delivered" => self.take_delivery(&event)?,
            "gap" => {
                let position = self.position(event.position.as_deref())?;
                self.push(&event, Step::Gap { position })?;
            }
            "unsubscribed" => self.push(&event, Step::Unsubscribed)?,
            "acked" => self.take_fate(&event, Fate::Acked)?,
            "dropped" => {
                let fate = match event.fate.as_deref() {
                    Some("refused") => Fate::Refused,
                    Some("unknown") => Fate::Unknown,
                    other => return Err(format!("dropped with fate {other:?}")),
                };
                self.take_fate(&event, fate)?;
            }
            "error"
                if event
                    .code
                    .as_ref()
                    .is_some_and(|code| code == "bad_command") =>
            {
                return Err("the driver did not understand a command".into());
            }
            _ => {}
        }
        Ok(())
    }

    /// The text behind an id.
    pub fn name(&self, id: Id) -> &str {
        self.names.name(id)
    }

    /// Whether any log names this, and its id.
    pub fn id(&self, name: &str) -> Option<Id> {
        self.names.known(name)
    }

    fn take_delivery(&mut self, event: &Event) -> Result<(), String> {
        let message = self.names.id(required(&event.m, "m")?);
        let pad_len = event.pad_len.unwrap_or(0);
        if self
            .pad_lens
            .get(&message)
            .is_some_and(|sent| *sent != pad_len)
        {
            self.damaged.push((message, pad_len));
        }
        let position = self.position(event.position.as_deref())?;
        self.push(event, Step::Delivered { position, message })
    }

    fn take_fate(&mut self, event: &Event, fate: Fate) -> Result<(), String> {
        let message = self.names.id(required(&event.m, "m")?);
        self.fates.entry(message).or_default().push(fate);
        Ok(())
    }

    fn push(&mut self, event: &Event, step: Step) -> Result<(), String> {
        let client = self.names.id(required(&event.client, "client")?);
        let channel = self.names.id(required(&event.channel, "channel")?);
        let next = self.tracks.len();
        let index = *self.current.entry((client, channel)).or_insert(next);
        if index == next {
            self.tracks.push(Track {
                client,
                channel,
                steps: Vec::new(),
            });
        }
        self.tracks[index].steps.push(step);
        Ok(())
    }

    fn position(&mut self, text: Option<&str>) -> Result<Option<Position>, String> {
        let Some(text) = text else { return Ok(None) };
        let parts: Vec<&str> = text.split('.').collect();
        let [epoch, offset, term] = parts[..] else {
            return Err(format!("{text} is not a position"));
        };
        Ok(Some(Position {
            epoch: self.names.id(epoch),
            offset: offset
                .parse()
                .map_err(|_| format!("{text} is not a position"))?,
            term: self.names.id(term),
        }))
    }
}

fn required<'a>(field: &'a Option<String>, name: &str) -> Result<&'a str, String> {
    field.as_deref().ok_or_else(|| format!("{name} is missing"))
}

fn driver_files(folder: &Path) -> Result<Vec<PathBuf>, HistoryError> {
    let failed = |source| HistoryError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(DRIVER_FILE_PREFIX) && name.ends_with(".jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn each_line(
    path: &Path,
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), HistoryError> {
    let failed = |source| HistoryError::Io {
        path: path.to_owned(),
        source,
    };
    let reader = BufReader::with_capacity(LINE_BYTES_MAX, File::open(path).map_err(failed)?);
    for (index, line) in reader.lines().enumerate() {
        take(&line.map_err(failed)?).map_err(|problem| HistoryError::Line {
            path: path.to_owned(),
            line: index + 1,
            problem,
        })?;
    }
    Ok(())
}

//! What a case of the hostile suite consists of.
//!
//! Owns the words in which the table is written: what an attacker does, one act after the other, and
//! the one outcome that is owed. Must not know how acts are played, nor how outcomes are seen.

use super::worlds::World;

/// One attack, and what must come of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// Unique within its category.
    pub(super) name: &'static str,
    /// Which server it is played against.
    pub(super) world: World,
    /// What the attacker does.
    pub(super) acts: &'static [Act],
    /// What the attacker must see on the connection that is in hand at the end.
    pub(super) outcome: Outcome,
}

pub(super) const fn case(
    name: &'static str,
    world: World,
    acts: &'static [Act],
    outcome: Outcome,
) -> Case {
    Case {
        name,
        world,
        acts,
        outcome,
    }
}

/// One step of an attacker. Texts are templates: see [`super::template`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// From now on dials from this address; without it each case has an address of its own.
    From(&'static str),
    /// From now on connections have a receive buffer of so many bytes.
    ReceiveBytes(u32),
    /// Opens a connection; the one in hand so far is kept open.
    Dial,
    /// The same, and upgrades it in plain mode at this target.
    Plain(&'static str),
    /// Plain mode, with permessage-deflate agreed on.
    Deflated,
    /// In `bowline.v1`, before hello.
    Protocol,
    /// In `bowline.v1`, with these header lines in the upgrade.
    ProtocolWith(&'static str),
    /// In `bowline.v1`, welcomed after this hello; its `type` and `id` are added.
    Hello(&'static str),
    /// Lets go of the connection in hand without a word.
    HangUp,
    /// Takes the first connection of the case into its hand again.
    First,
    /// Bytes as they stand.
    Bytes(&'static [u8]),
    /// A masked frame: first byte, length as it stands, payload.
    Raw(u8, &'static [u8], &'static [u8]),
    /// A masked frame with its length in the shortest form.
    Frame(u8, &'static [u8]),
    /// A masked frame of so many equal bytes.
    Fill(u8, usize, u8),
    /// A compressed text frame of so many bytes once it is inflated.
    Bomb(usize),
    /// A masked text frame.
    Text(&'static str),
    /// A masked binary frame.
    Binary(&'static str),
    /// Text on the socket; line ends become CRLF.
    Lines(&'static str),
    /// A POST of this target and these headers, with this body and its length.
    Post(&'static str, &'static str),
    /// Text on the socket as it stands.
    Body(&'static str),
    /// These bytes one by one, so many milliseconds apart, until the peer has had enough.
    Drip(&'static str, u64),
    /// Reads until a message of this type has come.
    Await(&'static str),
    /// Reads an HTTP answer.
    AwaitAnswer,
    /// Reads until the server has closed.
    AwaitClose,
    /// Waits until the server's log has this text.
    AwaitLog(&'static str),
    /// All of these, so often.
    Times(usize, &'static [Self]),
    /// A backend publishes so many messages of so many bytes to this channel.
    Publish(&'static str, usize, usize),
    /// The server process gets this signal.
    Signal(&'static str),
    /// The folder of the server's logs is moved away.
    LoseFolder,
}

/// What the attacker must see next, whatever else comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An HTTP answer with this status, whose body carries this code; empty if it has none.
    Status(u16, &'static str),
    /// A close frame with this code, whose reason carries this code; empty if it has none.
    Closes(u16, &'static str),
    /// A message `error` with this code; the connection lives on.
    Error(&'static str),
    /// `error` with this code for this `seq`; the connection lives on.
    Refuses(u64, &'static str),
    /// `welcome`, in which this channel has an error with this code; the connection lives on.
    Denies(&'static str, &'static str),
    /// A message with this type; the connection lives on.
    Answers(&'static str),
    /// A frame with exactly this text; the connection lives on.
    Says(&'static str),
    /// Nothing of note: the connection lives on.
    Lives,
    /// So many messages from the first offset on, none left out; the connection lives on.
    Delivers(u64),
    /// The socket ends without a byte.
    Cut,
    /// The socket ends, whatever comes before.
    Ends,
}

impl Outcome {
    /// The code of the code table that it shows.
    pub(super) fn code(&self) -> Option<&'static str> {
        match self {
            // The verdict of an upgrade that would pass is no code of the table.
            Self::Status(_, "" | "ok") | Self::Closes(_, "") => None,
            Self::Status(_, code)
            | Self::Closes(_, code)
            | Self::Error(code)
            | Self::Refuses(_, code)
            | Self::Denies(_, code) => Some(code),
            Self::Answers(_) | Self::Says(_) | Self::Delivers(_) => None,
            Self::Lives | Self::Cut | Self::Ends => None,
        }
    }
}

impl Act {
    /// Whether the server is gone after it.
    pub(super) fn ends_the_server(&self) -> bool {
        matches!(self, Self::Signal("TERM" | "INT" | "KILL"))
    }
}

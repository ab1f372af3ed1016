//! The harness's driver for this client, after `crates/harness/DRIVERS.md`: commands come on stdin,
//! what the handlers of an application would see goes to stdout.

#[path = "driver/player.rs"]
mod player;
#[path = "driver/voice.rs"]
mod voice;

use std::{collections::HashMap, io::BufRead, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use player::Player;
use voice::{Output, Voice};

/// Command lines that wait; the thread that reads stdin waits beyond.
const COMMANDS_MAX: usize = 1_024;
/// How long `quit` may take for all clients together.
const QUIT_TIMEOUT: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    let output = Output::start();
    output.say(json!({
        "event": "ready", "driver": "rust", "version": env!("CARGO_PKG_VERSION"), "contract": 1,
    }));
    let mut lines = read_stdin();
    let mut players: HashMap<String, Player> = HashMap::new();
    let mut ends = JoinSet::new();
    while let Some(line) = lines.recv().await {
        let command: Value = serde_json::from_str(&line).unwrap_or_default();
        if command["cmd"] == "quit" {
            break;
        }
        if obey(&command, &mut players, &mut ends, &output)
            .await
            .is_none()
        {
            output.say(json!({"event": "error", "code": "bad_command", "message": line}));
        }
    }
    for player in players.into_values() {
        ends.spawn(player.stop());
    }
    // A client that does not end in time dies with the process.
    let _ = timeout(QUIT_TIMEOUT, async {
        while ends.join_next().await.is_some() {}
    })
    .await;
    output.finish();
    std::process::exit(0);
}

/// Does what a command says; none where it is not understood.
async fn obey(
    command: &Value,
    players: &mut HashMap<String, Player>,
    ends: &mut JoinSet<()>,
    output: &Output,
) -> Option<()> {
    let name = command["client"].as_str()?;
    match command["cmd"].as_str()? {
        "start" => {
            let voice = Voice::new(name, output);
            let player = Player::start(command, voice).await?;
            players.insert(name.to_owned(), player);
        }
        "stop" => {
            // Closing takes a while, and no other client may wait for it.
            ends.spawn(players.remove(name)?.stop());
        }
        "publish" => players.get(name)?.publish(command).await?,
        "send" => players.get(name)?.send(command).await?,
        "subscribe" => {
            let channel = command["channel"].as_str()?;
            let player = players.get_mut(name)?;
            player.subscribe(channel, &command["from"]).await?;
        }
        "unsubscribe" => {
            let channel = command["channel"].as_str()?;
            players.get_mut(name)?.unsubscribe(channel).await?;
        }
        "freeze_reader" => {
            let span = Duration::from_millis(command["ms"].as_u64()?);
            players.get(name)?.freeze(command["channel"].as_str(), span);
        }
        _ => return None,
    }
    Some(())
}

/// The lines of stdin, read by a thread of their own so that they are read whatever else happens.
fn read_stdin() -> mpsc::Receiver<String> {
    let (lines, received) = mpsc::channel(COMMANDS_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    });
    received
}

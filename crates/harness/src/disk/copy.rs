//! The data folder is replaced by an older copy while clients are away.
//!
//! Each position that lies in what was lost must be told `rewound`, also where new messages have taken
//! its offset since; none may be told `recovered: true`. What was not touched is recovered.

use std::{fs, io, path::Path, time::Duration};

use serde_json::{Map, Value, json};

use super::{serve, socket::Socket};
use crate::{
    http::HttpClient,
    scenario::{RunError, RunOptions},
    verdict::Verdict,
};

const CHANNELS: usize = 30;
/// Of each channel, before and after the copy was made, and after it was put back.
const BEFORE: usize = 5;
const LOST: usize = 6;
const NEW: usize = 12;
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
const SESSION: &str = "session-of-older-copy-0123456789";

/// What a client that is away remembers.
struct Remembered {
    channel: String,
    position: String,
    is_lost: bool,
}

pub(super) async fn run(options: RunOptions) -> Result<Verdict, RunError> {
    fs::create_dir_all(&options.folder)?;
    let (data, copy) = (options.folder.join("data"), options.folder.join("copy"));
    let mut remembered = Vec::new();
    let mut server = serve(&options.server, &options.folder, &[]).await?;
    let mut http = server.http();
    for number in 0..CHANNELS {
        publish(&mut http, number, BEFORE, false, &mut remembered).await?;
    }
    server.kill().await?;
    replace(&copy, &data)?;
    server.restart().await?;
    let mut http = server.http();
    // Two of three channels go on, and so does a session.
    for number in (0..CHANNELS).filter(|number| number % 3 != 0) {
        publish(&mut http, number, LOST, true, &mut remembered).await?;
    }
    let hello = |next: u64, link: u64, subscribe: Value| {
        json!({"type":"hello","id":1,"session":SESSION,"link":link,"first":next,"next":next,
            "subscribe":subscribe})
    };
    let (mut socket, _) = Socket::open(server.address(), hello(1, 1, json!({}))).await?;
    for seq in 1..=LOST as u64 {
        let published = socket.publish(seq, "lost", &json!(seq)).await?;
        published.map_err(RunError::Failed)?;
    }
    drop(socket);
    server.kill().await?;
    replace(&data, &copy)?;
    server.restart().await?;
    // Half of those that lost something grow beyond what was lost.
    let mut http = server.http();
    for number in (0..CHANNELS).filter(|number| number % 3 == 1) {
        publish(&mut http, number, NEW, false, &mut Vec::new()).await?;
    }
    let mut verdict = Verdict::default();
    judge(&mut verdict, server.address(), &remembered).await?;
    let (_, welcome) = Socket::open(server.address(), hello(LOST as u64 + 1, 2, json!({}))).await?;
    let is_told = welcome["resumed"] == false && welcome["reason"] == "session_lost";
    verdict.exactly("sessions told session_lost", is_told.into(), 1);
    server.kill().await?;
    Ok(verdict)
}

/// One folder in place of another.
pub(super) fn replace(to: &Path, from: &Path) -> io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// All that was remembered is resumed, one position of each channel on a link.
async fn judge(
    verdict: &mut Verdict,
    address: std::net::SocketAddr,
    remembered: &[Remembered],
) -> Result<(), RunError> {
    let (mut rewound, mut affected, mut recovered, mut rest) = (0, 0, 0, 0);
    let links = BEFORE + LOST;
    for link in 0..links {
        let mut subscribe = Map::new();
        let mut asked = Vec::new();
        for one in remembered {
            if !subscribe.contains_key(&one.channel)
                && index(&one.position).is_some_and(|offset| offset == link as u64 + 1)
            {
                subscribe.insert(one.channel.clone(), one.position.clone().into());
                asked.push(one);
            }
        }
        let hello = json!({"type":"hello","id":1,"session":format!("{SESSION}-{link}"),"link":1,
            "subscribe":subscribe});
        let (_, welcome) = Socket::open(address, hello).await?;
        for one in asked {
            let told = &welcome["subscriptions"][&one.channel];
            let is_recovered = told["recovered"] == true;
            match one.is_lost {
                true => {
                    affected += 1;
                    let is_told = !is_recovered && told["reason"] == "rewound";
                    rewound += u64::from(is_told);
                    if !is_told && verdict.violations.len() < 20 {
                        verdict.violations.push(format!("{} {told}", one.position));
                    }
                }
                false => {
                    rest += 1;
                    recovered += u64::from(is_recovered);
                }
            }
        }
    }
    verdict.exactly("affected resumes told rewound", rewound, affected);
    verdict.at_least(
        "affected resumes",
        affected,
        (CHANNELS / 3 * 2 * LOST) as u64,
    );
    verdict.exactly("other resumes recovered", recovered, rest);
    Ok(())
}

fn index(position: &str) -> Option<u64> {
    position.split('.').nth(1)?.parse().ok()
}

async fn publish(
    http: &mut HttpClient,
    number: usize,
    messages: usize,
    is_lost: bool,
    remembered: &mut Vec<Remembered>,
) -> Result<(), RunError> {
    let channel = format!("keep:{number}");
    for _ in 0..messages {
        let body = json!({"channel":channel,"data":number}).to_string();
        let answer = tokio::time::timeout(ANSWER_DEADLINE, http.post("/api/publish", body)).await;
        let (_, body) = answer
            .map_err(|_| RunError::Failed("no answer".into()))?
            .map_err(|error| RunError::Failed(error.to_string()))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let position = body["position"].as_str();
        let position = position.ok_or_else(|| RunError::Failed(body.to_string()))?;
        remembered.push(Remembered {
            channel: channel.clone(),
            position: position.to_owned(),
            is_lost,
        });
    }
    Ok(())
}

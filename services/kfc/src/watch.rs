//! Following a command to its end.

use std::time::{Duration, Instant};

use kfops_core::{Failure, Reason};
use serde_json::Value as Json;

use crate::{board::Board, client::Client, exit::Exit, output::Output, view};

/// How long nobody may answer before kfc gives up; the command goes on without it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows every step until the command has ended; how it ended decides the exit code.
/// `quiet`: only its answer.
pub(crate) async fn to_the_end(client: &Client, name: &str, quiet: bool, output: &Output) -> Result<(), Exit> {
    output.outcome_counts();
    let mut board = Board::new(output, quiet);
    let ended = follow(client, name, &mut board).await;
    board.close();
    let command = match ended {
        Ok(Some(command)) => command,
        Ok(None) => {
            let id = name.trim_start_matches("commands/");
            let failure = Failure::new(Reason::Canceled, format!("{name} goes on without kfc"));
            Exit::Failed(failure.action(format!("follow it with `kfc watch {id}`, end it with `kfc cancel {id}`")))
                .print();
            return Err(Exit::Code(130));
        }
        Err(failure) => return Err(failure.into()),
    };
    if output.is_table() {
        let answer = view::answer(&command, output);
        output.bytes(answer.as_bytes());
        if !quiet || answer.is_empty() {
            output.line(&view::outcome(&command, output));
        }
    } else {
        output.value(&command);
    }
    verdict(&command)
}

/// The ended command; None when the person presses Ctrl-C.
async fn follow(client: &Client, name: &str, board: &mut Board<'_>) -> Result<Option<Json>, Failure> {
    let mut heard = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let failure = match watch_once(client, name, board, &mut heard).await {
            Ok(Watched::Ended(command)) => return Ok(Some(command)),
            Ok(Watched::Interrupted) => return Ok(None),
            // The stream was cut: the newest state comes with the next one.
            Ok(Watched::Cut) => None,
            Err(failure) if failure.retryable => Some(failure),
            Err(failure) => return Err(failure),
        };
        if heard.elapsed() > PATIENCE {
            return Err(failure
                .unwrap_or_else(|| Failure::new(Reason::WorkerUnavailable, "the stream ends before the command")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

enum Watched {
    Ended(Json),
    Interrupted,
    Cut,
}

async fn watch_once(
    client: &Client,
    name: &str,
    board: &mut Board<'_>,
    heard: &mut Instant,
) -> Result<Watched, Failure> {
    let mut lines = client.stream(&format!("v1/{name}:watch"), &[]).await?;
    let mut ticks = tokio::time::interval(Duration::from_millis(120));
    loop {
        let next = lines.next();
        tokio::pin!(next);
        let command = loop {
            tokio::select! {
                line = &mut next => break line?,
                _ = ticks.tick() => board.tick(),
                _ = tokio::signal::ctrl_c() => return Ok(Watched::Interrupted),
            }
        };
        let Some(command) = command else { return Ok(Watched::Cut) };
        *heard = Instant::now();
        board.show(&command);
        if view::has_ended(&command) {
            return Ok(Watched::Ended(command));
        }
    }
}

fn verdict(command: &Json) -> Result<(), Exit> {
    match command["state"].as_str().unwrap_or_default() {
        "STATE_SUCCEEDED" => Ok(()),
        "STATE_REFUSED" => Err(Exit::Code(3)),
        _ => Err(Exit::Code(1)),
    }
}

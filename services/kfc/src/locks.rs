//! `kfc locks`.

use serde_json::Value as Json;

use crate::{
    client::Client,
    exit::Exit,
    output::{Format, Output, one_line},
};

/// Who deploys where, and who waits for it.
pub(crate) async fn run(client: &Client, output: &Output) -> Result<(), Exit> {
    let answer = client.get("v1/locks", &[]).await?;
    let locks: Vec<&Json> = answer["locks"].as_array().into_iter().flatten().collect();
    match output.format {
        Format::Json | Format::Yaml => output.value(&answer),
        Format::Name => locks.iter().for_each(|lock| output.line(&text(lock, "target"))),
        Format::Table if locks.is_empty() => output.line("nothing was deployed yet"),
        Format::Table => {
            for lock in locks {
                output.line(&line(lock));
            }
        }
    }
    Ok(())
}

fn text(lock: &Json, key: &str) -> String {
    one_line(lock[key].as_str().unwrap_or_default())
}

fn line(lock: &Json) -> String {
    let since = text(lock, "since");
    let since = since.split_once('.').map_or(since.trim_end_matches('Z'), |(seconds, _)| seconds).replace('T', " ");
    let holder = match text(lock, "holder").as_str() {
        "" => format!("free since {since}"),
        holder => format!("held by {} since {since}", holder.trim_start_matches("commands/")),
    };
    let queue: Vec<String> =
        lock["queue"].as_array().into_iter().flatten().filter_map(Json::as_str).map(one_line).collect();
    let queue = queue.iter().map(|name| name.trim_start_matches("commands/")).collect::<Vec<_>>().join(", ");
    let waiting = if queue.is_empty() { String::new() } else { format!("; waiting: {queue}") };
    format!("{}  {holder}{waiting}", text(lock, "target"))
}

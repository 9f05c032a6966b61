//! Looks after one model server: when it is ready, whether it still is, how it ended.

use std::{path::PathBuf, time::Duration};

use kfops_core::Failure;
use kfops_process::{Child, Ended};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{POLL, authority, cause};
use crate::ports::Server;

/// A server that was told to end answers what it has begun, for so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// Missed in a row, it hangs. A slow request alone makes it miss none: predictions run beside what answers probes.
const MISSES: u32 = 3;

/// One process.
pub(super) struct Watched {
    /// Written by the server.
    pub(super) address: PathBuf,
    pub(super) kept: PathBuf,
    pub(super) url_path: String,
    pub(super) http: reqwest::Client,
    /// Between two probes of a server that was ready.
    pub(super) interval: Duration,
    /// The router is gone: nobody gets what is answered any more.
    pub(super) hurry: CancellationToken,
}

impl Watched {
    pub(super) async fn run(self, mut child: Child, server: watch::Sender<Server>, stop: CancellationToken) {
        let ended = tokio::select! {
            ended = child.wait() => Some(ended),
            () = stop.cancelled() => None,
            url = self.until_ready(&server) => tokio::select! {
                ended = child.wait() => Some(ended),
                () = stop.cancelled() => None,
                () = self.until_hung(&url) => {
                    tracing::error!(folder = %self.kept.display(), misses = MISSES, "model server hangs, ending it");
                    child.kill().await;
                    self.forget();
                    let text = format!("it hung: {MISSES} probes in a row were not answered within {:?}", self.interval);
                    server.send_replace(Server::Exited(text));
                    return;
                }
            },
        };
        match ended {
            Some(ended) => _ = server.send_replace(Server::Exited(how(ended))),
            None => {
                tokio::select! {
                    () = child.terminate(PATIENCE) => {}
                    () = self.hurry.cancelled() => child.kill().await,
                }
                self.forget();
            }
        }
    }

    async fn until_ready(&self, server: &watch::Sender<Server>) -> String {
        loop {
            if let Some(authority) = authority(&self.address) {
                let url = format!("http://{authority}{}", self.url_path);
                let ready = self.http.get(&url).send().await;
                if ready.is_ok_and(|response| response.status().is_success()) {
                    server.send_replace(Server::Ready(authority));
                    return url;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn until_hung(&self, url: &str) {
        let mut missed = 0;
        while missed < MISSES {
            tokio::time::sleep(self.interval).await;
            let answer = self.http.get(url).timeout(self.interval).send().await;
            if answer.is_ok_and(|response| response.status().is_success()) {
                missed = 0;
            } else {
                missed += 1;
                tracing::warn!(url, missed, "model server does not answer a probe");
            }
        }
    }

    fn forget(&self) {
        std::fs::remove_file(self.kept.join("pid.json")).ok();
    }
}

fn how(ended: Result<Ended, Failure>) -> String {
    ended.map_or_else(|failure| failure.message, |ended| cause(&ended.output, &ended.describe()))
}

//! The process of Envoy: its port, its start, and its next start when it dies or hangs.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kfops_core::{Failure, Reason};
use kfops_process::{Child, Command};
use tokio::time::Instant;

use super::{Envoy, POLL};
use crate::local::orphan;

/// Between two questions whether it is there. How long it may take to say so is the admin client's limit.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Missed in a row, it hangs: nobody gets predictions until another one runs.
const MISSES: u32 = 3;
/// Before its first answer it is given this long: on a busy machine it takes its time to start.
const START: Duration = Duration::from_secs(40);

impl Envoy {
    /// The address that was asked for. Port 0: the one of the last time, or else a free one.
    pub(super) fn choose_address(&self) -> Result<SocketAddr, Failure> {
        let kept = self.folder.join("port");
        let taken = |address: SocketAddr, error: std::io::Error| {
            Failure::new(Reason::Internal, format!("cannot listen on {address}: {error}"))
                .action("choose another address with `listen_models` in the settings")
        };
        if self.wanted.port() == 0
            && let Some(port) = std::fs::read_to_string(&kept).ok().and_then(|text| text.trim().parse().ok())
            && TcpListener::bind(SocketAddr::new(self.wanted.ip(), port)).is_ok()
        {
            return Ok(SocketAddr::new(self.wanted.ip(), port));
        }
        let listener = TcpListener::bind(self.wanted).map_err(|error| taken(self.wanted, error))?;
        let address = listener.local_addr().map_err(|error| taken(self.wanted, error))?;
        std::fs::write(&kept, address.port().to_string()).map_err(Failure::internal)?;
        Ok(address)
    }

    pub(super) fn spawn(&self) -> Result<Child, Failure> {
        std::fs::remove_file(&self.socket).ok();
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.folder.join("bootstrap.json"))
            // One thread carries more than the models behind it can answer.
            .args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"])
            .cwd(&self.folder)
            .log(self.log())
            .spawn()?;
        orphan::remember(&self.folder, child.id());
        Ok(child)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("envoy.log")
    }

    /// Returns when it answers no more questions.
    async fn until_hung(&self) {
        let (mut missed, mut answered, began) = (0, false, Instant::now());
        while missed < MISSES || !answered && began.elapsed() < START {
            tokio::time::sleep(ASK_EVERY).await;
            let answers = self.admin.answers().await;
            self.away.store(!answers, Ordering::Relaxed);
            match answers {
                true => (missed, answered) = (0, true),
                false => {
                    missed += 1;
                    tracing::warn!(missed, "envoy does not answer");
                }
            }
        }
    }

    /// Starts it again whenever it ends or hangs.
    pub(super) async fn keep(self: Arc<Self>, mut child: Child) {
        let mut pause = Duration::ZERO;
        loop {
            let began = Instant::now();
            tokio::select! {
                ended = child.wait() => {
                    tracing::error!(how = ended.map(|e| e.describe()).unwrap_or_default(), "envoy ended, starting it again");
                }
                () = self.until_hung() => {
                    tracing::error!("envoy hangs, ending it and starting it again");
                    child.kill().await;
                }
                () = self.stop.cancelled() => {
                    child.terminate(Duration::from_secs(5)).await;
                    std::fs::remove_file(self.folder.join("pid.json")).ok();
                    return;
                }
            }
            // At once, unless it ends at once too.
            pause = if began.elapsed() > Duration::from_secs(5) { Duration::ZERO } else { pause + POLL * 5 };
            loop {
                tokio::time::sleep(pause.min(Duration::from_secs(2))).await;
                match self.spawn() {
                    Ok(again) => {
                        child = again;
                        break;
                    }
                    Err(failure) => tracing::error!(%failure, "envoy not started"),
                }
                pause += POLL * 5;
                if self.stop.is_cancelled() {
                    return;
                }
            }
        }
    }
}

//! A process and mount namespace for builds: when its first process is killed, everything in it ends and
//! everything that it mounted is gone.

use std::time::Duration;

use kfops_process::Command;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

const UNSHARE: [&str; 6] = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

/// A command for `program` inside, where this machine allows it (as root, mostly).
pub(crate) async fn command(program: &str) -> Command {
    if works().await { Command::new("unshare").args(UNSHARE).arg(program) } else { Command::new(program) }
}

async fn works() -> bool {
    // A fact about the machine, not state of the service.
    static WORKS: OnceCell<bool> = OnceCell::const_new();
    *WORKS
        .get_or_init(|| async {
            let probe = Command::new("unshare").args(UNSHARE).arg("true").timeout(Duration::from_secs(5));
            probe.run(&CancellationToken::new()).await.is_ok_and(|ended| ended.success())
        })
        .await
}

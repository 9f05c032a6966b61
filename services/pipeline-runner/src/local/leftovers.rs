//! Processes that outlived a service that was killed. Namespaces end theirs; where no sandbox works, a task's own
//! children may be left.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// What the kernel calls bubblewrap's processes.
const SANDBOX: &str = "bwrap";

/// The kernel's name of a process, without control characters: it chooses that itself.
fn name(id: i32) -> String {
    let name = std::fs::read(format!("/proc/{id}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).chars().filter(|c| !c.is_control()).collect()
}

/// Ends every process whose environment names this folder as its `TMPDIR`: only ours can.
pub(super) fn end(folder: &Path) {
    let marker = format!("TMPDIR={}/", folder.display());
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(|pair| pair.starts_with(marker.as_bytes())).then_some(id)
    });
    for id in ids {
        let process = name(id);
        let folder = folder.display();
        // The sandbox's first process says how the run ended, and then ends itself: normally it is met here.
        if process == SANDBOX {
            tracing::debug!(pid = id, process, %folder, "ended a sandbox that was about to end");
        } else {
            tracing::info!(pid = id, process, %folder, "ended a process that was left behind");
        }
        if let Some(pid) = Pid::from_raw(id) {
            // ESRCH: it has ended meanwhile.
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kfops_process::Command;

    use super::*;

    #[test]
    fn a_process_is_named() {
        let kernel = std::fs::read_to_string("/proc/self/comm").unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(name(own), kernel.trim_end());
        assert_eq!(name(i32::MAX), "");
    }

    #[tokio::test]
    async fn ends_only_what_belongs_to_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let sleeper = |of: &Path| Command::new("sleep").arg("100").env("TMPDIR", of.join("1/tmp"));
        let mut ours = sleeper(folder.path()).spawn().unwrap();
        let other = tempfile::tempdir().unwrap();
        let mut theirs = sleeper(other.path()).spawn().unwrap();
        // The environment is there once the program has been started.
        let ended = async {
            loop {
                end(folder.path());
                if let Ok(ended) = tokio::time::timeout(Duration::from_millis(50), ours.wait()).await {
                    return ended.unwrap();
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
        assert_eq!(ended.signal, Some(9));
        assert!(tokio::time::timeout(Duration::from_millis(50), theirs.wait()).await.is_err());
        theirs.kill().await;
    }
}

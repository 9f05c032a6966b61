//! Children of a process that was killed: found by a file, believed only when the start time agrees, ended.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Note {
    pid: i32,
    start: u64,
}

/// Remembers a child in `folder`.
pub(super) fn remember(folder: &Path, pid: Option<u32>) {
    let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) else { return };
    if let Some(start) = start_time(pid)
        && let Ok(json) = serde_json::to_vec(&Note { pid, start })
    {
        std::fs::write(file(folder), json).ok();
    }
}

/// Ends the child remembered in `folder`, if it still runs.
pub(super) fn end(folder: &Path) {
    let Ok(json) = std::fs::read(file(folder)) else { return };
    if let Ok(note) = serde_json::from_slice::<Note>(&json)
        && start_time(note.pid) == Some(note.start)
        && let Some(group) = Pid::from_raw(note.pid)
    {
        tracing::warn!(pid = note.pid, "ending a child of the process before");
        kill_process_group(group, Signal::KILL).ok();
    }
    std::fs::remove_file(file(folder)).ok();
}

fn file(folder: &Path) -> PathBuf {
    folder.join("pid.json")
}

/// Field 22 of /proc/PID/stat, in clock ticks since boot; the command's name before it may hold spaces and brackets.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_of_another_process_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let note = Note { pid, start: start_time(pid).unwrap() + 1 };
        std::fs::write(file(folder.path()), serde_json::to_vec(&note).unwrap()).unwrap();
        end(folder.path());
        assert!(child.try_wait().unwrap().is_none(), "ended although the start time differs");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!file(folder.path()).exists());
    }
}

//! The addresses that people see. They stay the same from start to start: records and browser tabs keep them.

use std::path::Path;

use kfops_core::{Failure, Reason};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Loopback addresses with their ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) forge: String,
    pub(super) api: String,
    pub(super) models: String,
    pub(super) registry: String,
    pub(super) traces: String,
}

impl Ports {
    /// Five in a row from `first`; for 0 the ones in `file`, or free ones where those are taken.
    pub(super) async fn choose(first: u16, file: &Path) -> Result<Self, Failure> {
        let before: Option<Self> = std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if first > u16::MAX - 4 {
            return Err(Failure::new(
                Reason::InvalidArgument,
                format!("--port {first}: five ports in a row do not fit after it"),
            )
            .action("choose one up to 65531"));
        }
        let mut chosen = Vec::new();
        // All are held until all are chosen, so that none is given out twice.
        let mut held = Vec::new();
        for offset in 0..5u16 {
            let kept = before.as_ref().map(|ports| ports.all()[usize::from(offset)].to_owned());
            let wanted = match (first, kept) {
                (0, Some(kept)) => kept,
                (0, None) => "127.0.0.1:0".to_owned(),
                _ => format!("127.0.0.1:{}", first + offset),
            };
            let listener = match TcpListener::bind(&wanted).await {
                Ok(listener) => listener,
                Err(_) if first == 0 => TcpListener::bind("127.0.0.1:0").await.map_err(Failure::internal)?,
                Err(error) => {
                    return Err(Failure::new(Reason::InvalidArgument, format!("cannot listen on {wanted}: {error}"))
                        .action("another kfc local may be running; choose other ports with --port, or free ones with --port 0"));
                }
            };
            chosen.push(listener.local_addr().map_err(Failure::internal)?.to_string());
            held.push(listener);
        }
        drop(held);
        let [forge, api, models, registry, traces] =
            <[String; 5]>::try_from(chosen).map_err(|_| Failure::internal("not five ports"))?;
        let ports = Self { forge, api, models, registry, traces };
        let text = serde_json::to_vec_pretty(&ports).map_err(Failure::internal)?;
        std::fs::write(file, text)
            .map_err(|error| Failure::new(Reason::StoreUnavailable, format!("{}: {error}", file.display())))?;
        Ok(ports)
    }

    fn all(&self) -> [&str; 5] {
        [&self.forge, &self.api, &self.models, &self.registry, &self.traces]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn free_ports_stay_the_same_unless_they_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ports.json");
        let first = Ports::choose(0, &file).await.unwrap();
        assert_eq!(Ports::choose(0, &file).await.unwrap(), first);
        let _taken = TcpListener::bind(&first.api).await.unwrap();
        let other = Ports::choose(0, &file).await.unwrap();
        assert_ne!(other.api, first.api);
        assert_eq!(other.forge, first.forge);
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let failure = Ports::choose(port, &folder.path().join("ports.json")).await.unwrap_err();
        assert!(failure.message.contains(&port.to_string()));
    }
}

//! Git's own protocol for clones and pushes: the two server commands behind smart HTTP.

use std::process::Stdio;

use tokio::process::Command;

use super::{Bare, LONG_LIMIT, Stream, finish};
use crate::error::{Error, Result};

/// Which way objects go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// To the client.
    UploadPack,
    /// From the client.
    ReceivePack,
}

impl Service {
    /// As in URLs and media types.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    /// From a URL.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::UploadPack, Self::ReceivePack].into_iter().find(|service| service.as_str() == name)
    }

    const fn command(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        }
    }
}

impl Bare {
    fn server(&self, service: Service, protocol: Option<&str>, limits: &[String]) -> Command {
        let mut command = self.git.command(None);
        if let Some(protocol) = protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        for limit in limits {
            command.args(["-c", limit]);
        }
        command.args([service.command(), "--stateless-rpc"]);
        command
    }

    /// The refs that a client is offered.
    pub(crate) async fn advertise(&self, service: Service, protocol: Option<&str>) -> Result<Vec<u8>> {
        let _slot = self.git.short.acquire().await.map_err(Error::internal)?;
        let mut command = self.server(service, protocol, &[]);
        command.arg("--advertise-refs").arg(&self.dir);
        Ok(finish(command, Vec::new(), super::TIME_LIMIT, service.as_str()).await?.ok()?.stdout)
    }

    /// Answers a fetch.
    pub(crate) async fn upload_pack(&self, request: Vec<u8>, protocol: Option<&str>) -> Result<Stream> {
        let slot = self.git.long.clone().acquire_owned().await.map_err(Error::internal)?;
        let mut command = self.server(Service::UploadPack, protocol, &[]);
        command.arg(&self.dir).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            tokio::spawn(async move {
                use tokio::io::AsyncWriteExt as _;
                // git stops reading when it has enough.
                let _ = input.write_all(&request).await;
            });
        }
        Stream::of(child, slot)
    }

    /// Takes a push from a file or socket and answers with git's report.
    pub(crate) async fn receive_pack<R>(&self, mut request: R, protocol: Option<&str>, max: u64) -> Result<Vec<u8>>
    where
        R: tokio::io::AsyncRead + Unpin + Send,
    {
        use tokio::io::AsyncReadExt as _;
        let _slot = self.git.long.acquire().await.map_err(Error::internal)?;
        let mut command = self.server(Service::ReceivePack, protocol, &[format!("receive.maxInputSize={max}")]);
        command.arg(&self.dir).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        let work = async {
            let feed = async {
                let Some(mut input) = input else { return Ok(0) };
                tokio::io::copy(&mut request, &mut input).await
            };
            let mut report = Vec::new();
            let read = async {
                match output {
                    Some(pipe) => pipe.take(super::OUTPUT_LIMIT).read_to_end(&mut report).await,
                    None => Ok(0),
                }
            };
            let (fed, read) = tokio::join!(feed, read);
            read?;
            match fed {
                // git answers a push that it refuses before it has read all of it.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(Error::internal(error)),
                _ => {}
            }
            child.wait().await?;
            Ok(report)
        };
        tokio::time::timeout(LONG_LIMIT, work).await.map_err(|_| Error::internal("the push took too long"))?
    }
}

//! Stand-ins for the usual base images, for machines that reach no public registry: Debian with Python,
//! made once from Debian's packages, kept in the cache folder, served by the embedded registry under the usual name.

mod image;
mod rootfs;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use kfops_core::{Digest, Failure, Reason};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    local::registry::Handle,
    reference::{DOCKER_HUB, ImageName},
    settings::StandIn,
};

/// How long the answer to "does the public registry answer" is believed.
const BELIEVED: Duration = Duration::from_secs(600);
/// How long the public registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a stand-in can be made for: path and tags.
const KNOWN: &[(&str, &[&str])] = &[
    ("library/python", &["3.11", "3.11-slim", "3.11-bookworm", "3.11-slim-bookworm"]),
    ("library/debian", &["bookworm", "bookworm-slim", "12", "12-slim"]),
];

/// Makes stand-ins.
pub(crate) struct StandIns {
    mode: StandIn,
    cache: PathBuf,
    embedded: Option<Handle>,
    answers: Mutex<Option<(Instant, bool)>>,
    made: Mutex<Option<Arc<rootfs::Rootfs>>>,
}

impl StandIns {
    pub(crate) fn new(mode: StandIn, cache: PathBuf, embedded: Option<Handle>) -> Self {
        Self { mode, cache, embedded, answers: Mutex::default(), made: Mutex::default() }
    }

    /// Whether names of Docker Hub are served by the embedded registry.
    pub(crate) async fn needed(&self) -> bool {
        match self.mode {
            StandIn::Always => true,
            StandIn::Never => false,
            StandIn::Auto => !self.public_registry_answers().await,
        }
    }

    /// The digest of the stand-in for `image`, which is in the embedded registry afterwards.
    pub(crate) async fn ensure(&self, image: &ImageName, cancel: &CancellationToken) -> Result<Digest, Failure> {
        let (embedded, tag) = self.can_serve(image)?;
        // Looked up each time: the registry's folder may have been emptied.
        let mut made = self.made.lock().await;
        let rootfs = match &*made {
            Some(rootfs) => Arc::clone(rootfs),
            None => {
                let rootfs = Arc::new(rootfs::ensure(&self.cache, cancel).await?);
                Arc::clone(made.insert(rootfs))
            }
        };
        image::publish(embedded, image, tag, &rootfs).await
    }

    /// The digest that `ensure` gives, when nothing has to be made for it.
    pub(crate) fn made_already(&self, image: &ImageName) -> Result<Option<Digest>, Failure> {
        self.can_serve(image)?;
        Ok(rootfs::made_already(&self.cache).map(|rootfs| image::digest(&rootfs)))
    }

    /// The registry that serves a stand-in for `image`, and the tag.
    fn can_serve<'a>(&'a self, image: &'a ImageName) -> Result<(&'a Handle, &'a str), Failure> {
        let tag = image.tag.as_deref().unwrap_or_default();
        let known =
            KNOWN.iter().any(|(path, tags)| *path == image.path && tags.contains(&tag)) && image.digest.is_none();
        let Some(embedded) = self.embedded.as_ref().filter(|_| known) else {
            let names: Vec<String> = KNOWN
                .iter()
                .flat_map(|(path, tags)| {
                    tags.iter().map(move |tag| format!("{}:{tag}", path.trim_start_matches("library/")))
                })
                .collect();
            let why = if known {
                "there is no embedded registry to serve a stand-in"
            } else {
                "no stand-in can be made for it"
            };
            return Err(Failure::new(
                Reason::RegistryUnavailable,
                format!("base image {image}: {DOCKER_HUB} does not answer, and {why}"),
            )
            .action(format!(
                "connect this machine to the registry, or use one of these, which are made from Debian's packages: {}",
                names.join(", ")
            )));
        };
        Ok((embedded, tag))
    }

    async fn public_registry_answers(&self) -> bool {
        let mut answers = self.answers.lock().await;
        if let Some((at, answer)) = *answers
            && at.elapsed() < BELIEVED
        {
            return answer;
        }
        let answer = probe().await;
        if !answer {
            tracing::info!(registry = DOCKER_HUB, "public registry does not answer: stand-in base images are used");
        }
        *answers = Some((Instant::now(), answer));
        answer
    }
}

async fn probe() -> bool {
    let ask = async {
        let client = reqwest::Client::builder().connect_timeout(PATIENCE).timeout(PATIENCE).build().ok()?;
        client.get("https://registry-1.docker.io/v2/").send().await.ok()
    };
    // A registry answers 401 with a challenge; a proxy that forbids the way there answers something else.
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Some(response)) => matches!(response.status().as_u16(), 200 | 401),
        _ => false,
    }
}

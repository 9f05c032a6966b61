//! What a build would find, without one.

use std::time::Duration;

use futures::future::try_join_all;
use kfops_core::{Failure, Reason};
use tokio::sync::OnceCell;

use super::Engine;
use crate::{build::Build, image::ImageWork};

/// Each unpacks a source.
pub(super) const AT_A_TIME: usize = 2;
const LIMIT: Duration = Duration::from_secs(60);

impl Engine {
    /// What a build would find: which of its images exist already, and what is wrong with the others. Keeps nothing.
    pub(crate) async fn preview(&self, mut build: Build) -> Result<Build, Failure> {
        build.request.validate()?;
        let stop = self.lifecycle.aborting().child_token();
        let _stop = stop.clone().drop_guard();
        let unusable = |error: std::io::Error| Failure::new(Reason::StoreUnavailable, format!("state folder: {error}"));
        let looks = async {
            let _turn = self.previews.acquire().await.map_err(Failure::internal)?;
            let work =
                tempfile::Builder::new().prefix("preview-").tempdir_in(&self.settings.state).map_err(unusable)?;
            let (source, images) = (OnceCell::new(), 0..build.request.images.len());
            let looks = images.map(|index| {
                let (build, work) = (&build, work.path());
                ImageWork { engine: self, build, index, work, source: &source, stop: &stop, preview: true }.look()
            });
            try_join_all(looks).await
        };
        let late = |_| {
            let text = format!("looking at the images took longer than {} s", LIMIT.as_secs());
            Failure::new(Reason::DeadlineExceeded, text)
        };
        build.results = tokio::time::timeout(LIMIT, looks).await.map_err(late)??;
        // Nothing was made that could be told from another.
        build.uid.clear();
        Ok(build)
    }
}

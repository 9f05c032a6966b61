//! Where the artifacts of a run lie. Up to KFP 2.17 its API says nothing of it; the release after says it all.

mod metadata;
mod path;
mod view;

use async_trait::async_trait;
use kfops_core::Failure;
use kfops_store::Store;

use super::{kfp::Run, objects::Root, settings::ArtifactLocation, spec::Spec, tasks::Found};

pub(super) use self::{metadata::Metadata, path::ByPath, view::ByView};

/// Fills in what tasks have written.
#[async_trait]
pub(super) trait Locate: Send + Sync {
    /// Whether runs are asked for with view=FULL.
    fn full(&self) -> bool;

    /// Artifacts, metrics, values and logs of the tasks of an ended run.
    async fn locate(&self, run: &Run, spec: &Spec, root: &Root, found: &mut [Found]) -> Result<(), Failure>;
}

/// The way of an installation that reports this version.
pub(super) fn choose(
    wanted: ArtifactLocation,
    version: &str,
    artifacts: &Store,
    metadata: Option<&Metadata>,
) -> Box<dyn Locate> {
    let view = match wanted {
        ArtifactLocation::Path => false,
        ArtifactLocation::View => true,
        ArtifactLocation::Auto => has_view(version),
    };
    if view { Box::new(ByView) } else { Box::new(ByPath::new(artifacts.clone(), metadata.cloned())) }
}

/// Whether runs of this version name their artifacts. What is no version is taken for an old one.
fn has_view(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) > (2, 17),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_follows_the_version() {
        for (version, view) in [
            ("2.16.1", false),
            ("2.17.0", false),
            ("2.17.3-rc.1", false),
            ("2.18.0", true),
            ("v3.0.0", true),
            ("master", false),
            ("", false),
            ("4a3592cb", false),
        ] {
            assert_eq!(has_view(version), view, "{version}");
        }
    }
}

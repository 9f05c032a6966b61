//! The stand-in as an OCI image in the embedded registry.

use kfops_core::{Digest, Failure};
use serde_json::json;

use super::rootfs::Rootfs;
use crate::{local::registry::Handle, reference::ImageName};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Puts layer, configuration and manifest into the registry. The bytes depend on the root file system alone,
/// so that the digest is the same in every registry.
pub(super) async fn publish(
    embedded: &Handle,
    image: &ImageName,
    tag: &str,
    rootfs: &Rootfs,
) -> Result<Digest, Failure> {
    let Described { config, manifest } = describe(rootfs);
    embedded.import(&rootfs.tar, &rootfs.digest).await?;
    embedded.put_blob(config).await?;
    let digest = Digest::of(&manifest);
    let repository = image.repository();
    if embedded.tag(&repository, tag).as_ref() == Some(&digest) {
        return Ok(digest);
    }
    embedded.put_manifest(&repository, tag, MANIFEST, manifest).await
}

/// The digest that `publish` gives.
pub(super) fn digest(rootfs: &Rootfs) -> Digest {
    Digest::of(&describe(rootfs).manifest)
}

/// Both as they lie in the registry.
struct Described {
    config: Vec<u8>,
    manifest: Vec<u8>,
}

fn describe(rootfs: &Rootfs) -> Described {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
            "Cmd": ["python3"],
            "Labels": {
                "dev.kfops.stand-in": "true",
                "org.opencontainers.image.title": "Debian with Python",
                "org.opencontainers.image.description":
                    "Stand-in made by Kfops from Debian's packages, because no public image registry answered; not the official image",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [rootfs.digest.as_str()]},
        "history": [{"created_by": "mmdebstrap", "comment": "made by Kfops"}],
    });
    let config = config.to_string().into_bytes();
    let config_size = config.len();
    let config_digest = Digest::of(&config);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest.as_str(), "size": config_size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": rootfs.digest.as_str(), "size": rootfs.size}],
    });
    let manifest = manifest.to_string().into_bytes();
    Described { config, manifest }
}

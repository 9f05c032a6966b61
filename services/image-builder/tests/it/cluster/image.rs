//! An image with one program on the cluster's Debian base, put into its registry without a builder.

use std::path::Path;

use kfops_core::Digest;
use serde_json::{Value, json};

/// Where the program lies.
pub(super) const PROGRAM: &str = "/usr/local/bin/program";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pushes it to the registry at `address` unless it is there; its name for nodes.
pub(super) async fn push(address: &str, repository: &str, program: &Path) -> String {
    let stripped = tempfile::NamedTempFile::new().unwrap();
    let status = std::process::Command::new("strip").arg("-o").arg(stripped.path()).arg(program).status().unwrap();
    assert!(status.success());
    let program = std::fs::read(stripped.path()).unwrap();
    // Nodes keep what they have: another program is another tag.
    let tag = Digest::of(&program).hex()[..16].to_owned();
    let name = format!("registry.test/{repository}:{tag}");
    let (client, registry) = (reqwest::Client::builder().no_proxy().build().unwrap(), format!("http://{address}/v2"));
    let manifest_url = format!("{registry}/{repository}/manifests/{tag}");
    if client.head(&manifest_url).header("accept", MANIFEST).send().await.unwrap().status().is_success() {
        return name;
    }
    let base = client.get(format!("{registry}/base/manifests/1")).header("accept", MANIFEST).send().await.unwrap();
    let mut manifest: Value = base.json().await.unwrap();
    let digest = |value: &Value| value["digest"].as_str().unwrap().to_owned();
    let config_url = format!("{registry}/base/blobs/{}", digest(&manifest["config"]));
    let mut config: Value = client.get(config_url).send().await.unwrap().json().await.unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let url = format!("{registry}/{repository}/blobs/uploads/?mount={}&from=base", digest(layer));
        assert!(client.post(url).send().await.unwrap().status().is_success());
    }
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, &PROGRAM[1..], program.as_slice()).unwrap();
    let layer = archive.into_inner().unwrap();
    let layer_digest = Digest::of(&layer).to_string();
    let layer_entry =
        json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len()});
    manifest["layers"].as_array_mut().unwrap().push(layer_entry);
    config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(json!(layer_digest));
    config["history"] = json!([]);
    config["config"]["Entrypoint"] = json!([PROGRAM]);
    config["config"].as_object_mut().unwrap().remove("Cmd");
    let config = serde_json::to_vec(&config).unwrap();
    manifest["config"]["digest"] = json!(Digest::of(&config).to_string());
    manifest["config"]["size"] = json!(config.len());
    for blob in [layer, config] {
        let digest = Digest::of(&blob);
        let begun = client.post(format!("{registry}/{repository}/blobs/uploads/")).send().await.unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let location = if location.starts_with('/') { format!("http://{address}{location}") } else { location };
        let sign = if location.contains('?') { '&' } else { '?' };
        let put = client.put(format!("{location}{sign}digest={digest}")).body(blob).send().await.unwrap();
        assert!(put.status().is_success(), "{put:?}");
    }
    let media_type = manifest["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
    let put =
        client.put(manifest_url).header("content-type", media_type).body(manifest.to_string()).send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    name
}

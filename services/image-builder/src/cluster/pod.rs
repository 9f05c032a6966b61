//! The pod of a build: the context is fetched first, then rootless BuildKit builds and pushes by digest.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::{
    api::core::v1::{
        AppArmorProfile, Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource,
        KeyToPath, LocalObjectReference, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile,
        SecretKeySelector, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kfops_core::{Digest, Failure};

use super::{
    fetch,
    settings::{BuildKitSettings, Resources},
};
use crate::ports::Job;

/// The container that builds.
pub(super) const BUILDKIT: &str = "buildkit";
/// The container that fetches the context.
pub(super) const FETCH: &str = "fetch-context";
/// Key of the signed URL in the Job's Secret.
pub(super) const URL_KEY: &str = "url";

const CONTEXT: &str = "/kfops/context";
const FILES: &str = "/kfops/context/files";
const DOCKER: &str = "/kfops/docker";
const CONFIG: &str = "/kfops/config";
const RUN: &str = "/kfops/run";
const METADATA: &str = "/kfops/run/metadata.json";
/// BuildKit's own, where its image makes it.
const STATE: &str = "/home/user/.local/share/buildkit";

/// Runs what follows; of the metadata, the digest becomes the termination message. Nothing is put into this text.
const SCRIPT: &str = r#""$@"
sed -n 's/^ *"containerimage.digest": "\(sha256:[0-9a-f]*\)".*/\1/p' "$KFOPS_METADATA" >/dev/termination-log"#;

/// What differs between builds and is not in `Job`.
pub(super) struct Given<'a> {
    pub(super) settings: &'a BuildKitSettings,
    /// Name of the Job and of its Secret.
    pub(super) name: &'a str,
    /// Of the packed context.
    pub(super) digest: &'a Digest,
    pub(super) otlp_endpoint: Option<&'a str>,
}

pub(super) fn pod(job: &Job, given: &Given<'_>) -> Result<PodSpec, Failure> {
    let settings = given.settings;
    let user = i64::from(settings.user);
    let secrets = settings.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    Ok(PodSpec {
        init_containers: Some(vec![fetch_container(given, user)]),
        containers: vec![buildkit_container(job, given, user)?],
        volumes: Some(volumes(settings)),
        automount_service_account_token: Some(false),
        service_account_name: settings.service_account.clone(),
        priority_class_name: settings.priority_class.clone(),
        image_pull_secrets: Some(secrets.collect()),
        node_selector: Some(settings.node_selector.clone()),
        tolerations: Some(settings.tolerations.clone()),
        security_context: Some(PodSecurityContext { fs_group: Some(user), ..PodSecurityContext::default() }),
        // What is canceled has nothing to finish.
        termination_grace_period_seconds: Some(5),
        ..PodSpec::default()
    })
}

fn fetch_container(given: &Given<'_>, user: i64) -> Container {
    let fetcher = &given.settings.fetcher;
    let url = EnvVar {
        name: fetch::URL.into(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector { name: given.name.into(), key: URL_KEY.into(), optional: None }),
            ..EnvVarSource::default()
        }),
    };
    let small = Resources {
        requests: [("cpu".into(), "50m".into()), ("memory".into(), "64Mi".into())].into(),
        limits: [("memory".into(), "256Mi".into())].into(),
    };
    Container {
        name: FETCH.into(),
        image: Some(fetcher.image.clone()),
        command: Some(fetcher.command.clone()),
        args: Some(vec!["fetch-context".into()]),
        env: Some(vec![url, variable(fetch::DIGEST, given.digest.as_str()), variable(fetch::FOLDER, FILES)]),
        resources: Some(requirements(&small)),
        volume_mounts: Some(vec![mount("context", CONTEXT, false)]),
        security_context: Some(SecurityContext {
            run_as_user: Some(user),
            run_as_group: Some(user),
            run_as_non_root: Some(true),
            read_only_root_filesystem: Some(true),
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn buildkit_container(job: &Job, given: &Given<'_>, user: i64) -> Result<Container, Failure> {
    let settings = given.settings;
    let mut env = vec![variable("XDG_RUNTIME_DIR", RUN), variable("KFOPS_METADATA", METADATA)];
    let mut mounts = vec![mount("context", CONTEXT, true), mount("state", STATE, false), mount("run", RUN, false)];
    let mut flags = vec!["--oci-worker-no-process-sandbox".to_owned()];
    if settings.registry_secret.is_some() {
        env.push(variable("DOCKER_CONFIG", DOCKER));
        mounts.push(mount("docker", DOCKER, true));
    }
    if settings.config_map.is_some() {
        mounts.push(mount("config", CONFIG, true));
        flags.push(format!("--config={CONFIG}/buildkitd.toml"));
    }
    env.push(variable("BUILDKITD_FLAGS", &flags.join(" ")));
    if let Some((endpoint, trace)) = given.otlp_endpoint.zip(job.trace) {
        env.push(variable("TRACEPARENT", &trace.to_string()));
        env.push(variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint));
        env.push(variable("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"));
        env.push(variable("OTEL_SERVICE_NAME", BUILDKIT));
    }
    let mut args = vec![BUILDKIT.to_owned()];
    args.extend(settings.command.iter().cloned());
    args.extend(arguments(job, settings)?);
    Ok(Container {
        name: BUILDKIT.into(),
        image: Some(settings.image.clone()),
        command: Some(["sh", "-ec", SCRIPT].map(ToOwned::to_owned).into()),
        args: Some(args),
        env: Some(env),
        resources: Some(requirements(&settings.resources)),
        volume_mounts: Some(mounts),
        // It makes user namespaces and mounts of its own, which the default profiles refuse.
        security_context: Some(SecurityContext {
            run_as_user: Some(user),
            run_as_group: Some(user),
            run_as_non_root: Some(true),
            seccomp_profile: Some(SeccompProfile { type_: "Unconfined".into(), localhost_profile: None }),
            app_armor_profile: Some(AppArmorProfile { type_: "Unconfined".into(), localhost_profile: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    })
}

/// buildctl's arguments. They reach it as they are: no shell reads them.
fn arguments(job: &Job, settings: &BuildKitSettings) -> Result<Vec<String>, Failure> {
    let dockerfile = job.dockerfile.strip_prefix(&job.context).map_err(Failure::internal)?;
    let file = dockerfile.file_name().unwrap_or_default().to_string_lossy();
    let folder = Path::new(FILES).join(dockerfile.parent().unwrap_or(Path::new("")));
    let location = &job.repository.location;
    let insecure = if job.repository.insecure { ",registry.insecure=true" } else { "" };
    let mut args: Vec<String> =
        ["build", "--frontend", "dockerfile.v0", "--progress", "plain", "--metadata-file", METADATA]
            .map(Into::into)
            .into();
    let mut pair = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
    pair("--local", format!("context={FILES}"));
    pair("--local", format!("dockerfile={}", folder.display().to_string().trim_end_matches('/')));
    pair("--opt", format!("filename={file}"));
    for (key, value) in &job.build_args {
        pair("--opt", format!("build-arg:{key}={value}"));
    }
    pair("--output", format!("type=image,name={location},push=true,push-by-digest=true,name-canonical=true{insecure}"));
    if settings.registry_cache {
        let cache = format!("type=registry,ref={location}:kfops-cache{insecure}");
        pair("--import-cache", cache.clone());
        // A registry that takes no caches takes the image all the same.
        pair("--export-cache", format!("{cache},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"));
    }
    if settings.provenance {
        pair("--opt", "attest:provenance=mode=min".into());
    }
    if let Some(scanner) = &settings.sbom_scanner {
        pair("--opt", format!("attest:sbom=generator={scanner}"));
    }
    Ok(args)
}

fn volumes(settings: &BuildKitSettings) -> Vec<Volume> {
    let empty = |name: &str, limit: Option<&String>| Volume {
        name: name.into(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: limit.map(|limit| Quantity(limit.clone())), medium: None }),
        ..Volume::default()
    };
    let mut volumes =
        vec![empty("context", settings.disk.as_ref()), empty("state", settings.disk.as_ref()), empty("run", None)];
    if let Some(secret) = &settings.registry_secret {
        let item = KeyToPath { key: ".dockerconfigjson".into(), path: "config.json".into(), mode: None };
        volumes.push(Volume {
            name: "docker".into(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.clone()),
                items: Some(vec![item]),
                default_mode: Some(0o440),
                optional: None,
            }),
            ..Volume::default()
        });
    }
    if let Some(config_map) = &settings.config_map {
        let source = ConfigMapVolumeSource { name: config_map.clone(), ..ConfigMapVolumeSource::default() };
        volumes.push(Volume { name: "config".into(), config_map: Some(source), ..Volume::default() });
    }
    volumes
}

fn requirements(resources: &Resources) -> ResourceRequirements {
    let quantities = |values: &BTreeMap<String, String>| {
        Some(values.iter().map(|(key, value)| (key.clone(), Quantity(value.clone()))).collect())
    };
    ResourceRequirements {
        requests: quantities(&resources.requests),
        limits: quantities(&resources.limits),
        claims: None,
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), value_from: None }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount { name: name.into(), mount_path: path.into(), read_only: Some(read_only), ..VolumeMount::default() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kfops_core::TraceContext;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::ports::Repository;

    fn rendered(change: impl FnOnce(&mut Job, &mut BuildKitSettings)) -> PodSpec {
        let mut job = Job {
            context: "/w/context".into(),
            dockerfile: "/w/context/docker/Dockerfile".into(),
            build_args: [("A".to_owned(), "$(touch /x); `x` \"'".to_owned())].into(),
            repository: Repository { name: "r/x".into(), location: "r.example.com/x".into(), insecure: false },
            tag: "t".into(),
            stand_in: false,
            log: "/w/log".into(),
            scratch: "/w".into(),
            timeout: Duration::from_secs(60),
            name: "builds/b/images/x".into(),
            trace: Some(TraceContext::from_random([7; 24])),
            leaving: CancellationToken::new(),
        };
        let mut settings = BuildKitSettings::default();
        settings.fetcher.image = "r.example.com/image-builder:1".into();
        change(&mut job, &mut settings);
        let digest = Digest::of(b"");
        let given =
            Given { settings: &settings, name: "build-x", digest: &digest, otlp_endpoint: Some("http://c:4317") };
        pod(&job, &given).unwrap()
    }

    fn args(pod: &PodSpec) -> &[String] {
        pod.containers[0].args.as_deref().unwrap()
    }

    #[test]
    fn what_is_hostile_stays_one_argument() {
        let pod = rendered(|_, _| {});
        assert!(args(&pod).contains(&"build-arg:A=$(touch /x); `x` \"'".to_owned()));
        let script = &pod.containers[0].command.as_ref().unwrap()[2];
        assert_eq!(script, SCRIPT);
        assert!(args(&pod).contains(&"dockerfile=/kfops/context/files/docker".to_owned()));
        assert!(
            args(&rendered(|job, _| job.dockerfile = "/w/context/Dockerfile".into()))
                .contains(&"dockerfile=/kfops/context/files".to_owned())
        );
    }

    #[test]
    fn keys_are_where_they_are_needed_only() {
        let pod = rendered(|_, settings| settings.registry_secret = Some("login".into()));
        let mounts = |container: &Container| {
            container.volume_mounts.iter().flatten().map(|mount| mount.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(mounts(&pod.init_containers.as_ref().unwrap()[0]), ["context"]);
        assert_eq!(mounts(&pod.containers[0]), ["context", "state", "run", "docker"]);
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert!(pod.containers[0].env.iter().flatten().all(|variable| variable.name != fetch::URL));
    }

    #[test]
    fn spans_join_the_trace_where_there_is_a_collector() {
        let env = |pod: &PodSpec, name: &str| {
            pod.containers[0].env.iter().flatten().find(|variable| variable.name == name).and_then(|v| v.value.clone())
        };
        let pod = rendered(|_, _| {});
        assert!(env(&pod, "TRACEPARENT").unwrap().starts_with("00-0707"));
        assert_eq!(env(&pod, "OTEL_EXPORTER_OTLP_ENDPOINT").unwrap(), "http://c:4317");
        assert_eq!(env(&rendered(|job, _| job.trace = None), "OTEL_EXPORTER_OTLP_ENDPOINT"), None);
    }

    #[test]
    fn attestations_and_caches_are_as_the_settings_say() {
        let pod = rendered(|job, settings| {
            settings.sbom_scanner = Some("scanner:1".into());
            job.repository.insecure = true;
        });
        let text = args(&pod).join(" ");
        for part in [
            "type=image,name=r.example.com/x,push=true,push-by-digest=true,name-canonical=true,registry.insecure=true",
            "--import-cache type=registry,ref=r.example.com/x:kfops-cache,registry.insecure=true --export-cache",
            "attest:provenance=mode=min",
            "attest:sbom=generator=scanner:1",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let bare = rendered(|_, settings| (settings.provenance, settings.registry_cache) = (false, false));
        assert!(!args(&bare).iter().any(|arg| arg.contains("attest") || arg.contains("cache")));
    }
}

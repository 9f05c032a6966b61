//! The pod of a compilation: three containers, one after the other, in a pod without network.
//!
//! 1. `receive` runs none of the repository's code: it takes the archive from its standard input and shows that the pod has no network.
//! 2. `compile` belongs to the repository's code. What it writes is data.
//! 3. `emit` runs none of the repository's code: it reads that data, checks it and prints it.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, EmptyDirVolumeSource, EnvVar, LocalObjectReference, PodDNSConfig, PodSecurityContext,
        PodSpec, ResourceRequirements, SeccompProfile, SecurityContext, Volume, VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kfops_core::Failure;
use serde_json::{Map, Value, json};

use super::settings::{Network, SandboxSettings};
use crate::{ports::CompileJob, programs};

pub(super) const RECEIVE: &str = "receive";
pub(super) const COMPILE: &str = "compile";
pub(super) const EMIT: &str = "emit";

const RECEIVER: &str = include_str!("../../python/sandbox/receive.py");
const UNPACKER: &str = include_str!("../../python/sandbox/unpack.py");
const EMITTER: &str = include_str!("../../python/sandbox/emit.py");

/// Archive, request and our programs: written by `receive` alone.
const GIVEN: &str = "/kfops/given";
/// The repository's files.
pub(super) const SOURCE: &str = "/kfops/source";
const OUT: &str = "/kfops/out";
const HOME: &str = "/kfops/home";
/// What Kubernetes keeps of a container's last words.
const LAST_WORDS: &str = "/dev/termination-log";

/// Limits of a compilation.
pub(super) struct Limits {
    /// MiB.
    pub(super) memory: u64,
    /// Seconds of CPU.
    pub(super) cpu: u64,
}

pub(super) fn pod(job: &CompileJob, settings: &SandboxSettings, limits: &Limits) -> Result<PodSpec, Failure> {
    let user = i64::from(settings.user);
    let secrets = settings.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    // What asks for a name is told at once that there are none.
    let names = PodDNSConfig { nameservers: Some(vec!["127.0.0.1".into()]), ..PodDNSConfig::default() };
    let network = match settings.network {
        Network::Closed => "closed",
        Network::Unproven => "unproven",
    };
    let receive = Container {
        stdin: Some(true),
        // Whoever is cut off in the middle is not continued by somebody else.
        stdin_once: Some(true),
        env: Some(vec![
            variable("KFOPS_FILES", &files(job, limits).to_string()),
            variable("KFOPS_DIGEST", job.source.digest.as_str()),
            variable("KFOPS_NETWORK", network),
        ]),
        args: Some(["-I", "-B", "-c", RECEIVER].map(str::to_owned).into()),
        volume_mounts: Some(vec![mount("given", GIVEN, false)]),
        ..container(RECEIVE, settings, ("10m", "1"), ("32Mi", "256Mi"))
    };
    let memory = (settings.memory_request.as_str(), format!("{}Mi", limits.memory));
    let memory = (memory.0, memory.1.as_str());
    let cpu = (settings.cpu.request.as_str(), settings.cpu.limit.as_str());
    let given = |program: &str| Some(["-I", "-B", "-u", &format!("{GIVEN}/{program}.py")].map(str::to_owned).into());
    let compile = Container {
        args: given("unpack"),
        env: Some(vec![variable("HOME", HOME), variable("TMPDIR", HOME), variable("LANG", "C.UTF-8")]),
        volume_mounts: Some(vec![
            mount("given", GIVEN, true),
            mount("source", SOURCE, false),
            mount("out", OUT, false),
            mount("home", HOME, false),
        ]),
        ..container(COMPILE, settings, cpu, memory)
    };
    let emit = Container {
        args: given("emit"),
        // kfp then imports its messages alone, not its compiler.
        env: Some(vec![variable("_KFP_RUNTIME", "true"), variable("LANG", "C.UTF-8")]),
        volume_mounts: Some(vec![mount("given", GIVEN, true), mount("out", OUT, true)]),
        ..container(EMIT, settings, cpu, memory)
    };
    Ok(PodSpec {
        init_containers: Some(vec![receive, compile]),
        containers: vec![emit],
        volumes: Some(vec![
            volume("given", &settings.disk),
            volume("source", &settings.disk),
            volume("out", "64Mi"),
            volume("home", "256Mi"),
        ]),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        service_account_name: settings.service_account.clone(),
        priority_class_name: settings.priority_class.clone(),
        runtime_class_name: settings.runtime_class.clone(),
        image_pull_secrets: Some(secrets.collect()),
        node_selector: Some(settings.node_selector.clone()),
        tolerations: Some(settings.tolerations.clone()),
        dns_policy: Some("None".into()),
        dns_config: Some(names),
        security_context: Some(PodSecurityContext {
            run_as_user: Some(user),
            run_as_group: Some(user),
            run_as_non_root: Some(true),
            fs_group: Some(user),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        // What is canceled has nothing to finish.
        termination_grace_period_seconds: Some(1),
        ..PodSpec::default()
    })
}

/// What `receive` puts into place, by path.
fn files(job: &CompileJob, limits: &Limits) -> Value {
    let request = json!({
        "root": SOURCE, "path": job.path, "function": job.function, "yaml": job.is_yaml,
        "library": format!("{GIVEN}/library"), "output": format!("{OUT}/pipeline.yaml"), "error": LAST_WORDS,
        // Below the container's limit, so that Python can say that it was too much.
        "limits": {"AS": limits.memory << 20, "CPU": limits.cpu, "FSIZE": 64 << 20, "CORE": 0},
    });
    let mut files: Map<String, Value> =
        programs::library(job).into_iter().map(|(path, text)| (format!("library/{path}"), text.into())).collect();
    files.insert("request.json".into(), request.to_string().into());
    for (path, text) in [
        ("compile.py", programs::COMPILE),
        ("check_ir.py", programs::CHECK),
        ("unpack.py", UNPACKER),
        ("emit.py", EMITTER),
    ] {
        files.insert(path.into(), text.into());
    }
    Value::Object(files)
}

fn container(name: &str, settings: &SandboxSettings, cpu: (&str, &str), memory: (&str, &str)) -> Container {
    let quantities = |cpu: &str, memory: &str| -> Option<BTreeMap<String, Quantity>> {
        let pairs = [("cpu", cpu), ("memory", memory)];
        Some(pairs.into_iter().map(|(key, value)| (key.to_owned(), Quantity(value.to_owned()))).collect())
    };
    Container {
        name: name.into(),
        image: Some(settings.image.clone()),
        command: Some(vec![settings.python.clone()]),
        resources: Some(ResourceRequirements {
            requests: quantities(cpu.0, memory.0),
            limits: quantities(cpu.1, memory.1),
            claims: None,
        }),
        termination_message_path: Some(LAST_WORDS.into()),
        security_context: Some(SecurityContext {
            read_only_root_filesystem: Some(true),
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn volume(name: &str, limit: &str) -> Volume {
    let source = EmptyDirVolumeSource { size_limit: Some(Quantity(limit.to_owned())), medium: None };
    Volume { name: name.into(), empty_dir: Some(source), ..Volume::default() }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount { name: name.into(), mount_path: path.into(), read_only: Some(read_only), ..VolumeMount::default() }
}

fn variable(name: &str, value: &str) -> EnvVar {
    // `$(NAME)` in a value would be replaced by Kubernetes; `$$` stands for `$`.
    EnvVar { name: name.into(), value: Some(value.replace('$', "$$")), value_from: None }
}

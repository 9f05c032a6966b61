//! What compiles, what does not, and what the repository's code can reach.

use kfops_core::Reason;
use kfops_pipeline_runner::SandboxNetwork;
use kfops_proto::pipeline as pb;
use kfops_settings::HumanDuration;

use super::World;
use crate::harness::pinned;

const PIPELINE: &str = r#"
from kfp import dsl
from helper import NAME

@dsl.component(base_image="kfops://trainer", install_kfp_package=False)
def train(depth: int):
    print(depth)

@dsl.pipeline(name=NAME)
def tiny(depth: int = 3):
    train(depth=depth)
"#;

/// Tries everything that it should not be able to; each line of its log says what came of it.
const HOSTILE: &str = r#"
import os, socket, subprocess
from kfp import dsl

def attempt(name, work):
    try:
        print(f"{name}: REACHED {work()}")
    except Exception as error:
        print(f"{name}: refused, {type(error).__name__}")

def connect(host, port):
    socket.create_connection((host, port), timeout=2).close()

def write(path):
    with open(path, "a") as file:
        file.write("x")

attempt("api", lambda: connect(os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])))
attempt("s3", lambda: connect("S3_HOST", 9000))
attempt("name", lambda: socket.getaddrinfo("minio-service.kubeflow", 9000))
attempt("token", lambda: os.listdir("/var/run/secrets/kubernetes.io"))
attempt("root", lambda: write("/etc/x"))
attempt("program", lambda: write("/kfops/given/emit.py"))
attempt("library", lambda: os.symlink("/etc", "/kfops/given/library/x"))
attempt("user", lambda: os.setuid(0))
print("user id", os.getuid(), os.getgid())
print("variables", sorted(name for name in os.environ if not name.startswith("KUBERNETES_")))
# As the result is printed, without knowing its mark.
print("a" * 32, "1f8b" * 10)
with open("/kfops/out/pipeline.yaml", "w") as file:
    file.write("pipelineInfo: {name: forged}")

@dsl.component(base_image="kfops://trainer", install_kfp_package=False)
def train():
    pass

@dsl.pipeline(name="honest")
def tiny():
    train()
"#;

#[tokio::test]
async fn a_version_is_compiled_in_a_pod_pinned_and_kept() {
    let Some(world) = World::new(true).await else { return };
    let mut runner = world.runner(|_| {}).await;
    let begun = std::time::Instant::now();
    let files = [("pipelines/p.py", PIPELINE), ("pipelines/helper.py", "NAME = 'tiny'\nprint('hello 🎉')\n")];
    let version = runner.compile("pipelines/p.py", &files).await;
    println!("compiled in {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
    assert_eq!(version.parameters, ["depth"]);
    assert!(version.sandbox.contains("without network") && version.sandbox.contains(&world.namespace));
    assert!(runner.text(&version.spec_key).await.contains(&pinned("trainer")));
    assert_eq!(runner.text("logs/pipelineVersions/v-1.log").await, "hello 🎉\n");
    let jobs = world.jobs().await;
    assert_eq!(jobs.len(), 1);
    assert!(jobs[0].spec.as_ref().unwrap().ttl_seconds_after_finished.is_some());
}

#[tokio::test]
async fn the_repositorys_code_reaches_nothing() {
    let Some(world) = World::new(true).await else { return };
    let mut runner = world.runner(|_| {}).await;
    let services: kube::Api<k8s_openapi::api::core::v1::Service> =
        kube::Api::namespaced(world.client.clone(), "kubeflow");
    let s3 = services.get_opt("minio-service").await.unwrap().and_then(|service| service.spec?.cluster_ip);
    let pipeline = HOSTILE.replace("S3_HOST", &s3.unwrap_or("10.96.0.1".into()));
    let version = runner.compile("p.py", &[("p.py", &pipeline)]).await;
    let log = runner.text("logs/pipelineVersions/v-1.log").await;
    println!("{log}");
    assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
    assert!(!log.contains("REACHED"), "{log}");
    assert_eq!(log.matches(": refused").count(), 8, "{log}");
    assert!(log.contains("user id 65532 65532"), "{log}");
    assert!(log.contains("variables [") && !log.contains("KFOPS_"), "{log}");
    let spec = runner.text(&version.spec_key).await;
    assert!(spec.contains("honest") && !spec.contains("forged"), "{spec}");
}

#[tokio::test]
async fn what_does_not_compile_says_why() {
    let Some(world) = World::new(true).await else { return };
    for (pipeline, reason, said) in [
        ("import nonsense", Reason::CompileFailed, "p.py cannot be imported: ModuleNotFoundError"),
        ("def f(:", Reason::CompileFailed, "cannot be imported"),
        ("x = 1", Reason::CompileFailed, "defines no pipeline"),
        ("import sys; sys.exit(3)", Reason::CompileFailed, "SystemExit"),
        ("import os; os._exit(0)", Reason::PipelineInvalid, "was not written"),
        ("x = [b'x' * (1 << 28) for _ in range(64)]", Reason::CompileFailed, "more memory than 2048 MiB"),
    ] {
        let failure = world.failing(pipeline, |_| {}).await;
        assert_eq!(failure.reason, reason, "{pipeline}: {failure:?}");
        assert!(failure.message.contains(said), "{pipeline}: {failure:?}");
        assert!(!failure.message.contains("/kfops/"), "{failure:?}");
    }
    let mut runner = world.runner(|_| {}).await;
    let version = runner.compile("other.py", &[("p.py", PIPELINE)]).await;
    assert!(version.failure.unwrap().message.contains("there is no file other.py in the repository at 3f2c1e7"));
}

#[tokio::test]
async fn what_never_ends_is_ended() {
    let Some(world) = World::new(true).await else { return };
    let short = |settings: &mut kfops_pipeline_runner::Settings| {
        settings.compile_timeout = HumanDuration::from_secs(5);
    };
    let failure = world.failing("import time\nprint('waiting')\ntime.sleep(600)", short).await;
    assert_eq!(failure.reason, Reason::CompileTimeout);
    assert!(failure.message.contains("took longer than 5s") && failure.log_tail.contains("waiting"), "{failure:?}");
    assert!(world.jobs().await.is_empty());
}

#[tokio::test]
async fn compiled_yaml_is_checked_in_the_pod_too() {
    let Some(world) = World::new(true).await else { return };
    let task = "{componentRef: {name: comp-train}, taskInfo: {name: train}}";
    let good = format!(
        "components: {{comp-train: {{executorLabel: exec-train}}}}\n\
         deploymentSpec: {{executors: {{exec-train: {{container: {{image: 'kfops://trainer'}}}}}}}}\n\
         pipelineInfo: {{name: tiny}}\nroot: {{dag: {{tasks: {{train: {task}}}}}}}\nschemaVersion: 2.1.0\n"
    );
    let bomb = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
        text + &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "))
    });
    for (yaml, said) in [
        (good.as_str(), None),
        ("pipelineInfo: {name: x}\nroot: {dag: {tasks: {}}}\nnonsense: 1\n", Some("not valid KFP 2 IR")),
        ("a: [", Some("not YAML")),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", Some("kind Workflow")),
        (bomb.as_str(), Some("too large")),
    ] {
        let mut runner = world.runner(|settings| settings.compile_memory_mib = 512).await;
        let version = runner.compile("p.yaml", &[("p.yaml", yaml)]).await;
        match said {
            None => assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure),
            Some(said) => {
                let failure = version.failure.unwrap();
                assert!(failure.message.contains(said), "{said}: {failure:?}");
            }
        }
    }
}

#[tokio::test]
async fn where_pods_have_a_network_nothing_is_run() {
    let Some(world) = World::new(false).await else { return };
    let failure = world.failing("print('RUN')", |_| {}).await;
    assert_eq!(failure.reason, Reason::ClusterRefused);
    assert!(failure.message.contains("reach the Kubernetes API") && failure.action.contains("NetworkPolicy"));
    assert!(!failure.log_tail.contains("RUN"), "{failure:?}");
    let mut runner = world.runner(|s| s.sandbox.as_mut().unwrap().network = SandboxNetwork::Unproven).await;
    let files = [("p.py", PIPELINE), ("helper.py", "NAME = 'tiny'")];
    let version = runner.compile("p.py", &files).await;
    assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
    assert!(version.sandbox.contains("not looked at"));
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_named() {
    let Some(world) = World::new(true).await else { return };
    let failure = world.failing("x = 1", |s| s.sandbox.as_mut().unwrap().image = "registry.test/absent:9".into()).await;
    assert!(failure.message.contains("registry.test/absent:9"), "{failure:?}");
}

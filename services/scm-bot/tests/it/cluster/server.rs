//! A real API server: that of the test cluster, or a bare one (etcd and kube-apiserver on loopback) that ends with the tests.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use k8s_openapi::{
    api::{
        core::v1::Namespace,
        rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::wait::{await_condition, conditions::is_crd_established},
};

/// Whose rights the bot has in the tests: those of the table in src/cluster, and no more.
pub(crate) const BOT: &str = "kfops-test-scm-bot";
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts both, says `ready`, and ends them when its input is closed, however that comes about.
const START: &str = r#"
set -eu
bin=$1 folder=$2 etcd=$3 peer=$4 api=$5
cd "$folder"
openssl genrsa -out accounts.key 2048 2>/dev/null
echo 'admin,admin,1,system:masters' >tokens
"$bin/etcd" --data-dir etcd --unsafe-no-fsync --log-level error --initial-cluster "default=http://127.0.0.1:$peer" \
  --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
  --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" >etcd.log 2>&1 &
started=$!
trap 'kill $started 2>/dev/null; wait; cd /; rm -rf "$folder"' EXIT
"$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd" --bind-address 127.0.0.1 --secure-port "$api" --cert-dir certificates \
  --authorization-mode RBAC --token-auth-file tokens --service-cluster-ip-range 10.0.0.0/24 --disable-admission-plugins ServiceAccount \
  --service-account-issuer https://kubernetes.default.svc --service-account-key-file accounts.key \
  --service-account-signing-key-file accounts.key --watch-cache-sizes '' >api.log 2>&1 &
started="$started $!"
for _ in $(seq 600); do
  if curl -fsk -H 'Authorization: Bearer admin' "https://127.0.0.1:$api/readyz" >/dev/null 2>&1; then echo ready; break; fi
  sleep 0.1
done
read -r _ || true
"#;

struct Server {
    kubeconfig: PathBuf,
    /// Its input is open for as long as the tests run.
    _bare: Option<Child>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn bare(bin: &Path) -> Server {
    let folder = tempfile::Builder::new().prefix("kfops-api-").tempdir().unwrap().keep();
    let ports = [free_port(), free_port(), free_port()].map(|port| port.to_string());
    let kubeconfig = folder.join("kubeconfig");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}], \
         clusters: [{{name: a, cluster: {{server: 'https://127.0.0.1:{}', insecure-skip-tls-verify: true}}}}], \
         users: [{{name: a, user: {{token: admin}}}}]}}",
        ports[2]
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let mut child = Command::new("bash")
        .args(["-c", START, "api-server"])
        .arg(bin)
        .arg(&folder)
        .args(&ports)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n", "the API server did not start: see {}", folder.display());
    Server { kubeconfig, _bare: Some(child) }
}

fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let start = || {
        let server = match std::env::var_os("KFOPS_TEST_CLUSTER") {
            Some(kubeconfig) => Server { kubeconfig: kubeconfig.into(), _bare: None },
            None => {
                let cache = std::env::var_os("KFOPS_CACHE").map(PathBuf::from);
                let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/kfops"));
                let bin = cache.or_else(home)?.join("cluster/bin");
                let there = ["etcd", "kube-apiserver"].iter().all(|program| bin.join(program).exists());
                there.then(|| bare(&bin))?
            }
        };
        let kubeconfig = server.kubeconfig.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(define(&kubeconfig));
        })
        .join()
        .unwrap();
        Some(server)
    };
    let server = SERVER.get_or_init(start).as_ref();
    if server.is_none() {
        println!("skipped: no test cluster");
    }
    server
}

/// The definitions as they are committed.
pub(crate) fn definitions() -> Vec<CustomResourceDefinition> {
    let mut files: Vec<_> = std::fs::read_dir(definitions_folder()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()).collect()
}

pub(crate) fn definitions_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/kfops/crds")
}

async fn define(kubeconfig: &Path) {
    let api: Api<CustomResourceDefinition> = Api::all(Client::try_from(config(kubeconfig, None, None).await).unwrap());
    for definition in definitions() {
        let name = definition.name_any();
        let apply = PatchParams::apply("kfops-tests").force();
        api.patch(&name, &apply, &Patch::Apply(&definition)).await.unwrap();
        let established = await_condition(api.clone(), &name, is_crd_established());
        tokio::time::timeout(PATIENCE, established).await.unwrap().unwrap();
    }
}

/// How to reach the API server, in a namespace and as somebody.
pub(crate) async fn config(kubeconfig: &Path, namespace: Option<&str>, user: Option<&str>) -> Config {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = user.map(str::to_owned);
    if let Some(namespace) = namespace {
        config.default_namespace = namespace.to_owned();
    }
    config
}

/// A namespace in which the bot has its rights. None: there is no API server.
pub(crate) struct Place {
    pub(crate) namespace: String,
    kubeconfig: &'static Path,
}

/// As the table in src/cluster/mod.rs.
fn rights() -> Vec<PolicyRule> {
    let rule = |group: &str, resource: &str, verbs: &str| PolicyRule {
        api_groups: Some(vec![group.into()]),
        resources: Some(vec![resource.into()]),
        verbs: verbs.split(' ').map(str::to_owned).collect(),
        ..PolicyRule::default()
    };
    let table = include_str!("../../../src/cluster/mod.rs");
    let rows = table.lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = rows.map(|row| row.trim_end_matches(" |").split(" | ").map(str::to_owned).collect::<Vec<_>>());
    let rules = cells.filter(|cells| cells.len() == 3 && cells[0] != "group");
    rules.map(|cells| rule(&cells[0], &cells[1], &cells[2].replace(',', ""))).collect()
}

impl Place {
    pub(crate) async fn new() -> Option<Self> {
        let kubeconfig = tokio::task::spawn_blocking(server).await.unwrap()?.kubeconfig.as_path();
        let namespace = format!("crd-{:016x}", rand::random::<u64>());
        let client = Client::try_from(config(kubeconfig, Some(&namespace), None).await).unwrap();
        let named = |name: &str| ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        let post = PostParams::default();
        let object = Namespace { metadata: named(&namespace), ..Namespace::default() };
        Api::all(client.clone()).create(&post, &object).await.unwrap();
        let rules = rights();
        assert_eq!(rules.len(), 7, "{rules:?}");
        let role = Role { metadata: named("bot"), rules: Some(rules) };
        Api::<Role>::default_namespaced(client.clone()).create(&post, &role).await.unwrap();
        let group = "rbac.authorization.k8s.io";
        let binding = RoleBinding {
            metadata: named("bot"),
            role_ref: RoleRef { api_group: group.into(), kind: "Role".into(), name: "bot".into() },
            subjects: Some(vec![Subject {
                api_group: Some(group.into()),
                kind: "User".into(),
                name: BOT.into(),
                namespace: None,
            }]),
        };
        Api::<RoleBinding>::default_namespaced(client).create(&post, &binding).await.unwrap();
        Some(Self { namespace, kubeconfig })
    }

    /// As the bot.
    pub(crate) async fn config(&self) -> Config {
        config(self.kubeconfig, Some(&self.namespace), Some(BOT)).await
    }

    /// As who runs the cluster.
    pub(crate) async fn admin(&self) -> Client {
        Client::try_from(config(self.kubeconfig, Some(&self.namespace), None).await).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (kubeconfig, namespace) = (self.kubeconfig, self.namespace.clone());
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = Client::try_from(config(kubeconfig, None, None).await).unwrap();
                Api::<Namespace>::all(client).delete(&namespace, &Default::default()).await.ok();
            });
        });
        gone.join().ok();
    }
}

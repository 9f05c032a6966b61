//! The API server of the test cluster, and a namespace in it for each test.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use k8s_openapi::{
    api::{
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
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

/// A kubeconfig; the definitions are installed. None: there is no test cluster.
fn cluster() -> Option<&'static Path> {
    static CLUSTER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let prepare = || {
        let kubeconfig = PathBuf::from(std::env::var_os("KFOPS_TEST_CLUSTER")?);
        let defined = kubeconfig.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(define(&defined));
        })
        .join()
        .unwrap();
        Some(kubeconfig)
    };
    let kubeconfig = CLUSTER.get_or_init(prepare).as_deref();
    if kubeconfig.is_none() {
        println!("skipped: no test cluster");
    }
    kubeconfig
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
        let kubeconfig = tokio::task::spawn_blocking(cluster).await.unwrap()?;
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
        Api::<RoleBinding>::default_namespaced(client.clone()).create(&post, &binding).await.unwrap();
        granted(client, &namespace).await;
        Some(Self { namespace, kubeconfig })
    }

    /// As the bot.
    pub(crate) async fn config(&self) -> Config {
        config(self.kubeconfig, Some(&self.namespace), Some(BOT)).await
    }

    /// For a process that is the bot.
    pub(crate) fn write_kubeconfig(&self, to: &Path) {
        let mut file = Kubeconfig::read_from(self.kubeconfig).unwrap();
        for user in file.auth_infos.iter_mut().filter_map(|user| user.auth_info.as_mut()) {
            user.impersonate = Some(BOT.to_owned());
        }
        std::fs::write(to, serde_json::to_vec(&file).unwrap()).unwrap();
    }

    /// As who runs the cluster.
    pub(crate) async fn admin(&self) -> Client {
        Client::try_from(config(self.kubeconfig, Some(&self.namespace), None).await).unwrap()
    }
}

/// The API server asks its cache who may what, which hears of a new binding a little later.
async fn granted(client: Client, namespace: &str) {
    let attributes = ResourceAttributes {
        group: Some("kfops.dev".into()),
        namespace: Some(namespace.into()),
        resource: Some("commands".into()),
        verb: Some("create".into()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        user: Some(BOT.into()),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let api: Api<SubjectAccessReview> = Api::all(client);
    while !api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed {
        assert!(tokio::time::Instant::now() < deadline, "the rights never counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
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

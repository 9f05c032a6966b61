//! Users of a real Kubernetes cluster (`KFOPS_TEST_CLUSTER`): their tokens, their rights, and who may speak for them.

use std::path::PathBuf;

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kfops_gateway::ClusterSettings;
use kfops_kube::KubernetesSettings;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::{CLIENT, Gateway, gateway_with};

const INGRESS: &str = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account";

/// A namespace with a service account, and a gateway that asks about both.
struct Cluster {
    client: Client,
    namespace: String,
    gateway: Gateway,
}

impl Cluster {
    async fn new() -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os("KFOPS_TEST_CLUSTER").map(PathBuf::from) else {
            println!("skipped: no test cluster");
            return None;
        };
        let namespace = format!("gate-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let kubernetes = KubernetesSettings { kubeconfig: Some(kubeconfig), namespace: Some(namespace.clone()) };
        let client = kfops_kube::connect(&kubernetes).await.unwrap();
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let object: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "ci"}})).unwrap();
        Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &object).await.unwrap();
        let cluster = ClusterSettings {
            kubernetes,
            ingress_principal: Some(INGRESS.into()),
            logins: [("ann@example.com".to_owned(), "ann".to_owned())].into(),
            ..ClusterSettings::default()
        };
        let gateway = gateway_with(|settings| {
            settings.api.loopback_user = None;
            settings.api.cluster = Some(cluster);
        })
        .await;
        Some(Self { client, namespace, gateway })
    }

    async fn token(&self, audience: &str) -> String {
        let spec =
            TokenRequestSpec { audiences: vec![audience.into()], expiration_seconds: Some(600), ..Default::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        accounts.create_token_request("ci", &PostParams::default(), &request).await.unwrap().status.unwrap().token
    }

    async fn grant(&self, name: &str, subject: Value, verbs: &[&str], resource: &str) {
        let rules = json!([{"apiGroups": ["api.kfops.dev"], "resources": [resource], "verbs": verbs}]);
        let role: Role = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
        Api::namespaced(self.client.clone(), &self.namespace).create(&PostParams::default(), &role).await.unwrap();
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [subject],
        }))
        .unwrap();
        Api::namespaced(self.client.clone(), &self.namespace).create(&PostParams::default(), &binding).await.unwrap();
    }

    fn get(&self, path: &str) -> RequestBuilder {
        CLIENT.get(self.gateway.url(path))
    }

    fn create(&self, id: &str) -> RequestBuilder {
        let body = json!({"repository": "team/iris", "pullRequest": 1, "verb": "VERB_PLAN"});
        CLIENT.post(self.gateway.url(&format!("/v1/commands?commandId={id}"))).json(&body)
    }

    async fn end(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::background()).await.unwrap();
    }
}

async fn ask(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn tokens_of_service_accounts_have_the_rights_that_rbac_gives() {
    let Some(cluster) = Cluster::new().await else { return };
    let (ours, others) = (cluster.token("kfops.dev").await, cluster.token("pipelines.kubeflow.org").await);
    assert_eq!(ask(cluster.get("/v1/commands")).await.0, 401);
    assert_eq!(ask(cluster.get("/v1/commands").bearer_auth("made-up")).await.0, 401);
    let (status, said) = ask(cluster.get("/v1/commands").bearer_auth(&others)).await;
    assert_eq!(status, 401, "{said}");
    assert!(said.contains("--audience kfops.dev"), "{said}");
    let (status, said) = ask(cluster.get("/v1/commands").bearer_auth(&ours)).await;
    assert_eq!(status, 403, "{said}");
    assert!(said.contains("may not list commands.api.kfops.dev") && said.contains(&cluster.namespace), "{said}");

    let account = json!({"kind": "ServiceAccount", "name": "ci", "namespace": cluster.namespace});
    cluster.grant("all", account, &["get", "list", "create", "watch", "cancel"], "commands").await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    // A refusal counts for some seconds.
    while ask(cluster.get("/v1/commands").bearer_auth(&ours)).await.0 != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the right never counted");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(ask(cluster.get("/v1/locks").bearer_auth(&ours)).await.0, 403);
    let (status, said) = ask(cluster.create("c-1").bearer_auth(&ours)).await;
    assert_eq!(status, 403, "{said}");
    assert!(said.contains("which GitHub user"), "{said}");
    cluster.end().await;
}

#[tokio::test]
async fn only_the_ingress_gateway_names_users() {
    let Some(cluster) = Cluster::new().await else { return };
    let user = json!({"kind": "User", "name": "ann@example.com", "apiGroup": "rbac.authorization.k8s.io"});
    cluster.grant("ann", user, &["list", "create"], "commands").await;
    let team = json!({"kind": "Group", "name": "team-a", "apiGroup": "rbac.authorization.k8s.io"});
    cluster.grant("team", team, &["list"], "locks").await;
    let from =
        |peer: &str| format!("By=spiffe://cluster.local/ns/kfops/sa/gateway;Hash=00;Subject=\"\";URI=spiffe://{peer}");
    let ingress = from(INGRESS);
    let stranger = from("cluster.local/ns/live/sa/default");

    let ann = |request: RequestBuilder| request.header("kubeflow-userid", "ann@example.com");
    let via = |request: RequestBuilder, peer: &str| request.header("x-forwarded-client-cert", peer);
    assert_eq!(ask(ann(cluster.get("/v1/commands"))).await.0, 401);
    assert_eq!(ask(via(ann(cluster.get("/v1/commands")), &stranger)).await.0, 401);
    assert_eq!(ask(via(ann(cluster.get("/v1/commands")), &format!("{ingress},{stranger}"))).await.0, 401);
    assert_eq!(ask(via(cluster.get("/v1/commands"), &ingress)).await.0, 401);
    assert_eq!(ask(via(ann(ann(cluster.get("/v1/commands"))), &ingress)).await.0, 401);

    let (status, said) = ask(via(ann(cluster.get("/v1/commands")), &ingress)).await;
    assert_eq!(status, 200, "{said}");
    let (status, said) = ask(via(ann(cluster.create("c-1")), &ingress)).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(cluster.gateway.bot.seen.lock().unwrap().actors.last().unwrap(), "ann");
    let (status, said) =
        ask(via(ann(CLIENT.post(cluster.gateway.url("/v1/commands/c-1:cancel"))).json(&json!({})), &ingress)).await;
    assert_eq!(status, 403, "{said}");

    let groups = |request: RequestBuilder, groups: &str| via(ann(request), &ingress).header("kubeflow-groups", groups);
    assert_eq!(ask(via(ann(cluster.get("/v1/locks")), &ingress)).await.0, 403);
    assert_eq!(ask(groups(cluster.get("/v1/locks"), "team-b, team-a")).await.0, 200);
    assert_eq!(ask(groups(cluster.create("c-2"), "system:masters")).await.0, 200);
    let cancel = CLIENT.post(cluster.gateway.url("/v1/commands/c-1:cancel")).json(&json!({}));
    assert_eq!(ask(groups(cancel, "system:masters")).await.0, 403);
    let root = via(cluster.get("/v1/commands"), &ingress).header("kubeflow-userid", "system:admin");
    assert_eq!(ask(root).await.0, 401);
    cluster.end().await;
}

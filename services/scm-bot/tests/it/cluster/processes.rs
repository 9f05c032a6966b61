//! The real binary, twice, over one API server: killed, stopped in order, asleep. Whoever is left goes on, both take webhooks,
//! and a former leader writes nothing.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kfops_proto::command::{AcceptDeliveryRequest, delivery_service_client::DeliveryServiceClient};
use kfops_scm_bot::cluster::{CommandObject, Timing};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::server::Place;
use crate::world::comment_payload;

const PATIENCE: Duration = Duration::from_secs(180);
/// Within which a Lease is taken that its holder does not renew any more: it is looked at every second, and taking it is two requests.
const TAKEN: Duration = Duration::from_secs(18);
/// Within which a Lease is taken that was released.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A process of the binary.
struct Bot {
    child: Child,
    log: PathBuf,
    url: String,
}

impl Bot {
    async fn start(place: &Place, folder: &std::path::Path, number: usize) -> Self {
        let kubeconfig = folder.join("kubeconfig");
        place.write_kubeconfig(&kubeconfig);
        let (settings, log) = (folder.join(format!("{number}.yaml")), folder.join(format!("{number}.log")));
        let text = format!(
            "listen: 127.0.0.1:0\nstore: file://{0}/store\ngithub: {{api_url: 'http://127.0.0.1:9', token: none, bot_login: 'kfops[bot]'}}\n\
             kubernetes: {{kubeconfig: {0}/kubeconfig, namespace: {1}}}\nrecovery: {{every: 0s}}\ntimeouts: {{shutdown: 5s}}\n",
            folder.display(),
            place.namespace
        );
        std::fs::write(&settings, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kfops-scm-bot"))
            .arg("--settings")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut bot = Self { child, log, url: String::new() };
        let address = bot.until_said("listening", "address").await;
        bot.url = format!("http://{address}");
        bot
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// A field of the first log line with this message.
    fn said(&self, message: &str, field: &str) -> Option<String> {
        let lines = self.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut lines = lines.filter(|line| line["message"] == message);
        lines.next().map(|line| line[field].as_str().unwrap().to_owned())
    }

    async fn until_said(&mut self, message: &str, field: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(said) = self.said(message, field) {
                return said;
            }
            assert!(Instant::now() < deadline, "never said {message}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A comment, as the gateway hands it over; how long the answer took.
    async fn comment(&self, id: u64) -> Result<Duration, tonic::Status> {
        let begin = Instant::now();
        let message = AcceptDeliveryRequest {
            delivery_id: format!("g-{id}"),
            event: "issue_comment".into(),
            payload: comment_payload(id, id, "author", "/help").into(),
            receive_time: Some(std::time::SystemTime::now().into()),
        };
        let channel = kfops_rpc::connect(&self.url).unwrap();
        DeliveryServiceClient::new(channel).accept_delivery(message).await?;
        Ok(begin.elapsed())
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What is seen from outside.
struct Seen {
    commands: Api<CommandObject>,
    leases: Api<Lease>,
}

impl Seen {
    async fn term(&self) -> i64 {
        let lease = self.leases.get("kfops-scm-bot").await.unwrap();
        lease.annotations()["kfops.dev/term"].parse().unwrap()
    }

    /// Until all commands are driven under the term of the Lease.
    async fn all_driven(&self, count: usize) -> Vec<CommandObject> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = self.commands.list(&ListParams::default()).await.unwrap().items;
            let term = self.term().await;
            let driven = |object: &&CommandObject| object.status.as_ref().is_some_and(|status| status.term == term);
            let driven = all.iter().filter(driven).count();
            if driven == count && all.len() == count {
                return all;
            }
            assert!(Instant::now() < deadline, "{driven} of {} are driven, {count} were asked for", all.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_left_goes_on() {
    let Some(place) = Place::new().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let admin = place.admin().await;
    let seen = Seen { commands: Api::default_namespaced(admin.clone()), leases: Api::default_namespaced(admin) };
    let mut one = Bot::start(&place, folder.path(), 1).await;
    one.until_said("this replica drives", "identity").await;
    let mut two = Bot::start(&place, folder.path(), 2).await;
    // Both take webhooks, one drives.
    let longest = one.comment(1).await.unwrap().max(two.comment(2).await.unwrap());
    println!("a webhook is answered after {longest:?} at most");
    seen.all_driven(2).await;
    let first = seen.term().await;

    // Killed.
    let begin = Instant::now();
    one.signal("-KILL");
    assert_eq!(one.ended().await.signal(), Some(9));
    let (mut comments, mut longest) = (2, Duration::ZERO);
    while two.said("this replica drives", "identity").is_none() {
        assert!(begin.elapsed() < TAKEN, "nobody drives:\n{}", two.log());
        comments += 1;
        longest = longest.max(two.comment(comments).await.unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let taken = begin.elapsed();
    let lease = Timing::default().duration;
    println!(
        "leader killed: another one drives after {taken:?} (Lease of {lease:?}); {} webhooks meanwhile, each answered within {longest:?}",
        comments - 2
    );
    assert!(seen.term().await > first);
    seen.all_driven(usize::try_from(comments).unwrap()).await;
    println!("all {comments} commands driven {:?} after the kill", begin.elapsed());

    // Stopped in order.
    let mut three = Bot::start(&place, folder.path(), 3).await;
    // It has looked at the Lease, and waits.
    three.comment(comments + 1).await.unwrap();
    comments += 1;
    seen.all_driven(usize::try_from(comments).unwrap()).await;
    let begin = Instant::now();
    two.signal("-TERM");
    assert_eq!(two.ended().await.code(), Some(0), "{}", two.log());
    let ended = begin.elapsed();
    three.until_said("this replica drives", "identity").await;
    println!("leader stopped in order: it ended after {ended:?}, another one drives after {:?}", begin.elapsed());
    assert!(begin.elapsed() - ended < AT_ONCE, "{}", three.log());
    seen.all_driven(usize::try_from(comments).unwrap()).await;

    // Asleep for so long that another one drives: once awake it ends, and has written nothing.
    let mut four = Bot::start(&place, folder.path(), 4).await;
    let begin = Instant::now();
    three.signal("-STOP");
    four.until_said("this replica drives", "identity").await;
    println!("leader asleep: another one drives after {:?}", begin.elapsed());
    assert!(begin.elapsed() < TAKEN, "{}", four.log());
    let before = seen.all_driven(usize::try_from(comments).unwrap()).await;
    let begin = Instant::now();
    three.signal("-CONT");
    assert_eq!(three.ended().await.code(), Some(1), "{}", three.log());
    println!("the former leader ended {:?} after it woke up", begin.elapsed());
    assert!(three.log().contains("another replica drives from now on"), "{}", three.log());
    for object in seen.all_driven(before.len()).await {
        let earlier = before.iter().find(|earlier| earlier.name_any() == object.name_any()).unwrap();
        let (status, earlier) = (object.status.unwrap(), earlier.status.clone().unwrap());
        assert!(status.version >= earlier.version && status.term == earlier.term);
    }
    four.signal("-TERM");
    assert_eq!(four.ended().await.code(), Some(0), "{}", four.log());
    let lease = seen.leases.get("kfops-scm-bot").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity, None, "released");
}

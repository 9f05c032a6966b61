//! The custom resources that the ledger is made of, group `kfops.dev/v1alpha1`. charts/kfops/crds is generated from these types.

#![expect(unreachable_pub, reason = "KubeSchema repeats each type where nobody reaches it")]
#![expect(
    clippy::duplicated_attributes,
    reason = "each column has a type of its own, which may be that of another one"
)]

use kube::{CustomResource, KubeSchema};
use schemars::{Schema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What somebody asked for, as it was received. It never changes; what became of it is the status.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kfops.dev",
    version = "v1alpha1",
    kind = "Command",
    root = "CommandObject",
    plural = "commands",
    singular = "command",
    namespaced,
    shortname = "kfc",
    category = "kfops",
    status = "CommandStatus",
    derive = "PartialEq",
    doc = "A command of a pull request, kept and driven by Kfops' scm-bot. To end one, use /cancel or kfc: nobody but scm-bot writes here.",
    selectable = ".status.ended",
    selectable = ".status.live",
    printcolumn(name = "Verb", type_ = "string", json_path = ".spec.verb"),
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.repository"),
    printcolumn(name = "Pull", type_ = "integer", json_path = ".spec.pullRequest"),
    printcolumn(name = "Actor", type_ = "string", json_path = ".spec.actor"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Commit", type_ = "string", json_path = ".status.commit", priority = 1),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("what was asked for cannot be changed: write another command"))]
pub struct CommandSpec {
    /// Place in time: microseconds since 1970 by the clock of the replica that took it. Later ones have higher numbers.
    pub seq: i64,
    /// What it asks for, e.g. `build_run`.
    #[schemars(length(max = 64))]
    pub verb: String,
    /// As written after the verb.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40000))]
    pub arguments: Vec<String>,
    /// Why the line cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
    /// `owner/name`.
    #[schemars(length(max = 201))]
    pub repository: String,
    /// Number of the pull request.
    pub pull_request: i64,
    /// Login of who asked.
    #[schemars(length(max = 255))]
    pub actor: String,
    /// Where it came from.
    pub origin: OriginSpec,
    /// When it was received.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub received: String,
    /// When its comment was written, by GitHub's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub written: Option<String>,
    /// The root span, as in the header `traceparent`.
    #[schemars(length(max = 64))]
    pub trace: String,
    /// Root spans of the commands that it builds on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub links: Vec<String>,
    /// It is answered only to somebody who may write.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    /// The commit to which the branch had moved on already when this was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub superseded_by: Option<String>,
}

/// Why a line cannot be read.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    /// One of Kfops' reasons.
    pub reason: String,
    /// What is wrong with it.
    pub message: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Whether the same would be right later.
    #[serde(default)]
    pub retryable: bool,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub action: String,
}

/// Where a command came from: a comment has delivery, comment and index, a button delivery and check; the API has none.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginSpec {
    /// GUID of GitHub's delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub delivery: Option<String>,
    /// Id of the comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<i64>,
    /// Which command of the comment, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// Id of the check run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<i64>,
}

/// How far a command got. None: it was received, nothing more.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.version >= oldSelf.version").message("an older state of the command"),
    validation = Rule::new("self.term >= oldSelf.term").message("a newer leader has taken this command over"),
    validation = Rule::new("!oldSelf.ended || self.ended").message("a command that has ended stays so"),
    validation = Rule::new("!has(oldSelf.outcome) || (has(self.outcome) && self.outcome == oldSelf.outcome)")
        .message("the outcome of a command stands")
)]
pub struct CommandStatus {
    /// Counts the changes; 1 is as received.
    pub version: i64,
    /// The term of the leader that drove it last: a former one can write no more.
    pub term: i64,
    /// received, accepted, refused, running, succeeded, failed, canceled or superseded.
    #[schemars(length(max = 64))]
    pub state: String,
    /// Whether that is final.
    pub ended: bool,
    /// How it will end; the last word on GitHub comes before the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub outcome: Option<String>,
    /// The step under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The commit that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Why it did not succeed: one of Kfops' reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The target whose revision it brought live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// The revision that it brought live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When the gate let it pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub start_time: Option<String>,
    /// End.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub end_time: Option<String>,
    /// Last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub update_time: Option<String>,
    /// Everything that scm-bot knows of it, in scm-bot's own words. The fields above are read off it. Not described here, so that
    /// an older definition of this resource drops nothing that a newer scm-bot writes.
    #[schemars(schema_with = "anything")]
    pub record: Map<String, Value>,
}

/// A delivery of GitHub that was taken: it is not taken again.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kfops.dev",
    version = "v1alpha1",
    kind = "Delivery",
    root = "DeliveryObject",
    plural = "deliveries",
    singular = "delivery",
    namespaced,
    category = "kfops",
    derive = "PartialEq",
    doc = "A webhook that Kfops' scm-bot has taken, so that it is not taken twice.",
    printcolumn(name = "Delivery", type_ = "string", json_path = ".spec.id"),
    printcolumn(name = "Event", type_ = "string", json_path = ".spec.event"),
    printcolumn(name = "Received", type_ = "date", json_path = ".spec.received")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("what was received stands"))]
pub struct DeliverySpec {
    /// `X-GitHub-Delivery`.
    #[schemars(length(max = 200))]
    pub id: String,
    /// `X-GitHub-Event`.
    #[schemars(length(max = 200))]
    pub event: String,
    /// When it came.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub received: String,
}

/// What Kfops deploys to, and one command at a time.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kfops.dev",
    version = "v1alpha1",
    kind = "Target",
    root = "TargetObject",
    plural = "targets",
    singular = "target",
    namespaced,
    category = "kfops",
    status = "TargetStatus",
    derive = "PartialEq",
    doc = "The lock of an InferenceService that Kfops deploys to. A holder counts until its command has its outcome; to take the lock from it, use /unlock.",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target"),
    printcolumn(name = "Holder", type_ = "string", json_path = ".status.holder"),
    printcolumn(name = "Fence", type_ = "integer", json_path = ".status.fence"),
    printcolumn(name = "Queue", type_ = "string", json_path = ".status.queue"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.since")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a target keeps its name"))]
pub struct TargetSpec {
    /// `namespaces/…/inferenceServices/…`.
    #[schemars(length(max = 512))]
    pub target: String,
}

/// Who may deploy to a target.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.fence >= oldSelf.fence").message("fences only grow"))]
pub struct TargetStatus {
    /// The command that holds the lock, for as long as it has no outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Grows each time the lock is given. 0: it never was.
    pub fence: i64,
    /// When the lock was given or freed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// Commands that wait, the next one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<String>,
}

/// The newest push to a pull request: what was written before it is not about it.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kfops.dev",
    version = "v1alpha1",
    kind = "Push",
    root = "PushObject",
    plural = "pushes",
    singular = "push",
    namespaced,
    category = "kfops",
    derive = "PartialEq",
    doc = "The newest push to a pull request that Kfops' scm-bot knows of.",
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.repository"),
    printcolumn(name = "Pull", type_ = "integer", json_path = ".spec.pullRequest"),
    printcolumn(name = "Head", type_ = "string", json_path = ".spec.head"),
    printcolumn(name = "Pushed", type_ = "date", json_path = ".spec.at")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.repository == oldSelf.repository && self.pullRequest == oldSelf.pullRequest")
        .message("a push belongs to its pull request"),
    validation = Rule::new("self.at >= oldSelf.at").message("only a newer push takes the place of one")
)]
pub struct PushSpec {
    /// `owner/name`.
    #[schemars(length(max = 201))]
    pub repository: String,
    /// Number of the pull request.
    pub pull_request: i64,
    /// The head since.
    #[schemars(length(max = 255))]
    pub head: String,
    /// When it was made, by GitHub's clock.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub at: String,
}

fn anything(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        // Written as a whole: its parts need no owners.
        "x-kubernetes-map-type": "atomic",
    })
}

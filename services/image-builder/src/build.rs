//! A build and what came of its images.

use std::time::SystemTime;

use kfops_core::{Digest, Failure, TraceContext};
use kfops_resource::Record;
use serde::{Deserialize, Serialize};

use crate::request::{ImageSpec, Request};

/// A build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Build {
    /// Chosen by the caller.
    pub(crate) id: String,
    /// Chosen by us.
    pub(crate) uid: String,
    /// Where it is in its life.
    pub(crate) state: State,
    /// When it was asked for.
    pub(crate) create_time: SystemTime,
    /// When it last changed.
    pub(crate) update_time: SystemTime,
    /// When it ended.
    pub(crate) end_time: Option<SystemTime>,
    /// Why it did not succeed.
    pub(crate) failure: Option<Failure>,
    /// What is asked for.
    pub(crate) request: Request,
    /// One per image, in the same order.
    pub(crate) results: Vec<ImageResult>,
    /// Tags that were given to all images.
    pub(crate) tags: Vec<String>,
    /// The caller's place in its trace.
    pub(crate) trace: Option<TraceContext>,
    /// Someone wants it to end.
    pub(crate) cancel_requested: bool,
}

/// What came of one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageResult {
    /// Its name.
    pub(crate) name: String,
    /// Where it is in its life.
    pub(crate) state: State,
    /// Where it lies, without tag or digest.
    pub(crate) repository: String,
    /// Of its manifest, once it lies there.
    pub(crate) digest: Option<Digest>,
    /// Over everything that it is made from.
    pub(crate) content: Option<Digest>,
    /// It existed already.
    pub(crate) reused: bool,
    /// When work on it began.
    pub(crate) start_time: Option<SystemTime>,
    /// When it ended.
    pub(crate) end_time: Option<SystemTime>,
    /// Key of its log in the object store.
    pub(crate) log_key: String,
    /// Why it did not succeed.
    pub(crate) failure: Option<Failure>,
}

/// Where something is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// Not begun.
    Pending,
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
    /// Ended on request.
    Canceled,
}

impl State {
    /// Whether it will not change any more.
    #[must_use]
    pub(crate) const fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

impl Record for Build {
    const COLLECTION: &'static str = "builds";

    fn id(&self) -> &str {
        &self.id
    }

    fn ended(&self) -> bool {
        self.state.ended()
    }

    fn same_request(&self, other: &Self) -> bool {
        self.request == other.request
    }
}

impl Build {
    /// A build that has not begun.
    #[must_use]
    pub(crate) fn new(id: String, uid: String, now: SystemTime, request: Request, trace: Option<TraceContext>) -> Self {
        let results = request.images.iter().map(|image| ImageResult::pending(&id, image)).collect();
        Self {
            id,
            uid,
            state: State::Pending,
            create_time: now,
            update_time: now,
            end_time: None,
            failure: None,
            request,
            results,
            tags: Vec::new(),
            trace,
            cancel_requested: false,
        }
    }

    /// `builds/{id}`.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        format!("builds/{}", self.id)
    }
}

impl ImageResult {
    fn pending(build: &str, image: &ImageSpec) -> Self {
        Self {
            name: image.name.clone(),
            state: State::Pending,
            repository: String::new(),
            digest: None,
            content: None,
            reused: false,
            start_time: None,
            end_time: None,
            log_key: format!("logs/builds/{build}/{}.log", image.name),
            failure: None,
        }
    }
}

/// Of an image that exists, so that it is found without asking the registry for tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownContent {
    pub(crate) id: String,
    pub(crate) repository: String,
    pub(crate) content: Digest,
    pub(crate) digest: Digest,
}

impl Record for KnownContent {
    const COLLECTION: &'static str = "contents";

    fn id(&self) -> &str {
        &self.id
    }

    fn ended(&self) -> bool {
        true
    }

    fn same_request(&self, other: &Self) -> bool {
        self.repository == other.repository && self.content == other.content
    }
}

//! The port, method by method.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use kfops_core::Failure;

use super::client::GitHubClient;
use crate::{
    command::{PullRequest, Repository},
    ports::{CheckRun, Deployment, Found, GitHub, Look, Merged, Meter, Post, PostOutcome, SentDelivery},
};

#[async_trait]
impl GitHub for GitHubClient {
    async fn login(&self) -> Result<Option<String>, Failure> {
        self.ask_login().await
    }

    async fn look(&self, meter: &Meter, on: (&Repository, u64)) -> Result<Look, Failure> {
        self.look_at(meter, on).await
    }

    async fn post(&self, meter: &Meter, on: (&Repository, u64), post: &Post) -> Result<PostOutcome, Failure> {
        self.post_all(meter, on, post).await
    }

    async fn find(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        marker: &str,
        since: SystemTime,
        check: Option<&CheckRun>,
        deployment: Option<&Deployment>,
    ) -> Result<Found, Failure> {
        self.find_all(meter, on, marker, since, check, deployment).await
    }

    async fn move_label(&self, meter: &Meter, on: (&Repository, u64), label: &str) -> Result<Vec<u64>, Failure> {
        self.pass_label(meter, on, label).await
    }

    async fn deliveries(&self, since: SystemTime) -> Result<Vec<SentDelivery>, Failure> {
        self.sent(since).await
    }

    async fn delivery_payload(&self, delivery: &SentDelivery) -> Result<Bytes, Failure> {
        self.payload_of(delivery).await
    }

    async fn comment(&self, meter: &Meter, repository: &Repository, id: u64) -> Result<Option<String>, Failure> {
        self.read_comment(meter, repository, id).await
    }

    async fn pull_request(&self, meter: &Meter, repository: &Repository, number: u64) -> Result<PullRequest, Failure> {
        self.read_pull(meter, repository, number).await
    }

    async fn permission(&self, meter: &Meter, repository: &Repository, user: &str) -> Result<String, Failure> {
        self.read_permission(meter, repository, user).await
    }

    async fn team_member(&self, meter: &Meter, team: &str, user: &str) -> Result<bool, Failure> {
        self.read_membership(meter, team, user).await
    }

    async fn behind_by(&self, meter: &Meter, repository: &Repository, base: &str, head: &str) -> Result<u64, Failure> {
        self.compare(meter, repository, base, head).await
    }

    async fn archive(&self, meter: &Meter, repository: &Repository, commit: &str) -> Result<Bytes, Failure> {
        self.read_archive(meter, repository, commit).await
    }

    async fn merge(&self, meter: &Meter, on: (&Repository, u64), commit: &str) -> Result<Merged, Failure> {
        self.put_merge(meter, on, commit).await
    }
}

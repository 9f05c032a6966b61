//! What can be asked for.

use async_graphql::{Context, ID, Object, Result, SimpleObject};

use super::actor::User;
use super::fault::fault;
use super::node::{self, Node};
use super::repository::Repository;
use super::{DateTime, Session};
use crate::clock;
use crate::error::Error;

/// Most nodes of one `nodes`.
const NODES: usize = 100;

pub(super) struct Query;

/// Where the caller's requests stand.
#[derive(Debug, Clone, SimpleObject)]
pub(super) struct RateLimit {
    cost: i32,
    limit: i32,
    node_count: i32,
    remaining: i32,
    reset_at: DateTime,
    used: i32,
}

#[Object]
impl Query {
    async fn repository(&self, ctx: &Context<'_>, name: String, owner: String) -> Option<Result<Repository>> {
        let found = async {
            let session = Session::of(ctx)?;
            let found = session.hub.repository(&owner, &name).await;
            match found.map(|repository| session.seen(repository)) {
                Ok(Some(repository)) => Ok(Repository(repository)),
                Ok(None) | Err(Error::NotFound) => {
                    let text = format!("Could not resolve to a Repository with the name '{owner}/{name}'.");
                    Err(fault("NOT_FOUND", text))
                }
                Err(error) => Err(super::fault::refusal(error)),
            }
        };
        Some(found.await)
    }

    async fn node(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Node>> {
        let found = async { node::find(Session::of(ctx)?, &id).await };
        Some(found.await)
    }

    async fn nodes(&self, ctx: &Context<'_>, ids: Vec<ID>) -> Result<Vec<Option<Result<Node>>>> {
        if ids.len() > NODES {
            let text = format!("You may not provide more than {NODES} node ids; you provided {}.", ids.len());
            return Err(fault("ARGUMENT_LIMIT", text));
        }
        let session = Session::of(ctx)?;
        let mut found = Vec::with_capacity(ids.len());
        for id in &ids {
            found.push(Some(node::find(session, id).await));
        }
        Ok(found)
    }

    async fn rate_limit(&self, ctx: &Context<'_>) -> Option<Result<RateLimit>> {
        let rate = Session::of(ctx).map(|session| session.rate);
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        Some(rate.map(|rate| RateLimit {
            cost: 1,
            limit: number(rate.limit),
            node_count: 1,
            remaining: number(rate.limit.saturating_sub(rate.used)),
            reset_at: DateTime(clock::from_unix(rate.reset)),
            used: number(rate.used),
        }))
    }

    async fn viewer(&self, ctx: &Context<'_>) -> Result<User> {
        Ok(User(Session::of(ctx)?.user.clone()))
    }
}

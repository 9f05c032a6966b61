//! GitHub's GraphQL API, as far as a bot needs it: its types, fields, arguments and enums by GitHub's names.

mod actor;
mod check;
mod commit;
mod deployment;
mod enums;
mod fault;
mod input;
mod issue;
mod mutation;
mod node;
mod page;
mod pull;
mod query;
mod repository;
mod rollup;
mod serve;
mod talk;

use std::sync::{Arc, LazyLock};

use async_graphql::{Context, EmptySubscription, NewType, Schema};

pub(crate) use serve::serve;

use crate::caller::Caller;
use crate::hub::{Hub, Rate};
use crate::model::{Repository, User};

/// Deepest nesting of a query.
const DEPTH: usize = 32;
/// Most fields of a query.
const FIELDS: usize = 5000;

type Forge = Schema<query::Query, mutation::Mutation, EmptySubscription>;

static SCHEMA: LazyLock<Forge> = LazyLock::new(|| {
    Schema::build(query::Query, mutation::Mutation, EmptySubscription)
        .limit_depth(DEPTH)
        .limit_complexity(FIELDS)
        .finish()
});

/// The schema in GraphQL's own language.
pub(crate) fn sdl() -> String {
    SCHEMA.sdl()
}

/// Whom a request is answered for.
#[derive(Debug, Clone)]
struct Session {
    hub: Arc<Hub>,
    caller: Caller,
    user: User,
    rate: Rate,
}

impl Session {
    fn of<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Self> {
        ctx.data::<Self>()
    }

    /// A repository that the caller sees.
    fn seen(&self, repository: Repository) -> Option<Repository> {
        self.caller.sees(&repository).then_some(repository)
    }
}

/// An ISO-8601 time in UTC.
#[derive(Debug, Clone, NewType)]
#[graphql(name = "DateTime")]
struct DateTime(String);

/// An address.
#[derive(Debug, Clone, NewType)]
#[graphql(name = "URI")]
struct Uri(String);

/// The name of an object in git.
#[derive(Debug, Clone, NewType)]
#[graphql(name = "GitObjectID")]
struct GitObjectId(String);

//! GitHub's REST API, at `/` as on api.github.com and under `/api/v3` as on a GitHub Enterprise Server.

mod app_hooks;
mod apps;
pub(crate) mod checks;
mod comments;
mod commits;
mod contents;
mod context;
pub(crate) mod deployments;
mod forks;
mod hooks;
mod input;
mod issues;
pub(crate) mod labels;
mod pulls;
mod repositories;
mod respond;
mod teams;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};

pub(crate) use context::credentials;
pub(crate) use hooks::is_target;
pub(crate) use respond::{Answer, not_found};

use crate::graphql;
use crate::hub::Hub;

/// Largest request body.
const BODY_LIMIT: usize = 10 << 20;

/// Every route, at both places.
pub(crate) fn router(hub: &Arc<Hub>) -> Router<Arc<Hub>> {
    let guarded = |router: Router<Arc<Hub>>| {
        router.layer(from_fn_with_state(hub.clone(), respond::envelope)).layer(DefaultBodyLimit::max(BODY_LIMIT))
    };
    let enterprise = routes().merge(contents::downloads()).fallback(not_found);
    let graphql = Router::new().route("/graphql", post(graphql::serve)).route("/api/graphql", post(graphql::serve));
    Router::new()
        .nest("/api/v3", guarded(enterprise))
        .merge(guarded(routes()))
        .merge(guarded(graphql))
        .merge(contents::downloads())
}

fn routes() -> Router<Arc<Hub>> {
    let repository = Router::new()
        .route("/", get(repositories::get_one).patch(forks::edit).delete(forks::remove))
        .route("/forks", get(forks::list).post(forks::create))
        .route("/collaborators", get(repositories::collaborators))
        .route("/collaborators/{user}", get(repositories::is_collaborator).put(repositories::put_collaborator))
        .route("/collaborators/{user}/permission", get(repositories::permission))
        .route("/branches", get(repositories::branches))
        .route("/branches/{*branch}", get(repositories::branch))
        .route("/git/ref/{*reference}", get(commits::reference))
        .route("/commits", get(commits::list))
        .route("/commits/{*rest}", get(commits::get_under))
        .route("/compare/{*range}", get(commits::compare))
        .route("/contents", get(contents::root))
        .route("/contents/", get(contents::root))
        .route("/contents/{*path}", get(contents::get_one))
        .route("/tarball", get(contents::default_tarball))
        .route("/tarball/{*reference}", get(contents::tarball))
        .route("/pulls", get(pulls::list).post(pulls::create))
        .route("/pulls/{number}", get(pulls::get_one).patch(pulls::edit))
        .route("/pulls/{number}/merge", get(pulls::is_merged).put(pulls::merge))
        .route("/pulls/{number}/update-branch", put(pulls::update_branch))
        .route("/pulls/{number}/files", get(pulls::files))
        .route("/pulls/{number}/commits", get(pulls::commits))
        .route("/pulls/{number}/reviews", get(pulls::reviews).post(pulls::create_review))
        .route("/issues", get(issues::list).post(issues::create))
        .route("/issues/{number}", get(issues::get_one).patch(issues::edit))
        .route("/issues/{number}/comments", get(comments::list).post(comments::create))
        .route(
            "/issues/comments/{id}",
            get(comments::get_one).patch(comments::edit).post(comments::edit).delete(comments::remove),
        )
        .route("/issues/comments/{id}/reactions", get(comments::reactions).post(comments::react))
        .route(
            "/issues/{number}/labels",
            get(labels::of_issue).post(labels::add).put(labels::set).delete(labels::clear),
        )
        .route("/issues/{number}/labels/{name}", delete(labels::remove))
        .route("/labels", get(labels::list).post(labels::create))
        .route("/labels/{name}", get(labels::get_one).patch(labels::edit))
        .route("/installation", get(apps::of_repository))
        .route("/check-runs", post(checks::create))
        .route("/check-runs/{id}", get(checks::get_one).patch(checks::update))
        .route("/check-runs/{id}/annotations", get(checks::annotations))
        .route("/check-runs/{id}/rerequest", post(checks::rerequest))
        .route("/statuses/{sha}", post(checks::create_status))
        .route("/deployments", get(deployments::list).post(deployments::create))
        .route("/deployments/{id}", get(deployments::get_one))
        .route("/deployments/{id}/statuses/{status}", get(deployments::status))
        .route("/deployments/{id}/statuses", get(deployments::statuses).post(deployments::create_status))
        .route("/hooks", get(hooks::list).post(hooks::create))
        .route("/hooks/{id}", get(hooks::get_one).patch(hooks::edit).delete(hooks::remove))
        .route("/hooks/{id}/pings", post(hooks::ping))
        .route("/hooks/{id}/deliveries", get(hooks::deliveries))
        .route("/hooks/{id}/deliveries/{delivery}", get(hooks::delivery))
        .route("/hooks/{id}/deliveries/{delivery}/attempts", post(hooks::redeliver));
    Router::new()
        .nest("/repos/{owner}/{repo}", repository)
        .route("/user", get(users::me))
        .route("/user/repos", get(repositories::list).post(repositories::create))
        .route("/users/{login}", get(users::get_one))
        .route("/users/{login}/installation", get(apps::of_account))
        .route("/orgs/{login}/installation", get(apps::of_account))
        .route("/app", get(apps::me))
        .route("/app/installations", get(apps::list))
        .route("/app/installations/{id}", get(apps::get_one))
        .route("/app/installations/{id}/access_tokens", post(apps::create_token))
        .route("/installation/repositories", get(apps::repositories))
        .route("/rate_limit", get(users::rate_limit))
        .route("/orgs/{org}/teams/{team}/members", get(teams::members))
        .route("/orgs/{org}/teams/{team}/memberships/{login}", get(teams::membership))
        .route("/app/hook/config", get(app_hooks::config))
        .route("/app/hook/deliveries", get(app_hooks::deliveries))
        .route("/app/hook/deliveries/{id}", get(app_hooks::delivery))
        .route("/app/hook/deliveries/{id}/attempts", post(app_hooks::redeliver))
}

//! Webhooks and deliveries as JSON.

use serde_json::{Value, json};

use super::Urls;
use crate::model::{Delivery, Hook, Repository};

/// Where a webhook sends. Its secret is never told.
pub(crate) fn hook_config(hook: &Hook) -> Value {
    let mut config = json!({
        "content_type": if hook.form { "form" } else { "json" },
        "insecure_ssl": "0",
        "url": hook.url,
    });
    if hook.secret.is_some() {
        config["secret"] = "********".into();
    }
    config
}

/// A webhook. Its secret is never told.
pub(crate) fn hook(urls: &Urls, repository: &Repository, hook: &Hook, last: Option<&Delivery>) -> Value {
    let url = format!("{}/hooks/{}", urls.api(repository), hook.id);
    let last = match last.map(|delivery| &delivery.outcome) {
        None => json!({ "code": null, "status": "unused", "message": null }),
        Some(outcome) => {
            let good = (200..300).contains(&outcome.status_code);
            json!({
                "code": outcome.status_code,
                "status": if good { "active" } else { "failed" },
                "message": outcome.status,
            })
        }
    };
    json!({
        "type": "Repository",
        "id": hook.id,
        "name": "web",
        "active": hook.active,
        "events": hook.events,
        "config": hook_config(hook),
        "updated_at": hook.updated_at,
        "created_at": hook.created_at,
        "url": url,
        "test_url": format!("{url}/test"),
        "ping_url": format!("{url}/pings"),
        "deliveries_url": format!("{url}/deliveries"),
        "last_response": last,
    })
}

/// A delivery in a list.
pub(crate) fn delivery(delivery: &Delivery) -> Value {
    json!({
        "id": delivery.id,
        "guid": delivery.guid,
        "delivered_at": delivery.delivered_at,
        "redelivery": delivery.redelivery,
        "duration": delivery.outcome.duration,
        "status": delivery.outcome.status,
        "status_code": delivery.outcome.status_code,
        "event": delivery.event,
        "action": delivery.action,
        "installation_id": delivery.installation_id,
        "repository_id": delivery.repository_id,
        "throttled_at": null,
    })
}

/// A delivery with what was sent and what came back.
pub(crate) fn delivery_detail(row: &Delivery) -> Value {
    let mut value = delivery(row);
    value["url"] = row.outcome.url.as_str().into();
    value["request"] = json!({
        "headers": row.outcome.request_headers,
        "payload": serde_json::from_str::<Value>(&row.payload).unwrap_or(Value::Null),
    });
    value["response"] = json!({
        "headers": row.outcome.response_headers,
        "payload": row.outcome.response_body,
    });
    value
}

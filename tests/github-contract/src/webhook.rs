//! Webhook payloads.

use serde_json::Value;

use crate::{
    known,
    schemas::Schemas,
    violation::{Side, Violation},
};

/// The schemas of all webhooks.
#[derive(Debug)]
pub(crate) struct Webhooks(Schemas);

impl Webhooks {
    pub(crate) fn new(root: Value) -> Self {
        Self(Schemas::plain(root))
    }

    pub(crate) fn check(&self, event: &str, payload: &Value) -> Vec<Violation> {
        let action = payload["action"].as_str();
        let name = action.map_or_else(|| event.to_owned(), |action| format!("{event}.{action}"));
        let wrong = |at: String, what: String| Violation::new(Side::Webhook, &name, at, what);
        let schema =
            [format!("#/definitions/{event}${}", action.unwrap_or("event")), format!("#/definitions/{event}$event")]
                .into_iter()
                .find(|schema| self.0.at(schema).is_some());
        match schema {
            Some(schema) => {
                let found = self.0.check(&schema, payload).into_iter();
                found.filter(|(_, what)| !known::newer(what)).map(|(at, what)| wrong(at, what)).collect()
            }
            None => vec![wrong("/action".into(), "there is no such event or action".into())],
        }
    }
}

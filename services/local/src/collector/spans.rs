//! Spans in SQLite. A span that arrives twice (its exporter was killed before it heard the answer) is kept once.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use kfops_core::{Failure, Reason};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, resource::v1::Resource,
};
use rusqlite::{Connection, params};
use serde_json::{Value as Json, json};

/// Keeps spans by trace. Cheap to clone.
#[derive(Clone)]
pub(super) struct SpanStore(Arc<Mutex<Connection>>);

impl SpanStore {
    /// Opens (or makes) the database.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let open = || {
            let connection = Connection::open(path)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS spans (
                   trace_id TEXT NOT NULL, span_id TEXT NOT NULL, service TEXT NOT NULL, resource TEXT NOT NULL, scope TEXT NOT NULL, span TEXT NOT NULL,
                   PRIMARY KEY (trace_id, span_id)) STRICT, WITHOUT ROWID;",
            )?;
            Ok::<_, rusqlite::Error>(connection)
        };
        let connection =
            open().map_err(|error| Failure::new(Reason::StoreUnavailable, format!("{}: {error}", path.display())))?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Keeps the spans of an export.
    pub(super) async fn add(&self, request: ExportTraceServiceRequest) -> Result<(), Failure> {
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            {
                let mut insert = transaction
                    .prepare_cached("INSERT OR IGNORE INTO spans (trace_id, span_id, service, resource, scope, span) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
                for group in request.resource_spans {
                    let service = service_name(group.resource.as_ref());
                    let resource = to_text(&group.resource);
                    for scoped in group.scope_spans {
                        let scope = to_text(&scoped.scope);
                        for span in scoped.spans {
                            let (trace_id, span_id) = (hex::encode(&span.trace_id), hex::encode(&span.span_id));
                            insert.execute(params![trace_id, span_id, service, resource, scope, to_text(&span)])?;
                        }
                    }
                }
            }
            transaction.commit()
        })
        .await
    }

    /// A trace as OTLP JSON (`resourceSpans`), grouped by service; None when nothing of it is known.
    pub(super) async fn trace(&self, trace_id: &str) -> Result<Option<Json>, Failure> {
        let trace_id = trace_id.to_owned();
        let rows: Vec<(String, Json, Json, Json)> = self
            .blocking(move |connection| {
                let mut select = connection.prepare_cached(
                    "SELECT service, resource, scope, span FROM spans WHERE trace_id = ?1 ORDER BY service",
                )?;
                let json = |text: String| serde_json::from_str(&text).unwrap_or(Json::Null);
                select
                    .query_map([trace_id], |row| {
                        Ok((row.get(0)?, json(row.get(1)?), json(row.get(2)?), json(row.get(3)?)))
                    })?
                    .collect()
            })
            .await?;
        let mut groups: BTreeMap<String, (Json, Json, Vec<Json>)> = BTreeMap::new();
        for (service, resource, scope, span) in rows {
            groups.entry(service).or_insert_with(|| (resource, scope, Vec::new())).2.push(span);
        }
        if groups.is_empty() {
            return Ok(None);
        }
        let groups: Vec<Json> = groups
            .into_values()
            .map(|(resource, scope, spans)| json!({"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}))
            .collect();
        Ok(Some(json!({ "resourceSpans": groups })))
    }

    /// The newest traces: id, when its first span began (nanoseconds since 1970) and that span's name.
    pub(super) async fn newest(&self, most: usize) -> Result<Vec<(String, u64, String)>, Failure> {
        self.blocking(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT trace_id, MIN(CAST(span ->> 'startTimeUnixNano' AS INTEGER)) AS start, span ->> 'name'
                 FROM spans GROUP BY trace_id ORDER BY start DESC LIMIT ?1",
            )?;
            select
                .query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| {
                    let start: i64 = row.get(1)?;
                    let name: Option<String> = row.get(2)?;
                    Ok((row.get(0)?, u64::try_from(start).unwrap_or(0), name.unwrap_or_default()))
                })?
                .collect()
        })
        .await
    }

    async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<R, rusqlite::Error> + Send + 'static,
    ) -> Result<R, Failure> {
        let connection = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .map_err(Failure::internal)?
            .map_err(|error| Failure::new(Reason::StoreUnavailable, format!("trace database: {error}")))
    }
}

fn service_name(resource: Option<&Resource>) -> String {
    let attribute = resource.and_then(|r| r.attributes.iter().find(|a| a.key == "service.name"));
    match attribute.and_then(|a| a.value.as_ref()).and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        _ => "unknown".into(),
    }
}

fn to_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".into())
}

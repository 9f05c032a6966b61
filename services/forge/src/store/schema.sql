CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS users (
  id INTEGER PRIMARY KEY AUTOINCREMENT, login TEXT NOT NULL UNIQUE COLLATE NOCASE, role TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tokens (hash TEXT PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users) STRICT;
CREATE TABLE IF NOT EXISTS repositories (
  id INTEGER PRIMARY KEY AUTOINCREMENT, owner_id INTEGER NOT NULL REFERENCES users,
  name TEXT NOT NULL COLLATE NOCASE, default_branch TEXT NOT NULL, description TEXT,
  created_at TEXT NOT NULL, pushed_at TEXT NOT NULL, UNIQUE (owner_id, name)) STRICT;
CREATE TABLE IF NOT EXISTS collaborators (
  repository_id INTEGER NOT NULL REFERENCES repositories, user_id INTEGER NOT NULL REFERENCES users,
  role TEXT NOT NULL, PRIMARY KEY (repository_id, user_id)) STRICT;
CREATE TABLE IF NOT EXISTS branches (
  repository_id INTEGER NOT NULL REFERENCES repositories, name TEXT NOT NULL, sha TEXT NOT NULL,
  PRIMARY KEY (repository_id, name)) STRICT;
CREATE TABLE IF NOT EXISTS issues (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repository_id INTEGER NOT NULL REFERENCES repositories,
  number INTEGER NOT NULL, title TEXT NOT NULL, body TEXT, open INTEGER NOT NULL DEFAULT 1,
  user_id INTEGER NOT NULL REFERENCES users, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  closed_at TEXT, closed_by INTEGER REFERENCES users, UNIQUE (repository_id, number)) STRICT;
CREATE TABLE IF NOT EXISTS pulls (
  issue_id INTEGER PRIMARY KEY REFERENCES issues, head_ref TEXT NOT NULL, head_sha TEXT NOT NULL,
  base_ref TEXT NOT NULL, base_sha TEXT NOT NULL, draft INTEGER NOT NULL DEFAULT 0,
  merged_at TEXT, merged_by INTEGER REFERENCES users, merge_commit_sha TEXT,
  merging_sha TEXT, merging_by INTEGER REFERENCES users) STRICT;
CREATE TABLE IF NOT EXISTS comments (
  id INTEGER PRIMARY KEY AUTOINCREMENT, issue_id INTEGER NOT NULL REFERENCES issues,
  user_id INTEGER NOT NULL REFERENCES users, body TEXT NOT NULL, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS comments_by_issue ON comments (issue_id);
CREATE TABLE IF NOT EXISTS reactions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, comment_id INTEGER NOT NULL REFERENCES comments ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES users, content TEXT NOT NULL, created_at TEXT NOT NULL,
  UNIQUE (comment_id, user_id, content)) STRICT;
CREATE TABLE IF NOT EXISTS labels (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repository_id INTEGER NOT NULL REFERENCES repositories,
  name TEXT NOT NULL COLLATE NOCASE, color TEXT NOT NULL, description TEXT, UNIQUE (repository_id, name)) STRICT;
CREATE TABLE IF NOT EXISTS issue_labels (
  issue_id INTEGER NOT NULL REFERENCES issues, label_id INTEGER NOT NULL REFERENCES labels ON DELETE CASCADE,
  PRIMARY KEY (issue_id, label_id)) STRICT;
CREATE TABLE IF NOT EXISTS reviews (
  id INTEGER PRIMARY KEY AUTOINCREMENT, issue_id INTEGER NOT NULL REFERENCES issues,
  user_id INTEGER NOT NULL REFERENCES users, state TEXT NOT NULL, body TEXT NOT NULL,
  commit_id TEXT NOT NULL, submitted_at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS check_runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repository_id INTEGER NOT NULL REFERENCES repositories,
  head_sha TEXT NOT NULL, user_id INTEGER NOT NULL REFERENCES users, fields TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS check_runs_by_sha ON check_runs (repository_id, head_sha);
CREATE TABLE IF NOT EXISTS statuses (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repository_id INTEGER NOT NULL REFERENCES repositories,
  sha TEXT NOT NULL, state TEXT NOT NULL, context TEXT NOT NULL, description TEXT, target_url TEXT,
  user_id INTEGER NOT NULL REFERENCES users, created_at TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS statuses_by_sha ON statuses (repository_id, sha);
-- Rows whose fields nobody searches are kept as JSON: deployments and their statuses.
CREATE TABLE IF NOT EXISTS deployments (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repository_id INTEGER NOT NULL REFERENCES repositories,
  parent INTEGER REFERENCES deployments, sha TEXT NOT NULL, environment TEXT NOT NULL,
  user_id INTEGER NOT NULL REFERENCES users, fields TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hooks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repository_id INTEGER NOT NULL REFERENCES repositories, key TEXT,
  url TEXT NOT NULL, secret TEXT, form INTEGER NOT NULL, events TEXT NOT NULL, active INTEGER NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL, UNIQUE (repository_id, key)) STRICT;
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, hook_id INTEGER NOT NULL REFERENCES hooks ON DELETE CASCADE,
  guid TEXT NOT NULL, event TEXT NOT NULL, action TEXT, payload TEXT NOT NULL, redelivery INTEGER NOT NULL,
  delivered_at TEXT NOT NULL, outcome TEXT) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_open ON deliveries (hook_id) WHERE outcome IS NULL;

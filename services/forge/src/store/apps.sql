CREATE TABLE IF NOT EXISTS apps (
  id INTEGER PRIMARY KEY, slug TEXT NOT NULL UNIQUE COLLATE NOCASE, public_key TEXT NOT NULL, webhook_secret TEXT,
  user_id INTEGER NOT NULL UNIQUE REFERENCES users, owner_id INTEGER NOT NULL REFERENCES users,
  permissions TEXT NOT NULL, events TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS installations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, app_id INTEGER NOT NULL REFERENCES apps,
  account_id INTEGER NOT NULL REFERENCES users, selected INTEGER NOT NULL, created_at TEXT NOT NULL,
  UNIQUE (app_id, account_id)) STRICT;
CREATE TABLE IF NOT EXISTS installation_repositories (
  installation_id INTEGER NOT NULL REFERENCES installations, repository_id INTEGER NOT NULL REFERENCES repositories,
  PRIMARY KEY (installation_id, repository_id)) STRICT;
-- An absent list of repositories: all of the installation.
CREATE TABLE IF NOT EXISTS installation_tokens (
  hash TEXT PRIMARY KEY, installation_id INTEGER NOT NULL REFERENCES installations, repositories TEXT,
  permissions TEXT NOT NULL, expires INTEGER NOT NULL) STRICT;

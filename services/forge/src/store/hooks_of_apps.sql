-- A hook is a repository's or an app's. The table is made anew: SQLite cannot take a NOT NULL away.
CREATE TABLE hooks_anew (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repository_id INTEGER REFERENCES repositories,
  app_id INTEGER UNIQUE REFERENCES users, key TEXT,
  url TEXT NOT NULL, secret TEXT, form INTEGER NOT NULL, events TEXT NOT NULL, active INTEGER NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL, UNIQUE (repository_id, key),
  CHECK ((repository_id IS NULL) <> (app_id IS NULL))) STRICT;
INSERT INTO hooks_anew (id, repository_id, key, url, secret, form, events, active, created_at, updated_at)
  SELECT id, repository_id, key, url, secret, form, events, active, created_at, updated_at FROM hooks;
DROP TABLE hooks;
ALTER TABLE hooks_anew RENAME TO hooks;

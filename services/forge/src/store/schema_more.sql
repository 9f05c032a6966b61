-- Columns that came later are added by upgrade.rs.
CREATE TABLE IF NOT EXISTS former_names (
  owner TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
  repository_id INTEGER NOT NULL REFERENCES repositories, PRIMARY KEY (owner, name)) STRICT;
CREATE TABLE IF NOT EXISTS teams (
  id INTEGER PRIMARY KEY AUTOINCREMENT, organization_id INTEGER NOT NULL REFERENCES users,
  slug TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL, created_at TEXT NOT NULL,
  UNIQUE (organization_id, slug)) STRICT;
CREATE TABLE IF NOT EXISTS team_members (
  team_id INTEGER NOT NULL REFERENCES teams ON DELETE CASCADE, user_id INTEGER NOT NULL REFERENCES users,
  role TEXT NOT NULL, PRIMARY KEY (team_id, user_id)) STRICT;

ALTER TABLE notes ADD COLUMN attachment TEXT;

CREATE INDEX notes_with_attachment ON notes (id) WHERE attachment IS NOT NULL;

// Notes live in D1, their attachments in R2 under `note/<id>`.

export async function listNotes(db) {
  const { results } = await db.prepare("SELECT id, text, created_at, attachment FROM notes ORDER BY id").all();
  return results;
}

export async function addNote(db, text) {
  return db.prepare("INSERT INTO notes (text) VALUES (?) RETURNING id, text, created_at").bind(text).first();
}

export async function deleteNote(db, id) {
  const note = await db.prepare("DELETE FROM notes WHERE id = ? RETURNING attachment").bind(id).first();
  return note?.attachment ?? null;
}

export async function attach(db, files, id, content) {
  const key = `note/${id}`;
  const note = await db.prepare("SELECT id FROM notes WHERE id = ?").bind(id).first();
  if (!note) return false;
  await files.put(key, content);
  await db.prepare("UPDATE notes SET attachment = ? WHERE id = ?").bind(key, id).run();
  return true;
}

export async function readAttachment(db, files, id) {
  const note = await db.prepare("SELECT attachment FROM notes WHERE id = ?").bind(id).first();
  return note?.attachment ? files.get(note.attachment) : null;
}

import page from "./page.html";
import { addNote, attach, deleteNote, listNotes, readAttachment } from "./notes.js";

const MAX_ATTACHMENT = 1024 * 1024;

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const route = `${request.method} ${pathname}`;
    if (route === "GET /") return showPage(env);
    if (route === "GET /api/notes") return Response.json(await listNotes(env.DB));
    if (route === "POST /api/notes") return createNote(request, env);
    const note = pathname.match(/^\/api\/notes\/(\d+)$/);
    if (note && request.method === "DELETE") return removeNote(request, env, Number(note[1]));
    const attachment = pathname.match(/^\/api\/notes\/(\d+)\/attachment$/);
    if (attachment) return handleAttachment(request, env, Number(attachment[1]));
    return problem(404, "there is nothing at this address");
  },
};

async function showPage(env) {
  const notes = await listNotes(env.DB);
  const items = notes.map((note) => `<li>${escapeHtml(note.text)}</li>`).join("");
  const views = env.VIEWS ? `seen ${await countView(env.VIEWS)} times` : "";
  const html = page.replace("{{notes}}", () => items).replace("{{views}}", views);
  return new Response(html, { headers: { "content-type": "text/html; charset=utf-8" } });
}

async function countView(views) {
  const count = Number((await views.get("page")) ?? 0) + 1;
  await views.put("page", String(count));
  return count;
}

async function createNote(request, env) {
  const body = await request.json().catch(() => null);
  if (typeof body?.text !== "string" || body.text.trim() === "") {
    return problem(400, 'send {"text": "…"}');
  }
  return Response.json(await addNote(env.DB, body.text.trim()), { status: 201 });
}

async function removeNote(request, env, id) {
  if (request.headers.get("authorization") !== `Bearer ${env.ADMIN_TOKEN}`) {
    return problem(403, "only the administrator removes notes");
  }
  const key = await deleteNote(env.DB, id);
  if (key) await env.FILES.delete(key);
  return new Response(null, { status: 204 });
}

async function handleAttachment(request, env, id) {
  if (request.method === "PUT") {
    const content = await request.arrayBuffer();
    if (content.byteLength > MAX_ATTACHMENT) return problem(413, "an attachment has at most 1 MiB");
    const stored = await attach(env.DB, env.FILES, id, content);
    return stored ? new Response(null, { status: 204 }) : problem(404, "no such note");
  }
  if (request.method === "GET") {
    const object = await readAttachment(env.DB, env.FILES, id);
    return object ? new Response(object.body) : problem(404, "that note has no attachment");
  }
  return problem(405, "an attachment is put or got");
}

function problem(status, message) {
  return Response.json({ error: message }, { status });
}

function escapeHtml(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (char) => names[char]);
}

// Lets the control plane reach any D1 database, KV namespace and R2 bucket by id, without a binding for each:
// a simulator's Durable Object is found by name, so one that was created a moment ago needs no restart.
// Address: /<d1|kv|r2>/<id>/<the simulator's own path>.
export default {
  async fetch(request, env) {
    if (request.headers.get("x-admin-token") !== env.TOKEN) {
      return new Response("forbidden", { status: 403 });
    }
    const url = new URL(request.url);
    if (url.pathname === "/ping") {
      return new Response("pong");
    }
    const [, kind, id, ...rest] = url.pathname.split("/");
    const objects = { d1: env.D1, kv: env.KV, r2: env.R2 }[kind];
    if (objects === undefined) {
      return new Response("no such kind", { status: 404 });
    }
    url.pathname = "/" + rest.join("/");
    const object = objects.get(objects.idFromName(id));
    return object.fetch(new Request(url, request), { cf: { miniflare: { name: id } } });
  },
};

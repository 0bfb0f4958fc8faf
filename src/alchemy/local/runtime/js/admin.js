// Lets the control plane reach any D1 database, KV namespace and R2 bucket by id, without a binding for each:
// a simulator's Durable Object is found by name, so one that was created a moment ago needs no restart.
// Address: /<d1|kv|r2>/<id>/<the simulator's own path>.
// Besides, POST /do/<namespace id>/<object id>?seconds=N evicts a Worker's Durable Object: it goes from memory as soon as
// nothing holds it. 409 says that something did for N seconds (workerd's own limit is 30), or that it is not in memory.
import unsafe from "workerd:unsafe";

async function evict(namespace, id, seconds) {
  if (namespace === undefined) {
    return new Response("no such namespace", { status: 404 });
  }
  const late = async () => {
    await scheduler.wait(seconds * 1000);
    throw new Error("it still has something to do");
  };
  try {
    await Promise.race([unsafe.evict(namespace.get(namespace.idFromString(id))), late()]);
  } catch (error) {
    return new Response(error.message, { status: 409 });
  }
  return new Response("evicted");
}

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
    if (kind === "do") {
      return evict(env[`do/${id}`], rest[0], Number(url.searchParams.get("seconds")));
    }
    const objects = { d1: env.D1, kv: env.KV, r2: env.R2 }[kind];
    if (objects === undefined) {
      return new Response("no such kind", { status: 404 });
    }
    url.pathname = "/" + rest.join("/");
    const object = objects.get(objects.idFromName(id));
    return object.fetch(new Request(url, request), { cf: { miniflare: { name: id } } });
  },
};

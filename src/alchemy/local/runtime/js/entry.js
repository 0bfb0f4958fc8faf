// One port for all Workers: http://NAME.localhost:PORT goes to the Worker called NAME.
export default {
  async fetch(request, env) {
    const host = new URL(request.url).hostname;
    const name = host.endsWith(".localhost") ? host.slice(0, -".localhost".length) : "";
    const worker = Object.hasOwn(env, name) ? env[name] : undefined;
    if (worker === undefined) {
      return new Response(`There is nothing at ${host}.\n`, { status: 404 });
    }
    return worker.fetch(request);
  },
};

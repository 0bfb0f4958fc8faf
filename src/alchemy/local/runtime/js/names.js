// Makes a Worker's binding to a Durable Object class. It is workerd's own namespace object, which besides writes down
// what the objects are called that are asked for by name, each once: names/<namespace id>/<object id> holds the name.
// Nothing else could ever tell, for an id is a digest of the name.
import runtime from "cloudflare-internal:workers";

const MANY = 10_000;

export default function ({ namespace, id: namespaceId, names }) {
  const written = new Set();

  async function write(id) {
    const answer = await names.fetch(`http://names/${namespaceId}/${id}`, { method: "PUT", body: id.name });
    if (!answer.ok) {
      throw new Error(`status ${answer.status}`);
    }
  }

  function note(id) {
    if (id.name === undefined || written.has(id.name)) {
      return;
    }
    if (written.size === MANY) {
      written.clear();
    }
    written.add(id.name);
    const again = () => written.delete(id.name);
    try {
      runtime.waitUntil(write(id).catch(again));
    } catch {
      again(); // outside of a request there is no input and output
    }
  }

  const { get, getByName } = namespace;
  const replace = (name, value) => Object.defineProperty(namespace, name, { value, configurable: true, writable: true });
  replace("get", (id, ...options) => {
    const stub = get.call(namespace, id, ...options);
    note(id);
    return stub;
  });
  replace("getByName", (name, ...options) => {
    const stub = getByName.call(namespace, name, ...options);
    note(stub.id);
    return stub;
  });
  return namespace;
}

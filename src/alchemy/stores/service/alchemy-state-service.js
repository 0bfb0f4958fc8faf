// alchemy-state-service: keeps the state of applications, each in a Durable Object of its own.
//
//   POST /   Authorization: Bearer <token>
//   {"method": "get", "params": ["api"], "context": {"chain": ["notes", "prod"]}}
//   {"success": true, "status": 200, "result": …} or {"success": false, "status": 409, "error": "…", "code": "…"}
//
// HEAD / checks the token. Alchemy for TypeScript sends the methods of `Scope` below, Alchemy for Python those of
// `Leased`, whose writes are refused when the fencing token of their lease is not the newest. A write is one
// transaction. Nothing that eviction loses is relied on.

import { DurableObject } from "cloudflare:workers";
const VERSION = 3; // goes up with whatever clients can notice
const HEADER = "x-alchemy-state-service"; // says it
const MAX_BODY = 24 * 1024 * 1024; // bytes; what is passed on to an object may have 32 MiB
const MAX_PART = 480_000; // characters: at most 1.92 MB of the 2 MB that a row may have
const MAX_PAGE = 6_000_000; // UTF-16 units of rows in one answer
const KEEP_LOST = 30 * 24 * 3600 * 1000; // ms for which it is known who took a chain away
const INDEX = "/"; // the object that lists the applications: no application can be called so

// Each is one transaction, with its line in `migrations`. Never change one that was released: add another.
const MIGRATIONS = [
  {
    description: "records, locks, blobs",
    steps: [
      "CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (0)",
      "CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied_at TEXT, description TEXT)",
      "CREATE TABLE applications (app TEXT PRIMARY KEY, text TEXT)",
      // A record's text is cut into parts. `origin`: 1 when Alchemy for TypeScript wrote it.
      `CREATE TABLE records (scope TEXT, id TEXT, part INTEGER, unit TEXT, origin INTEGER, text TEXT,
        UNIQUE (scope, id, part))`,
      "CREATE INDEX records_of_unit ON records (unit)",
      // Counts writes, so that a reader of several pages notices that they are not of one moment.
      "CREATE TABLE units (unit TEXT PRIMARY KEY, writes INTEGER)",
      "CREATE TABLE fence (token INTEGER); INSERT INTO fence VALUES (0)",
      // Nobody holds it when `owner` is NULL; `lost` says in words why. Times in ms, `number` of the last commit.
      `CREATE TABLE locks (chain TEXT PRIMARY KEY, token INTEGER, nonce TEXT, owner TEXT, since TEXT, ttl INTEGER,
        renewed INTEGER, number INTEGER, lost TEXT)`,
      // A blob is there when its line is, which comes after its pieces; the digest keeps two uploads apart.
      "CREATE TABLE blobs (unit TEXT, kind TEXT, name TEXT, digest TEXT, PRIMARY KEY (unit, kind, name))",
      `CREATE TABLE pieces (unit TEXT, kind TEXT, name TEXT, digest TEXT, part TEXT, text TEXT,
        PRIMARY KEY (unit, kind, name, digest, part))`,
    ],
  },
];
const SCHEMA = MIGRATIONS.length;

class Refused extends Error {
  constructor(status, message, code, details) {
    super(message);
    Object.assign(this, { status, code, details });
  }
}

function want(condition, message) {
  if (!condition) throw new Refused(400, message, "malformed");
}

const moment = () => new Date().toISOString();
const named = (owner) => `${owner.user}@${owner.host} (pid ${owner.pid}), ${owner.operation}`;
const isText = (value) => typeof value === "string";
const isTexts = (value) => Array.isArray(value) && value.every(isText);
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const within = (fqn, chain) => fqn === chain || fqn.startsWith(`${chain}/`);
const unitOf = (fqn) => fqn.split("/").slice(0, fqn.split("/")[1] === "test" ? 3 : 2).join("/");
const cut = (fqn) => [fqn.slice(0, fqn.lastIndexOf("/")), fqn.slice(fqn.lastIndexOf("/") + 1)];

// Scopes below a chain, with no pattern whose wildcards a name could hold: "0" is the character after "/".
const BELOW = "scope >= ? AND scope < ?";
const below = (chain) => [`${chain}/`, `${chain}0`];

// With the flag "u" a dot is never half of a character.
const partsOf = (text) => text.match(new RegExp(`.{1,${MAX_PART}}`, "gsu")) ?? [""];

// Takes rows until there is much text; `next` is what to go on after, null at the end.
function paged(found) {
  const rows = [];
  let size = 0;
  for (const row of found) {
    if (size > MAX_PAGE) return { rows, next: rows.at(-1).at };
    size += row.text.length;
    rows.push(row);
  }
  return { rows, next: null };
}

export default {
  async fetch(request, env) {
    try {
      const path = new URL(request.url).pathname;
      if (!(await isAuthorized(request, env))) throw new Refused(401, "Unauthorized", "unauthorized");
      if (request.method === "HEAD") return new Response(null, { headers: { [HEADER]: `${VERSION}` } });
      if (request.method !== "POST") throw new Refused(405, "Method not allowed: there are POST and HEAD", "method");
      const { method, params, chain } = checked(await jsonOf(request));
      if (path === "/debug/evict" && env.DEBUG === "1") {
        await objectOf(env, chain[0] ?? INDEX).evict().catch(() => {}); // the call ends with the object
        return answering(success());
      }
      if (path !== "/") throw new Refused(404, `There is nothing at ${path}`, "path");
      return answering(await answerTo(env, method, params, chain));
    } catch (error) {
      return answering(failure(error));
    }
  },
};

const answering = (answer) => Response.json(answer, { status: answer.status });
const success = (result) => ({ success: true, status: 200, result });
const objectOf = (env, name) => env.STORE.get(env.STORE.idFromName(name));
function failure(error) {
  if (!error.status) console.error(error);
  const { status = 500, code = "internal", details } = error;
  return { success: false, status, error: `${error.message ?? error}`, code, ...details };
}
async function isAuthorized(request, env) {
  const given = /^Bearer +(\S+)$/i.exec(request.headers.get("Authorization") ?? "")?.[1];
  if (!given || !env.STATE_TOKEN) return false;
  const digest = (text) => crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return crypto.subtle.timingSafeEqual(await digest(given), await digest(env.STATE_TOKEN));
}

async function jsonOf(request) {
  let [size, text, decoder] = [0, "", new TextDecoder("utf-8", { fatal: true })];
  try {
    for await (const piece of request.body ?? []) {
      size += piece.byteLength;
      if (size > MAX_BODY) throw new Refused(413, `The request has more than ${MAX_BODY} bytes`, "too_large");
      text += decoder.decode(piece, { stream: true });
    }
    return JSON.parse(text + decoder.decode());
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw new Refused(400, `The body is no JSON in UTF-8: ${error.message}`, "malformed");
  }
}

function checked(body) {
  want(isObject(body), "The body has to be {method, params, context: {chain}}");
  const { method, params = [], context } = body;
  const chain = context?.chain;
  want(isText(method) && Array.isArray(params), "method has to be a text, and params a list");
  want(isTexts(chain) && chain.every((part) => part && !part.includes("/")), "context.chain has to be a list of names");
  return { method, params, chain };
}

async function answerTo(env, method, params, chain) {
  if (method === "version") return success({ version: VERSION, schema: SCHEMA });
  const unknown = `This service (version ${VERSION}) has no method ${method}`;
  if (!METHODS.includes(method)) throw new Refused(400, unknown, "unknown_method");
  const ofAll = chain.length === 0 && (method === "applications" || method === "listScopes");
  want(ofAll || (chain.length > 0 && method !== "applications"), `${method} is not for the chain [${chain}]`);
  return objectOf(env, chain[0] ?? INDEX).perform(chain[0], ofAll ? "applications" : method, params, chain.join("/"));
}

// One application.
export class Store extends DurableObject {
  constructor(context, env) {
    super(context, env);
    const migrate = async () => this.migrate();
    context.blockConcurrencyWhile(() => migrate().catch(console.error)); // answered by the operations, which fail too
  }
  async perform(app, method, params, chain) {
    try {
      this.migrate();
      const writes = WRITING.includes(method);
      if (writes && !this.one("SELECT 1 FROM applications WHERE app = ?", app)) {
        await objectOf(this.env, INDEX).register(app);
        this.register(app);
      }
      const run = () => new Leased(this, chain)[method](...params);
      return success(writes ? this.ctx.storage.transactionSync(run) : run());
    } catch (error) {
      return failure(error); // an error's own properties do not come through a call
    }
  }
  run = (query, ...values) => this.ctx.storage.sql.exec(query, ...values);
  one = (query, ...values) => this.run(query, ...values).toArray()[0];
  register(app) {
    this.migrate();
    this.run("INSERT OR IGNORE INTO applications VALUES (?, NULL)", app);
  }
  async evict() {
    await this.ctx.storage.sync();
    this.ctx.abort("evicted");
  }
  // Cheap when there is nothing to do: before every operation too, for an object that never goes idle.
  migrate() {
    const begun = this.one("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'");
    let version = begun ? this.one("SELECT version FROM schema_version").version : 0;
    if (version === SCHEMA) return;
    const newer = `The data has schema ${version}, this service (${VERSION}) knows ${SCHEMA}: deploy a newer one`;
    if (version > SCHEMA) throw new Refused(409, newer, "newer_data");
    for (const { description, steps } of MIGRATIONS.slice(version)) {
      version += 1;
      this.ctx.storage.transactionSync(() => {
        for (const step of steps) this.run(step);
        this.run("INSERT INTO migrations VALUES (?, ?, ?)", version, moment(), description);
        this.run("UPDATE schema_version SET version = ?", version);
      });
    }
  }
}

const LEASES = "SELECT * FROM locks WHERE owner IS NOT NULL";
const leaseOf = ({ chain, token, owner, since, renewed, ttl }) =>
  ({ unit: chain, token, owner: JSON.parse(owner), since, deadline: (renewed + ttl) / 1000 });

// What Alchemy for TypeScript asks: the chain is a scope, a key is an id in it.
class Scope {
  constructor(store, chain) {
    Object.assign(this, { chain, run: store.run, one: store.one });
  }
  init = () => undefined;
  deinit = () => undefined;
  applications = () => this.column("SELECT app FROM applications ORDER BY app");
  list = () => this.column("SELECT id FROM records WHERE scope = ? AND part = 0 ORDER BY id", this.chain);
  count = () => this.list().length;
  get = (key) => this.getBatch([key])[key];
  all = () => this.getBatch(this.list());
  listScopes() {
    const scopes = this.column(`SELECT DISTINCT scope FROM records WHERE ${BELOW}`, ...below(this.chain));
    return [...new Set(scopes.map((scope) => scope.slice(this.chain.length + 1).split("/")[0]))];
  }
  getBatch(keys) {
    want(isTexts(keys), "get takes an id, getBatch a list of ids");
    const found = keys.map((key) => [key, this.rowsOf(this.chain, key).map(({ text }) => text).join("")]);
    return Object.fromEntries(found.filter(([, text]) => text).map(([key, text]) => [key, JSON.parse(text)]));
  }
  set(key, state) {
    want(key && isObject(state), "set takes an id and a state");
    this.delete(key);
    this.write(this.chain, key, JSON.stringify(state), 1);
  }
  delete(key) {
    want(isText(key), "delete takes an id");
    this.withoutLease(`${this.chain}/${key}`);
    this.drop(this.chain, key);
  }
  clearScope() {
    this.withoutLease(this.chain);
    this.clear(this.chain);
  }
  // Whoever writes without a lease waits for those who have one, and leaves no older one valid.
  withoutLease(fqn) {
    for (const lock of this.around(fqn)) {
      const what = `${lock.chain} is held by ${named(JSON.parse(lock.owner))} since ${lock.since}`;
      if (this.isHeld(lock)) throw new Refused(409, `${what}: wait for that run to end`, "held");
      this.takeAway(lock, `: Alchemy for TypeScript wrote to it, at ${moment()}`);
    }
    this.run("UPDATE fence SET token = token + 1");
  }
  column = (query, ...values) => [...this.run(query, ...values).raw()].map(([value]) => value);
  rowsOf = (...key) => this.run("SELECT * FROM records WHERE scope = ? AND id = ? ORDER BY part", ...key).toArray();
  isHeld = (lock) => Date.now() - lock.renewed < lock.ttl;
  around = (chain) => [...this.run(LEASES)].filter((lock) => within(lock.chain, chain) || within(chain, lock.chain));
  write(scope, id, text, origin) {
    const unit = unitOf(`${scope}/${id}`);
    const changed = "UPDATE SET origin = excluded.origin, text = excluded.text";
    const parts = partsOf(text);
    for (const [part, piece] of parts.entries()) {
      const row = [scope, id, part, unit, origin, piece];
      this.run(`INSERT INTO records VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO ${changed}`, ...row);
    }
    this.drop(scope, id, parts.length);
  }
  drop(scope, id, from = 0) {
    this.run("DELETE FROM records WHERE scope = ? AND id = ? AND part >= ?", scope, id, from);
    const counted = "ON CONFLICT DO UPDATE SET writes = writes + 1";
    this.run(`INSERT INTO units VALUES (?, 1) ${counted}`, unitOf(`${scope}/${id}`));
  }
  clear(chain) {
    this.run(`DELETE FROM records WHERE scope = ? OR (${BELOW})`, chain, ...below(chain));
    this.run("UPDATE units SET writes = writes + 1");
  }
  takeAway = ({ chain }, lost) =>
    this.run("UPDATE locks SET owner = NULL, lost = ?, renewed = ? WHERE chain = ?", lost, Date.now(), chain);
}

// What Alchemy for Python asks: the chain is an application, a unit, or what is leased.
class Leased extends Scope {
  application = () => this.one("SELECT text FROM applications WHERE app = ?", this.chain)?.text ?? null;
  check = (lease) => this.held(lease) && undefined;
  locks = () => this.around(this.chain).filter(this.isHeld).map(leaseOf);
  lock = (chain) => this.one(`${LEASES} AND chain = ?`, chain);
  names = (kind) => this.column("SELECT name FROM blobs WHERE unit = ? AND kind = ?", this.chain, kind);
  blob = (...key) => this.one("SELECT * FROM blobs WHERE unit = ? AND kind = ? AND name = ?", this.chain, ...key);
  createApplication(text) {
    want(isText(text), "createApplication takes a text");
    this.run("UPDATE applications SET text = ? WHERE app = ? AND text IS NULL", text, this.chain);
    return this.application();
  }
  take({ owner, ttl, nonce } = {}) {
    want(isObject(owner) && ttl > 0 && isText(nonce), "take needs an owner, a ttl and a nonce");
    if (this.lock(this.chain)?.nonce !== nonce) {
      const around = this.around(this.chain);
      const holder = around.find((lock) => this.isHeld(lock));
      if (holder) return { holder: leaseOf(holder) };
      for (const lock of around) this.takeAway(lock, `: ${named(owner)} has taken ${this.chain} since ${moment()}`);
      this.run("DELETE FROM locks WHERE owner IS NULL AND renewed < ?", Date.now() - KEEP_LOST);
      this.run("UPDATE fence SET token = token + 1");
      const row = [this.chain, nonce, JSON.stringify(owner), moment(), ttl * 1000, Date.now()];
      this.run("INSERT OR REPLACE INTO locks SELECT ?, token, ?, ?, ?, ?, ?, 0, NULL FROM fence", ...row);
    }
    const page = unitOf(this.chain) === this.chain ? this.load(0) : null;
    return { lease: leaseOf(this.lock(this.chain)), page };
  }
  renew(lease, ttl) {
    want(this.held(lease) && ttl > 0, "renew needs a ttl");
    this.run("UPDATE locks SET renewed = ?, ttl = ? WHERE chain = ?", Date.now(), ttl * 1000, lease.chain);
    return leaseOf(this.lock(lease.chain));
  }
  release(lease, logs = []) {
    want(isObject(lease) && Array.isArray(logs), "release takes a lease and a list of logs");
    for (const { unit, name, pieces } of logs) this.append(name, pieces, unit);
    const { token, owner, since } = this.lock(this.chain) ?? {};
    if (token === lease.token) this.takeAway(lease, `: ${named(JSON.parse(owner))} had it since ${since}`);
  }
  break(why) {
    if (this.lock(this.chain)) this.takeAway({ chain: this.chain }, why);
  }
  held(lease) {
    want(isText(lease?.chain) && Number.isInteger(lease.token), "a lease has a chain and a token");
    const lock = this.one("SELECT * FROM locks WHERE chain = ?", lease.chain);
    if (lock?.owner && lock.token === lease.token) return lock;
    const whom = lock?.owner ? `: ${named(JSON.parse(lock.owner))} has it since ${lock.since}` : (lock?.lost ?? "");
    throw new Refused(409, `${lease.chain} was taken away${whom}`, "lease_lost", { whom });
  }
  units() {
    const after = (unit) => this.one("SELECT min(unit) AS next FROM records WHERE unit > ?", unit).next;
    const found = [];
    for (let unit = after(""); unit !== null; unit = after(unit)) found.push(unit);
    return found;
  }
  // Rows are [FQN, part of a text, origin], and the parts of one record come in order.
  load(after, lease) {
    want(Number.isInteger(after), "load takes the number to go on after");
    if (lease) this.held(lease);
    const writes = this.one("SELECT writes FROM units WHERE unit = ?", this.chain)?.writes ?? 0;
    const query = "SELECT *, rowid AS at FROM records WHERE unit = ? AND rowid > ? ORDER BY rowid";
    const page = paged(this.run(query, this.chain, after));
    return { ...page, writes, rows: page.rows.map(({ scope, id, origin, text }) => [`${scope}/${id}`, text, origin]) };
  }
  read(fqns) {
    want(isTexts(fqns), "read takes a list of FQNs");
    return fqns.flatMap((fqn) => this.rowsOf(...cut(fqn)).map(({ text, origin }) => [fqn, text, origin]));
  }
  // `number` counts the commits under a lease: one that was asked for twice, and comes late, changes nothing.
  commit(lease, { number, clear, drops, puts } = {}) {
    const lock = this.held(lease);
    want(Number.isInteger(number) && isTexts(drops) && isObject(puts), "a commit has a number, drops and puts");
    for (const fqn of [...(clear === null ? [] : [clear]), ...drops, ...Object.keys(puts)]) {
      const fits = isText(fqn) && within(fqn, lease.chain) && unitOf(fqn) === this.chain;
      want(fits, `${fqn} is not within ${lease.chain} and ${this.chain}`);
    }
    if (number <= lock.number) return;
    this.run("UPDATE locks SET number = ? WHERE chain = ?", number, lease.chain);
    if (clear !== null) this.clear(clear);
    for (const fqn of clear === null ? drops : [clear, ...drops]) this.drop(...cut(fqn));
    for (const [fqn, text] of Object.entries(puts)) this.write(...cut(fqn), `${text}`, 0);
  }
  clearScope = (lease, commit) => (lease ? this.commit(lease, commit) : super.clearScope()); // none: TypeScript's
  save(lease, { kind, name, digest, pieces, last } = {}) {
    this.held(lease);
    want([kind, name, digest].every(isText) && isObject(pieces), "save needs kind, name, digest and pieces");
    const standing = this.blob(kind, name);
    if (standing) return standing.digest === digest;
    this.writePieces([this.chain, kind, name, digest], pieces);
    if (last) this.run("INSERT INTO blobs VALUES (?, ?, ?, ?)", this.chain, kind, name, digest);
    return true;
  }
  append(name, pieces, unit = this.chain) {
    want(isText(unit) && isText(name) && isObject(pieces), "a log has a unit, a name and pieces");
    this.writePieces([unit, "logs", name, ""], pieces);
    this.run("INSERT OR IGNORE INTO blobs VALUES (?, 'logs', ?, '')", unit, name);
  }
  writePieces(key, pieces) {
    const insert = "INSERT OR IGNORE INTO pieces VALUES (?, ?, ?, ?, ?, ?)";
    for (const piece of Object.entries(pieces)) this.run(insert, ...key, ...piece);
  }
  fetch(kind, name, after) {
    const digest = this.blob(kind, name)?.digest;
    if (digest === undefined) return null;
    const query = `SELECT text, part AS at FROM pieces
      WHERE unit = ? AND kind = ? AND name = ? AND digest = ? AND part > ? ORDER BY part`;
    const page = paged(this.run(query, this.chain, kind, name, digest, after));
    return { ...page, rows: page.rows.map(({ text }) => text) };
  }
  discard(kind, names) {
    want(isTexts(names), "discard takes a list of names");
    const which = "unit = ? AND kind = ? AND name IN (SELECT value FROM json_each(?))";
    for (const table of ["blobs", "pieces"]) {
      this.run(`DELETE FROM ${table} WHERE ${which}`, this.chain, kind, JSON.stringify(names));
    }
  }
}

const words = (text) => text.split(/\s+/);
const WRITING = words("set delete clearScope createApplication take renew release break commit save append discard");
const METHODS = words(`init deinit list listScopes count get getBatch all
  applications application check locks units load read names fetch`).concat(WRITING);

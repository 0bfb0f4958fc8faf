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
const VERSION = 4; // goes up with whatever clients can notice
const MAX_BODY = 15 * 1024 * 1024; // bytes; a call to an object may have 32 MiB, at two bytes a character
const MAX_PART = 480_000; // characters: at most 1.92 MB of the 2 MB that a row may have
const MAX_PAGE = 6_000_000; // UTF-16 units of rows in one answer
const MAX_PIECE = 100_000; // and of a longer answer in memory
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
        UNIQUE (scope, id, part)); CREATE INDEX records_of_unit ON records (unit)`,
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
// Refuses a request unless the condition holds.
function want(condition, message, status = 400, code = "malformed", details = {}) {
  if (!condition) throw Object.assign(new Error(message), { status, code, details });
}
const moment = () => new Date().toISOString();
const named = (owner) => `${owner.user}@${owner.host} (pid ${owner.pid}), ${owner.operation}`;
const isText = (value) => typeof value === "string";
const isTexts = (value) => Array.isArray(value) && value.every(isText);
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const hasTexts = (value) => isObject(value) && isTexts(Object.values(value));
const within = (fqn, chain) => fqn === chain || fqn.startsWith(`${chain}/`);
const unitOf = (fqn) => fqn.split("/").slice(0, fqn.split("/")[1] === "test" ? 3 : 2).join("/");
const cut = (fqn) => [fqn.slice(0, fqn.lastIndexOf("/")), fqn.slice(fqn.lastIndexOf("/") + 1)];
// Scopes below a chain, with no pattern whose wildcards a name could hold: "0" is the character after "/".
const BELOW = "scope >= ? AND scope < ?";
const below = (chain) => [`${chain}/`, `${chain}0`];
const partsOf = (text) => text.match(new RegExp(`.{1,${MAX_PART}}`, "gsu")) ?? [""]; // "u": no halves of characters
// Takes rows until there is much text; `next` is what to go on after, null at the end.
function paged(found) {
  let [rows, size] = [[], 0];
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
      want(await isAuthorized(request, env), "Unauthorized", 401, "unauthorized");
      if (request.method === "HEAD") return new Response(null, { headers: { "x-alchemy-state-service": VERSION } });
      want(request.method === "POST", "Method not allowed: there are POST and HEAD", 405, "method");
      const noJSON = (error) => want(error.status, `The body is no JSON: ${error.message}`) ?? Promise.reject(error);
      const { method, params, chain } = checked(await jsonOf(request).catch(noJSON));
      if (path === "/debug/evict" && env.DEBUG === "1") {
        await objectOf(env, chain[0] ?? INDEX).evict().catch(() => {}); // the call ends with the object
        return answering(success());
      }
      want(path === "/", `There is nothing at ${path}`, 404, "path");
      return answering(await answerTo(env, method, params, chain));
    } catch (error) {
      return answering(failure(error));
    }
  },
};
const objectOf = (env, name) => env.STORE.get(env.STORE.idFromName(name));
const success = (result) => ({ success: true, status: 200, result });
const answering = (answer) => (answer instanceof Response ? answer : Response.json(answer, { status: answer.status }));
// What may be too large for an object's answer to a call, and for memory: texts that together are one of JSON.
function streamed(texts) {
  const pull = (controller) => {
    const { value, done } = texts.next();
    return done ? controller.close() : controller.enqueue(new TextEncoder().encode(value));
  };
  return new Response(new ReadableStream({ type: "bytes", pull }), { headers: { "Content-Type": "application/json" } });
}
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
  for await (const piece of request.body ?? []) {
    size += piece.byteLength;
    if (size <= MAX_BODY) text += decoder.decode(piece, { stream: true }); // all is read, or nobody hears the answer
  }
  want(size <= MAX_BODY, `The request has more than ${MAX_BODY} bytes`, 413, "too_large");
  return JSON.parse(text + decoder.decode());
}
function checked(body) {
  const { method, params = [] } = body ?? {};
  const chain = body?.context?.chain;
  want(isText(method) && Array.isArray(params), "The body has to be {method, params, context: {chain}}");
  want(isTexts(chain) && chain.every((part) => part && !part.includes("/")), "context.chain has to be a list of names");
  return { method, params: params.map((param) => param ?? undefined), chain }; // what is left out has defaults
}
async function answerTo(env, method, params, chain) {
  if (method === "version") return success({ version: VERSION, schema: SCHEMA });
  const isKnown = WRITING.test(method) || READING.includes(method);
  want(isKnown, `This service (version ${VERSION}) has no method ${method}`, 400, "unknown_method");
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
      const writes = WRITING.test(method);
      if (writes && !this.one("SELECT 1 FROM applications WHERE app = ?", app)) {
        await objectOf(this.env, INDEX).register(app);
        this.register(app);
      }
      const run = () => Object.assign(new Leased(), { chain, run: this.run, one: this.one })[method](...params);
      const result = writes ? this.ctx.storage.transactionSync(run) : run();
      return typeof result?.next === "function" ? streamed(result) : success(result);
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
    want(version < SCHEMA, newer, 409, "newer_data");
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
  init = () => undefined;
  deinit = () => undefined;
  applications = () => this.column("SELECT app FROM applications ORDER BY app");
  list = () => this.column("SELECT id FROM records WHERE scope = ? AND part = 0 ORDER BY id", this.chain);
  count = () => this.list().length;
  all = () => this.getBatch(this.list());
  listScopes() {
    const scopes = this.column(`SELECT DISTINCT scope FROM records WHERE ${BELOW}`, ...below(this.chain));
    return [...new Set(scopes.map((scope) => scope.slice(this.chain.length + 1).split("/")[0]))];
  }
  getBatch = (keys) => want(isTexts(keys), "getBatch takes a list of ids") ?? this.answerWith(keys);
  // Each record is whole; what is written while the answer is on its way may be in it, or not.
  *answerWith(keys) {
    let [piece, comma] = [JSON.stringify(success({})).slice(0, -2), ""];
    for (const key of keys) {
      const text = this.textOf(key);
      if (text) [piece, comma] = [`${piece}${comma}${JSON.stringify(key)}:${text}`, ","];
      if (piece.length < MAX_PIECE) continue;
      yield piece;
      piece = "";
    }
    yield `${piece}}}`;
  }
  get = (key) => want(isText(key), "get takes an id") ?? JSON.parse(this.textOf(key) || "null") ?? undefined;
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
      want(!this.isHeld(lock), `${what}: wait for that run to end`, 409, "held");
      this.takeAway(lock, `: Alchemy for TypeScript wrote to it, at ${moment()}`);
    }
    this.run("UPDATE fence SET token = token + 1");
  }
  column = (query, ...values) => [...this.run(query, ...values).raw()].map(([value]) => value);
  textOf = (key) => this.rowsOf(this.chain, key).map(({ text }) => text).join("");
  rowsOf = (...key) => this.run("SELECT * FROM records WHERE scope = ? AND id = ? ORDER BY part", ...key).toArray();
  isHeld = (lock) => Date.now() - lock.renewed < lock.ttl;
  around = (chain) => [...this.run(LEASES)].filter((lock) => within(lock.chain, chain) || within(chain, lock.chain));
  write(scope, id, text, origin) {
    const [unit, parts] = [unitOf(`${scope}/${id}`), partsOf(text)];
    const query = `INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET origin = excluded.origin, text = excluded.text`;
    for (const [part, piece] of parts.entries()) this.run(query, scope, id, part, unit, origin, piece);
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
  application = () => this.one("SELECT text FROM applications WHERE app = ?", this.chain.split("/")[0])?.text ?? null;
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
      const torn = "kind IN ('aside', 'backups', 'staged') AND digest NOT IN (SELECT digest FROM blobs WHERE unit = ?)";
      this.run(`DELETE FROM pieces WHERE unit = ? AND ${torn}`, this.chain, this.chain);
      this.run("UPDATE fence SET token = token + 1");
      const row = [this.chain, nonce, JSON.stringify(owner), moment(), ttl * 1000, Date.now()];
      this.run("INSERT OR REPLACE INTO locks SELECT ?, token, ?, ?, ?, ?, ?, 0, NULL FROM fence", ...row);
    }
    const page = unitOf(this.chain) === this.chain ? this.load(0) : null;
    return { lease: leaseOf(this.lock(this.chain)), page, application: this.application(), logs: this.names("logs") };
  }
  renew(lease, ttl) {
    want(this.held(lease) && ttl > 0, "renew needs a ttl");
    this.run("UPDATE locks SET renewed = ?, ttl = ? WHERE chain = ?", Date.now(), ttl * 1000, lease.chain);
    return leaseOf(this.lock(lease.chain));
  }
  release(lease, log = null, drop = []) {
    want(Number.isInteger(lease?.token), "release takes a lease, a log or null, and names of logs to drop");
    if (log !== null) this.append(log.name, log.pieces);
    this.discard("logs", drop);
    const { token, owner, since } = this.lock(this.chain) ?? {};
    if (token === lease.token) this.takeAway(this, `: ${named(JSON.parse(owner))} had it since ${since}`);
  }
  break(why) {
    if (this.lock(this.chain)) this.takeAway(this, why);
  }
  held(lease) {
    const { chain, token } = lease ?? {};
    want(isText(chain) && Number.isInteger(token), "a lease has a chain and a token");
    const lock = this.one("SELECT * FROM locks WHERE chain = ?", chain);
    const whom = lock?.owner ? `: ${named(JSON.parse(lock.owner))} has it since ${lock.since}` : (lock?.lost ?? "");
    want(lock?.owner && lock.token === token, `${chain} was taken away${whom}`, 409, "lease_lost", { whom });
    return lock;
  }
  units() {
    const next = "SELECT min(unit) FROM records WHERE unit >";
    return this.column(`WITH RECURSIVE found (unit) AS (${next} '' UNION ALL SELECT (${next} found.unit) FROM found
      WHERE unit IS NOT NULL) SELECT unit FROM found WHERE unit IS NOT NULL`);
  }
  load(after, lease) {
    want(Number.isInteger(after), "load takes the number to go on after");
    if (lease) this.held(lease);
    const query = "SELECT *, rowid AS at FROM records WHERE unit = ? AND rowid > ? ORDER BY rowid";
    return this.pageOf(this.run(query, this.chain, after));
  }
  read(after, fqns) {
    want(Number.isInteger(after) && isTexts(fqns), "read takes the number to go on after, and a list of FQNs");
    const rows = fqns.values().flatMap((fqn) => this.rowsOf(...cut(fqn)));
    return this.pageOf(rows.map((row, index) => ({ ...row, at: index + 1 })).drop(after));
  }
  // Rows are [FQN, part of a text, origin], and the parts of one record come in order.
  pageOf(found) {
    const writes = this.one("SELECT writes FROM units WHERE unit = ?", this.chain)?.writes ?? 0;
    const page = paged(found);
    return { ...page, writes, rows: page.rows.map(({ scope, id, origin, text }) => [`${scope}/${id}`, text, origin]) };
  }
  // `number` counts the commits under a lease: one that was asked for twice, and comes late, changes nothing.
  commit(lease, { number, clear, drops, puts, staged = 0 } = {}, isAhead = false) {
    const lock = this.held(lease);
    want(Number.isInteger(number) && isTexts(drops) && hasTexts(puts), "a commit has a number, drops and puts");
    const gone = clear === null ? drops : [clear, ...drops];
    for (const fqn of [...gone, ...Object.keys(puts)]) {
      want(isText(fqn) && within(fqn, lease.chain) && unitOf(fqn) === this.chain, `${fqn} is not in ${lease.chain}`);
    }
    if (number <= lock.number) return;
    const [rows, name] = [Object.entries(puts), `${lease.token}.${number}`];
    if (isAhead) return rows.forEach(([fqn, text]) => this.keep("staged", name, fqn, partsOf(text)));
    this.run("UPDATE locks SET number = ? WHERE chain = ?", number, lease.chain);
    if (clear !== null) this.clear(clear);
    for (const fqn of gone) this.drop(...cut(fqn));
    for (const [fqn, text] of rows) this.write(...cut(fqn), text, 0);
    const from = "FROM pieces WHERE unit = ? AND kind = 'staged' AND name = ?";
    const fqns = staged ? this.column(`SELECT DISTINCT digest ${from}`, this.chain, name) : [];
    want(fqns.length === staged, `${fqns.length} puts came ahead, not ${staged}`);
    const texts = (fqn) => this.column(`SELECT text ${from} AND digest = ? ORDER BY rowid`, this.chain, name, fqn);
    for (const fqn of fqns) this.write(...cut(fqn), texts(fqn).join(""), 0);
    if (staged) this.discard("staged", [name]);
  }
  // The puts of a commit that is too large for one request come ahead of it; `staged` says how many those were.
  stage = (lease, commit) => this.commit(lease, commit, true);
  // With a lease it is a commit that clears; without one Alchemy for TypeScript asks.
  clearScope = (lease, commit) => (lease ? this.commit(lease, commit) : super.clearScope());
  save(lease, { kind, name, digest, pieces, last } = {}) {
    this.held(lease);
    want(isTexts([kind, name, digest]) && hasTexts(pieces), "save needs kind, name, digest and pieces");
    const standing = this.blob(kind, name);
    if (!standing) this.keep(kind, name, digest, pieces, last);
    return !standing || standing.digest === digest;
  }
  append = (name, pieces) =>
    want(isText(name) && hasTexts(pieces), "a log has a name and pieces") ?? this.keep("logs", name, "", pieces, true);
  keep(kind, name, digest, pieces, last) {
    const key = [this.chain, kind, name, digest];
    const insert = "INSERT OR IGNORE INTO pieces VALUES (?, ?, ?, ?, ?, ?)";
    for (const piece of Object.entries(pieces)) this.run(insert, ...key, ...piece);
    if (last) this.run("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?, ?)", ...key);
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
    const values = [this.chain, kind, JSON.stringify(names)];
    for (const table of ["blobs", "pieces"]) this.run(`DELETE FROM ${table} WHERE ${which}`, ...values);
  }
}

const WRITING = /^(set|delete|clearScope|createApplication|take|renew|release|break|stage|commit|save|append|discard)$/;
const READING = `init deinit list listScopes count get getBatch all
  applications application check locks units load read names fetch`.split(/\s+/);

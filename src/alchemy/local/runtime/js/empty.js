// Stands where a simulator reports to miniflare, and where a script under examination has its bindings.
export default {
  fetch() {
    return new Response(null);
  },
};

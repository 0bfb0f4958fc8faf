// Answers on the port of a Worker whose workers.dev route has been switched off.
export default {
  fetch() {
    return new Response("There is nothing here yet\n", { status: 404 });
  },
};

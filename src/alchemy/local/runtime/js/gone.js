// Stands in for what a Worker is still bound to and what has been deleted, in a form that every kind of binding
// turns into an exception.
export default {
  fetch() {
    const message = "the resource behind this binding has been deleted";
    return Response.json({ success: false, error: message }, { status: 500 });
  },
};

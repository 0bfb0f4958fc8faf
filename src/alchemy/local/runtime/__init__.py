"""The data plane: workerd, configured from Python, with miniflare's simulator workers beside the user's."""

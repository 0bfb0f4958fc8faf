"""The control plane: the part of Cloudflare's REST API that is served on this machine."""

// Exists to carry the `net` precompiled header.

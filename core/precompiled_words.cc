// Exists to carry the `words` precompiled header.

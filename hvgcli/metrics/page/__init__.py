"""The page that `hvg report` writes: what it is read from, its sections, and its template, style and script."""

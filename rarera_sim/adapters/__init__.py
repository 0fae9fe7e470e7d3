"""One file per technology that keeps events or rings bells; imports only the core."""

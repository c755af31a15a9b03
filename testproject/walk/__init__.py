"""The demo: real servers, a real site, visitors who use it, and what they were shown."""

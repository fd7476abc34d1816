"""What the real CLIs do when something fails, and what it is called: rows, the stage that plays them, the page."""

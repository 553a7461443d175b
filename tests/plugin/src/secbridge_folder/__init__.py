"""Where does a report live?  As Markdown, in a folder that a small team shares."""

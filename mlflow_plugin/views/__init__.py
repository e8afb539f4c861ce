"""What the page, the reports and the command line show, as plain data: read from the store, ready for JSON."""

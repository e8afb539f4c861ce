"""Reports for people: the views of the page, the experiment log, the state as a file, the HTML report."""

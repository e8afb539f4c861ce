"""Whether a merged model is good: what it writes, how often that is right, and how sure that is."""

"""Views: a history as one of the models in `reports.models`."""

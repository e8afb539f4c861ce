"""Phases inside other libraries' loops. Each module imports its library, so none is imported by the plugin itself."""

"""Tables: the model of a table, and one module for each kind."""

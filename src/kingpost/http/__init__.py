"""The wire: everything that knows HTTP. `routes.py` lists what there is."""

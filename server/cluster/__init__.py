"""Sessions on this process or on many workers, behind one interface. Ray is imported last."""

"""Who can be called: catalogue, sources, enrolment."""

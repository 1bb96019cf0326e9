"""From a picture to an identity anchor."""
